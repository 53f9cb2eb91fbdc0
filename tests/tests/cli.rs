//! Bad input gets a sentence, an exit code above 0, and leaves nothing half-written; good input gets
//! the documented JSON.

use serde_json::Value;
use std::fs;
use std::path::Path;
use tests::{only_run, plateau, run_in, scratch, stderr, stdout};

/// The command fails with exit code `code` and one sentence that holds every one of `words`, and
/// leaves the folder as it was.
fn refused(dir: &Path, arguments: &[&str], words: &[&str]) {
    let files =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let before = files(dir);
    let output = run_in(dir, arguments);
    let said = stderr(&output);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?}", output.status);
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
    }
    assert_eq!(stdout(&output), "", "{arguments:?}");
    assert_eq!(files(dir), before, "{arguments:?} left something behind");
}

#[test]
fn a_bad_experiment_is_refused_with_a_sentence() {
    let dir = scratch("bad-experiment");
    let smoke = experiments::presets::preset("smoke").unwrap();
    let file = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    file("typo.toml", &smoke.replace("weight_decay", "weigth_decay"));
    file("half.toml", &smoke[..smoke.len() / 2]);
    file("binary.toml", "\u{0}\u{1}");
    let refused = |arguments: &[&str], words: &[&str]| refused(&dir, arguments, words);
    refused(&["run", "no-such-preset"], &["no-such-preset", "preset", "entropy-paper-add"]);
    refused(&["run", "typo.toml"], &["typo.toml", "weigth_decay", "weight_decay"]);
    refused(&["run", "half.toml"], &["half.toml"]);
    refused(&["run", "binary.toml"], &["binary.toml"]);
    refused(&["run", "smoke", "--set", "optim.lrr=1"], &["optim.lrr", "lr"]);
    refused(&["run", "smoke", "--set", "optim.lr"], &["optim.lr", "="]);
    refused(&["run", "smoke", "--set", "optim.lr=fast"], &["lr"]);
    refused(&["run", "smoke", "--set", "task.op=div", "--set", "task.p=12"], &["12", "prime"]);
    refused(&["run", "smoke", "--set", "task.train_fraction=1e-6"], &["train_fraction"]);
    refused(&["run", "smoke", "--set", "task.train_fraction=1.5"], &["train_fraction"]);
    refused(&["run", "smoke", "--set", "model.n_heads=5"], &["n_heads"]);
    refused(
        &["run", "smoke", "--set", "spectral.at=[\"blocks.9.hook_resid_post\"]"],
        &["blocks.9"],
    );
    refused(&["run", "smoke", "--steps", "0"], &["steps"]);
    refused(&["run", "collatz-smoke", "--set", "model.n_heads=5"], &["d_model", "n_heads = 5"]);
    refused(&["run", "collatz-smoke", "--set", "model.decoder_layers=0"], &["decoder_layers = 0"]);
    refused(&["run", "collatz-smoke", "--set", "eval.test=401"], &["eval.test = 401", "400"]);
    refused(&["run", "collatz-smoke", "--set", "optim.clip=-1"], &["optim.clip = -1"]);
    refused(
        &["run", "collatz-smoke", "--set", "intervene.labels.shuffled=true"],
        &["[intervene]", "sequences"],
    );
    file("pairs.toml", &other_task("collatz-smoke", "smoke"));
    file("sequences.toml", &other_task("smoke", "collatz-smoke"));
    refused(&["run", "pairs.toml"], &["model.kind", "pairs", "expected one_layer or mlp"]);
    refused(&["run", "sequences.toml"], &["model.kind", "sequences", "expected encoder_decoder"]);
    refused(&["run", "smoke", "--threads", "0"], &["threads"]);
    refused(&["run"], &["EXPERIMENT"]);
    refused(&["frobnicate"], &["frobnicate"]);
    refused(&["resume", "nowhere"], &["nowhere"]);
    refused(&["report", "nowhere"], &["nowhere"]);
    refused(&["bench", "step", "nowhere"], &["nowhere"]);
    refused(&["bench", "matmul", "--shape", "1,2"], &["1,2", "three"]);
    fs::remove_dir_all(dir).unwrap();
}

/// A preset with the task of another.
fn other_task(preset: &str, other: &str) -> String {
    let text = |name| experiments::presets::preset(name).unwrap();
    let task = |text: &'static str| {
        let from = text.find("[task]").unwrap();
        from..text.find("[model]").unwrap()
    };
    let (one, two) = (text(preset), text(other));
    [&one[..task(one).start], &two[task(two)], &one[task(one).end..]].concat()
}

