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
//! `heads.rs` says how it is computed.

use crate::attention::flops;
use crate::heads::{Heads, MAX_KEYS, Query};
use crate::{Real, Write, lanes, parallel};

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

    fn heads(self) -> Heads {
        Heads { h: self.h, e: self.e, step: self.max_keys }
    }

    fn query(self, pairs: &[[u32; 2]], n: usize) -> Query {
        let [first, count] = pairs[n].map(|x| x as usize);
        Query { first, count, weights: n * self.h * self.max_keys }
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
                (1..=most).contains(&(count as usize)) && first as usize + count as usize <= keys,
                "attention: query {i} sees {count} keys from row {first} on, of {keys} rows; it may \
                 see 1 to {most}"
            );
        }
        pairs
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
        s.heads().forward((q, k, v), z, p, |n| s.query(pairs, n));
    });
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
            None => {
                let Part { q, k, v, p, dz, pairs, first_key, dq, dk, dv, write, s } = self;
                let [k, v] = [k, v].map(|x| &x[first_key * s.d()..]);
                s.heads().backward((q, k, v), (p, dz), (dq, dk, dv), write, |n| {
                    let query = s.query(pairs, n);
                    Query { first: query.first - first_key, ..query }
                });
            }
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
