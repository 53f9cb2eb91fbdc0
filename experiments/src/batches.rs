//! Which training rows step s learns from, without any state.
//!
//! ```text
//! full                 all rows, in order, at every step
//! with replacement     `size` independent draws from stream ("batch", s)
//! without              rows s·size .. (s+1)·size of the infinite sequence  order₀ order₁ order₂ …,
//!                      where orderₑ is a permutation of the rows from stream ("epoch", e)
//! ```
//!
//! Without replacement a batch may begin in one epoch and end in the next, so no row is ever left
//! out and all batches are equally large; only such a batch can hold a row twice.

use crate::config::Batch;
use crate::seed::{Seed, below, shuffle};

/// The sequence of batches of one run.
#[derive(Debug, Clone)]
pub struct Batches {
    train: Vec<u32>, // (rows)
    size: usize,
    replacement: bool,
    seed: Seed,
    order: Vec<u32>, // (rows): the permutation of the epoch below, kept because epochs are long
    epoch: Option<u64>, // which epoch `order` holds
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
        Batches { train, size, replacement, seed, order, epoch: None }
    }

    /// Rows per batch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes the rows of `step` into `out`, which has `size()` places. Allocates nothing.
    pub fn fill(&mut self, step: u64, out: &mut [u32]) {
        assert_eq!(out.len(), self.size, "a batch has {} rows", self.size);
        if self.replacement {
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

    fn rows(n: u32) -> Vec<u32> {
        (0..n).map(|i| 10 * i).collect()
    }

    #[test]
    fn a_step_needs_none_of_the_steps_before_it() {
        for replacement in [true, false] {
            let mut one = Batches::new(rows(103), Batch::Size(16), replacement, Seed(7));
            let mut all = one.clone();
            let (mut direct, mut walked) = ([0; 16], [0; 16]);
            one.fill(1000, &mut direct);
            for step in 0..=1000 {
                all.fill(step, &mut walked);
            }
            assert_eq!(direct, walked, "replacement = {replacement}");
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
    fn a_full_batch_is_every_row_in_order() {
        for replacement in [true, false] {
            let mut batches = Batches::new(rows(5), Batch::Full, replacement, Seed(0));
            let mut out = [0; 5];
            batches.fill(17, &mut out);
            assert_eq!(out[..], rows(5));
        }
    }
}
