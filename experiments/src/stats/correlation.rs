//! Do two columns go together? Each coefficient is −1 … 1, and of x (n) and y (n):
//!   Pearson    r = Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² Σ (y − ȳ)²)
//!   Spearman   ρ = r of the ranks, ties sharing their mean rank
//!   Kendall    τ_b = Σ_{i<j} sgn(x_i − x_j) sgn(y_i − y_j) / √((N − T_x)(N − T_y)),  N = n (n − 1) / 2,
//!              T_x, T_y: pairs that are equal in x, in y

use super::{mean, mid_ranks};

/// Pearson's r; `None` of unequal lengths, fewer than two pairs, a constant column, or a value that is
/// not finite.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return None;
    }
    let (centre_x, centre_y) = (mean(x)?, mean(y)?);
    let constant = |column: &[f64]| column.iter().all(|&v| v == column[0]);
    if constant(x) || constant(y) {
        return None; // rounding of the mean could leave a spread
    }
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (dx, dy) = (x - centre_x, y - centre_y);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    let r = xy / (xx.sqrt() * yy.sqrt());
    r.is_finite().then_some(r.clamp(-1.0, 1.0))
}

/// Spearman's ρ; `None` of unequal lengths, fewer than two pairs, a constant column, or a NaN.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&mid_ranks(x)?.0, &mid_ranks(y)?.0)
}

/// Kendall's τ_b; `None` of unequal lengths, fewer than two pairs, a constant column, or a NaN.
pub fn kendall(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() {
        return None;
    }
    let sign = |column: &[f64], i: usize, j: usize| {
        column[i].partial_cmp(&column[j]).map(|order| order as i64)
    };
    let (mut both, mut in_x, mut in_y) = (0, 0, 0);
    for i in 0..x.len() {
        for j in 0..i {
            let (sx, sy) = (sign(x, i, j)?, sign(y, i, j)?);
            both += sx * sy;
            in_x += sx * sx;
            in_y += sy * sy;
        }
    }
    let root = (in_x as f64 * in_y as f64).sqrt();
    (root > 0.0).then(|| both as f64 / root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anscombes_quartet_has_its_published_correlation() {
        // Anscombe (1973), sets I and II: r = .816 each.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let first = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        let second = [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74];
        assert!((pearson(&x, &first).unwrap() - 0.816).abs() < 5e-4);
        assert!((pearson(&x, &second).unwrap() - 0.816).abs() < 5e-4);
    }

    #[test]
    fn spearmans_rho_without_ties_is_the_sum_of_squared_differences() {
        // IQ and hours of television, the worked example of Wikipedia's article: ρ = −29/165.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        assert!((spearman(&iq, &hours).unwrap() + 29.0 / 165.0).abs() < 1e-15);
    }

    #[test]
    fn kendall_counts_pairs() {
        assert_eq!(kendall(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), Some(4.0 / 6.0));
        assert_eq!(kendall(&[1.0, 2.0], &[f64::INFINITY, 0.0]), Some(-1.0));
    }

    #[test]
    fn edges_are_defined() {
        for f in [pearson, spearman, kendall] {
            assert_eq!(f(&[], &[]), None);
            assert_eq!(f(&[1.0], &[1.0]), None);
            assert_eq!(f(&[1.0, 2.0], &[1.0]), None);
            assert_eq!(f(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]), None, "a constant");
            assert_eq!(f(&[1.0, 2.0, f64::NAN], &[1.0, 2.0, 3.0]), None);
            assert!((f(&[1.0, 2.0, 3.0], &[5.0, 6.0, 7.0]).unwrap() - 1.0).abs() < 1e-15);
        }
        assert_eq!(pearson(&[1.0, f64::INFINITY], &[1.0, 2.0]), None);
        assert!(spearman(&[1.0, f64::INFINITY], &[1.0, 2.0]).unwrap() > 0.999);
    }
}
