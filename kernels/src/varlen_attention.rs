//! Multi-head attention over packed sequences of different lengths, without padding or masks.
//!
//! ```text
//! s[i] = q·k[first + i]/√e,  p = softmax(s),  z = Σᵢ p[i]·v[first + i],  i < count   for each head and query
//! dv[i] += p[i]·dz,   dp[i] = dz·v[i],   ds = p·(dp − Σ p·dp)/√e
//! dq = Σᵢ ds[i]·k[i],   dk[i] += ds[i]·q                                             keeps p
//! ```
//! q, z: (queries, d), k, v: (keys, d), p: (queries, h, max_keys), d = h·e. The list `seen` holds a pair
//! (first, count) for each query: the keys that it sees are the rows first .. first + count of k. So one
//! kernel is self-attention (count is the length of the query's sequence), causal self-attention (its
//! position + 1), cross-attention (the keys are another stream's) and decoding with a cache whose
//! sequences have grown to different lengths. Sums over keys and queries are chains in ascending order.
//!
//! The heads of all queries are numbered through, n = query·h + head: the slice of head n in q and z begins
//! at n·e. Sixteen of them are computed side by side, of one query or of several; where one sees fewer keys
//! than another of the sixteen, its own last key is computed again and left out.

use crate::attention::{
    MAX_KEYS, add_scaled, axpy, dot_lanes, flops, softmax_each, vectors, write_vectors,
};
use crate::lanes::{self, LANES};
use crate::{Real, Write, fold, parallel};
use wide::f32x16;

/// The shapes of an attention over packed sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Heads.
    pub h: usize,
    /// Dimensions of a head.
    pub e: usize,
    /// The most keys that a query may see; at most [`MAX_KEYS`].
    pub max_keys: usize,
}

impl Shape {
    fn d(self) -> usize {
        self.h * self.e
    }

    fn scale(self) -> f32 {
        1.0 / (self.e as f32).sqrt()
    }

    /// Floating-point operations of the forward and the backward over so many (query, key) pairs, counted
    /// as those of [`attention::Shape::flops`](crate::attention::Shape::flops).
    pub fn flops(self, pairs: usize) -> (u64, u64) {
        flops(pairs * self.h, self.e)
    }

    /// The pairs (first, count), after a look at each.
    ///
    /// # Panics
    /// If one sees no key, more than `max_keys`, or rows that k does not have.
    fn pairs(self, seen: &[u32], queries: usize, keys: usize) -> &[[u32; 2]] {
        let (pairs, rest) = seen.as_chunks::<2>();
        assert!(
            pairs.len() == queries && rest.is_empty(),
            "attention of {queries} queries: {} entries, expected (first, count) for each",
            seen.len()
        );
        let most = self.max_keys.min(MAX_KEYS);
        for (i, &[first, count]) in pairs.iter().enumerate() {
            assert!(
                (1..=most).contains(&(count as usize)) && (first + count) as usize <= keys,
                "attention: query {i} sees {count} keys from row {first} on, of {keys} rows; it may \
                 see 1 to {most}"
            );
        }
        pairs
    }
}

/// Sixteen heads that are computed side by side, from number `first` on; beyond the last head of all, lanes
/// repeat the first of the sixteen and are not stored.
struct Heads {
    first: usize,
    count: usize,
    /// Where each head's slice of its query begins, of its first key and of its last key.
    query: [usize; LANES],
    key: [usize; LANES],
    last: [usize; LANES],
    /// How many keys it sees.
    seen: [usize; LANES],
    /// The most of them.
    most: usize,
}

impl Heads {
    #[inline(always)]
    fn new(s: Shape, pairs: &[[u32; 2]], first: usize) -> Heads {
        let (count, d) = (LANES.min(pairs.len() * s.h - first), s.d());
        let [mut query, mut key, mut last, mut seen] = [[0; LANES]; 4];
        let (mut most, mut row, mut head) = (0, first / s.h, first % s.h);
        for lane in 0..LANES {
            if lane < count {
                let [first_key, keys] = pairs[row].map(|x| x as usize);
                query[lane] = (first + lane) * s.e;
                key[lane] = first_key * d + head * s.e;
                last[lane] = key[lane] + (keys - 1) * d;
                seen[lane] = keys;
                most = most.max(keys);
                head += 1;
                if head == s.h {
                    (row, head) = (row + 1, 0);
                }
            } else {
                (query[lane], key[lane], last[lane]) = (query[0], key[0], last[0]);
            }
        }
        Heads { first, count, query, key, last, seen, most }
    }

