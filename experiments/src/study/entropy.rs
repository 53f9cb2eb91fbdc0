//! Study E, spectral entropy collapse (arXiv:2604.13123): the runs that its sixteen claims need.
//!
//! One table, a line a group; groups that serve most claims come first. Seeds and steps are given for
//! the scales smoke, laptop and paper in turn; `{steps}` in a change is the line's own number, `{few}` a
//! probe that little data can fill. At the laptop's scale a run ends 10,000 steps after it has grokked, which is as far as the claims look; at
//! the paper's it makes every step.

mod causes;
pub mod claims;
mod elsewhere;
mod phases;
mod prediction;
#[cfg(test)]
#[path = "entropy/tests.rs"]
mod rules;
pub mod warning;

use super::Study;
use super::plan::{Group, Scale, assignments};
use crate::record;
use std::ops::Range;

/// Study E.
pub const ENTROPY: Study =
    Study { name: "entropy", claims: &claims::CLAIMS, files: record::ENTROPY, cost: true, groups };

/// A line of the table: a group at all three scales.
struct Line {
    name: &'static str,
    claims: &'static str,
    preset: &'static str,
    intervention: &'static str,
    changes: String,
    needs: &'static [&'static str],
    seeds: [Range<u64>; 3],
    steps: [u64; 3],
}

/// Steps that most groups make.
const STEPS: [u64; 3] = [3_000, 50_000, 50_000];
/// Those of a group whose seeds grok as late as step 48,600: what has not grokked by step 50,000 ends there.
const LATE: [u64; 3] = [3_000, 60_000, 60_000];
/// Steps of the controls, most of which do not come to anything.
const CONTROL: [u64; 3] = [3_000, 30_000, 50_000];
/// Steps of the MLP that does not grok.
const MLP: [u64; 3] = [3_000, 40_000, 80_000];
/// Rows of a probe where there are 42 or 470 training pairs.
const FEW: [u64; 3] = [32, 256, 256];

/// Where the template is mixed, and its twin without LayerNorm: the activations that H̃ is read from.
const TEMPLATE: &str = "ln_final.hook_out";
const TWIN: &str = "blocks.0.hook_resid_post";

