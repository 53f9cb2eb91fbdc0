//! z = softmax(q·kᵀ/√e)·v for each head      q, z: (b·tq, d), k, v: (b·tk, d), p: (b·h·tq, tk)
//! dq, dk, dv as in `kernels/src/attention.rs`      keeps q, k, v and the pattern p

use super::{Args, AttentionShape, Case, Reference, zeros, zeros_like};
use crate::{Index, Op, Rows, Store, Tape, Var};
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
            let per_example = self.most_rows(self.rows(x)) / self.capacity().max(1);
            assert_eq!((per_example, self.shape(x).1), (t, d), "attention: {name} with {shape:?}");
        }
        let z = self.result(self.rows(q), d);
        let pattern_rows = match self.rows(q) {
            Rows::Fixed(rows) => Rows::Fixed(rows * shape.h),
            Rows::PerExample(rows) => Rows::PerExample(rows * shape.h),
            Rows::Packed(..) => panic!("attention: packed sequences have `varlen_attention`"),
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
    fn formula(&self) -> [String; 2] {
        let mask = if self.shape.causal { ", keys up to the query's position" } else { "" };
        [
            format!("z = p·v, p = softmax(q·kᵀ/√e) for each head{mask}"),
            "dv = pᵀ·dz, dp = dz·vᵀ, ds = p·(dp − Σ p·dp)/√e, dq = ds·k, dk = dsᵀ·q".to_string(),
        ]
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/attention.rs", "kernels/src/heads.rs"]
    }
    fn inputs(&self) -> Vec<Var> {
        vec![self.q, self.k, self.v]
    }
    fn outputs(&self) -> Vec<Var> {
        vec![self.z, self.pattern]
    }
    fn kept(&self) -> &'static [&'static str] {
        &["pattern"]
    }
    fn index(&self) -> Option<Index> {
        None
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
        // The kernel gives all three or none.
        let wants = [q, k, v].map(|x| s.wants_grad(x));
        assert!(
            wants == [true; 3] || wants == [false; 3],
            "attention: one of q, k, v is a constant"
        );
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
        let examples = (s.shape(self.q).0 / self.shape.tq) as u64;
        let (forward, backward) = self.shape.flops();
        (forward * examples, backward * examples)
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let Attention { q, k, v, z, pattern, .. } = *self;
        (s.bytes(&[q, k, v, z, pattern]), s.bytes(&[q, k, v, pattern, z, q, k, v]))
    }
}

impl<T: Real> Reference<T> for Attention {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let [q, k, v] = a.inputs.as_slice() else { unreachable!("three inputs") };
        let s = self.shape;
        let (mut z, mut p) = (zeros(a.shapes[0]), zeros((a.shapes[0].0 * s.h, s.tk)));
        attention::attention_ref(q, k, v, &mut z, &mut p, s);
        vec![z, p]
    }
    fn backward_ref(&self, a: &Args<T>, dz: &[T]) -> Vec<Vec<T>> {
        let [q, k, v] = a.inputs.as_slice() else { unreachable!("three inputs") };
        let (outputs, mut d) = (self.forward_ref(a), zeros_like(a));
        let [dq, dk, dv] = d.as_mut_slice() else { unreachable!("three gradients") };
        attention::attention_backward_ref((q, k, v), &outputs[1], dz, (dq, dk, dv), self.shape);
        d
    }
}

/// The forms of the registry: all positions causal, last position, all positions open.
const CAUSAL: AttentionShape = AttentionShape { tq: 3, tk: 3, h: 2, e: 5, causal: true };
const LAST: AttentionShape = AttentionShape { tq: 1, tk: 3, h: 4, e: 32, causal: true };
const OPEN: AttentionShape = AttentionShape { tq: 2, tk: 2, h: 1, e: 17, causal: false };

pub(super) fn cases() -> Vec<Case> {
    let case = |name, s: AttentionShape, record| {
        let d = s.h * s.e;
        // a registry tape has one example, so one shape for each form
        Case { name, shapes: vec![vec![(s.tq, d), (s.tk, d), (s.tk, d)]], index: vec![], record }
    };
    vec![
        case("attention/causal", CAUSAL, |t, x, _| t.attention(x[0], x[1], x[2], CAUSAL).0),
        case("attention/last", LAST, |t, x, _| t.attention(x[0], x[1], x[2], LAST).0),
        case("attention/open", OPEN, |t, x, _| t.attention(x[0], x[1], x[2], OPEN).0),
    ]
}
