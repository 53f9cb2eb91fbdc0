//! Softmax cross-entropy at the label, without cancellation.
//!
//! ```text
//! lossᵢ  = −ln pᵢ,yᵢ  = (max − z_y) + ln Σⱼ e^(zⱼ − max)              z: (rows, cols), y: (rows)
//! residᵢⱼ = pᵢⱼ − [j = yᵢ]                                           = d lossᵢ / d zᵢⱼ
//! dz (+)= resid·dloss/rows                                           for the mean loss
//! ```
//! With the label the largest logit, ln Σ = ln(1 + Σ over the others): the sum over the others is
//! kept apart, so a loss of 1e-9 and a gradient of 1e-9 at the label keep all their digits, where
//! p − 1 in f32 would be 0. (f32 training stalls on that zero: Prieto et al. 2025,
//! arXiv:2501.04697; here it agrees with f64.)

use crate::lanes::{LANES, map};
use crate::{Real, Write, elementary, lanes, parallel};
use wide::f32x16;

/// Per-row loss and residual. z, resid: (rows, cols), labels: (rows), row: (rows, 2) receives
/// (loss, 1 if the first largest logit is the label else 0).
///
/// # Panics
/// If a label is not below `cols`.
pub fn cross_entropy(z: &[f32], labels: &[u32], resid: &mut [f32], row: &mut [f32], cols: usize) {
    let work = 128 * resid.len();
    parallel::rows2((resid, cols), (row, 2), work, 1, |first, resid, row| {
        let z = z[first * cols..].chunks_exact(cols).zip(&labels[first..]);
        for (((z, &y), e), row) in z.zip(resid.chunks_exact_mut(cols)).zip(row.chunks_exact_mut(2))
        {
            let y = y as usize;
            let max = lanes::max(z);
            let max_all = f32x16::splat(max);
            map([z], e, Write::Set, |[z], _| elementary::exp(z - max_all));
            let at_label = std::mem::replace(&mut e[y], 0.0);
            let others = lanes::sum(e);
            let total = others + at_label;
            let log =
                if at_label == 1.0 { elementary::ln_1p(others) } else { elementary::ln(total) };
            let hit = z[y] == max && z[..y].iter().all(|&z| z < max);
            row.copy_from_slice(&[(max - z[y]) + log, f32::from(u8::from(hit))]);
            let total_all = f32x16::splat(total);
            map([], e, Write::Add, |[], e| e / total_all);
            e[y] = -(others / total);
        }
    });
}

/// dz (+)= resid·scale, scale = dloss/rows. resid, dz: (n).
pub fn cross_entropy_backward(resid: &[f32], dz: &mut [f32], scale: f32, write: Write) {
    let work = 16 * dz.len();
    let scale = f32x16::splat(scale);
    parallel::rows(dz, 1, work, LANES, |first, dz| {
        map([&resid[first..]], dz, write, |[r], before| r.mul_add(scale, before));
    });
}

/// Σ of every other element, in ascending order, in f64: the losses or hits of `row`: (rows, 2).
pub fn total(row: &[f32], which: usize) -> f64 {
    row.chunks_exact(2).map(|row| f64::from(row[which])).sum()
}

/// Reference of [`cross_entropy`].
pub fn cross_entropy_ref<T: Real>(
    z: &[T],
    labels: &[u32],
    resid: &mut [T],
    row: &mut [T],
    cols: usize,
) {
    for (i, z) in z.chunks_exact(cols).enumerate() {
        let y = labels[i] as usize;
        let max = lanes::max_ref(z);
        let e = |j: usize| if j == y { T::of(0.0) } else { (z[j] - max).exp() };
        let others = lanes::reduce_ref(cols, T::of(0.0), e, |a, b| a + b);
        let at_label = (z[y] - max).exp();
        let total = others + at_label;
        let log = if z[y] == max { others.ln_1p() } else { total.ln() };
        let hit = z[y] == max && (0..y).all(|j| z[j] < max);
        row[2 * i] = (max - z[y]) + log;
        row[2 * i + 1] = T::of(if hit { 1.0 } else { 0.0 });
        for j in 0..cols {
            resid[i * cols + j] = if j == y { -(others / total) } else { e(j) / total };
        }
    }
}