#[rustfmt::skip]
fn table() -> Vec<Line> {
    let add = "entropy-paper-add";
    let twin = "entropy-no-norm";
    let s = |smoke: Range<u64>, laptop: Range<u64>, paper: Range<u64>| [smoke, laptop, paper];
    let line = |name, claims, preset, intervention, changes: &str, needs, seeds, steps| Line {
        name, claims, preset, intervention, changes: changes.to_owned(), needs, seeds, steps,
    };
    let three = || s(0..3, 0..3, 0..5);
    let six = || s(0..3, 0..6, 0..6);
    let ten = || s(0..3, 0..10, 0..10);
    let most = "E1 E2 E3 E4 E5 E6 E7 E8 E11 E12 E13 E14 E16";
    let control = "E1 E2 E3 E7 E8 E11 E13 E16";
    vec![
        line("add",            most,       add,                 "none",            "",                            &[], ten(), STEPS),
        // controls: nothing to find, or no way to it
        line("no-decay",       control,    add,                 "weight_decay_0",  "optim.weight_decay=0.0",      &[], three(), CONTROL),
        line("little-data",    control,    add,                 "little_data",     "task.train_fraction=0.05 spectral.probe={few}", &[], three(), CONTROL),
        line("shuffled",       control,    add,                 "shuffled_labels", "intervene.labels.shuffled=true", &[], three(), CONTROL),
        // what delays the collapse, and what only looks like it
        line("mixing-0.3",     "E5 E6",    add,                 "mixing",          &mixing(TEMPLATE, 0.3),        &[], ten(), STEPS),
        line("sham-0.3",       "E5 E6",    add,                 "sham",            &sham(TEMPLATE, 0.3),          &[], ten(), STEPS),
        line("add-more",       "E6",       add,                 "none",            "",                            &[], s(3..5, 10..30, 10..30), STEPS),
        line("norm-matched",   "E6",       add,                 "mixing+norm",     &matched(TEMPLATE, 0.3, add),  &["add", "add-more"], s(0..5, 0..30, 0..30), STEPS),
        line("mixing-0.1",     "E5",       add,                 "mixing",          &mixing(TEMPLATE, 0.1),        &[], ten(), STEPS),
        line("sham-0.1",       "E5",       add,                 "sham",            &sham(TEMPLATE, 0.1),          &[], ten(), STEPS),
        line("mixing-0.5",     "E5",       add,                 "mixing",          &mixing(TEMPLATE, 0.5),        &[], ten(), STEPS),
        line("sham-0.5",       "E5",       add,                 "sham",            &sham(TEMPLATE, 0.5),          &[], ten(), STEPS),
        // a twin whose norm LayerNorm does not undo
        line("twin",           "E1 E6",    twin,                "none",            "",                            &[], ten(), STEPS),
        line("twin-mixing",    "E6",       twin,                "mixing",          &format!("{} {{late}}", mixing(TWIN, 0.3)), &[], ten(), LATE),
        line("twin-matched",   "E6",       twin,                "mixing+norm",     &matched(TWIN, 0.3, twin),     &["twin"], ten(), STEPS),
        // other operations, another group, another start, another architecture
        line("sub",            "E2 E4",    "entropy-paper-sub", "none",            "",                            &[], s(0..3, 0..5, 0..5), STEPS),
        line("mul",            "E2 E4",    "entropy-paper-mul", "none",            "",                            &[], s(0..3, 0..5, 0..5), STEPS),
        line("s5-10",          "E9",       "entropy-paper-s5",  "none",            "",                            &[], ten(), STEPS),
        line("s5-40",          "E9",       "entropy-paper-s5",  "none",            "task.train_fraction=0.4",     &[], three(), STEPS),
        line("init-nanda",     "E1",       add,                 "none",            "model.init=nanda",            &[], six(), STEPS),
        line("mlp-p41",        "E10",      "mlp-p41",           "none",            "",                            &[], three(), MLP),
        line("mlp",            "E10",      "mlp",               "none",            "",                            &[], three(), STEPS),
    ]
}

/// z_i ← (1 − α) z_i + α z_π(i) in every training step.
fn mixing(site: &str, alpha: f64) -> String {
    let at = "intervene.mixing";
    format!(
        "{at}.site={site} {at}.alpha={alpha:?} {at}.from=0 {at}.until={{steps}} {at}.sham=false"
    )
}

/// Noise of the mixing's size in its place.
fn sham(site: &str, alpha: f64) -> String {
    mixing(site, alpha).replace("sham=false", "sham=true")
}

/// Mixing, and the norm held to that of the baseline's run of the same seed.
fn matched(site: &str, alpha: f64, baseline: &str) -> String {
    let (mixing, at) = (mixing(site, alpha), "intervene.norm");
    format!("{mixing} {at}.baseline={baseline} {at}.from=0 {at}.until={{steps}}")
}

/// What every run of a scale has in common.
fn common(scale: Scale, preset: &str) -> &'static str {
    match scale {
        Scale::Laptop => {
            "eval.every=100 checkpoint.every=5000 checkpoint.keep=1 stop.past_grok=10000"
        }
        Scale::Paper => "eval.every=100 checkpoint.every=5000 checkpoint.keep=1",
        // A second a run, and most of them memorise by step 300 and grok near 2,000.
        Scale::Smoke => match preset {
            "entropy-paper-s5" => {
                "eval.every=20 checkpoint.every=500 checkpoint.keep=1 task.n=4 task.train_fraction=0.5 \
                 model.d_model=64 model.d_mlp=128 optim.batch=128 optim.lr=2e-3 spectral.probe=64"
            }
            "mlp" | "mlp-p41" => {
                "eval.every=20 checkpoint.every=500 checkpoint.keep=1 task.p=29 \
                 model.d_model=64 model.d_mlp=128 optim.batch=128 optim.lr=2e-3 spectral.probe=64"
            }
            _ => {
                "eval.every=20 checkpoint.every=500 checkpoint.keep=1 task.p=29 task.train_fraction=0.5 \
                 model.d_model=64 model.d_mlp=128 optim.batch=128 optim.lr=2e-3 spectral.probe=64"
            }
        },
    }
}

