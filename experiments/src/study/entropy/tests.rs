//! Rules against worlds whose answer is known: one in which the paper is right, and for each claim one
//! in which it is not.

use super::claims::CLAIMS;
use super::warning::early_warning;
use crate::record::{Evaluation, Record, Row};
use crate::study::cost::Cost;
use crate::study::grade::{Evidence, Finding, Verdict};

/// How a made-up run goes.
#[derive(Clone)]
struct Run {
    memorises: bool,
    grok: Option<u64>,
    last: u64,
    /// H̃ and the norm at a step.
    entropy: fn(step: f64, grok: f64) -> f64,
    norm: fn(step: f64, grok: f64) -> f64,
    fourier: fn(entropy: f64, step: f64) -> f64,
    test_gap: f64, // of the test probe's H̃
}

/// The paper's law, inverted: .80 at most, .609 at T_grok, lower afterwards.
fn law(step: f64, grok: f64) -> f64 {
    match grok - step {
        left if left > 0.0 => (0.609 + (left / 2.45e5).powf(1.0 / 1.65)).min(0.80),
        past => 0.45 + 0.159 * (past / 1000.0).exp(),
    }
}

/// A plateau that drops by .14 just before step T_grok − 1,000.
fn drop(step: f64, grok: f64) -> f64 {
    let since = step - (grok - 1300.0);
    match since {
        _ if since <= 0.0 => 0.75,
        _ if since < 1300.0 => 0.75 - 0.141 * (since / 400.0).min(1.0),
        _ => 0.609 - 0.1 * ((since - 1300.0) / 2000.0).min(1.0),
    }
}

fn flat(_: f64, _: f64) -> f64 {
    0.78
}

/// Expands by a half up to step 300, then rests.
fn expanding(step: f64, _: f64) -> f64 {
    60.0 * (1.0 + 0.5 * (step / 300.0).min(1.0)) + 0.5 * (step / 777.0).sin()
}

fn shrinking(step: f64, grok: f64) -> f64 {
    let end = if grok.is_finite() { grok } else { 15_000.0 };
    60.0 - 40.0 * (step / end).min(1.0)
}

const PAPER: Run = Run {
    memorises: true,
    grok: None,
    last: 0,
    entropy: law,
    norm: expanding,
    fourier: |entropy, _| 1.0 - entropy,
    test_gap: 0.005,
};

impl Run {
    fn grokking(t: u64) -> Run {
        Run { grok: Some(t), last: t + 10_000, ..PAPER }
    }

    fn quiet() -> Run {
        Run {
            last: 15_000,
            entropy: flat,
            fourier: |_, step| 0.2 + 0.01 * (step / 300.0).sin(),
            ..PAPER
        }
    }

    fn record(&self, group: &str, seed: u64) -> Record {
        let grok = self.grok.map_or(f64::INFINITY, |t| t as f64);
        let evaluation = |i: u64| {
            let step = 100 * i;
            let (s, wobble) = (step as f64, 1e-4 * ((i * 7919 + seed * 104_729) % 13) as f64);
            let entropy = (self.entropy)(s, grok) + wobble;
            let accuracy = if self.memorises && step >= 300 { 1.0 } else { 0.3 };
            let test = ((s - (grok - 300.0)) / 300.0).clamp(0.005, 1.0);
            Evaluation {
                step,
                train_loss: Some(1e-3 + 1.0 / (1.0 + s)),
                train_acc: Some(accuracy),
                test_loss: Some(6.0 - 5.9 * test),
                test_acc: Some(test),
                norm: Some((self.norm)(s, grok)),
                entropy: Some(entropy),
                entropy_test: Some(entropy + self.test_gap),
                participation_ratio: Some(20.0),
                fourier: Some((self.fourier)(entropy, s)),
                ..Evaluation::default()
            }
        };
        let curves: Vec<Evaluation> = (0..=self.last / 100).map(evaluation).collect();
        let first = |reached: &dyn Fn(&Evaluation) -> bool| {
            curves.iter().find(|e| reached(e)).map(|e| e.step)
        };
        let above =
            |accuracy: f64| first(&|e: &Evaluation| e.test_acc.is_some_and(|acc| acc >= accuracy));
        let t_grok = above(0.99);
        let at = |step: Option<u64>| {
            curves.iter().find(|e| Some(e.step) == step).and_then(|e| e.entropy)
        };
        let row = Row {
            hash: format!("{group:0<12.12}"),
            group: group.into(),
            task: "modular".into(),
            op: "add".into(),
            seed,
            train_fraction: 0.2,
            intervention: "none".into(),
            alpha: None,
            steps: self.last,
            t_memorise: first(&|e: &Evaluation| e.train_acc.is_some_and(|acc| acc >= 0.99)),
            t_collapse: None,
            t_test_10: above(0.1),
            t_test_50: above(0.5),
            t_test_90: above(0.9),
            t_grok,
            entropy_init: at(Some(0)),
            entropy_at_grok: at(t_grok),
            entropy_final: at(Some(self.last)),
            norm_init: curves[0].norm,
            norm_final: curves.last().and_then(|e| e.norm),
            ..Row::default()
        };
        Record { row, curves }
    }
}

