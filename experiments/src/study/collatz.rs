//! Study C, the long delay to arithmetic generalisation (arXiv:2604.13082): the runs that its claims need.
//!
//! The paper prints a long plateau and not what it hangs on. So the first groups map it: what is trained on, where
//! LayerNorms stand, what parameters are drawn from, how fast is learnt, how deep the model is. Claims about
//! the plateau are then graded in two regimes, one with a plateau and one without. Seeds and steps are
//! given for the scales smoke, laptop and paper in turn.

pub mod claims;
mod decoder;
mod encoder;
pub mod plateau;
#[cfg(test)]
#[path = "collatz/tests.rs"]
mod rules;
mod tasks;

use super::Study;
use super::plan::{Group, Scale, assignments};
use crate::record;
use std::ops::Range;

/// Study C.
pub const COLLATZ: Study =
    Study { name: "collatz", claims: &claims::CLAIMS, files: record::COLLATZ, cost: false, groups };

/// The paper's bases.
pub const BASES: [u32; 15] = [2, 3, 4, 6, 8, 9, 10, 12, 16, 18, 24, 27, 32, 36, 48];
/// Those whose transfer to another map is looked at: (the map, bases).
const MAPS: [(&str, &[u32]); 4] =
    [("5n+1", &[8, 10]), ("7n+1", &[8, 14]), ("1-n", &[6, 8]), ("3n-1", &[6, 8])];
/// (width, layers of either stack), as in the paper's table of sizes.
pub const SIZES: [(u32, u32); 9] =
    [(128, 1), (128, 2), (128, 3), (256, 1), (256, 2), (256, 3), (512, 1), (512, 2), (512, 3)];

/// The two regimes in which claims about the plateau are graded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regime {
    /// What its groups end in.
    pub name: &'static str,
    preset: &'static str,
    /// Changes at the smoke scale.
    smoke: &'static str,
    /// Steps at each scale.
    steps: [u64; 3],
    /// Steps between probes at each scale.
    probe: [u64; 3],
    /// Changes at every scale.
    changes: &'static str,
    /// The checkpoints of a joint run at which encoders are taken early, at each scale; the first is where a
    /// decoder is rewound to.
    early: [[u64; 4]; 3],
}

impl Regime {
    /// A group's name in this regime.
    pub fn group(&self, what: &str) -> String {
        format!("{what}-{}", self.name)
    }

    /// What its runs change in the preset, at a scale.
    fn changes(&self, scale: Scale) -> String {
        let smoke = if scale == Scale::Smoke { self.smoke } else { "" };
        format!("{smoke} {}", self.changes)
    }

    /// The steps at which a scale freezes encoders early.
    pub fn early(&self, scale: Scale) -> [u64; 4] {
        self.early[scale as usize]
    }
}

/// Without a plateau, and with one.
pub const REGIMES: [Regime; 2] = [
    Regime {
        name: "open",
        preset: "collatz-1x1",
        smoke: "",
        steps: [240, 2_000, 20_000],
        probe: [120, 100, 500],
        // A hundred steps are half of what is to be told apart here.
        changes: "eval.every=20",
        early: [[40, 80, 120, 160], [100, 200, 500, 1_000], [500, 1_000, 2_000, 5_000]],
    },
    Regime {
        name: "plateau",
        preset: "collatz-plateau",
        smoke: "task.train=100 task.renew=60 spectral.probe=64",
        steps: [240, 15_000, 20_000],
        probe: [120, 500, 500],
        changes: "",
        early: [[40, 80, 120, 160], [500, 2_000, 4_000, 6_000], [500, 2_000, 4_000, 10_000]],
    },
];

/// A line of the table.
struct Line {
    name: String,
    claims: &'static str,
    preset: &'static str,
    intervention: &'static str,
    changes: String,
    needs: Vec<String>,
    seeds: [Range<u64>; 3],
    steps: [u64; 3],
}

/// Probes of the encoder, with the input's embedding beside it.
const PROBE: &str = "probe.at=[\"encoder.ln_final.hook_out\",\"encoder.blocks.0.hook_resid_pre\"] \
                     probe.pool=mean probe.erase=[\"mod2\",\"log2\"] \
                     probe.targets=[\"mod2\",\"mod4\",\"mod8\",\"mod16\",\"bit2\",\"bit3\",\"bit4\",\"log2\"]";

/// Steps of groups without a plateau.
const OPEN: [u64; 3] = [240, 4_000, 20_000];
/// Steps of the map.
const MAP: [u64; 3] = [200, 6_000, 30_000];

