//! Checkpoints: all that a run needs to go on, as one safetensors file of f32 tensors.
//!
//! ```text
//! checkpoints/step-0001000.safetensors    parameters by name, adam_m/<name>, adam_v/<name>
//! metadata  "plateau": {"step":1000,"run":"<config hash>-s<seed>"}
//! ```
//!
//! There is one metadata key because safetensors writes several in random order, and equal runs are to
//! be equal files. `step` counts the optimiser steps behind the file. No generator is saved, for none
//! has a state (see [`crate::seed`]).

use super::{RunError, write_whole};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The file.
    pub path: PathBuf,
    /// Optimiser steps behind it.
    pub step: u64,
    /// `Config::run_id` of the run that wrote it.
    pub run: String,
    /// By name: shape and values, row major.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// What a folder of checkpoints offers to a run that goes on.
#[derive(Debug)]
pub struct Newest {
    /// The newest one that can be used, if any.
    pub checkpoint: Option<Checkpoint>,
    /// A sentence for each newer one that cannot.
    pub skipped: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    step: u64,
    run: String,
}

/// The file of a step's checkpoint.
pub fn path(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step:07}.safetensors"))
}

/// Writes the checkpoint of `step` and removes all but the newest `keep` (0 keeps all).
///
/// `tensors` are (name, shape, values); names must differ.
///
/// # Errors
/// The file cannot be written, an older one cannot be removed, or a tensor's shape does not fit its values.
pub fn save(
    dir: &Path,
    step: u64,
    run: &str,
    tensors: &[(&str, &[usize], &[f32])],
    keep: usize,
) -> Result<(), RunError> {
    let path = path(dir, step);
    write(&path, step, run, tensors)?;
    if keep > 0 {
        // Later ones than this are of a run that was taken up again before them.
        let files = list(dir)?;
        let upto = files.partition_point(|(s, _)| *s <= step);
        let kept = upto.saturating_sub(keep)..upto;
        for (i, (_, path)) in files.iter().enumerate() {
            if !kept.contains(&i) {
                fs::remove_file(path).map_err(RunError::io("remove", path))?;
            }
        }
    }
    Ok(())
}

