//! Sequence tasks: numbers in, a number out, written as digits in a base b.
//!
//! ```text
//! symbol      0 … b−1     b       b+1     b+2      b: the larger base, where source and target have two
//! is          a digit     PAD     BOS     EOS
//! source      digits of n; of two numbers: digits of a, BOS, digits of b
//! target      digits of the answer
//! ```
//!
//! A source has neither BOS in front nor EOS behind. The paper prints the source of a pair,
//! [digits(a), BOS, digits(b)] (arXiv:2604.13082), which has neither; and what an encoder's states are
//! averaged over is then the digits alone. Nor does the table hold what teacher forcing adds to a
//! target: the decoder reads BOS and the digits, and learns the digits and EOS. Loading a batch does
//! that, as it does the padding: rows are packed here, one after the other.
//!
//! Row numbers are the examples, as in a `Task` of pairs, and depend neither on base nor on order: two
//! runs of one seed have the same test set in any base.

use super::{Split, collatz, gcd};
use crate::config::TaskConfig;
use crate::config::sequence::{DigitOrder, TrainSet};
use crate::seed::{Seed, shuffle};
use models::Packed;

/// The longest sequence, with what teacher forcing adds to it (arXiv:2604.13082).
pub const MAX_LENGTH: usize = 64;

/// How a number becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerals {
    base: u32,
    order: DigitOrder,
    /// Digits in the vocabulary, at least `base`.
    digits: u32,
}

impl Numerals {
    /// Digits in this base, which is at least 2, in this order.
    pub fn new(base: u32, order: DigitOrder) -> Numerals {
        Numerals { base, order, digits: base }
    }

    /// The same digits in a vocabulary that has those of another base, too.
    pub fn beside(self, base: u32) -> Numerals {
        Numerals { digits: self.digits.max(base), ..self }
    }

    /// The base: the digits are 0 to base − 1.
    pub fn base(&self) -> u32 {
        self.base
    }

    /// Which digit comes first.
    pub fn order(&self) -> DigitOrder {
        self.order
    }

    /// The token that fills a row up.
    pub fn pad(&self) -> u32 {
        self.digits
    }

    /// The token before a target, and between two numbers.
    pub fn bos(&self) -> u32 {
        self.digits + 1
    }

    /// The token behind a target.
    pub fn eos(&self) -> u32 {
        self.digits + 2
    }

    /// Number of different tokens: b + 3.
    pub fn symbols(&self) -> usize {
        self.digits as usize + 3
    }

    /// How many digits n has; 0 has one.
    pub fn length(&self, n: u64) -> usize {
        let base = u64::from(self.base);
        1 + std::iter::successors(Some(n / base), |rest| Some(rest / base))
            .take_while(|&rest| rest > 0)
            .count()
    }

    /// Appends the digits of n.
    ///
    /// ```
    /// use experiments::config::sequence::DigitOrder::{LeastSignificant, MostSignificant};
    /// use experiments::tasks::sequences::Numerals;
    /// let digits = |order| {
    ///     let mut digits = Vec::new();
    ///     Numerals::new(8, order).write(1025, &mut digits);
    ///     digits
    /// };
    /// assert_eq!(digits(MostSignificant), [2, 0, 0, 1]); // 2·512 + 1
    /// assert_eq!(digits(LeastSignificant), [1, 0, 0, 2]);
    /// ```
    pub fn write(&self, mut n: u64, to: &mut Vec<u32>) {
        let (base, begin) = (u64::from(self.base), to.len());
        loop {
            to.push((n % base) as u32);
            n /= base;
            if n == 0 {
                break;
            }
        }
        if self.order == DigitOrder::MostSignificant {
            to[begin..].reverse();
        }
    }

    /// The number that these digits are. None if there are none, if one of the tokens is not a digit,
    /// or past 64 bits.
    pub fn read(&self, digits: &[u32]) -> Option<u64> {
        let add = |n: u64, &digit: &u32| {
            let digit = Some(digit).filter(|&digit| digit < self.base)?;
            n.checked_mul(self.base.into())?.checked_add(digit.into())
        };
        match self.order {
            _ if digits.is_empty() => None,
            DigitOrder::MostSignificant => digits.iter().try_fold(0, add),
            DigitOrder::LeastSignificant => digits.iter().rev().try_fold(0, add),
        }
    }
}

