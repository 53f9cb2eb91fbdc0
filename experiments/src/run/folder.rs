//! The run folder: made, found again, and held by one process at a time.

use super::meta::Meta;
use super::{RunError, checkpoint, write_whole};
use crate::config::Config;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A run's folder, locked for this process until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File, // the system frees it even when the process is killed
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No checkpoint yet.
    New,
    /// Begun; the newest checkpoint is of this step.
    Incomplete {
        /// Number of optimiser steps behind the newest checkpoint.
        step: u64,
    },
    /// Finished, says meta.json.
    Complete,
}

impl RunFolder {
    /// The folder of this config's run under `out`: `<out>/<name>/<hash>-s<seed>`, made if it is not there.
    ///
    /// # Errors
    /// It cannot be written, another process holds it, or it was made for another config.
    pub fn create_or_open(out: &Path, config: &Config) -> Result<RunFolder, RunError> {
        let parent = out.join(&config.name);
        let path = parent.join(config.run_id());
        if !path.exists() {
            fs::create_dir_all(&parent).map_err(RunError::io("create", &parent))?;
            create(&parent, &path, config)?;
        }
        let (folder, found) = RunFolder::open(&path)?;
        sweep(&parent, config);
        if (found.hash(), found.seed) != (config.hash(), config.seed) {
            let sentence = format!("is the config of another run, {}", found.run_id());
            return Err(RunError::content(&path.join("config.toml"), sentence));
        }
        Ok(folder)
    }

    /// An existing run folder and its config.
    ///
    /// # Errors
    /// It is not a run folder, its config cannot be read, or another process holds it.
    pub fn open(path: &Path) -> Result<(RunFolder, Config), RunError> {
        let config = read_config(path)?;
        // A folder under another name is fine; under another run's name, the config was edited.
        let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
        let name = name.map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let is_run_id = name.split_once("-s").is_some_and(|(hash, seed)| {
            hash.len() == 12
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && seed.parse::<u64>().is_ok()
        });
        if is_run_id && name != config.run_id() {
            let sentence = format!(
                "is the config of {}, not of this folder's run; to change a run, start another with \
                 --set, --steps or --seed",
                config.run_id()
            );
            return Err(RunError::content(&path.join("config.toml"), sentence));
        }
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(RunError::io("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::Locked { path: path.to_owned() });
            }
            // Some network file systems know no locks; runs there rely on the user.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(RunError::io("lock", &lock_path)(e)),
        }
        Ok((RunFolder { path: path.to_owned(), _lock: lock }, config))
    }

    /// How far the run has come.
    ///
    /// # Errors
    /// The folder or its meta.json cannot be read.
    pub fn state(&self) -> Result<State, RunError> {
        if Meta::read(&self.path)?.is_some_and(|meta| meta.finished) {
            return Ok(State::Complete);
        }
        let newest = checkpoint::list(&self.checkpoints())?.pop();
        Ok(newest.map_or(State::New, |(step, _)| State::Incomplete { step }))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its metrics are.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The folder of its checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
}

/// The config of a run folder, without locking it (a report reads runs that are still going on).
///
/// # Errors
/// There is no config.toml, or it cannot be read.
pub fn read_config(path: &Path) -> Result<Config, RunError> {
    let file = path.join("config.toml");
    let text = fs::read_to_string(&file).map_err(RunError::io("read", &file))?;
    Ok(Config::from_toml(&text, &file.display().to_string())?)
}

/// Makes the folder under another name and renames it, so that a run folder always has its config.
fn create(parent: &Path, path: &Path, config: &Config) -> Result<(), RunError> {
    let beside = parent.join(format!(".{}.{}.tmp", config.run_id(), std::process::id()));
    let checkpoints = beside.join("checkpoints");
    let _ = fs::remove_dir_all(&beside); // a dead process of the same number
    let made = fs::create_dir_all(&checkpoints)
        .map_err(RunError::io("create", &checkpoints))
        .and_then(|()| write_whole(&beside.join("config.toml"), config.to_toml().as_bytes()))
        .and_then(|()| fs::rename(&beside, path).map_err(RunError::io("create", path)));
    if made.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    // Another process may have made it meanwhile: then the lock decides.
    if path.exists() { Ok(()) } else { made }
}

/// Removes what a process that was killed in [`create`] has left behind.
fn sweep(parent: &Path, config: &Config) {
    let begins = format!(".{}.", config.run_id());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&begins) && name.ends_with(".tmp") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::preset;
    use crate::run::tests::scratch;

