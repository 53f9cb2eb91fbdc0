//! A study interrupted at any moment ends with the same results as one that never was, at any number of
//! jobs; what is recorded is not run again; a run that fails stops no other.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tests::{plateau, run_in, scratch, stderr, stdout};

/// Two groups of the miniature, four runs of a second or so each.
const STUDY: [&str; 6] = ["study", "entropy", "--scale", "smoke", "--groups", "add,init-nanda"];

/// Every file of results, by its name.
fn results(dir: &Path) -> BTreeMap<PathBuf, String> {
    let results = dir.join("results/entropy-smoke");
    let curves = fs::read_dir(results.join("curves")).unwrap().map(|e| e.unwrap().path());
    let files = curves.chain([results.join("runs.csv")]);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(dir).unwrap().to_owned(), text)
    };
    files.map(read).collect()
}

fn study(dir: &Path, extra: &[&str]) -> Output {
    run_in(dir, &[&STUDY, extra].concat())
}

fn finish(dir: &Path, extra: &[&str]) -> Output {
    let output = study(dir, extra);
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Starts the study and ends it with a signal once so many runs have a checkpoint; returns its exit code
/// and stderr.
fn interrupt(dir: &Path, jobs: &str, signal: &str, begun: usize) -> (Option<i32>, String) {
    let mut child = plateau()
        .current_dir(dir)
        .args(STUDY)
        .args(["--jobs", jobs])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let folders = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    let whole = |file: PathBuf| file.extension().is_some_and(|end| end == "safetensors");
    let has_checkpoint = |run: &PathBuf| folders(run.join("checkpoints")).any(whole);
    while folders(dir.join("runs")).flat_map(folders).filter(has_checkpoint).count() < begun {
        assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), stderr(&output))
}

