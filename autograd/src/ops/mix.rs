//! y = (1 − α)·x + α·x[π]                    x, y: (rows, cols), π: (rows), α a number of the op
//! dx[j] = (1 − α)·dy[j] + α·Σ dy[i] over π(i) = j       keeps nothing
//!
//! Mixing of representations: row i becomes partly that of its partner π(i).

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, mix};

#[derive(Debug)]
struct Mix {
    x: Var,
    pi: Index,
    alpha: f64,
    y: Var,
}

impl Tape {
    /// Each row of `x` moved by the share α towards its partner, row π(i).
    ///
    /// # Panics
    /// If π does not have as many entries as `x` has rows; on replay, if one is not below them.
    pub fn mix(&mut self, x: Var, pi: Index, alpha: f64) -> Var {
        assert_eq!(self.index_rows(pi), self.rows(x), "mix: a partner for each row");
        let y = self.result(self.rows(x), self.shape(x).1);
        self.push(Mix { x, pi, alpha, y });
        y
    }
}

impl Op for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }
    fn formula(&self) -> [String; 2] {
        let a = self.alpha;
        [
            format!("y[i] = (1 − {a})·x[i] + {a}·x[π(i)]"),
            format!("dx[j] = (1 − {a})·dy[j] + {a}·Σ dy[i] over π(i) = j"),
        ]
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/mix.rs"]
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
        Some(self.pi)
    }
    fn forward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.y);
        s.write(self.y, |s, y| mix::mix(s.value(self.x), s.entries(self.pi), self.alpha, y, cols));
    }
    fn backward(&self, s: &mut Store) {
        let (_, cols) = s.shape(self.y);
        s.write_grad(self.x, |s, dx, write| {
            mix::mix_backward(s.grad(self.y), s.entries(self.pi), self.alpha, dx, cols, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.y);
        let n = (rows * cols) as u64;
        (3 * n, 4 * n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let all = s.bytes(&[self.x, self.y]) + 4 * s.entries(self.pi).len() as u64;
        (all, all)
    }
}

impl<T: Real> Reference<T> for Mix {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let mut y = zeros(a.shapes[0]);
        mix::mix_ref(&a.inputs[0], &a.index, self.alpha, &mut y, a.shapes[0].1);
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let mut d = zeros_like(a);
        mix::mix_backward_ref(dy, &a.index, self.alpha, &mut d[0], a.shapes[0].1);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name, record| Case {
        name,
        shapes: vec![vec![(5, 7)], vec![(2, 1)], vec![(40, 32)], vec![(4, 33)]],
        index: vec![
            vec![3, 0, 4, 2, 1],
            vec![1, 0],
            (0..40).map(|i| (i * 7 + 3) % 40).collect(),
            vec![1, 1, 1, 1], // any list will do
        ],
        record,
    };
    vec![
        case("mix", |t, x, pi| t.mix(x[0], pi, 0.3)),
        case("mix/whole", |t, x, pi| t.mix(x[0], pi, 1.0)),
    ]
}
