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

use crate::lanes::{self, map};
use crate::softmax::softmax_row;
use crate::{Real, Write, parallel};
use rayon::prelude::*;
use wide::f32x16;

/// The longest sequence: one query's gradients of its weights stay on the stack.
pub const MAX_KEYS: usize = 256;

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

    /// Floating-point operations of one example's forward; the backward takes twice as many.
    pub fn flops(self) -> u64 {
        (0..self.tq).map(|j| 4 * (self.visible(j) * self.d()) as u64).sum()
    }
}

/// y += a·x. x, y: (n).
#[inline(always)]
fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    let a = f32x16::splat(a);
    map([x], y, Write::Add, |[x], y| a.mul_add(x, y));
}

/// z = attention(q, k, v); p receives the pattern.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], z: &mut [f32], p: &mut [f32], s: Shape) {
    let Shape { tq, tk, h, e, .. } = s;
    let (d, scale) = (s.d(), s.scale());
    let work = 16 * z.len() * tk;
    parallel::rows2((z, tq * d), (p, h * tq * tk), work, 1, |first, z, p| {
        let examples = z.chunks_exact_mut(tq * d).zip(p.chunks_exact_mut(h * tq * tk));
        for (b, (z, p)) in (first..).zip(examples) {
            let (k, v) = (&k[b * tk * d..][..tk * d], &v[b * tk * d..][..tk * d]);
            let q = &q[b * tq * d..][..tq * d];
            z.fill(0.0);
            for (row, p) in p.chunks_exact_mut(tk).enumerate() {
                let (head, j) = (row / tq, row % tq);
                let of = |t: usize| t * d + head * e..t * d + head * e + e;
                let (seen, hidden) = p.split_at_mut(s.visible(j));
                hidden.fill(0.0);
                for (i, score) in seen.iter_mut().enumerate() {
                    *score = lanes::dot(&q[of(j)], &k[of(i)]) * scale;
                }
                softmax_row(seen);
                for (i, &weight) in seen.iter().enumerate() {
                    axpy(weight, &v[of(i)], &mut z[of(j)]);
                }
            }
        }
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
    let Shape { tq, tk, h, e, .. } = s;
    let (d, scale) = (s.d(), s.scale());
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let examples = dz.len() / (tq * d);
    let block = parallel::block_rows(examples, 32 * dz.len() * tk, 1);
    dq.par_chunks_mut(block * tq * d)
        .zip(dk.par_chunks_mut(block * tk * d))
        .zip(dv.par_chunks_mut(block * tk * d))
        .enumerate()
        .for_each(|(chunk, ((dq, dk), dv))| {
            for (dx, write) in [&mut *dq, &mut *dk, &mut *dv].into_iter().zip(write) {
                if write == Write::Set {
                    dx.fill(0.0);
                }
            }
            let mut dp = [0.0; MAX_KEYS];
            let outputs = dq
                .chunks_exact_mut(tq * d)
                .zip(dk.chunks_exact_mut(tk * d))
                .zip(dv.chunks_exact_mut(tk * d));
            for (b, ((dq, dk), dv)) in (chunk * block..).zip(outputs) {
                let (k, v) = (&k[b * tk * d..][..tk * d], &v[b * tk * d..][..tk * d]);
                let (q, dz) = (&q[b * tq * d..][..tq * d], &dz[b * tq * d..][..tq * d]);
                let p = &p[b * h * tq * tk..][..h * tq * tk];
                for (row, p) in p.chunks_exact(tk).enumerate() {
                    let (head, j) = (row / tq, row % tq);
                    let of = |t: usize| t * d + head * e..t * d + head * e + e;
                    let dz = &dz[of(j)];
                    let seen = s.visible(j);
                    let mut mean = 0.0;
                    for i in 0..seen {
                        dp[i] = lanes::dot(dz, &v[of(i)]);
                        mean = p[i].mul_add(dp[i], mean);
                    }
                    for i in 0..seen {
                        let ds = p[i] * (dp[i] - mean) * scale;
                        axpy(ds, &k[of(i)], &mut dq[of(j)]);
                        axpy(ds, &q[of(j)], &mut dk[of(i)]);
                        axpy(p[i], dz, &mut dv[of(i)]);
                    }
                }
            }
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
