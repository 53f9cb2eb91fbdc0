//! yᵢ = table[idxᵢ]                    table: (entries, cols), idx: (rows), y: (rows, cols)
//! dtable[e] = Σ dyᵢ over idxᵢ = e     keeps nothing
//!
//! An embedding is a gather from W_E. A projection of embeddings is computed on the table's unique
//! rows and gathered afterwards.

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, gather};

#[derive(Debug)]
struct Gather {
    table: Var,
    idx: Index,
    y: Var,
}

impl Tape {
    /// Rows of `table`, by index.
    ///
    /// # Panics
    /// On replay, if an index is not below the table's rows.
    pub fn gather(&mut self, table: Var, idx: Index) -> Var {
        let y = self.result(self.index_rows(idx), self.shape(table).1);
        self.push(Gather { table, idx, y });
        y
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn formula(&self) -> [String; 2] {
        ["y[i] = table[idx[i]]", "dtable[e] = Σ dy[i] over idx[i] = e"].map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/gather.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.table]
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
        let (_, cols) = s.shape(self.y);
        s.write(self.y, |s, y| gather::gather(s.value(self.table), s.entries(self.idx), y, cols));
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.y);
        s.write_grad(self.table, |s, dtable, write| {
            gather::scatter(s.grad(self.y), s.entries(self.idx), dtable, cols, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.y);
        (0, (rows * cols) as u64)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let (table, y) = (s.bytes(&[self.table]), s.bytes(&[self.y]));
        let idx = 4 * s.entries(self.idx).len() as u64;
        // Of a table larger than the result, only the rows in question are read.
        (table.min(y) + idx + y, y + idx + table)
    }
}

impl<T: Real> Reference<T> for Gather {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let cols = a.shapes[0].1;
        let mut y = zeros((a.index.len(), cols));
        gather::gather_ref(&a.inputs[0], &a.index, &mut y, cols);
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let mut d = zeros_like(a);
        gather::scatter_ref(dy, &a.index, &mut d[0], a.shapes[0].1);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "gather",
        shapes: vec![vec![(5, 7)], vec![(1, 1)], vec![(13, 32)]],
        index: vec![vec![4, 0, 0, 2, 4, 4], vec![0, 0], (0..40).map(|i| i * 7 % 13).collect()],
        record: |t, x, idx| t.gather(x[0], idx),
    }]
}
