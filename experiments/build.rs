//! Hands the library what only the build knows: the commit, whether the tree differed from it, rustc.
//! Outside a git checkout of this workspace (a source archive) the commit is "unknown".

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ours = git(&root, &["rev-parse", "--show-toplevel"])
        .and_then(|top| Path::new(&top).canonicalize().ok())
        .is_some_and(|top| root.canonicalize().is_ok_and(|root| root == top));
    let commit = if ours { git(&root, &["rev-parse", "HEAD"]) } else { None };
    let dirty = commit.is_some()
        && git(&root, &["status", "--porcelain", "--untracked-files=no"])
            .is_some_and(|changes| !changes.is_empty());
    set("PLATEAU_COMMIT", commit.as_deref().unwrap_or("unknown"));
    set("PLATEAU_DIRTY", if dirty { "true" } else { "false" });

    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set("PLATEAU_RUSTC", run(Command::new(rustc).arg("--version")).as_deref().unwrap_or("unknown"));

    // Again when the commit or any source file changes.
    for name in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&root, &["rev-parse", "--git-path", name]).filter(|_| ours) {
            let path = root.join(path);
            if path.exists() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
    }
    for source in ["kernels", "autograd", "models", "experiments"] {
        for part in ["src", "Cargo.toml"] {
            println!("cargo:rerun-if-changed={}", root.join(source).join(part).display());
        }
    }
    println!("cargo:rerun-if-changed=presets");
    println!("cargo:rerun-if-changed=build.rs");
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    run(Command::new("git").arg("--no-optional-locks").arg("-C").arg(root).args(arguments))
}

/// What a command prints, if it succeeds.
fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
