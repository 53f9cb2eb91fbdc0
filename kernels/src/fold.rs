//! Sixteen rows' folds at once.
//!
//! ```text
//! out[r] = the fold of the sixteen lanes of v[r], by the tree of `lanes.rs`      v: (16, 16), out: (16)
//! ```
//! A row alone folds 16 lanes to 8, 4, 2, 1 and leaves most of each vector empty. Of sixteen rows the
//! halves of two fit in one vector, the quarters of four, and so on: the same pairwise operations,
//! fifteen vectors of them instead of sixty-four, and no row waits for its own.

use crate::lanes::LANES;
use wide::f32x16;

/// Lanes of a, then of b: written out, or LLVM does not see the shuffle.
macro_rules! pick {
    ($a:ident[$($i:literal)*], $b:ident[$($j:literal)*]) => {
        f32x16::new([$($a[$i],)* $($b[$j],)*])
    };
}

/// a and b, their sixteen lanes folded to eight: `[a | b]`.
#[inline(always)]
fn halves(a: f32x16, b: f32x16, f: impl Fn(f32x16, f32x16) -> f32x16) -> f32x16 {
    let (a, b) = (a.to_array(), b.to_array());
    f(
        pick!(a[0 1 2 3 4 5 6 7], b[0 1 2 3 4 5 6 7]),
        pick!(a[8 9 10 11 12 13 14 15], b[8 9 10 11 12 13 14 15]),
    )
}

/// `[a | b]`, `[c | d]`, eight lanes each, folded to four: `[a | b | c | d]`.
#[inline(always)]
fn quarters(ab: f32x16, cd: f32x16, f: impl Fn(f32x16, f32x16) -> f32x16) -> f32x16 {
    let (a, c) = (ab.to_array(), cd.to_array());
    f(
        pick!(a[0 1 2 3 8 9 10 11], c[0 1 2 3 8 9 10 11]),
        pick!(a[4 5 6 7 12 13 14 15], c[4 5 6 7 12 13 14 15]),
    )
}

/// The four lanes of each quarter folded to two: those of a, then those of b.
#[inline(always)]
fn pairs(a: f32x16, b: f32x16, f: impl Fn(f32x16, f32x16) -> f32x16) -> f32x16 {
    let ([a, b], new) = ([a, b].map(f32x16::to_array), f32x16::new);
    f(
        new([
            a[0], a[1], b[0], b[1], a[4], a[5], b[4], b[5], //
            a[8], a[9], b[8], b[9], a[12], a[13], b[12], b[13],
        ]),
        new([
            a[2], a[3], b[2], b[3], a[6], a[7], b[6], b[7], //
            a[10], a[11], b[10], b[11], a[14], a[15], b[14], b[15],
        ]),
    )
}

/// And those two to one.
#[inline(always)]
fn ones(a: f32x16, b: f32x16, f: impl Fn(f32x16, f32x16) -> f32x16) -> f32x16 {
    let ([a, b], new) = ([a, b].map(f32x16::to_array), f32x16::new);
    f(
        new([
            a[0], a[2], b[0], b[2], a[4], a[6], b[4], b[6], //
            a[8], a[10], b[8], b[10], a[12], a[14], b[12], b[14],
        ]),
        new([
            a[1], a[3], b[1], b[3], a[5], a[7], b[5], b[7], //
            a[9], a[11], b[9], b[11], a[13], a[15], b[13], b[15],
        ]),
    )
}

/// The folds of sixteen vectors under `f`; f takes (lanes j, lanes j + width).
#[inline(always)]
fn fold16(v: &[f32x16; LANES], f: impl Fn(f32x16, f32x16) -> f32x16 + Copy) -> f32x16 {
    let quarter = |r: usize| {
        let (ab, cd) = (halves(v[r], v[r + 4], f), halves(v[r + 8], v[r + 12], f));
        quarters(ab, cd, f)
    };
    let (ab, cd) = (pairs(quarter(0), quarter(1), f), pairs(quarter(2), quarter(3), f));
    ones(ab, cd, f)
}

/// The sums of sixteen vectors' lanes, each with the bits of [`lanes::fold_sum`](crate::lanes).
// Not inlined, here and below: in the midst of a longer function LLVM loses the shuffles.
#[inline(never)]
pub(crate) fn sums(v: &[f32x16; LANES]) -> f32x16 {
    fold16(v, |a, b| a + b)
}

/// The largest lanes of sixteen vectors.
#[inline(never)]
pub(crate) fn maxima(v: &[f32x16; LANES]) -> f32x16 {
    fold16(v, f32x16::fast_max)
}

/// The sum of sixteen vectors, lane by lane, by the tree of `lanes.rs`. Those from number n on are zero and left
/// out, which changes no bit where no sum is −0, as of exponentials.
#[inline(always)]
pub(crate) fn across(mut sums: [f32x16; LANES], n: usize) -> f32x16 {
    for width in [8, 4, 2, 1] {
        for j in 0..width.min(n.saturating_sub(width)) {
            sums[j] += sums[j + width];
        }
    }
    sums[0]
}
