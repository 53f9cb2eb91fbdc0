//! Every eigenvalue of a symmetric matrix: Householder to tridiagonal form, then QL.
//!
//! ```text
//! A = Q T Qᵀ,   T = tridiag(off, diagonal, off)          A: (n, n), lower triangle
//!
//! for row m = n−1 … 1, x = A[m, ..m]:     u = x − β e_{m−1},  β = ∓‖x‖,  τ = 2/‖u‖²
//!     A[..m, ..m] ← H A H,  H = 1 − τ u uᵀ    as    A − u wᵀ − w uᵀ
//!     p = τ A u,   w = p − (τ/2)(pᵀu) u
//! ```
//! The update by one step's (u, w) and the product with the next step's u touch every element of
//! the triangle; they are one pass. Row m, all that the next u needs, is updated ahead of it.
//!
//! A: rows of `stride` vectors of eight, padded with zeros to a multiple of eight; row i is used up
//! to the end of the 8 × 8 block on its diagonal, and those blocks are complete.
//!
//! QL without square roots: Pal, Walker & Kahan's form (Parlett, The Symmetric Eigenvalue Problem,
//! 8.15) with Wilkinson's shift.

use crate::covariance::{exponent_of, scale};
use crate::spectrum::SpectrumError;
use wide::f64x8;

/// Workspace of [`Tridiagonal::eigenvalues`], for matrices of one size.
#[derive(Debug, Clone)]
pub struct Tridiagonal {
    n: usize,
    diagonal: Vec<f64>,
    off: Vec<f64>,
    v: Vec<f64x8>, // u of the step before
    w: Vec<f64x8>,
    u: Vec<f64x8>,
    y: Vec<f64x8>,
}

impl Tridiagonal {
    /// Workspace for (n, n).
    pub fn new(n: usize) -> Self {
        let zeros = || vec![f64x8::ZERO; n.div_ceil(8)];
        let (diagonal, off) = (vec![0.0; n], vec![0.0; n]);
        Self { n, diagonal, off, v: zeros(), w: zeros(), u: zeros(), y: zeros() }
    }

    /// From now on for (n, n).
    pub(crate) fn resize(&mut self, n: usize) {
        self.n = n;
        self.diagonal.resize(n, 0.0);
        self.off.resize(n, 0.0);
        for x in [&mut self.v, &mut self.w, &mut self.u, &mut self.y] {
            x.resize(n.div_ceil(8), f64x8::ZERO);
        }
    }

    /// All eigenvalues of the symmetric matrix `a`, descending; destroys `a`. The largest element
    /// of `a` should be within 2^±100 of 1. An absolute error of a few ε ‖a‖ in each.
    ///
    /// # Errors
    /// If QL does not converge (not seen so far).
    pub fn eigenvalues(&mut self, a: &mut [f64x8]) -> Result<&[f64], SpectrumError> {
        self.reduce(a, |_, _, _| ());
        ql(&mut self.diagonal, &mut self.off)?;
        Ok(&self.diagonal)
    }

    /// T of `a`, which is destroyed: (diagonal, off), `off[i]` between i and i + 1, `off[n − 1]` = 0.
    pub fn tridiagonalise(&mut self, a: &mut [f64x8]) -> (&[f64], &[f64]) {
        self.reduce(a, |_, _, _| ())
    }