fn table(scale: Scale) -> Vec<Line> {
    let mut table = map();
    for regime in &REGIMES {
        table.extend(in_regime(regime, scale));
    }
    table.extend(bases());
    table.extend(others(scale));
    table
}

/// The map of the plateau: one run a cell.
fn map() -> Vec<Line> {
    let line = |name: String, changes: String, steps| Line {
        name,
        claims: "C0",
        preset: "collatz-1x1",
        intervention: "none",
        changes: format!("spectral.every=10 stop.past_grok=500 {changes}"),
        needs: Vec::new(),
        seeds: [0..1, 0..1, 0..3],
        steps,
    };
    let mut lines = Vec::new();
    for depth in [1, 2] {
        for (data, train) in [("fixed", "{fixed}"), ("online", "online")] {
            for norm in ["pre", "post"] {
                for init in ["xavier", "pytorch"] {
                    for (rate, lr) in [
                        ("fast", "optim.lr=3e-4 optim.warmup=0"),
                        ("slow", "optim.lr=1e-4 optim.warmup={warmup}"),
                    ] {
                        let changes = format!(
                            "task.train={train} model.norm={norm} model.init={init} {lr} \
                             model.encoder_layers={depth} model.decoder_layers={depth}"
                        );
                        let name = format!("map-{data}-{norm}-{init}-{rate}-{depth}");
                        lines.push(line(name, changes, MAP));
                    }
                }
            }
        }
    }
    for norm in ["pre", "post"] {
        let changes = format!(
            "task.train=online model.norm={norm} model.init=pytorch optim.lr=1e-4 \
             optim.warmup={{warmup}} model.encoder_layers=6 model.decoder_layers=6"
        );
        lines.push(line(format!("map-online-{norm}-pytorch-slow-6"), changes, MAP));
    }
    // Few numbers to learn from, for good or until others take their place: a pause in the supply of examples.
    for (name, renew) in [("map-few", ""), ("map-renewed", "task.renew={renew}")] {
        let changes = format!(
            "task.train={{few}} {renew} spectral.probe={{few-probe}} model.norm=pre model.init=xavier \
             optim.lr=3e-4 optim.warmup=0 model.encoder_layers=1 model.decoder_layers=1"
        );
        lines.push(line(name.to_owned(), changes, [240, 16_000, 60_000]));
    }
    for (name, lr) in [("map-decay", "3e-4"), ("map-decay-fast", "1e-3")] {
        let changes = format!(
            "task.train={{fixed}} model.norm=pre model.init=xavier optim.lr={lr} optim.warmup=0 \
             model.encoder_layers=1 model.decoder_layers=1 optim.weight_decay=1.0"
        );
        lines.push(line(name.to_owned(), changes, [240, 20_000, 100_000]));
    }
    lines
}

/// The groups of a regime: the joint runs, and what is made of their encoders and decoders.
fn in_regime(regime: &Regime, scale: Scale) -> Vec<Line> {
    let steps = regime.steps;
    let (end, early) = (steps[scale as usize], regime.early(scale));
    let joint = regime.group("joint");
    let line = |what: &str, claims, intervention, changes: String, seeds| Line {
        name: regime.group(what),
        claims,
        preset: regime.preset,
        intervention,
        needs: if changes.contains("{donor}") { vec![joint.clone()] } else { Vec::new() },
        changes: format!("{} {changes}", regime.changes(scale)),
        seeds,
        steps,
    };
    let three = || [0..3, 0..3, 0..5];
    let encoder = |step: u64| format!("intervene.transplant.encoder={{donor}}@{step}");
    let decoder = |step: u64| {
        format!(
            "intervene.transplant.decoder={{donor}}@{step} intervene.transplant.unembed={{donor}}@{step}"
        )
    };
    let frozen = "intervene.freeze.parts=[\"encoder\"]";
    let all = "C1 C2 C3 C4 C5 C6 C14 C16";
    // All early steps are multiples of the first.
    let probed = format!(
        "{PROBE} probe.every={} probe.rows={{rows}} checkpoint.every={} checkpoint.keep=0",
        regime.probe[scale as usize], early[0]
    );
    let another = "intervene.redraw.decoder={redraw} intervene.redraw.unembed={redraw}";
    let mut lines = vec![
        line("joint", all, "none", probed, three()),
        line("encoder", "C3", "transplant", encoder(end), three()),
        line(
            "encoder-again",
            "C3",
            "transplant+redraw",
            format!("{} {another}", encoder(end)),
            three(),
        ),
        line("decoder", "C4", "transplant", decoder(end), three()),
        line(
            "decoder-again",
            "C4",
            "transplant+redraw",
            format!("{} intervene.redraw.encoder={{redraw}}", decoder(end)),
            three(),
        ),
        line(
            "decoder-frozen",
            "C4",
            "freeze",
            "intervene.freeze.parts=[\"decoder\",\"unembed\"]".to_owned(),
            three(),
        ),
        line(
            "rewound",
            "C5",
            "transplant+freeze",
            format!("{} {} {frozen}", encoder(end), decoder(early[0])),
            three(),
        ),
        line("fresh", "C5", "transplant+freeze", format!("{} {frozen}", encoder(end)), three()),
        line(
            "fresh-again",
            "C5",
            "transplant+redraw+freeze",
            format!("{} {another} {frozen}", encoder(end)),
            three(),
        ),
        line("untrained", "C6", "freeze", frozen.to_owned(), three()),
    ];
    for (i, step) in early.into_iter().enumerate() {
        let changes = format!("{} {frozen}", encoder(step));
        lines.push(line(&format!("early-{i}"), "C6", "transplant+freeze", changes, three()));
    }
    lines
}