    /// How many keys each head sees, as a vector.
    #[inline(always)]
    fn counts(&self) -> f32x16 {
        f32x16::new(self.seen.map(|seen| seen as u32 as f32))
    }

    /// The dot products of each head's slice of x, a query's, with that of its key i.
    #[inline(always)]
    fn dots<const V: usize>(&self, s: Shape, i: usize, x: &[f32], keys: &[f32]) -> f32x16 {
        let (e, step) = (s.e, i * s.d());
        let mut sums = [f32x16::ZERO; LANES];
        for lane in 0..LANES {
            let key = (self.key[lane] + step).min(self.last[lane]);
            sums[lane] = dot_lanes::<V>(e, &x[self.query[lane]..][..e], &keys[key..][..e]);
        }
        fold::sums(&sums)
    }

    /// Lane, its number through all heads, and where its keys begin.
    fn lanes(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.count).map(|lane| (lane, self.first + lane, self.key[lane]))
    }
}

/// z = attention(q, k, v); p receives the pattern, 0 beyond each query's count.
///
/// # Panics
/// If an entry of `seen` is not as described above.
pub fn varlen_attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    seen: &[u32],
    z: &mut [f32],
    p: &mut [f32],
    s: Shape,
) {
    let d = s.d();
    let pairs = s.pairs(seen, z.len() / d, k.len() / d);
    let work = 16 * z.len() * s.max_keys;
    parallel::rows2((z, d), (p, s.h * s.max_keys), work, 1, |first, z, p| {
        let (q, pairs) = (&q[first * d..], &pairs[first..][..z.len() / d]);
        match s.e {
            16 => forward::<1>(q, k, v, pairs, z, p, s),
            32 => forward::<2>(q, k, v, pairs, z, p, s),
            64 => forward::<4>(q, k, v, pairs, z, p, s),
            _ => forward::<0>(q, k, v, pairs, z, p, s),
        }
    });
}

/// [`varlen_attention`] of heads of V vectors; of any other length for V = 0.
fn forward<const V: usize>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    pairs: &[[u32; 2]],
    z: &mut [f32],
    p: &mut [f32],
    s: Shape,
) {
    let (Shape { h, e, max_keys }, d) = (s, s.d());
    let scale = f32x16::splat(s.scale());
    let mut scores = [[0.0; LANES]; MAX_KEYS]; // of each key, a head in each lane
    for first in (0..pairs.len() * h).step_by(LANES) {
        let heads = Heads::new(s, pairs, first);
        let (scores, _) = scores.split_at_mut(heads.most);
        let counts = heads.counts();
        for (i, score) in scores.iter_mut().enumerate() {
            let (all, seen) =
                (heads.dots::<V>(s, i, q, k), f32x16::splat(i as f32).simd_lt(counts));
            *score = seen.select(all, f32x16::splat(f32::NEG_INFINITY)).to_array();
        }
        softmax_each(scores, scale);
        for (lane, n, at) in heads.lanes() {
            let weights = scores[..heads.seen[lane]].iter().map(|scores| scores[lane]);
            let (seen, hidden) = p[n * max_keys..][..max_keys].split_at_mut(heads.seen[lane]);
            seen.iter_mut().zip(weights.clone()).for_each(|(p, weight)| *p = weight);
            hidden.fill(0.0);
            let z = &mut z[n * e..][..e];
            let mut sums = [f32x16::ZERO; V];
            for (i, weight) in weights.enumerate() {
                let v = &v[at + i * d..][..e];
                if V > 0 {
                    add_scaled(weight, &vectors(v), &mut sums);
                } else {
                    axpy(weight, v, z, if i == 0 { Write::Set } else { Write::Add });
                }
            }
            if V > 0 {
                write_vectors(sums, z);
            }
        }
    }
}

/// Some consecutive queries, all keys that they see, and no other query that sees them.
struct Part<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    p: &'a [f32],
    dz: &'a [f32],
    pairs: &'a [[u32; 2]],
    /// The row of k at which dk and dv begin.
    first_key: usize,
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    write: [Write; 3],
    s: Shape,
}

