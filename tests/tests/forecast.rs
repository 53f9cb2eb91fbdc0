//! `plateau forecast` on a made-up study and run folders, and the forecast in a run's progress.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tests::{only_run, run_in, scratch, stderr, stdout};

/// H̃ with this many steps left: the paper's law, ΔT = 2.45e5 (H̃ − .609)^1.65, slanted by `factor`.
fn entropy(left: f64, factor: f64) -> f64 {
    if left < 0.0 { 0.5 } else { 0.609 + (factor * left / 2.45e5).powf(1.0 / 1.65) }
}

/// Writes `results/entropy`: seeds 10 to 19 of `add`, which grok at 7,000, 7,300, …
fn study(dir: &Path, op: &str, fraction: f64, norm: f64) {
    let results = dir.join("results/entropy");
    fs::create_dir_all(results.join("curves")).unwrap();
    let mut runs = "hash,group,task,op,seed,train_fraction,intervention,alpha,steps,t_memorise,\
        t_collapse,t_test_10,t_test_50,t_test_90,t_grok,entropy_init,entropy_at_grok,\
        entropy_final,norm_init,norm_final\n"
        .to_string();
    for seed in 10..20u64 {
        let t_grok = 7000 + 300 * (seed - 10);
        let factor = 0.9 + 0.2 * (seed - 10) as f64 / 9.0;
        writeln!(
            runs,
            "0123456789ab,add,modular,{op},{seed},{fraction},none,,{},300,,,,,{t_grok},,.609,.5,{norm},20",
            t_grok + 1000
        )
        .unwrap();
        let mut curve = "step,train_loss,train_acc,test_loss,test_acc,norm,entropy,entropy_test,\
            participation_ratio,fourier,norm_embed,norm_attn,norm_mlp,norm_unembed,norm_ln\n"
            .to_string();
        for step in (0..=t_grok + 1000).step_by(100) {
            let left = t_grok as f64 - step as f64;
            let train = if step >= 300 { 1.0 } else { 0.3 };
            let test = if left <= 0.0 { 1.0 } else { 0.02 };
            let entropy = entropy(left, factor);
            writeln!(curve, "{step},0.1,{train},3,{test},{norm},{entropy},,,,,,,,").unwrap();
        }
        fs::write(results.join(format!("curves/0123456789ab-s{seed}.csv")), curve).unwrap();
    }
    fs::write(results.join("runs.csv"), runs).unwrap();
}

/// A run folder of the preset `default` (seed 4) that has come to `step` and will grok at 9,000.
fn run_at(dir: &Path, step: u64) -> PathBuf {
    let run = dir.join(format!("run-{step}"));
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), experiments::presets::preset("default").unwrap()).unwrap();
    let mut metrics = String::new();
    for s in (0..=step).step_by(50) {
        let mut line = json!({"step": s, "batch/loss": 1.0});
        if s % 100 == 0 {
            let left = 9000.0 - s as f64;
            line["train/loss"] = json!(0.1);
            line["train/acc"] = json!(if s >= 300 { 1.0 } else { 0.3 });
            line["test/loss"] = json!(3.0);
            line["test/acc"] = json!(if left <= 0.0 { 1.0 } else { 0.02 });
            line["norm"] = json!(117.0);
            let key = "spectral/train/ln_final.hook_out/centred/normalised_entropy";
            line[key] = json!(entropy(left, 1.0));
        }
        writeln!(metrics, "{line}").unwrap();
    }
    fs::write(run.join("metrics.jsonl"), metrics + "{\"step\":99").unwrap(); // torn: it is going on
    run
}

