//! A run that was killed and taken up again ends with the bits of one that never was, and the number
//! of threads changes none.

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::{only_run, plateau, run_in, scratch, stderr, stdout};

/// Long enough to be killed in the middle, short enough for every day; its own checkpoints.
const RUN: [&str; 8] =
    ["run", "smoke", "--steps", "4000", "--set", "checkpoint.every=97", "--set", "task.p=23"];

/// Carries the run to its end; returns where it was taken up.
fn finish(dir: &Path, extra: &[&str]) -> Option<u64> {
    let output = run_in(dir, &[&RUN, extra, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    summary["resumed_from"].as_u64()
}

/// Everything of a run that must be equal: the metrics, and the last checkpoint.
fn result(dir: &Path) -> (String, Vec<u8>) {
    let run = only_run(&dir.join("runs"));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let checkpoint = fs::read(run.join("checkpoints/step-0004000.safetensors")).unwrap();
    (metrics, checkpoint)
}

fn assert_same(a: &(String, Vec<u8>), b: &(String, Vec<u8>)) {
    let line = a.0.lines().zip(b.0.lines()).find(|(a, b)| a != b);
    assert!(line.is_none(), "metrics differ: {line:?}");
    assert_eq!(a.0.len(), b.0.len(), "metrics differ in length");
    assert!(a.1 == b.1, "checkpoints differ");
}

#[test]
fn a_run_killed_at_any_moment_and_resumed_has_the_same_bits() {
    let whole = scratch("resume-whole");
    finish(&whole, &["--threads", "1"]);
    let expected = result(&whole);

    // Different moments on each machine and run; each is killed up to three times.
    let mut taken_up = Vec::new();
    for (i, delays) in [[130, 40, 90], [15, 260, 5], [380, 1, 70]].into_iter().enumerate() {
        let dir = scratch(&format!("resume-killed-{i}"));
        for delay in delays {
            let mut child = plateau()
                .current_dir(&dir)
                .args(RUN)
                .stderr(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
        }
        taken_up.extend(finish(&dir, &["--threads", "2"]));
        assert_same(&result(&dir), &expected);
        fs::remove_dir_all(dir).unwrap();
    }
    assert!(!taken_up.is_empty(), "no kill came after a checkpoint: the delays are too short");
    fs::remove_dir_all(whole).unwrap();
}

/// Sequences: a batch has another number of tokens at every step, and a carry-stratified one is drawn by weights.
#[test]
fn a_run_of_sequences_taken_up_again_has_the_same_bits() {
    let (whole, dir) = (scratch("resume-sequences-whole"), scratch("resume-sequences"));
    let arguments = |steps| {
        let sampler = "task.sampler=carry_stratified";
        ["run", "collatz-smoke", "--steps", steps, "--set", sampler]
    };
    let run = |dir: &Path, threads| {
        let output = run_in(dir, &[&arguments("120")[..], &["--threads", threads]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        only_run(&dir.join("runs"))
    };
    let expected = run(&whole, "1");
    let found = run(&dir, "2");
    // As a kill between step 100 and the end leaves it: a checkpoint, metrics beyond it, no summary.
    let meta = fs::read_to_string(found.join("meta.json")).unwrap();
    fs::write(found.join("meta.json"), meta.replace("\"finished\": true", "\"finished\": false"))
        .unwrap();
    let last = "checkpoints/step-0000120.safetensors";
    fs::remove_file(found.join(last)).unwrap();
    let metrics = fs::read_to_string(found.join("metrics.jsonl")).unwrap();
    fs::write(found.join("metrics.jsonl"), &metrics[..metrics.len() - 50]).unwrap();
    let output = run_in(&dir, &["resume", found.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(summary["resumed_from"], 100);
    for file in ["metrics.jsonl", last] {
        let [a, b] = [&expected, &found].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(whole).unwrap();
}

#[test]
fn a_truncated_newest_checkpoint_is_passed_over_with_a_sentence() {
    let (whole, dir) = (scratch("resume-torn-whole"), scratch("resume-torn"));
    finish(&whole, &[]);
    finish(&dir, &[]);
    let run = only_run(&dir.join("runs"));
    // Pretend that it stopped at the end, with a half-written newest checkpoint.
    let meta = fs::read_to_string(run.join("meta.json")).unwrap();
    fs::write(run.join("meta.json"), meta.replace("\"finished\": true", "\"finished\": false"))
        .unwrap();
    let newest = run.join("checkpoints/step-0004000.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let output = run_in(&dir, &["resume", run.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("step-0004000.safetensors"), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(summary["resumed_from"], 3977); // 41 · 97
    assert_same(&result(&dir), &result(&whole));
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(whole).unwrap();
}

#[test]
fn threads_change_no_bit_of_a_run() {
    // A batch large enough that the products are split, and what is done to it.
    for experiment in ["entropy-paper-add", "entropy-mixing", "collatz-1x1"] {
        let arguments = |threads| {
            let mut all = vec!["run", experiment, "--steps", "12", "--threads", threads];
            all.extend(["--set", "eval.every=5", "--set", "checkpoint.every=6"]);
            all
        };
        let results: Vec<_> = ["1", "2", "3", "7"]
            .into_iter()
            .map(|threads| {
                let dir = scratch(&format!("threads-{threads}"));
                let output = run_in(&dir, &arguments(threads));
                assert!(output.status.success(), "{}", stderr(&output));
                let run = only_run(&dir.join("runs"));
                let result = (
                    fs::read_to_string(run.join("metrics.jsonl")).unwrap(),
                    fs::read(run.join("checkpoints/step-0000012.safetensors")).unwrap(),
                );
                fs::remove_dir_all(dir).unwrap();
                result
            })
            .collect();
        for other in &results[1..] {
            assert_same(other, &results[0]);
        }
    }
}

#[test]
fn a_complete_run_is_not_repeated() {
    let dir = scratch("resume-complete");
    let arguments = ["run", "smoke", "--json"];
    let first = run_in(&dir, &arguments);
    let again = run_in(&dir, &arguments);
    assert!(first.status.success() && again.status.success());
    assert_eq!(stdout(&first), stdout(&again), "the summary of the first time, times included");
    let run = only_run(&dir.join("runs"));
    let resumed = run_in(&dir, &["resume", run.to_str().unwrap(), "--json"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    fs::remove_dir_all(dir).unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint_says_how_to_go_on_and_exits_130() {
    let dir = scratch("ctrl-c");
    let child = plateau()
        .current_dir(&dir)
        .args(RUN)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(250));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("go on with: plateau resume "), "{}", stderr(&output));
    let whole = scratch("ctrl-c-whole");
    finish(&whole, &[]);
    finish(&dir, &[]);
    assert_same(&result(&dir), &result(&whole));
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(whole).unwrap();
}
