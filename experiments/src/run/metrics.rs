//! metrics.jsonl: one object a line, `{"step":17,"batch/loss":0.25,…}`, steps ascending.
//!
//! A number is written in its shortest form that reads back to the same f64, and a value that is not
//! finite as null; so equal runs are equal files. Lines reach the disk at [`MetricsWriter::flush_sync`],
//! which comes before each checkpoint: a checkpoint never knows more than the metrics.

use super::RunError;
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Appends to a metrics.jsonl.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    line: Vec<u8>, // kept, so that a line allocates nothing once it has been as long
}

impl MetricsWriter {
    /// Begins a new file, in place of any that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<MetricsWriter, RunError> {
        let file = File::create(path).map_err(RunError::io("write", path))?;
        Ok(MetricsWriter::over(path, file))
    }

    /// Takes up a file after the line of `step`: later lines, and a last one that a crash tore, are cut off.
    ///
    /// # Errors
    /// It cannot be read or written, or it has no whole line of `step`: metrics would be missing.
    pub fn truncate_after(path: &Path, step: u64) -> Result<MetricsWriter, RunError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(RunError::io("open", path))?;
        let (end, last) = end_of(&file, step).map_err(RunError::io("read", path))?;
        if last != Some(step) {
            let last = last.map_or("has no whole line".to_owned(), |s| format!("ends at step {s}"));
            let sentence = format!("{last}, but the run is to go on after step {step}");
            return Err(RunError::content(path, sentence));
        }
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .map_err(RunError::io("write", path))?;
        Ok(MetricsWriter::over(path, file))
    }

    fn over(path: &Path, file: File) -> MetricsWriter {
        let file = BufWriter::with_capacity(1 << 16, file);
        MetricsWriter { path: path.to_owned(), file, line: Vec::with_capacity(4096) }
    }

    /// Adds the line of one step. Allocates nothing, unless it is the longest line so far.
    ///
    /// # Errors
    /// The disk is full, or the file has become unwritable.
    pub fn append(&mut self, step: u64, pairs: &[(&str, f64)]) -> Result<(), RunError> {
        self.line.clear();
        format_line(&mut self.line, step, pairs)
            .and_then(|()| self.file.write_all(&self.line))
            .map_err(|reason| RunError::Io { doing: "write", path: self.path.clone(), reason })
    }

    /// Puts every line so far on the disk.
    ///
    /// # Errors
    /// The disk is full, or the file has become unwritable.
    pub fn flush_sync(&mut self) -> Result<(), RunError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data())
            .map_err(RunError::io("write", &self.path))
    }
}

fn format_line(line: &mut Vec<u8>, step: u64, pairs: &[(&str, f64)]) -> std::io::Result<()> {
    write!(line, "{{\"step\":{step}")?;
    for (key, value) in pairs {
        line.push(b',');
        serde_json::to_writer(&mut *line, key)?;
        line.push(b':');
        if value.is_finite() {
            write!(line, "{value:?}")?; // std's Debug is the shortest form, and is JSON
        } else {
            line.extend_from_slice(b"null");
        }
    }
    line.extend_from_slice(b"}\n");
    Ok(())
}

/// Where the line of `step` ends, reading line by line: the length of all whole lines up to it, and the
/// step of the last of these.
fn end_of(file: &File, step: u64) -> std::io::Result<(u64, Option<u64>)> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
    }
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let (mut end, mut last) = (0, None);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        if !line.ends_with(b"\n") {
            return Ok((end, last)); // the end, or a torn line
        }
        match serde_json::from_slice::<Line>(&line) {
            Ok(l) if l.step <= step => (end, last) = (end + length, Some(l.step)),
            _ => return Ok((end, last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::scratch;
    use std::fs;

    #[test]
    fn a_line_is_one_json_object_with_exact_numbers() {
        let dir = scratch("metrics-line");
        let path = dir.join("metrics.jsonl");
        let mut w = MetricsWriter::create(&path).unwrap();
        let values = [0.1, 1.0, -0.0, 1e-300, 5e-324, f64::MAX, 1.0 / 3.0, 1e16];
        let pairs: Vec<(&str, f64)> = values.iter().map(|&v| ("batch/loss", v)).collect();
        for pair in &pairs {
            w.append(3, std::slice::from_ref(pair)).unwrap();
        }
        w.append(4, &[("a\"b", f64::NAN), ("c", f64::INFINITY)]).unwrap();
        w.append(5, &[]).unwrap();
        w.flush_sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"step":3,"batch/loss":0.1}"#);
        assert_eq!(lines[3], r#"{"step":3,"batch/loss":1e-300}"#);
        for (line, value) in lines.iter().zip(values) {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["batch/loss"].as_f64().unwrap().to_bits(), value.to_bits());
        }
        assert_eq!(lines[8], r#"{"step":4,"a\"b":null,"c":null}"#);
        assert_eq!(lines[9], r#"{"step":5}"#);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_taken_up_again_equals_one_never_left() {
        let dir = scratch("metrics-resume");
        let path = dir.join("metrics.jsonl");
        let write = |w: &mut MetricsWriter, steps: std::ops::RangeInclusive<u64>| {
            for step in steps {
                w.append(step, &[("x", step as f64 / 7.0)]).unwrap();
            }
            w.flush_sync().unwrap();
        };
        write(&mut MetricsWriter::create(&path).unwrap(), 0..=100);
        let whole = fs::read(&path).unwrap();

        // Torn anywhere after the line of step 50.
        let end = whole.split_inclusive(|&b| b == b'\n').take(51).map(<[u8]>::len).sum::<usize>();
        for length in [end, end + 1, end + 30, whole.len() - 1, whole.len()] {
            fs::write(&path, &whole[..length]).unwrap();
            write(&mut MetricsWriter::truncate_after(&path, 50).unwrap(), 51..=100);
            assert!(fs::read(&path).unwrap() == whole, "torn at {length}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn missing_lines_are_an_error() {
        let dir = scratch("metrics-missing");
        let path = dir.join("metrics.jsonl");
        let sentence = || {
            let e = MetricsWriter::truncate_after(&path, 2).unwrap_err().to_string();
            e.split_once(": ").unwrap().1.to_owned()
        };
        fs::write(&path, "{\"step\":0}\n{\"step\":1}\n{\"step\":2").unwrap();
        assert_eq!(sentence(), "ends at step 1, but the run is to go on after step 2");
        fs::write(&path, "").unwrap();
        assert_eq!(sentence(), "has no whole line, but the run is to go on after step 2");
        fs::remove_dir_all(dir).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said_with_the_path() {
        let mut w = MetricsWriter::create(Path::new("/dev/full")).unwrap();
        w.append(0, &[]).unwrap();
        let sentence = w.flush_sync().unwrap_err().to_string();
        assert!(sentence.starts_with("cannot write /dev/full: No space left"), "{sentence}");
    }
}
