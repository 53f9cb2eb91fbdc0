//! Collatz maps, one or more steps at a time.
//!
//! ```text
//! T(n) = n/2      n even
//!        m n + e  n odd        3n+1, 5n+1, 7n+1, 3n−1;  |1 − n| = n − 1, that is m = 1, e = −1
//! source   digits of n         row n − 1
//! target   digits of T applied `iterations` times
//! ```
//!
//! **Carries.** For odd n with the digits d₀, d₁, …, least significant first and 0 above the highest, the
//! sum m n + e is made digit by digit:
//!
//! ```text
//! c₀ = e,   s_i = m d_i + c_i,   digit i of the result is s_i mod b,   c_{i+1} = ⌊s_i / b⌋
//! ```
//!
//! The carries are c₁, c₂, …; those of n are counted where they are not zero. The one out of n's highest
//! digit counts, too. (With e = −1 a carry can be −1, a borrow.) Halving carries nothing, so an even n
//! has 0. Over several steps the counts are added up.
//!
//! This is our reading of the paper's carries. By it .400 of all odd n to 10,000 have at most two in base
//! 8, about the odd accuracy that the paper prints for the sampler that shows only those (.383); without
//! the one out of the highest digit it would be .528. That an even n counts as 0 fits its carry-stratified
//! sampler: even numbers are then seldom drawn, and they get .269.

use super::sequences::Sequences;
use crate::config::sequence::{CollatzConfig, CollatzOp};

/// Every n from 1 to max with its answer.
pub fn sequences(config: &CollatzConfig) -> Sequences {
    let [of_n, numerals] = config.numerals();
    let mut all = Sequences::empty(numerals);
    for n in (0..config.max).map(number) {
        let answer = answer(config.op, config.iterations, n).expect("64 bits were checked");
        all.source.push(|to| of_n.write(n, to));
        all.target.push(|to| numerals.write(answer, to));
    }
    all
}

/// The n of a row.
pub fn number(row: usize) -> u64 {
    row as u64 + 1
}

/// T applied so many times; None past 64 bits.
pub fn answer(op: CollatzOp, iterations: u32, n: u64) -> Option<u64> {
    (0..iterations).try_fold(n, |n, _| step(op, n))
}

/// The largest answer; None past 64 bits.
pub fn largest(config: &CollatzConfig) -> Option<u64> {
    let answer = |n| answer(config.op, config.iterations, n);
    (1..=config.max as u64).try_fold(0, |largest, n| Some(answer(n)?.max(largest)))
}

/// T(n); None past 64 bits.
fn step(op: CollatzOp, n: u64) -> Option<u64> {
    let (m, e) = odd(op);
    match n.is_multiple_of(2) {
        true => Some(n / 2),
        false => n.checked_mul(m)?.checked_add_signed(e),
    }
}

/// m and e of the odd branch.
fn odd(op: CollatzOp) -> (u64, i64) {
    match op {
        CollatzOp::ThreePlus => (3, 1),
        CollatzOp::FivePlus => (5, 1),
        CollatzOp::SevenPlus => (7, 1),
        CollatzOp::OneMinus => (1, -1),
        CollatzOp::ThreeMinus => (3, -1),
    }
}

/// How many carries are not zero, over all steps from n.
///
/// ```
/// use experiments::config::sequence::CollatzOp::ThreePlus;
/// use experiments::tasks::collatz::carries;
/// // 21 = 25₈: 3·5 + 1 = 16 writes 0 and carries 2, 3·2 + 2 = 8 writes 0 and carries 1: 64 = 100₈.
/// assert_eq!(carries(ThreePlus, 1, 8, 21), 2);
/// // 9 = 11₈: 3·1 + 1 = 4, 3·1 = 3: 28 = 34₈.
/// assert_eq!(carries(ThreePlus, 1, 8, 9), 0);
/// ```
pub fn carries(op: CollatzOp, iterations: u32, base: u32, n: u64) -> usize {
    let mut n = Some(n);
    let mut count = 0;
    for _ in 0..iterations {
        let Some(here) = n else { break };
        count += carried(op, base, here).filter(|&carry| carry != 0).count();
        n = step(op, here);
    }
    count
}

