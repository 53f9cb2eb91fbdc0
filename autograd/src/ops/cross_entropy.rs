//! loss = mean over the rows of −ln softmax(z)[label]      z: (rows, cols), labels: (rows), loss: (1, 1)
//! dz = (softmax(z) − onehot)·dloss/rows                   keeps the residual softmax(z) − onehot

use super::{Args, Case, Reference, zeros};
use crate::{Index, Op, Rows, Store, Tape, Var};
use kernels::{Real, cross_entropy};

/// A recorded cross-entropy.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    z: Var,
    labels: Index,
    resid: Var,
    row: Var,
    /// The mean loss: (1, 1).
    pub loss: Var,
}

impl Tape {
    /// Mean cross-entropy of the logits z against the labels.
    ///
    /// # Panics
    /// On replay, if a label is not below the number of columns.
    pub fn cross_entropy(&mut self, z: Var, labels: Index) -> CrossEntropy {
        let (rows, cols) = (self.rows(z), self.shape(z).1);
        let (resid, row) = (self.kept(rows, cols), self.kept(rows, 2));
        let loss = self.result(Rows::Fixed(1), 1);
        self.hook("loss", loss);
        let op = CrossEntropy { z, labels, resid, row, loss };
        self.push(op);
        op
    }

    /// After a forward: the sum of the losses and the number of rows whose first largest logit is
    /// the label.
    pub fn loss_and_hits(&self, op: CrossEntropy) -> (f64, u64) {
        let row = self.value(op.row);
        (cross_entropy::total(row, 0), cross_entropy::total(row, 1) as u64)
    }

    /// After a forward: for each row, whether its first largest logit is the label.
    pub fn hits(&self, op: CrossEntropy) -> impl Iterator<Item = bool> {
        self.value(op.row).chunks_exact(2).map(|row| row[1] == 1.0)
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn formula(&self) -> [String; 2] {
        [
            "loss = mean over the rows of −ln softmax(z)[label], resid = softmax(z) − onehot, row = (loss, hit)",
            "dz = resid·dloss/rows",
        ]
        .map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/cross_entropy.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.z]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.loss, self.resid, self.row]
    }
    fn kept(&self) -> &'static [&'static str] {
        &["resid", "row"]
    }
    fn index(&self) -> Option<Index> {
        Some(self.labels)
    }
    fn forward(&self, s: &mut Store) {
        let (rows, cols) = s.shape(self.z);
        s.write(self.resid, |s, resid| {
            s.write(self.row, |s, row| {
                let (z, labels) = (s.value(self.z), s.entries(self.labels));
                cross_entropy::cross_entropy(z, labels, resid, row, cols);
            });
        });
        s.write(self.loss, |s, loss| {
            loss[0] = (cross_entropy::total(s.value(self.row), 0) / rows as f64) as f32;
        });
    }
    fn backward(&self, s: &mut Store) {
        let scale = s.grad(self.loss)[0] / s.shape(self.z).0 as f32;
        s.write_grad(self.z, |s, dz, write| {
            cross_entropy::cross_entropy_backward(s.value(self.resid), dz, scale, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.z);
        let n = (rows * cols) as u64;
        (20 * n, 2 * n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let CrossEntropy { z, labels, resid, row, loss } = *self;
        let labels = 4 * s.entries(labels).len() as u64;
        (s.bytes(&[z, resid, row, loss]) + labels, s.bytes(&[resid, loss, z]))
    }
}

impl<T: Real> Reference<T> for CrossEntropy {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let (rows, cols) = a.shapes[0];
        let (mut resid, mut row) = (zeros((rows, cols)), zeros((rows, 2)));
        cross_entropy::cross_entropy_ref(&a.inputs[0], &a.index, &mut resid, &mut row, cols);
        let total: f64 = row.chunks_exact(2).map(|row| row[0].f64()).sum();
        vec![vec![T::of(total / rows as f64)], resid, row]
    }
    fn backward_ref(&self, a: &Args<T>, dloss: &[T]) -> Vec<Vec<T>> {
        let scale = dloss[0] / T::of(a.shapes[0].0 as f64);
        let resid = &self.forward_ref(a)[1];
        vec![resid.iter().map(|&resid| resid.mul_add(scale, T::of(0.0))).collect()]
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "cross_entropy",
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(20, 97)]],
        index: vec![vec![6, 0, 3], vec![0], (0..20).map(|i| i * 31 % 97).collect()],
        record: |t, x, labels| t.cross_entropy(x[0], labels).loss,
    }]
}
