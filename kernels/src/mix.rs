//! Rows moved towards other rows of the same matrix, or as far in another direction.
//!
//! ```text
//! mix         yᵢ = (1 − α)·xᵢ + α·x_π(i)        x, y: (rows, cols), π: (rows), row numbers
//!             dxⱼ = (1 − α)·dyⱼ + α·Σ dyᵢ over π(i) = j, in ascending i
//! distance    rᵢ = α·‖x_π(i) − xᵢ‖              r: (rows): how far mixing moves row i
//!             dxᵢ += sᵢ·(xᵢ − x_π(i)), dx_π(i) += sᵢ·(x_π(i) − xᵢ),   sᵢ = α²·drᵢ/rᵢ, 0 where rᵢ = 0
//! perturb     yᵢ = xᵢ + rᵢ·uᵢ                   u: (rows, cols)
//!             dx = dy, drᵢ = dyᵢ·uᵢ, duᵢ = rᵢ·dyᵢ
//! ```
//! π may be any list. A thread owns a range of rows of dx and reads all of π, so no order depends on
//! threads: first what row j has from its own dyⱼ, then what it has as the partner of others.

use crate::lanes::{self, fold_sum, map, reduce};
use crate::{Real, Write, parallel};
use wide::f32x16;

/// y = (1 − α)·x + α·x\[π\]. x, y: (rows, cols), pi: (rows).
///
/// # Panics
/// If an entry of π is not below the number of rows.
pub fn mix(x: &[f32], pi: &[u32], alpha: f64, y: &mut [f32], cols: usize) {
    let [keep, share] = shares(alpha).map(f32x16::splat);
    parallel::rows(y, cols, 16 * y.len(), 1, |first, y| {
        for (i, y) in y.chunks_exact_mut(cols).enumerate() {
            let inputs = [row(x, first + i, cols), row(x, pi[first + i] as usize, cols)];
            map(cols, inputs, y, Write::Set, |[x, other], _| share.mul_add(other, keep * x));
        }
    });
}

/// dx (+)= the gradient of x. Shapes as in [`mix`].
pub fn mix_backward(dy: &[f32], pi: &[u32], alpha: f64, dx: &mut [f32], cols: usize, write: Write) {
    let [keep, share] = shares(alpha).map(f32x16::splat);
    parallel::rows(dx, cols, 32 * dx.len(), 1, |first, dx| {
        for (j, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let own = [row(dy, first + j, cols)];
            map(cols, own, dx, write, |[dy], before| keep.mul_add(dy, before));
        }
        for_each_partner(pi, first, dx, cols, |i, dx| {
            let other = [row(dy, i, cols)];
            map(cols, other, dx, Write::Add, |[dy], before| share.mul_add(dy, before));
        });
    });
}

/// r = α·‖x\[π\] − x‖, row by row. x: (rows, cols), pi, r: (rows).
pub fn distance(x: &[f32], pi: &[u32], alpha: f64, r: &mut [f32], cols: usize) {
    let share = alpha as f32;
    parallel::rows(r, 1, 16 * x.len(), 1, |first, r| {
        for (i, r) in r.iter_mut().enumerate() {
            let inputs = [row(x, first + i, cols), row(x, pi[first + i] as usize, cols)];
            let [squares] = reduce(cols, inputs, [0.0; 2], [f32x16::ZERO], |[sum], [x, other]| {
                let d = other - x;
                [d.mul_add(d, sum)]
            });
            *r = share * fold_sum(squares).sqrt();
        }
    });
}

/// dx (+)= the gradient of x. x, dx: (rows, cols), pi, r, dr: (rows).
pub fn distance_backward(
    x: &[f32],
    pi: &[u32],
    alpha: f64,
    r: &[f32],
    dr: &[f32],
    dx: &mut [f32],
    cols: usize,
    write: Write,
) {
    parallel::rows(dx, cols, 32 * dx.len(), 1, |first, dx| {
        for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let i = first + i;
            let s = f32x16::splat(pull(alpha, r[i], dr[i]));
            let inputs = [row(x, i, cols), row(x, pi[i] as usize, cols)];
            map(cols, inputs, dx, write, |[x, other], before| s.mul_add(x - other, before));
        }
        for_each_partner(pi, first, dx, cols, |i, dx| {
            let s = f32x16::splat(pull(alpha, r[i], dr[i]));
            let inputs = [row(x, i, cols), row(x, pi[i] as usize, cols)];
            map(cols, inputs, dx, Write::Add, |[x, other], before| s.mul_add(other - x, before));
        });
    });
}

/// y = x + r·u, row by row. x, u, y: (rows, cols), r: (rows).
pub fn perturb(x: &[f32], r: &[f32], u: &[f32], y: &mut [f32], cols: usize) {
    parallel::rows(y, cols, 16 * y.len(), 1, |first, y| {
        for (i, y) in y.chunks_exact_mut(cols).enumerate() {
            let r = f32x16::splat(r[first + i]);
            let inputs = [row(x, first + i, cols), row(u, first + i, cols)];
            map(cols, inputs, y, Write::Set, |[x, u], _| r.mul_add(u, x));
        }
    });
}