/// Every base, either digit first, at an equal budget.
fn bases() -> Vec<Line> {
    let mut lines = Vec::new();
    for (order, name, seeds) in [
        ("most_significant", "base", [0..2, 0..2, 0..3]),
        ("least_significant", "reversed", [0..1, 0..1, 0..3]),
    ] {
        for base in BASES {
            // One base is a donor at its last step, and so makes every step.
            let stop = if base == 24 { "" } else { " stop.past_grok=500" };
            lines.push(Line {
                name: format!("{name}-{base}"),
                claims: if (name, base) == ("base", 24) { "C7 C9" } else { "C7" },
                preset: "collatz-1x1",
                intervention: "none",
                changes: format!("task.base={base} task.order={order}{stop}"),
                needs: Vec::new(),
                seeds: seeds.clone(),
                steps: OPEN,
            });
        }
    }
    lines
}

/// Binary, transfer, samplers, sizes, other maps, another task, a decoder alone.
fn others(scale: Scale) -> Vec<Line> {
    let line = |name: &str, claims, changes: String, seeds: [u64; 3], steps| Line {
        name: name.to_owned(),
        claims,
        preset: "collatz-1x1",
        intervention: "none",
        changes,
        needs: Vec::new(),
        seeds: seeds.map(|n| 0..n),
        steps,
    };
    let end = OPEN[scale as usize];
    let [open, waits] = &REGIMES;
    let binary = [240, 10_000, 40_000];
    let stop = "stop.past_grok=500";
    let mut lines = vec![line("binary", "C8 C9", "task.base=2".to_owned(), [3, 3, 6], binary)];
    let blocks = format!(
        "task.base=2 intervene.transplant.encoder.blocks={{donor}}@{end} \
         intervene.transplant.encoder.ln_final={{donor}}@{end}"
    );
    // The other reading: n in base 24, its answer in binary; the same from scratch is what it is compared with.
    let read = "task.base=2 task.source_base=24";
    let whole = format!("{read} intervene.transplant.encoder={{donor}}@{end}");
    lines.push(line("read-24", "C9", read.to_owned(), [2, 2, 3], binary));
    for (name, changes) in [("binary-from-24", blocks), ("read-24-from-24", whole)] {
        lines.push(Line {
            intervention: "transplant",
            needs: vec!["base-24".to_owned()],
            ..line(name, "C9", changes, [2, 2, 3], binary)
        });
    }
    for sampler in
        ["uniform", "log_uniform", "residue_stratified", "carry_stratified", "short_carry"]
    {
        let name = format!("sampler-{}", sampler.replace('_', "-"));
        // Uniform ones are what other claims compare with, too.
        let claims = if sampler == "uniform" { "C10 C13 C15" } else { "C10" };
        lines.push(line(&name, claims, format!("task.sampler={sampler}"), [1, 2, 3], OPEN));
    }
    for (d, layers) in SIZES {
        let changes = format!(
            "{} model.d_model={{width:{d}}} model.d_mlp={{width:{}}} model.encoder_layers={layers} \
             model.decoder_layers={layers}",
            waits.changes(scale),
            4 * d
        );
        // Beyond the first renewal, every 2,500 steps, by half of the shortest plateau.
        let steps = [120, 3_200, 20_000];
        lines.push(Line {
            preset: waits.preset,
            ..line(&format!("size-{d}-{layers}"), "C11", changes, [1, 1, 3], steps)
        });
    }
    for (op, bases) in MAPS {
        for base in bases {
            let changes = format!("task.op={op} task.base={base} {stop}");
            lines.push(line(&format!("op-{op}-{base}"), "C12", changes, [1, 2, 3], OPEN));
        }
    }
    lines.push(line("twice", "C12", format!("task.iterations=2 {stop}"), [1, 2, 3], OPEN));
    lines.push(Line { preset: "gcd-1x1", ..line("gcd", "C13", String::new(), [1, 2, 3], OPEN) });
    let encoder = |end| format!("intervene.transplant.encoder={{donor}}@{end}");
    lines.push(Line {
        preset: "gcd-1x1",
        intervention: "transplant",
        needs: vec!["joint-open".to_owned()],
        ..line("gcd-from-collatz", "C13", encoder(open.steps[scale as usize]), [1, 2, 3], OPEN)
    });
    lines.push(Line {
        intervention: "transplant",
        needs: vec!["gcd".to_owned()],
        ..line("collatz-from-gcd", "C13", encoder(end), [1, 2, 3], OPEN)
    });
    for layers in [2, 12] {
        let changes = format!(
            "model.encoder_layers=0 model.decoder_layers={layers} \
             spectral.at=[\"ln_final.hook_out\"] {stop}"
        );
        lines.push(line(
            &format!("alone-{layers}"),
            "C15",
            changes,
            [1, 2, 3],
            [60, 2_000, 20_000],
        ));
    }
    lines
}