/// The plan of the study, line by line.
fn plan(dir: &Path) -> Vec<Value> {
    let text = stdout(&finish(dir, &["--plan"]));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The folder of a line of the plan.
fn folder(dir: &Path, line: &Value) -> PathBuf {
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    dir.join("runs").join(text("name")).join(format!("{}-s{}", text("hash"), line["seed"]))
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_ends_with_the_results_of_one_that_never_was() {
    let whole = scratch("study-whole");
    finish(&whole, &["--jobs", "2"]);
    let expected = results(&whole);
    assert_eq!(expected.len(), 7, "six runs and their rows");

    for (jobs, moments) in [("1", [1, 3]), ("2", [2, 3])] {
        let dir = scratch(&format!("study-interrupted-{jobs}"));
        let (code, said) = interrupt(&dir, jobs, "-INT", moments[0]);
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("go on with the same command"), "{said}");
        assert!(said.contains("each run ends at its next step, with a checkpoint"), "{said}");
        let (code, said) = interrupt(&dir, jobs, "-KILL", moments[1]);
        assert_eq!(code, None, "{said}");
        let said = stderr(&finish(&dir, &["--jobs", jobs]));
        assert!(said.contains("goes on from the checkpoint of step "), "{said}");
        assert!(results(&dir) == expected, "{jobs} jobs");
        fs::remove_dir_all(dir).unwrap();
    }
    fs::remove_dir_all(whole).unwrap();
}

#[test]
fn what_is_recorded_is_not_run_again_even_without_its_folder() {
    let dir = scratch("study-again");
    let first = finish(&dir, &["--tidy"]);
    let runs = plan(&dir);
    for line in &runs {
        let checkpoints = folder(&dir, line).join("checkpoints");
        assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 0, "{}", checkpoints.display());
    }
    let expected = results(&dir);
    fs::remove_dir_all(dir.join("runs")).unwrap();
    let again = finish(&dir, &[]);
    assert_eq!(stdout(&again), stdout(&first));
    assert!(!dir.join("runs").exists());

    // A row that is lost is made again, and only that.
    let path = dir.join("results/entropy-smoke/runs.csv");
    let rows = fs::read_to_string(&path).unwrap();
    let (lost, kept): (Vec<&str>, Vec<&str>) =
        rows.lines().partition(|line| line.contains(",init-nanda,modular,add,1,"));
    assert_eq!(lost.len(), 1);
    fs::write(&path, kept.join("\n") + "\n").unwrap();
    let dry = stdout(&finish(&dir, &["--dry-run"]));
    assert!(dry.contains("\n1 of 6 runs are left"), "{dry}");
    finish(&dir, &[]);
    assert!(results(&dir) == expected);
    let made: Vec<bool> = runs.iter().map(|line| folder(&dir, line).exists()).collect();
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_run_that_fails_is_named_and_stops_no_other() {
    let dir = scratch("study-failing");
    let runs = plan(&dir);
    let broken = folder(&dir, &runs[1]);
    fs::create_dir_all(broken.join("checkpoints")).unwrap();
    fs::write(broken.join("config.toml"), "schema = 1\n").unwrap();
    let output = study(&dir, &["--jobs", "2"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let sentence = format!(
        "add seed 1 failed: runs/{}",
        broken.strip_prefix(dir.join("runs")).unwrap().display()
    );
    assert!(said.contains(&sentence), "{said}");
    assert!(said.contains("missing field"), "{said}");
    assert!(said.ends_with("plateau: 1 of 6 runs failed, see above\n"), "{said}");
    assert_eq!(results(&dir).len(), 6, "five runs and their rows");
    assert!(stdout(&output).contains("\nadd                2/3"), "{}", stdout(&output));

    fs::remove_dir_all(broken).unwrap();
    finish(&dir, &[]);
    assert_eq!(results(&dir).len(), 7);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_plan_of_a_study_can_be_carried_out_elsewhere_and_collected() {
    let dir = scratch("study-plan");
    let few = ["study", "entropy", "--scale", "smoke", "--groups", "sub"];
    let plan = run_in(&dir, &[&few[..], &["--plan"]].concat());
    fs::write(dir.join("plan.jsonl"), stdout(&plan)).unwrap();
    for index in ["0", "1", "2"] {
        let arguments = ["run", "--plan", "plan.jsonl", "--index", index, "--out", "elsewhere"];
        let output = run_in(&dir, &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let collect = [&few[..], &["--collect", "--out", "elsewhere"]].concat();
    let output = run_in(&dir, &collect);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "3 runs recorded, 3 of 3 are\n");
    assert!(stdout(&output).contains("\nsub                3/3"), "{}", stdout(&output));
    let collected = results(&dir);
    assert_eq!(stderr(&run_in(&dir, &collect)), "0 runs recorded, 3 of 3 are\n");

    let here = scratch("study-plan-here");
    assert!(run_in(&here, &few).status.success());
    assert!(results(&here) == collected, "one machine or many: the same results");
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(here).unwrap();
}

#[test]
fn a_bad_study_is_refused_with_a_sentence() {
    let dir = scratch("study-refused");
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = run_in(&dir, arguments);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
        }
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{arguments:?} left something");
    };
    refused(&["study", "entrophy"], &["entrophy", "entropy", "collatz"]);
    refused(&["study", "entropy", "--scale", "huge"], &["huge", "smoke", "laptop", "paper"]);
    refused(
        &["study", "entropy", "--claims", "E3,E17"],
        &["there is no claim E17; the claims are E1, E2,"],
    );
    refused(
        &["study", "entropy", "--groups", "add,subb"],
        &["there is no group subb; the groups are add, "],
    );
    refused(&["study", "entropy", "--jobs", "0"], &["jobs"]);
    fs::write(dir.join("results"), "").unwrap();
    let output = run_in(&dir, &STUDY);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot create results/"), "{}", stderr(&output));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_donor_whose_checkpoints_are_gone_is_made_again_and_nothing_else() {
    let dir = scratch("study-donors");
    let arguments = [
        "study",
        "collatz",
        "--scale",
        "smoke",
        "--groups",
        "early-0-open",
        "--tidy",
        "--jobs",
        "2",
    ];
    let output = run_in(&dir, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("\njoint-open         3/3"), "{}", stdout(&output));
    assert!(stdout(&output).contains("\nearly-0-open       3/3"), "{}", stdout(&output));
    let file = dir.join("results/collatz-smoke/runs.csv");
    let whole = fs::read_to_string(&file).unwrap();
    // Every run is recorded, so no checkpoint is needed any more.
    let runs = fs::read_dir(dir.join("runs/collatz-1x1")).unwrap().map(|e| e.unwrap().path());
    let left = |run: PathBuf| fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert_eq!(runs.map(left).sum::<usize>(), 0);
    // One dependent is lost: its donor has a row, but nothing to take from.
    let lost =
        |line: &&str| line.contains(",early-0-open,") && line.contains(",1,transplant+freeze,");
    let rest: Vec<&str> = whole.lines().filter(|line| !lost(line)).collect();
    assert_eq!(rest.len() + 1, whole.lines().count());
    fs::write(&file, rest.join("\n") + "\n").unwrap();
    fs::remove_dir_all(dir.join("runs")).unwrap();
    let output = run_in(&dir, &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    assert_eq!(
        fs::read_dir(dir.join("runs/collatz-1x1")).unwrap().count(),
        2,
        "donor and dependent"
    );
    fs::remove_dir_all(dir).unwrap();
}