/// dq, dk, dv (+)= the gradients; shapes as q, k, v. `write` holds for each of the three in turn.
///
/// # Panics
/// If an entry of `seen` is not as described above, or the queries are not in the order of their first
/// keys.
pub fn varlen_attention_backward(
    (q, k, v): (&[f32], &[f32], &[f32]),
    seen: &[u32],
    p: &[f32],
    dz: &[f32],
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    write: [Write; 3],
    s: Shape,
) {
    let (d, queries) = (s.d(), dz.len() / s.d());
    let pairs = s.pairs(seen, queries, k.len() / d);
    assert!(
        pairs.is_sorted_by_key(|pair| pair[0]),
        "attention: queries in the order of their keys"
    );
    let block = parallel::block_rows(queries, 32 * dz.len() * s.max_keys, 1);
    Part { q, k, v, p, dz, pairs, first_key: 0, dq, dk, dv, write, s }
        .backward(queries.div_ceil(block).max(1));
}

impl<'a> Part<'a> {
    /// The backward of this part on so many threads.
    fn backward(self, threads: usize) {
        let query = self.pairs.len() * (threads / 2) / threads;
        match self.border(query).filter(|_| threads > 1) {
            Some(query) => {
                let (left, right) = self.split(query);
                let half = threads / 2;
                rayon::join(|| left.backward(half), || right.backward(threads - half));
            }
            None => match self.s.e {
                16 => self.run::<1>(),
                32 => self.run::<2>(),
                64 => self.run::<4>(),
                _ => self.run::<0>(),
            },
        }
    }

    /// The first query from this one on that sees none of the keys of those before, nor keys before them.
    fn border(&self, from: usize) -> Option<usize> {
        let mut end = 0;
        self.pairs.iter().enumerate().position(|(i, &[first, count])| {
            let border = i > 0 && i >= from && first >= end;
            end = end.max(first + count);
            border
        })
    }

    fn split(self, query: usize) -> (Part<'a>, Part<'a>) {
        let Part { s, k, v, write, first_key, .. } = self;
        let (d, weights) = (s.d(), s.h * s.max_keys);
        let border = self.pairs[query][0] as usize;
        let (q, p, dz) = (
            self.q.split_at(query * d),
            self.p.split_at(query * weights),
            self.dz.split_at(query * d),
        );
        let pairs = self.pairs.split_at(query);
        let dq = self.dq.split_at_mut(query * d);
        let dk = self.dk.split_at_mut((border - first_key) * d);
        let dv = self.dv.split_at_mut((border - first_key) * d);
        let part = |q, p, dz, pairs, first_key, dq, dk, dv| Part {
            q,
            k,
            v,
            p,
            dz,
            pairs,
            first_key,
            dq,
            dk,
            dv,
            write,
            s,
        };
        (
            part(q.0, p.0, dz.0, pairs.0, first_key, dq.0, dk.0, dv.0),
            part(q.1, p.1, dz.1, pairs.1, border, dq.1, dk.1, dv.1),
        )
    }

    /// The backward on this thread, of heads of V vectors; of any other length for V = 0.
    fn run<const V: usize>(self) {
        let Part { q, k, v, p, dz, pairs, first_key, dq, dk, dv, write, s } = self;
        let (Shape { h, e, max_keys }, d) = (s, s.d());
        let (scale, origin) = (s.scale(), first_key * d);
        let mut dp = [[0.0; LANES]; MAX_KEYS]; // of each key, a head in each lane
        let mut ready = [0; 2]; // so many elements of dk and dv may be added to
        for first in (0..pairs.len() * h).step_by(LANES) {
            let heads = Heads::new(s, pairs, first);
            let (dp, _) = dp.split_at_mut(heads.most);
            for (i, dp) in dp.iter_mut().enumerate() {
                *dp = heads.dots::<V>(s, i, dz, v).to_array();
            }
            // The end of the row of the last key that one of them sees.
            let end = heads.last.iter().max().map_or(origin, |last| last - last % d + d) - origin;
            for ((dx, write), ready) in [&mut *dk, dv].into_iter().zip(&write[1..]).zip(&mut ready)
            {
                if *write == Write::Set && end > *ready {
                    dx[*ready..end].fill(0.0);
                    *ready = end;
                }
            }
            for (lane, n, at) in heads.lanes() {
                let (q, dz) = (&q[n * e..][..e], &dz[n * e..][..e]);
                let dq = &mut dq[n * e..][..e];
                let weights = p[n * max_keys..][..heads.seen[lane]].iter().zip(&*dp);
                let weights = weights.map(|(&weight, dp)| (weight, dp[lane]));
                let mean = weights.clone().fold(0.0, |mean: f32, (p, dp)| p.mul_add(dp, mean));
                let (q_here, dz_here) = (vectors_or_none::<V>(q), vectors_or_none::<V>(dz));
                let mut sums =
                    if write[0] == Write::Add { vectors_or_none(dq) } else { [f32x16::ZERO; V] };
                for (i, (weight, dp)) in weights.enumerate() {
                    let (ds, key) = (weight * (dp - mean) * scale, at + i * d);
                    let k = &k[key..][..e];
                    let (dk, dv) = (&mut dk[key - origin..][..e], &mut dv[key - origin..][..e]);
                    if V > 0 {
                        add_scaled(ds, &vectors(k), &mut sums);
                        for (x, a, dx) in [(&q_here, ds, dk), (&dz_here, weight, dv)] {
                            let mut sums = vectors::<V>(dx);
                            add_scaled(a, x, &mut sums);
                            write_vectors(sums, dx);
                        }
                    } else {
                        axpy(ds, k, dq, if i == 0 { write[0] } else { Write::Add });
                        axpy(ds, q, dk, Write::Add);
                        axpy(weight, dz, dv, Write::Add);
                    }
                }
                if V > 0 {
                    write_vectors(sums, dq);
                }
            }
        }
        // Keys that nobody sees.
        for ((dx, write), ready) in [dk, dv].into_iter().zip(&write[1..]).zip(ready) {
            if *write == Write::Set {
                dx[ready..].fill(0.0);
            }
        }
    }
}

