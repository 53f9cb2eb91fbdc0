//! y = c·x, element by element         x, y: (rows, cols)
//! dx = c·dy                            keeps nothing

use super::{Args, Case, Reference};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, Write, gather};

#[derive(Debug)]
struct Scale {
    x: Var,
    c: f32,
    y: Var,
}

impl Tape {
    /// y = c·x.
    pub fn scale(&mut self, x: Var, c: f32) -> Var {
        let y = self.result(self.rows(x), self.shape(x).1);
        self.push(Scale { x, c, y });
        y
    }
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn formula(&self) -> [String; 2] {
        [format!("y = {}·x", self.c), format!("dx = {}·dy", self.c)]
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
        None
    }
    fn forward(&self, s: &mut Store) {
        s.write(self.y, |s, y| gather::scale(s.value(self.x), self.c, y, Write::Set));
    }
    fn backward(&self, s: &mut Store) {
        s.write_grad(self.x, |s, dx, write| gather::scale(s.grad(self.y), self.c, dx, write));
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let n = s.value(self.y).len() as u64;
        (n, n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        (s.bytes(&[self.x, self.y]), s.bytes(&[self.y, self.x]))
    }
}

impl<T: Real> Reference<T> for Scale {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let c = T::of(self.c.into());
        vec![a.inputs[0].iter().map(|&x| x.mul_add(c, T::of(0.0))).collect()]
    }
    fn backward_ref(&self, _: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let c = T::of(self.c.into());
        vec![dy.iter().map(|&dy| dy.mul_add(c, T::of(0.0))).collect()]
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "scale",
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(64, 33)], vec![(0, 2)]],
        index: vec![],
        record: |t, x, _| t.scale(x[0], 0.37),
    }]
}
