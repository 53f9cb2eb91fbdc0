//! The greatest common divisor of a and b, each 1 to max.
//!
//! ```text
//! source   digits of a, BOS, digits of b          row (a − 1)·max + b − 1
//! target   digits of gcd(a, b)
//! ```

use super::sequences::{Numerals, Sequences};
use crate::config::sequence::GcdConfig;

/// Every pair with its divisor, a slowest.
pub fn sequences(config: &GcdConfig) -> Sequences {
    let numerals = Numerals::new(config.base, config.order);
    let mut all = Sequences::empty(numerals);
    for row in 0..config.max * config.max {
        let [a, b] = pair(config, row);
        all.source.push(|to| {
            numerals.write(a, to);
            to.push(numerals.bos());
            numerals.write(b, to);
        });
        all.target.push(|to| numerals.write(gcd(a, b), to));
    }
    all
}

/// a and b of a row.
pub fn pair(config: &GcdConfig, row: usize) -> [u64; 2] {
    [row / config.max + 1, row % config.max + 1].map(|n| n as u64)
}

/// Euclid's algorithm.
pub fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sequence::{DigitOrder, TrainSet};

    fn config(max: usize, base: u32) -> GcdConfig {
        let order = DigitOrder::MostSignificant;
        GcdConfig { max, base, order, test: 1, train: TrainSet::Online }
    }

    #[test]
    fn as_many_pairs_are_coprime_as_the_totients_say() {
        // Φ(1000) = φ(1) + … + φ(1000) = 304,192 (OEIS A002088); 2Φ − 1 ordered pairs.
        let pairs = config(1000, 10);
        let coprime = (0..1_000_000).filter(|&row| {
            let [a, b] = pair(&pairs, row);
            gcd(a, b) == 1
        });
        assert_eq!(coprime.count(), 2 * 304_192 - 1);
    }

    #[test]
    fn a_source_is_two_numbers_with_bos_between() {
        let all = sequences(&config(40, 8));
        assert_eq!(all.rows(), 1600);
        let row = (24 - 1) * 40 + 36 - 1; // 24 = 30₈, 36 = 44₈, gcd 12 = 14₈
        assert_eq!(all.source.row(row), [3, 0, 9, 4, 4]);
        assert_eq!(all.target.row(row), [1, 4]);
        assert_eq!((all.source.longest(), all.target.longest()), (5, 2));
    }
}