/// The first V vectors of x; nothing for V = 0.
#[inline(always)]
fn vectors_or_none<const V: usize>(x: &[f32]) -> [f32x16; V] {
    if V > 0 { vectors(x) } else { [f32x16::ZERO; V] }
}

/// Reference of [`varlen_attention`].
pub fn varlen_attention_ref<T: Real>(
    q: &[T],
    k: &[T],
    v: &[T],
    seen: &[u32],
    z: &mut [T],
    p: &mut [T],
    s: Shape,
) {
    let (Shape { h, e, max_keys }, d) = (s, s.d());
    for n in 0..z.len() / e {
        let (query, head) = (n / h, n % h);
        let (first, count) = (seen[2 * query] as usize, seen[2 * query + 1] as usize);
        let at = |i: usize| (first + i) * d + head * e;
        let score = |i| lanes::dot_ref(&q[n * e..][..e], &k[at(i)..][..e]);
        let scores: Vec<T> = (0..count).map(|i| score(i) * T::of(s.scale().into())).collect();
        let p = &mut p[n * max_keys..][..max_keys];
        p.fill(T::of(0.0));
        crate::softmax::softmax_ref(&scores, &mut p[..count], count);
        for x in 0..e {
            let mut sum = T::of(0.0);
            for i in 0..count {
                sum = p[i].mul_add(v[at(i) + x], sum);
            }
            z[n * e + x] = sum;
        }
    }
}

/// Reference of [`varlen_attention_backward`], adding to dq, dk, dv.
pub fn varlen_attention_backward_ref<T: Real>(
    (q, k, v): (&[T], &[T], &[T]),
    seen: &[u32],
    p: &[T],
    dz: &[T],
    (dq, dk, dv): (&mut [T], &mut [T], &mut [T]),
    s: Shape,
) {
    let (Shape { h, e, max_keys }, d) = (s, s.d());
    for n in 0..dz.len() / e {
        let (query, head) = (n / h, n % h);
        let (first, count) = (seen[2 * query] as usize, seen[2 * query + 1] as usize);
        let at = |i: usize| (first + i) * d + head * e;
        let p = &p[n * max_keys..][..count];
        let dp = |i: usize| lanes::dot_ref(&dz[n * e..][..e], &v[at(i)..][..e]);
        let mut mean = T::of(0.0);
        for i in 0..count {
            mean = p[i].mul_add(dp(i), mean);
        }
        for i in 0..count {
            let ds = p[i] * (dp(i) - mean) * T::of(s.scale().into());
            for x in 0..e {
                dq[n * e + x] = ds.mul_add(k[at(i) + x], dq[n * e + x]);
                dk[at(i) + x] = ds.mul_add(q[n * e + x], dk[at(i) + x]);
                dv[at(i) + x] = p[i].mul_add(dz[n * e + x], dv[at(i) + x]);
            }
        }
    }
}
