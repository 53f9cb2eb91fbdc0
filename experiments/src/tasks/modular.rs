//! Arithmetic modulo p.
//!
//! ```text
//! add         a + b      mod p       p² pairs
//! sub         a - b      mod p       p² pairs
//! mul         a b        mod p       p² pairs
//! div         a b⁻¹      mod p       p (p - 1) pairs: b ≠ 0; p prime; b⁻¹ = b^(p-2) (Fermat)
//! square_sum  a² + b²    mod p       p² pairs
//! ```
//!
//! Symbols and classes are 0..p; pairs are in the order (0, 0), (0, 1), …, (p-1, p-1).

use super::Task;
use crate::config::ModularOp;

/// The table of `op` modulo `p`; p must be prime for division.
pub fn task(op: ModularOp, p: usize) -> Task {
    let p = p as u64;
    let inverse: Vec<u64> = match op {
        ModularOp::Div => (0..p).map(|b| power(b, p - 2, p)).collect(),
        _ => Vec::new(),
    };
    let answer = |a: u64, b: u64| match op {
        ModularOp::Add => (a + b) % p,
        ModularOp::Sub => (a + p - b) % p,
        ModularOp::Mul => (a * b) % p,
        ModularOp::Div => (a * inverse[b as usize]) % p,
        ModularOp::SquareSum => (a * a + b * b) % p,
    };
    let first_b = if op == ModularOp::Div { 1 } else { 0 };
    let pairs: Vec<[u32; 2]> =
        (0..p as u32).flat_map(|a| (first_b..p as u32).map(move |b| [a, b])).collect();
    let labels = pairs.iter().map(|&[a, b]| answer(a as u64, b as u64) as u32).collect();
    Task { symbols: p as usize, classes: p as usize, pairs, labels }
}

/// base^exponent mod p, by repeated squaring.
fn power(mut base: u64, mut exponent: u64, p: u64) -> u64 {
    let mut result = 1 % p;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % p;
        }
        base = base * base % p;
        exponent >>= 1;
    }
    result
}

/// Whether p is prime, by trial division.
pub fn is_prime(p: usize) -> bool {
    p >= 2 && (2..).take_while(|d| d * d <= p).all(|d| !p.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(t: &Task, a: u32, b: u32) -> u32 {
        t.labels[t.pairs.iter().position(|&x| x == [a, b]).unwrap()]
    }

    #[test]
    fn there_are_p_squared_pairs_and_p_less_for_division() {
        for op in [ModularOp::Add, ModularOp::Sub, ModularOp::Mul, ModularOp::SquareSum] {
            assert_eq!(task(op, 97).pairs.len(), 9409);
        }
        let div = task(ModularOp::Div, 97);
        assert_eq!(div.pairs.len(), 97 * 96);
        assert!(div.pairs.iter().all(|[_, b]| *b != 0));
    }

    #[test]
    fn worked_examples_hold() {
        assert_eq!(label(&task(ModularOp::Add, 97), 90, 10), 3);
        assert_eq!(label(&task(ModularOp::Sub, 97), 3, 10), 90);
        assert_eq!(label(&task(ModularOp::Mul, 97), 50, 2), 3);
        assert_eq!(label(&task(ModularOp::Div, 97), 3, 2), 50);
        assert_eq!(label(&task(ModularOp::SquareSum, 97), 9, 5), 9);
    }

    #[test]
    fn division_undoes_multiplication_and_subtraction_addition() {
        for p in [2, 3, 13, 31] {
            let div = task(ModularOp::Div, p);
            for (&[a, b], &q) in div.pairs.iter().zip(&div.labels) {
                assert_eq!(q as usize * b as usize % p, a as usize, "{a} / {b} mod {p}");
            }
            let sub = task(ModularOp::Sub, p);
            for (&[a, b], &d) in sub.pairs.iter().zip(&sub.labels) {
                assert_eq!((d + b) as usize % p, a as usize, "{a} - {b} mod {p}");
            }
        }
    }

    #[test]
    fn each_row_of_a_group_operation_is_a_permutation() {
        for op in [ModularOp::Add, ModularOp::Sub] {
            let t = task(op, 12);
            for row in t.labels.chunks(12) {
                let mut seen = row.to_vec();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..12));
            }
        }
    }

    #[test]
    fn primes_below_thirty_are_known() {
        let primes: Vec<usize> = (0..30).filter(|&n| is_prime(n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    }
}
