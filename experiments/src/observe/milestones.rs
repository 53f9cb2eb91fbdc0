//! The three steps that a grokking run is summarised by, found evaluation by evaluation:
//!   T_memorise = first evaluation with train accuracy ≥ .99
//!   T_collapse = first evaluation i with H̃(i − 4) − H̃(i) > .05
//!   T_grok     = first evaluation with test accuracy ≥ .99
//! T_grok and T_collapse are the definitions printed in arXiv:2604.13123 ("first evaluation with test
//! accuracy ≥ .99"; "H̃ has fallen by > .05 over a rolling window of 5 evaluations"). We read the fall
//! as that from the oldest to the newest of five consecutive evaluations. Read as the fall from the
//! window's *maximum* it fires at step 100–200 of every run, where H̃ dips while the model memorises
//! and comes back; that cannot be what gave the paper's mean lead of 1,020 steps. No reading of the
//! printed words is proof against a spike of the loss, which takes H̃ down with it for a moment: one
//! that meets an evaluation counts (default preset, seed 0: step 800, T_grok 9,600).
//! T_memorise is T_grok's threshold on the training pairs. The training loop and the report both
//! call this code.

/// Accuracy that counts as memorised (train) or grokked (test).
pub const ACCURACY: f64 = 0.99;
/// Fall of H̃ within the window that counts as a collapse.
pub const FALL: f64 = 0.05;
/// Evaluations in the rolling window, the current one included.
pub const WINDOW: usize = 5;

/// The milestones seen so far, in steps. To go on after a resume, feed the earlier evaluations again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Milestones {
    /// First evaluation with train accuracy ≥ [`ACCURACY`].
    pub t_memorise: Option<u64>,
    /// First evaluation with H̃ more than [`FALL`] below that of [`WINDOW`] − 1 evaluations before.
    pub t_collapse: Option<u64>,
    /// First evaluation with test accuracy ≥ [`ACCURACY`].
    pub t_grok: Option<u64>,
    /// The latest readings of H̃, oldest first; at most [`WINDOW`].
    recent: Vec<f64>,
}

impl Milestones {
    /// Takes in one evaluation. Call in ascending order of `step`. Accuracies are fractions;
    /// `entropy` is H̃ of the train probe (first hook, centred), `None` where it was not measured:
    /// such an evaluation takes no place in the window.
    pub fn observe(&mut self, step: u64, train_acc: f64, test_acc: f64, entropy: Option<f64>) {
        if train_acc >= ACCURACY {
            self.t_memorise.get_or_insert(step);
        }
        if test_acc >= ACCURACY {
            self.t_grok.get_or_insert(step);
        }
        if let Some(entropy) = entropy {
            if self.recent.len() == WINDOW {
                self.recent.remove(0);
            }
            self.recent.push(entropy);
            if self.recent.len() == WINDOW && self.recent[0] - entropy > FALL {
                self.t_collapse.get_or_insert(step);
            }
        }
    }

    /// Steps from memorising to grokking, T_grok − T_memorise.
    pub fn delay(&self) -> Option<i64> {
        Some(self.t_grok? as i64 - self.t_memorise? as i64)
    }

    /// Steps by which the collapse comes before grokking, T_grok − T_collapse; negative if it lags.
    pub fn lead(&self) -> Option<i64> {
        Some(self.t_grok? as i64 - self.t_collapse? as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropies(readings: &[f64]) -> Milestones {
        let mut seen = Milestones::default();
        for (i, &h) in readings.iter().enumerate() {
            seen.observe(100 * i as u64, 0.0, 0.0, Some(h));
        }
        seen
    }

    #[test]
    fn the_first_evaluation_at_the_threshold_counts_and_later_falls_do_not_undo_it() {
        let mut seen = Milestones::default();
        seen.observe(0, 0.01, 0.01, None);
        seen.observe(100, 0.9899, 0.02, None);
        seen.observe(200, 0.99, 0.03, None);
        seen.observe(300, 0.50, 0.9899, None);
        seen.observe(400, 1.00, 0.9900, None);
        seen.observe(500, 1.00, 0.10, None);
        assert_eq!((seen.t_memorise, seen.t_grok), (Some(200), Some(400)));
        assert_eq!((seen.delay(), seen.lead(), seen.t_collapse), (Some(200), None, None));
    }

    #[test]
    fn a_fall_of_more_than_five_hundredths_within_five_evaluations_is_a_collapse() {
        assert_eq!(entropies(&[0.80, 0.79, 0.78, 0.77, 0.74]).t_collapse, Some(400));
        assert_eq!(entropies(&[0.9, 0.80, 0.79, 0.78, 0.77, 0.74]).t_collapse, Some(400));
        assert_eq!(entropies(&[0.80, 0.79, 0.80, 0.78, 0.77, 0.73]).t_collapse, Some(500));
    }

    #[test]
    fn a_fall_of_exactly_the_threshold_is_not_a_collapse() {
        // Against 0 the difference is the threshold itself, without rounding.
        assert_eq!(entropies(&[0.05, 0.0, 0.0, 0.0, 0.0]).t_collapse, None);
    }

    #[test]
    fn the_same_fall_spread_over_six_evaluations_is_not_a_collapse() {
        // The window holds five readings, so it sees four of these five steps of .012: .048.
        assert_eq!(entropies(&[0.80, 0.788, 0.776, 0.764, 0.752, 0.740]).t_collapse, None);
    }

    #[test]
    fn a_dip_within_the_window_is_not_a_collapse() {
        assert_eq!(entropies(&[0.80, 0.70, 0.70, 0.78, 0.79, 0.78, 0.77]).t_collapse, None);
    }

    #[test]
    fn four_evaluations_are_too_few() {
        assert_eq!(entropies(&[0.80, 0.60, 0.50, 0.40]).t_collapse, None);
    }

    #[test]
    fn an_evaluation_without_a_reading_leaves_the_window_alone() {
        let mut seen = Milestones::default();
        for step in 0..9 {
            seen.observe(
                step,
                0.0,
                0.0,
                (step % 2 == 0).then_some(0.8 - 0.015 * step as f64 / 2.0),
            );
        }
        assert_eq!(seen.t_collapse, Some(8));
    }

    #[test]
    fn a_collapse_after_grokking_is_a_negative_lead() {
        let mut seen = Milestones::default();
        for (i, entropy) in [0.8, 0.8, 0.8, 0.75, 0.7].into_iter().enumerate() {
            seen.observe(100 * i as u64, 1.0, 1.0, Some(entropy));
        }
        assert_eq!((seen.t_grok, seen.t_collapse, seen.lead()), (Some(0), Some(400), Some(-400)));
    }
}
