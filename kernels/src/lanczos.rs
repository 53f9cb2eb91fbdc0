//! Every eigenvalue of a positive semi-definite matrix of low rank: Lanczos, fully
//! reorthogonalised.
//!
//! ```text
//! Q A = T Q,   T = tridiag(β, α, β)     A: (n, n), lower triangle     Q: (steps, n), q_j its rows
//!
//! z = A q_j;   α_j = q_j·z;   z ← (1 − QᵀQ)² z;   β_j = ‖z‖;   q_{j+1} = z/β_j
//! ```
//! When β vanishes, Q spans an invariant subspace and T holds its eigenvalues. The iteration then
//! goes on, with β = 0, from a new vector orthogonal to Q: so the identity, and every repeated
//! eigenvalue, is counted with its multiplicity.
//!
//! It ends when no trace is left. Each eigenvalue of T is at most its counterpart in A (Cauchy),
//! and all of the missing ones together are the missing trace, tr A − Σ α ≤ n ε tr A; they are
//! reported as zero. A matrix of rank r costs r products, so this beats Householder's where r is
//! small.
//!
//! A: laid out as in [`crate::tridiagonal`].

use crate::spectrum::SpectrumError;
use crate::tridiagonal::{dot, ql, sum};
use wide::f64x8;

/// Workspace of [`Lanczos::eigenvalues`], for matrices of one size; Q grows to the largest rank
/// met.
#[derive(Debug, Clone)]
pub struct Lanczos {
    n: usize,
    alpha: Vec<f64>,
    beta: Vec<f64>,
    basis: Vec<f64x8>, // (steps, stride)
    next: Vec<f64x8>,  // (stride): z, then q_{j+1}
}

impl Lanczos {
    /// Workspace for (n, n).
    pub fn new(n: usize) -> Self {
        let next = vec![f64x8::ZERO; n.div_ceil(8)];
        Self { n, alpha: vec![0.0; n], beta: vec![0.0; n], basis: Vec::new(), next }
    }

    /// All eigenvalues of the positive semi-definite matrix `a`, descending. The largest element of
    /// `a` should be within 2^±100 of 1. An absolute error of about n ε ‖a‖ in the sum.
    ///
    /// # Errors
    /// If QL does not converge (not seen so far).
    pub fn eigenvalues(&mut self, a: &[f64x8]) -> Result<&[f64], SpectrumError> {
        let (n, stride) = (self.n, self.n.div_ceil(8));
        let small = n as f64 * f64::EPSILON;
        let trace: f64 = (0..n).map(|i| a[i * stride + i / 8].as_array()[i % 8]).sum();
        let (mut left, mut norm) = (trace, 0.0f64);
        let (mut steps, mut starts) = (0, 0);
        self.basis.clear();
        self.alpha.fill(0.0);
        self.beta.fill(0.0);
        while steps < n && left > small * trace {
            if steps == 0 || self.beta[steps - 1] == 0.0 {
                starts = self.start(starts);
            }
            self.basis.extend_from_slice(&self.next);
            let q = &self.basis[steps * stride..];
            product(a, q, &mut self.next);
            self.alpha[steps] = dot(q, &self.next);
            left -= self.alpha[steps];
            self.orthogonalise();
            let beta = dot(&self.next, &self.next).sqrt();
            norm = norm.max(self.alpha[steps].abs()).max(beta);
            if beta > small * norm {
                self.beta[steps] = beta;
                self.next.iter_mut().for_each(|z| *z /= f64x8::splat(beta));
            }
            steps += 1;
        }
        if steps > 0 {
            self.beta[steps - 1] = 0.0;
        }
        // The rows never reached hold zeros: eigenvalue 0, uncoupled.
        ql(&mut self.alpha, &mut self.beta)?;
        Ok(&self.alpha)
    }

    /// z ← (1 − QᵀQ) z, twice: once leaves rounding of the size of the part removed, which is not
    /// small beside what remains.
    fn orthogonalise(&mut self) {
        for _ in 0..2 {
            for q in self.basis.chunks_exact(self.next.len()) {
                let c = f64x8::splat(dot(q, &self.next));
                for (z, q) in self.next.iter_mut().zip(q) {
                    *z = c.mul_neg_add(*q, *z);
                }
            }
        }
    }

    /// A unit vector orthogonal to Q in `next`, made from the hash numbered `seed`; the next seed.
    fn start(&mut self, mut seed: u64) -> u64 {
        loop {
            for i in 0..self.n {
                self.next[i / 8].as_mut_array()[i % 8] = hash(seed << 32 | i as u64);
            }
            seed += 1;
            self.orthogonalise();
            let length = dot(&self.next, &self.next).sqrt();
            // Enough of the vector must remain for its direction to mean something.
            if length > 1e-8 {
                self.next.iter_mut().for_each(|z| *z /= f64x8::splat(length));
                self.orthogonalise();
                return seed;
            }
        }
    }
}

/// y = A x. Left of the diagonal block an element serves its row's product and its column's.
fn product(a: &[f64x8], x: &[f64x8], y: &mut [f64x8]) {
    let stride = y.len();
    for (g, rows) in a.chunks_exact(8 * stride).enumerate() {
        let (y, here) = y.split_at_mut(g);
        let mut dots = [0.0; 8];
        for (r, row) in rows.chunks_exact(stride).enumerate() {
            let xi = f64x8::splat(x[g].as_array()[r]);
            let mut dot = f64x8::ZERO;
            for ((a, x), y) in row.iter().zip(x).zip(y.iter_mut()) {
                dot = a.mul_add(*x, dot);
                *y = a.mul_add(xi, *y);
            }
            dots[r] = sum(row[g].mul_add(x[g], dot));
        }
        here[0] = f64x8::new(dots);
    }
}

/// A fixed number in [−1, 1) for each `x`: the finaliser of SplitMix64.
pub(crate) fn hash(x: u64) -> f64 {
    let x = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) as i64 >> 11) as f64 / (1u64 << 52) as f64
}