    /// As [`Tridiagonal::tridiagonalise`]; `reflection(m, u, τ)` is told of each H = 1 − τ u uᵀ of the
    /// first m rows, m = n − 1 … 1, in this order. Q is their product.
    pub(crate) fn reduce(
        &mut self,
        a: &mut [f64x8],
        mut reflection: impl FnMut(usize, &[f64x8], f64),
    ) -> (&[f64], &[f64]) {
        let (n, stride) = (self.n, self.n.div_ceil(8));
        let shortest = shortest((0..n).map(|i| at(&a[i * stride..], i)));
        self.v.fill(f64x8::ZERO);
        self.w.fill(f64x8::ZERO);
        if n > 0 {
            self.off[n - 1] = 0.0;
        }
        for m in (1..n).rev() {
            // Row m catches up with the step before.
            let row = &mut a[m * stride..][..m / 8 + 1];
            let (vm, wm) = (f64x8::splat(at(&self.v, m)), f64x8::splat(at(&self.w, m)));
            for (j, a) in row.iter_mut().enumerate() {
                *a = wm.mul_neg_add(self.v[j], vm.mul_neg_add(self.w[j], *a));
            }
            self.diagonal[m] = at(row, m);

            // u and τ; a row that is zero but for its last element needs no reflection: u = 0.
            let groups = m.div_ceil(8);
            self.u[..groups].copy_from_slice(&row[..groups]);
            for l in m..groups * 8 {
                self.u[l / 8].as_mut_array()[l % 8] = 0.0;
            }
            let last = at(&self.u, m - 1);
            set(&mut self.u, m - 1, 0.0);
            let rest = dot(&self.u[..groups], &self.u[..groups]);
            let mut tau = 0.0;
            self.off[m - 1] = last;
            if rest > shortest {
                let beta = -last.mul_add(last, rest).sqrt().copysign(last);
                let head = last - beta;
                set(&mut self.u, m - 1, head);
                tau = 2.0 / head.mul_add(head, rest);
                self.off[m - 1] = beta;
            }

            reflection(m, &self.u[..groups], tau);

            let (v, w, u) = (&self.v[..groups], &self.w[..groups], &self.u[..groups]);
            let y = &mut self.y[..groups];
            update_and_multiply(a, stride, v, w, u, y);

            // w = τ y − (τ²/2)(yᵀu) u; τ(τ yᵀu), because τ² may overflow
            let half = f64x8::splat(0.5 * tau * (tau * dot(y, u)));
            let tau = f64x8::splat(tau);
            for g in 0..groups {
                self.w[g] = half.mul_neg_add(u[g], tau * y[g]);
                self.v[g] = u[g];
            }
        }
        if n > 0 {
            self.diagonal[0] = at(a, 0);
        }
        (&self.diagonal, &self.off)
    }
}

/// The squared length below which a row's rest counts as zero: (1e-50 of the diagonal's largest)². An
/// exactly low-rank matrix leaves 1e-16 of the rest before at each step, until squares underflow.
fn shortest(diagonal: impl Iterator<Item = f64>) -> f64 {
    let largest = diagonal.fold(0.0, |m: f64, d| m.max(d.abs()));
    (1e-50 * largest).powi(2).max(f64::MIN_POSITIVE)
}

/// A ← A − v wᵀ − w vᵀ, then y = A u, all in one pass. v, w, u, y: (groups) vectors.
///
/// Eight rows at a time, in two quads, each a stretch of `4 · stride` vectors; left of the diagonal
/// block an element serves its row's product and its column's.
fn update_and_multiply(
    a: &mut [f64x8],
    stride: usize,
    v: &[f64x8],
    w: &[f64x8],
    u: &[f64x8],
    y: &mut [f64x8],
) {
    for (g, rows) in a.chunks_exact_mut(8 * stride).take(y.len()).enumerate() {
        let (y, here) = y.split_at_mut(g);
        let mut dots = [f64x8::ZERO; 8];
        for (q, quad) in rows.chunks_exact_mut(4 * stride).enumerate() {
            let part = |x: &[f64x8]| x[g].as_array().as_chunks::<4>().0[q].map(f64x8::splat);
            let (vi, wi, ui) = (part(v), part(w), part(u));
            let (r0, quad) = quad.split_at_mut(stride);
            let (r1, quad) = quad.split_at_mut(stride);
            let (r2, r3) = quad.split_at_mut(stride);
            let quad = [&mut r0[..=g], &mut r1[..=g], &mut r2[..=g], &mut r3[..=g]];
            let (v, w, u) = (&v[..=g], &w[..=g], &u[..=g]);
            let mut dot = [f64x8::ZERO; 4];
            for j in 0..=g {
                let mut column = if j < g { y[j] } else { f64x8::ZERO };
                for r in 0..4 {
                    let x = wi[r].mul_neg_add(v[j], vi[r].mul_neg_add(w[j], quad[r][j]));
                    quad[r][j] = x;
                    dot[r] = x.mul_add(u[j], dot[r]);
                    column = x.mul_add(ui[r], column);
                }
                if j < g {
                    y[j] = column; // the diagonal block is complete: its rows say it all
                }
            }
            dots[4 * q..4 * q + 4].copy_from_slice(&dot);
        }
        here[0] = f64x8::new(dots.map(sum));
    }
}

