//! The statistics agree with scipy: `tests/golden/stats.json`, made by `tests/golden/make_stats.py`; the probes
//! with scikit-learn: `probe.json`, made by `make_probe.py`.

use experiments::forecast::power_law::PowerLaw;
use experiments::observe::probe::Probe;
use experiments::seed::Seed;
use experiments::stats::{
    Bootstrap, Estimate, Method, clopper_pearson, kendall, mann_whitney, mean, median, pearson,
    quantile, spearman, variance,
};
use serde_json::Value;

/// The rows of one part of the file.
fn golden(part: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/stats.json");
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let rows = all[part].as_array().unwrap().clone();
    assert!(!rows.is_empty());
    rows
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

fn numbers(row: &Value, key: &str) -> Vec<f64> {
    row[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Within a relative difference.
#[track_caller]
fn close(found: f64, golden: f64, tolerance: f64) {
    let off = (found - golden).abs() / golden.abs().max(f64::MIN_POSITIVE);
    assert!(found == golden || off <= tolerance, "{found} instead of {golden}: off by {off:e}");
}

#[test]
fn mann_whitney_is_scipys_exact_and_approximate() {
    for row in golden("mann_whitney") {
        let test = mann_whitney(&numbers(&row, "x"), &numbers(&row, "y")).unwrap();
        assert_eq!(test.u, number(&row, "u"));
        assert_eq!(test.method == Method::Exact, row["exact"].as_bool().unwrap(), "{row}");
        // The tail of statrs' normal distribution has ten digits.
        let digits = if test.method == Method::Exact { 1e-12 } else { 1e-9 };
        close(test.p, number(&row, "p"), digits);
    }
}

#[test]
fn correlations_are_scipys() {
    for row in golden("correlation") {
        let (x, y) = (numbers(&row, "x"), numbers(&row, "y"));
        // Columns around 1e9 leave seven digits of the spread.
        let digits = if x[0] > 1e8 { 1e-6 } else { 1e-12 };
        close(pearson(&x, &y).unwrap(), number(&row, "pearson"), digits);
        close(spearman(&x, &y).unwrap(), number(&row, "spearman"), 1e-12);
        close(kendall(&x, &y).unwrap(), number(&row, "kendall"), 1e-12);
    }
}

#[test]
fn clopper_pearson_is_scipys() {
    for row in golden("clopper_pearson") {
        let [k, n] = ["k", "n"].map(|key| row[key].as_u64().unwrap() as usize);
        let [lo, hi] = clopper_pearson(k, n, number(&row, "level")).unwrap();
        // Of 100,000 the beta distribution of statrs has eight digits.
        let digits = if n <= 1000 { 1e-9 } else { 1e-7 };
        close(lo, number(&row, "lo"), digits);
        close(hi, number(&row, "hi"), digits);
    }
}

#[test]
fn quantiles_are_numpys() {
    for row in golden("quantile") {
        let found = quantile(&numbers(&row, "x"), number(&row, "q")).unwrap();
        close(found, number(&row, "value"), 1e-12);
    }
}

#[test]
fn bootstrap_intervals_are_scipys_up_to_their_own_spread() {
    // Other random numbers: with 20,000 resamples an end at 5 % is off by .02 to .06 standard errors.
    for row in golden("bootstrap") {
        let x = numbers(&row, "x");
        let bootstrap =
            Bootstrap { resamples: 20_000, level: number(&row, "level"), seed: Seed(3) };
        let statistic = match row["statistic"].as_str().unwrap() {
            "mean" => mean,
            "median" => median,
            _ => variance,
        };
        let found: Option<Estimate> = match row["method"].as_str().unwrap() {
            "BCa" => bootstrap.bca(&x, statistic),
            _ => bootstrap.percentile(&x, statistic),
        };
        let [lo, hi] = found.unwrap().interval.unwrap();
        let error = number(&row, "error");
        for (end, golden) in [(lo, number(&row, "lo")), (hi, number(&row, "hi"))] {
            assert!(
                (end - golden).abs() < 0.12 * error,
                "{end} instead of {golden} ± {error}: {row}"
            );
        }
    }
}

#[test]
fn the_power_law_is_the_least_squares_of_scipy() {
    for row in golden("power_law") {
        // z* is taken out of the readings, so any other must give the same law.
        for star in [0.0, 0.609] {
            let points: Vec<(f64, f64)> = numbers(&row, "gap")
                .iter()
                .map(|gap| gap + star)
                .zip(numbers(&row, "remaining"))
                .collect();
            let law = PowerLaw::fit(&points, star).unwrap();
            let squares: f64 =
                points.iter().map(|&(z, left)| (law.remaining(z) - left).powi(2)).sum();
            close(squares, number(&row, "squares"), 1e-9);
            close(law.gamma, number(&row, "gamma"), 1e-5);
            close(law.c1, number(&row, "c1"), 1e-4);
            assert!((law.c2 - number(&row, "c2")).abs() < 0.1, "{law:?}");
        }
    }
}

#[test]
fn probes_are_scikit_learns_logistic_regression() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/probe.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.as_array().unwrap().len(), 5);
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let [dim, train] = ["dim", "train"].map(|key| case[key].as_u64().unwrap() as usize);
        let x: Vec<f32> = numbers(case, "x").iter().map(|&x| x as f32).collect();
        let whole = |key| numbers(case, key).iter().map(|&y| y as u32).collect::<Vec<_>>();
        let y = whole("y");
        let probe = Probe::fit(&x[..train * dim], dim, &y[..train]).unwrap();
        let (weights, intercepts) = probe.coefficients();
        for (found, key) in [(weights, "coefficients"), (intercepts, "intercepts")] {
            let golden = numbers(case, key);
            assert_eq!(found.len(), golden.len(), "{name}: {key}");
            for (i, (found, golden)) in found.iter().zip(&golden).enumerate() {
                assert!((found - golden).abs() < 1e-5, "{name}: {key} {i}: {found}, not {golden}");
            }
        }
        let predicted = x[train * dim..].chunks(dim).map(|row| probe.predict(row).unwrap());
        assert_eq!(predicted.collect::<Vec<_>>(), whole("predicted"), "{name}");
    }
}
