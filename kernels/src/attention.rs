//! Multi-head attention for short sequences (Vaswani et al. 2017, arXiv:1706.03762).
//!
//! ```text
//! s[i] = q·k[i]/√e,   p = softmax(s),   z = Σᵢ p[i]·v[i]                for each head and query
//! dv[i] += p[i]·dz,   dp[i] = dz·v[i],   ds = p·(dp − Σ p·dp)/√e
//! dq = Σᵢ ds[i]·k[i],   dk[i] += ds[i]·q                               keeps p
//! ```
//! q, z: (b·tq, d), k, v: (b·tk, d), p: (b, h, tq, tk), d = h·e: a head's slice of a row is
//! contiguous. The queries are the last tq of the tk positions; with a causal mask query j sees the
//! keys i ≤ j + tk − tq, and p is 0 beyond. Sums over keys and queries are chains in ascending order.
//!
//! `heads.rs` says how it is computed.

use crate::heads::{Heads, Query};
use crate::{Real, Write, lanes, parallel};
use rayon::prelude::*;

pub use crate::heads::MAX_KEYS;

/// The shapes of an attention: b·tq queries of h heads with e dimensions each, b·tk keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Queries of one example.
    pub tq: usize,
    /// Keys of one example; tk ≥ tq.
    pub tk: usize,
    /// Heads.
    pub h: usize,
    /// Dimensions of a head.
    pub e: usize,
    /// Query j sees only the keys i ≤ j + tk − tq.
    pub causal: bool,
}

impl Shape {
    /// Keys that query `j` sees.
    fn visible(self, j: usize) -> usize {
        if self.causal { j + 1 + self.tk - self.tq } else { self.tk }
    }

    /// d = h·e.
    fn d(self) -> usize {
        self.h * self.e
    }

    fn scale(self) -> f32 {
        1.0 / (self.e as f32).sqrt()
    }

    fn heads(self) -> Heads {
        Heads { h: self.h, e: self.e, step: self.tq * self.tk }
    }

    /// Query n, counted through all examples.
    fn query(self, n: usize) -> Query {
        let (example, j) = (n / self.tq, n % self.tq);
        let weights = (example * self.h * self.tq + j) * self.tk;
        Query { first: example * self.tk, count: self.visible(j), weights }
    }

    /// Floating-point operations of one example's forward and backward: two products for each weight,
    /// and its softmax as in `autograd/src/ops/softmax.rs`; twice as many products, and its backward.
    pub fn flops(self) -> (u64, u64) {
        let weights: usize = (0..self.tq).map(|j| self.visible(j) * self.h).sum();
        flops(weights, self.e)
    }
}

/// Floating-point operations of a forward and a backward with so many weights in all.
pub(crate) fn flops(weights: usize, e: usize) -> (u64, u64) {
    let (products, weights) = ((4 * weights * e) as u64, weights as u64);
    (products + 19 * weights, 2 * products + 5 * weights)
}

/// z = attention(q, k, v); p receives the pattern.
///
/// # Panics
/// If tk is above [`MAX_KEYS`].
pub fn attention(q: &[f32], k: &[f32], v: &[f32], z: &mut [f32], p: &mut [f32], s: Shape) {
    let (Shape { tq, tk, h, .. }, d) = (s, s.d());
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let work = 16 * z.len() * tk;
    parallel::rows2((z, tq * d), (p, h * tq * tk), work, 1, |first, z, p| {
        let (q, k, v) = (&q[first * tq * d..], &k[first * tk * d..], &v[first * tk * d..]);
        s.heads().forward((q, k, v), z, p, |n| s.query(n));
    });
}

/// dq, dk, dv (+)= the gradients; shapes as q, k, v. `write` holds for each of the three in turn.
///
/// # Panics
/// If tk is above [`MAX_KEYS`].
pub fn attention_backward(
    (q, k, v): (&[f32], &[f32], &[f32]),
    p: &[f32],
    dz: &[f32],
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    write: [Write; 3],
    s: Shape,
) {
    let (Shape { tq, tk, h, .. }, d) = (s, s.d());
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let examples = dz.len() / (tq * d);
    let block = parallel::block_rows(examples, 32 * dz.len() * tk, 1);
    let (queries, keys) = (block * tq * d, block * tk * d);
    let gradients =
        dq.par_chunks_mut(queries).zip(dk.par_chunks_mut(keys)).zip(dv.par_chunks_mut(keys));
    let queries = q.par_chunks(queries).zip(dz.par_chunks(queries));
    let keys = k.par_chunks(keys).zip(v.par_chunks(keys));
    let inputs = queries.zip(keys).zip(p.par_chunks(block * h * tq * tk));
    gradients.zip(inputs).for_each(|(((dq, dk), dv), (((q, dz), (k, v)), p))| {
        s.heads().backward((q, k, v), (p, dz), (dq, dk, dv), write, |n| s.query(n));
    });
}

/// Reference of [`attention`].
pub fn attention_ref<T: Real>(q: &[T], k: &[T], v: &[T], z: &mut [T], p: &mut [T], s: Shape) {
    let (Shape { tq, tk, h, e, .. }, d) = (s, s.d());
    for row in 0..p.len() / tk {
        let (b, head, j) = (row / (h * tq), row / tq % h, row % tq);
        let seen = s.visible(j);
        let qj = &q[(b * tq + j) * d + head * e..][..e];
        let p = &mut p[row * tk..][..tk];
        p.fill(T::of(0.0));
        let scores: Vec<T> = (0..seen)
            .map(|i| {
                lanes::dot_ref(qj, &k[(b * tk + i) * d + head * e..][..e]) * T::of(s.scale().into())
            })
            .collect();
        crate::softmax::softmax_ref(&scores, &mut p[..seen], seen);
        for x in 0..e {
            let mut sum = T::of(0.0);
            for i in 0..seen {
                sum = p[i].mul_add(v[(b * tk + i) * d + head * e + x], sum);
            }
            z[(b * tq + j) * d + head * e + x] = sum;
        }
    }
}

/// Reference of [`attention_backward`], adding to dq, dk, dv.
pub fn attention_backward_ref<T: Real>(
    (q, k, v): (&[T], &[T], &[T]),
    p: &[T],
    dz: &[T],
    (dq, dk, dv): (&mut [T], &mut [T], &mut [T]),
    s: Shape,
) {
    let (Shape { tq, tk, h, e, .. }, d) = (s, s.d());
    for row in 0..p.len() / tk {
        let (b, head, j) = (row / (h * tq), row / tq % h, row % tq);
        let p = &p[row * tk..][..tk];
        let query = (b * tq + j) * d + head * e;
        let key = |i: usize| (b * tk + i) * d + head * e;
        let dp = |i: usize| lanes::dot_ref(&dz[query..query + e], &v[key(i)..key(i) + e]);
        let mut mean = T::of(0.0);
        for i in 0..s.visible(j) {
            mean = p[i].mul_add(dp(i), mean);
        }
        for i in 0..s.visible(j) {
            let ds = p[i] * (dp(i) - mean) * T::of(s.scale().into());
            for x in 0..e {
                dq[query + x] = ds.mul_add(k[key(i) + x], dq[query + x]);
                dk[key(i) + x] = ds.mul_add(q[query + x], dk[key(i) + x]);
                dv[key(i) + x] = p[i].mul_add(dz[query + x], dv[key(i) + x]);
            }
        }
    }
}
