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
//! A row is one query of one head: (b, h, tq) of them. Sixteen rows are computed at once, one in each
//! lane of the scores: what a row does alone, a few keys long, is all latency.

use crate::lanes::{self, LANES, load, store};
use crate::{Real, Write, elementary, parallel};
use rayon::prelude::*;
use std::ops::Range;
use wide::f32x16;

/// The longest sequence: the scores of sixteen rows stay on the stack.
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

    /// The rows of some examples, in order.
    fn rows(self, examples: Range<usize>) -> impl Iterator<Item = Row> {
        let Shape { tq, tk, h, e, .. } = self;
        let d = self.d();
        let row = move |b: usize, head: usize, j: usize| Row {
            query: (b * tq + j) * d + head * e,
            keys: b * tk * d + head * e,
            seen: self.visible(j),
            first: j == 0,
        };
        examples
            .flat_map(move |b| (0..h).flat_map(move |head| (0..tq).map(move |j| row(b, head, j))))
    }

    /// Floating-point operations of one example's forward; the backward takes twice as many.
    pub fn flops(self) -> u64 {
        (0..self.tq).map(|j| 4 * (self.visible(j) * self.d()) as u64).sum()
    }
}

/// One query of one head.
#[derive(Clone, Copy)]
struct Row {
    /// Where its slice of q and z begins.
    query: usize,
    /// Where its head's slice of the example's first key and value begins.
    keys: usize,
    /// Keys that it sees.
    seen: usize,
    /// It is the first query of its example.
    first: bool,
}

/// The next rows, as many as `n` says; the lanes beyond repeat the first.
#[inline(always)]
fn group(rows: &mut impl Iterator<Item = Row>, n: usize) -> [Row; LANES] {
    let first = rows.next().expect("a row for each of the pattern");
    let mut group = [first; LANES];
    group[1..n].iter_mut().zip(rows).for_each(|(to, row)| *to = row);
    group
}

/// Lane r is x where row r sees key i, else `hidden`.
#[inline(always)]
fn mask(group: &[Row; LANES], i: usize, x: f32x16, hidden: f32) -> f32x16 {
    if group.iter().all(|row| i < row.seen) {
        return x;
    }
    let x = x.to_array();
    f32x16::new(std::array::from_fn(|r| if i < group[r].seen { x[r] } else { hidden }))
}

