//! Softmax along rows.
//!
//! ```text
//! yⱼ  = e^(xⱼ − max x) / Σ e^(x − max x)          x, y: (rows, cols)
//! dxⱼ = yⱼ·(dyⱼ − Σ dy·y)                          keeps y
//! ```

use crate::lanes::{self, map, reduce_ref};
use crate::{Real, Write, elementary, parallel};
use wide::f32x16;

/// y = softmax(x) for one row, in place. An entry of −∞ gets weight 0.
#[inline]
pub fn softmax_row(row: &mut [f32]) {
    let max = f32x16::splat(lanes::max(row));
    map([], row, Write::Add, |[], x| elementary::exp(x - max));
    let total = f32x16::splat(lanes::sum(row));
    map([], row, Write::Add, |[], e| e / total);
}

/// y = softmax(x) row by row. x, y: (rows, cols).
pub fn softmax(x: &[f32], y: &mut [f32], cols: usize) {
    let work = 64 * y.len();
    parallel::rows(y, cols, work, 1, |first, y| {
        y.copy_from_slice(&x[first * cols..][..y.len()]);
        y.chunks_exact_mut(cols).for_each(softmax_row);
    });
}

/// dx (+)= y·(dy − Σ dy·y) row by row. y, dy, dx: (rows, cols).
pub fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], cols: usize, write: Write) {
    let work = 16 * dx.len();
    parallel::rows(dx, cols, work, 1, |first, dx| {
        let range = first * cols..first * cols + dx.len();
        let rows = y[range.clone()].chunks_exact(cols).zip(dy[range].chunks_exact(cols));
        for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(cols)) {
            let mean = f32x16::splat(lanes::dot(dy, y));
            map([y, dy], dx, write, |[y, dy], before| y.mul_add(dy - mean, before));
        }
    });
}

/// Reference of [`softmax`].
pub fn softmax_ref<T: Real>(x: &[T], y: &mut [T], cols: usize) {
    for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
        let max = lanes::max_ref(x);
        let total = reduce_ref(cols, T::of(0.0), |j| (x[j] - max).exp(), |a, b| a + b);
        for j in 0..cols {
            y[j] = (x[j] - max).exp() / total;
        }
    }
}

/// Reference of [`softmax_backward`], adding to dx.
pub fn softmax_backward_ref<T: Real>(y: &[T], dy: &[T], dx: &mut [T], cols: usize) {
    for ((y, dy), dx) in
        y.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols))
    {
        let mean = lanes::dot_ref(dy, y);
        for j in 0..cols {
            dx[j] = y[j].mul_add(dy[j] - mean, dx[j]);
        }
    }
}
