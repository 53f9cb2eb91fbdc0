//! What the cross-crate tests share: the built binary, scratch folders, commands.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod values;

use experiments::config::Config;
use experiments::profile::Profile;
use experiments::run::folder::RunFolder;
use experiments::train::{Conduct, Outcome, Summary, run};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The `plateau` binary, built once in the profile of the tests.
pub fn plateau() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let binary = BUILT.get_or_init(|| {
        // target/<profile>/deps/<test> → target/<profile>/plateau
        let test = std::env::current_exe().expect("the test's own path");
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>");
        let mut build = Command::new(env!("CARGO"));
        // --workspace: the features, and so the libraries, of the test build
        build.args(["build", "--quiet", "--workspace", "--bin", "plateau"]);
        build.arg("--target-dir").arg(profile.parent().expect("target"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let done = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(done.success(), "plateau does not build");
        profile.join("plateau")
    });
    Command::new(binary)
}

/// Runs `plateau` with these arguments in `dir` and waits for it.
pub fn run_in(dir: &Path, arguments: &[&str]) -> Output {
    plateau().current_dir(dir).args(arguments).output().expect("plateau starts")
}

/// What a process wrote to stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a process wrote to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Carries a run out in this process, to its end or until it is asked to stop after so many steps: its folder, and
/// how it ended.
///
/// # Errors
/// What the run says, causes and all.
///
/// # Panics
/// If there can be no folder, or it does not stop where it is asked to.
pub fn carry_out(
    config: &Config,
    out: &Path,
    stop: Option<u64>,
) -> Result<(PathBuf, Option<Summary>), String> {
    let folder = RunFolder::create_or_open(out, config).expect("a run folder");
    let asked = AtomicBool::new(false);
    let conduct = Conduct {
        threads: 1,
        command: Vec::new(),
        profile: Profile::default(),
        results: Path::new("results"),
        stop: &asked,
        note: &|_| (),
        progress: &|p| asked.store(stop.is_some_and(|stop| p.step >= stop), Ordering::Relaxed),
    };
    let summary = match run(config, &folder, &conduct).map_err(|e| format!("{e:#}"))? {
        Outcome::Complete(summary) | Outcome::AlreadyComplete(summary) => Some(summary),
        Outcome::Stopped(step) => {
            assert_eq!(Some(step), stop);
            None
        }
    };
    Ok((folder.path().to_owned(), summary))
}

/// An empty folder of this name, for one test.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("plateau-tests-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// The one run folder under `out`.
///
/// # Panics
/// If there is not exactly one.
pub fn only_run(out: &Path) -> PathBuf {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()).collect()
    };
    let names = entries(out);
    assert_eq!(names.len(), 1, "{names:?}");
    let runs = entries(&names[0]);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}
