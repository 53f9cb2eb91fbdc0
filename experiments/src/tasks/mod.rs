//! Tasks: every pair of symbols (a, b) with its answer, and the split into train and test.
//!
//! A task is finite, so it is a table. `pairs[i] = [a, b]` and `labels[i] = a ∘ b`; symbols and
//! classes are numbered from 0. A split is a seeded shuffle of the table's row numbers.
//!
//! Where answers are sequences, `sequences.rs` has the table and its split.

pub mod collatz;
pub mod gcd;
pub mod int2int;
pub mod modular;
pub mod permutation;
pub mod samplers;
pub mod sequences;

use crate::config::TaskConfig;
use crate::seed::{Seed, shuffle};

/// A finite binary operation, written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Number of input symbols: p, or n! for permutations. "=" is not among them.
    pub symbols: usize,
    /// Number of answers.
    pub classes: usize,
    /// Every pair, a slowest; (pairs, 2).
    pub pairs: Vec<[u32; 2]>,
    /// The answer of each pair; (pairs).
    pub labels: Vec<u32>,
}

impl Task {
    /// The table that a config asks for. The config must have passed `Config::validate`.
    ///
    /// # Panics
    /// If the answers are sequences (see [`sequences::Sequences`]).
    pub fn new(config: &TaskConfig) -> Task {
        match config {
            TaskConfig::Modular(c) => modular::task(c.op, c.p),
            TaskConfig::Permutation(c) => permutation::task(c.n),
            TaskConfig::Collatz(_) | TaskConfig::Gcd(_) => panic!("this task has sequences"),
        }
    }
}

/// Row numbers of the training and of the test pairs, both in the shuffle's order.
///
/// The order is random, so the first k of either are a random sample: the fixed probes are these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<u32>,
    /// Rows never trained on.
    pub test: Vec<u32>,
}

/// How many of `pairs` are trained on: the nearest whole number to `fraction * pairs`.
///
/// ```
/// assert_eq!(experiments::tasks::train_count(97 * 97, 0.2), 1882); // 1881.8
/// ```
pub fn train_count(pairs: usize, fraction: f64) -> usize {
    (fraction * pairs as f64).round() as usize
}

/// Splits all pairs by a seeded shuffle (stream "split"): the first `train_count` are trained on.
pub fn split(task: &Task, fraction: f64, seed: Seed) -> Split {
    let mut train: Vec<u32> = (0..task.pairs.len() as u32).collect();
    shuffle(&mut seed.stream("split", 0), &mut train);
    let test = train.split_off(train_count(train.len(), fraction));
    Split { train, test }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModularOp;

    #[test]
    fn a_split_is_a_partition() {
        let task = modular::task(ModularOp::Add, 97);
        let s = split(&task, 0.2, Seed(0));
        assert_eq!((s.train.len(), s.test.len()), (1882, 7527));
        let mut all = [s.train, s.test].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..9409));
    }

    #[test]
    fn a_seed_gives_one_split_and_another_seed_another() {
        let task = modular::task(ModularOp::Add, 13);
        assert_eq!(split(&task, 0.5, Seed(4)), split(&task, 0.5, Seed(4)));
        assert_ne!(split(&task, 0.5, Seed(4)), split(&task, 0.5, Seed(5)));
    }

    #[test]
    fn a_larger_fraction_keeps_the_pairs_of_a_smaller_one() {
        let task = modular::task(ModularOp::Add, 13);
        let (few, many) = (split(&task, 0.2, Seed(1)), split(&task, 0.5, Seed(1)));
        assert_eq!(few.train[..], many.train[..few.train.len()]);
    }

    // Computed by a second implementation of the stream and the shuffle, in Python integers.
    #[test]
    fn the_split_is_that_of_the_first_release() {
        let task = modular::task(ModularOp::Add, 97);
        assert_eq!(
            split(&task, 0.2, Seed(0)).train[..8],
            [7566, 3276, 6398, 3233, 8140, 4634, 6208, 5545]
        );
    }
}