/// One fixed tree over the lanes.
#[inline(always)]
pub(crate) fn sum(x: f64x8) -> f64 {
    let x = x.to_array();
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

/// Σ x y: lane l is the chain of elements l, l + 8, …
#[inline(always)]
pub(crate) fn dot(x: &[f64x8], y: &[f64x8]) -> f64 {
    sum(x.iter().zip(y).fold(f64x8::ZERO, |acc, (x, y)| x.mul_add(*y, acc)))
}

#[inline(always)]
fn at(x: &[f64x8], i: usize) -> f64 {
    x[i / 8].as_array()[i % 8]
}

#[inline(always)]
fn set(x: &mut [f64x8], i: usize, value: f64) {
    x[i / 8].as_mut_array()[i % 8] = value;
}

/// Eigenvalues of tridiag(off, diagonal, off), in place and descending; `off` (one element per row,
/// the last one unused) is destroyed.
///
/// # Errors
/// If an eigenvalue takes more than 60 sweeps on average.
pub fn ql(diagonal: &mut [f64], off: &mut [f64]) -> Result<(), SpectrumError> {
    let n = diagonal.len();
    // Squares of off-diagonals, relative to the largest element: a power of two, undone at the end.
    let top = diagonal.iter().chain(off.iter().take(n.saturating_sub(1)));
    let top = top.fold(0.0, |top: f64, x| top.max(x.abs()));
    if top == 0.0 {
        return Ok(());
    }
    let e = exponent_of(top);
    let down = scale(1.0, -e);
    diagonal.iter_mut().for_each(|x| *x *= down);
    off.iter_mut().for_each(|x| *x = (*x * down) * (*x * down));
    off[n - 1] = 0.0;

    let mut sweeps = 60 * n;
    let mut l = 0;
    while l < n {
        let m = (l..n).find(|&m| m + 1 == n || negligible(diagonal, off, m)).unwrap_or(n - 1);
        off[m] = 0.0;
        if m == l {
            l += 1;
            continue;
        }
        sweeps = sweeps.checked_sub(1).ok_or(SpectrumError::NoConvergence)?;
        sweep(&mut diagonal[l..=m], &mut off[l..m]);
    }
    let up = scale(1.0, e);
    diagonal.iter_mut().for_each(|x| *x *= up);
    diagonal.sort_unstable_by(|x, y| y.total_cmp(x));
    Ok(())
}

/// Whether `off[m]` (squared here) is lost beside its neighbours, or is below ε/8 of the largest
/// element there was: dropping it moves no eigenvalue by more than ε ‖T‖ / 2. A finer test may
/// never be met.
fn negligible(diagonal: &[f64], off: &[f64], m: usize) -> bool {
    const HALF: f64 = f64::EPSILON / 2.0;
    let beside = HALF * diagonal[m].abs().max(diagonal[m + 1].abs()).max(0.25);
    off[m] <= beside * beside
}

/// One QL sweep from the bottom to the top, off = squared off-diagonals. With c, s the squared
/// cosine and sine and γ the pivot, the textbook's step
///
/// ```text
/// r = p + b,  c = p/r,  s = b/r,  γ' = c (d − σ) − s γ,  p' = γ'²/c
/// ```
/// is two divisions one after the other; with t = p (d − σ) − b γ they are γ' = t/r and p' = t²/(r
/// p), side by side.
fn sweep(d: &mut [f64], off: &mut [f64]) {
    let m = off.len();
    let root = off[0].sqrt();
    let h = (d[1] - d[0]) / (2.0 * root);
    let sigma = d[0] - root / (h + h.hypot(1.0).copysign(h));

    let mut gamma = d[m] - sigma;
    let mut p = gamma * gamma;
    let (mut p_before, mut r_before) = (1.0, 1.0);
    let mut s = 0.0;
    for i in (0..m).rev() {
        let b = off[i];
        let r = p + b;
        if i + 1 < m {
            off[i + 1] = s * r;
        }
        let t = p.mul_add(d[i] - sigma, -(b * gamma));
        let next = t / r;
        d[i + 1] = gamma + (d[i] - next);
        // p → 0: γ'²/c tends to c₋₁ b.
        let p_next = if p > 1e-200 { t * t / (r * p) } else { p_before / r_before * b };
        s = b / r;
        (p_before, r_before) = (p, r);
        (p, gamma) = (p_next, next);
    }
    off[0] = s * p;
    d[0] = sigma + gamma;
}

/// [`Tridiagonal::tridiagonalise`] in plain loops over a: (n, n), row major, complete and
/// symmetric.
pub fn tridiagonalise_ref(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    // Eight virtual lanes and their tree.
    let dot = |x: &[f64], y: &[f64]| {
        let mut lanes = [0.0; 8];
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            lanes[i % 8] = x.mul_add(*y, lanes[i % 8]);
        }
        let [a, b, c, d, e, f, g, h] = lanes;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    };
    let mut a: Vec<Vec<f64>> = a.chunks_exact(n).map(<[f64]>::to_vec).collect();
    let (mut v, mut w) = (vec![0.0f64; n], vec![0.0f64; n]);
    let (mut diagonal, mut off) = (vec![0.0; n], vec![0.0; n]);
    let shortest = shortest((0..n).map(|i| a[i][i]));
    for m in (0..n).rev() {
        // The whole of the step before; the last row that needs it is m.
        for i in 0..=m {
            for j in 0..(i / 8 * 8 + 8).min(m + 1) {
                a[i][j] = (-w[i]).mul_add(v[j], (-v[i]).mul_add(w[j], a[i][j]));
            }
        }
        diagonal[m] = a[m][m];
        if m == 0 {
            break;
        }
        let mut u = a[m][..m].to_vec();
        let last = std::mem::take(&mut u[m - 1]);
        let rest = dot(&u, &u);
        let mut tau = 0.0;
        off[m - 1] = last;
        if rest > shortest {
            off[m - 1] = -last.mul_add(last, rest).sqrt().copysign(last);
            u[m - 1] = last - off[m - 1];
            tau = 2.0 / u[m - 1].mul_add(u[m - 1], rest);
        }
        let mut y = vec![0.0; m];
        for j in 0..m {
            let block = (j / 8 * 8 + 8).min(m);
            y[j] = dot(&a[j][..block], &u[..block]);
            for i in block..m {
                y[j] = a[i][j].mul_add(u[i], y[j]);
            }
        }
        let half = 0.5 * tau * (tau * dot(&y, &u));
        for j in 0..m {
            (v[j], w[j]) = (u[j], (-half).mul_add(u[j], tau * y[j]));
        }
        (v[m], w[m]) = (0.0, 0.0);
    }
    (diagonal, off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(n: usize) -> Vec<f64> {
        let value = |i: usize, j: usize| ((1 + i.max(j) * 7919 + i.min(j) * 104_729) as f64).sin();
        (0..n * n).map(|ij| value(ij / n, ij % n)).collect()
    }

    fn padded(a: &[f64], n: usize) -> Vec<f64x8> {
        let stride = n.div_ceil(8);
        let mut out = vec![f64x8::ZERO; stride * n.next_multiple_of(8)];
        for i in 0..n {
            for j in 0..(i / 8 * 8 + 8).min(n) {
                out[i * stride + j / 8].as_mut_array()[j % 8] = a[i * n + j];
            }
        }
        out
    }

    #[test]
    fn the_lanes_give_the_bits_of_the_plain_loops() {
        for n in [1, 2, 3, 7, 8, 9, 16, 17, 40, 65, 130] {
            let a = matrix(n);
            let mut fast = Tridiagonal::new(n);
            let (diagonal, off) = fast.tridiagonalise(&mut padded(&a, n));
            let (plain_diagonal, plain_off) = tridiagonalise_ref(&a, n);
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(diagonal), bits(&plain_diagonal), "n = {n}");
            assert_eq!(bits(off), bits(&plain_off), "n = {n}");
        }
    }

    /// The second difference matrix: λ_k = 2 − 2 cos(kπ/(n + 1)).
    #[test]
    fn ql_finds_the_spectrum_of_the_second_difference() {
        for n in [1, 2, 5, 64, 1000] {
            let (mut diagonal, mut off) = (vec![2.0; n], vec![-1.0; n]);
            ql(&mut diagonal, &mut off).unwrap();
            for (k, x) in diagonal.iter().rev().enumerate() {
                let angle = (k + 1) as f64 * std::f64::consts::PI / (n + 1) as f64;
                assert!((x - (2.0 - 2.0 * angle.cos())).abs() < 2e-14, "n = {n}, k = {k}");
            }
        }
    }

    /// Wilkinson's W21+: pairs of eigenvalues that agree to fifteen digits.
    #[test]
    fn ql_tells_wilkinsons_pairs() {
        let mut diagonal: Vec<f64> = (-10..=10).map(|i: i32| f64::from(i.abs())).collect();
        let mut off = vec![1.0; 21];
        ql(&mut diagonal, &mut off).unwrap();
        assert!((diagonal[0] - 10.746_194_182_903_393).abs() < 1e-14);
        assert!((diagonal[1] - 10.746_194_182_903_322).abs() < 1e-14);
        assert!((diagonal[20] + 1.125_441_522_119_984).abs() < 1e-14);
        assert!((diagonal.iter().sum::<f64>() - 110.0).abs() < 1e-13);
    }
}