/// T_grok of the seeds of addition: 14,000 on average.
fn add_times(seed: u64) -> u64 {
    12_200 + 400 * seed
}

/// All groups as the paper has them; `change` may replace a run.
fn world(change: impl Fn(&str, u64, Run) -> Run) -> Evidence {
    let mut records = Vec::new();
    let mut group = |name: &str, seeds: u64, run: &dyn Fn(u64) -> Run| {
        records.extend((0..seeds).map(|seed| change(name, seed, run(seed)).record(name, seed)));
    };
    let later = |by: u64| move |seed| Run::grokking(add_times(seed) + by);
    let high =
        |by: u64| move |seed| Run { entropy: |_, _| 0.79, ..Run::grokking(add_times(seed) + by) };
    group("add", 10, &later(0));
    for name in ["no-decay", "little-data", "shuffled"] {
        group(name, 3, &|_| Run::quiet());
    }
    for (alpha, by) in [("0.1", 300), ("0.3", 6000), ("0.5", 9000)] {
        group(&format!("mixing-{alpha}"), 10, &high(by));
        group(&format!("sham-{alpha}"), 10, &later(by / 20));
    }
    group("norm-matched", 10, &high(8000));
    group("twin", 10, &later(100));
    group("twin-mixing", 10, &high(7000));
    group("twin-matched", 10, &high(7000));
    for op in ["sub", "mul"] {
        group(op, 5, &|seed| Run::grokking(20_800 + 400 * seed));
    }
    group("s5-10", 10, &|seed| Run {
        entropy: |step, grok| law(step, grok) + 0.046,
        ..Run::grokking(3500 + 200 * seed)
    });
    group("s5-40", 3, &|seed| Run::grokking(1000 + 100 * seed));
    group("init-nanda", 6, &later(0));
    group("mlp-p41", 3, &|_| Run {
        entropy: |step, _| 0.76 - 0.6 * (step / 10_000.0).min(1.0),
        ..Run::quiet()
    });
    group("mlp", 3, &|seed| Run::grokking(4000 + 100 * seed));
    Evidence::of(records).with_cost(
        (0..5)
            .map(|_| Cost { cpu: "a CPU".into(), step_ms: 3.0, forward_ms: 1.0, entropy_ms: 0.3 })
            .collect(),
    )
}

fn as_they_say(_: &str, _: u64, run: Run) -> Run {
    run
}

fn graded(id: &str, evidence: &Evidence) -> Finding {
    (CLAIMS.iter().find(|claim| claim.id == id).expect("a claim").grade)(evidence)
}

