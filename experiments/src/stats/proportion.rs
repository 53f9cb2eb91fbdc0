//! The Clopper–Pearson interval of k out of n, exact: the shares p under which neither k or more nor k
//! or fewer is less likely than α / 2, α = 1 − level.
//!   lo = B⁻¹(α/2; k, n − k + 1),   0 at k = 0
//!   hi = B⁻¹(1 − α/2; k + 1, n − k),   1 at k = n          B: the beta distribution's CDF

use serde::Serialize;
use statrs::distribution::{Beta, Continuous, ContinuousCDF};

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many are right.
    pub hits: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    /// Counts one more.
    pub fn count(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.of += 1;
    }

    /// hits / of; None of none.
    pub fn value(&self) -> Option<f64> {
        (self.of > 0).then(|| self.hits as f64 / self.of as f64)
    }

    /// The 95 % Clopper–Pearson interval; None of none.
    pub fn interval(&self) -> Option<[f64; 2]> {
        clopper_pearson(self.hits, self.of, 0.95)
    }
}

/// The interval [lo, hi] of the share behind `k` of `n`; `None` if n = 0, k > n, or `level` is not
/// between 0 and 1.
///
/// ```
/// use experiments::stats::clopper_pearson;
/// let [lo, hi] = clopper_pearson(10, 10, 0.95).unwrap();
/// assert!((lo - 0.025f64.powf(0.1)).abs() < 1e-12 && hi == 1.0);
/// ```
pub fn clopper_pearson(k: usize, n: usize, level: f64) -> Option<[f64; 2]> {
    if n == 0 || k > n || !(level > 0.0 && level < 1.0) {
        return None;
    }
    let tail = (1.0 - level) / 2.0;
    let beta = |a: usize, b: usize, share: f64| {
        let beta = Beta::new(a as f64, b as f64).ok()?;
        // statrs' inverse has six digits where x is small; two of Newton's steps give the rest.
        let newton = |x: f64| x - (beta.cdf(x) - share) / beta.pdf(x);
        Some(newton(newton(beta.inverse_cdf(share))))
    };
    let lo = if k == 0 { 0.0 } else { beta(k, n - k + 1, tail)? };
    let hi = if k == n { 1.0 } else { beta(k + 1, n - k, 1.0 - tail)? };
    Some([lo, hi])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_have_closed_forms() {
        for n in [1, 5, 10, 30, 1000] {
            let [lo, hi] = clopper_pearson(0, n, 0.95).unwrap();
            assert_eq!(lo, 0.0);
            assert!((hi - (1.0 - 0.025f64.powf(1.0 / n as f64))).abs() < 1e-12, "{n}: {hi}");
            let [lo, above] = clopper_pearson(n, n, 0.95).unwrap();
            assert!((lo - (1.0 - hi)).abs() < 1e-12 && above == 1.0, "{n}: {lo}");
        }
    }

    #[test]
    fn either_tail_of_the_binomial_is_half_of_alpha_at_the_ends() {
        // The definition itself, summed with plain binomial coefficients.
        let at_least = |k: i32, n: i32, p: f64| -> f64 {
            let choose = |i: i32| (0..i).fold(1.0, |c, j| c * f64::from(n - j) / f64::from(j + 1));
            (k..=n).map(|i| choose(i) * p.powi(i) * (1.0 - p).powi(n - i)).sum()
        };
        for (k, n) in [(5, 10), (28, 30), (1, 7)] {
            let [lo, hi] = clopper_pearson(k as usize, n as usize, 0.9).unwrap();
            assert!((at_least(k, n, lo) - 0.05).abs() < 1e-10, "{k} of {n}: {lo}");
            assert!((at_least(k + 1, n, hi) - 0.95).abs() < 1e-10, "{k} of {n}: {hi}");
        }
    }

    #[test]
    fn edges_are_defined() {
        assert_eq!(clopper_pearson(0, 0, 0.95), None);
        assert_eq!(clopper_pearson(3, 2, 0.95), None);
        assert_eq!(clopper_pearson(1, 2, 1.0), None);
        assert_eq!(clopper_pearson(1, 2, f64::NAN), None);
    }
}
