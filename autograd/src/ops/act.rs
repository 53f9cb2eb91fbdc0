//! y = act(x), element by element         x, y: (rows, cols)
//! dx = dy·act′(x)                         keeps x

use super::{Args, Case, reference};
use crate::{Act as Function, Op, Store, Tape, Var};
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
    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.y]
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
        if self.act == Function::Relu { (n, n) } else { (20 * n, 40 * n) }
    }
}

const FUNCTIONS: [Function; 3] = [Function::Relu, Function::Gelu, Function::GeluTanh];

fn forward<T: Real, const F: usize>(a: &Args<T>) -> Vec<T> {
    a.inputs[0].iter().map(|&x| FUNCTIONS[F].value_ref(x)).collect()
}

fn backward<T: Real, const F: usize>(a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
    let dx = |(&x, &dy): (&T, &T)| dy.mul_add(FUNCTIONS[F].slope_ref(x), T::of(0.0));
    vec![a.inputs[0].iter().zip(dy).map(dx).collect()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name, record, reference| Case {
        name,
        formula: "y = act(x)",
        file: file!(),
        shapes: vec![vec![(3, 7)], vec![(1, 1)], vec![(5, 64)], vec![(0, 4)]],
        index: vec![],
        record,
        reference,
    };
    vec![
        case(
            "act/relu",
            |t, x, _| t.act(x[0], Function::Relu),
            reference!(forward::<_, 0>, backward::<_, 0>),
        ),
        case(
            "act/gelu",
            |t, x, _| t.act(x[0], Function::Gelu),
            reference!(forward::<_, 1>, backward::<_, 1>),
        ),
        case(
            "act/gelu_tanh",
            |t, x, _| t.act(x[0], Function::GeluTanh),
            reference!(forward::<_, 2>, backward::<_, 2>),
        ),
    ]
}
