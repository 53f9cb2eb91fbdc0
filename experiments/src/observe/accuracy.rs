//! How many predicted sequences are right, overall and by what they ask.
//!
//! ```text
//! exact             the prediction is the whole target
//! exact/even, odd   of even and of odd n
//! exact/carries=c   of n with so many carries (tasks/collatz.rs; even n have 0)
//! exact/output=2^k  of answers from 2^k to 2^(k+1) − 1; output=0 of the answer 0
//! exact/output=g    of a greatest common divisor, of that value alone, as Int2Int counts
//! digit             of all digits of all targets, those that stand in the prediction at the same place,
//!                   counted from the first token; what the prediction has beyond its target counts
//!                   in `exact` only
//! ```
//!
//! A group without a member is left out. [`dump`] writes what the figures are made of, and
//! `tests/audit/accuracy.py` makes them again from it.

use crate::config::TaskConfig;
use crate::stats::Share;
use crate::tasks::sequences::Sequences;
use crate::tasks::{collatz, gcd};
use models::Packed;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One figure: its name in the list above, and its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What is counted.
    pub name: String,
    /// How many of how many.
    pub share: Share,
}

/// What a decoder said before its first EOS, or all of it.
pub fn until_end(decoded: &[u32], eos: u32) -> &[u32] {
    decoded.split(|&token| token == eos).next().unwrap_or(decoded)
}

/// Every figure of these predictions, row i of which is for row `rows[i]` of the table.
///
/// # Panics
/// If there are not as many predictions as rows, or the task is one of pairs.
pub fn accuracy(
    config: &TaskConfig,
    table: &Sequences,
    rows: &[u32],
    predictions: &Packed,
) -> Vec<Figure> {
    assert_eq!(predictions.len(), rows.len(), "a prediction a row");
    // By rank, which puts them in order, and name.
    let mut figures = BTreeMap::<(usize, u64, String), Share>::new();
    for (&row, prediction) in rows.iter().zip(predictions.iter()) {
        let target = table.target.row(row);
        let exact = prediction == target;
        for group in groups(config, table, row) {
            figures.entry(group).or_default().count(exact);
        }
        let digits = figures.entry((2, 0, "digit".to_string())).or_default();
        for (i, digit) in target.iter().enumerate() {
            digits.count(prediction.get(i) == Some(digit));
        }
    }
    figures.into_iter().map(|((_, _, name), share)| Figure { name, share }).collect()
}

/// The groups that a row is in.
fn groups(config: &TaskConfig, table: &Sequences, row: u32) -> Vec<(usize, u64, String)> {
    let answer = table.numerals.read(table.target.row(row)).expect("a target is a number");
    let mut groups = vec![(0, 0, "exact".to_string())];
    match config {
        TaskConfig::Collatz(c) => {
            let n = collatz::number(row as usize);
            let parity = if n.is_multiple_of(2) { "even" } else { "odd" };
            groups.push((1, n % 2, format!("exact/{parity}")));
            let carries = collatz::carries(c.op, c.iterations, c.base, n);
            groups.push((3, carries as u64, format!("exact/carries={carries}")));
            groups.push(match answer.checked_ilog2() {
                Some(k) => (4, u64::from(k) + 1, format!("exact/output=2^{k}")),
                None => (4, 0, "exact/output=0".to_string()),
            });
        }
        TaskConfig::Gcd(_) => groups.push((4, answer, format!("exact/output={answer}"))),
        TaskConfig::Modular(_) | TaskConfig::Permutation(_) => panic!("this task has pairs"),
    }
    groups
}

/// The figures as CSV: name, hits, of, and the ends of the 95 % Clopper–Pearson interval.
pub fn figures_csv(figures: &[Figure]) -> String {
    let mut text = "name,hits,of,lo,hi\n".to_string();
    for Figure { name, share } in figures {
        let [lo, hi] = share.interval().expect("a figure has members");
        writeln!(text, "{name},{},{},{lo},{hi}", share.hits, share.of).expect("a string");
    }
    text
}

