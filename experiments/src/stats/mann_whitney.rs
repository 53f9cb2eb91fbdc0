//! The Mann–Whitney U test, two-sided: are the values of one group larger than the other's?
//!   U = Σ_i Σ_j [x_i > y_j] + ½ [x_i = y_j]  = R_x − m (m + 1) / 2       R_x: sum of x's ranks
//!   p = 2 P(U' ≥ max(U, m n − U)), at most 1
//!
//! **Exact** where no two values are equal: under the null hypothesis every choice of m ranks among
//! m + n is as likely, and the number of choices with U' = u is
//!   f(m, n, u) = f(m − 1, n, u − n) + f(m, n − 1, u)          (the largest value is x's, or y's)
//!
//! **Normal**, with the tie correction and a continuity correction of ½, where values are equal or
//! the groups are large (m n > 2,500):
//!   z = (max(U, m n − U) − m n / 2 − ½) / σ,   σ² = m n / 12 · (N + 1 − Σ (t³ − t) / (N (N − 1)))
//! over the sizes t of the groups of equal values, N = m + n.

use super::mid_ranks;
use statrs::distribution::{ContinuousCDF, Normal};

/// Largest m n that is counted out: 2,500 places, fifty of them at a time.
const EXACT_UP_TO: usize = 2500;

/// How a p-value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Counted out: there are no ties.
    Exact,
    /// The normal approximation, corrected for ties and continuity.
    Normal,
}

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// U of the first group: the pairs in which its value is the larger one, ties counting half.
    pub u: f64,
    /// The two-sided p-value.
    pub p: f64,
    /// How `p` was found.
    pub method: Method,
}

/// Tests `x` against `y`. Values may be infinite. `None` if a group is empty or holds a NaN; groups in
/// which every value equals every other have p = 1.
///
/// ```
/// use experiments::stats::{Method, mann_whitney};
/// let test = mann_whitney(&[7.0, 8.0, 9.0], &[1.0, 2.0, 3.0]).unwrap();
/// assert_eq!((test.u, test.method), (9.0, Method::Exact));
/// assert!((test.p - 2.0 / 20.0).abs() < 1e-15);
/// ```
pub fn mann_whitney(x: &[f64], y: &[f64]) -> Option<MannWhitney> {
    let (m, n) = (x.len(), y.len());
    if m == 0 || n == 0 {
        return None;
    }
    let (ranks, groups) = mid_ranks(&[x, y].concat())?;
    let pairs = (m * n) as f64;
    let u = ranks[..m].iter().sum::<f64>() - (m * (m + 1)) as f64 / 2.0;
    let upper = u.max(pairs - u);
    let method = match groups.len() == m + n && m * n <= EXACT_UP_TO {
        true => Method::Exact,
        false => Method::Normal,
    };
    let tail = match method {
        Method::Exact => exact_tail(m, n, upper as usize),
        Method::Normal => normal_tail(m, n, &groups, upper),
    };
    Some(MannWhitney { u, p: (2.0 * tail).min(1.0), method })
}

/// P(U' ≥ u) without ties.
fn exact_tail(m: usize, n: usize, u: usize) -> f64 {
    // counts[j][v] = f(i, j, v) for the i at hand; only sums, so no digit is lost.
    let mut counts = vec![vec![0.0; m * n + 1]; n + 1];
    for row in &mut counts {
        row[0] = 1.0; // f(0, j, ·)
    }
    for _ in 1..=m {
        for j in 1..=n {
            let (before, after) = counts.split_at_mut(j);
            let (fewer, here) = (&before[j - 1], &mut after[0]);
            for v in (0..=m * n).rev() {
                here[v] = fewer[v] + if v >= j { here[v - j] } else { 0.0 };
            }
        }
    }
    let all = &counts[n];
    all[u..].iter().sum::<f64>() / all.iter().sum::<f64>()
}

fn normal_tail(m: usize, n: usize, groups: &[usize], u: f64) -> f64 {
    let [m, n] = [m, n].map(|count| count as f64);
    let total = m + n;
    let ties: f64 = groups.iter().map(|&t| (t as f64).powi(3) - t as f64).sum();
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0; // every value equals every other
    }
    let z = (u - m * n / 2.0 - 0.5) / variance.sqrt();
    Normal::standard().sf(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rs_wilcox_test_comes_out() {
        // Hollander & Wolfe (1973), 69f: permeability constants of the human chorioamnion. R prints
        // W = 35, p = 0.1272 one-sided (greater), and the exact test is symmetric.
        let x = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let y = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = mann_whitney(&x, &y).unwrap();
        assert_eq!((test.u, test.method), (35.0, Method::Exact));
        assert!((test.p - 2.0 * 0.1272).abs() < 1e-4, "{}", test.p);
        let other = mann_whitney(&y, &x).unwrap();
        assert_eq!((other.u, other.p), (15.0, test.p));
    }

    #[test]
    fn the_smallest_p_of_ten_against_ten_is_two_of_all_choices() {
        let x: Vec<f64> = (0..10).map(f64::from).collect();
        let y: Vec<f64> = (10..20).map(f64::from).collect();
        let test = mann_whitney(&x, &y).unwrap();
        assert_eq!(test.u, 0.0);
        assert!((test.p * 184_756.0 - 2.0).abs() < 1e-9, "C(20, 10) = 184,756: {}", test.p);
    }

    #[test]
    fn fifty_against_fifty_is_counted_and_agrees_with_the_approximation_used_beyond() {
        let line = |n: usize, shift: f64| (0..n).map(|i| i as f64 + shift).collect::<Vec<_>>();
        let exact = mann_whitney(&line(50, 0.0), &line(50, 6.5)).unwrap();
        assert_eq!(exact.method, Method::Exact);
        let near = 2.0 * normal_tail(50, 50, &[1; 100], 2500.0 - exact.u);
        assert!((exact.p / near - 1.0).abs() < 0.05, "{} {near}", exact.p);
        let beyond = mann_whitney(&line(51, 0.0), &line(50, 10.5)).unwrap();
        assert_eq!(beyond.method, Method::Normal);
    }

    #[test]
    fn edges_are_defined() {
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[1.0], &[]), None);
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0]), None);
        let one = mann_whitney(&[1.0], &[2.0]).unwrap();
        assert_eq!((one.u, one.p, one.method), (0.0, 1.0, Method::Exact));
        let constant = mann_whitney(&[5.0; 4], &[5.0; 3]).unwrap();
        assert_eq!((constant.u, constant.p, constant.method), (6.0, 1.0, Method::Normal));
        // A run that never groks is later than all others, and as late as another such.
        let never = mann_whitney(&[f64::INFINITY, f64::INFINITY], &[1.0, 2.0]).unwrap();
        assert_eq!((never.u, never.method), (4.0, Method::Normal));
    }
}
