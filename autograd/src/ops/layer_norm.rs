//! y = (x − μ)·r·w + b over each row, r = 1/√(var + 1e-5)        x, y: (rows, cols), w, b: (1, cols)
//! dx, dw, db as in `kernels/src/layer_norm.rs`                   keeps x and (μ, r)

use super::{Args, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
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
    fn formula(&self) -> [String; 2] {
        [
            "y = x̂·w + b, x̂ = (x − μ)·r, r = 1/√(mean (x − μ)² + 1e-5), stats = (μ, r)",
            "dx = r·(g − mean g − x̂·mean(g·x̂)), g = dy·w; dw = Σ dy·x̂, db = Σ dy over the rows",
        ]
        .map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/layer_norm.rs", "kernels/src/columns.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.x, self.w, self.b]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.y, self.stats]
    }
    fn kept(&self) -> &'static [&'static str] {
        &["stats"]
    }
    fn index(&self) -> Option<Index> {
        None
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
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let LayerNorm { x, w, b, y, stats } = *self;
        (s.bytes(&[x, w, b, y, stats]), s.bytes(&[x, w, stats, y, x, w, b]))
    }
}

impl<T: Real> Reference<T> for LayerNorm {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let [x, w, b] = a.inputs.as_slice() else { unreachable!("three inputs") };
        let (mut y, mut stats) = (zeros(a.shapes[0]), zeros((a.shapes[0].0, 2)));
        layer_norm::layer_norm_ref(x, w, b, &mut y, &mut stats);
        vec![y, stats]
    }
    fn backward_ref(&self, a: &Args<T>, dy: &[T]) -> Vec<Vec<T>> {
        let (outputs, mut d) = (self.forward_ref(a), zeros_like(a));
        let [dx, dw, db] = d.as_mut_slice() else { unreachable!("three gradients") };
        layer_norm::layer_norm_backward_ref(&a.inputs[0], &a.inputs[1], &outputs[1], dy, dx, dw);
        columns::column_sums_ref(dy, db);
        d
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes = |rows, cols| vec![(rows, cols), (1, cols), (1, cols)];
    vec![Case {
        name: "layer_norm",
        shapes: vec![shapes(3, 7), shapes(17, 128), shapes(5, 33), shapes(0, 3)],
        index: vec![],
        record: |t, x, _| t.layer_norm(x[0], x[1], x[2]),
    }]
}
