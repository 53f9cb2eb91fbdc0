//! z = softmax(q·kᵀ/√e)·v for each head, over packed sequences     q, z: (queries, d), k, v: (keys, d)
//! dq, dk, dv as in `kernels/src/varlen_attention.rs`                keeps q, k, v and the pattern p
//!
//! The index list holds (first, count) for each query: the rows of k and v that it sees.

use super::{Args, Case, Reference, VarlenShape, zeros, zeros_like};
use crate::{Index, Op, Store, Tape, Var};
use kernels::{Real, Write, varlen_attention};

#[derive(Debug)]
struct VarlenAttention {
    q: Var,
    k: Var,
    v: Var,
    seen: Index,
    z: Var,
    pattern: Var,
    shape: VarlenShape,
}

impl Tape {
    /// Attention of each query over the keys that it sees: `seen` holds (first row, count) for each.
    /// Returns (z, pattern); the pattern is (queries, h·max_keys), 0 beyond each count.
    ///
    /// # Panics
    /// If q, k and v are not three different values of h·e columns, or `seen` does not have two entries
    /// for each query. On replay, if a query sees no key, too many, or rows that k does not have; in the
    /// backward, if the queries do not come in the order of their keys.
    pub fn varlen_attention(
        &mut self,
        q: Var,
        k: Var,
        v: Var,
        seen: Index,
        shape: VarlenShape,
    ) -> (Var, Var) {
        assert!(q != k && k != v && v != q, "attention: q, k and v must be three values");
        let d = shape.h * shape.e;
        for (name, x) in [("q", q), ("k", k), ("v", v)] {
            assert_eq!(self.shape(x).1, d, "attention: columns of {name} with {shape:?}");
        }
        assert_eq!(self.rows(k), self.rows(v), "attention: k and v have the same rows");
        let (entries, queries) =
            (self.most_rows(self.index_rows(seen)), self.most_rows(self.rows(q)));
        assert_eq!(entries, 2 * queries, "attention: (first, count) for each query");
        let z = self.result(self.rows(q), d);
        let pattern = self.kept(self.rows(q), shape.h * shape.max_keys);
        self.push(VarlenAttention { q, k, v, seen, z, pattern, shape });
        (z, pattern)
    }
}

impl VarlenAttention {
    /// (query, key) pairs.
    fn pairs(&self, s: &Store) -> usize {
        s.entries(self.seen).iter().skip(1).step_by(2).map(|&count| count as usize).sum()
    }

    /// Bytes of the list, and of the part of the pattern that is not 0.
    fn seen_bytes(&self, s: &Store) -> u64 {
        4 * (s.entries(self.seen).len() + self.pairs(s) * self.shape.h) as u64
    }
}

impl Op for VarlenAttention {
    fn name(&self) -> &'static str {
        "varlen_attention"
    }
    fn formula(&self) -> [String; 2] {
        [
            "z = p·v, p = softmax(q·kᵀ/√e) for each head, over the keys that the query sees",
            "dv = pᵀ·dz, dp = dz·vᵀ, ds = p·(dp − Σ p·dp)/√e, dq = ds·k, dk = dsᵀ·q",
        ]
        .map(String::from)
    }
    fn files(&self) -> &'static [&'static str] {
        &[file!(), "kernels/src/varlen_attention.rs", "kernels/src/heads.rs"]
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
        Some(self.seen)
    }
    fn forward(&self, s: &mut Store) {
        s.write(self.z, |s, z| {
            s.write(self.pattern, |s, p| {
                let (q, k, v) = (s.value(self.q), s.value(self.k), s.value(self.v));
                varlen_attention::varlen_attention(q, k, v, s.entries(self.seen), z, p, self.shape);
            });
        });
    }
    fn backward(&self, s: &mut Store) {
        let VarlenAttention { q, k, v, seen, z, pattern, shape } = *self;
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
                    let (seen, d) = (s.entries(seen), (dq, dk, dv));
                    varlen_attention::varlen_attention_backward(qkv, seen, p, dz, d, write, shape);
                });
            });
        });
    }
    fn flops(&self, s: &Store) -> (u64, u64) {
        self.shape.flops(self.pairs(s))
    }
    fn bytes(&self, s: &Store) -> (u64, u64) {
        let VarlenAttention { q, k, v, z, .. } = *self;
        let seen = self.seen_bytes(s);
        (s.bytes(&[q, k, v, z]) + seen, s.bytes(&[q, k, v, z, q, k, v]) + seen)
    }
}

impl<T: Real> Reference<T> for VarlenAttention {
    fn forward_ref(&self, a: &Args<T>) -> Vec<Vec<T>> {
        let [q, k, v] = a.inputs.as_slice() else { unreachable!("three inputs") };
        let s = self.shape;
        let (mut z, mut p) = (zeros(a.shapes[0]), zeros((a.shapes[0].0, s.h * s.max_keys)));
        varlen_attention::varlen_attention_ref(q, k, v, &a.index, &mut z, &mut p, s);
        vec![z, p]
    }
    fn backward_ref(&self, a: &Args<T>, dz: &[T]) -> Vec<Vec<T>> {
        let [q, k, v] = a.inputs.as_slice() else { unreachable!("three inputs") };
        let (outputs, mut d) = (self.forward_ref(a), zeros_like(a));
        let [dq, dk, dv] = d.as_mut_slice() else { unreachable!("three gradients") };
        let (p, d3) = (&outputs[1], (&mut dq[..], &mut dk[..], &mut dv[..]));
        varlen_attention::varlen_attention_backward_ref((q, k, v), &a.index, p, dz, d3, self.shape);
        d
    }
}

/// The forms of the registry: heads of whole vectors and of any other length.
const WHOLE: VarlenShape = VarlenShape { h: 2, e: 32, max_keys: 5 };
const RAGGED: VarlenShape = VarlenShape { h: 3, e: 5, max_keys: 4 };

pub(super) fn cases() -> Vec<Case> {
    // Sequences of 1, 3 and 2 tokens that see themselves; the same, causal; queries of 2, 1 and 3 tokens over
    // keys of 4, 1 and 2, with a key that nobody sees between them.
    let open = vec![0, 1, 1, 3, 1, 3, 1, 3, 4, 2, 4, 2];
    let causal = vec![0, 1, 1, 1, 1, 2, 1, 3, 4, 1, 4, 2];
    let cross = vec![0, 4, 0, 4, 4, 1, 6, 2, 6, 2, 6, 2];
    let case = |name, s: VarlenShape, record| {
        let shapes = |keys| [6, keys, keys].map(|rows| (rows, s.h * s.e)).to_vec();
        let index = vec![open.clone(), causal.clone(), cross.clone()];
        Case { name, shapes: vec![shapes(6), shapes(6), shapes(8)], index, record }
    };
    vec![
        case("varlen_attention", WHOLE, |t, x, seen| {
            t.varlen_attention(x[0], x[1], x[2], seen, WHOLE).0
        }),
        case("varlen_attention/ragged", RAGGED, |t, x, seen| {
            t.varlen_attention(x[0], x[1], x[2], seen, RAGGED).0
        }),
    ]
}
