//! y = (x − μ)·r·w + b over each row, r = 1/√(var + 1e-5)        x, y: (rows, cols), w, b: (1, cols)
//! dx, dw, db as in `kernels/src/layer_norm.rs`                   keeps x and (μ, r)

use super::{Args, Case, reference, zeros, zeros_like};
use crate::{Op, Store, Tape, Var};
use kernels::{Real, columns, layer_norm};

#[derive(Debug)]
struct LayerNorm {
    x: Var,
    w: Var,
    b: Var,
    y: Var,
    stats: Var,
}

impl Tape {
    /// LayerNorm over each row, with weight and bias.
    pub fn layer_norm(&mut self, x: Var, w: Var, b: Var) -> Var {
        let (rows, cols) = (self.rows(x), self.shape(x).1);
        let (y, stats) = (self.result(rows, cols), self.kept(rows, 2));
        self.push(LayerNorm { x, w, b, y, stats });
        y
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.x, self.w, self.b]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.y, self.stats]
    }
    fn forward(&self, s: &mut Store) {
        s.write(self.y, |s, y| {
            s.write(self.stats, |s, stats| {
                layer_norm::layer_norm(s.value(self.x), s.value(self.w), s.value(self.b), y, stats);
            });
        });
    }
    fn backward(&self, s: &mut Store) {
        let LayerNorm { x, w, b, y, stats } = *self;
        s.write_grad(x, |s, dx, write| {
            let (x, w, stats, dy) = (s.value(x), s.value(w), s.value(stats), s.grad(y));
            layer_norm::layer_norm_backward(x, w, stats, dy, dx, write);
        });
        s.write_grad(w, |s, dw, write| {
            layer_norm::layer_norm_backward_w(s.value(x), s.value(stats), s.grad(y), dw, write);
        });
        s.write_grad(b, |s, db, write| columns::column_sums(s.grad(y), db, write));
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let (rows, cols) = s.shape(self.x);
        let n = (rows * cols) as u64;
        (8 * n, 17 * n)
    }
}

fn forward_with_stats<T: Real>(a: &Args<T>) -> (Vec<T>, Vec<T>) {
    let [x, w, b] = a.inputs else { unreachable!("three inputs") };
    let (mut y, mut stats) = (zeros(a.shapes[0]), zeros((a.shapes[0].0, 2)));
    layer_norm::layer_norm_ref(x, w, b, &mut y, &mut stats);
    (y, stats)
}

fn forward<T: Real>(a: &Args<T>) -> Vec<T> {
    forward_with_stats(a).0
}

fn backward<T: Real>(a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
    let (_, stats) = forward_with_stats(a);
    let mut d = zeros_like(a);
    let [dx, dw, db] = d.as_mut_slice() else { unreachable!("three gradients") };
    layer_norm::layer_norm_backward_ref(&a.inputs[0], &a.inputs[1], &stats, dy, dx, dw);
    columns::column_sums_ref(dy, db);
    d
}

pub(super) fn cases() -> Vec<Case> {
    let shapes = |rows, cols| vec![(rows, cols), (1, cols), (1, cols)];
    vec![Case {
        name: "layer_norm",
        formula: "y = (x - mean)/sqrt(var + 1e-5)*w + b",
        file: file!(),
        shapes: vec![shapes(3, 7), shapes(17, 128), shapes(5, 33), shapes(0, 3)],
        index: vec![],
        record: |t, x, _| t.layer_norm(x[0], x[1], x[2]),
        reference: reference!(forward, backward),
    }]
}
