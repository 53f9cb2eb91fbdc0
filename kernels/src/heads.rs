//! The heads of an attention, query by query: what [`attention`](crate::attention) and
//! [`varlen_attention`](crate::varlen_attention) have in common once the keys that each query sees are known.
//!
//! Forward, up to sixteen heads, of one query or of several, are the lanes of the softmax, and the sixteen
//! products of each key are folded together. Where one sees fewer keys than another of the sixteen, its score
//! is −∞.
//!
//! Backward, a run of consecutive queries that see the same keys is taken together: first all of their dp,
//! then query by query the gradients of the scores and dq; the last query of the run finds those of each key
//! complete, and dk and dv are summed over the run in registers.
//!
//! A row is taken in blocks of four heads (of 16 or 32, where four divides their number; else of two or one): one check for each, its offsets known when this is compiled, and a
//! query or the sums of its values in eight registers. Smaller blocks are slower, and very much so where the
//! buffers do not fit into the cache, as they go through a row in steps.

use crate::lanes::{LANES, map, reduce};
use crate::{Write, elementary, fold};
use std::array::from_fn;
use wide::f32x16;

/// The most keys that a query may see: the scores of sixteen heads stay on the stack.
pub const MAX_KEYS: usize = 256;

/// Keys whose products are folded before the next are begun.
const KEYS: usize = 8;

/// The most scores whose gradients are on the stack at once: of sixteen heads of one query.
const SCORES: usize = MAX_KEYS * LANES;

/// What a query sees, and where its weights stand.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    /// The row of its first key.
    pub(crate) first: usize,
    /// Its number of keys, 1 to [`MAX_KEYS`].
    pub(crate) count: usize,
    /// Where the weights of its first head begin in the pattern.
    pub(crate) weights: usize,
}

/// The shapes of an attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Heads.
    pub(crate) h: usize,
    /// Dimensions of a head.
    pub(crate) e: usize,
    /// From the weights of a head to those of the next.
    pub(crate) step: usize,
}

/// `f::<B, H>(…)` for blocks H of B heads: eight vectors at most, or one head of any length.
macro_rules! by_length {
    ($s:expr, $f:ident($($x:expr),* $(,)?)) => {
        match ($s.h % 4, $s.e) {
            (0, 16) => $f::<4, [[[f32; LANES]; 1]; 4]>($($x),*),
            (0, 32) => $f::<4, [[[f32; LANES]; 2]; 4]>($($x),*),
            (0 | 2, 64) => $f::<2, [[[f32; LANES]; 4]; 2]>($($x),*),
            (_, 16) => $f::<1, [[[f32; LANES]; 1]; 1]>($($x),*),
            (_, 32) => $f::<1, [[[f32; LANES]; 2]; 1]>($($x),*),
            (_, 64) => $f::<1, [[[f32; LANES]; 4]; 1]>($($x),*),
            _ => $f::<1, [f32]>($($x),*),
        }
    };
}

impl Heads {
    /// z = p·v, where p = softmax(q·k/√e), 0 behind the keys that a query sees.
    pub(crate) fn forward(
        self,
        (q, k, v): (&[f32], &[f32], &[f32]),
        z: &mut [f32],
        p: &mut [f32],
        query: impl Fn(usize) -> Query,
    ) {
        by_length!(self, forward(self, q, k, v, z, p, query));
    }

    /// dq, dk, dv (+)= the gradients. The queries are in the order of their first keys.
    pub(crate) fn backward(
        self,
        (q, k, v): (&[f32], &[f32], &[f32]),
        (p, dz): (&[f32], &[f32]),
        (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
        write: [Write; 3],
        query: impl Fn(usize) -> Query,
    ) {
        by_length!(self, backward(self, q, k, v, p, dz, dq, dk, dv, write, query));
    }

    /// The heads, at most sixteen at a time.
    fn groups(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..self.h).step_by(LANES).map(move |head| head..self.h.min(head + LANES))
    }

