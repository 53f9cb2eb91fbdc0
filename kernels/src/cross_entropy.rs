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

use crate::elementary::{self, exp_nonpositive};
use crate::lanes::{LANES, load, map};
use crate::rows::{self, Four};
use crate::{Real, Write, fold, lanes, parallel, short_rows};
use wide::f32x16;

/// Per-row loss and residual. z, resid: (rows, cols), labels: (rows), row: (rows, 2) receives
/// (loss, 1 if the first largest logit is the label else 0).
///
/// # Panics
/// If a label is not below `cols`.
pub fn cross_entropy(z: &[f32], labels: &[u32], resid: &mut [f32], row: &mut [f32], cols: usize) {
    let work = 128 * resid.len();
    parallel::rows2((resid, cols), (row, 2), work, LANES, |first, resid, row| {
        let (z, labels) = (&z[first * cols..], &labels[first..]);
        if cols <= LANES {
            return short(z, labels, resid, row, cols, first);
        }
        rows::by_width!(cols, forward(z, labels, resid, row, cols, first));
    });
}

/// [`cross_entropy`] of a part of the rows, the first of which is number `first`.
fn forward<const V: usize>(
    z: &[f32],
    labels: &[u32],
    resid: &mut [f32],
    row: &mut [f32],
    cols: usize,
    first: usize,
) {
    #[inline(always)]
    fn exp(z: Four, [max]: [Four; 1]) -> Four {
        exp_nonpositive(z - max)
    }
    #[inline(always)]
    fn share([]: [f32x16; 0], [total]: [f32x16; 1], e: f32x16) -> f32x16 {
        e / total
    }
    for (at, rows) in rows::blocks::<V>(resid.len(), cols) {
        let i0 = at / cols;
        let (z, e, row) = (&z[at..], &mut resid[at..], &mut row[2 * i0..]);
        // (row of the block, its logits, its label)
        let each = || {
            let labels = labels[i0..].iter().map(|&y| y as usize);
            z.chunks_exact(cols).zip(labels).take(LANES).enumerate()
        };
        let max = rows.maxima(z);
        let mut lanes = rows.map_sum([max], z, e, exp);
        // The lane of the label once more, without the label.
        let mut z_y = [0.0; LANES];
        for ((r, (z, y)), e) in each().zip(e.chunks_exact_mut(cols)) {
            assert!(y < cols, "label {y} of row {}, of {cols} classes", first + i0 + r);
            (z_y[r], e[y]) = (z[y], 0.0);
            let (mut lane, mut j) = (0.0, y % LANES);
            while j < cols {
                lane += e[j];
                j += LANES;
            }
            lanes[r].as_mut_array()[y % LANES] = lane;
        }
        let (z_y, others) = (f32x16::new(z_y), fold::sums(&lanes));
        let [loss, total, wrong] = at_label(others, z_y, max);
        rows.map([total], [], e, Write::Add, share);
        let results = row.chunks_exact_mut(2).zip(e.chunks_exact_mut(cols));
        for ((r, (z, y)), (row, e)) in each().zip(results) {
            let max = max.as_array()[r];
            let hit = z[y] == max && first_not_below(z, f32x16::splat(max)) == Some(y);
            row.copy_from_slice(&[loss.as_array()[r], f32::from(u8::from(hit))]);
            e[y] = wrong.as_array()[r];
        }
    }
}

/// [`forward`] of rows of at most sixteen columns.
fn short(z: &[f32], labels: &[u32], resid: &mut [f32], row: &mut [f32], cols: usize, first: usize) {
    let blocks = resid.chunks_mut(LANES * cols).zip(row.chunks_mut(2 * LANES));
    for (block, (resid, row)) in blocks.enumerate() {
        let i0 = block * LANES;
        let mut y = [0.0; LANES];
        for (r, (y, label)) in y.iter_mut().zip(&labels[i0..][..row.len() / 2]).enumerate() {
            let i = first + i0 + r;
            assert!((*label as usize) < cols, "label {label} of row {i}, of {cols} classes");
            *y = *label as f32;
        }
        let y = f32x16::new(y);
        let mut e = short_rows::turn(&z[i0 * cols..][..resid.len()], cols);
        let (here, _) = e.split_at_mut(cols);
        let max = short_rows::maxima(here);
        let (zero, one) = (f32x16::ZERO, f32x16::splat(1.0));
        let (mut z_y, mut hit, mut largest_before) = (zero, zero, zero);
        for (c, e) in here.iter_mut().enumerate() {
            let (z, label) = (f32x16::new(*e), y.simd_eq(f32x16::splat(c as f32)));
            let largest = z.simd_eq(max).select(one - largest_before, zero);
            (z_y, hit) = (label.select(z, z_y), label.select(largest, hit));
            largest_before = z.simd_lt(max).select(largest_before, one);
            *e = label.select(zero, exp_nonpositive(z - max)).to_array();
        }
        let others = short_rows::sums(here);
        let [loss, total, wrong] = at_label(others, z_y, max);
        for (c, e) in here.iter_mut().enumerate() {
            let label = y.simd_eq(f32x16::splat(c as f32));
            *e = label.select(wrong, f32x16::new(*e) / total).to_array();
        }
        short_rows::turn_back(&e, resid, cols);
        for (r, row) in row.chunks_exact_mut(2).enumerate() {
            row.copy_from_slice(&[loss.as_array()[r], hit.as_array()[r]]);
        }
    }
}

/// Of each row the loss, the sum of the exponentials and the residual at the label.
#[inline(always)]
fn at_label(others: f32x16, z_y: f32x16, max: f32x16) -> [f32x16; 3] {
    let at_label = exp_nonpositive(z_y - max);
    let total = others + at_label;
    let certain = at_label.simd_eq(f32x16::splat(1.0));
    let log = certain.select(elementary::ln_1p(others), elementary::ln(total));
    [(max - z_y) + log, total, -(others / total)]
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
