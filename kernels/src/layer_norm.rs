//! LayerNorm along rows (Ba et al. 2016, arXiv:1607.06450), biased variance.
//!
//! ```text
//! x̂ⱼ  = (xⱼ − μ)·r,  μ = mean x,  r = 1/√(mean (x − μ)² + ε)      x, y: (rows, cols)
//! yⱼ  = x̂ⱼ·wⱼ + bⱼ                                               w, b: (cols)
//! dxⱼ = r·(gⱼ − mean g − x̂ⱼ·mean(g·x̂)),  g = dy·w                 keeps x, μ, r
//! dwⱼ = Σᵢ dyᵢⱼ·x̂ᵢⱼ,  dbⱼ = Σᵢ dyᵢⱼ                              chains in ascending i
//! ```

use crate::lanes::{self, LANES, fold_sum, map, reduce, reduce_ref};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// The ε of PyTorch and TransformerLens.
pub const EPS: f32 = 1e-5;

/// y = LayerNorm(x)·w + b; stats: (rows, 2) receives (μ, r) of each row.
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32], stats: &mut [f32]) {
    let cols = w.len();
    let work = 32 * y.len();
    parallel::rows2((y, cols), (stats, 2), work, 1, |first, y, stats| {
        for (i, stats) in stats.chunks_exact_mut(2).enumerate() {
            let x = &x[(first + i) * cols..];
            let mean = lanes::sum_of(cols, x) / cols as f32;
            let mean_all = f32x16::splat(mean);
            let [squares] = reduce(cols, [x], [mean], [f32x16::ZERO], |[sum], [x]| {
                let d = x - mean_all;
                [d.mul_add(d, sum)]
            });
            let r = 1.0 / (fold_sum(squares) / cols as f32 + EPS).sqrt();
            stats.copy_from_slice(&[mean, r]);
            let r = f32x16::splat(r);
            let f = |[x, w, b]: [f32x16; 3], _| ((x - mean_all) * r).mul_add(w, b);
            map(cols, [x, w, b], &mut y[i * cols..], Write::Set, f);
        }
    });
}

/// dx (+)= the gradient of x. x, dy, dx: (rows, cols), w: (cols), stats: (rows, 2).
pub fn layer_norm_backward(
    x: &[f32],
    w: &[f32],
    stats: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let cols = w.len();
    let work = 32 * dx.len();
    parallel::rows(dx, cols, work, 1, |first, dx| {
        let stats = stats[first * 2..].chunks_exact(2);
        for (i, stats) in stats.take(dx.len() / cols).enumerate() {
            let inputs = [&x[(first + i) * cols..], &dy[(first + i) * cols..], w];
            let [mean, r] = [stats[0], stats[1]].map(f32x16::splat);
            // padded with μ, so that x̂ is 0 there: −μ·r may be infinite, and 0·∞ is NaN
            let (pad, zeros) = ([stats[0], 0.0, 0.0], [f32x16::ZERO; 2]);
            let [sum_g, sum_gx] =
                reduce(cols, inputs, pad, zeros, |[sum_g, sum_gx], [x, dy, w]| {
                    let g = dy * w;
                    [sum_g + g, g.mul_add((x - mean) * r, sum_gx)]
                });
            let mean_g = f32x16::splat(fold_sum(sum_g) / cols as f32);
            let mean_gx = f32x16::splat(fold_sum(sum_gx) / cols as f32);
            map(cols, inputs, &mut dx[i * cols..], write, |[x, dy, w], before| {
                let d = (-((x - mean) * r)).mul_add(mean_gx, dy * w - mean_g);
                r.mul_add(d, before)
            });
        }
    });
}

/// dw (+)= Σ dy·x̂ down the columns. x, dy: (rows, cols), stats: (rows, 2), dw: (cols).
pub fn layer_norm_backward_w(x: &[f32], stats: &[f32], dy: &[f32], dw: &mut [f32], write: Write) {
    let cols = dw.len();
    parallel::rows(dw, 1, 16 * dy.len(), LANES, |first, dw| {
        if write == Write::Set {
            dw.fill(0.0);
        }
        let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(stats.chunks_exact(2));
        for ((x, dy), stats) in rows {
            let [mean, r] = [stats[0], stats[1]].map(f32x16::splat);
            let inputs = [&x[first..], &dy[first..]];
            map(dw.len(), inputs, dw, Write::Add, |[x, dy], sum| dy.mul_add((x - mean) * r, sum));
        }
    });
}

/// Reference of [`layer_norm`].
pub fn layer_norm_ref<T: Real>(x: &[T], w: &[T], b: &[T], y: &mut [T], stats: &mut [T]) {
    let cols = w.len();
    let n = T::of(cols as f64);
    for (i, x) in x.chunks_exact(cols).enumerate() {
        let mean = lanes::sum_ref(x) / n;
        let zero = T::of(0.0);
        let mut lanes = [zero; LANES];
        for j in 0..cols.next_multiple_of(LANES) {
            let d = if j < cols { x[j] } else { mean } - mean;
            lanes[j % LANES] = d.mul_add(d, lanes[j % LANES]);
        }
        let squares = reduce_ref(LANES, zero, |j| lanes[j], |a, b| a + b);
        let r = T::of(1.0) / (squares / n + T::of(EPS.into())).sqrt();
        (stats[2 * i], stats[2 * i + 1]) = (mean, r);
        for j in 0..cols {
            y[i * cols + j] = ((x[j] - mean) * r).mul_add(w[j], b[j]);
        }
    }
}

/// Reference of [`layer_norm_backward`] and [`layer_norm_backward_w`], adding to dx and dw.
pub fn layer_norm_backward_ref<T: Real>(
    x: &[T],
    w: &[T],
    stats: &[T],
    dy: &[T],
    dx: &mut [T],
    dw: &mut [T],
) {
    let cols = w.len();
    let n = T::of(cols as f64);
    for (i, (x, dy)) in x.chunks_exact(cols).zip(dy.chunks_exact(cols)).enumerate() {
        let (mean, r) = (stats[2 * i], stats[2 * i + 1]);
        let hat = |j: usize| (x[j] - mean) * r;
        let g = |j: usize| dy[j] * w[j];
        let mean_g = reduce_ref(cols, T::of(0.0), g, |a, b| a + b) / n;
        let mut lanes = [T::of(0.0); LANES];
        for j in 0..cols {
            lanes[j % LANES] = g(j).mul_add(hat(j), lanes[j % LANES]);
        }
        let mean_gx = reduce_ref(LANES, T::of(0.0), |j| lanes[j], |a, b| a + b) / n;
        for j in 0..cols {
            let d = (-hat(j)).mul_add(mean_gx, g(j) - mean_g);
            dx[i * cols + j] = r.mul_add(d, dx[i * cols + j]);
            dw[j] = dy[j].mul_add(hat(j), dw[j]);
        }
    }
}
