//! meta.json: what built and ran a run, where and when; and the check that this CPU can run this build.
//!
//! Kernels are compiled for the machine that builds them, so [`simd_check`] is the first act of `main`.
//! It asks the CPU itself: std's `is_x86_feature_detected!` answers true for whatever was compiled in.

use super::{RunError, write_whole};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The content of meta.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// plateau's version.
    pub version: String,
    /// The commit that it was built from, or "unknown".
    pub commit: String,
    /// Whether the sources differed from that commit.
    pub dirty: bool,
    /// The compiler.
    pub rustc: String,
    /// The CPU's own name for itself, or "unknown".
    pub cpu: String,
    /// The widest SIMD that was compiled in.
    pub simd: String,
    /// Threads of the run.
    pub threads: usize,
    /// The command line.
    pub command: Vec<String>,
    /// When the last process to write this run began: UTC, RFC 3339.
    pub started: String,
    /// The checkpoint's step at which that process took the run up; null if it began it.
    pub resumed_from: Option<u64>,
    /// Seconds of all its processes.
    pub seconds: f64,
    /// Whether every step has been made.
    pub finished: bool,
    /// The result of a finished run.
    pub summary: Option<serde_json::Value>,
    /// Why the last process could not go on; null if nothing kept it.
    pub failed: Option<String>,
}

impl Meta {
    /// This build on this machine, beginning now.
    pub fn new(threads: usize, command: Vec<String>) -> Meta {
        Meta {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("PLATEAU_COMMIT").to_owned(),
            dirty: env!("PLATEAU_DIRTY") == "true",
            rustc: env!("PLATEAU_RUSTC").to_owned(),
            cpu: cpu_name(),
            simd: simd_level().to_owned(),
            threads,
            command,
            started: rfc3339(
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            ),
            resumed_from: None,
            seconds: 0.0,
            finished: false,
            summary: None,
            failed: None,
        }
    }

    /// Marks the run as finished after so many seconds in all.
    pub fn finish(&mut self, seconds: f64, summary: serde_json::Value) {
        self.seconds = seconds;
        self.finished = true;
        self.summary = Some(summary);
    }

    /// Writes meta.json into a run folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers are JSON");
        text.push('\n');
        write_whole(&folder.join("meta.json"), text.as_bytes())
    }

    /// Reads a run folder's meta.json, if it has one.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Meta>, RunError> {
        let path = folder.join("meta.json");
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(RunError::io("read", &path))?,
        };
        let meta = serde_json::from_str(&text)
            .map_err(|e| RunError::content(&path, format!("not plateau's meta.json ({e})")))?;
        Ok(Some(meta))
    }
}

/// The CPU's own name for itself, or "unknown".
pub fn cpu_name() -> String {
    #[cfg(target_arch = "x86_64")]
    if let Some(brand) = raw_cpuid::CpuId::new().get_processor_brand_string() {
        return brand.as_str().trim().to_owned();
    }
    "unknown".to_owned()
}

/// The widest SIMD that was compiled in: avx512f, avx2, neon or none.
pub fn simd_level() -> &'static str {
    if cfg!(target_feature = "avx512f") {
        "avx512f"
    } else if cfg!(target_feature = "avx2") {
        "avx2"
    } else if cfg!(target_feature = "neon") {
        "neon"
    } else {
        "none"
    }
}

/// Seconds since 1970 as UTC, RFC 3339: `2026-04-14T09:30:00Z`.
///
/// Years begin in March here, so that the leap day is the last of its year; 400 years, or 146,097 days,
/// repeat exactly. Day 0 of that count is the first of March of year 0, 719,468 days before 1970.
pub fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365; // of the era
    let day = day - (365 * year + year / 4 - year / 100); // of the year
    let month = (5 * day + 2) / 153; // March is 0: five months have 153 days, twice a year
    let day = day - (153 * month + 2) / 5 + 1; // of the month
    let year = 400 * era + year + if month >= 10 { 1 } else { 0 };
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Checks that this CPU, and its operating system, have the instructions that this build uses.
///
/// # Errors
/// A sentence that names what is missing and what to do.
pub fn simd_check() -> Result<(), String> {
    #[cfg(target_arch = "x86_64")]
    return check(&x86::features());
    #[cfg(not(target_arch = "x86_64"))]
    Ok(()) // NEON is part of every 64-bit ARM
}

