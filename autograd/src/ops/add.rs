//! y = a + b         a, b, y: (rows, cols)
//! da = dy, db = dy  keeps nothing

use super::{Args, Case, Reference};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, gather};

#[derive(Debug)]
struct Add {
    a: Var,
    b: Var,
    y: Var,
}

impl Tape {
    /// y = a + b: a residual connection.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        assert_eq!(
            (self.rows(a), self.shape(a)),
            (self.rows(b), self.shape(b)),
            "add: the shapes of {:?} and {:?} differ",
            self.name(a),
            self.name(b)
        );
        let y = self.result(self.rows(a), self.shape(a).1);
        self.push(Add { a, b, y });
        y
    }
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn formula(&self) -> [String; 2] {
        ["y = a + b", "da = dy, db = dy"].map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/gather.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.a, self.b]
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
        s.write(self.y, |s, y| gather::add(s.value(self.a), s.value(self.b), y));
    }
    fn backward(&self, s: &mut Store) {
        for x in [self.a, self.b] {
            s.write_grad(x, |s, dx, write| gather::pass(s.grad(self.y), dx, write));
        }
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.y);
        ((rows * cols) as u64, 0)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        (s.bytes(&[self.a, self.b, self.y]), s.bytes(&[self.y, self.a, self.b]))
    }
}

impl<T: Real> Reference<T> for Add {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        vec![a.inputs[0].iter().zip(&a.inputs[1]).map(|(&a, &b)| a + b).collect()]
    }
    fn backward_ref(&self, _: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        vec![dy.to_vec(), dy.to_vec()]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name, shapes, record| Case { name, shapes, index: vec![], record };
    let two = vec![vec![(3, 7); 2], vec![(1, 1); 2], vec![(64, 33); 2], vec![(0, 2); 2]];
    vec![
        case("add", two, |t, x, _| t.add(x[0], x[1])),
        case("add/self", vec![vec![(3, 7)]], |t, x, _| t.add(x[0], x[0])),
    ]
}
