//! y = x·W + b, or pre = x·W + b and y = act(pre)      x: (m, k), W: (k, n), b: (1, n), y: (m, n)
//! dx = dpre·Wᵀ,  dW = xᵀ·dpre,  db = Σ dpre down the columns,  dpre = dy·act′(pre)
//! keeps x, and pre where there is an activation

use super::{Args, Case, reference, zeros, zeros_like};
use crate::{Act, Op, Store, Tape, Var};
use kernels::matmul::{self, Dims, Start};
use kernels::{Real, columns};

#[derive(Debug)]
struct Linear {
    x: Var,
    w: Var,
    b: Option<Var>,
    pre: Var,
    post: Option<(Act, Var)>,
}

impl Tape {
    /// y = x·W + b.
    ///
    /// # Panics
    /// If x does not have as many columns as W has rows.
    pub fn linear(&mut self, x: Var, w: Var, b: Option<Var>) -> Var {
        let pre = self.pre(x, w);
        self.push(Linear { x, w, b, pre, post: None });
        pre
    }

    /// pre = x·W + b, post = act(pre), the activation applied while a tile is still in cache.
    /// Returns (pre, post).
    ///
    /// # Panics
    /// If x does not have as many columns as W has rows.
    pub fn linear_act(&mut self, x: Var, w: Var, b: Option<Var>, act: Act) -> (Var, Var) {
        let pre = self.pre(x, w);
        let post = self.result(self.rows(x), self.shape(w).1);
        self.push(Linear { x, w, b, pre, post: Some((act, post)) });
        (pre, post)
    }

    fn pre(&mut self, x: Var, w: Var) -> Var {
        let ((_, k), (rows, n)) = (self.shape(x), self.shape(w));
        assert_eq!(k, rows, "linear: {} columns times {} {rows} x {n}", k, self.name(w));
        self.result(self.rows(x), n)
    }
}

impl Linear {
    fn dims(&self, s: &Store) -> Dims {
        let ((m, k), (_, n)) = (s.shape(self.x), s.shape(self.w));
        Dims { m, k, n }
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        if self.post.is_some() { "linear_act" } else { "linear" }
    }
    fn inputs(&self) -> Vec<Var> {
        [self.x, self.w].into_iter().chain(self.b).collect()
    }
    fn outputs(&self) -> Vec<Var> {
        [self.pre].into_iter().chain(self.post.map(|(_, post)| post)).collect()
    }
    fn forward(&self, s: &mut Store) {
        let dims = self.dims(s);
        let Linear { x, w, b, pre, post } = *self;
        s.write(pre, |s, y| match post {
            None => {
                let start = b.map_or(Start::Zero, |b| Start::Bias(s.value(b)));
                matmul::matmul_nn(s.value(x), s.value(w), y, dims, start);
            }
            Some((act, post)) => s.write(post, |s, post| {
                let start = b.map_or(Start::Zero, |b| Start::Bias(s.value(b)));
                matmul::matmul_nn_act(s.value(x), s.value(w), y, post, dims, start, act);
            }),
        });
    }
    fn backward(&self, s: &mut Store) {
        let dims = self.dims(s);
        let Linear { x, w, b, pre, post } = *self;
        if let Some((act, post)) = post {
            s.write_grad(pre, |s, dpre, write| {
                act.backward(s.value(pre), s.grad(post), dpre, write);
            });
        }
        s.write_grad(x, |s, dx, write| {
            matmul::matmul_nt(s.grad(pre), s.value(w), dx, dims, write.into());
        });
        s.write_grad(w, |s, dw, write| {
            matmul::matmul_tn(s.value(x), s.grad(pre), dw, dims, write.into());
        });
        if let Some(b) = b {
            s.write_grad(b, |s, db, write| columns::column_sums(s.grad(pre), db, write));
        }
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let dims = self.dims(s);
        (dims.flops(), 2 * dims.flops())
    }
}

/// The forms of the registry: none, ReLU, GELU.
const ACTS: [Option<Act>; 3] = [None, Some(Act::Relu), Some(Act::Gelu)];

fn dims<T>(a: &Args<T>) -> Dims {
    Dims { m: a.shapes[0].0, k: a.shapes[0].1, n: a.shapes[1].1 }
}

fn pre<T: Real>(a: &Args<T>) -> Vec<T> {
    let mut pre = zeros((a.shapes[0].0, a.shapes[1].1));
    let bias = a.inputs.get(2).map(Vec::as_slice);
    matmul::matmul_nn_ref(&a.inputs[0], &a.inputs[1], &mut pre, dims(a), bias, false);
    pre
}

fn forward<T: Real, const ACT: usize>(a: &Args<T>) -> Vec<T> {
    pre(a).into_iter().map(|x| ACTS[ACT].map_or(x, |act| act.value_ref(x))).collect()
}

fn backward<T: Real, const ACT: usize>(a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
    let slope =
        |(x, &dy): (T, &T)| ACTS[ACT].map_or(dy, |act| dy.mul_add(act.slope_ref(x), T::of(0.0)));
    let dpre: Vec<T> = pre(a).into_iter().zip(dy).map(slope).collect();
    let mut d = zeros_like(a);
    matmul::matmul_nt_ref(&dpre, &a.inputs[1], &mut d[0], dims(a));
    matmul::matmul_tn_ref(&a.inputs[0], &dpre, &mut d[1], dims(a));
    if let Some(db) = d.get_mut(2) {
        columns::column_sums_ref(&dpre, db);
    }
    d
}

pub(super) fn cases() -> Vec<Case> {
    let trial = |bias: bool| {
        let shape = move |m, k, n| {
            let mut shapes = vec![(m, k), (k, n)];
            shapes.extend(bias.then_some((1, n)));
            shapes
        };
        vec![shape(3, 5, 7), shape(1, 1, 1), shape(13, 130, 67), shape(0, 3, 2), shape(8, 16, 48)]
    };
    let case = |name, formula, shapes, record, reference| Case {
        name,
        formula,
        file: file!(),
        shapes,
        index: vec![],
        record,
        reference,
    };
    vec![
        case(
            "linear",
            "y = x W",
            trial(false),
            |t, x, _| t.linear(x[0], x[1], None),
            reference!(forward::<_, 0>, backward::<_, 0>),
        ),
        case(
            "linear/bias",
            "y = x W + b",
            trial(true),
            |t, x, _| t.linear(x[0], x[1], Some(x[2])),
            reference!(forward::<_, 0>, backward::<_, 0>),
        ),
        case(
            "linear_act/relu",
            "y = relu(x W)",
            trial(false),
            |t, x, _| t.linear_act(x[0], x[1], None, Act::Relu).1,
            reference!(forward::<_, 1>, backward::<_, 1>),
        ),
        case(
            "linear_act/bias_gelu",
            "y = gelu(x W + b)",
            trial(true),
            |t, x, _| t.linear_act(x[0], x[1], Some(x[2]), Act::Gelu).1,
            reference!(forward::<_, 2>, backward::<_, 2>),
        ),
    ]
}