/// (name, compiled in, present) of each feature.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn check(features: &[(&str, bool, bool)]) -> Result<(), String> {
    let missing: Vec<&str> = features
        .iter()
        .filter(|(_, compiled, present)| *compiled && !*present)
        .map(|(name, _, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "this plateau was built for a CPU with {}, which this one lacks: \
         build it on this machine with `cargo build --release`",
        missing.join(", ")
    ))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use raw_cpuid::{CpuId, CpuIdReaderNative, ExtendedRegisterType};

    /// Every vector and bit-counting extension: (name, compiled in, present).
    pub fn features() -> Vec<(&'static str, bool, bool)> {
        let id = CpuId::new();
        let (basic, more) = (id.get_feature_info(), id.get_extended_feature_info());
        let amd = id.get_extended_processor_and_feature_identifiers();
        let ymm = saves(&id, ExtendedRegisterType::Avx);
        let zmm = ymm && saves(&id, ExtendedRegisterType::Avx512ZmmHi16);

        // A feature counts if the CPU has it and the system saves the registers that it needs.
        macro_rules! feature {
            ($name:literal, $leaf:ident.$has:ident, $registers:expr) => {
                (
                    $name,
                    cfg!(target_feature = $name),
                    $registers && $leaf.as_ref().is_some_and(|leaf| leaf.$has()),
                )
            };
        }
        vec![
            feature!("sse3", basic.has_sse3, true),
            feature!("ssse3", basic.has_ssse3, true),
            feature!("sse4.1", basic.has_sse41, true),
            feature!("sse4.2", basic.has_sse42, true),
            feature!("popcnt", basic.has_popcnt, true),
            feature!("movbe", basic.has_movbe, true),
            feature!("lzcnt", amd.has_lzcnt, true),
            feature!("bmi1", more.has_bmi1, true),
            feature!("bmi2", more.has_bmi2, true),
            feature!("avx", basic.has_avx, ymm),
            feature!("f16c", basic.has_f16c, ymm),
            feature!("fma", basic.has_fma, ymm),
            feature!("avx2", more.has_avx2, ymm),
            feature!("avxvnni", more.has_avx_vnni, ymm),
            feature!("vaes", more.has_vaes, ymm),
            feature!("vpclmulqdq", more.has_vpclmulqdq, ymm),
            feature!("gfni", more.has_gfni, true),
            feature!("avx512f", more.has_avx512f, zmm),
            feature!("avx512cd", more.has_avx512cd, zmm),
            feature!("avx512dq", more.has_avx512dq, zmm),
            feature!("avx512bw", more.has_avx512bw, zmm),
            feature!("avx512vl", more.has_avx512vl, zmm),
            feature!("avx512ifma", more.has_avx512_ifma, zmm),
            feature!("avx512vbmi", more.has_avx512vbmi, zmm),
            feature!("avx512vbmi2", more.has_avx512vbmi2, zmm),
            feature!("avx512vnni", more.has_avx512vnni, zmm),
            feature!("avx512bitalg", more.has_avx512bitalg, zmm),
            feature!("avx512vpopcntdq", more.has_avx512vpopcntdq, zmm),
            feature!("avx512bf16", more.has_avx512_bf16, zmm),
            feature!("avx512fp16", more.has_avx512_fp16, zmm),
        ]
    }

    /// Whether the system saves these registers at a task switch.
    ///
    /// The register that says so, XCR0, cannot be read without `unsafe`, but CPUID tells the size of the
    /// save area for what is enabled in it, and where these registers would lie in it.
    fn saves(id: &CpuId<CpuIdReaderNative>, registers: ExtendedRegisterType) -> bool {
        let enabled = id.get_feature_info().is_some_and(|f| f.has_oxsave());
        let state = id.get_extended_state_info();
        enabled
            && state.is_some_and(|s| {
                let size = s.xsave_area_size_enabled_features();
                s.iter().any(|r| r.register() == registers && r.offset() + r.size() <= size)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::scratch;

    #[test]
    fn what_runs_the_tests_can_run_the_build() {
        assert_eq!(simd_check(), Ok(()));
    }

    #[test]
    fn a_missing_feature_is_named_with_the_cure() {
        let features = [("avx2", true, true), ("avx512f", true, false), ("sse9", false, false)];
        assert_eq!(
            check(&features).unwrap_err(),
            "this plateau was built for a CPU with avx512f, which this one lacks: \
             build it on this machine with `cargo build --release`"
        );
    }

    // Linux lists a feature in /proc/cpuinfo only if it also saves the registers that it needs.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn the_cpu_has_the_features_that_linux_lists() {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = info.lines().find(|l| l.starts_with("flags")).unwrap();
        let flags: Vec<&str> = flags.split_whitespace().collect();
        for (name, _, present) in x86::features() {
            let linux = match name {
                "sse3" => "pni".to_owned(),
                "lzcnt" => "abm".to_owned(),
                "avxvnni" => "avx_vnni".to_owned(),
                "sse4.1" | "sse4.2" => name.replace('.', "_"),
                _ => {
                    let tail = name.strip_prefix("avx512").unwrap_or("f");
                    let old = ["f", "cd", "dq", "bw", "vl", "ifma", "vbmi"].contains(&tail);
                    if old { name.to_owned() } else { format!("avx512_{tail}") }
                }
            };
            assert_eq!(present, flags.contains(&linux.as_str()), "{name}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // From `date -u -d @n`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_234_567_890, "2009-02-13T23:31:30Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn meta_survives_being_written_and_read() {
        let dir = scratch("meta");
        assert_eq!(Meta::read(&dir).unwrap(), None);
        let mut meta = Meta::new(2, vec!["plateau".to_owned(), "run".to_owned()]);
        meta.finish(12.5, serde_json::json!({"t_grok": 100}));
        meta.write(&dir).unwrap();
        assert_eq!(Meta::read(&dir).unwrap().unwrap(), meta);
        fs::write(dir.join("meta.json"), "{}").unwrap();
        let sentence = Meta::read(&dir).unwrap_err().to_string();
        assert!(
            sentence.contains("meta.json: not plateau's meta.json (missing field"),
            "{sentence}"
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