/// The predictions as CSV: n (a and b for a greatest common divisor), source, target, prediction; tokens
/// are their numbers, with a blank between.
///
/// # Panics
/// As [`accuracy`].
pub fn dump(config: &TaskConfig, table: &Sequences, rows: &[u32], predictions: &Packed) -> String {
    assert_eq!(predictions.len(), rows.len(), "a prediction a row");
    let mut text = "n,source,target,prediction\n".to_string();
    for (&row, prediction) in rows.iter().zip(predictions.iter()) {
        let n = match config {
            TaskConfig::Collatz(_) => words(&[collatz::number(row as usize)]),
            TaskConfig::Gcd(c) => words(&gcd::pair(c, row as usize)),
            TaskConfig::Modular(_) | TaskConfig::Permutation(_) => panic!("this task has pairs"),
        };
        let [source, target] = [&table.source, &table.target].map(|packed| words(packed.row(row)));
        writeln!(text, "{n},{source},{target},{}", words(prediction)).expect("a string");
    }
    text
}

fn words<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sequence::{
        CollatzConfig, CollatzOp, DigitOrder, GcdConfig, Sampler, TrainSet,
    };

    fn share(hits: usize, of: usize) -> Share {
        Share { hits, of }
    }

    #[test]
    fn five_predictions_are_counted_as_by_hand() {
        let order = DigitOrder::MostSignificant;
        let (test, train, sampler) = (1, TrainSet::Online, Sampler::Uniform);
        let (op, iterations, max, base) = (CollatzOp::ThreePlus, 1, 30, 8);
        let config = TaskConfig::Collatz(CollatzConfig {
            op,
            iterations,
            max,
            base,
            source_base: None,
            order,
            test,
            train,
            sampler,
            renew: None,
        });
        let table = Sequences::new(&config);
        // n = 1 → 4, no carry; 27 → 122₈, 2 carries; 9 → 34₈, 0; 2 → 1; 26 → 15₈
        let rows = [0, 26, 8, 1, 25];
        let eos = table.numerals.eos();
        let said = [&[4, eos, 4][..], &[1, 2, 3, eos], &[3, eos], &[1, 0], &[1, 5, eos]];
        let predictions: Packed = said.iter().map(|said| until_end(said, eos)).collect();
        let figures = accuracy(&config, &table, &rows, &predictions);
        let found: Vec<_> = figures.iter().map(|f| (f.name.as_str(), f.share)).collect();
        let expected = [
            ("exact", share(2, 5)),
            ("exact/even", share(1, 2)),
            ("exact/odd", share(1, 3)),
            ("digit", share(7, 9)), // 1 + 2 of 3 + 1 of 2 + 1 + 2
            ("exact/carries=0", share(2, 4)),
            ("exact/carries=2", share(0, 1)),
            ("exact/output=2^0", share(0, 1)), // 1
            ("exact/output=2^2", share(1, 1)), // 4
            ("exact/output=2^3", share(1, 1)), // 13
            ("exact/output=2^4", share(0, 1)), // 28
            ("exact/output=2^6", share(0, 1)), // 82
        ];
        assert_eq!(found, expected);
        let text = dump(&config, &table, &rows, &predictions);
        assert_eq!(text.lines().nth(2), Some("27,3 3,1 2 2,1 2 3"));
        let text = figures_csv(&figures);
        assert_eq!(text.lines().nth(6).unwrap(), "exact/carries=2,0,1,0,0.975");
    }

    #[test]
    fn divisors_are_counted_by_their_value() {
        let (order, train) = (DigitOrder::MostSignificant, TrainSet::Online);
        let config = TaskConfig::Gcd(GcdConfig { max: 12, base: 8, order, test: 1, train });
        let table = Sequences::new(&config);
        let row = |a: u32, b: u32| (a - 1) * 12 + b - 1;
        let rows = [row(12, 8), row(4, 8), row(9, 6), row(5, 7)];
        let said = [&[4][..], &[8], &[3], &[]];
        let predictions: Packed = said.into_iter().collect();
        let figures = accuracy(&config, &table, &rows, &predictions);
        let found: Vec<_> = figures.iter().map(|f| (f.name.as_str(), f.share)).collect();
        let expected = [
            ("exact", share(2, 4)),
            ("digit", share(2, 4)),
            ("exact/output=1", share(0, 1)),
            ("exact/output=3", share(1, 1)),
            ("exact/output=4", share(1, 2)),
        ];
        assert_eq!(found, expected);
        let text = dump(&config, &table, &rows, &predictions);
        assert_eq!(text.lines().nth(1), Some("12 8,1 4 9 1 0,4,4"));
        assert_eq!(text.lines().nth(4), Some("5 7,5 9 7,1,"));
    }
}
