//! Rows of at most sixteen elements, sixteen rows side by side: element c of each is a vector.
//!
//! Alone such a row is one vector whose last lanes are empty, with a fold for every sum. Side by side the fold
//! is that of sixteen vectors, lane by lane by the same tree, so with the same bits.

use crate::fold;
use crate::lanes::{self, LANES};
use wide::f32x16;

/// x, at most sixteen rows of so many columns, turned: (cols, 16). The lanes of rows that x lacks are 0.
#[inline(always)]
pub(crate) fn turn(x: &[f32], cols: usize) -> [[f32; LANES]; LANES] {
    let mut turned = [[0.0; LANES]; LANES];
    for (r, x) in x.chunks_exact(cols).take(LANES).enumerate() {
        for (turned, x) in turned.iter_mut().zip(x) {
            turned[r] = *x;
        }
    }
    turned
}

/// Turned back into as many rows as out has.
#[inline(always)]
pub(crate) fn turn_back(turned: &[[f32; LANES]; LANES], out: &mut [f32], cols: usize) {
    for (r, out) in out.chunks_exact_mut(cols).take(LANES).enumerate() {
        for (turned, out) in turned.iter().zip(out) {
            *out = turned[r];
        }
    }
}

/// The largest element of each row. By the tree, too: what becomes of a NaN depends on the order.
#[inline(always)]
pub(crate) fn maxima(x: &[[f32; LANES]]) -> f32x16 {
    let mut max = [f32x16::splat(f32::NEG_INFINITY); LANES];
    for (max, x) in max.iter_mut().zip(x) {
        *max = max.fast_max(f32x16::new(*x));
    }
    lanes::fold(max, f32x16::fast_max)
}

/// The sums of the rows, none of which is negative.
#[inline(always)]
pub(crate) fn sums(x: &[[f32; LANES]]) -> f32x16 {
    let mut sums = [f32x16::ZERO; LANES];
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = f32x16::new(*x);
    }
    fold::across(sums, x.len())
}
