//! What is done to a run does what its formula says, from its first step to its last, and nothing
//! outside; a run that is stopped anywhere and goes on has the bits of one that never was.

use experiments::config::Config;
use experiments::data::Examples;
use experiments::observe::norms::norm;
use experiments::presets::preset;
use experiments::report::history::History;
use experiments::tasks::Task;
use experiments::train::Trainer;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tests::{carry_out, run_in, scratch, stderr, stdout};

const STEPS: u64 = 60;

/// The preset `smoke` with these changes, 60 steps long, evaluated every 8.
fn smoke(changes: &[(&str, &str)]) -> Config {
    let base = [("steps", "60"), ("eval.every", "8"), ("checkpoint.every", "1000")];
    let changes: Vec<(String, String)> =
        base.iter().chain(changes).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Config::from_toml_with(preset("smoke").unwrap(), "smoke", &changes).unwrap()
}

/// Mixing of what the unembedding reads, alpha .3.
fn mixing(from: u64, until: u64, sham: bool) -> Vec<(String, String)> {
    [
        ("site", "\"ln_final.hook_out\"".to_string()),
        ("alpha", "0.3".to_string()),
        ("from", from.to_string()),
        ("until", until.to_string()),
        ("sham", sham.to_string()),
    ]
    .map(|(key, value)| (format!("intervene.mixing.{key}"), value))
    .to_vec()
}