/// dr (+)= dy·u, row by row. u, dy: (rows, cols), dr: (rows).
pub fn perturb_backward_r(u: &[f32], dy: &[f32], dr: &mut [f32], cols: usize, write: Write) {
    parallel::rows(dr, 1, 16 * dy.len(), 1, |first, dr| {
        for (i, dr) in dr.iter_mut().enumerate() {
            let product = lanes::dot_of(cols, row(u, first + i, cols), row(dy, first + i, cols));
            *dr = if write == Write::Add { *dr + product } else { product };
        }
    });
}

/// du (+)= r·dy, row by row. dy, du: (rows, cols), r: (rows).
pub fn perturb_backward_u(r: &[f32], dy: &[f32], du: &mut [f32], cols: usize, write: Write) {
    parallel::rows(du, cols, 16 * du.len(), 1, |first, du| {
        for (i, du) in du.chunks_exact_mut(cols).enumerate() {
            let r = f32x16::splat(r[first + i]);
            map(cols, [row(dy, first + i, cols)], du, write, |[dy], before| r.mul_add(dy, before));
        }
    });
}

/// (1 − α, α).
fn shares<T: Real>(alpha: f64) -> [T; 2] {
    [T::of(1.0 - alpha), T::of(alpha)]
}

/// s = α²·dr/r: how strongly dr pulls a row and its partner together.
fn pull<T: Real>(alpha: f64, r: T, dr: T) -> T {
    let share = T::of(alpha);
    if r > T::of(0.0) { share * share * dr / r } else { T::of(0.0) }
}

#[inline(always)]
fn row(x: &[f32], i: usize, cols: usize) -> &[f32] {
    &x[i * cols..][..cols]
}

/// Calls `f(i, row π(i) of dx)` for every i in ascending order whose π(i) is among the rows of `dx`,
/// the first of which is `first`.
#[inline(always)]
fn for_each_partner(
    pi: &[u32],
    first: usize,
    dx: &mut [f32],
    cols: usize,
    f: impl Fn(usize, &mut [f32]),
) {
    let owned = first..first + dx.len() / cols;
    for (i, &j) in pi.iter().enumerate() {
        if owned.contains(&(j as usize)) {
            f(i, &mut dx[(j as usize - first) * cols..][..cols]);
        }
    }
}

/// Reference of [`mix`].
pub fn mix_ref<T: Real>(x: &[T], pi: &[u32], alpha: f64, y: &mut [T], cols: usize) {
    let [keep, share] = shares::<T>(alpha);
    for (i, &j) in pi.iter().enumerate() {
        for c in 0..cols {
            y[i * cols + c] = share.mul_add(x[j as usize * cols + c], keep * x[i * cols + c]);
        }
    }
}

/// Reference of [`mix_backward`], adding to dx.
pub fn mix_backward_ref<T: Real>(dy: &[T], pi: &[u32], alpha: f64, dx: &mut [T], cols: usize) {
    let [keep, share] = shares::<T>(alpha);
    for (dx, dy) in dx.iter_mut().zip(dy) {
        *dx = keep.mul_add(*dy, *dx);
    }
    for (i, &j) in pi.iter().enumerate() {
        for c in 0..cols {
            let dx = &mut dx[j as usize * cols + c];
            *dx = share.mul_add(dy[i * cols + c], *dx);
        }
    }
}

/// Reference of [`distance`].
pub fn distance_ref<T: Real>(x: &[T], pi: &[u32], alpha: f64, r: &mut [T], cols: usize) {
    for (i, &j) in pi.iter().enumerate() {
        let difference = |c: usize| x[j as usize * cols + c] - x[i * cols + c];
        let difference: Vec<T> = (0..cols).map(difference).collect();
        r[i] = T::of(alpha) * lanes::dot_ref(&difference, &difference).sqrt();
    }
}

/// Reference of [`distance_backward`], adding to dx.
pub fn distance_backward_ref<T: Real>(
    x: &[T],
    pi: &[u32],
    alpha: f64,
    r: &[T],
    dr: &[T],
    dx: &mut [T],
    cols: usize,
) {
    // Every row's own part before any partner's.
    for partner in [false, true] {
        for (i, &j) in pi.iter().enumerate() {
            let (i, j) = (i * cols, j as usize * cols);
            let s = pull(alpha, r[i / cols], dr[i / cols]);
            let (to, from) = if partner { (j, i) } else { (i, j) };
            for c in 0..cols {
                dx[to + c] = s.mul_add(x[to + c] - x[from + c], dx[to + c]);
            }
        }
    }
}

/// Reference of [`perturb`].
pub fn perturb_ref<T: Real>(x: &[T], r: &[T], u: &[T], y: &mut [T], cols: usize) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = r[i / cols].mul_add(u[i], x[i]);
    }
}

/// Reference of [`perturb_backward_r`] and [`perturb_backward_u`], adding to dr and du.
pub fn perturb_backward_ref<T: Real>(
    r: &[T],
    u: &[T],
    dy: &[T],
    dr: &mut [T],
    du: &mut [T],
    cols: usize,
) {
    for (i, (u, dy)) in u.chunks_exact(cols).zip(dy.chunks_exact(cols)).enumerate() {
        dr[i] += lanes::dot_ref(u, dy);
        for c in 0..cols {
            du[i * cols + c] = r[i].mul_add(dy[c], du[i * cols + c]);
        }
    }
}
