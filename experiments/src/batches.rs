//! Which training rows step s learns from, without any state.
//!
//! ```text
//! renewed              as with replacement, from rows b·count .. (b+1)·count of the list, counted on from its
//!                      beginning where it ends; b = s / every, rounded down
//! full                 all rows, in order, at every step
//! with replacement     `size` independent draws from stream ("batch", s)
//! without              rows s·size .. (s+1)·size of the infinite sequence  order₀ order₁ order₂ …,
//!                      where orderₑ is a permutation of the rows from stream ("epoch", e)
//! weighted             `size` independent draws from stream ("batch", s), each row in proportion to
//!                      its weight: the first row whose running sum of weights is above u·total,
//!                      u the upper 53 bits of a draw over 2⁵³
//! ```
//!
//! Without replacement a batch may begin in one epoch and end in the next, so no row is ever left
//! out and all batches are equally large; only such a batch can hold a row twice.

use crate::config::Batch;
use crate::seed::{Seed, below, shuffle};
use rand::Rng;

/// The sequence of batches of one run.
#[derive(Debug, Clone)]
pub struct Batches {
    train: Vec<u32>, // (rows)
    size: usize,
    replacement: bool,
    seed: Seed,
    order: Vec<u32>, // (rows): the permutation of the epoch below, kept because epochs are long
    epoch: Option<u64>, // which epoch `order` holds
    sums: Vec<f64>,  // (rows): the running sums of the weights; empty where there are none
    renewed: Option<(usize, u64)>, // how many rows at a time, and for how many steps
}

impl Batches {
    /// Batches of the rows `train`, which must not be empty; `replacement` says nothing for a full batch.
    pub fn new(train: Vec<u32>, batch: Batch, replacement: bool, seed: Seed) -> Batches {
        let (size, order) = match batch {
            Batch::Full => (train.len(), Vec::new()),
            Batch::Size(size) if replacement => (size, Vec::new()),
            Batch::Size(size) => (size, train.clone()),
        };
        // A full batch is every row in order; nothing is drawn.
        let replacement = replacement && batch != Batch::Full;
        Batches {
            train,
            size,
            replacement,
            seed,
            order,
            epoch: None,
            sums: Vec::new(),
            renewed: None,
        }
    }