    fn scale(self) -> f32 {
        1.0 / (self.e as f32).sqrt()
    }
}

fn forward<const B: usize, H: Block<B> + ?Sized>(
    s: Heads,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    z: &mut [f32],
    p: &mut [f32],
    query: impl Fn(usize) -> Query,
) {
    let (Heads { h, e, step }, scale) = (s, f32x16::splat(s.scale()));
    let (queries, side_by_side) = (z.len() / (h * e), (LANES / h).max(1));
    p.fill(0.0);
    let mut dots = [[f32x16::ZERO; LANES]; KEYS];
    let mut scores = [[0.0; LANES]; MAX_KEYS]; // of each key, a head in each lane
    for first in (0..queries).step_by(side_by_side) {
        let queries = first..queries.min(first + side_by_side);
        let most = queries.clone().map(|n| query(n).count).max().unwrap_or(0);
        for heads in s.groups() {
            let mut counts = [[0.0; B]; LANES];
            for from in (0..most).step_by(KEYS) {
                let mut lanes = 0;
                for n in queries.clone() {
                    let Query { first, count, .. } = query(n);
                    for x in heads.clone().step_by(B) {
                        let q = H::at(q, (n * h + x) / B, e);
                        let mut key = ((first + from) * h + x) / B;
                        for dots in dots.iter_mut().take(count.saturating_sub(from)) {
                            q.dots(H::at(k, key, e), &mut dots.as_chunks_mut().0[lanes]);
                            key += h / B;
                        }
                        counts[lanes] = [count as u32 as f32; B];
                        lanes += 1;
                    }
                }
                let counts = f32x16::new(*counts.as_flattened().first_chunk().expect("sixteen"));
                for (i, (score, dots)) in (from..most).zip(scores[from..].iter_mut().zip(&dots)) {
                    let seen = f32x16::splat(i as u32 as f32).simd_lt(counts);
                    let all = fold::sums(dots);
                    *score = seen.select(all, f32x16::splat(f32::NEG_INFINITY)).to_array();
                }
            }
            softmax_each(&mut scores[..most], scale);
            let mut lanes = 0;
            for n in queries.clone() {
                let Query { first, count, weights } = query(n);
                for x in heads.clone().step_by(B) {
                    let mut rows = p[weights + x * step..].chunks_mut(step);
                    let mut p: [_; B] = from_fn(|_| &mut rows.next().expect("a row")[..count]);
                    let mut key = (first * h + x) / B;
                    let terms = (0..count).zip(&scores).map(|(i, scores)| {
                        let (weights, v) = (scores.as_chunks().0[lanes], H::at(v, key, e));
                        for x in 0..B {
                            p[x][i] = weights[x];
                        }
                        key += h / B;
                        [(weights, v)]
                    });
                    H::sums([H::at_mut(z, (n * h + x) / B, e)], [Write::Set], terms);
                    lanes += 1;
                }
            }
        }
    }
}