/// As `smoke`, of owned changes.
fn smoke_with(changes: &[(String, String)]) -> Config {
    smoke(&changes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
}

/// The metrics, and the bytes of the checkpoint of a step.
fn result(folder: &Path, step: u64) -> (Vec<String>, Vec<u8>) {
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let checkpoint = folder.join(format!("checkpoints/step-{step:07}.safetensors"));
    (metrics.lines().map(str::to_string).collect(), fs::read(checkpoint).unwrap())
}

/// Every tensor of a checkpoint, whatever run it names.
fn tensors(checkpoint: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let file = SafeTensors::deserialize(checkpoint).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

#[test]
fn a_run_is_plain_before_an_intervention_and_another_after() {
    let out = scratch("interventions-plain");
    let (plain, _) = carry_out(&smoke(&[]), &out, None).unwrap();
    let (plain, _) = result(&plain, STEPS);
    for sham in [false, true] {
        let config = smoke_with(&mixing(20, 25, sham));
        let (folder, _) = carry_out(&config, &out, Some(20)).unwrap();
        let (_, at_20) = result(&folder, 20);
        carry_out(&config, &out, None).unwrap();
        let (lines, _) = result(&folder, STEPS);
        // Line 20 is of the first step with it: the batch's own loss is another, the evaluation is not.
        assert_eq!(lines[..20], plain[..20], "sham = {sham}");
        assert_ne!(lines[20], plain[20]);
        assert_ne!(lines[26], plain[26]);
        let short = scratch("interventions-plain-20");
        let (folder, _) = carry_out(&smoke(&[("steps", "20")]), &short, None).unwrap();
        assert!(tensors(&result(&folder, 20).1) == tensors(&at_20), "sham = {sham}");
        fs::remove_dir_all(short).unwrap();
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn evaluation_never_sees_an_intervention() {
    // At the same weights, step 0, the evaluation is the same; the batch's loss is not.
    let out = scratch("interventions-evaluation");
    let read = |config: &Config| {
        let (folder, _) = carry_out(config, &out, None).unwrap();
        let history = History::read(&folder.join("metrics.jsonl")).unwrap();
        let keys: Vec<String> = history.keys().map(str::to_string).collect();
        keys.into_iter().map(|key| (history.at(&key, 0), key)).collect::<Vec<_>>()
    };
    let (plain, mixed) = (read(&smoke(&[])), read(&smoke_with(&mixing(0, 60, false))));
    for ((plain, key), (mixed, _)) in plain.iter().zip(&mixed) {
        // The batch's entropy is that of the representation before it is mixed.
        let same = key != "batch/loss" && key != "batch/acc";
        assert!(!same || plain == mixed, "{key}: {plain:?} {mixed:?}");
    }
    let loss = |of: &[(Option<f64>, String)]| of.iter().find(|x| x.1 == "batch/loss").unwrap().0;
    assert_ne!(loss(&plain), loss(&mixed));
    fs::remove_dir_all(out).unwrap();
}

/// Rows of the site and of what goes on from there, after the forward of a step.
fn moved(config: &Config, step: u64) -> (Vec<f32>, Vec<f32>, usize) {
    let mut trainer = Trainer::new(config);
    trainer.forward(step).unwrap();
    let tape = &trainer.model().tape;
    let [z, y] =
        ["ln_final.hook_out", "intervene.hook_out"].map(|name| tape.find(name).expect(name));
    (tape.value(z).to_vec(), tape.value(y).to_vec(), tape.shape(z).1)
}

#[test]
fn the_sham_moves_each_row_as_far_as_mixing_and_elsewhere() {
    for (step, batch) in [(0, "64"), (7, "64"), (7, "2"), (0, "full")] {
        let config = |sham| {
            let mut changes = mixing(0, 60, sham);
            changes.push(("optim.batch".into(), batch.into()));
            smoke_with(&changes)
        };
        let (z, mixed, cols) = moved(&config(false), step);
        let (same, sham, _) = moved(&config(true), step);
        assert_eq!(z, same);
        let difference = |y: &[f32], i: usize| -> Vec<f64> {
            let row = i * cols..(i + 1) * cols;
            let pairs = y[row.clone()].iter().zip(&z[row]);
            pairs.map(|(&y, &z)| f64::from(y) - f64::from(z)).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let rows = z.len() / cols;
        let mut cosines = 0.0;
        for i in 0..rows {
            let (a, b) = (difference(&mixed, i), difference(&sham, i));
            let (far, too) = (dot(&a, &a).sqrt(), dot(&b, &b).sqrt());
            if far == 0.0 && too == 0.0 {
                continue; // the partner is the same pair, drawn twice
            }
            assert!((too / far - 1.0).abs() < 1e-6, "row {i}: {far} {too}");
            cosines += dot(&a, &b) / (far * too);
        }
        // Random directions of 32 dimensions: each cosine has a deviation of 1/√32.
        let mean = cosines / rows as f64;
        assert!(mean.abs() < 5.0 / (32.0 * rows as f64).sqrt(), "{batch}: {mean}");
    }
}

#[test]
fn mixing_is_its_formula_with_a_derangement_of_the_batch() {
    let (z, y, cols) = moved(&smoke_with(&mixing(0, 60, false)), 3);
    let rows: Vec<&[f32]> = z.chunks_exact(cols).collect();
    let mut partners = Vec::new();
    for (i, y) in y.chunks_exact(cols).enumerate() {
        let off = |other: &[f32]| -> f64 {
            let terms = y.iter().zip(rows[i]).zip(other);
            terms
                .map(|((&y, &z), &o)| {
                    (f64::from(y) - 0.7 * f64::from(z) - 0.3 * f64::from(o)).abs()
                })
                .sum()
        };
        let best = (0..rows.len()).min_by(|&a, &b| off(rows[a]).total_cmp(&off(rows[b]))).unwrap();
        assert!(off(rows[best]) < 1e-5, "row {i}");
        partners.push((off(rows[best]), best));
    }
    // A pair that was drawn twice has equal rows, so a partner may be found under its other number.
    let distinct = |i: usize| rows.iter().filter(|row| **row == rows[i]).count() == 1;
    let seen: Vec<usize> = partners.iter().map(|p| p.1).filter(|&j| distinct(j)).collect();
    assert!(seen.len() > 20);
    for (n, j) in seen.iter().enumerate() {
        assert!(!seen[..n].contains(j), "row {j} is two rows' partner");
    }
    assert!(partners.iter().enumerate().all(|(i, p)| !distinct(i) || p.1 != i));
}

#[test]
fn the_norm_follows_the_baseline_wherever_it_acts() {
    let out = scratch("interventions-norm");
    let (baseline, _) = carry_out(&smoke(&[]), &out, None).unwrap();
    let history = History::read(&baseline.join("metrics.jsonl")).unwrap();
    let logged = history.column("norm");
    assert_eq!(logged.len(), 9, "steps 0, 8, … 56 and 60");
    let target = |step: u64| {
        let after = logged.partition_point(|x| x.0 < step);
        let ((s0, x0), (s1, x1)) = (logged[after.saturating_sub(1)], logged[after]);
        if s0 == s1 || s1 == step {
            x1
        } else {
            x0 + (x1 - x0) * (step - s0) as f64 / (s1 - s0) as f64
        }
    };
    let mut changes = mixing(0, 60, false);
    changes.extend(
        [("baseline", "smoke"), ("from", "10"), ("until", "50")]
            .map(|(k, v)| (format!("intervene.norm.{k}"), v.to_string())),
    );
    let config = smoke_with(&changes);
    assert_eq!(config.baseline().unwrap().run_id(), smoke(&[]).run_id());
    let mut trainer = Trainer::new(&config);
    let sentence = {
        let mut unread = Trainer::new(&config);
        for s in 0..10 {
            unread.forward(s).unwrap();
            unread.update(s).unwrap();
        }
        unread.forward(10).unwrap();
        unread.update(10).unwrap_err().to_string()
    };
    assert_eq!(sentence, "intervene.norm: no baseline was read");
    trainer.prepare(&out, Path::new("results")).unwrap();
    for step in 0..60 {
        trainer.forward(step).unwrap();
        trainer.update(step).unwrap();
        let off = (norm(&trainer.model().tape) / target(step + 1) - 1.0).abs();
        let acts = (10..50).contains(&step);
        assert_eq!(off < 1e-6, acts, "step {step}: off by {off:e}");
    }
    // The trajectory recorded in a study's results serves where the run folder is gone.
    let (whole, _) = carry_out(&config, &out, None).unwrap();
    let dir = scratch("interventions-norm-curve");
    let curves = dir.join("results/entropy/curves");
    fs::create_dir_all(&curves).unwrap();
    let lines: Vec<String> =
        logged.iter().map(|(step, norm)| format!("{step},{norm:?}\n")).collect();
    let curve = curves.join(format!("{}.csv", smoke(&[]).run_id()));
    fs::write(curve, format!("step,norm\n{}", lines.concat())).unwrap();
    let mut arguments = vec!["run".to_string(), "smoke".into(), "--threads".into(), "1".into()];
    let base = [("steps", "60"), ("eval.every", "8"), ("checkpoint.every", "1000")];
    let base = base.map(|(k, v)| (k.to_string(), v.to_string()));
    for (key, value) in base.iter().chain(&changes) {
        arguments.extend(["--set".to_string(), format!("{key}={value}")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = run_in(&dir, &arguments);
    assert!(done.status.success(), "{}", stderr(&done));
    let again = dir.join("runs/smoke").join(config.run_id());
    assert!(result(&again, STEPS) == result(&whole, STEPS));
    // Without either: which run to make.
    let nothing = scratch("interventions-norm-nothing");
    let done = run_in(&nothing, &arguments);
    assert_eq!(done.status.code(), Some(1));
    let said = stderr(&done);
    assert!(said.contains("intervene.norm: the baseline's run is missing, "), "{said}");
    assert!(said.contains(&format!("runs/smoke/{}", smoke(&[]).run_id())), "{said}");
    assert!(said.contains("results/*/curves/"), "{said}");
    assert!(!nothing.join("runs").exists(), "a run that cannot begin leaves no folder");
    // An unfinished one: that it must go on.
    let unfinished = scratch("interventions-norm-unfinished");
    carry_out(&smoke(&[]), &unfinished, Some(30)).unwrap();
    let said = format!("{:#}", Trainer::new(&config).prepare(&unfinished, &nothing).unwrap_err());
    assert!(said.contains("the baseline is not finished; go on with: plateau resume "), "{said}");
    for dir in [out, dir, nothing, unfinished] {
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_run_stopped_at_any_boundary_and_resumed_has_the_same_bits() {
    let out = scratch("interventions-resume");
    carry_out(&smoke(&[]), &out, None).unwrap();
    let mut norm = mixing(15, 30, false);
    norm.extend(
        [
            ("norm.baseline", "smoke"),
            ("norm.from", "20"),
            ("norm.until", "40"),
            ("labels.shuffled", "true"),
        ]
        .map(|(k, v)| (format!("intervene.{k}"), v.to_string())),
    );
    for (name, changes) in [
        ("mixing", mixing(15, 30, false)),
        ("sham", mixing(15, 30, true)),
        ("everything", norm),
        ("whole", mixing(0, 60, true)),
    ] {
        let config = smoke_with(&changes);
        let config = Config { name: name.to_string(), ..config };
        let (whole, _) = carry_out(&config, &out, None).unwrap();
        for stop in [14, 15, 16, 29, 30, 31, 40, 59] {
            let elsewhere = scratch(&format!("interventions-resume-{name}"));
            if name == "everything" {
                carry_out(&smoke(&[]), &elsewhere, None).unwrap();
            }
            carry_out(&config, &elsewhere, Some(stop)).unwrap();
            let (folder, _) = carry_out(&config, &elsewhere, None).unwrap();
            assert!(result(&folder, STEPS) == result(&whole, STEPS), "{name}, stopped at {stop}");
            fs::remove_dir_all(elsewhere).unwrap();
        }
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn shuffled_labels_are_learnt_by_heart_and_change_neither_split_nor_weights() {
    let (rule, shuffled) = (smoke(&[]), smoke(&[("intervene.labels.shuffled", "true")]));
    let (mut a, mut b) = (Trainer::new(&rule), Trainer::new(&shuffled));
    let weights = |t: &Trainer| {
        let tape = &t.model().tape;
        tape.params().iter().flat_map(|&p| tape.value(p).to_vec()).collect::<Vec<f32>>()
    };
    assert!(weights(&a) == weights(&b));
    a.draw(0);
    b.draw(0);
    assert_eq!(a.rows(), b.rows());
    let task = |t: &Trainer| match &t.data().examples {
        Examples::Pairs(task) => task.clone(),
        Examples::Sequences(..) => unreachable!("a task of pairs"),
    };
    let (rule, shuffled) = (task(&a), task(&b));
    assert_eq!(rule.pairs, shuffled.pairs);
    let labels = |task: &Task| -> Vec<u32> {
        a.rows().iter().map(|&row| task.labels[row as usize]).collect()
    };
    assert_ne!(labels(&rule), labels(&shuffled));
}

#[test]
fn a_run_past_grokking_ends_where_it_should() {
    // A task so small that it is grokked at once.
    let quick = |past: Option<&str>| {
        let mut changes = vec![
            ("steps", "1500"),
            ("task.train_fraction", "0.9"),
            ("spectral.probe", "8"),
            ("optim.lr", "3e-3"),
            ("eval.every", "20"),
        ];
        changes.extend(past.map(|past| ("stop.past_grok", past)));
        smoke(&changes)
    };
    let out = scratch("interventions-past-grok");
    let (plain, summary) = carry_out(&quick(None), &out, None).unwrap();
    let summary = summary.unwrap();
    let t_grok = summary.t_grok.expect("it groks");
    assert!(summary.steps == 1500 && t_grok < 1400, "{summary:?}");
    let (plain, _) = result(&plain, 1500);
    for (past, end) in [("37", t_grok + 37), ("40", t_grok + 40), ("1", t_grok + 1), ("5000", 1500)]
    {
        let config = quick(Some(past));
        let (folder, summary) = carry_out(&config, &out, None).unwrap();
        let summary = summary.unwrap();
        assert_eq!((summary.steps, summary.t_grok), (end, Some(t_grok)), "past_grok = {past}");
        let (lines, _) = result(&folder, end); // with a checkpoint of its end
        assert_eq!(lines.len() as u64, end + 1);
        assert_eq!(lines[..end as usize], plain[..end as usize]);
        assert!(lines[end as usize].contains("\"test/acc\""), "the last line is an evaluation");
        // Complete: not repeated, and resume has nothing to do.
        let (_, again) = carry_out(&config, &out, None).unwrap();
        assert_eq!(again.unwrap(), summary);
        let resumed = run_in(&out, &["resume", folder.to_str().unwrap(), "--json"]);
        assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
        let json: serde_json::Value = serde_json::from_str(&stdout(&resumed)).unwrap();
        assert_eq!((&json["steps"], &json["t_grok"]), (&end.into(), &t_grok.into()));
    }
    // Given up where it has not grokked, and carried on where it groks just then.
    for (give_up, end, grokked) in [
        (t_grok - 1, t_grok - 1, None),
        (t_grok, t_grok + 37, Some(t_grok)),
        (9999, t_grok + 37, Some(t_grok)),
    ] {
        let mut config = quick(Some("37"));
        config.stop.as_mut().unwrap().give_up = Some(give_up);
        let (folder, summary) = carry_out(&config, &out, None).unwrap();
        let summary = summary.unwrap();
        assert_eq!((summary.steps, summary.t_grok), (end, grokked), "give_up = {give_up}");
        assert_eq!(result(&folder, end).0[..end as usize], plain[..end as usize]);
    }
    // Stopped before and after grokking, it ends at the same step with the same bits.
    let config = quick(Some("37"));
    let (whole, _) = carry_out(&config, &out, None).unwrap();
    for stop in [t_grok - 3, t_grok, t_grok + 1, t_grok + 36] {
        let elsewhere = scratch("interventions-past-grok-resumed");
        carry_out(&config, &elsewhere, Some(stop)).unwrap();
        let (folder, summary) = carry_out(&config, &elsewhere, None).unwrap();
        assert_eq!(summary.unwrap().steps, t_grok + 37);
        assert!(result(&folder, t_grok + 37) == result(&whole, t_grok + 37), "stopped at {stop}");
        fs::remove_dir_all(elsewhere).unwrap();
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn observing_changes_no_bit_of_training() {
    let out = scratch("interventions-observers");
    let trained = |changes: &[(&str, &str)]| {
        let (folder, _) = carry_out(&smoke(changes), &out, None).unwrap();
        tensors(&result(&folder, STEPS).1)
    };
    let rarely = trained(&[("eval.every", "1000"), ("spectral.every", "1000")]);
    for changes in [
        &[("eval.every", "1")][..],
        &[("eval.every", "7"), ("spectral.probe", "13")],
        &[("spectral.at", "[\"blocks.0.mlp.hook_post\", \"ln_final.hook_out\"]")],
    ] {
        assert!(trained(changes) == rarely, "{changes:?}");
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn an_evaluation_logs_what_it_should() {
    let out = scratch("interventions-keys");
    let keys = |config: &Config| {
        let (folder, _) = carry_out(config, &out, None).unwrap();
        let history = History::read(&folder.join("metrics.jsonl")).unwrap();
        for group in ["", "/embed", "/attn", "/mlp", "/ln", "/unembed"] {
            assert!(history.at(&format!("norm{group}"), 8).unwrap() > 0.0);
        }
        let all: f64 = ["embed", "attn", "mlp", "ln", "unembed"]
            .iter()
            .map(|group| history.at(&format!("norm/{group}"), 8).unwrap().powi(2))
            .sum();
        assert!((all.sqrt() / history.at("norm", 8).unwrap() - 1.0).abs() < 1e-12);
        for (hook, set, centring) in [
            ("ln_final.hook_out", "train", "centred"),
            ("blocks.0.ln2.hook_out", "test", "uncentred"),
        ] {
            let key = format!("spectral/{set}/{hook}/{centring}/participation_ratio");
            let ratio = history.at(&key, 8).unwrap();
            assert!((1.0..32.0).contains(&ratio), "{key}: {ratio}");
            let [rank, h] = ["effective_rank", "normalised_entropy"]
                .map(|what| history.at(&key.replace("participation_ratio", what), 8).unwrap());
            assert!((rank.ln() / f64::ln(32.0) / h - 1.0).abs() < 1e-12 && rank >= ratio, "{key}");
        }
        history
            .keys()
            .map(str::to_string)
            .filter(|key| key.ends_with("/fourier"))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&smoke(&[])), ["spectral/train/ln_final.hook_out/centred/fourier"]);
    let small = [
        ("task.n", "4"),
        ("task.train_fraction", "0.5"),
        ("steps", "16"),
        ("eval.every", "8"),
        ("optim.batch", "64"),
        ("model.d_model", "32"),
        ("model.d_mlp", "64"),
        ("spectral.probe", "64"),
    ]
    .map(|(k, v)| (k.to_string(), v.to_string()));
    let s4 = Config::from_toml_with(preset("entropy-paper-s5").unwrap(), "s5", &small).unwrap();
    assert_eq!(keys(&s4), [""; 0], "permutations have no circle");
    fs::remove_dir_all(out).unwrap();
}

/// ‖ours − golden‖ / ‖golden‖.
fn error(ours: &[f32], golden: &[f64]) -> f64 {
    assert_eq!(ours.len(), golden.len());
    let off: f64 = ours.iter().zip(golden).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
    (off / golden.iter().map(|x| x * x).sum::<f64>()).sqrt()
}

#[test]
fn mixing_and_sham_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/mixing.safetensors");
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str, dtype| {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), dtype);
        view.data().chunks_exact(4).map(|w| <[u8; 4]>::try_from(w).unwrap()).collect::<Vec<_>>()
    };
    let single = |name: &str| {
        words(name, Dtype::F32).into_iter().map(f32::from_le_bytes).collect::<Vec<f32>>()
    };
    let double = |name: &str| -> Vec<f64> {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F64);
        view.data().chunks_exact(8).map(|w| f64::from_le_bytes(w.try_into().unwrap())).collect()
    };
    let partner: Vec<u32> =
        words("partner", Dtype::I32).into_iter().map(u32::from_le_bytes).collect();
    let (rows, cols) = (24, 33);
    for alpha in [0.1, 0.3, 1.0] {
        for name in ["mix", "sham", "distance"] {
            let mut tape = autograd::Tape::new(1, true);
            let z = tape.param("z", rows, cols);
            let pi = tape.constant(autograd::Rows::Fixed(rows), partner.clone());
            let noise = tape.given("noise", autograd::Rows::Fixed(rows), cols);
            let y = match name {
                "mix" => tape.mix(z, pi, alpha),
                "distance" => tape.distance(z, pi, alpha),
                _ => {
                    let amplitude = tape.distance(z, pi, alpha);
                    tape.detach(amplitude);
                    tape.perturb(z, amplitude, noise)
                }
            };
            tape.value_mut(z).copy_from_slice(&single("z"));
            tape.value_mut(noise).copy_from_slice(&single("noise"));
            tape.forward();
            let width = tape.shape(y).1;
            let upstream: Vec<f32> = single("upstream")
                .chunks_exact(cols)
                .flat_map(|row| row[..width].to_vec())
                .collect();
            tape.backward_from(y, &upstream);
            let forward = error(tape.value(y), &double(&format!("{name}/{alpha:?}")));
            let backward = error(tape.grad(z), &double(&format!("grad/{name}/{alpha:?}")));
            println!("{name:<8} α {alpha}: value {forward:.1e}, gradient {backward:.1e}");
            assert!(forward < 2e-7 && backward < 2e-7, "{name}, α = {alpha}");
        }
    }
}

#[test]
fn a_profile_is_of_one_tape() {
    let dir = scratch("interventions-profile");
    let profile = |steps: &str| {
        let mut arguments = vec!["run".to_string(), "smoke".into(), "--steps".into(), "60".into()];
        for (key, value) in mixing(20, 25, false) {
            arguments.extend(["--set".to_string(), format!("{key}={value}")]);
        }
        arguments.extend(["--profile", "p.json", "--profile-steps", steps].map(String::from));
        arguments.extend(["--out".to_string(), format!("out-{steps}")]);
        run_in(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for steps in ["10..21", "24..30", "0..60"] {
        let refused = profile(steps);
        assert_eq!(refused.status.code(), Some(1), "{steps}");
        let said = stderr(&refused);
        assert!(said.contains("a profile shows one tape, and at step 2"), "{said}");
    }
    for (steps, acts) in [("10..20", false), ("20..25", true), ("25..30", false)] {
        let done = profile(steps);
        assert!(done.status.success(), "{}", stderr(&done));
        let trace = fs::read_to_string(dir.join("p.json")).unwrap();
        for name in [
            "mix intervene.hook_out\"",
            "mix intervene.hook_out, backward",
            "draw the intervention",
        ] {
            assert_eq!(trace.contains(name), acts, "{steps}: {name}");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}
