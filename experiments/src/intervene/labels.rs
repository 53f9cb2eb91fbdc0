//! No rule to find: the answers of all pairs are permuted by a seeded shuffle (stream "labels").
//!
//! Each answer stays as frequent as it was; which pair it belongs to, and so whether a training pair
//! says anything of a test pair, is chance.

use crate::seed::{Seed, shuffle};
use crate::tasks::Task;

/// Permutes the answers of a task.
pub fn permute(task: &mut Task, seed: Seed) {
    shuffle(&mut seed.stream("labels", 0), &mut task.labels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModularOp;
    use crate::tasks::modular;

    #[test]
    fn shuffled_labels_keep_their_histogram_and_nothing_else() {
        let rule = modular::task(ModularOp::Mul, 31);
        let permuted = |seed| {
            let mut task = rule.clone();
            permute(&mut task, Seed(seed));
            task
        };
        let (one, other) = (permuted(0), permuted(1));
        let histogram = |task: &Task| {
            let mut counts = vec![0; task.classes];
            task.labels.iter().for_each(|&label| counts[label as usize] += 1);
            counts
        };
        assert_eq!(histogram(&one), histogram(&rule));
        assert_eq!(one, permuted(0));
        assert_ne!(one.labels, other.labels);
        assert_eq!(one.pairs, rule.pairs);
        // By chance one pair in 31 keeps its answer, and those with a zero more often.
        let kept = one.labels.iter().zip(&rule.labels).filter(|(a, b)| a == b).count();
        assert!(kept < rule.labels.len() / 15, "{kept} of {}", rule.labels.len());
    }
}
