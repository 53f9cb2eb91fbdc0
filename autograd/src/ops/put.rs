//! y[idxᵢ] = xᵢ; the other rows stay as they are         x: (rows, cols), idx: (rows), y: (entries, cols)
//! dxᵢ = dy[idxᵢ]                                          keeps nothing
//!
//! A cache that decoding fills position by position: what an earlier replay has put there stays. The
//! gradient is that of one replay.

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Rows, Store, Tape, Var};
use kernels::{Real, gather};

#[derive(Debug)]
struct Put {
    x: Var,
    idx: Index,
    y: Var,
}

impl Tape {
    /// Puts each row of `x` to its place among `entries` rows, which begin as zeros.
    ///
    /// # Panics
    /// If there is not one index for each row; on replay, if an index is not below `entries`.
    pub fn put(&mut self, x: Var, idx: Index, entries: usize) -> Var {
        assert_eq!(self.rows(x), self.index_rows(idx), "put: a place for each row");
        let y = self.result(Rows::Fixed(entries), self.shape(x).1);
        self.push(Put { x, idx, y });
        y
    }
}

impl Op for Put {
    fn name(&self) -> &'static str {
        "put"
    }
    fn formula(&self) -> [String; 2] {
        ["y[idx[i]] = x[i]", "dx[i] = dy[idx[i]]"].map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/gather.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.y]
    }
    fn kept(&self) -> &'static [&'static str] {
        &[]
    }
    fn index(&self) -> Option<Index> {
        Some(self.idx)
    }
    fn forward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write(self.y, |s, y| gather::put(s.value(self.x), s.entries(self.idx), y, cols));
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write_grad(self.x, |s, dx, write| {
            gather::put_backward(s.grad(self.y), s.entries(self.idx), dx, cols, write);
        });
    }
    fn flops(&self, _: &Store) -> (u64, u64) {
        (0, 0)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let moved = s.bytes(&[self.x, self.x]) + 4 * s.entries(self.idx).len() as u64;
        (moved, moved)
    }
}

impl<T: Real> Reference<T> for Put {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let (cols, entries) = (a.shapes[0].1, a.index.iter().max().map_or(0, |&e| e as usize + 1));
        let mut y = zeros((entries, cols));
        gather::put_ref(&a.inputs[0], &a.index, &mut y, cols);
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let mut d = zeros_like(a);
        gather::put_backward_ref(dy, &a.index, &mut d[0], a.shapes[0].1);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    // The last entry has a row, so that the reference knows how many there are.
    vec![Case {
        name: "put",
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(4, 33)]],
        index: vec![vec![5, 0, 2], vec![5], vec![1, 2, 4, 5]],
        record: |t, x, idx| t.put(x[0], idx, 6),
    }]
}