/// c₁, c₂, … of one step from n, until digits and carry are used up; none if n is even.
fn carried(op: CollatzOp, base: u32, n: u64) -> impl Iterator<Item = i64> {
    let (m, e) = odd(op);
    let base = i64::from(base);
    let (mut rest, mut carry) = if n.is_multiple_of(2) { (0, 0) } else { (n, e) };
    std::iter::from_fn(move || {
        (rest > 0 || carry != 0).then(|| {
            let digit = (rest % base as u64) as i64;
            rest /= base as u64;
            carry = (m as i64 * digit + carry).div_euclid(base);
            carry
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sequence::{DigitOrder, Sampler, TrainSet};
    use crate::tasks::sequences::Numerals;
    use CollatzOp::{FivePlus, OneMinus, SevenPlus, ThreeMinus, ThreePlus};

    const OPS: [CollatzOp; 5] = [ThreePlus, FivePlus, SevenPlus, OneMinus, ThreeMinus];

    fn config(op: CollatzOp, iterations: u32, base: u32, order: DigitOrder) -> CollatzConfig {
        let (test, train, sampler) = (10, TrainSet::Online, Sampler::Uniform);
        CollatzConfig {
            op,
            iterations,
            max: 10_000,
            base,
            source_base: None,
            order,
            test,
            train,
            sampler,
            renew: None,
        }
    }

    #[test]
    fn twenty_seven_takes_its_famous_way() {
        // 111 steps to 1, by way of 9232 (OEIS A008884).
        let way: Vec<u64> = (0..=111).map(|k| answer(ThreePlus, k, 27).unwrap()).collect();
        assert_eq!(way[..5], [27, 82, 41, 124, 62]);
        assert_eq!(way.iter().max(), Some(&9232));
        assert_eq!(way.iter().position(|&n| n == 1), Some(111));
        // 13 is on a cycle of 5n + 1, 17 on one of 3n − 1.
        assert_eq!(answer(FivePlus, 10, 13), Some(13));
        assert_eq!(answer(ThreeMinus, 18, 17), Some(17));
        assert_eq!(answer(OneMinus, 1, 1), Some(0));
        assert_eq!(answer(SevenPlus, 1, 3), Some(22));
        assert_eq!(answer(ThreePlus, 64, u64::MAX), None);
    }

    #[test]
    fn a_row_holds_the_digits_of_n_and_of_its_answer() {
        let octal = sequences(&config(ThreePlus, 1, 8, DigitOrder::MostSignificant));
        assert_eq!(octal.rows(), 10_000);
        assert_eq!((octal.source.row(26), octal.target.row(26)), (&[3, 3][..], &[1, 2, 2][..]));
        assert_eq!(octal.target.row(9_999), [1, 1, 6, 1, 0]); // 5000
        assert_eq!((octal.source.longest(), octal.target.longest()), (5, 5));
        let turned = sequences(&config(ThreePlus, 1, 8, DigitOrder::LeastSignificant));
        let backwards = |row: &[u32]| row.iter().rev().copied().collect::<Vec<_>>();
        assert!(octal.target.iter().map(backwards).eq(turned.target.iter().map(<[u32]>::to_vec)));
        // T² of 27 is 41 = 51₈; of 1 by way of |1 − n|, 0.
        assert_eq!(
            sequences(&config(ThreePlus, 2, 8, DigitOrder::MostSignificant)).target.row(26),
            [5, 1]
        );
        assert_eq!(
            sequences(&config(OneMinus, 1, 2, DigitOrder::MostSignificant)).target.row(0),
            [0]
        );
    }

    #[test]
    fn n_may_be_written_in_another_base_than_its_answer() {
        let most_significant = DigitOrder::MostSignificant;
        for (base, source_base) in [(2, 24), (24, 2)] {
            let both = CollatzConfig {
                source_base: Some(source_base),
                ..config(ThreePlus, 1, base, most_significant)
            };
            let both = sequences(&both);
            let alone = |base| sequences(&config(ThreePlus, 1, base, most_significant));
            assert_eq!(both.source, alone(source_base).source);
            assert_eq!(both.target, alone(base).target);
            // One vocabulary, that of base 24, so its encoder can be taken.
            let tokens = |of: Numerals| (of.symbols(), of.pad(), of.bos(), of.eos());
            assert_eq!(tokens(both.numerals), tokens(alone(24).numerals));
            assert_eq!(both.numerals.read(both.target.row(26)), Some(82));
        }
    }

    #[test]
    fn carries_are_what_the_digit_sums_lack() {
        // A carry takes b from one place and gives 1 to the next, so with s the sum of digits
        //   s(m n + e) = m s(n) + e − (b − 1) Σ c_i
        for op in OPS {
            let (m, e) = odd(op);
            for base in [2, 3, 8, 24, 48] {
                let sum = |n: u64| {
                    let mut digits = Vec::new();
                    Numerals::new(base, DigitOrder::MostSignificant).write(n, &mut digits);
                    digits.iter().map(|&d| i64::from(d)).sum::<i64>()
                };
                for n in (1..3000).step_by(2) {
                    let carried: i64 = carried(op, base, n).sum();
                    let lacking = m as i64 * sum(n) + e - sum(step(op, n).unwrap());
                    assert_eq!(carried * i64::from(base - 1), lacking, "{op:?} {n} base {base}");
                }
            }
        }
    }

    #[test]
    fn two_carries_at_most_have_four_in_ten_odd_numbers() {
        // Counted in Python: of the 5,000 odd n up to 10,000 in base 8.
        let mut counts = [0; 5];
        (1..=10_000).step_by(2).for_each(|n| counts[carries(ThreePlus, 1, 8, n)] += 1);
        assert_eq!(counts, [81, 522, 1396, 1882, 1119]);
        assert_eq!(counts[..3].iter().sum::<usize>(), 1999);
    }

    #[test]
    fn carries_worked_by_hand_come_out() {
        for (op, iterations, base, n, expected) in [
            // 27 = 33₈: 3·3 + 1 = 10, carry 1, twice; the last is the 1 of 122₈.
            (ThreePlus, 1, 8, 27, 2),
            // 82 is even; then 41 = 51₈: 3·1 + 1 = 4, 3·5 = 15, carry 1.
            (ThreePlus, 2, 8, 27, 2),
            (ThreePlus, 3, 8, 27, 3),
            (ThreePlus, 1, 8, 26, 0),
            // 9 = 100₃: 3·0 − 1 = −1 writes 2 and borrows, twice; 3·1 − 1 = 2: 26 = 222₃.
            (ThreeMinus, 1, 3, 9, 2),
            // 9 − 1, 100₃ → 22₃ with two borrows; 11₈ → 10₈ with none.
            (OneMinus, 1, 3, 9, 2),
            (OneMinus, 1, 8, 9, 0),
        ] {
            assert_eq!(
                carries(op, iterations, base, n),
                expected,
                "{op:?}^{iterations}({n}) base {base}"
            );
        }
    }
}
