//! What the cross-crate tests share: the built binary, scratch folders, commands.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod values;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

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
