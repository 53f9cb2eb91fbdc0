//! `--profile` accounts for every step, op by op, and changes none.

use experiments::{config::Config, presets, train::Trainer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::{only_run, plateau, run_in, scratch, stderr};

/// A span of the file. Times are in units of 1/8 µs, in which they are whole.
struct Span {
    name: String,
    category: String,
    began: u64,
    ended: u64,
    step: Option<u64>,
    args: Value,
}

/// The whole file, and its spans.
fn read(file: &Path) -> (Value, Vec<Span>) {
    let trace: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let ticks = |x: &Value| {
        let ticks = x.as_f64().unwrap() * 8.0;
        assert!(ticks >= 0.0 && ticks.fract() == 0.0, "{x}");
        ticks as u64
    };
    let spans = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X");
    let span = |e: &Value| {
        assert_eq!((&e["pid"], &e["tid"]), (&1.into(), &1.into()));
        Span {
            name: e["name"].as_str().unwrap().to_string(),
            category: e["cat"].as_str().unwrap().to_string(),
            began: ticks(&e["ts"]),
            ended: ticks(&e["ts"]) + ticks(&e["dur"]),
            step: e["args"]["step"].as_u64(),
            args: e["args"].clone(),
        }
    };
    let spans = spans.map(span).collect();
    (trace, spans)
}

/// As the viewers want it: in order of time, and each span inside the ones that are still open.
fn assert_nested(spans: &[Span]) {
    let mut open: Vec<&Span> = Vec::new();
    let mut now = 0;
    for span in spans {
        assert!(now <= span.began && span.began <= span.ended, "{} goes back", span.name);
        now = span.began;
        open.retain(|outer| outer.ended > now);
        for outer in &open {
            assert!(span.ended <= outer.ended, "{} leaves {}", span.name, outer.name);
        }
        open.push(span);
    }
}

#[test]
fn every_op_of_every_profiled_step_is_there_and_the_parts_make_up_the_step() {
    let dir = scratch("profile");
    let every = ["--set", "eval.every=20", "--set", "checkpoint.every=25", "--threads", "2"];
    let profile = ["--profile", "t.json", "--profile-steps", "15..45"];
    let begun = Instant::now();
    let run = [&["run", "smoke", "--steps", "60"][..], &every, &profile].concat();
    let output = run_in(&dir, &run);
    let elapsed = begun.elapsed();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("t.json; open it in"), "{}", stderr(&output));
    assert!(!dir.join("t.json.tmp").exists());

    let (trace, spans) = read(&dir.join("t.json"));
    assert_nested(&spans);
    let end = spans.iter().map(|span| span.ended).max().unwrap();
    assert!(Duration::from_nanos(125 * end) <= elapsed, "{end} ticks in {elapsed:?}");
    // A tick is 1/8 µs: no core does a hundred thousand flops in one.
    let work = |s: &&Span| s.args["flops"].as_u64().is_some_and(|flops| flops > 100_000);
    assert!(spans.iter().filter(work).count() > 100);
    assert!(spans.iter().filter(work).all(|s| s.ended > s.began), "an op that takes no time");

    // What the model's tape is, from the model and not from the file.
    let text = presets::preset("smoke").unwrap();
    let mut trainer = Trainer::new(&Config::from_toml(text, "smoke").unwrap());
    trainer.forward(0).unwrap();
    let tape = &trainer.model().tape;
    let ops: Vec<_> = tape.ops().map(|op| op.name()).zip(tape.op_flops()).collect();

    let mut steps: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.category != "step") {
        match span.step {
            Some(step) => steps.entry(step).or_default().push(span),
            None => assert_eq!(span.category, "start", "{}", span.name),
        }
    }
    assert!(steps.keys().copied().eq(15..45));
    for (&step, parts) in &steps {
        let whole: Vec<_> =
            spans.iter().filter(|s| s.category == "step" && s.step == Some(step)).collect();
        let [whole] = whole[..] else { panic!("step {step} is there {} times", whole.len()) };
        assert_eq!(whole.name, format!("step {step}"));
        // Nothing twice, nothing left out.
        assert_eq!((parts[0].began, parts[parts.len() - 1].ended), (whole.began, whole.ended));
        assert!(parts.windows(2).all(|pair| pair[0].ended == pair[1].began), "step {step}");

        let numbers = |category: &str| -> Vec<u64> {
            let of = parts.iter().filter(|span| span.category == category);
            of.filter_map(|span| span.args["op"].as_u64()).collect()
        };
        let all = 0..ops.len() as u64;
        assert_eq!(numbers("forward"), all.clone().collect::<Vec<_>>());
        assert_eq!(numbers("backward"), all.rev().collect::<Vec<_>>());
        for span in parts.iter().filter(|span| span.args["op"].is_u64()) {
            let (name, flops) = ops[span.args["op"].as_u64().unwrap() as usize];
            assert!(span.name.starts_with(name), "{} is {name}", span.name);
            let flops = if span.category == "forward" { flops.0 } else { flops.1 };
            assert_eq!(span.args["flops"], flops, "{}", span.name);
        }
        let count = |name: &str| parts.iter().filter(|span| span.name == name).count();
        for name in ["draw the batch", "load the batch", "H̃ of the batch", "metrics", "AdamW"] {
            assert_eq!(count(name), 1, "{name} in step {step}");
        }
        assert_eq!(count("evaluation"), usize::from(step % 20 == 0), "step {step}");
        assert_eq!(count("checkpoint"), usize::from((step + 1) % 25 == 0), "step {step}");
    }

    let forward = |op: &str| spans.iter().find(|s| s.category == "forward" && s.name == op);
    let mlp = forward("linear blocks.0.hook_mlp_out").expect("the MLP's second product");
    assert_eq!(mlp.args["reads"][1], "blocks.0.mlp.W_out 64x32");
    assert_eq!(mlp.args["writes"][0], "blocks.0.hook_mlp_out 64x32");

    let meta = fs::read(only_run(&dir.join("runs")).join("meta.json")).unwrap();
    let meta: Value = serde_json::from_slice(&meta).unwrap();
    for key in ["cpu", "commit", "simd", "threads"] {
        assert_eq!(trace["otherData"][key], meta[key], "{key}");
    }
    let named = |what: &str| {
        let is = |e: &&Value| e["ph"] == "M" && e["name"] == what;
        trace["traceEvents"].as_array().unwrap().iter().filter(is).count()
    };
    assert_eq!((named("process_name"), named("thread_name")), (1, 1));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_profile_changes_no_bit_of_a_run() {
    let results = [&[][..], &["--profile", "t.json"]].map(|extra| {
        let dir = scratch(&format!("profile-bits-{}", extra.len()));
        let output = run_in(&dir, &[&["run", "smoke", "--steps", "80"], extra].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(dir.join("t.json").exists(), !extra.is_empty());
        let run = only_run(&dir.join("runs"));
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let checkpoint = fs::read(run.join("checkpoints/step-0000080.safetensors")).unwrap();
        fs::remove_dir_all(dir).unwrap();
        (metrics, checkpoint)
    });
    assert!(results[0] == results[1]);
}

#[cfg(unix)]
#[test]
fn a_stopped_run_leaves_a_whole_profile_and_a_resumed_one_profiles_its_own_first_steps() {
    let dir = scratch("profile-stopped");
    let run = ["run", "smoke", "--steps", "1000000", "--set"];
    let child = plateau()
        .current_dir(&dir)
        .args(run)
        .args(["checkpoint.every=100000", "--profile", "t.json", "--profile-steps", "5..10000"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let (_, spans) = read(&dir.join("t.json"));
    assert_nested(&spans);
    let steps = |spans: &[Span]| -> Vec<u64> {
        spans.iter().filter(|s| s.category == "step").filter_map(|s| s.step).collect()
    };
    let stopped: u64 = {
        let said = stderr(&output);
        let rest = said.split("stopped at step ").nth(1).expect("where it stopped");
        rest.split(';').next().unwrap().parse().unwrap()
    };
    assert!(steps(&spans).into_iter().eq(5..stopped));
    assert!(spans.iter().any(|s| s.name == "checkpoint" && s.step == Some(stopped - 1)));

    let folder = only_run(&dir.join("runs"));
    let mut child = plateau()
        .current_dir(&dir)
        .args(["resume", folder.to_str().unwrap(), "--profile", "u.json"])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It is written as soon as its last step is done.
    let begun = Instant::now();
    while !dir.join("u.json").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, spans) = read(&dir.join("u.json"));
    assert!(steps(&spans).into_iter().eq(stopped..stopped + 30));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_profile_that_cannot_be_is_refused_before_anything_is_done() {
    let dir = scratch("profile-refused");
    fs::create_dir(dir.join("folder")).unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run_in(&dir, &[&["run", "smoke"], arguments].concat());
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "{arguments:?} left something behind");
    };
    refused(&["--profile", "nowhere/t.json"], &["profile", "nowhere/t.json", "No such file"]);
    let long = ["--steps", "20000", "--profile", "t.json", "--profile-steps", "0..20000"];
    refused(&long, &["a profile of 20000 steps", "at most 10000"]);
    refused(&["--profile", "folder"], &["profile", "folder", "not a file"]);
    let steps = |steps| ["--profile", "t.json", "--profile-steps", steps];
    refused(&steps("7"), &["7", "990..1010"]);
    refused(&steps("9..9"), &["9..9", "990..1010"]);
    refused(&steps("1..x"), &["1..x"]);
    refused(&steps("301..310"), &["301..310", "300"]);
    refused(&["--profile-steps", "1..2"], &["--profile"]);

    assert!(run_in(&dir, &["run", "smoke", "--steps", "5"]).status.success());
    let output = run_in(&dir, &["run", "smoke", "--steps", "5", "--profile", "t.json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("no step to profile"), "{}", stderr(&output));
    fs::remove_dir_all(dir).unwrap();
}
