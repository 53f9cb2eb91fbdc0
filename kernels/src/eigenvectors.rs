//! The leading eigenvectors of a symmetric matrix: those of its tridiagonal form, turned back.
//!
//! ```text
//! A = Q T Qᵀ,  Q = H_{n−1} … H₁ (`tridiagonal.rs`)      λ of T by QL       A: (n, n), lower triangle
//! x ← (T − λ)⁻¹ x, made orthogonal to the vectors before it, ‖x‖ = 1       four times (inverse iteration)
//! v = Q x = H_{n−1} … H₁ x,  H = 1 − τ u uᵀ
//! ```
//! A λ that is right to rounding makes T − λ all but singular, so one solution is almost the
//! eigenvector; the others serve λ that agree to many digits, whose vectors only orthogonality tells
//! apart. T − λ = P L U with partial pivoting; a pivot below ε ‖T‖ is replaced by that, which is a
//! change of T no larger than its rounding.

use crate::lanczos::hash;
use crate::spectrum::SpectrumError;
use crate::tridiagonal::{Tridiagonal, dot, ql};
use wide::f64x8;

const ITERATIONS: usize = 4;
/// Beyond it a solution is scaled down, long before it can overflow.
const HUGE: f64 = 1e200;

/// The `count` largest eigenvalues of `a` (at most n), descending, and an eigenvector of length 1 for
/// each: (count), (count, n). Destroys `a`; see [`Tridiagonal::eigenvalues`] for its form. Allocates.
///
/// # Errors
/// If QL or an inverse iteration does not converge (not seen so far).
pub fn leading(
    workspace: &mut Tridiagonal,
    a: &mut [f64x8],
    count: usize,
) -> Result<(Vec<f64>, Vec<f64>), SpectrumError> {
    let mut reflections: Vec<(Vec<f64x8>, f64)> = Vec::new();
    let (diagonal, off) = workspace.reduce(a, |_, u, tau| reflections.push((u.to_vec(), tau)));
    let n = diagonal.len();
    let mut eigenvalues = diagonal.to_vec();
    ql(&mut eigenvalues, &mut off.to_vec())?;
    eigenvalues.truncate(count);

    let largest = diagonal.iter().chain(off).fold(0.0, |m: f64, x| m.max(x.abs()));
    let mut found: Vec<Vec<f64x8>> = Vec::new(); // of T
    for (k, &lambda) in eigenvalues.iter().enumerate() {
        let factors = Factors::of(diagonal, off, lambda, f64::EPSILON * largest);
        let mut x: Vec<f64> = (0..n).map(|i| hash((k * n + i) as u64)).collect();
        let mut unit = Vec::new();
        for _ in 0..ITERATIONS {
            if largest > 0.0 {
                factors.solve(&mut x);
            }
            unit = orthogonal(&x, &found).ok_or(SpectrumError::NoConvergence)?;
            x.copy_from_slice(&values(&unit)[..n]);
        }
        found.push(unit);
    }

    let mut vectors = Vec::with_capacity(found.len() * n);
    for mut x in found {
        for (u, tau) in reflections.iter().rev() {
            let along = f64x8::splat(tau * dot(u, &x[..u.len()]));
            x.iter_mut().zip(u).for_each(|(x, u)| *x = along.mul_neg_add(*u, *x));
        }
        vectors.extend_from_slice(&values(&x)[..n]);
    }
    Ok((eigenvalues, vectors))
}

/// The part of `x` that is orthogonal to the vectors `to`, at length 1; none if nothing is left.
fn orthogonal(x: &[f64], to: &[Vec<f64x8>]) -> Option<Vec<f64x8>> {
    let largest = x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let mut padded = vec![0.0; x.len().next_multiple_of(8)];
    padded.iter_mut().zip(x).for_each(|(to, x)| *to = x / largest);
    let mut x: Vec<f64x8> = padded.as_chunks().0.iter().map(|&x| f64x8::new(x)).collect();
    // Twice: what rounding leaves of the first time, the second takes away.
    for v in to.iter().chain(to) {
        let along = f64x8::splat(dot(&x, v));
        x.iter_mut().zip(v).for_each(|(x, v)| *x = along.mul_neg_add(*v, *x));
    }
    let length = dot(&x, &x).sqrt();
    x.iter_mut().for_each(|x| *x /= f64x8::splat(length));
    (length > 0.0 && length.is_finite()).then_some(x)
}

fn values(x: &[f64x8]) -> Vec<f64> {
    x.iter().flat_map(|x| x.to_array()).collect()
}

/// P L U of T − λ.
struct Factors {
    upper: Vec<[f64; 3]>,    // of row i: the pivot and the two to its right
    lower: Vec<(f64, bool)>, // row i + 1 minus so many times row i, the two exchanged before
}

impl Factors {
    fn of(diagonal: &[f64], off: &[f64], lambda: f64, least: f64) -> Factors {
        let n = diagonal.len();
        let (mut upper, mut lower) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut row = [diagonal[0] - lambda, off[0], 0.0];
        for i in 1..=n {
            let below = match i < n {
                true => [off[i - 1], diagonal[i] - lambda, off[i]],
                false => [0.0; 3],
            };
            let exchange = row[0].abs() < below[0].abs();
            let (mut pivot, rest) = if exchange { (below, row) } else { (row, below) };
            if pivot[0].abs() < least {
                pivot[0] = least.copysign(pivot[0]);
            }
            let times = rest[0] / pivot[0];
            row = [(-times).mul_add(pivot[1], rest[1]), (-times).mul_add(pivot[2], rest[2]), 0.0];
            upper.push(pivot);
            lower.push((times, exchange));
        }
        Factors { upper, lower }
    }

    /// x ← (T − λ)⁻¹ x, or that times a power of [`HUGE`].
    fn solve(&self, x: &mut [f64]) {
        let n = x.len();
        for (i, &(times, exchange)) in self.lower[..n - 1].iter().enumerate() {
            if exchange {
                x.swap(i, i + 1);
            }
            x[i + 1] = (-times).mul_add(x[i], x[i + 1]);
        }
        for i in (0..n).rev() {
            let [pivot, next, after] = self.upper[i];
            let at = |i: usize| x.get(i).copied().unwrap_or(0.0);
            x[i] = (x[i] - next * at(i + 1) - after * at(i + 2)) / pivot;
            if x[i].abs() > HUGE {
                x.iter_mut().for_each(|x| *x /= HUGE);
            }
        }
    }
}