/// z = attention(q, k, v); p receives the pattern.
///
/// # Panics
/// If tk is above [`MAX_KEYS`].
pub fn attention(q: &[f32], k: &[f32], v: &[f32], z: &mut [f32], p: &mut [f32], s: Shape) {
    let Shape { tq, tk, h, e, .. } = s;
    let (d, scale) = (s.d(), f32x16::splat(s.scale()));
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let work = 16 * z.len() * tk;
    parallel::rows2((z, tq * d), (p, h * tq * tk), work, 1, |first, z, p| {
        let mut rows = s.rows(first..first + z.len() / (tq * d));
        let mut scores = [f32x16::ZERO; MAX_KEYS];
        let scores = &mut scores[..tk];
        for p in p.chunks_mut(LANES * tk) {
            let n = p.len() / tk;
            let group = group(&mut rows, n);
            let queries = group.map(|row| &q[row.query..][..e]);
            for (i, score) in scores.iter_mut().enumerate() {
                let key = group.map(|row| &k[row.keys + i * d..][..e]);
                *score = mask(&group, i, lanes::dots(queries, key) * scale, f32::NEG_INFINITY);
            }
            let lowest = f32x16::splat(f32::NEG_INFINITY);
            let max = scores.iter().fold(lowest, |max, &score| max.fast_max(score));
            scores.iter_mut().for_each(|x| *x = elementary::exp(*x - max));
            let total = lanes::sum_each(scores);
            for (i, x) in scores.iter().enumerate() {
                // A hidden key has weight 0 also where what is seen is not finite.
                let weights = mask(&group, i, *x / total, 0.0).to_array();
                (0..n).for_each(|r| p[r * tk + i] = weights[r]);
            }
            for (row, p) in group.iter().zip(p.chunks_exact(tk)) {
                let z = &mut z[row.query - first * tq * d..][..e];
                for (c, z) in z.chunks_mut(LANES).enumerate() {
                    let mut sum = f32x16::ZERO;
                    for (i, &weight) in p[..row.seen].iter().enumerate() {
                        let v = load(&v[row.keys + i * d..][..e][c * LANES..], 0.0);
                        sum = f32x16::splat(weight).mul_add(v, sum);
                    }
                    store(sum, z);
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
    let (d, scale) = (s.d(), f32x16::splat(s.scale()));
    assert!(tk <= MAX_KEYS, "attention over {tk} keys: at most {MAX_KEYS}");
    let examples = dz.len() / (tq * d);
    let block = parallel::block_rows(examples, 32 * dz.len() * tk, 1);
    let blocks = dq
        .par_chunks_mut(block * tq * d)
        .zip(dk.par_chunks_mut(block * tk * d))
        .zip(dv.par_chunks_mut(block * tk * d));
    blocks.enumerate().for_each(|(chunk, ((dq, dk), dv))| {
        let examples = chunk * block..chunk * block + dq.len() / (tq * d);
        let (query0, key0) = (examples.start * tq * d, examples.start * tk * d);
        let p = &p[examples.start * h * tq * tk..examples.end * h * tq * tk];
        let mut rows = s.rows(examples);
        let mut ds = [f32x16::ZERO; MAX_KEYS];
        let ds = &mut ds[..tk];
        for p in p.chunks(LANES * tk) {
            let n = p.len() / tk;
            let group = group(&mut rows, n);
            let weight = |i: usize| {
                f32x16::new(std::array::from_fn(|r| if r < n { p[r * tk + i] } else { 0.0 }))
            };
            let dz_rows = group.map(|row| &dz[row.query..][..e]);
            let mut mean = f32x16::ZERO;
            for (i, dp) in ds.iter_mut().enumerate() {
                let value = group.map(|row| &v[row.keys + i * d..][..e]);
                *dp = mask(&group, i, lanes::dots(dz_rows, value), 0.0);
                mean = weight(i).mul_add(*dp, mean);
            }
            for (i, ds) in ds.iter_mut().enumerate() {
                *ds = weight(i) * (*ds - mean) * scale;
            }
            for (r, (row, p)) in group.iter().zip(p.chunks_exact(tk)).enumerate() {
                // The first query of an example meets its keys first.
                let write_keys =
                    [write[1], write[2]].map(|write| if row.first { write } else { Write::Add });
                let dq = &mut dq[row.query - query0..][..e];
                for (c, dq) in dq.chunks_mut(LANES).enumerate() {
                    let piece = c * LANES..c * LANES + dq.len();
                    let q = load(&q[row.query..][..e][piece.clone()], 0.0);
                    let dz = load(&dz[row.query..][..e][piece.clone()], 0.0);
                    let mut sum = start(dq, write[0]);
                    for i in 0..row.seen {
                        let key = row.keys + i * d;
                        let k = load(&k[key..][..e][piece.clone()], 0.0);
                        let dk = &mut dk[key - key0..][..e][piece.clone()];
                        let dv = &mut dv[key - key0..][..e][piece.clone()];
                        let ds = f32x16::splat(ds[i].as_array()[r]);
                        sum = ds.mul_add(k, sum);
                        store(ds.mul_add(q, start(dk, write_keys[0])), dk);
                        store(f32x16::splat(p[i]).mul_add(dz, start(dv, write_keys[1])), dv);
                    }
                    store(sum, dq);
                    for i in row.seen..tk {
                        let key = row.keys + i * d - key0;
                        for (dx, write) in [&mut *dk, &mut *dv].into_iter().zip(write_keys) {
                            if write == Write::Set {
                                dx[key..][..e][piece.clone()].fill(0.0);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// What a gradient's sum starts from.
#[inline(always)]
fn start(dx: &[f32], write: Write) -> f32x16 {
    if write == Write::Add { load(dx, 0.0) } else { f32x16::ZERO }
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