fn forecast(dir: &Path, arguments: &[&str]) -> Value {
    let output = run_in(dir, &[&["forecast"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn the_json_of_a_forecast_has_the_documented_keys_in_every_state() {
    let dir = scratch("forecast");
    study(&dir, "add", 0.2, 117.5);
    for step in [1500, 7500, 9500] {
        run_at(&dir, step);
    }
    let early = forecast(&dir, &["run-1500"]);
    let keys: Vec<&str> = early.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = ["run", "step", "state", "t_grok", "interval", "entropy"];
    assert_eq!(keys, [&documented[..], &["reference_groups", "reference_seeds"]].concat());
    assert_eq!((&early["run"], &early["step"]), (&json!("run-1500"), &json!(1500)));
    assert_eq!((&early["state"], &early["t_grok"]), (&json!("no sign"), &json!(null)));
    assert_eq!(early["interval"], json!(null));
    assert_eq!(early["entropy"], json!(entropy(7500.0, 1.0)));
    assert_eq!(early["reference_groups"], json!(["add"]));
    assert_eq!(early["reference_seeds"], json!([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]));

    let later = forecast(&dir, &["run-7500", "--from", "results/entropy", "--group", "add"]);
    assert_eq!(later["state"], json!("forecast"));
    let t_grok = later["t_grok"].as_u64().unwrap();
    assert!(t_grok.abs_diff(9000) < 200, "{later}");
    let [lo, hi] = [0, 1].map(|i| later["interval"][i].as_u64().unwrap());
    assert!((7500..9000).contains(&lo) && (9001..9600).contains(&hi), "{later}");

    let done = forecast(&dir, &["run-9500", "--from", "nowhere"]); // no reference is needed
    assert_eq!((&done["state"], &done["t_grok"]), (&json!("grokked"), &json!(9000)));
    assert_eq!((&done["interval"], &done["reference_seeds"]), (&json!(null), &json!([])));

    let words = |run: &str| stdout(&run_in(&dir, &["forecast", run]));
    assert!(words("run-1500").contains("no sign yet"), "{}", words("run-1500"));
    let said = words("run-7500");
    assert!(said.contains("grok ≈ ") && said.contains("for 8 of 10 runs"), "{said}");
    assert!(words("run-9500").contains("grokked at step 9,000"), "{}", words("run-9500"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_forecast_without_references_says_where_it_looked_and_how_they_are_made() {
    let dir = scratch("forecast-refused");
    run_at(&dir, 7500);
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run_in(&dir, &[&["forecast"], arguments].concat());
        let said = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
        }
    };
    let made = "plateau study entropy";
    refused(&["run-7500"], &["results/entropy/runs.csv", made]);
    refused(&["nowhere"], &["nowhere/config.toml"]);
    study(&dir, "mul", 0.2, 117.5);
    refused(&["run-7500"], &["results/entropy", "3", "'add'", "0.2", "seed than 4", made]);
    study(&dir, "add", 0.2, 60.0);
    refused(&["run-7500"], &["with this model", made]);
    study(&dir, "add", 0.2, 117.5);
    refused(&["run-7500", "--group", "twin"], &["in group twin"]);
    fs::remove_file(dir.join("results/entropy/curves/0123456789ab-s13.csv")).unwrap();
    refused(&["run-7500"], &["0123456789ab-s13.csv"]);
    fs::write(dir.join("run-7500/metrics.jsonl"), "{\"step\":0,\"batch/loss\":1}\n").unwrap();
    refused(&["run-7500"], &["metrics.jsonl", "no evaluation"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_run_beside_reference_curves_forecasts_itself_and_stays_the_same_run() {
    let (with, without) = (scratch("forecast-online"), scratch("forecast-offline"));
    // The smoke run's own ‖θ‖ at the start, so that the study seems to be of its model.
    let alone = run_in(&without, &["run", "smoke"]);
    assert!(alone.status.success());
    let alone_run = only_run(&without.join("runs"));
    let metrics = fs::read_to_string(alone_run.join("metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    study(&with, "add", 0.5, first["norm"].as_f64().unwrap());
    let beside = run_in(&with, &["run", "smoke"]);
    assert!(beside.status.success());
    let said = stderr(&beside);
    assert!(said.contains("forecast from 10 runs of add in results/entropy"), "{said}");
    assert!(!stderr(&alone).contains("forecast"), "{}", stderr(&alone));
    let same = fs::read_to_string(only_run(&with.join("runs")).join("metrics.jsonl")).unwrap();
    assert!(same == metrics, "a forecast has changed a run");
    // References that cannot be read are no reason to stop.
    fs::write(with.join("results/entropy/runs.csv"), "hash\n").unwrap();
    let again = run_in(&with, &["run", "smoke", "--seed", "1"]);
    assert!(
        again.status.success() && stderr(&again).contains("no forecast: "),
        "{}",
        stderr(&again)
    );
    fs::remove_dir_all(with).unwrap();
    fs::remove_dir_all(without).unwrap();
}
