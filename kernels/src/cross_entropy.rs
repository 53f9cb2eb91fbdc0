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

use crate::lanes::{LANES, load, map};
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
        // Sixteen rows at a time: alone, a row is all latency.
        let rows = labels.len().min(first + resid.len() / cols);
        for i0 in (first..rows).step_by(LANES) {
            let block = i0..rows.min(i0 + LANES);
            let (mut max, mut at_label, mut others) = ([0.0; LANES], [1.0; LANES], [0.0; LANES]);
            for (i, max) in block.clone().zip(&mut max) {
                *max = lanes::max_of(cols, &z[i * cols..]);
            }
            let sums = max.iter().zip(&mut at_label).zip(&mut others);
            for (i, ((&max, at_label), others)) in block.clone().zip(sums) {
                let (z, e) = (&z[i * cols..], &mut resid[(i - first) * cols..]);
                let (y, max_all) = (labels[i] as usize, f32x16::splat(max));
                assert!(y < cols, "label {y} of row {i}, of {cols} classes");
                map(cols, [z], e, Write::Set, |[z], _| elementary::exp(z - max_all));
                *at_label = std::mem::replace(&mut e[y], 0.0);
                *others = lanes::sum_of(cols, e);
                let hit = z[y] == max && first_not_below(&z[..cols], max_all) == Some(y);
                row[(i - first) * 2..][..2]
                    .copy_from_slice(&[max - z[y], f32::from(u8::from(hit))]);
            }
            let (at_label, others) = (f32x16::new(at_label), f32x16::new(others));
            let total = others + at_label;
            let certain = at_label.simd_eq(f32x16::splat(1.0));
            let log = certain.select(elementary::ln_1p(others), elementary::ln(total)).to_array();
            let (wrong, total) = ((-(others / total)).to_array(), total.to_array());
            for (r, i) in block.enumerate() {
                row[(i - first) * 2] += log[r];
                let (e, total) = (&mut resid[(i - first) * cols..], f32x16::splat(total[r]));
                map(cols, [], e, Write::Add, |[], e| e / total);
                e[labels[i] as usize] = wrong[r];
            }
        }
    });
}

/// Where the first element stands that is not below x.
#[inline(always)]
fn first_not_below(z: &[f32], x: f32x16) -> Option<usize> {
    z.chunks(LANES).enumerate().find_map(|(c, z)| {
        let below = load(z, f32::NEG_INFINITY).simd_lt(x).to_bitmask();
        (below != 0xffff).then(|| c * LANES + below.trailing_ones() as usize)
    })
}

/// dz (+)= resid·scale, scale = dloss/rows. resid, dz: (n).
pub fn cross_entropy_backward(resid: &[f32], dz: &mut [f32], scale: f32, write: Write) {
    let work = 16 * dz.len();
    let scale = f32x16::splat(scale);
    parallel::rows(dz, 1, work, LANES, |first, dz| {
        map(dz.len(), [&resid[first..]], dz, write, |[r], before| r.mul_add(scale, before));
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
