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
//! Forward, sixteen heads are computed side by side, of one example or of several: their dot products are
//! folded together, and their scores are the lanes of one vector. The backward takes one example's heads:
//! it moves eight buffers, and where they do not fit into the cache it is faster to go through all of
//! them in step than through six KiB of each in turn (measured: 6 cycles for 16 elements, and 9).

use crate::lanes::{self, LANES, map};
use crate::{Real, Write, elementary, fold, parallel};
use rayon::prelude::*;
use std::ops::Range;
use wide::f32x16;

/// The longest sequence: the scores of one query stay on the stack.
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

    /// Where head `x` of row `t` lies in an example's q, k, v or z.
    fn slice(self, t: usize, x: usize) -> Range<usize> {
        let start = t * self.d() + x * self.e;
        start..start + self.e
    }

    /// Where the weights of query `j` of head `x` begin in an example's pattern.
    fn weights(self, x: usize, j: usize) -> usize {
        (x * self.tq + j) * self.tk
    }

    /// Each query with each group of at most sixteen heads.
    fn queries(self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let groups = move || (0..self.h).step_by(LANES).map(move |x| x..self.h.min(x + LANES));
        (0..self.tq).flat_map(move |j| groups().map(move |heads| (j, heads)))
    }

    /// The heads of so many examples, at most sixteen at a time.
    fn groups(self, examples: usize) -> impl Iterator<Item = Heads> {
        let all = examples * self.h;
        (0..all).step_by(LANES).map(move |first| Heads {
            s: self,
            first,
            count: LANES.min(all - first),
        })
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

/// Heads that are computed side by side, numbered through all examples: (example, head) = n / h, n % h.
#[derive(Clone, Copy)]
struct Heads {
    s: Shape,
    first: usize,
    count: usize,
}

impl Heads {
    /// Where each head's slice begins, of the first of `t` positions of its example.
    fn starts(self, t: usize) -> [usize; LANES] {
        let mut starts = [0; LANES];
        for (lane, start) in starts.iter_mut().enumerate() {
            let (example, head) = ((self.first + lane) / self.s.h, (self.first + lane) % self.s.h);
            *start = example * t * self.s.d() + head * self.s.e;
        }
        starts
    }

    /// Where the weights of query `j` of head `lane` begin in the pattern.
    fn weights(self, lane: usize, j: usize) -> usize {
        ((self.first + lane) * self.s.tq + j) * self.s.tk
    }

    /// The dot products of each head's slices of x and y at these places.
    #[inline(always)]
    fn dots<const V: usize>(
        self,
        (x, x_at): (&[f32], impl Fn(usize) -> usize),
        (y, y_at): (&[f32], impl Fn(usize) -> usize),
    ) -> f32x16 {
        let mut sums = [f32x16::ZERO; LANES];
        for (lane, sum) in sums[..self.count].iter_mut().enumerate() {
            *sum = dot_lanes::<V>(self.s.e, &x[x_at(lane)..], &y[y_at(lane)..]);
        }
        fold::sums(&sums)
    }
}

/// The lanes of x·y over V vectors, or over n elements for V = 0, not yet folded.
#[inline(always)]
pub(crate) fn dot_lanes<const V: usize>(n: usize, x: &[f32], y: &[f32]) -> f32x16 {
    let mut sum = f32x16::ZERO;
    if V > 0 {
        let (x, y) = (vectors::<V>(x), vectors::<V>(y));
        for v in 0..V {
            sum = x[v].mul_add(y[v], sum);
        }
    } else {
        let f = |[sum]: [f32x16; 1], [x, y]: [f32x16; 2]| [x.mul_add(y, sum)];
        [sum] = lanes::reduce(n, [x, y], [0.0; 2], [sum], f);
    }
    sum
}

/// The first V vectors of x.
#[inline(always)]
pub(crate) fn vectors<const V: usize>(x: &[f32]) -> [f32x16; V] {
    let (mut vectors, x) = ([f32x16::ZERO; V], &x[..V * LANES].as_chunks::<LANES>().0[..V]);
    for v in 0..V {
        vectors[v] = f32x16::new(x[v]);
    }
    vectors
}

#[inline(always)]
pub(crate) fn write_vectors<const V: usize>(vectors: [f32x16; V], x: &mut [f32]) {
    let x = &mut x[..V * LANES].as_chunks_mut::<LANES>().0[..V];
    for v in 0..V {
        x[v] = vectors[v].to_array();
    }
}

/// z = attention(q, k, v); p receives the pattern.
///
/// # Panics
/// If tk is above [`MAX_KEYS`].
pub fn attention(q: &[f32], k: &[f32], v: &[f32], z: &mut [f32], p: &mut [f32], s: Shape) {
    let Shape { tq, tk, h, e, .. } = s;
    let d = s.d();
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let work = 16 * z.len() * tk;
    parallel::rows2((z, tq * d), (p, h * tq * tk), work, 1, |first, z, p| {
        let (q, k, v) = (&q[first * tq * d..], &k[first * tk * d..], &v[first * tk * d..]);
        match e {
            16 => forward::<1>(q, k, v, z, p, s),
            32 => forward::<2>(q, k, v, z, p, s),
            64 => forward::<4>(q, k, v, z, p, s),
            _ => forward::<0>(q, k, v, z, p, s),
        }
    });
}

/// [`attention`] of heads of V vectors; of any other length for V = 0.
fn forward<const V: usize>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    z: &mut [f32],
    p: &mut [f32],
    s: Shape,
) {
    let (d, scale) = (s.d(), f32x16::splat(s.scale()));
    let mut scores = [[0.0; LANES]; MAX_KEYS]; // of each key, a head in each lane
    for heads in s.groups(z.len() / (s.tq * d)) {
        let (queries, keys) = (heads.starts(s.tq), heads.starts(s.tk));
        for j in 0..s.tq {
            let (scores, _) = scores.split_at_mut(s.visible(j));
            for (i, score) in scores.iter_mut().enumerate() {
                let (q, k) = ((q, |x| queries[x] + j * d), (k, |x| keys[x] + i * d));
                *score = heads.dots::<V>(q, k).to_array();
            }
            softmax_each(scores, scale);
            for lane in 0..heads.count {
                let p = &mut p[heads.weights(lane, j)..][..s.tk];
                let (seen, hidden) = p.split_at_mut(scores.len());
                seen.iter_mut().zip(&*scores).for_each(|(p, score)| *p = score[lane]);
                hidden.fill(0.0);
                let z = &mut z[queries[lane] + j * d..][..s.e];
                let mut sums = [f32x16::ZERO; V];
                for (i, weights) in scores.iter().enumerate() {
                    let v = &v[keys[lane] + i * d..][..s.e];
                    if V > 0 {
                        add_scaled(weights[lane], &vectors(v), &mut sums);
                    } else {
                        axpy(weights[lane], v, z, if i == 0 { Write::Set } else { Write::Add });
                    }
                }
                if V > 0 {
                    write_vectors(sums, z);
                }
            }
        }
    }
}

