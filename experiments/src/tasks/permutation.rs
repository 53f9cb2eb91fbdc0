//! Composition in the symmetric group S_n.
//!
//! ```text
//! (a ∘ b)(i) = a[b[i]]       b acts first; (n!)² pairs
//! ```
//!
//! A permutation is the list of its values, and its symbol is its place in the lexicographic order
//! of these lists: symbol 0 is the identity, symbol n! - 1 the reversal.

use super::Task;

/// The composition table of S_n, for n ≤ 6: n! symbols and classes, pairs with a slowest.
pub fn task(n: usize) -> Task {
    let all = permutations(n);
    let count = all.len();
    let mut pairs = Vec::with_capacity(count * count);
    let mut labels = Vec::with_capacity(count * count);
    let mut composed = vec![0; n];
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            for k in 0..n {
                composed[k] = a[b[k]];
            }
            pairs.push([i as u32, j as u32]);
            labels.push(rank(&composed) as u32);
        }
    }
    Task { symbols: count, classes: count, pairs, labels }
}

/// Every permutation of 0..n in lexicographic order: (n!, n).
pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let mut all = Vec::with_capacity(n * shorter.len());
    for first in 0..n {
        // The rest, in order, is a permutation of the values other than `first`.
        for rest in &shorter {
            let skip = |&v: &usize| if v < first { v } else { v + 1 };
            all.push(std::iter::once(first).chain(rest.iter().map(skip)).collect());
        }
    }
    all
}

/// The place of a permutation in the lexicographic order: the number of smaller values to its right,
/// read as digits in the factorial base.
fn rank(a: &[usize]) -> usize {
    let mut rank = 0;
    for i in 0..a.len() {
        let smaller = a[i + 1..].iter().filter(|&&v| v < a[i]).count();
        rank = rank * (a.len() - i) + smaller;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_come_in_lexicographic_order() {
        let three =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(|p| p.to_vec());
        assert_eq!(permutations(3), three);
        assert!(permutations(5).is_sorted());
        assert!(permutations(5).iter().enumerate().all(|(i, p)| rank(p) == i));
    }

    #[test]
    fn b_acts_first() {
        // a = [1, 2, 0] (symbol 3), b = [0, 2, 1] (symbol 1): a[b] = [1, 0, 2], symbol 2.
        let t = task(3);
        assert_eq!(t.labels[3 * 6 + 1], 2);
        // The other order: b[a] = [2, 1, 0], symbol 5.
        assert_eq!(t.labels[6 + 3], 5);
    }

    #[test]
    fn s5_is_a_group_of_120_elements() {
        let t = task(5);
        assert_eq!((t.symbols, t.classes, t.pairs.len()), (120, 120, 14_400));
        let mul = |a: usize, b: usize| t.labels[a * 120 + b] as usize;
        for a in 0..120 {
            assert_eq!((mul(0, a), mul(a, 0)), (a, a), "0 is the identity");
            let inverse = (0..120).find(|&b| mul(a, b) == 0).expect("every element has an inverse");
            assert_eq!(mul(inverse, a), 0);
            // Latin square: no answer twice in a row or in a column.
            let distinct =
                |row: Vec<usize>| row.into_iter().collect::<std::collections::HashSet<_>>();
            assert_eq!(distinct((0..120).map(|b| mul(a, b)).collect()).len(), 120);
            assert_eq!(distinct((0..120).map(|b| mul(b, a)).collect()).len(), 120);
        }
        for a in 0..120 {
            for b in 0..120 {
                for c in 0..120 {
                    assert_eq!(mul(mul(a, b), c), mul(a, mul(b, c)), "associativity");
                }
            }
        }
    }

    #[test]
    fn s5_has_the_known_number_of_elements_of_each_order() {
        // Cycle types of S5: orders 1 to 6 have 1, 25, 20, 30, 24, 20 elements.
        let t = task(5);
        let mut counts = [0; 6];
        for a in 0..120usize {
            let (mut power, mut order) = (a, 1);
            while power != 0 {
                power = t.labels[power * 120 + a] as usize;
                order += 1;
            }
            counts[order - 1] += 1;
        }
        assert_eq!(counts, [1, 25, 20, 30, 24, 20]);
    }
}