#[test]
fn a_run_of_sequences_logs_what_it_writes() {
    let dir = scratch("json-sequences");
    let output = run_in(&dir, &["run", "collatz-smoke", "--json", "--profile", "trace.json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let run = only_run(&dir.join("runs"));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let last = lines.last().unwrap();
    let get = |line: &Value, key: &str| {
        line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"))
    };
    for key in ["train/acc", "test/acc"] {
        assert_eq!(summary["final"][key], last[key]);
    }
    let hook = "spectral/train/decoder.ln_final.hook_out/centred";
    assert_eq!(summary["final"]["normalised_entropy"], last[format!("{hook}/normalised_entropy")]);
    for set in ["train", "test"] {
        for stack in ["encoder", "decoder"] {
            for what in ["normalised_entropy", "effective_rank", "participation_ratio"] {
                get(last, &format!("spectral/{set}/{stack}.ln_final.hook_out/centred/{what}"));
            }
        }
    }
    for line in [&lines[0], last] {
        let [all, even, odd, digit] =
            ["", "/even", "/odd", "/digit"].map(|of| get(line, &format!("test/acc{of}")));
        // The share of even numbers of the test set, which are about half.
        assert!((even.min(odd)..=even.max(odd)).contains(&all), "{line}");
        assert!(digit >= all, "{line}");
        for key in ["train/loss", "test/loss", "norm/embed", "norm/attn"] {
            assert!(get(line, key) > 0.0);
        }
    }
    // Before the first step each of eleven tokens is about as likely.
    assert!((get(&lines[0], "test/loss") - 11f64.ln()).abs() < 1.5, "{}", lines[0]);
    assert!(get(last, "train/loss") < 0.6 * get(&lines[0], "train/loss"), "{last}");
    assert!(get(last, "test/acc/digit") > 0.4, "{last}");
    let batch = "spectral/batch/decoder.ln_final.hook_out/centred/normalised_entropy";
    assert!(lines[..lines.len() - 1].iter().all(|line| line[batch].is_f64()));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("collatz-smoke, seed 0") && page.contains("decoder.ln_final.hook_out"));
    let trace: Value = serde_json::from_slice(&fs::read(dir.join("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let attention = |e: &&Value| e["name"].as_str().unwrap().starts_with("varlen_attention ");
    // Thirty steps with three attentions, forwards and backwards.
    assert_eq!(events.iter().filter(attention).count(), 30 * 6);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_exploding_run_names_the_step_and_the_op() {
    let dir = scratch("exploding");
    let output = run_in(&dir, &["run", "smoke", "--set", "optim.lr=1e6"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("not finite") && said.contains("step "), "{said}");
    assert!(said.contains("in op ") || said.contains("parameter "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    fs::remove_dir_all(dir).unwrap();
}

#[cfg(unix)]
#[test]
fn an_output_folder_that_cannot_be_written_is_named() {
    let dir = scratch("unwritable");
    fs::write(dir.join("file"), "").unwrap();
    let output = run_in(&dir, &["run", "smoke", "--out", "file/runs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("file/runs"), "{}", stderr(&output));
    let output = run_in(&dir, &["run", "smoke", "--out", "/proc/nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/proc/nothing"), "{}", stderr(&output));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_foreign_or_truncated_checkpoint_is_refused_with_a_sentence() {
    let dir = scratch("foreign");
    // A run that is incomplete, with one checkpoint.
    assert!(run_in(&dir, &["run", "smoke"]).status.success());
    let run = only_run(&dir.join("runs"));
    let meta = fs::read_to_string(run.join("meta.json")).unwrap();
    fs::write(run.join("meta.json"), meta.replace("\"finished\": true", "\"finished\": false"))
        .unwrap();
    let other = scratch("foreign-other");
    assert!(run_in(&other, &["run", "smoke", "--seed", "9"]).status.success());
    let newest = |run: &Path| {
        let mut all: Vec<_> =
            fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        all.pop().unwrap()
    };
    let foreign = fs::read(newest(&only_run(&other.join("runs")))).unwrap();
    for entry in fs::read_dir(run.join("checkpoints")).unwrap() {
        fs::write(entry.unwrap().path(), &foreign).unwrap();
    }
    let output = run_in(&dir, &["resume", run.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.contains("checkpoint") && said.contains("-s9"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(other).unwrap();
}

#[test]
fn the_json_of_a_run_has_the_documented_keys() {
    let dir = scratch("json-run");
    let output = run_in(&dir, &["run", "smoke", "--json"]);
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let keys: Vec<&str> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "run",
            "steps",
            "t_memorise",
            "t_grok",
            "t_collapse",
            "final",
            "ms_per_step",
            "resumed_from"
        ]
    );
    for key in ["train/acc", "test/acc", "normalised_entropy"] {
        assert!(summary["final"][key].is_f64(), "{key}: {summary}");
    }
    assert!(summary["resumed_from"].is_null());
    // every step has its entropy, evaluations have the rest
    let run = only_run(&dir.join("runs"));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let steps = summary["steps"].as_u64().unwrap() as usize;
    assert_eq!(lines.len(), steps + 1);
    let hook = "spectral/batch/blocks.0.ln2.hook_out/centred/normalised_entropy";
    let first_keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    let batch = first_keys.iter().find(|k| k.starts_with("spectral/batch/")).unwrap_or(&hook);
    assert!(lines[..steps].iter().all(|line| line[*batch].is_f64()));
    for key in ["train/loss", "train/acc", "test/loss", "test/acc", "norm", "batch/loss"] {
        assert!(lines[0][key].is_f64(), "{key}: {}", lines[0]);
    }
    assert!(run.join("report.html").exists());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_json_of_the_benches_has_the_documented_keys() {
    let dir = scratch("json-bench");
    let output = run_in(&dir, &["bench", "step", "smoke", "--json"]);
    let step: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&step["preset"], &step["threads"]), (&"smoke".into(), &1.into()));
    let ms = |key: &str| step["ms"][key].as_f64().unwrap();
    assert!(0.0 < ms("min") && ms("min") <= ms("median") && ms("median") <= ms("max"));
    assert!(step["entropy_ms"].as_f64().unwrap() > 0.0 && step["gflops"].as_f64().unwrap() > 0.0);
    let output = run_in(&dir, &["bench", "step", "collatz-smoke", "--json"]);
    let sequences: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&sequences["preset"], &sequences["batch"]), (&"collatz-smoke".into(), &64.into()));
    assert!(sequences["ms"]["median"].as_f64().unwrap() > 0.0);
    let arguments = ["bench", "matmul", "--shape", "64,32,48", "--form", "nt,tn", "--json"];
    let output = run_in(&dir, &arguments);
    let rows: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let forms: Vec<&str> =
        rows.as_array().unwrap().iter().map(|r| r["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["nt", "tn"]);
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["m"], &row["k"], &row["n"]), (&64.into(), &32.into(), &48.into()));
        assert!(row["gflops"]["median"].as_f64().unwrap() > 0.0);
        assert!(row["peak_gflops"].as_f64().unwrap() > 1.0);
    }
    fs::remove_dir_all(dir).unwrap();
}

/// Jobs wait for each other; one whose thread never began would keep the others waiting for ever.
#[cfg(unix)]
#[test]
fn runs_side_by_side_that_cannot_all_start_are_refused() {
    let dir = scratch("many-jobs");
    let plateau = plateau();
    // 1024 stacks of 2 MiB do not fit into 1 GiB.
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 1048576 && exec \"$0\" \"$@\""])
        .arg(plateau.get_program())
        .args(["bench", "step", "smoke", "--jobs", "1024"])
        .current_dir(&dir)
        .output()
        .expect("sh starts");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the threads could not be started"), "{said}");
    assert_eq!(stdout(&output), "");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn runs_side_by_side_are_measured_against_one_alone() {
    let dir = scratch("json-jobs");
    let output = run_in(&dir, &["bench", "step", "smoke", "--jobs", "2", "--json"]);
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&result["preset"], &result["jobs"]), (&"smoke".into(), &2.into()));
    let rate = |key: &str| result["steps_per_second"][key].as_f64().unwrap();
    let speed_up = result["speed_up"].as_f64().unwrap();
    // Nobody can promise how many cores are free, but two runs are never three times one.
    assert!(rate("one") > 0.0 && (0.5..3.0).contains(&(rate("all") / rate("one"))), "{result}");
    assert!((0.5..3.0).contains(&speed_up), "{result}");
    refused(&dir, &["bench", "step", "smoke", "--jobs", "2", "--threads", "2"], &["--threads"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = plateau()
        .arg("presets")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(stderr(&output), "");
}

#[cfg(unix)]
#[test]
fn a_stderr_that_nobody_reads_or_a_name_that_is_no_text_stops_no_run() {
    use std::os::unix::ffi::OsStrExt;
    let dir = scratch("stderr");
    let mut child = plateau()
        .current_dir(&dir)
        .args(["run", "smoke", "--out"])
        .arg(std::ffi::OsStr::from_bytes(b"\xff"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_config_edited_in_its_run_folder_is_refused() {
    let dir = scratch("edited");
    assert!(run_in(&dir, &["run", "smoke"]).status.success());
    let run = only_run(&dir.join("runs"));
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), config.replace("steps = 300", "steps = 600")).unwrap();
    let output = run_in(&dir, &["resume", run.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--steps"), "{}", stderr(&output));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_preset_is_listed_with_its_figure() {
    let output = run_in(Path::new("."), &["presets"]);
    let text = stdout(&output);
    for name in [
        "default",
        "entropy-paper-add",
        "entropy-paper-sub",
        "entropy-paper-mul",
        "entropy-paper-s5",
        "nanda",
        "calibration-f50",
        "smoke",
        "collatz-1x1",
        "collatz-2x2",
        "collatz-paper",
        "collatz-smoke",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing:\n{text}");
    }
}
