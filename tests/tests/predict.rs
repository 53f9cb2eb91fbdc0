//! `plateau predict`: its figures are those of the run's own evaluation and, where there is Python, of a second
//! program that counts the predictions.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{only_run, run_in, scratch, stderr, stdout};

/// Runs a preset with these changes in `dir`; its folder.
fn run(dir: &Path, preset: &str, steps: &str, changes: &[&str]) -> PathBuf {
    let out = format!("runs-{}", changes.len());
    let mut arguments = vec!["run", preset, "--steps", steps, "--threads", "1", "--out", &out];
    changes.iter().for_each(|change| arguments.extend(["--set", change]));
    let output = run_in(dir, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    only_run(&dir.join(out))
}

fn predict(dir: &Path, run: &Path, more: &[&str]) -> Value {
    let output = run_in(dir, &[&["predict", run.to_str().unwrap(), "--json"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// A figure's share.
fn share(result: &Value, name: &str) -> f64 {
    let figures = result["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.unwrap_or_else(|| panic!("no {name} in {result}"))["share"].as_f64().unwrap()
}

/// The metrics of a step.
fn metrics(run: &Path, step: u64) -> Value {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(|line| line["step"] == step).unwrap()
}

const SMALL: [&str; 5] = [
    "eval.test=250",
    "checkpoint.every=20",
    "checkpoint.keep=0",
    "optim.lr=0.003",
    "model.d_model=48",
];

#[test]
fn the_figures_are_those_of_the_runs_evaluation_and_of_a_second_program() {
    let dir = scratch("predict");
    let plain = run(&dir, "collatz-smoke", "160", &SMALL);
    let frozen = [
        &SMALL[..],
        &["intervene.freeze.parts=[\"encoder\"]", "spectral.at=[\"decoder.ln_final.hook_out\"]"],
    ]
    .concat();
    let frozen = run(&dir, "collatz-smoke", "40", &frozen);
    for (run, step, arguments) in [
        (&plain, 160, &[][..]),
        (&plain, 40, &["--step", "40", "--out", "at-40.csv"]),
        (&frozen, 40, &["--out", "frozen.csv"]),
    ] {
        let result = predict(&dir, run, arguments);
        assert_eq!(result["step"], step);
        let logged = metrics(run, step);
        for (figure, key) in [
            ("exact", "test/acc"),
            ("exact/even", "test/acc/even"),
            ("exact/odd", "test/acc/odd"),
            ("digit", "test/acc/digit"),
        ] {
            assert_eq!(share(&result, figure), logged[key].as_f64().unwrap(), "{step}: {key}");
        }
        let file = dir.join(result["predictions"].as_str().unwrap());
        let dump = fs::read_to_string(&file).unwrap();
        assert_eq!(dump.lines().count(), 1 + 250);
        assert_eq!(dump.lines().next(), Some("n,source,target,prediction"));
        // The figures as the second program reads them.
        let mut csv = "name,hits,of,lo,hi\n".to_string();
        for figure in result["figures"].as_array().unwrap() {
            let [hits, of, lo, hi] = ["hits", "of", "lo", "hi"].map(|key| &figure[key]);
            csv += &format!("{},{hits},{of},{lo},{hi}\n", figure["name"].as_str().unwrap());
        }
        fs::write(dir.join("figures.csv"), csv).unwrap();
        let python = std::env::var("PYTHON").unwrap_or("python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("audit/accuracy.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(&file).arg(dir.join("figures.csv"));
        match command.args(["--kind", "collatz", "--base", "8"]).output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", stderr(&output));
                assert!(stdout(&output).ends_with(" figures of 250 predictions agree\n"));
            }
            Err(_) => println!("not counted again: no python3"),
        }
    }
    assert!(plain.join("predictions.csv").exists(), "the default place");
    let exact = share(&predict(&dir, &plain, &[]), "exact");
    assert!(exact > 0.1 && exact < 1.0, "some are right, some wrong: {exact}");

    let output = run_in(&dir, &["predict", plain.to_str().unwrap()]);
    let text = stdout(&output);
    let begin =
        "collatz-smoke, seed 0, step 160: what greedy decoding writes for 250 test examples\n";
    assert!(text.starts_with(begin), "{text}");
    let row = text.lines().find(|line| line.starts_with("exact ")).unwrap();
    assert!(row.contains(&format!(" {exact:.4} ")), "{row}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_cannot_be_predicted_is_refused_in_a_sentence() {
    let dir = scratch("predict-refused");
    let plain = run(&dir, "collatz-smoke", "20", &["eval.test=64", "checkpoint.every=10"]);
    let pairs = run(&dir, "smoke", "2", &[]);
    let refused = |arguments: &[&str], sentence: &str| {
        let output = run_in(&dir, &[&["predict"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(sentence), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty());
    };
    refused(&["nowhere"], "plateau: nowhere: no run folder, for it has no config.toml");
    let path = plain.to_str().unwrap();
    refused(&[pairs.to_str().unwrap()], "a run of pairs; expected one of a task whose answers are");
    refused(&[path, "--step", "7"], "has no checkpoint of step 7; it has 10, 20");
    refused(&[path, "--out", "no/such/folder/file.csv"], "no/such/folder");
    fs::write(plain.join("checkpoints/step-0000020.safetensors"), "x").unwrap();
    refused(&[path, "--step", "20"], "step-0000020.safetensors: not a whole safetensors file");
    assert_eq!(predict(&dir, &plain, &[])["step"], 10, "the newest that can be used");
    for step in [10, 20] {
        fs::remove_file(plain.join(format!("checkpoints/step-{step:07}.safetensors"))).unwrap();
    }
    refused(&[path], "there is no checkpoint yet");
    fs::remove_dir_all(dir).unwrap();
}
