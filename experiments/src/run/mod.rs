//! A run is a folder that a crash cannot spoil.
//!
//! ```text
//! runs/<name>/<config hash>-s<seed>/
//!   config.toml                          the whole config
//!   meta.json                            where, when and by what; whether it is finished
//!   metrics.jsonl                        one line a step
//!   checkpoints/step-0001000.safetensors parameters and optimiser
//! ```
//!
//! Every file but the metrics appears under its name only when it is whole; the metrics are cut back
//! to the checkpoint when a run goes on. Only `meta.json` knows of times and machines, so equal runs
//! are equal in all other files.

pub mod checkpoint;
pub mod folder;
pub mod meta;
pub mod metrics;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a run's files could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operating system refused: no space, no permission, no such file.
    #[error("cannot {doing} {}: {reason}", path.display())]
    Io {
        /// "read", "write", …
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error, // not `source`: the sentence says it already
    },
    /// Another process is writing this run.
    #[error("{} is being written by another plateau process", path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
    },
    /// A file is there, but it is not what it should be.
    #[error("{}: {sentence}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        sentence: String,
    },
    /// The folder's config.toml cannot be read.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

impl RunError {
    /// For `map_err`: what was being done, to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
        let path = path.to_owned();
        move |reason| RunError::Io { doing, path, reason }
    }

    pub(crate) fn content(path: &Path, sentence: impl Into<String>) -> RunError {
        RunError::Content { path: path.to_owned(), sentence: sentence.into() }
    }
}

/// Writes a file so that it is there whole or not at all: beside its place, to the disk, renamed.
///
/// # Errors
/// The folder cannot be written, or the disk is full; an older file of that name is then untouched.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if let Err(reason) = written {
        let _ = fs::remove_file(&beside); // what little of it there is
        return Err(RunError::Io { doing: "write", path: path.to_owned(), reason });
    }
    sync_folder_of(path);
    Ok(())
}

/// Tries whether [`write_whole`] could write there, before the work that the file is for is done.
///
/// # Errors
/// The folder cannot be written, or what is there is not a file: a rename would replace a device.
pub fn check_writable(path: &Path) -> Result<(), RunError> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(RunError::io("write", path)(io::Error::other("it is not a file")));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    File::create(&beside)
        .and_then(|_| fs::remove_file(&beside))
        .map_err(RunError::io("write", path))
}

/// Asks the disk to remember a rename. Not every system lets a folder be synced, and none needs it for
/// the file's content, so a refusal is not an error.
fn sync_folder_of(path: &Path) {
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty folder of its own for a test.
    pub(crate) fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("plateau-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = scratch("write-whole");
        let path = folder.join("a.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_refused_write_names_the_path() {
        let path = scratch("no-such-place").join("missing").join("a.json");
        let sentence = write_whole(&path, b"x").unwrap_err().to_string();
        assert!(sentence.starts_with(&format!("cannot write {}: ", path.display())), "{sentence}");
    }
}
