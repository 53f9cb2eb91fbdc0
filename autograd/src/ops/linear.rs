//! y = x·W + b, or pre = x·W + b and y = act(pre)      x: (m, k), W: (k, n), b: (1, n), y: (m, n)
//! dx = dpre·Wᵀ,  dW = xᵀ·dpre,  db = Σ dpre down the columns,  dpre = dy·act′(pre)
//! keeps x, and pre where there is an activation

use super::act::{flops as act_flops, symbol};
use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Act, Index, Op, Store, Tape, Var};
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
    fn formula(&self) -> [String; 2] {
        let b = if self.b.is_some() { " + b" } else { "" };
        let db = if self.b.is_some() { ", db = Σ dpre over the rows" } else { "" };
        match self.post {
            None => [
                format!("y = x·W{b}"),
                format!("dx = dy·Wᵀ, dW = xᵀ·dy{}", db.replace("dpre", "dy")),
            ],
            Some((act, _)) => {
                let act = symbol(act);
                [
                    format!("y = {act}(pre), pre = x·W{b}"),
                    format!("dpre = dy·{act}′(pre), dx = dpre·Wᵀ, dW = xᵀ·dpre{db}"),
                ]
            }
        }
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/matmul.rs", "kernels/src/activation.rs", "kernels/src/columns.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        [self.x, self.w].into_iter().chain(self.b).collect()
    }
    fn outputs(&self) -> Vec<Var> {
        self.post.map(|(_, post)| post).into_iter().chain([self.pre]).collect()
    }
    fn kept(&self) -> &'static [&'static str] {
        if self.post.is_some() { &["pre"] } else { &[] }
    }
    fn index(&self) -> Option<Index> {
        None
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
        let n = (dims.m * dims.n) as u64;
        let act = self.post.map_or((0, 0), |(act, _)| act_flops(act));
        let bias = u64::from(self.b.is_some()); // its forward is where the chains start
        (dims.flops() + act.0 * n, 2 * dims.flops() + (act.1 + bias) * n)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let Linear { x, w, pre, .. } = *self;
        let b: Vec<Var> = self.b.into_iter().collect();
        // Of an activation: the forward writes y; the backward reads pre and dy and writes dpre.
        let (y, act) = match self.post {
            None => (0, 0),
            Some((_, y)) => (s.bytes(&[y]), s.bytes(&[pre, y])),
        };
        let forward = s.bytes(&[x, w, pre]) + s.bytes(&b) + y;
        (forward, s.bytes(&[x, w, pre, x, w]) + s.bytes(&b) + act)
    }
}

/// y = x·W, each chain starting at what y holds. The loops run over i, l, j: every element is the same
/// chain of multiply-adds, ascending in l, as with l innermost, and the f64 twin of a whole step takes
/// a second instead of a minute. x: (m, k), w: (k, n), y: (m, n).
pub(super) fn product<T: Real>(x: &[T], w: &[T], y: &mut [T], dims: Dims) {
    let Dims { m, k, n } = dims;
    for i in 0..m {
        let y = &mut y[i * n..][..n];
        for l in 0..k {
            let (x, w) = (x[i * k + l], &w[l * n..][..n]);
            for j in 0..n {
                y[j] = x.mul_add(w[j], y[j]);
            }
        }
    }
}

/// xᵀ. x: (rows, cols).
pub(super) fn transposed<T: Real>(x: &[T], (rows, cols): (usize, usize)) -> Vec<T> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

impl Linear {
    fn pre_ref<T: Real>(&self, a: &Args<T>) -> Vec<T> {
        let ((m, k), n) = (a.shapes[0], a.shapes[1].1);
        let mut pre = match a.inputs.get(2) {
            Some(bias) => bias.repeat(m),
            None => zeros((m, n)),
        };
        product(&a.inputs[0], &a.inputs[1], &mut pre, Dims { m, k, n });
        pre
    }
}

impl<T: Real> Reference<T> for Linear {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let pre = self.pre_ref(a);
        match self.post {
            None => vec![pre],
            Some((act, _)) => vec![pre.iter().map(|&x| act.value_ref(x)).collect(), pre],
        }
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let ((m, k), n) = (a.shapes[0], a.shapes[1].1);
        let dpre = match self.post {
            None => dy.to_vec(),
            Some((act, _)) => {
                let slope = |(x, &dy): (T, &T)| dy.mul_add(act.slope_ref(x), T::of(0.0));
                self.pre_ref(a).into_iter().zip(dy).map(slope).collect()
            }
        };
        let mut d = zeros_like(a);
        product(&dpre, &transposed(&a.inputs[1], (k, n)), &mut d[0], Dims { m, k: n, n: k });
        product(&transposed(&a.inputs[0], (m, k)), &dpre, &mut d[1], Dims { m: k, k: m, n });
        if let Some(db) = d.get_mut(2) {
            columns::column_sums_ref(&dpre, db);
        }
        d
    }
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
    let case = |name, shapes, record| Case { name, shapes, index: vec![], record };
    vec![
        case("linear", trial(false), |t, x, _| t.linear(x[0], x[1], None)),
        case("linear/bias", trial(true), |t, x, _| t.linear(x[0], x[1], Some(x[2]))),
        case("linear_act/relu", trial(false), |t, x, _| {
            t.linear_act(x[0], x[1], None, Act::Relu).1
        }),
        case("linear_act/bias_gelu", trial(true), |t, x, _| {
            t.linear_act(x[0], x[1], Some(x[2]), Act::Gelu).1
        }),
        case("linear_act/bias_gelu_tanh", trial(true), |t, x, _| {
            t.linear_act(x[0], x[1], Some(x[2]), Act::GeluTanh).1
        }),
    ]
}
