//! Softmax along rows.
//!
//! ```text
//! yⱼ  = e^(xⱼ − max x) / Σ e^(x − max x)          x, y: (rows, cols)
//! dxⱼ = yⱼ·(dyⱼ − Σ dy·y)                          keeps y
//! ```

use crate::elementary::{self, Lane};
use crate::lanes::{self, LANES, reduce_ref};
use crate::rows::{self, Four, Input::Own};
use crate::{Real, Write, fold, parallel};
use wide::f32x16;

/// y = softmax(x) row by row. An entry of −∞ gets weight 0. x, y: (rows, cols).
pub fn softmax(x: &[f32], y: &mut [f32], cols: usize) {
    #[inline(always)]
    fn exp(x: Four, [max]: [Four; 1]) -> Four {
        elementary::exp_nonpositive(x - max)
    }
    #[inline(always)]
    fn share([]: [Four; 0], [total]: [Four; 1], e: Four) -> Four {
        e / total
    }
    let work = 64 * y.len();
    parallel::rows(y, cols, work, LANES, |first, y| {
        for (at, rows) in rows::blocks(y.len(), cols) {
            let (x, y) = (&x[first * cols + at..], &mut y[at..]);
            let max = rows.maxima(x);
            let total = fold::sums(&rows.map_sum([max], x, y, exp));
            rows.map([total], [], y, Write::Add, share);
        }
    });
}

/// dx (+)= y·(dy − Σ dy·y) row by row. y, dy, dx: (rows, cols).
pub fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], cols: usize, write: Write) {
    #[inline(always)]
    fn dot([sum]: [Four; 1], [y, dy]: [Four; 2], []: [Four; 0]) -> [Four; 1] {
        [dy.fma(y, sum)]
    }
    #[inline(always)]
    fn slope([y, dy]: [Four; 2], [mean]: [Four; 1], before: Four) -> Four {
        y.fma(dy - mean, before)
    }
    let work = 16 * dx.len();
    parallel::rows(dx, cols, work, LANES, |first, dx| {
        for (at, rows) in rows::blocks(dx.len(), cols) {
            let (inputs, dx) = ([y, dy].map(|x| Own(&x[first * cols + at..])), &mut dx[at..]);
            let mean = rows.sums([], inputs, [f32x16::ZERO; 2], dot);
            rows.map(mean, inputs, dx, write, slope);
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