#[test]
fn where_the_paper_is_right_its_claims_are_reproduced() {
    let evidence = world(as_they_say);
    for id in ["E1", "E4", "E5", "E6", "E7", "E9", "E10", "E11", "E12", "E13", "E14", "E15"] {
        let found = graded(id, &evidence);
        let said = format!("{id}: {}; {}; {}", found.measured, found.controls, found.why);
        assert_eq!(found.verdict, Verdict::Reproduced, "{said}");
    }
    // A law that ends at T_grok leaves no lead: another world for these.
    let dropping = world(|group, _, run| match group {
        "add" => Run { entropy: drop, ..run },
        _ => run,
    });
    for id in ["E2", "E3", "E16"] {
        let found = graded(id, &dropping);
        let said = format!("{id}: {}; {}; {}", found.measured, found.controls, found.why);
        let expected = if id == "E16" { Verdict::Partly } else { Verdict::Reproduced };
        assert_eq!(found.verdict, expected, "{said}");
    }
}

#[test]
fn where_the_paper_is_wrong_its_claims_are_not_reproduced() {
    let not = |id: &str, change: &dyn Fn(&str, u64, Run) -> Run| {
        let found = graded(id, &world(change));
        let said = format!("{id}: {}; {}; {}", found.measured, found.controls, found.why);
        assert_eq!(found.verdict, Verdict::NotReproduced, "{said}");
    };
    not("E1", &|_, _, run| Run { norm: shrinking, ..run });
    // Another value for each seed, and none before T_grok.
    not("E2", &|group, seed, run| match (group, seed % 3) {
        ("add", 0) => Run { entropy: |s, g| if s < g { 0.9 } else { 0.75 }, ..run },
        ("add", 1) => Run { entropy: |s, g| if s < g { 0.9 } else { 0.65 }, ..run },
        ("add", _) => Run { entropy: |s, g| if s < g { 0.9 } else { 0.85 }, ..run },
        _ => run,
    });
    not("E3", &|_, _, run| Run { entropy: |s, g| drop(s, g + 3000.0), ..run });
    not("E4", &|_, _, run| Run { grok: run.grok.map(|t| t / 3), ..run });
    let same = |group: &str, seed: u64, run: Run| match group {
        _ if group.starts_with("mixing")
            || group.ends_with("matched")
            || group == "twin-mixing" =>
        {
            Run::grokking(add_times(seed) + (seed % 3) * 200)
        }
        _ => run,
    };
    not("E5", &same);
    not("E6", &same);
    not("E7", &|_, seed, run| Run {
        // H̃ that says nothing about what is left
        entropy: if seed % 2 == 0 {
            |s, _| 0.7 + 0.05 * (s / 90.0).sin()
        } else {
            |s, _| 0.7 + 0.05 * (s / 70.0).cos()
        },
        ..run
    });
    not("E8", &|_, _, run| Run {
        entropy: |s, _| 0.7 + 0.05 * (s / 90.0).sin(),
        norm: shrinking,
        ..run
    });
    not("E9", &|group, _, run| if group == "s5-10" { Run::quiet() } else { run });
    not("E10", &|group, _, run| if group == "mlp-p41" { Run::quiet() } else { run });
    not("E11", &|_, _, run| Run { fourier: |_, s| 0.5 + 0.1 * (s / 90.0).sin(), ..run });
    not("E12", &|group, _, run| match group {
        "add" => Run { entropy: |s, g| law(s, g) + if s > g + 8000.0 { 0.3 } else { 0.0 }, ..run },
        _ => run,
    });
    not("E13", &|_, _, run| Run { norm: |s, g| 100.0 * law(s, g), ..run });
    not("E16", &|_, _, run| Run { entropy: flat, ..run });
}

