//! ‖θ‖, the L2 norm of all parameters, and of each group of them.
//!
//! ```text
//! embed    embed.W_E, pos_embed.W_pos                  ln        every LayerNorm's w and b
//! attn     blocks.*.attn.*, blocks.*.cross_attn.*      unembed   unembed.*
//! mlp      blocks.*.mlp.*, layers.*
//! ```
//! Those of an encoder and of a decoder are in one group.

use autograd::Tape;
use kernels::norm::squares;

/// The groups, in the order in which they are logged.
pub const GROUPS: [&str; 5] = ["embed", "attn", "mlp", "ln", "unembed"];

/// Which of [`GROUPS`] a parameter belongs to.
fn group(name: &str) -> usize {
    let of = |part: &str| name.contains(part);
    match name {
        _ if name.starts_with("unembed.") => 4,
        _ if of("embed.") => 0,
        _ if of("attn.") => 1,
        _ if of(".mlp.") || name.starts_with("layers.") => 2,
        _ => 3,
    }
}

/// ‖θ‖ of all parameters.
pub fn norm(tape: &Tape) -> f64 {
    tape.params().iter().map(|&p| squares(tape.value(p))).sum::<f64>().sqrt()
}

/// ‖θ‖ of each group; none where the model has no parameter of it.
pub fn norms(tape: &Tape) -> [Option<f64>; GROUPS.len()] {
    let mut sums = [None; GROUPS.len()];
    for &p in tape.params() {
        *sums[group(tape.name(p))].get_or_insert(0.0) += squares(tape.value(p));
    }
    sums.map(|sum| sum.map(f64::sqrt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::presets::preset;
    use crate::train::Trainer;

    #[test]
    fn every_parameter_is_in_the_group_that_its_name_says() {
        for (experiment, expected) in [
            ("smoke", [2, 8, 4, 6, 2]),
            ("nanda", [2, 4, 2, 0, 1]),
            ("mlp", [1, 0, 2, 0, 1]),
            // Three attentions, two MLPs, norms before each of the five and behind both stacks.
            ("collatz-smoke", [2, 24, 8, 14, 2]),
        ] {
            let config = Config::from_toml(preset(experiment).unwrap(), experiment).unwrap();
            let trainer = Trainer::new(&config);
            let tape = &trainer.model().tape;
            let mut counts = [0; GROUPS.len()];
            tape.params().iter().for_each(|&p| counts[group(tape.name(p))] += 1);
            assert_eq!(counts, expected, "{experiment}");
            let norms = norms(tape);
            assert_eq!(norms.map(|norm| norm.is_some()), expected.map(|n| n > 0), "{experiment}");
            let together = norms.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
            assert!((together / norm(tape) - 1.0).abs() < 1e-12);
        }
    }
}