/// The groups of a scale, in the order in which they are carried out.
fn groups(scale: Scale) -> Vec<Group> {
    let group = |line: Line| {
        let (steps, seeds) = (line.steps[scale as usize], line.seeds[scale as usize].clone());
        let changes = format!("steps={steps} {} {}", common(scale, line.preset), line.changes);
        let changes = changes
            .replace("{steps}", &steps.to_string())
            .replace("{few}", &FEW[scale as usize].to_string())
            .replace("{late}", if scale == Scale::Laptop { "stop.give_up=50000" } else { "" });
        Group {
            name: line.name,
            claims: line.claims.split_whitespace().collect(),
            intervention: line.intervention,
            preset: line.preset,
            changes: assignments(&changes),
            seeds,
            needs: line.needs.to_vec(),
        }
    };
    table().into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::plan::plan;
    use std::collections::HashSet;

    #[test]
    fn every_group_of_every_scale_resolves_to_valid_configs() {
        for scale in Scale::ALL {
            let groups = groups(scale);
            let runs: u64 = groups.iter().map(|g| g.seeds.end - g.seeds.start).sum();
            let plan = plan(&groups).unwrap_or_else(|e| panic!("{scale:?}: {e:#}"));
            // Nothing is wanted twice, and nothing is lost.
            assert_eq!(plan.len() as u64, runs, "{scale:?}");
            for run in &plan {
                assert_eq!(
                    run.needs.is_some(),
                    run.intervention.ends_with("+norm"),
                    "{}",
                    run.label()
                );
            }
        }
    }

    #[test]
    fn the_laptop_has_the_seeds_of_the_design() {
        let seeds = |name: &str| {
            let group = groups(Scale::Laptop).into_iter().find(|group| group.name == name).unwrap();
            group.seeds.end - group.seeds.start
        };
        assert_eq!(
            ["add", "add-more", "norm-matched", "sub", "mul"].map(seeds),
            [10, 20, 30, 5, 5]
        );
        assert_eq!(
            ["s5-10", "s5-40", "mixing-0.5", "sham-0.1", "twin"].map(seeds),
            [10, 3, 10, 10, 10]
        );
        assert_eq!(["mlp", "mlp-p41", "init-nanda", "no-decay"].map(seeds), [3, 3, 6, 3]);
    }

    #[test]
    fn a_change_comes_after_what_the_scale_changes() {
        let group = groups(Scale::Smoke).into_iter().find(|g| g.name == "little-data").unwrap();
        let place = |value: &str| {
            let change = ("task.train_fraction".to_owned(), value.to_owned());
            group.changes.iter().position(|c| *c == change).unwrap()
        };
        assert!(place("0.5") < place("0.05"));
        let mixed = groups(Scale::Laptop).into_iter().find(|g| g.name == "mixing-0.3").unwrap();
        let until = ("intervene.mixing.until".to_owned(), "50000".to_owned());
        assert!(mixed.changes.contains(&until));
    }

    #[test]
    fn every_claim_but_the_one_about_time_has_a_group_and_every_group_a_claim() {
        let groups = groups(Scale::Paper);
        let served: HashSet<&str> = groups.iter().flat_map(|g| g.claims.clone()).collect();
        let ids = ENTROPY.ids();
        // What measuring costs needs no run.
        let without: Vec<&&str> = ids.iter().filter(|id| !served.contains(**id)).collect();
        assert_eq!(without, [&"E15"]);
        assert!(groups.iter().all(|g| !g.claims.is_empty()));
        assert!(served.iter().all(|claim| ids.contains(claim)));
    }
}