/// Writes one checkpoint file, whole or not at all.
///
/// # Errors
/// The file cannot be written, or a tensor's shape does not fit its values.
pub fn write(
    path: &Path,
    step: u64,
    run: &str,
    tensors: &[(&str, &[usize], &[f32])],
) -> Result<(), RunError> {
    // safetensors are little-endian on every machine.
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let broken = |e: safetensors::SafeTensorError| RunError::content(path, e.to_string());
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(broken)?))
        })
        .collect::<Result<Vec<_>, RunError>>()?;
    let note = Note { step, run: run.to_owned() };
    let note = serde_json::to_string(&note).expect("a number and a string are JSON");
    let metadata = HashMap::from([("plateau".to_owned(), note)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    write_whole(path, &file)
}

/// The checkpoints in a folder, oldest first: (step, path).
///
/// # Errors
/// The folder cannot be read.
pub fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, RunError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(RunError::io("read", dir))? {
        let path = entry.map_err(RunError::io("read", dir))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors"))
            .and_then(|digits| digits.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint of `run` that can be used. One that cannot is passed over, with a sentence.
///
/// # Errors
/// The folder cannot be read.
pub fn newest(dir: &Path, run: &str) -> Result<Newest, RunError> {
    newest_upto(dir, run, u64::MAX)
}

/// As [`newest`], among the checkpoints up to a step.
///
/// # Errors
/// The folder cannot be read.
pub fn newest_upto(dir: &Path, run: &str, step: u64) -> Result<Newest, RunError> {
    let mut skipped = Vec::new();
    for (_, path) in list(dir)?.into_iter().rev().filter(|(s, _)| *s <= step) {
        match load(&path).and_then(|c| c.check_run(run).map(|()| c)) {
            Ok(checkpoint) => return Ok(Newest { checkpoint: Some(checkpoint), skipped }),
            Err(e) => skipped.push(e.to_string()),
        }
    }
    Ok(Newest { checkpoint: None, skipped })
}

/// The checkpoint of exactly this step of a run, such as `3f2a91c8d01b-s0`.
///
/// # Errors
/// There is none (the sentence lists those there are), it is another run's, or [`load`] fails.
pub fn at_step(dir: &Path, run: &str, step: u64) -> Result<Checkpoint, RunError> {
    let all = list(dir)?;
    let Some((_, path)) = all.iter().find(|(s, _)| *s == step) else {
        let steps: Vec<String> = all.iter().map(|(step, _)| step.to_string()).collect();
        let steps = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
        return Err(RunError::content(
            dir,
            format!("has no checkpoint of step {step}; it has {steps}"),
        ));
    };
    let checkpoint = load(path)?;
    checkpoint.check_run(run)?;
    Ok(checkpoint)
}

/// Reads a checkpoint.
///
/// # Errors
/// It cannot be read, is truncated or damaged, was not written by plateau, or holds a value that is not
/// finite.
pub fn load(path: &Path) -> Result<Checkpoint, RunError> {
    let bytes = fs::read(path).map_err(RunError::io("read", path))?;
    let damaged = |e: safetensors::SafeTensorError| {
        RunError::content(path, format!("not a whole safetensors file, truncated or damaged ({e})"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let note: Note = header
        .metadata()
        .as_ref()
        .and_then(|m| serde_json::from_str(m.get("plateau")?).ok())
        .ok_or_else(|| {
            RunError::content(path, "not a checkpoint of plateau: its metadata has no \"plateau\"")
        })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(&bytes).map_err(damaged)?.iter() {
        if view.dtype() != Dtype::F32 {
            let sentence = format!("{name} holds {:?}, expected F32", view.dtype());
            return Err(RunError::content(path, sentence));
        }
        let (words, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            let sentence = format!("{name}[{i}] is {}, expected finite values", values[i]);
            return Err(RunError::content(path, sentence));
        }
        tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
    }
    Ok(Checkpoint { path: path.to_owned(), step: note.step, run: note.run, tensors })
}

impl Checkpoint {
    /// Checks that this run wrote it.
    ///
    /// # Errors
    /// Another did.
    pub fn check_run(&self, run: &str) -> Result<(), RunError> {
        if self.run == run {
            return Ok(());
        }
        let sentence = format!("a checkpoint of run {}, expected one of run {run}", self.run);
        Err(RunError::content(&self.path, sentence))
    }

    /// Takes out the values of one tensor.
    ///
    /// # Errors
    /// It is not there, or has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, RunError> {
        match self.tensors.remove(name) {
            Some((found, values)) if found == shape => Ok(values),
            Some((found, _)) => Err(RunError::content(
                &self.path,
                format!("{name} has shape {found:?}, expected {shape:?}"),
            )),
            None => {
                Err(RunError::content(&self.path, format!("no tensor {name}, shape {shape:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::scratch;

    const W: &[f32] = &[1.0, -0.0, 3.5e-30, 4.0, 5.0, f32::MAX];
    const TENSORS: &[(&str, &[usize], &[f32])] =
        &[("embed.W_E", &[2, 3], W), ("adam_m/embed.W_E", &[2, 3], W), ("b", &[1], &[7.0])];

    fn steps(dir: &Path) -> Vec<u64> {
        list(dir).unwrap().into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn what_was_saved_is_loaded_bit_for_bit() {
        let dir = scratch("checkpoint-bits");
        save(&dir, 1000, "abc-s0", TENSORS, 2).unwrap();
        assert!(dir.join("step-0001000.safetensors").exists());
        let mut c = newest(&dir, "abc-s0").unwrap().checkpoint.unwrap();
        assert_eq!((c.step, c.run.as_str(), c.tensors.len()), (1000, "abc-s0", 3));
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&c.take("embed.W_E", &[2, 3]).unwrap()), bits(W));
        assert_eq!(c.take("b", &[1]).unwrap(), [7.0]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn equal_checkpoints_are_equal_files() {
        let dir = scratch("checkpoint-equal");
        let file = |name: &str| {
            write(&dir.join(name), 5, "abc-s0", TENSORS).unwrap();
            fs::read(dir.join(name)).unwrap()
        };
        assert_eq!(file("a"), file("b"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_newest_are_kept() {
        let dir = scratch("checkpoint-keep");
        for step in 1..=5 {
            save(&dir, step, "r", TENSORS, 2).unwrap();
        }
        assert_eq!(steps(&dir), [4, 5]);
        save(&dir, 6, "r", TENSORS, 0).unwrap();
        assert_eq!(steps(&dir), [4, 5, 6]);
        // Taken up again at 4: what was later is dropped, not what was earlier.
        save(&dir, 5, "r", TENSORS, 2).unwrap();
        assert_eq!(steps(&dir), [4, 5]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_truncated_file_is_passed_over_and_said() {
        let dir = scratch("checkpoint-truncated");
        save(&dir, 1, "r", TENSORS, 0).unwrap();
        save(&dir, 2, "r", TENSORS, 0).unwrap();
        let path = dir.join("step-0000002.safetensors");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let found = newest(&dir, "r").unwrap();
            assert_eq!(found.checkpoint.unwrap().step, 1, "cut to {length} bytes");
            assert_eq!(found.skipped.len(), 1);
            assert!(found.skipped[0].contains("step-0000002.safetensors: not a whole safetensors"));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_usable_checkpoint_is_no_error() {
        let dir = scratch("checkpoint-none");
        assert!(newest(&dir, "r").unwrap().checkpoint.is_none());
        fs::write(dir.join("step-0000001.safetensors"), "x").unwrap();
        fs::write(dir.join("notes.txt"), "x").unwrap();
        let found = newest(&dir, "r").unwrap();
        assert!(found.checkpoint.is_none());
        assert_eq!(found.skipped.len(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn foreign_and_unfit_files_are_refused_in_a_sentence() {
        let dir = scratch("checkpoint-foreign");
        let path = dir.join("step-0000001.safetensors");
        let sentence = |e: RunError| e.to_string().split_once(": ").unwrap().1.to_owned();

        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
        assert_eq!(
            sentence(load(&path).unwrap_err()),
            "not a checkpoint of plateau: its metadata has no \"plateau\""
        );

        write(&path, 1, "abc-s0", &[("w", &[2], &[1.0, f32::NAN])]).unwrap();
        assert_eq!(sentence(load(&path).unwrap_err()), "w[1] is NaN, expected finite values");

        write(&path, 1, "abc-s0", TENSORS).unwrap();
        let mut c = load(&path).unwrap();
        assert_eq!(
            sentence(c.check_run("abc-s1").unwrap_err()),
            "a checkpoint of run abc-s0, expected one of run abc-s1"
        );
        assert_eq!(
            sentence(c.take("embed.W_E", &[3, 2]).unwrap_err()),
            "embed.W_E has shape [2, 3], expected [3, 2]"
        );
        assert_eq!(sentence(c.take("W", &[4]).unwrap_err()), "no tensor W, shape [4]");
        assert!(write(&path, 1, "r", &[("w", &[3], &[1.0])]).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
