//! How often each training number is drawn: weights, in proportion to which a batch is drawn with
//! replacement (`batches.rs`).
//!
//! ```text
//! uniform              none
//! log_uniform          1/n
//! residue_stratified   1 / (how many training numbers have n's residue mod 64)
//! carry_stratified     1 / (how many have n's number of carries)
//! short_carry          0 if n is odd and has more than two carries, else 1
//! ```
//!
//! So a class that a training number is in, a residue or a number of carries, is drawn as often as any
//! other, and within it all numbers alike. `collatz.rs` says what a carry is. log_uniform is 1/n and not
//! ln(1 + 1/n), the share of n when e to a uniform power is cut to a whole number: division is exact to
//! the last bit on every machine, a library's logarithm is not.

use super::collatz::{carries, number};
use crate::config::sequence::{CollatzConfig, Sampler};
use std::collections::BTreeMap;

/// Modulus of the residues that are drawn alike (arXiv:2604.13082).
const RESIDUES: u64 = 64;
/// Most carries of an odd number that short_carry leaves (arXiv:2604.13082).
const SHORT: usize = 2;

/// The weight of each of the rows `train`; None if all are drawn alike.
pub fn weights(config: &CollatzConfig, train: &[u32]) -> Option<Vec<f64>> {
    let numbers = || train.iter().map(|&row| number(row as usize));
    let carries = |n| carries(config.op, config.iterations, config.base, n);
    match config.sampler {
        Sampler::Uniform => None,
        Sampler::LogUniform => Some(numbers().map(|n| 1.0 / n as f64).collect()),
        Sampler::ResidueStratified => Some(stratified(numbers().map(|n| n % RESIDUES).collect())),
        Sampler::CarryStratified => Some(stratified(numbers().map(carries).collect())),
        Sampler::ShortCarry => {
            // An even number has no carries in its first step, but may have in later ones.
            let shown = |n: u64| n.is_multiple_of(2) || carries(n) <= SHORT;
            Some(numbers().map(|n| if shown(n) { 1.0 } else { 0.0 }).collect())
        }
    }
}

/// One over the size of each member's class.
fn stratified<C: Ord>(classes: Vec<C>) -> Vec<f64> {
    let mut sizes = BTreeMap::new();
    classes.iter().for_each(|class| *sizes.entry(class).or_insert(0u32) += 1);
    classes.iter().map(|class| 1.0 / f64::from(sizes[class])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Batches;
    use crate::config::sequence::{CollatzOp, DigitOrder, TrainSet};
    use crate::seed::Seed;
    use crate::tasks::sequences::split;

    const DRAWN: usize = 200_000;

    /// The numbers of a long batch, drawn by this sampler from the 5,000 numbers of a split.
    fn draw(sampler: Sampler, base: u32) -> Vec<u64> {
        let (op, order) = (CollatzOp::ThreePlus, DigitOrder::MostSignificant);
        let (iterations, max, test, train) = (1, 10_000, 5000, TrainSet::Online);
        let config = CollatzConfig {
            op,
            iterations,
            max,
            base,
            source_base: None,
            order,
            test,
            train,
            sampler,
            renew: None,
        };
        let train = split(max, test, train, Seed(0)).train;
        let weights = weights(&config, &train).unwrap();
        let mut rows = vec![0; DRAWN];
        Batches::weighted(train.clone(), &weights, DRAWN, Seed(0)).unwrap().fill(0, &mut rows);
        assert!(rows.iter().all(|row| train.contains(row)));
        rows.iter().map(|&row| number(row as usize)).collect()
    }

    /// Every one of `classes` is drawn equally often, up to five standard deviations.
    #[track_caller]
    fn even_over(classes: impl Iterator<Item = usize>, count: usize) {
        let mut drawn = vec![0usize; count];
        classes.for_each(|class| drawn[class] += 1);
        let expected = DRAWN as f64 / count as f64;
        let most = 5.0 * (expected * (1.0 - 1.0 / count as f64)).sqrt();
        assert!(drawn.iter().all(|&k| (k as f64 - expected).abs() < most), "{drawn:?} {expected}");
    }

    #[test]
    fn residues_are_drawn_alike_and_numbers_alike_within_them() {
        let drawn = draw(Sampler::ResidueStratified, 8);
        even_over(drawn.iter().map(|n| (n % 64) as usize), 64);
        // A residue has about 78 numbers of this split, so each is drawn some 40 times.
        let mut counts = BTreeMap::new();
        drawn.iter().filter(|&n| n % 64 == 5).for_each(|n| *counts.entry(n).or_insert(0) += 1);
        assert!(counts.len() > 60 && counts.values().all(|&k| (10..90).contains(&k)), "{counts:?}");
    }

    #[test]
    fn numbers_of_carries_are_drawn_alike() {
        let drawn = draw(Sampler::CarryStratified, 8);
        even_over(drawn.iter().map(|&n| carries(CollatzOp::ThreePlus, 1, 8, n)), 5);
        // Even numbers have no carries and are nearly all that have none: about a fifth.
        let even = drawn.iter().filter(|n| n.is_multiple_of(2)).count() as f64 / DRAWN as f64;
        assert!((0.19..0.2).contains(&even), "{even}");
    }

    #[test]
    fn long_carries_are_never_shown_and_even_numbers_always() {
        let drawn = draw(Sampler::ShortCarry, 8);
        let odd = drawn.iter().filter(|n| !n.is_multiple_of(2));
        assert!(odd.clone().all(|&n| carries(CollatzOp::ThreePlus, 1, 8, n) <= 2));
        // Four in ten odd numbers are left, so .4 / 1.4 of what is drawn is odd.
        let share = odd.count() as f64 / DRAWN as f64;
        assert!((share - 0.4 / 1.4).abs() < 0.02, "{share}");
    }

    #[test]
    fn logarithms_are_even_where_numbers_are_drawn_by_one_over_n() {
        // Between 100 and 1,000 as often as between 1,000 and 10,000, up to what the split has.
        let drawn = draw(Sampler::LogUniform, 10);
        let between = |lo, hi| drawn.iter().filter(|&&n| n >= lo && n < hi).count() as f64;
        let ratio = between(100, 1000) / between(1000, 10_000);
        assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
    }
}