#[test]
fn a_control_that_shows_the_same_takes_the_verdict_down() {
    let partly = |id: &str, change: &dyn Fn(&str, u64, Run) -> Run| {
        let found = graded(id, &world(change));
        let said = format!("{id}: {}; {}; {}", found.measured, found.controls, found.why);
        assert_eq!(found.verdict, Verdict::Partly, "{said}");
    };
    let collapsing = |group: &str, _: u64, run: Run| match group {
        "no-decay" | "little-data" | "shuffled" => {
            Run { entropy: |s, _| law(s, 9000.0), fourier: |h, _| 1.0 - h, ..run }
        }
        _ => run,
    };
    partly("E2", &collapsing);
    partly("E11", &collapsing);
    // Noise of the same norm delays as much as mixing does.
    partly("E5", &|group, seed, run| match group {
        "sham-0.3" | "mixing-0.3" => Run::grokking(add_times(seed) + 6000),
        "sham-0.5" | "mixing-0.5" => Run::grokking(add_times(seed) + 9000),
        _ => run,
    });
    // Only where LayerNorm makes the norm inert.
    partly("E6", &|group, seed, run| match group {
        "twin-matched" => Run::grokking(add_times(seed) + 200 * (seed % 3)),
        _ => run,
    });
}

#[test]
fn a_spike_is_no_collapse_and_no_crossing() {
    let spiked = world(|group, _, run| match group {
        "add" => Run {
            entropy: |s, g| if (800.0..850.0).contains(&s) { 0.5 } else { drop(s, g) },
            ..run
        },
        _ => run,
    });
    let plain =
        world(|group, _, run| if group == "add" { Run { entropy: drop, ..run } } else { run });
    for id in ["E2", "E3"] {
        assert_eq!(graded(id, &spiked).measured, graded(id, &plain).measured, "{id}");
    }
}

#[test]
fn what_few_seeds_cannot_decide_is_partly_and_says_so() {
    let few = world(as_they_say);
    let few = Evidence::of(
        ["add", "sub", "mul", "no-decay", "little-data", "shuffled", "s5-10"]
            .iter()
            .flat_map(|group| few.group(group).iter().take(4).cloned()),
    );
    for id in ["E3", "E9"] {
        let found = graded(id, &few);
        assert_eq!(found.verdict, Verdict::Partly, "{id}: {}", found.why);
        assert!(found.why.contains("ndecided"), "{id}: {}", found.why);
    }
}

#[test]
fn one_kind_of_control_that_fires_is_not_quiet() {
    let loud = world(|group, _, run| match group {
        "add" => Run { entropy: drop, ..run },
        "shuffled" => Run { entropy: |s, _| drop(s, 9000.0), ..run },
        _ => run,
    });
    let found = graded("E3", &loud);
    assert_eq!(found.verdict, Verdict::Partly, "{}", found.why);
    assert!(found.controls.contains("shuffled 3 of 3"), "{}", found.controls);
}

#[test]
fn a_run_that_never_groks_is_later_than_any_other() {
    let stuck = world(|group, _, run| match group {
        "mixing-0.5" => Run { grok: None, last: 50_000, ..run },
        _ => run,
    });
    let found = graded("E5", &stuck);
    assert!(found.measured.contains(", 0 of 10 grok"), "{}", found.measured);
    assert_eq!(found.verdict, Verdict::Reproduced);
}

#[test]
fn too_few_runs_are_not_testable_and_nothing_panics_without_any() {
    let empty = Evidence::of([]);
    let two = world(as_they_say);
    let two = Evidence::of(
        ["add", "sub", "no-decay", "mixing-0.3"]
            .iter()
            .flat_map(|group| two.group(group).iter().take(2).cloned()),
    );
    for claim in CLAIMS {
        for evidence in [&empty, &two] {
            let found = (claim.grade)(evidence);
            assert_eq!(found.verdict, Verdict::NotTestable, "{}", claim.id);
            assert!(!found.why.is_empty());
        }
    }
    assert!(early_warning(&empty).is_none());
}

#[test]
fn the_warning_names_every_detector() {
    let (figure, text) = early_warning(&world(as_they_say)).unwrap();
    for name in ["entropy below", "test loss below", "norm below"] {
        assert!(text.contains(name), "{text}");
        assert!(figure.series.iter().any(|s| s.name == name));
    }
}

#[test]
fn every_claim_has_its_number_and_a_rule() {
    for (i, claim) in CLAIMS.iter().enumerate() {
        assert_eq!(claim.id, format!("E{}", i + 1));
        assert!(claim.rule.len() > 40 && !claim.claim.is_empty() && !claim.paper.is_empty());
    }
}