    /// Batches of `size` of the rows `train`, drawn in proportion to their weights.
    ///
    /// # Errors
    /// If a weight is negative or not finite, or none is above 0.
    ///
    /// # Panics
    /// If there are not as many weights as rows.
    pub fn weighted(
        train: Vec<u32>,
        weights: &[f64],
        size: usize,
        seed: Seed,
    ) -> Result<Batches, String> {
        assert_eq!(train.len(), weights.len(), "a weight a row");
        if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            return Err(format!(
                "the weight of row {} is {}: expected a finite number, 0 or above",
                train[i], weights[i]
            ));
        }
        // Rows that are never drawn are left out, so that the last sum belongs to one that is.
        let drawn = train.iter().zip(weights).filter(|(_, w)| **w > 0.0);
        let (train, weights): (Vec<u32>, Vec<f64>) = drawn.map(|(row, w)| (*row, *w)).unzip();
        let mut total = 0.0;
        let add = |weight: &f64| {
            total += weight;
            total
        };
        let sums: Vec<f64> = weights.iter().map(add).collect();
        if sums.is_empty() {
            return Err("no training row has a weight above 0, so there is nothing to draw".into());
        }
        let mut batches = Batches::new(train, Batch::Size(size), true, seed);
        batches.sums = sums;
        Ok(batches)
    }

    /// Batches of `size` of `count` of the rows `train` at a time, others every so many steps.
    ///
    /// # Panics
    /// If there are not so many rows, or `count` or `every` is 0.
    pub fn renewed(train: Vec<u32>, count: usize, every: u64, size: usize, seed: Seed) -> Batches {
        assert!((1..=train.len()).contains(&count) && every > 0, "{count} of {}", train.len());
        let batches = Batches::new(train, Batch::Size(size), true, seed);
        Batches { renewed: Some((count, every)), ..batches }
    }

    /// Rows per batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes the rows of `step` into `out`, which has `size()` places. Allocates nothing.
    pub fn fill(&mut self, step: u64, out: &mut [u32]) {
        assert_eq!(out.len(), self.size, "a batch has {} rows", self.size);
        if let Some(&total) = self.sums.last() {
            let mut rng = self.seed.stream("batch", step);
            out.fill_with(|| {
                let u = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                let place = self.sums.partition_point(|&sum| sum <= u * total);
                self.train[place.min(self.train.len() - 1)] // u·total may round to total
            });
        } else if let Some((count, every)) = self.renewed {
            let mut rng = self.seed.stream("batch", step);
            let (rows, block) = (self.train.len() as u64, step / every);
            let first = block * count as u64 % rows;
            out.fill_with(|| self.train[((first + below(&mut rng, count) as u64) % rows) as usize]);
        } else if self.replacement {
            let mut rng = self.seed.stream("batch", step);
            out.fill_with(|| self.train[below(&mut rng, self.train.len())]);
        } else if self.order.is_empty() {
            out.copy_from_slice(&self.train);
        } else {
            let rows = self.train.len() as u64;
            let mut position = step * self.size as u64;
            let mut filled = 0;
            while filled < out.len() {
                self.turn_to(position / rows);
                let rest = &self.order[(position % rows) as usize..];
                let take = rest.len().min(out.len() - filled);
                out[filled..filled + take].copy_from_slice(&rest[..take]);
                filled += take;
                position += take as u64;
            }
        }
    }

    /// Makes `order` that of `epoch`.
    fn turn_to(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.order.copy_from_slice(&self.train);
            shuffle(&mut self.seed.stream("epoch", epoch), &mut self.order);
            self.epoch = Some(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_set_is_the_next_one_and_in_the_end_the_first_again() {
        let all: Vec<u32> = (100..110).collect();
        let mut batches = Batches::renewed(all.clone(), 4, 3, 64, Seed(1));
        let mut seen = |step| {
            let mut rows = vec![0; 64];
            batches.fill(step, &mut rows);
            rows.sort_unstable();
            rows.dedup();
            rows
        };
        for (steps, expected) in [
            ([0, 1, 2], vec![100, 101, 102, 103]),
            ([3, 4, 5], vec![104, 105, 106, 107]),
            ([6, 7, 8], vec![100, 101, 108, 109]),
            ([9, 10, 11], vec![102, 103, 104, 105]),
        ] {
            assert!(steps.into_iter().all(|step| seen(step) == expected), "{steps:?}");
        }
        // The first set is drawn as a fixed one is.
        let mut fixed = Batches::new(all[..4].to_vec(), Batch::Size(8), true, Seed(1));
        let mut renewed = Batches::renewed(all, 4, 3, 8, Seed(1));
        let (mut a, mut b) = (vec![0; 8], vec![0; 8]);
        fixed.fill(2, &mut a);
        renewed.fill(2, &mut b);
        assert_eq!(a, b);
    }

    fn rows(n: u32) -> Vec<u32> {
        (0..n).map(|i| 10 * i).collect()
    }

    #[test]
    fn a_step_needs_none_of_the_steps_before_it() {
        let weights: Vec<f64> = (0..103).map(f64::from).collect();
        for mut one in [
            Batches::new(rows(103), Batch::Size(16), true, Seed(7)),
            Batches::new(rows(103), Batch::Size(16), false, Seed(7)),
            Batches::weighted(rows(103), &weights, 16, Seed(7)).unwrap(),
        ] {
            let mut all = one.clone();
            let (mut direct, mut walked) = ([0; 16], [0; 16]);
            one.fill(1000, &mut direct);
            for step in 0..=1000 {
                all.fill(step, &mut walked);
            }
            assert_eq!(direct, walked, "{one:?}");
        }
    }

    #[test]
    fn without_replacement_an_epoch_sees_each_row_once() {
        let mut batches = Batches::new(rows(30), Batch::Size(12), false, Seed(0));
        let mut seen = Vec::new();
        let mut out = [0; 12];
        for step in 0..5 {
            batches.fill(step, &mut out); // 60 rows: two epochs
            seen.extend(out);
        }
        assert_ne!(seen[..30], seen[30..]);
        for epoch in seen.chunks_mut(30) {
            epoch.sort_unstable();
            assert_eq!(epoch, rows(30));
        }
    }

    #[test]
    fn with_replacement_rows_repeat_within_a_batch() {
        // 64 draws of 64 rows: no repetition has probability 64!/64^64 < 1e-26.
        let mut batches = Batches::new(rows(64), Batch::Size(64), true, Seed(0));
        let mut out = vec![0; 64];
        batches.fill(0, &mut out);
        assert!(out.iter().all(|r| rows(64).contains(r)));
        out.sort_unstable();
        out.dedup();
        assert!(out.len() < 64);
    }

    #[test]
    fn a_batch_may_be_larger_than_the_rows_when_they_are_drawn_with_replacement() {
        let mut batches = Batches::new(rows(3), Batch::Size(10), true, Seed(0));
        let mut out = [1; 10];
        batches.fill(0, &mut out);
        assert!(out.iter().all(|r| rows(3).contains(r)));
    }

    #[test]
    fn weights_are_shares_of_what_is_drawn() {
        let weights = [3.0, 0.0, 1.0, 0.0, 4.0, 0.0];
        let mut batches = Batches::weighted(rows(6), &weights, 80_000, Seed(2)).unwrap();
        let mut out = vec![0; 80_000];
        batches.fill(5, &mut out);
        let mut counts = [0u32; 6];
        out.iter().for_each(|&row| counts[row as usize / 10] += 1);
        // One standard deviation is 141 at most.
        for (count, weight) in counts.iter().zip(weights) {
            assert!((f64::from(*count) - weight * 10_000.0).abs() < 700.0, "{counts:?}");
        }
        assert_eq!((counts[1], counts[3], counts[5]), (0, 0, 0));
    }

    // Computed by a second implementation of the stream and of this file's formula, in Python.
    #[test]
    fn weighted_draws_are_those_of_the_first_release() {
        let mut batches = Batches::weighted(rows(4), &[1.0, 2.0, 3.0, 4.0], 12, Seed(0)).unwrap();
        let mut out = [0; 12];
        batches.fill(0, &mut out);
        assert_eq!(out, [20, 10, 30, 30, 30, 20, 20, 10, 20, 20, 20, 30]);
        batches.fill(1, &mut out);
        assert_eq!(out, [30, 20, 30, 30, 10, 20, 30, 10, 30, 20, 30, 30]);
    }

    #[test]
    fn weights_that_draw_nothing_are_refused_in_a_sentence() {
        let error =
            |weights: [f64; 2]| Batches::weighted(rows(2), &weights, 1, Seed(0)).unwrap_err();
        assert_eq!(
            error([0.0, 0.0]),
            "no training row has a weight above 0, so there is nothing to draw"
        );
        assert_eq!(
            error([1.0, -1.0]),
            "the weight of row 10 is -1: expected a finite number, 0 or above"
        );
        assert!(error([f64::NAN, 1.0]).starts_with("the weight of row 0 is NaN"));
    }

    #[test]
    fn a_full_batch_is_every_row_in_order() {
        for replacement in [true, false] {
            let mut batches = Batches::new(rows(5), Batch::Full, replacement, Seed(0));
            let mut out = [0; 5];
            batches.fill(17, &mut out);
            assert_eq!(out[..], rows(5));
        }
    }
}
