//! Softmax along rows.
//!
//! ```text
//! yⱼ  = e^(xⱼ − max x) / Σ e^(x − max x)          x, y: (rows, cols)
//! dxⱼ = yⱼ·(dyⱼ − Σ dy·y)                          keeps y
//! ```

use crate::lanes::{self, LANES, map, reduce_ref};
use crate::{Real, Write, elementary, parallel};
use wide::f32x16;

/// y = softmax(x) row by row. An entry of −∞ gets weight 0. x, y: (rows, cols).
pub fn softmax(x: &[f32], y: &mut [f32], cols: usize) {
    let work = 64 * y.len();
    parallel::rows(y, cols, work, 1, |first, y| {
        let rows = y.len() / cols;
        // Sixteen rows at a time: alone, a row is all latency.
        for i0 in (0..rows).step_by(LANES) {
            let block = i0..rows.min(i0 + LANES);
            let (mut max, mut total) = ([0.0; LANES], [0.0; LANES]);
            for (i, max) in block.clone().zip(&mut max) {
                *max = lanes::max_of(cols, &x[(first + i) * cols..]);
            }
            for ((i, max), total) in block.clone().zip(max).zip(&mut total) {
                let (x, y) = (&x[(first + i) * cols..], &mut y[i * cols..]);
                let max = f32x16::splat(max);
                map(cols, [x], y, Write::Set, |[x], _| elementary::exp(x - max));
                *total = lanes::sum_of(cols, y);
            }
            for (i, total) in block.zip(total) {
                let total = f32x16::splat(total);
                map(cols, [], &mut y[i * cols..], Write::Add, |[], e| e / total);
            }
        }
    });
}

/// dx (+)= y·(dy − Σ dy·y) row by row. y, dy, dx: (rows, cols).
pub fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], cols: usize, write: Write) {
    let work = 16 * dx.len();
    parallel::rows(dx, cols, work, 1, |first, dx| {
        let rows = dx.len() / cols;
        for i0 in (0..rows).step_by(LANES) {
            let block = i0..rows.min(i0 + LANES);
            let of = |i: usize| (&y[(first + i) * cols..], &dy[(first + i) * cols..]);
            let mut mean = [0.0; LANES];
            for (i, mean) in block.clone().zip(&mut mean) {
                let (y, dy) = of(i);
                *mean = lanes::dot_of(cols, dy, y);
            }
            for (i, mean) in block.zip(mean) {
                let ((y, dy), mean) = (of(i), f32x16::splat(mean));
                let f = |[y, dy]: [f32x16; 2], before| y.mul_add(dy - mean, before);
                map(cols, [y, dy], &mut dx[i * cols..], write, f);
            }
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