fn backward<const B: usize, H: Block<B> + ?Sized>(
    s: Heads,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    p: &[f32],
    dz: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    write: [Write; 3],
    query: impl Fn(usize) -> Query,
) {
    let (Heads { h, e, step }, scale) = (s, s.scale());
    let (d, queries) = (h * e, dz.len() / (h * e));
    let mut dots = [f32x16::ZERO; LANES];
    // dp query by query, block by block, of the keys that each sees; the weights and the gradients of their
    // scores block by block, key by key, of the queries of a run.
    let mut dp = [0.0; SCORES + LANES];
    let [mut weights, mut ds] = [[0.0; SCORES]; 2];
    let (weights, ds) = (weights.as_chunks_mut::<B>().0, ds.as_chunks_mut::<B>().0);
    let (mut from, mut ready) = (0, 0); // so many rows of dk and dv may be added to
    while from < queries {
        // A run: queries that see the same keys, or more and more of them, as many as fit.
        let Query { first, count: mut most, .. } = query(from);
        let mut to = from + 1;
        while to < queries {
            let next = query(to);
            let fits = (to + 1 - from) * next.count * h.min(LANES) <= SCORES;
            if next.first != first || next.count < most || !fits {
                break;
            }
            (to, most) = (to + 1, next.count);
        }
        let n = to - from;
        for (dx, write) in [&mut *dk, &mut *dv].into_iter().zip(&write[1..]) {
            if *write == Write::Set && ready < first {
                dx[ready * d..first * d].fill(0.0); // keys that nobody sees
            }
        }
        for heads in s.groups() {
            let (mut at, mut lane) = (0, 0);
            for j in from..to {
                let count = query(j).count;
                for x in heads.clone().step_by(B) {
                    let dz = H::at(dz, (j * h + x) / B, e);
                    let mut key = (first * h + x) / B;
                    for _ in 0..count {
                        dz.dots(H::at(v, key, e), &mut dots.as_chunks_mut().0[lane / B]);
                        (key, lane) = (key + h / B, lane + B);
                        if lane == LANES {
                            dp[at..][..LANES].copy_from_slice(fold::sums(&dots).as_array());
                            (at, lane) = (at + LANES, 0);
                        }
                    }
                }
            }
            dp[at..][..LANES].copy_from_slice(fold::sums(&dots).as_array());
            let mut dp = dp.as_chunks::<B>().0;
            for j in from..to {
                let Query { count, weights: start, .. } = query(j);
                for x in heads.clone().step_by(B) {
                    let (dp_here, dp_next) = dp.split_at(count);
                    dp = dp_next;
                    let slot = (x - heads.start) / B * most * n + j - from;
                    let mut rows = p[start + x * step..].chunks(step);
                    let p: [_; B] = from_fn(|_| &rows.next().expect("a row")[..count]);
                    let mut mean = [0.0; B];
                    for i in 0..count {
                        let weights = &mut weights[slot + i * n];
                        for x in 0..B {
                            weights[x] = p[x][i];
                            mean[x] = weights[x].mul_add(dp_here[i][x], mean[x]);
                        }
                    }
                    let mut unseen = from; // the first query that sees key i
                    let terms = (0..count).map(|i| {
                        let (slot, key) = (slot + i * n, ((first + i) * h + x) / B);
                        for x in 0..B {
                            ds[slot][x] = weights[slot][x] * (dp_here[i][x] - mean[x]) * scale;
                        }
                        if j + 1 == to {
                            // The last query of the run: the key has its gradients from all of them.
                            while query(unseen).count <= i {
                                unseen += 1;
                            }
                            let [_, wk, wv] =
                                write.map(|w| if first + i < ready { Write::Add } else { w });
                            let slots = slot + 1 + unseen - to..slot + 1;
                            let terms =
                                (unseen..).zip(ds[slots.clone()].iter().zip(&weights[slots]));
                            let terms = terms.map(|(j, (&ds, &weights))| {
                                let at = |of| H::at(of, (j * h + x) / B, e);
                                [(ds, at(q)), (weights, at(dz))]
                            });
                            H::sums(
                                [H::at_mut(dk, key, e), H::at_mut(dv, key, e)],
                                [wk, wv],
                                terms,
                            );
                        }
                        [(ds[slot], H::at(k, key, e))]
                    });
                    H::sums([H::at_mut(dq, (j * h + x) / B, e)], [write[0]], terms);
                }
            }
        }
        (from, ready) = (to, ready.max(first + most));
    }
    for (dx, write) in [dk, dv].into_iter().zip(&write[1..]) {
        if *write == Write::Set && ready * d < dx.len() {
            dx[ready * d..].fill(0.0);
        }
    }
}

