//! z = softmax(q·kᵀ/√e)·v for each head      q, z: (b·tq, d), k, v: (b·tk, d), p: (b·h·tq, tk)
//! dq, dk, dv as in `kernels/src/attention.rs`      keeps q, k, v and the pattern p

use super::{Args, AttentionShape, Case, reference, zeros, zeros_like};
use crate::{Op, Rows, Store, Tape, Var};
use kernels::{Real, Write, attention};

#[derive(Debug)]
struct Attention {
    q: Var,
    k: Var,
    v: Var,
    z: Var,
    pattern: Var,
    shape: AttentionShape,
}

impl Tape {
    /// Attention of each example's tq queries over its tk keys. Returns (z, pattern).
    ///
    /// # Panics
    /// If q, k and v are not three different values, or do not have the rows and columns that
    /// `shape` gives them.
    pub fn attention(&mut self, q: Var, k: Var, v: Var, shape: AttentionShape) -> (Var, Var) {
        assert!(q != k && k != v && v != q, "attention: q, k and v must be three values");
        let d = shape.h * shape.e;
        for (name, x, t) in [("q", q, shape.tq), ("k", k, shape.tk), ("v", v, shape.tk)] {
            let per_example = self.rows(x).of(self.capacity()) / self.capacity().max(1);
            assert_eq!((per_example, self.shape(x).1), (t, d), "attention: {name} with {shape:?}");
        }
        let z = self.result(self.rows(q), d);
        let pattern_rows = match self.rows(q) {
            Rows::Fixed(rows) => Rows::Fixed(rows * shape.h),
            Rows::PerExample(rows) => Rows::PerExample(rows * shape.h),
        };
        let pattern = self.kept(pattern_rows, shape.tk);
        self.push(Attention { q, k, v, z, pattern, shape });
        (z, pattern)
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.q, self.k, self.v]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.z, self.pattern]
    }
    fn forward(&self, s: &mut Store) {
        s.write(self.z, |s, z| {
            s.write(self.pattern, |s, p| {
                let (q, k, v) = (s.value(self.q), s.value(self.k), s.value(self.v));
                attention::attention(q, k, v, z, p, self.shape);
            });
        });
    }
    fn backward(&self, s: &mut Store) {
        let Attention { q, k, v, z, pattern, shape } = *self;
        s.write_grad(q, |s, dq, wq| {
            s.write_grad(k, |s, dk, wk| {
                s.write_grad(v, |s, dv, wv| {
                    let qkv = (s.value(q), s.value(k), s.value(v));
                    let (p, dz, write): (_, _, [Write; 3]) =
                        (s.value(pattern), s.grad(z), [wq, wk, wv]);
                    attention::attention_backward(qkv, p, dz, (dq, dk, dv), write, shape);
                });
            });
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        let forward = self.shape.flops() * (s.shape(self.q).0 / self.shape.tq) as u64;
        (forward, 2 * forward)
    }
}

/// The forms of the registry: all positions causal, last position, all positions open.
const FORMS: [AttentionShape; 3] = [
    AttentionShape { tq: 3, tk: 3, h: 2, e: 5, causal: true },
    AttentionShape { tq: 1, tk: 3, h: 4, e: 32, causal: true },
    AttentionShape { tq: 2, tk: 2, h: 1, e: 17, causal: false },
];

fn forward_with_pattern<T: Real>(s: AttentionShape, a: &Args<T>) -> (Vec<T>, Vec<T>) {
    let [q, k, v] = a.inputs else { unreachable!("three inputs") };
    let (mut z, mut p) = (zeros(a.shapes[0]), zeros((a.shapes[0].0 * s.h, s.tk)));
    attention::attention_ref(q, k, v, &mut z, &mut p, s);
    (z, p)
}

fn forward<T: Real, const F: usize>(a: &Args<T>) -> Vec<T> {
    forward_with_pattern(FORMS[F], a).0
}

fn backward<T: Real, const F: usize>(a: &Args<T>, dz: &[T]) -> Vec<Vec<T>> {
    let (_, p) = forward_with_pattern(FORMS[F], a);
    let [q, k, v] = a.inputs else { unreachable!("three inputs") };
    let mut d = zeros_like(a);
    let [dq, dk, dv] = d.as_mut_slice() else { unreachable!("three gradients") };
    attention::attention_backward_ref((q, k, v), &p, dz, (dq, dk, dv), FORMS[F]);
    d
}

pub(super) fn cases() -> Vec<Case> {
    let case = |name, form: usize, record, reference| {
        let s = FORMS[form];
        let d = s.h * s.e;
        Case {
            name,
            formula: "z = softmax(q k^T / sqrt(e)) v",
            file: file!(),
            // a registry tape has one example, so one shape for each form
            shapes: vec![vec![(s.tq, d), (s.tk, d), (s.tk, d)]],
            index: vec![],
            record,
            reference,
        }
    };
    vec![
        case(
            "attention/causal",
            0,
            |t, x, _| t.attention(x[0], x[1], x[2], FORMS[0]).0,
            reference!(forward::<_, 0>, backward::<_, 0>),
        ),
        case(
            "attention/last",
            1,
            |t, x, _| t.attention(x[0], x[1], x[2], FORMS[1]).0,
            reference!(forward::<_, 1>, backward::<_, 1>),
        ),
        case(
            "attention/open",
            2,
            |t, x, _| t.attention(x[0], x[1], x[2], FORMS[2]).0,
            reference!(forward::<_, 2>, backward::<_, 2>),
        ),
    ]
}
