//! r[i] = α·‖x[π(i)] − x[i]‖                 x: (rows, cols), π: (rows), r: (rows, 1), α a number of the op
//! dx[i] += s·(x[i] − x[π(i)]), dx[π(i)] += s·(x[π(i)] − x[i]), s = α²·dr[i]/r[i]      keeps r
//!
//! How far mixing with the same π and α would move each row.

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, mix};

#[derive(Debug)]
struct Distance {
    x: Var,
    pi: Index,
    alpha: f64,
    r: Var,
}

impl Tape {
    /// The share α of the distance from each row of `x` to its partner, row π(i).
    ///
    /// # Panics
    /// If π does not have as many entries as `x` has rows; on replay, if one is not below them.
    pub fn distance(&mut self, x: Var, pi: Index, alpha: f64) -> Var {
        assert_eq!(self.index_rows(pi), self.rows(x), "distance: a partner for each row");
        let r = self.result(self.rows(x), 1);
        self.push(Distance { x, pi, alpha, r });
        r
    }
}

impl Op for Distance {
    fn name(&self) -> &'static str {
        "distance"
    }
    fn formula(&self) -> [String; 2] {
        let a = self.alpha;
        [
            format!("r[i] = {a}·‖x[π(i)] − x[i]‖"),
            format!(
                "dx[i] += s·(x[i] − x[π(i)]), dx[π(i)] += s·(x[π(i)] − x[i]), s = {a}²·dr[i]/r[i]"
            ),
        ]
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/mix.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.r]
    }
    fn kept(&self) -> &'static [&'static str] {
        &[]
    }
    fn index(&self) -> Option<Index> {
        Some(self.pi)
    }
    fn forward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write(self.r, |s, r| {
            mix::distance(s.value(self.x), s.entries(self.pi), self.alpha, r, cols);
        });
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.x);
        s.write_grad(self.x, |s, dx, write| {
            let (x, pi, r, dr) =
                (s.value(self.x), s.entries(self.pi), s.value(self.r), s.grad(self.r));
            mix::distance_backward(x, pi, self.alpha, r, dr, dx, cols, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let n = s.value(self.x).len() as u64;
        (3 * n, if s.wants_grad(self.r) { 6 * n } else { 0 })
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let forward = s.bytes(&[self.x, self.r]) + 4 * s.entries(self.pi).len() as u64;
        (forward, if s.wants_grad(self.r) { forward + s.bytes(&[self.x, self.r]) } else { 0 })
    }
}

impl<T: Real> Reference<T> for Distance {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let mut r = zeros((a.shapes[0].0, 1));
        mix::distance_ref(&a.inputs[0], &a.index, self.alpha, &mut r, a.shapes[0].1);
        vec![r]
    }
    fn backward_ref(&self, a: &Args<T>, dr: &[T]) -> Vec<Vec<T>> {
        let (x, cols, mut d) = (&a.inputs[0], a.shapes[0].1, zeros_like(a));
        let r = &self.forward_ref(a)[0];
        mix::distance_backward_ref(x, &a.index, self.alpha, r, dr, &mut d[0], cols);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "distance",
        shapes: vec![vec![(5, 7)], vec![(2, 3)], vec![(40, 32)], vec![(4, 33)]],
        index: vec![
            vec![3, 0, 4, 2, 1],
            vec![1, 0],
            (0..40).map(|i| (i * 7 + 3) % 40).collect(),
            vec![1, 2, 1, 1],
        ],
        record: |t, x, pi| t.distance(x[0], pi, 0.3),
    }]
}
