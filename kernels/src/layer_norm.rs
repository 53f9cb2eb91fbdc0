//! LayerNorm along rows (Ba et al. 2016, arXiv:1607.06450), biased variance.
//!
//! ```text
//! x̂ⱼ  = (xⱼ − μ)·r,  μ = mean x,  r = 1/√(mean (x − μ)² + ε)      x, y: (rows, cols)
//! yⱼ  = x̂ⱼ·wⱼ + bⱼ                                               w, b: (cols)
//! dxⱼ = r·(gⱼ − mean g − x̂ⱼ·mean(g·x̂)),  g = dy·w                 keeps x, μ, r
//! dwⱼ = Σᵢ dyᵢⱼ·x̂ᵢⱼ,  dbⱼ = Σᵢ dyᵢⱼ                              chains in ascending i
//! ```

use crate::lanes::{self, LANES, reduce_ref};
use crate::rows::{self, Input::*, Rows};
use crate::{Real, Write, columns, parallel};
use wide::f32x16;

/// The ε of PyTorch and TransformerLens.
pub const EPS: f32 = 1e-5;

/// y = LayerNorm(x)·w + b; stats: (rows, 2) receives (μ, r) of each row.
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32], stats: &mut [f32]) {
    let cols = w.len();
    parallel::rows2((y, cols), (stats, 2), 32 * x.len(), LANES, |first, y, stats| {
        rows::by_width!(cols, forward(&x[first * cols..], w, b, y, stats));
    });
}

fn forward<const V: usize>(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32], stats: &mut [f32]) {
    #[inline(always)]
    fn sum([sum]: [f32x16; 1], [x]: [f32x16; 1], []: [f32x16; 0]) -> [f32x16; 1] {
        [sum + x]
    }
    #[inline(always)]
    fn squares([sum]: [f32x16; 1], [x]: [f32x16; 1], [mean]: [f32x16; 1]) -> [f32x16; 1] {
        let d = x - mean;
        [d.mul_add(d, sum)]
    }
    #[inline(always)]
    fn normal([x, w, b]: [f32x16; 3], [mean, r]: [f32x16; 2], _: f32x16) -> f32x16 {
        ((x - mean) * r).mul_add(w, b)
    }
    let (cols, n, zero) = (w.len(), f32x16::splat(w.len() as f32), f32x16::ZERO);
    let mut stats = stats.chunks_mut(2 * LANES);
    let mut waiting = None;
    for block in rows::blocks::<V>(y.len(), cols).map(Some).chain([None]) {
        let mean = block.map(|(at, rows)| rows.sums([], [Own(&x[at..])], [zero], sum)[0] / n);
        // The block before, while the sums of this one are folded.
        if let Some((at, rows, of)) = waiting {
            let (rows, inputs): (Rows<V>, _) = (rows, [Own(&x[at..]), Shared(w), Shared(b)]);
            rows.map(of, inputs, &mut y[at..], Write::Set, normal);
        }
        let Some(((at, rows), mean)) = block.zip(mean) else { break };
        let [total] = rows.sums([mean], [Own(&x[at..])], [mean], squares);
        let r = f32x16::splat(1.0) / (total / n + f32x16::splat(EPS)).sqrt();
        let both = mean.as_array().iter().zip(r.as_array());
        let stats = stats.next().into_iter().flat_map(|stats| stats.chunks_exact_mut(2));
        stats.zip(both).for_each(|(stats, (&mean, &r))| stats.copy_from_slice(&[mean, r]));
        waiting = Some((at, rows, [mean, r]));
    }
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
    parallel::rows(dx, cols, 32 * x.len(), LANES, |first, dx| {
        let [x, dy] = [x, dy].map(|x| &x[first * cols..]);
        rows::by_width!(cols, backward(x, w, &stats[first * 2..], dy, dx, write));
    });
}

fn backward<const V: usize>(
    x: &[f32],
    w: &[f32],
    stats: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    /// Σ g, Σ g·x̂.
    #[inline(always)]
    fn sums(
        [sum_g, sum_gx]: [f32x16; 2],
        [x, dy, w]: [f32x16; 3],
        [mean, r]: [f32x16; 2],
    ) -> [f32x16; 2] {
        let g = dy * w;
        [sum_g + g, g.mul_add((x - mean) * r, sum_gx)]
    }
    #[inline(always)]
    fn slope(
        [x, dy, w]: [f32x16; 3],
        [mean, r, mean_g, mean_gx]: [f32x16; 4],
        before: f32x16,
    ) -> f32x16 {
        let d = (-((x - mean) * r)).mul_add(mean_gx, dy * w - mean_g);
        r.mul_add(d, before)
    }
    let (cols, n, zero) = (w.len(), f32x16::splat(w.len() as f32), f32x16::ZERO);
    let blocks = rows::blocks::<V>(dx.len(), cols).zip(stats.chunks(2 * LANES));
    for ((at, rows), stats) in blocks {
        let (mut mean, mut r) = ([0.0; LANES], [0.0; LANES]);
        for ((mean, r), stats) in mean.iter_mut().zip(&mut r).zip(stats.chunks_exact(2)) {
            (*mean, *r) = (stats[0], stats[1]);
        }
        let (mean, r) = (f32x16::new(mean), f32x16::new(r));
        let inputs = [Own(&x[at..]), Own(&dy[at..]), Shared(w)];
        // padded with μ, so that x̂ is 0 there: −μ·r may be infinite, and 0·∞ is NaN
        let [sum_g, sum_gx] = rows.sums([mean, r], inputs, [mean, zero, zero], sums);
        let of = [mean, r, sum_g / n, sum_gx / n];
        rows.map(of, inputs, &mut dx[at..], write, slope);
    }
}

/// dw (+)= Σ dy·x̂ down the columns. x, dy: (rows, cols), stats: (rows, 2), dw: (cols).
pub fn layer_norm_backward_w(x: &[f32], stats: &[f32], dy: &[f32], dw: &mut [f32], write: Write) {
    #[inline(always)]
    fn add((mean, r): (f32, f32), [x, dy]: [f32x16; 2], sum: f32x16) -> f32x16 {
        dy.mul_add((x - f32x16::splat(mean)) * f32x16::splat(r), sum)
    }
    let cols = dw.len();
    parallel::rows(dw, 1, 16 * dy.len(), LANES, |first, dw| {
        if write == Write::Set {
            dw.fill(0.0);
        }
        let of = |i| (stats[2 * i], stats[2 * i + 1]);
        columns::down([x, dy], cols, first, dw, of, add);
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
