//! The power law of arXiv:2604.13123: the steps that are left, from how far a reading z is above its
//! value z* at grokking,
//!   ΔT = C₁ (z − z*)^γ + C₂,     C₁, C₂ ≥ 0;   z − z* counts as 0 where it is negative.
//! The paper's z is H̃: C₁ 2.45e5, γ 1.65, C₂ ≈ 0.
//!
//! Least squares by variable projection (Golub & Pereyra, 1973): for a given γ the best C₁ and C₂ are
//! those of a line in x = (z − z*)^γ, in closed form, so only γ is searched for, in [0.05, 10]: a grid
//! that finds the valley, then golden sections. A line whose C₁ or C₂ would be negative is replaced by the
//! best one without it.

/// The fitted law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    /// z*, the value at grokking; given, not fitted.
    pub star: f64,
    /// The scale C₁, in steps.
    pub c1: f64,
    /// The exponent γ.
    pub gamma: f64,
    /// The steps left at z*, C₂.
    pub c2: f64,
}

/// Where γ is searched.
const GAMMA: [f64; 2] = [0.05, 10.0];
const GRID: usize = 80;

impl PowerLaw {
    /// Fits the law to points (z, ΔT) with this z*. `None` if a number is not finite, if there are
    /// fewer than three points, or if all gaps z − z* are alike.
    pub fn fit(points: &[(f64, f64)], star: f64) -> Option<PowerLaw> {
        let finite = points.iter().all(|(z, left)| z.is_finite() && left.is_finite());
        let gaps: Vec<f64> = points.iter().map(|(z, _)| (z - star).max(0.0)).collect();
        let widest = gaps.iter().copied().fold(0.0, f64::max);
        let alike = gaps.iter().all(|&gap| gap == widest);
        if points.len() < 3 || !finite || !star.is_finite() || alike {
            return None;
        }
        let lines = Lines {
            logs: gaps.iter().map(|gap| (gap / widest).ln()).collect(),
            left: points.iter().map(|&(_, left)| left).collect(),
        };
        let [lo, hi] = GAMMA.map(f64::ln);
        let at = |i: usize| (lo + (hi - lo) * i as f64 / (GRID - 1) as f64).exp();
        let squares = |gamma: f64| lines.best(gamma).2;
        let best = (0..GRID).min_by(|&i, &j| squares(at(i)).total_cmp(&squares(at(j))))?;
        let gamma = golden(squares, at(best.saturating_sub(1)), at((best + 1).min(GRID - 1)));
        let (c1, c2, _) = lines.best(gamma);
        Some(PowerLaw { star, c1: c1 / widest.powf(gamma), gamma, c2 })
    }

    /// ΔT at a reading z.
    pub fn remaining(&self, z: f64) -> f64 {
        self.c1 * (z - self.star).max(0.0).powf(self.gamma) + self.c2
    }
}

/// What the lines of all γ have in common.
struct Lines {
    logs: Vec<f64>, // ln of gap / widest gap: −∞ … 0
    left: Vec<f64>,
}

impl Lines {
    /// (C₁, C₂, Σ residual²) of the best line in x = gap^γ with C₁, C₂ ≥ 0.
    fn best(&self, gamma: f64) -> (f64, f64, f64) {
        let x: Vec<f64> = self.logs.iter().map(|log| (gamma * log).exp()).collect();
        let n = x.len() as f64;
        let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, self.left.iter().sum::<f64>() / n);
        let pairs = || x.iter().zip(&self.left);
        let around = |cx: f64, cy: f64| {
            let (mut xx, mut xy) = (0.0, 0.0);
            for (x, y) in pairs() {
                xx += (x - cx) * (x - cx);
                xy += (x - cx) * (y - cy);
            }
            xy / xx
        };
        let mut c1 = around(mean_x, mean_y);
        let mut c2 = mean_y - c1 * mean_x;
        if c2 < 0.0 {
            (c1, c2) = (around(0.0, 0.0), 0.0);
        }
        if c1.is_nan() || c1 < 0.0 {
            (c1, c2) = (0.0, mean_y.max(0.0));
        }
        let squares = pairs().map(|(x, y)| (c1 * x + c2 - y).powi(2)).sum();
        (c1, c2, squares)
    }
}

/// The least point of `f` in [lo, hi], by golden sections.
fn golden(f: impl Fn(f64) -> f64, mut lo: f64, mut hi: f64) -> f64 {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (hi - ratio * (hi - lo), lo + ratio * (hi - lo));
    let (mut fa, mut fb) = (f(a), f(b));
    for _ in 0..60 {
        if fa <= fb {
            (hi, b, fb) = (b, a, fa);
            a = hi - ratio * (hi - lo);
            fa = f(a);
        } else {
            (lo, a, fa) = (a, b, fb);
            b = lo + ratio * (hi - lo);
            fb = f(b);
        }
    }
    if fa <= fb { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(c1: f64, gamma: f64, c2: f64) -> Vec<(f64, f64)> {
        let z = |i: i32| 0.59 + 0.005 * f64::from(i);
        let left = |z: f64| c1 * (z - 0.609).max(0.0).powf(gamma) + c2;
        (0..40).map(|i| (z(i), left(z(i)))).collect()
    }

    #[test]
    fn a_law_is_recovered_from_its_own_points() {
        for (c1, gamma, c2) in [(2.45e5, 1.65, 0.0), (3e4, 0.8, 700.0), (1e6, 3.0, 50.0)] {
            let law = PowerLaw::fit(&points(c1, gamma, c2), 0.609).unwrap();
            assert!((law.c1 / c1 - 1.0).abs() < 1e-5, "{law:?}");
            assert!((law.gamma / gamma - 1.0).abs() < 1e-6, "{law:?}");
            assert!((law.c2 - c2).abs() < 0.01, "{law:?}");
            assert!((law.remaining(0.7) - (c1 * 0.091f64.powf(gamma) + c2)).abs() < 0.01);
            assert!((law.remaining(0.2) - c2).abs() < 0.01, "below z* nothing but C2 is left");
        }
    }

    #[test]
    fn time_left_that_rises_while_the_gap_closes_has_no_law_but_a_mean() {
        let rising: Vec<_> = points(1e5, 1.0, 0.0).iter().map(|&(z, y)| (z, 1e5 - y)).collect();
        let law = PowerLaw::fit(&rising, 0.609).unwrap();
        let mean = rising.iter().map(|p| p.1).sum::<f64>() / rising.len() as f64;
        assert_eq!((law.c1, law.c2), (0.0, mean));
    }

    #[test]
    fn edges_are_defined() {
        assert_eq!(PowerLaw::fit(&[], 0.6), None);
        assert_eq!(PowerLaw::fit(&[(0.7, 1.0), (0.8, 2.0)], 0.6), None, "two points");
        assert_eq!(PowerLaw::fit(&[(0.7, 1.0); 5], 0.6), None, "one gap");
        assert_eq!(
            PowerLaw::fit(&[(0.5, 1.0), (0.4, 2.0), (0.3, 3.0)], 0.6),
            None,
            "no gap at all"
        );
        assert_eq!(PowerLaw::fit(&[(f64::NAN, 1.0), (0.7, 2.0), (0.8, 3.0)], 0.6), None);
        assert_eq!(PowerLaw::fit(&[(0.7, 1.0), (0.8, 2.0), (0.9, 3.0)], f64::NAN), None);
    }
}
