//! A plan is carried out line by line, by any engine, on any machine; status and collect read the folders.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::{plateau, run_in, scratch, stderr, stdout};

/// Two learning rates, two seeds.
const SWEEP: &str = "\n[sweep]\n\"optim.lr\" = [1e-3, 3e-4]\nseed = [0, 1]\n";

/// A folder with the sweep and its plan.
fn planned(name: &str) -> std::path::PathBuf {
    let dir = scratch(name);
    let smoke = experiments::presets::preset("smoke").unwrap();
    fs::write(dir.join("sweep.toml"), format!("{smoke}{SWEEP}")).unwrap();
    let plan = run_in(&dir, &["sweep", "plan", "sweep.toml"]);
    assert!(plan.status.success(), "{}", stderr(&plan));
    fs::write(dir.join("plan.jsonl"), stdout(&plan)).unwrap();
    dir
}

fn line(dir: &Path, index: &str) {
    let output = run_in(dir, &["run", "--plan", "plan.jsonl", "--index", index, "--threads", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// The rows of the collected table.
fn collected(dir: &Path) -> Vec<Vec<String>> {
    let output = run_in(dir, &["sweep", "collect", "plan.jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let cells = |line: &str| line.split(',').map(str::to_owned).collect();
    stdout(&output).lines().map(cells).collect()
}

#[test]
fn a_sweep_is_planned_carried_out_watched_and_collected() {
    let dir = planned("sweep");
    let plan = fs::read_to_string(dir.join("plan.jsonl")).unwrap();
    let plan: Vec<Value> = plan.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<&str> = plan[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["index", "name", "hash", "seed", "labels", "config"]);
    assert_eq!(plan.len(), 4);
    assert_eq!(plan[2]["labels"], serde_json::json!({"optim.lr": 3e-4, "seed": 0}));
    assert_ne!(plan[0]["hash"], plan[2]["hash"]);

    line(&dir, "0");
    line(&dir, "0"); // safe to repeat
    line(&dir, "3");
    // One that stopped on its way, one that failed.
    let meta = |index: usize, from: &str, to: &str| {
        let (hash, seed) = (plan[index]["hash"].as_str().unwrap(), &plan[index]["seed"]);
        let path = dir.join(format!("runs/smoke/{hash}-s{seed}/meta.json"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    meta(3, "\"finished\": true", "\"finished\": false");
    let (hash, seed) = (plan[1]["hash"].as_str().unwrap(), &plan[1]["seed"]);
    let broken = dir.join(format!("runs/smoke/{hash}-s{seed}"));
    fs::create_dir_all(broken.join("checkpoints")).unwrap();
    fs::write(broken.join("config.toml"), plan[1]["config"].as_str().unwrap()).unwrap();
    fs::write(broken.join("checkpoints/step-0000100.safetensors"), "torn").unwrap();
    let output = run_in(&dir, &["run", "--plan", "plan.jsonl", "--index", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));

    let status = run_in(&dir, &["sweep", "status", "plan.jsonl"]);
    let text = stdout(&status);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("  complete"), "{text}");
    assert!(
        lines[1].contains("  failed: ") && lines[1].contains("no checkpoint can be used"),
        "{text}"
    );
    assert!(lines[2].ends_with("  not begun"), "{text}");
    assert!(lines[3].ends_with("  incomplete at step 300"), "{text}");
    assert_eq!(lines[4], "4 runs: 1 complete, 1 incomplete, 1 not begun, 1 failed");
    let status = run_in(&dir, &["sweep", "status", "plan.jsonl", "--json"]);
    let json: Value = serde_json::from_str(&stdout(&status)).unwrap();
    assert_eq!(
        json["totals"],
        serde_json::json!(
        {"runs": 4, "complete": 1, "incomplete": 1, "not_begun": 1, "failed": 1})
    );
    let states: Vec<&str> =
        json["runs"].as_array().unwrap().iter().map(|r| r["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["complete", "failed", "not_begun", "incomplete"]);
    assert_eq!((&json["runs"][3]["index"], &json["runs"][3]["step"]), (&3.into(), &300.into()));

    let output = run_in(&dir, &["sweep", "collect", "plan.jsonl"]);
    assert_eq!(stderr(&output), "3 of 4 runs are not complete; they have no row\n");
    let rows = collected(&dir);
    assert_eq!(rows[0][..6], ["index", "hash", "seed", "optim.lr", "steps", "t_memorise"]);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][..5], ["0", plan[0]["hash"].as_str().unwrap(), "0", "0.001", "300"]);

    // What failed begins again once its folder is gone; what stopped goes on.
    fs::remove_dir_all(broken).unwrap();
    for index in ["1", "2", "3"] {
        line(&dir, index);
    }
    assert_eq!(collected(&dir).len(), 5);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_bad_sweep_or_plan_is_refused_with_a_sentence() {
    let dir = planned("sweep-refused");
    let smoke = experiments::presets::preset("smoke").unwrap();
    let file = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    file("plain.toml", smoke.to_owned());
    file("path.toml", format!("{smoke}\n[sweep]\n\"optim.lrr\" = [1]\n"));
    file("value.toml", format!("{smoke}\n[sweep]\nseed = 1\n"));
    let plan = fs::read_to_string(dir.join("plan.jsonl")).unwrap();
    file("torn.jsonl", plan[..plan.len() - 30].to_owned());
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run_in(&dir, arguments);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
        }
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(!dir.join("runs").exists(), "{arguments:?} began a run");
    };
    refused(&["sweep", "plan", "nowhere.toml"], &["nowhere.toml"]);
    refused(&["sweep", "plan", "plain.toml"], &["plain.toml", "has no [sweep] table"]);
    refused(&["sweep", "plan", "path.toml"], &["path.toml, [sweep]", "optim.lrr", "optim.lr`?"]);
    refused(&["sweep", "plan", "value.toml"], &["`seed` is not a list; write seed = [1]"]);
    refused(&["run", "sweep.toml"], &["sweep.toml", "plateau sweep plan"]);
    refused(&["run", "--plan", "plan.jsonl"], &["--index"]);
    refused(&["run", "smoke", "--index", "0"], &["--index", "EXPERIMENT"]);
    refused(&["run", "--index", "0"], &["--plan"]);
    refused(&["run", "--plan", "plan.jsonl", "--index", "0", "--seed", "1"], &["--seed"]);
    refused(
        &["run", "--plan", "plan.jsonl", "--index", "4"],
        &["plan.jsonl: there is no index 4; it has 0 to 3"],
    );
    refused(&["run", "--plan", "plan.jsonl", "--index", "-1"], &["-1"]);
    refused(&["run", "--plan", "torn.jsonl", "--index", "3"], &["torn.jsonl, line 4"]);
    refused(&["run", "--plan", "nowhere.jsonl", "--index", "0"], &["cannot read nowhere.jsonl"]);
    refused(&["sweep", "status", "torn.jsonl"], &["torn.jsonl, line 4: not a line of a plan"]);
    refused(&["sweep", "collect", "plain.toml"], &["plain.toml, line 1: not a line of a plan"]);
    fs::remove_dir_all(dir).unwrap();
}

/// The fenced block of docs/many-machines.md that holds `word`.
fn from_the_page(word: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/many-machines.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.map(|block| block.split_once('\n').unwrap().1);
    block.filter(|block| block.contains(word)).map(str::to_owned).next().expect("a block")
}

#[cfg(unix)]
#[test]
#[ignore = "needs GNU parallel"]
fn the_line_for_gnu_parallel_carries_out_a_sweep() {
    let version = Command::new("parallel").arg("--version").output();
    if !version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains("GNU parallel")) {
        return;
    }
    let dir = planned("sweep-parallel");
    let binary = plateau();
    let folder = Path::new(binary.get_program()).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euc", &from_the_page("parallel --joblog")])
        .env("PATH", path)
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(collected(&dir).len(), 5);
    assert_eq!(fs::read_to_string(dir.join("parallel.log")).unwrap().lines().count(), 5);
    fs::remove_dir_all(dir).unwrap();
}