/// y += a·x.
#[inline(always)]
pub(crate) fn add_scaled<const V: usize>(a: f32, x: &[f32x16; V], y: &mut [f32x16; V]) {
    let a = f32x16::splat(a);
    for v in 0..V {
        y[v] = a.mul_add(x[v], y[v]);
    }
}

/// Each lane of the scores becomes its softmax over the keys, with the bits of
/// [`softmax`](crate::softmax::softmax). scores: (keys, 16).
#[inline(always)]
pub(crate) fn softmax_each(scores: &mut [[f32; LANES]], scale: f32x16) {
    let mut max = f32x16::splat(f32::NEG_INFINITY);
    for score in scores.iter_mut() {
        let scaled = f32x16::new(*score) * scale;
        (*score, max) = (scaled.to_array(), max.fast_max(scaled));
    }
    let mut sums = [f32x16::ZERO; LANES];
    for (i, score) in scores.iter_mut().enumerate() {
        let e = elementary::exp(f32x16::new(*score) - max);
        sums[i % LANES] += e;
        *score = e.to_array();
    }
    let total = lanes::fold(sums, |a, b| a + b);
    for score in scores {
        *score = (f32x16::new(*score) / total).to_array();
    }
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
    let Shape { tq, tk, h, .. } = s;
    let (d, scale) = (s.d(), f32x16::splat(s.scale()));
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let examples = dz.len() / (tq * d);
    let block = parallel::block_rows(examples, 32 * dz.len() * tk, 1);
    let blocks = dq
        .par_chunks_mut(block * tq * d)
        .zip(dk.par_chunks_mut(block * tk * d))
        .zip(dv.par_chunks_mut(block * tk * d));
    blocks.enumerate().for_each(|(chunk, ((dq, dk), dv))| {
        let gradients = dq
            .chunks_exact_mut(tq * d)
            .zip(dk.chunks_exact_mut(tk * d))
            .zip(dv.chunks_exact_mut(tk * d));
        let queries = q.chunks_exact(tq * d).zip(dz.chunks_exact(tq * d));
        let keys = k.chunks_exact(tk * d).zip(v.chunks_exact(tk * d));
        let inputs = queries.zip(keys).zip(p.chunks_exact(h * tq * tk)).skip(chunk * block);
        let mut ds = [[0.0; LANES]; MAX_KEYS]; // of each key, a head in each lane
        for (((dq, dk), dv), (((q, dz), (k, v)), p)) in gradients.zip(inputs) {
            for (j, heads) in s.queries() {
                let weights = |i: usize| {
                    let mut weights = [0.0; LANES];
                    for (weight, x) in weights.iter_mut().zip(heads.clone()) {
                        *weight = p[s.weights(x, j) + i];
                    }
                    weights
                };
                let (ds, _) = ds.split_at_mut(s.visible(j));
                let mut mean = f32x16::ZERO;
                for (i, dp) in ds.iter_mut().enumerate() {
                    for (dp, x) in dp.iter_mut().zip(heads.clone()) {
                        *dp = lanes::dot(&dz[s.slice(j, x)], &v[s.slice(i, x)]);
                    }
                    mean = f32x16::new(weights(i)).mul_add(f32x16::new(*dp), mean);
                }
                // The first query of an example meets its keys first.
                let [_, write_k, write_v] =
                    write.map(|write| if j == 0 { write } else { Write::Add });
                for (i, ds) in ds.iter_mut().enumerate() {
                    let weights = weights(i);
                    let dp = f32x16::new(*ds);
                    *ds = (f32x16::new(weights) * (dp - mean) * scale).to_array();
                    let write_q = if i == 0 { write[0] } else { Write::Add };
                    for ((&ds, weight), x) in ds.iter().zip(weights).zip(heads.clone()) {
                        let (query, key) = (s.slice(j, x), s.slice(i, x));
                        axpy(ds, &k[key.clone()], &mut dq[query.clone()], write_q);
                        axpy(ds, &q[query.clone()], &mut dk[key.clone()], write_k);
                        axpy(weight, &dz[query], &mut dv[key], write_v);
                    }
                }
                for i in s.visible(j)..tk {
                    for (dx, write) in [(&mut *dk, write_k), (&mut *dv, write_v)] {
                        if write == Write::Set {
                            dx[i * d..][..d].fill(0.0);
                        }
                    }
                }
            }
        }
    });
}

/// y (+)= a·x. x, y: (n).
#[inline(always)]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32], write: Write) {
    let a = f32x16::splat(a);
    map(y.len(), [x], y, write, |[x], y| a.mul_add(x, y));
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