/// What all runs of a scale have in common.
fn common(scale: Scale, preset: &str) -> String {
    let gcd = preset == "gcd-1x1";
    let (every, max) = (if gcd { 1000 } else { 100 }, if gcd { 24 } else { 600 });
    match scale {
        Scale::Smoke => format!(
            "eval.every=20 checkpoint.every=20 checkpoint.keep=1 task.max={max} task.test=200 \
             model.d_model=32 model.d_mlp=64 optim.lr=2e-3 optim.batch=64 spectral.probe=64 \
             spectral.every=10"
        ),
        _ => format!("eval.every=100 checkpoint.every={every} checkpoint.keep=1 spectral.every=10"),
    }
}

/// The groups of a scale, in the order in which they are carried out.
fn groups(scale: Scale) -> Vec<Group> {
    let small = scale == Scale::Smoke;
    // A study's table lives as long as the program.
    let leak = |name: String| -> &'static str { name.leak() };
    let group = |line: Line| {
        let (steps, seeds) = (line.steps[scale as usize], line.seeds[scale as usize].clone());
        let of_map = line.name.starts_with("map-");
        let map = if of_map && !small { "checkpoint.every=1000" } else { "" };
        let changes =
            format!("steps={steps} {} {map} {}", common(scale, line.preset), line.changes);
        let changes = changes
            .replace("{few}", if small { "70" } else { "300" })
            .replace("{few-probe}", if small { "64" } else { "256" })
            .replace("{renew}", if small { "60" } else { "4000" })
            .replace("{fixed}", if small { "100" } else { "1000" })
            .replace("{warmup}", if small { "60" } else { "4000" })
            .replace("{rows}", if small { "200" } else { "2000" });
        let changes = [64, 128, 256, 512, 1024, 2048].iter().fold(changes, |text, width| {
            let to = if small { width / 8 } else { *width };
            text.replace(&format!("{{width:{width}}}"), &to.to_string())
        });
        Group {
            name: leak(line.name),
            claims: line.claims.split_whitespace().collect(),
            intervention: line.intervention,
            preset: line.preset,
            changes: assignments(&changes),
            seeds,
            needs: line.needs.into_iter().map(leak).collect(),
        }
    };
    table(scale).into_iter().map(group).collect()
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
            let plan = plan(&groups).unwrap_or_else(|e| panic!("{scale:?}: {e:#}"));
            // Nothing is wanted twice: a rule would miss the second.
            for group in &groups {
                let planned = plan.iter().filter(|run| run.group == group.name).count() as u64;
                assert_eq!(
                    planned,
                    group.seeds.end - group.seeds.start,
                    "{scale:?} {}",
                    group.name
                );
            }
            for run in &plan {
                let donors = run.donors(std::path::Path::new("runs"));
                assert_eq!(run.needs.is_some(), !donors.is_empty(), "{}", run.label());
                assert!(donors.iter().all(|donor| {
                    let needed = &plan[run.needs.unwrap()];
                    donor.starts_with(needed.folder(std::path::Path::new("runs")))
                }));
            }
        }
    }

    #[test]
    fn donors_write_the_checkpoints_that_are_taken() {
        for scale in Scale::ALL {
            let plan = plan(&groups(scale)).unwrap();
            for run in plan.iter().filter(|run| run.needs.is_some()) {
                let donor = &plan[run.needs.unwrap()].config;
                assert_eq!(donor.stop, None, "{}: its donor makes every step", run.label());
                let transplant =
                    run.config.intervene.as_ref().unwrap().transplant.as_ref().unwrap();
                for taken in transplant.values() {
                    // The last step is always written, and kept; others where all are kept.
                    let early = taken.step.is_multiple_of(donor.checkpoint.every)
                        && taken.step < donor.steps
                        && donor.checkpoint.keep == 0;
                    assert!(early || taken.step == donor.steps, "{}: {taken}", run.label());
                }
            }
        }
    }

    #[test]
    fn a_group_takes_redraws_and_freezes_what_its_name_says() {
        for (scale, regime) in Scale::ALL.into_iter().flat_map(|s| REGIMES.map(|r| (s, r))) {
            let (end, early) = (regime.steps[scale as usize], regime.early(scale));
            let encoder = |step| format!("encoder@{step}");
            let decoder = |step| format!("decoder@{step} unembed@{step}");
            let (e, d) = (encoder(end), "decoder unembed".to_owned());
            let again = "decoder={} unembed={}"; // another decoder for every run
            let mut expected = vec![
                ("joint", String::new(), "", String::new()),
                ("encoder", e.clone(), "", String::new()),
                ("encoder-again", e.clone(), again, String::new()),
                ("decoder", decoder(end), "", String::new()),
                ("decoder-again", decoder(end), "encoder={}", String::new()),
                ("decoder-frozen", String::new(), "", d),
                ("rewound", format!("{} {e}", decoder(early[0])), "", "encoder".into()),
                ("fresh", e.clone(), "", "encoder".into()),
                ("fresh-again", e, again, "encoder".into()),
                ("untrained", String::new(), "", "encoder".into()),
            ];
            let names = ["early-0", "early-1", "early-2", "early-3"];
            let frozen = |(name, step)| (name, encoder(step), "", "encoder".to_owned());
            expected.extend(names.into_iter().zip(early).map(frozen));
            let plan = plan(&groups(scale)).unwrap();
            for (what, taken, redrawn, frozen) in expected {
                let mut of_group =
                    plan.iter().filter(|run| run.group == regime.group(what)).peekable();
                assert!(of_group.peek().is_some(), "{what}");
                for run in of_group {
                    let intervene = run.config.intervene.iter();
                    let parts = intervene.clone().flat_map(|i| &i.transplant).flatten();
                    let parts: Vec<String> =
                        parts.map(|(part, donor)| format!("{part}@{}", donor.step)).collect();
                    // Parts come in the order of their names.
                    let mut taken: Vec<&str> = taken.split_whitespace().collect();
                    taken.sort_unstable();
                    assert_eq!(parts, taken, "{}", run.label());
                    let parts = intervene.flat_map(|i| &i.redraw).flatten();
                    let parts: Vec<String> = parts.map(|(p, seed)| format!("{p}={seed}")).collect();
                    let redrawn = redrawn.replace("{}", &(101 + run.config.seed).to_string());
                    assert_eq!(parts.join(" "), redrawn, "{}", run.label());
                    assert_eq!(run.config.frozen().join(" "), frozen, "{}", run.label());
                    // Its donor is the joint run of its seed.
                    let donor = run.needs.map(|place| (plan[place].group, plan[place].config.seed));
                    let joint = (&*regime.group("joint"), run.config.seed);
                    assert!(donor.is_none_or(|donor| donor == joint), "{}", run.label());
                }
            }
        }
    }

    #[test]
    fn the_laptop_has_the_seeds_of_the_issue() {
        let groups = groups(Scale::Laptop);
        let seeds = |name: &str| {
            let group = groups.iter().find(|group| group.name == name).expect(name);
            group.seeds.end - group.seeds.start
        };
        for regime in REGIMES {
            for what in [
                "joint",
                "encoder-again",
                "decoder-again",
                "rewound",
                "fresh",
                "early-0",
                "early-3",
            ] {
                assert_eq!(seeds(&regime.group(what)), 3, "{what}");
            }
        }
        assert!(BASES.iter().all(|base| seeds(&format!("base-{base}")) >= 2));
        assert!(seeds("binary") >= 3);
    }

    #[test]
    fn every_claim_has_a_group_and_every_group_a_claim() {
        let groups = groups(Scale::Laptop);
        let served: HashSet<&str> = groups.iter().flat_map(|g| g.claims.clone()).collect();
        assert!(COLLATZ.ids().iter().all(|id| served.contains(id)));
        assert!(groups.iter().all(|g| !g.claims.is_empty()));
        assert!(served.iter().all(|claim| COLLATZ.ids().contains(claim)));
    }
}