    fn config() -> Config {
        Config::from_toml(preset("smoke").unwrap(), "smoke").unwrap()
    }

    #[test]
    fn the_folder_is_named_after_hash_and_seed_and_holds_the_config() {
        let out = scratch("folder-name");
        let folder = RunFolder::create_or_open(&out, &config()).unwrap();
        assert_eq!(folder.path(), out.join("smoke").join(config().run_id()));
        assert_eq!(read_config(folder.path()).unwrap(), config());
        assert_eq!(folder.state().unwrap(), State::New);
        // Nothing else stays beside it.
        assert_eq!(fs::read_dir(out.join("smoke")).unwrap().count(), 1);
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn two_holders_of_one_run_are_one_too_many() {
        let out = scratch("folder-lock");
        let folder = RunFolder::create_or_open(&out, &config()).unwrap();
        let sentence = RunFolder::create_or_open(&out, &config()).unwrap_err().to_string();
        assert!(sentence.ends_with("is being written by another plateau process"), "{sentence}");
        drop(folder);
        assert!(RunFolder::create_or_open(&out, &config()).is_ok());
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn a_checkpoint_makes_it_incomplete_and_meta_complete() {
        let out = scratch("folder-state");
        let folder = RunFolder::create_or_open(&out, &config()).unwrap();
        checkpoint::save(&folder.checkpoints(), 100, "id", &[], 2).unwrap();
        checkpoint::save(&folder.checkpoints(), 200, "id", &[], 2).unwrap();
        assert_eq!(folder.state().unwrap(), State::Incomplete { step: 200 });
        let mut meta = Meta::new(1, vec![]);
        meta.write(folder.path()).unwrap();
        assert_eq!(folder.state().unwrap(), State::Incomplete { step: 200 });
        meta.finish(1.0, serde_json::json!({}));
        meta.write(folder.path()).unwrap();
        assert_eq!(folder.state().unwrap(), State::Complete);
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn a_folder_of_another_config_is_refused() {
        let out = scratch("folder-other");
        let folder = RunFolder::create_or_open(&out, &config()).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        let other = Config { steps: 7, ..config() };
        fs::write(path.join("config.toml"), other.to_toml()).unwrap();
        let sentence = RunFolder::create_or_open(&out, &config()).unwrap_err().to_string();
        assert!(sentence.contains("config.toml: is the config of "), "{sentence}");
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed() {
        let out = scratch("folder-sweep");
        let id = config().run_id();
        let left = out.join("smoke").join(format!(".{id}.12345.tmp"));
        fs::create_dir_all(left.join("checkpoints")).unwrap();
        let folder = RunFolder::create_or_open(&out, &config()).unwrap();
        assert!(!left.exists() && folder.path().exists());
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn what_is_not_a_run_folder_is_named() {
        let out = scratch("folder-none");
        let sentence = RunFolder::open(&out).unwrap_err().to_string();
        let file = out.join("config.toml");
        assert!(sentence.starts_with(&format!("cannot read {}: ", file.display())), "{sentence}");
        fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let out = scratch("folder-unwritable");
        let file = out.join("file");
        fs::write(&file, "").unwrap();
        let sentence = RunFolder::create_or_open(&file, &config()).unwrap_err().to_string();
        assert!(sentence.starts_with("cannot create "), "{sentence}");
        fs::remove_dir_all(out).unwrap();
    }
}
