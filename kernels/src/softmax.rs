//! Softmax along rows.
//!
//! ```text
//! yⱼ  = e^(xⱼ − max x) / Σ e^(x − max x)          x, y: (rows, cols)
//! dxⱼ = yⱼ·(dyⱼ − Σ dy·y)                          keeps y
//! ```

use crate::elementary;
use crate::lanes::{self, LANES, reduce_ref};
use crate::rows::{self, Four, Input::Own};
use crate::{Real, Write, fold, parallel, short_rows};
use wide::f32x16;

/// y = softmax(x) row by row. An entry of −∞ gets weight 0. x, y: (rows, cols).
pub fn softmax(x: &[f32], y: &mut [f32], cols: usize) {
    parallel::rows(y, cols, 64 * x.len(), LANES, |first, y| {
        let x = &x[first * cols..];
        if cols <= LANES {
            return short(x, y, cols);
        }
        rows::by_width!(cols, forward(x, y, cols));
    });
}

fn forward<const V: usize>(x: &[f32], y: &mut [f32], cols: usize) {
    #[inline(always)]
    fn exp(x: Four, [max]: [Four; 1]) -> Four {
        elementary::exp_nonpositive(x - max)
    }
    #[inline(always)]
    fn share([]: [f32x16; 0], [total]: [f32x16; 1], e: f32x16) -> f32x16 {
        e / total
    }
    for (at, rows) in rows::blocks::<V>(y.len(), cols) {
        let (x, y) = (&x[at..], &mut y[at..]);
        let max = rows.maxima(x);
        let total = fold::sums(&rows.map_sum([max], x, y, exp));
        rows.map([total], [], y, Write::Add, share);
    }
}

/// [`forward`] of rows of at most sixteen columns.
fn short(x: &[f32], y: &mut [f32], cols: usize) {
    for (x, y) in x.chunks(LANES * cols).zip(y.chunks_mut(LANES * cols)) {
        let mut e = short_rows::turn(&x[..y.len()], cols);
        let here = &mut e[..cols];
        let max = short_rows::maxima(here);
        for e in here.iter_mut() {
            *e = elementary::exp_nonpositive(f32x16::new(*e) - max).to_array();
        }
        let total = short_rows::sums(here);
        for e in here.iter_mut() {
            *e = (f32x16::new(*e) / total).to_array();
        }
        short_rows::turn_back(&e, y, cols);
    }
}

/// dx (+)= y·(dy − Σ dy·y) row by row. y, dy, dx: (rows, cols).
pub fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], cols: usize, write: Write) {
    parallel::rows(dx, cols, 16 * y.len(), LANES, |first, dx| {
        let [y, dy] = [y, dy].map(|x| &x[first * cols..]);
        rows::by_width!(cols, backward(y, dy, dx, cols, write));
    });
}

fn backward<const V: usize>(y: &[f32], dy: &[f32], dx: &mut [f32], cols: usize, write: Write) {
    #[inline(always)]
    fn dot([sum]: [f32x16; 1], [y, dy]: [f32x16; 2], []: [f32x16; 0]) -> [f32x16; 1] {
        [dy.mul_add(y, sum)]
    }
    #[inline(always)]
    fn slope([y, dy]: [f32x16; 2], [mean]: [f32x16; 1], before: f32x16) -> f32x16 {
        y.mul_add(dy - mean, before)
    }
    for (at, rows) in rows::blocks::<V>(dx.len(), cols) {
        let (inputs, dx) = ([Own(&y[at..]), Own(&dy[at..])], &mut dx[at..]);
        let mean = rows.sums([], inputs, [f32x16::ZERO; 2], dot);
        rows.map(mean, inputs, dx, write, slope);
    }
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