/// A row's part of B heads, each of a known number of vectors; or of one head of any length.
trait Block<const B: usize> {
    /// Block n of those that x consists of, each with heads of e elements.
    fn at(x: &[f32], n: usize, e: usize) -> &Self;
    fn at_mut(x: &mut [f32], n: usize, e: usize) -> &mut Self;
    /// The lanes of each head's dot product, not yet folded.
    fn dots(&self, y: &Self, dots: &mut [f32x16; B]);
    /// out (+)= Σ a·x over the terms (a, x), one after the other, with a factor for each head; N such sums.
    fn sums<'a, const N: usize>(
        out: [&mut Self; N],
        write: [Write; N],
        terms: impl Iterator<Item = [([f32; B], &'a Self); N]>,
    ) where
        Self: 'a;
}

impl<const B: usize, const V: usize> Block<B> for [[[f32; LANES]; V]; B] {
    #[inline(always)]
    fn at(x: &[f32], n: usize, _: usize) -> &Self {
        &x.as_chunks::<LANES>().0.as_chunks::<V>().0.as_chunks::<B>().0[n]
    }
    #[inline(always)]
    fn at_mut(x: &mut [f32], n: usize, _: usize) -> &mut Self {
        &mut x.as_chunks_mut::<LANES>().0.as_chunks_mut::<V>().0.as_chunks_mut::<B>().0[n]
    }
    #[inline(always)]
    fn dots(&self, y: &Self, dots: &mut [f32x16; B]) {
        for b in 0..B {
            let mut sum = f32x16::ZERO;
            for v in 0..V {
                sum = f32x16::new(self[b][v]).mul_add(f32x16::new(y[b][v]), sum);
            }
            dots[b] = sum;
        }
    }
    #[inline(always)]
    fn sums<'a, const N: usize>(
        out: [&mut Self; N],
        write: [Write; N],
        terms: impl Iterator<Item = [([f32; B], &'a Self); N]>,
    ) {
        let mut sums = [[[f32x16::ZERO; V]; B]; N];
        for n in 0..N {
            if write[n] == Write::Add {
                for b in 0..B {
                    for v in 0..V {
                        sums[n][b][v] = f32x16::new(out[n][b][v]);
                    }
                }
            }
        }
        for term in terms {
            for n in 0..N {
                let (a, x) = term[n];
                for b in 0..B {
                    for v in 0..V {
                        let (a, x) = (f32x16::splat(a[b]), f32x16::new(x[b][v]));
                        sums[n][b][v] = a.mul_add(x, sums[n][b][v]);
                    }
                }
            }
        }
        for b in 0..B {
            for v in 0..V {
                for n in 0..N {
                    out[n][b][v] = sums[n][b][v].to_array();
                }
            }
        }
    }
}

impl Block<1> for [f32] {
    #[inline(always)]
    fn at(x: &[f32], n: usize, e: usize) -> &Self {
        &x[n * e..][..e]
    }
    #[inline(always)]
    fn at_mut(x: &mut [f32], n: usize, e: usize) -> &mut Self {
        &mut x[n * e..][..e]
    }
    #[inline(always)]
    fn dots(&self, y: &Self, dots: &mut [f32x16; 1]) {
        let f = |[sum]: [f32x16; 1], [x, y]: [f32x16; 2]| [x.mul_add(y, sum)];
        *dots = reduce(self.len(), [self, y], [0.0; 2], [f32x16::ZERO], f);
    }
    #[inline(always)]
    fn sums<'a, const N: usize>(
        out: [&mut Self; N],
        mut write: [Write; N],
        terms: impl Iterator<Item = [([f32; 1], &'a Self); N]>,
    ) {
        for term in terms {
            for n in 0..N {
                let ([a], x) = term[n];
                let a = f32x16::splat(a);
                map(x.len(), [x], out[n], write[n], |[x], sum| a.mul_add(x, sum));
            }
            write = [Write::Add; N];
        }
    }
}

/// Each lane of the scores becomes its softmax over the keys, with the bits of
/// [`softmax`](crate::softmax::softmax). scores: (keys, 16).
#[inline(always)]
fn softmax_each(scores: &mut [[f32; LANES]], scale: f32x16) {
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
    let total = fold::across(sums, scores.len());
    for score in scores {
        *score = (f32x16::new(*score) / total).to_array();
    }
}
