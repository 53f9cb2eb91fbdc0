//! LayerNorm along rows (Ba et al. 2016, arXiv:1607.06450), biased variance.
//!
//! ```text
//! x̂ⱼ  = (xⱼ − μ)·r,  μ = mean x,  r = 1/√(mean (x − μ)² + ε)      x, y: (rows, cols)
//! yⱼ  = x̂ⱼ·wⱼ + bⱼ                                               w, b: (cols)
//! dxⱼ = r·(gⱼ − mean g − x̂ⱼ·mean(g·x̂)),  g = dy·w                 keeps x, μ, r
//! dwⱼ = Σᵢ dyᵢⱼ·x̂ᵢⱼ,  dbⱼ = Σᵢ dyᵢⱼ                              chains in ascending i
//! ```

use crate::elementary::Lane;
use crate::lanes::{self, LANES, map, reduce_ref};
use crate::rows::{self, Four, Input::*};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// The ε of PyTorch and TransformerLens.
pub const EPS: f32 = 1e-5;

/// y = LayerNorm(x)·w + b; stats: (rows, 2) receives (μ, r) of each row.
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32], stats: &mut [f32]) {
    #[inline(always)]
    fn sum([sum]: [Four; 1], [x]: [Four; 1], []: [Four; 0]) -> [Four; 1] {
        [sum + x]
    }
    #[inline(always)]
    fn squares([sum]: [Four; 1], [x]: [Four; 1], [mean]: [Four; 1]) -> [Four; 1] {
        let d = x - mean;
        [d.fma(d, sum)]
    }
    #[inline(always)]
    fn normal([x, w, b]: [Four; 3], [mean, r]: [Four; 2], _: Four) -> Four {
        ((x - mean) * r).fma(w, b)
    }
    let cols = w.len();
    let (work, n) = (32 * y.len(), f32x16::splat(cols as f32));
    parallel::rows2((y, cols), (stats, 2), work, LANES, |first, y, stats| {
        let blocks = rows::blocks(y.len(), cols).zip(stats.chunks_mut(2 * LANES));
        for ((at, rows), stats) in blocks {
            let (x, y) = (Own(&x[first * cols + at..]), &mut y[at..]);
            let zero = f32x16::ZERO;
            let [total] = rows.sums([], [x], [zero], sum);
            let mean = total / n;
            let [total] = rows.sums([mean], [x], [mean], squares);
            let r = f32x16::splat(1.0) / (total / n + f32x16::splat(EPS)).sqrt();
            rows.map([mean, r], [x, Shared(w), Shared(b)], y, Write::Set, normal);
            let both = mean.as_array().iter().zip(r.as_array());
            for (stats, (&mean, &r)) in stats.chunks_exact_mut(2).zip(both) {
                stats.copy_from_slice(&[mean, r]);
            }
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
    /// Σ g, Σ g·x̂.
    #[inline(always)]
    fn sums([sum_g, sum_gx]: [Four; 2], [x, dy, w]: [Four; 3], [mean, r]: [Four; 2]) -> [Four; 2] {
        let g = dy * w;
        [sum_g + g, g.fma((x - mean) * r, sum_gx)]
    }
    #[inline(always)]
    fn slope([x, dy, w]: [Four; 3], [mean, r, mean_g, mean_gx]: [Four; 4], before: Four) -> Four {
        let d = (-((x - mean) * r)).fma(mean_gx, dy * w - mean_g);
        r.fma(d, before)
    }
    let cols = w.len();
    let (work, n) = (32 * dx.len(), f32x16::splat(cols as f32));
    parallel::rows(dx, cols, work, LANES, |first, dx| {
        let blocks = rows::blocks(dx.len(), cols).zip(stats[first * 2..].chunks(2 * LANES));
        for ((at, rows), stats) in blocks {
            let [x, dy] = [x, dy].map(|x| Own(&x[first * cols + at..]));
            let (mut mean, mut r) = ([0.0; LANES], [0.0; LANES]);
            for ((mean, r), stats) in mean.iter_mut().zip(&mut r).zip(stats.chunks_exact(2)) {
                (*mean, *r) = (stats[0], stats[1]);
            }
            let (mean, r, zero) = (f32x16::new(mean), f32x16::new(r), f32x16::ZERO);
            let inputs = [x, dy, Shared(w)];
            // padded with μ, so that x̂ is 0 there: −μ·r may be infinite, and 0·∞ is NaN
            let [sum_g, sum_gx] = rows.sums([mean, r], inputs, [mean, zero, zero], sums);
            let of = [mean, r, sum_g / n, sum_gx / n];
            rows.map(of, inputs, &mut dx[at..], write, slope);
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
