//! y = act(x), element by element         x, y: (rows, cols)
//! dx = dy·act′(x)                         keeps x

use super::{Args, Case, Reference};
use crate::{Act as Function, Index, Op, Store, Tape, Var};
use kernels::Real;

#[derive(Debug)]
struct Act {
    x: Var,
    y: Var,
    act: Function,
}

impl Tape {
    /// y = act(x), element by element.
    pub fn act(&mut self, x: Var, act: Function) -> Var {
        let y = self.result(self.rows(x), self.shape(x).1);
        self.push(Act { x, y, act });
        y
    }
}

impl Op for Act {
    fn name(&self) -> &'static str {
        "act"
    }
    fn formula(&self) -> [String; 2] {
        let act = symbol(self.act);
        [format!("y = {act}(x)"), format!("dx = dy·{act}′(x)")]
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/activation.rs"]
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
        s.write(self.y, |s, y| self.act.forward(s.value(self.x), y));
    }
    fn backward(&self, s: &mut Store) {
        s.write_grad(self.x, |s, dx, write| {
            self.act.backward(s.value(self.x), s.grad(self.y), dx, write);
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.x);
        let n = (rows * cols) as u64;
        let (value, slope) = flops(self.act);
        (value * n, slope * n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        (s.bytes(&[self.x, self.y]), s.bytes(&[self.x, self.y, self.x]))
    }
}

impl<T: Real> Reference<T> for Act {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        vec![a.inputs[0].iter().map(|&x| self.act.value_ref(x)).collect()]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let dx = |(&x, &dy): (&T, &T)| dy.mul_add(self.act.slope_ref(x), T::of(0.0));
        vec![a.inputs[0].iter().zip(dy).map(dx).collect()]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name, record| Case {
        name,
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(5, 64)], vec![(0, 4)]],
        index: vec![],
        record,
    };
    vec![
        case("act/relu", |t, x, _| t.act(x[0], Function::Relu)),
        case("act/gelu", |t, x, _| t.act(x[0], Function::Gelu)),
        case("act/gelu_tanh", |t, x, _| t.act(x[0], Function::GeluTanh)),
    ]
}

/// The name of an activation in formulas.
pub(super) fn symbol(act: Function) -> &'static str {
    match act {
        Function::Relu => "relu",
        Function::Gelu => "gelu",
        Function::GeluTanh => "gelu_tanh",
    }
}

/// Floating-point operations of (value, slope times gradient) for one element.
pub(super) fn flops(act: Function) -> (u64, u64) {
    if act == Function::Relu { (1, 1) } else { (20, 40) }
}
