//! y  = softmax(x) over each row           x, y: (rows, cols)
//! dx = y·(dy − Σⱼ dyⱼ·yⱼ)                 keeps y, not x

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, softmax};

#[derive(Debug)]
struct Softmax {
    x: Var,
    y: Var,
}

impl Tape {
    /// Softmax over each row.
    pub fn softmax(&mut self, x: Var) -> Var {
        let y = self.result(self.rows(x), self.shape(x).1);
        self.push(Softmax { x, y });
        y
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn formula(&self) -> [String; 2] {
        ["y[j] = e^x[j] / Σ e^x", "dx = y·(dy − Σ dy·y)"].map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/softmax.rs"]
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
        None
    }
    fn forward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write(self.y, |s, y| softmax::softmax(s.value(self.x), y, cols));
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write_grad(self.x, |s, dx, write| {
            softmax::softmax_backward(s.value(self.y), s.grad(self.y), dx, cols, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.x);
        let n = (rows * cols) as u64;
        (19 * n, 5 * n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        (s.bytes(&[self.x, self.y]), s.bytes(&[self.y, self.y, self.x]))
    }
}

impl<T: Real> Reference<T> for Softmax {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let mut y = zeros(a.shapes[0]);
        softmax::softmax_ref(&a.inputs[0], &mut y, a.shapes[0].1);
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let (y, mut d) = (self.forward_ref(a), zeros_like(a));
        softmax::softmax_backward_ref(&y[0], dy, &mut d[0], a.shapes[0].1);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "softmax",
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(64, 113)], vec![(0, 5)]],
        index: vec![],
        record: |t, x, _| t.softmax(x[0]),
    }]
}