/// A finite task whose examples are sequences, written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    /// How its answers are written, and its source, too, but for `task.source_base`.
    pub numerals: Numerals,
    /// What the encoder reads, row by row.
    pub source: Packed,
    /// The digits of the answers, row by row.
    pub target: Packed,
}

impl Sequences {
    /// The table that a config asks for. The config must have passed `Config::validate`.
    ///
    /// # Panics
    /// If the task is one of pairs (see [`super::Task`]).
    pub fn new(config: &TaskConfig) -> Sequences {
        match config {
            TaskConfig::Collatz(c) => collatz::sequences(c),
            TaskConfig::Gcd(c) => gcd::sequences(c),
            TaskConfig::Modular(_) | TaskConfig::Permutation(_) => panic!("this task has pairs"),
        }
    }

    /// A table without rows.
    pub fn empty(numerals: Numerals) -> Sequences {
        Sequences { numerals, source: Packed::default(), target: Packed::default() }
    }

    /// Number of examples.
    pub fn rows(&self) -> usize {
        self.source.len()
    }
}

/// Splits `rows` examples by a seeded shuffle (stream "split"): the first `test` are tested, and all
/// others trained on, or the first so many of them. So the test set is the same for every `train`.
///
/// # Panics
/// If there are not so many; `Config::validate` knows.
pub fn split(rows: usize, test: usize, train: TrainSet, seed: Seed) -> Split {
    let mut all: Vec<u32> = (0..rows as u32).collect();
    shuffle(&mut seed.stream("split", 0), &mut all);
    let mut others = all.split_off(test);
    if let TrainSet::Fixed(count) = train {
        assert!(count <= others.len(), "{count} of {} rows", others.len());
        others.truncate(count);
    }
    Split { train: others, test: all }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DigitOrder::{LeastSignificant, MostSignificant};

    #[test]
    fn digits_are_those_of_the_standard_library() {
        // Bases 2, 8, 10 and 16 have a formatter that is not ours.
        for n in (0..2000).chain([u64::MAX - 1, u64::MAX]) {
            for (base, text) in [
                (2, format!("{n:b}")),
                (8, format!("{n:o}")),
                (10, n.to_string()),
                (16, format!("{n:x}")),
            ] {
                let mut digits = Vec::new();
                let numerals = Numerals::new(base, MostSignificant);
                numerals.write(n, &mut digits);
                assert!(text.chars().map(|c| c.to_digit(16).unwrap()).eq(digits.iter().copied()));
                assert_eq!(numerals.length(n), text.len());
                assert_eq!(numerals.read(&digits), Some(n));
                digits.reverse();
                assert_eq!(Numerals::new(base, LeastSignificant).read(&digits), Some(n));
            }
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        let octal = Numerals::new(8, MostSignificant);
        for tokens in [&[][..], &[1, 8], &[octal.eos()], &[octal.pad(), 1]] {
            assert_eq!(octal.read(tokens), None, "{tokens:?}");
        }
        assert_eq!(octal.read(&[7; 21]), Some((1 << 63) - 1));
        assert_eq!(octal.read(&[7; 22]), None, "66 bits");
        assert_eq!(octal.symbols(), 11);
    }

    #[test]
    fn the_test_set_is_the_same_for_every_train_set() {
        let online = split(10_000, 5000, TrainSet::Online, Seed(3));
        let fixed = split(10_000, 5000, TrainSet::Fixed(1000), Seed(3));
        assert_eq!((online.train.len(), fixed.train.len()), (5000, 1000));
        assert_eq!(online.test, fixed.test);
        assert_eq!(online.train[..1000], fixed.train);
        let mut all = [online.train, online.test].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10_000));
        assert_ne!(fixed.test, split(10_000, 5000, TrainSet::Fixed(1000), Seed(4)).test);
    }
}
