//! Statistics over seeds. Every function here is pure, and what it is given decides every digit.
//!
//! The unit is the seed: ten runs are ten numbers, however many evaluations each of them has.
//!
//! ```text
//! mann_whitney      do two groups of seeds differ?        exact, or the normal approximation, and says which
//! cohens_d          by how many standard deviations?
//! Bootstrap         interval of any statistic             percentile or BCa, from streams of our own
//! clopper_pearson   interval of "28 of 30"
//! pearson, spearman, kendall                              do two columns go together?
//! leave_one_out     what the other seeds say of each
//! ```
//!
//! **No answer is `None`, never NaN.** It is what comes back where a statistic is not defined: too few
//! values, a constant where a spread is needed, a NaN among the values. Infinities are refused too,
//! except where only the order counts ([`mann_whitney`], [`spearman`], [`kendall`], [`quantile`]): a
//! run that never groks enters as `f64::INFINITY`, which is later than all that do.

mod bootstrap;
mod correlation;
mod mann_whitney;
mod proportion;

pub use bootstrap::{BOOTSTRAP, Bootstrap, Estimate};
pub use correlation::{kendall, pearson, spearman};
pub use mann_whitney::{MannWhitney, Method, mann_whitney};
pub use proportion::{Share, clopper_pearson};

/// The arithmetic mean; `None` of no values, or if one is not finite.
pub fn mean(x: &[f64]) -> Option<f64> {
    let all_finite = x.iter().all(|v| v.is_finite());
    (all_finite && !x.is_empty()).then(|| x.iter().sum::<f64>() / x.len() as f64)
}

/// The sample variance, Σ(x − x̄)² / (n − 1); `None` of fewer than two values.
pub fn variance(x: &[f64]) -> Option<f64> {
    let centre = mean(x).filter(|_| x.len() > 1)?;
    Some(x.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (x.len() - 1) as f64)
}

/// The q-quantile, 0 ≤ q ≤ 1, linear between the order statistics (numpy's default, R's type 7): the
/// value at place (n − 1) q of the sorted values. `None` of no values, with a NaN, or between an
/// infinity and another value.
pub fn quantile(x: &[f64], q: f64) -> Option<f64> {
    if x.is_empty() || x.iter().any(|v| v.is_nan()) || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (x.len() - 1) as f64 * q;
    let (below, share) = (place as usize, place.fract());
    let lo = sorted[below];
    if share == 0.0 || lo == sorted[below + 1] {
        return Some(lo);
    }
    Some(lo + share * (sorted[below + 1] - lo)).filter(|v| v.is_finite())
}

/// The middle value, or the mean of the two in the middle.
pub fn median(x: &[f64]) -> Option<f64> {
    quantile(x, 0.5)
}

/// Cohen's d with the pooled standard deviation s, positive where x is larger:
///   d = (x̄ − ȳ) / s,   s² = ((m − 1) s_x² + (n − 1) s_y²) / (m + n − 2)
/// `None` with fewer than two values on either side, or if both are constant.
pub fn cohens_d(x: &[f64], y: &[f64]) -> Option<f64> {
    let [m, n] = [x, y].map(|values| values.len() as f64);
    let pooled = ((m - 1.0) * variance(x)? + (n - 1.0) * variance(y)?) / (m + n - 2.0);
    (pooled > 0.0).then_some((mean(x)? - mean(y)?) / pooled.sqrt())
}

/// `f` of every item and all others, in order.
///
/// ```
/// use experiments::stats::leave_one_out;
/// let sums = leave_one_out(&[1, 2, 4], |_, others| others.iter().copied().sum::<i32>());
/// assert_eq!(sums, [6, 5, 3]);
/// ```
pub fn leave_one_out<T, R>(items: &[T], mut f: impl FnMut(&T, &[&T]) -> R) -> Vec<R> {
    let all = || items.iter().enumerate();
    all()
        .map(|(i, item)| {
            let others: Vec<&T> = all().filter(|&(j, _)| j != i).map(|(_, other)| other).collect();
            f(item, &others)
        })
        .collect()
}

/// Ranks from 1, ties sharing their mean rank, and the size of every group of equal values; `None`
/// with a NaN.
fn mid_ranks(x: &[f64]) -> Option<(Vec<f64>, Vec<usize>)> {
    if x.iter().any(|v| v.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].partial_cmp(&x[j]).expect("no NaN"));
    let mut ranks = vec![0.0; x.len()];
    let mut groups = Vec::new();
    let mut before = 0;
    for group in order.chunk_by(|&i, &j| x[i] == x[j]) {
        for &i in group {
            ranks[i] = before as f64 + (group.len() + 1) as f64 / 2.0;
        }
        before += group.len();
        groups.push(group.len());
    }
    Some((ranks, groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    #[test]
    fn what_is_not_defined_is_none() {
        for x in [&[][..], &[NAN], &[1.0, NAN], &[1.0, INF]] {
            assert_eq!((mean(x), variance(x)), (None, None), "{x:?}");
        }
        assert_eq!(
            (mean(&[3.0]), variance(&[3.0]), variance(&[3.0, 3.0])),
            (Some(3.0), None, Some(0.0))
        );
        assert_eq!(
            (quantile(&[], 0.5), quantile(&[NAN], 0.5), quantile(&[1.0], 1.5)),
            (None, None, None)
        );
        assert_eq!(cohens_d(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(cohens_d(&[], &[]), None);
        assert_eq!(cohens_d(&[1.0, 1.0], &[2.0, 2.0]), None, "no spread to measure by");
        assert_eq!(cohens_d(&[1.0, NAN], &[2.0, 3.0]), None);
        assert_eq!(leave_one_out(&[7], |_, others| others.len()), [0]);
    }

    #[test]
    fn the_median_of_times_bears_a_run_that_never_groks() {
        assert_eq!(median(&[INF, 2.0, 1.0]), Some(2.0));
        assert_eq!(median(&[INF, 1.0]), None);
        assert_eq!(median(&[INF, INF]), Some(INF));
        assert_eq!(quantile(&[4.0], 0.9), Some(4.0));
    }

    #[test]
    fn d_counts_standard_deviations() {
        assert_eq!(cohens_d(&[3.0, 4.0, 5.0], &[1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(cohens_d(&[1.0, 1.0], &[0.0, 4.0]), Some(-0.5));
    }

    #[test]
    fn tied_values_share_their_mean_rank() {
        let (ranks, groups) = mid_ranks(&[2.0, INF, 1.0, 2.0, INF, 2.0]).unwrap();
        assert_eq!(ranks, [3.0, 5.5, 1.0, 3.0, 5.5, 3.0]);
        assert_eq!(groups, [1, 3, 2]);
        assert_eq!(mid_ranks(&[0.0, -0.0]).unwrap().1, [2]);
    }
}
