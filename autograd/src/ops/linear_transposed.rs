//! y = x·Wᵀ + b                              x: (m, d), W: (v, d), b: (1, v), y: (m, v)
//! dx = dy·W,  dW = dyᵀ·x,  db = Σ dy down the columns      keeps x
//!
//! The unembedding of a model that ties it to its embedding: logit j is x times row j of the table.

use super::linear::{product, transposed};
use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::matmul::{self, Dims, Start};
use kernels::{Real, columns};

#[derive(Debug)]
struct LinearTransposed {
    x: Var,
    w: Var,
    b: Option<Var>,
    y: Var,
}

impl Tape {
    /// y = x·Wᵀ + b.
    ///
    /// # Panics
    /// If x does not have as many columns as W.
    pub fn linear_transposed(&mut self, x: Var, w: Var, b: Option<Var>) -> Var {
        let ((_, d), (v, cols)) = (self.shape(x), self.shape(w));
        assert_eq!(d, cols, "linear_transposed: {d} columns times {} {v} x {cols}", self.name(w));
        let y = self.result(self.rows(x), v);
        self.push(LinearTransposed { x, w, b, y });
        y
    }
}

impl LinearTransposed {
    /// The dims of the product that this one is the backward of: dY (m, d)·W (v, d)ᵀ.
    fn dims(&self, s: &Store) -> Dims {
        let ((m, n), (k, _)) = (s.shape(self.x), s.shape(self.w));
        Dims { m, k, n }
    }
}

impl Op for LinearTransposed {
    fn name(&self) -> &'static str {
        "linear_transposed"
    }
    fn formula(&self) -> [String; 2] {
        let (b, db) =
            if self.b.is_some() { (" + b", ", db = Σ dy over the rows") } else { ("", "") };
        [format!("y = x·Wᵀ{b}"), format!("dx = dy·W, dW = dyᵀ·x{db}")]
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/matmul.rs", "kernels/src/columns.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        [self.x, self.w].into_iter().chain(self.b).collect()
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
        let dims = self.dims(s);
        let LinearTransposed { x, w, b, y } = *self;
        s.write(y, |s, y| {
            let start = b.map_or(Start::Zero, |b| Start::Bias(s.value(b)));
            matmul::matmul_nt(s.value(x), s.value(w), y, dims, start);
        });
    }
    fn backward(&self, s: &mut Store) {
        let dims = self.dims(s);
        let LinearTransposed { x, w, b, y } = *self;
        s.write_grad(x, |s, dx, write| {
            matmul::matmul_nn(s.grad(y), s.value(w), dx, dims, write.into());
        });
        s.write_grad(w, |s, dw, write| {
            matmul::matmul_tn(s.grad(y), s.value(x), dw, dims, write.into());
        });
        if let Some(b) = b {
            s.write_grad(b, |s, db, write| columns::column_sums(s.grad(y), db, write));
        }
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let dims = self.dims(s);
        let bias = if self.b.is_some() { (dims.m * dims.k) as u64 } else { 0 };
        (dims.flops(), 2 * dims.flops() + bias)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let LinearTransposed { x, w, y, .. } = *self;
        let b: Vec<Var> = self.b.into_iter().collect();
        let b = s.bytes(&b);
        (s.bytes(&[x, w, y]) + b, s.bytes(&[x, w, y, x, w]) + b)
    }
}

impl<T: Real> Reference<T> for LinearTransposed {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let ((m, d), (v, _)) = (a.shapes[0], a.shapes[1]);
        let mut y = a.inputs.get(2).map_or_else(|| zeros((m, v)), |bias| bias.repeat(m));
        let w = transposed(&a.inputs[1], (v, d));
        product(&a.inputs[0], &w, &mut y, Dims { m, k: d, n: v });
        vec![y]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let ((m, d), (v, _)) = (a.shapes[0], a.shapes[1]);
        let mut gradients = zeros_like(a);
        product(dy, &a.inputs[1], &mut gradients[0], Dims { m, k: v, n: d });
        product(
            &transposed(dy, (m, v)),
            &a.inputs[0],
            &mut gradients[1],
            Dims { m: v, k: m, n: d },
        );
        if let Some(db) = gradients.get_mut(2) {
            columns::column_sums_ref(dy, db);
        }
        gradients
    }
}

pub(super) fn cases() -> Vec<Case> {
    let trial = |bias: bool| {
        let shape = move |m, d, v| {
            let mut shapes = vec![(m, d), (v, d)];
            shapes.extend(bias.then_some((1, v)));
            shapes
        };
        vec![shape(3, 5, 7), shape(1, 1, 1), shape(13, 130, 67), shape(0, 3, 2), shape(8, 16, 11)]
    };
    let case = |name, shapes, record| Case { name, shapes, index: vec![], record };
    vec![
        case("linear_transposed", trial(false), |t, x, _| t.linear_transposed(x[0], x[1], None)),
        case("linear_transposed/bias", trial(true), |t, x, _| {
            t.linear_transposed(x[0], x[1], Some(x[2]))
        }),
    ]
}
