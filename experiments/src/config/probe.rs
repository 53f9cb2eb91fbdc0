//! The optional `[probe]` section: what linear probes are asked of an encoder, and what is taken out of it
//! (arXiv:2604.13082). Absent, nothing is read and nothing is in the hash.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Fewest rows: a fifth is held out, and four say little enough.
pub const FEWEST_ROWS: usize = 20;
/// The largest modulus of a target: a probe has a class for each residue.
const MOST_RESIDUES: u32 = 64;
/// The highest bit of a target.
const MOST_BITS: u32 = 32;

/// The `[probe]` table. `observe/probes.rs` says what is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Steps between readings, a multiple of `eval.every`; the last evaluation of a run has one, too.
    pub every: u64,
    /// How many of the test examples are read, the first in the split's order.
    pub rows: usize,
    /// Activations over source tokens, by name.
    pub at: Vec<String>,
    /// How the tokens of an example become one row of features.
    pub pool: Pool,
    /// What the probes are asked.
    pub targets: Vec<Target>,
    /// Those of them whose directions are taken out of the encoder's output.
    pub erase: Vec<Target>,
}

/// How the tokens of an example become one row of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

/// What is asked of an encoder about the number n that it reads. Written `mod8`, `bit3`, `digits`, `log2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// n mod m; parity is that of 2.
    Residue(u32),
    /// The bit a_k = ⌊n / 2^(k−1)⌋ mod 2, k from 1, given those below it.
    ///
    /// The paper calls it conditional; our reading is that there is a probe of its own for each residue
    /// n mod 2^(k−1), fitted to and tested on the numbers of that residue, and that hits are added up.
    Bit(u32),
    /// How many digits n has in the task's base.
    Digits,
    /// ⌊log₂ n⌋; 0 for n = 0.
    Log2,
}

impl Target {
    /// The class of n, in a task of this base.
    pub fn label(self, n: u64, base: u32) -> u32 {
        match self {
            Target::Residue(m) => (n % u64::from(m)) as u32,
            Target::Bit(k) => (n >> (k - 1) & 1) as u32,
            Target::Digits => n.checked_ilog(base.into()).unwrap_or(0) + 1,
            Target::Log2 => n.checked_ilog2().unwrap_or(0),
        }
    }

    /// What is known of n beforehand: 0 of every n, except for a bit.
    pub fn given(self, n: u64) -> u32 {
        match self {
            Target::Bit(k) => (n & ((1 << (k - 1)) - 1)) as u32,
            _ => 0,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Target::Residue(m) => write!(f, "mod{m}"),
            Target::Bit(k) => write!(f, "bit{k}"),
            Target::Digits => f.write_str("digits"),
            Target::Log2 => f.write_str("log2"),
        }
    }
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Target, String> {
        let known = || {
            let number = |word| {
                let digits: &str = text.strip_prefix(word)?;
                let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
                digits.parse::<u32>().ok().filter(|_| plain)
            };
            match text {
                "digits" => Some(Target::Digits),
                "log2" => Some(Target::Log2),
                _ => None,
            }
            .or_else(|| {
                number("mod").filter(|m| (2..=MOST_RESIDUES).contains(m)).map(Target::Residue)
            })
            .or_else(|| number("bit").filter(|k| (1..=MOST_BITS).contains(k)).map(Target::Bit))
        };
        known().ok_or_else(|| {
            format!(
                "{text:?} is no target of a probe: expected mod2 to mod{MOST_RESIDUES}, bit1 to \
                 bit{MOST_BITS}, digits or log2"
            )
        })
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = String;
    fn try_from(text: String) -> Result<Target, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::presets::preset;

    const PROBE: &str = r#"
[probe]
every = 40
rows = 400
at = ["encoder.ln_final.hook_out", "encoder.blocks.0.hook_resid_pre"]
pool = "mean"
targets = ["mod2", "bit3", "digits", "log2"]
erase = ["mod2", "log2"]
"#;

    fn with(text: &str, from: &str, to: &str) -> Result<Config, String> {
        assert!(PROBE.contains(from), "{from}");
        let text = format!("{text}{}", PROBE.replacen(from, to, 1));
        Config::from_toml(&text, "t").map_err(|e| e.to_string())
    }

    fn smoke() -> &'static str {
        preset("collatz-smoke").unwrap()
    }

    #[test]
    fn targets_are_what_they_say() {
        let n = 0b1011_0110; // 182 = 266₈
        assert_eq!([2, 4, 8, 16].map(|m| Target::Residue(m).label(n, 8)), [0, 2, 6, 6]);
        assert_eq!([1, 2, 3, 4].map(|k| Target::Bit(k).label(n, 8)), [0, 1, 1, 0]);
        assert_eq!([1, 2, 3, 4].map(|k| Target::Bit(k).given(n)), [0, 0, 0b10, 0b110]);
        assert_eq!(Target::Residue(16).given(n), 0);
        assert_eq!([2, 8, 10, 183].map(|base| Target::Digits.label(n, base)), [8, 3, 3, 1]);
        assert_eq!([0, 1, 7, 8].map(|n| Target::Log2.label(n, 8)), [0, 0, 2, 3]);
        assert_eq!(Target::Digits.label(0, 8), 1);
    }

    #[test]
    fn a_target_is_one_word_and_comes_back() {
        for word in ["mod2", "mod64", "bit1", "bit32", "digits", "log2"] {
            assert_eq!(word.parse::<Target>().unwrap().to_string(), word);
        }
        for word in
            ["mod1", "mod65", "mod02", "mod", "mod+2", "bit0", "bit33", "log10", "Digits", ""]
        {
            let said = word.parse::<Target>().unwrap_err();
            assert_eq!(
                said,
                format!(
                    "{word:?} is no target of a probe: expected mod2 to mod64, bit1 to bit32, digits or log2"
                )
            );
        }
    }

    #[test]
    fn a_probe_is_part_of_the_hash_and_of_the_written_config_and_none_leaves_no_trace() {
        let none = Config::from_toml(smoke(), "t").unwrap();
        assert!(none.probe.is_none() && !none.to_toml().contains("[probe]"));
        let config = with(smoke(), "mod2", "mod2").unwrap();
        assert_eq!(Config::from_toml(&config.to_toml(), "written").unwrap(), config);
        assert_ne!(config.hash(), none.hash());
        for (from, to) in [("rows = 400", "rows = 20"), ("mean", "last"), ("bit3", "bit4")] {
            assert_ne!(with(smoke(), from, to).unwrap().hash(), config.hash(), "{to}");
        }
        assert!(with(smoke(), "erase = [\"mod2\", \"log2\"]", "erase = []").is_ok());
    }

    #[test]
    fn what_cannot_be_probed_is_refused_in_a_sentence() {
        for (from, to, sentence) in [
            ("every = 40", "every = 0", "probe.every = 0: must be a multiple of eval.every = 20"),
            ("every = 40", "every = 50", "probe.every = 50: must be a multiple of eval.every = 20"),
            ("rows = 400", "rows = 19", "probe.rows = 19: must be 20 to 400, the number of test "),
            (
                "rows = 400",
                "rows = 401",
                "probe.rows = 401: must be 20 to 400, the number of test ",
            ),
            (
                "[\"encoder.ln_final.hook_out\", \"encoder.blocks.0.hook_resid_pre\"]",
                "[]",
                "probe.at",
            ),
            (
                "encoder.blocks.0.hook_resid_pre",
                "encoder.blocks.1.hook_resid_pre",
                "probe.at: this model has no \"encoder.blocks.1.hook_resid_pre\" over source tokens; it \
                 has encoder.blocks.0.hook_resid_pre, encoder.blocks.0.hook_resid_mid, ",
            ),
            (
                "encoder.blocks.0.hook_resid_pre",
                "decoder.ln_final.hook_out",
                "probe.at: \"decoder.ln_final.hook_out\" is over target tokens, and a probe reads what is \
                 known of the source; expected one of encoder.blocks.0.hook_resid_pre, ",
            ),
            (
                "encoder.blocks.0.hook_resid_pre",
                "encoder.ln_final.hook_out",
                "probe.at: \"encoder.ln_final.hook_out\" stands there twice",
            ),
            (
                "\"bit3\"",
                "\"mod3x\"",
                "\"mod3x\" is no target of a probe: expected mod2 to mod64, ",
            ),
            ("\"bit3\"", "\"mod2\"", "probe.targets: mod2 stands there twice"),
            (
                "[\"mod2\", \"bit3\", \"digits\", \"log2\"]",
                "[]",
                "probe.targets = []: name at least one",
            ),
            (
                "erase = [\"mod2\", \"log2\"]",
                "erase = [\"mod4\"]",
                "probe.erase: mod4 is none of probe.targets, so there is no probe of it",
            ),
            (
                "erase = [\"mod2\", \"log2\"]",
                "erase = [\"bit3\"]",
                "probe.erase: bit3 has a probe for each residue of what is given, and no directions of \
                 its own",
            ),
            (
                "erase = [\"mod2\", \"log2\"]",
                "erase = [\"log2\", \"log2\"]",
                "probe.erase: log2 stands there twice",
            ),
            ("pool = \"mean\"", "pool = \"sum\"", "unknown variant `sum`, expected one of `mean`"),
            ("pool = \"mean\"", "", "missing field `pool`"),
            ("pool = \"mean\"", "pool = \"mean\"\nseed = 1", "unknown field `seed`"),
            (
                "encoder_layers = 1",
                "encoder_layers = 0",
                "[probe]: this model is a decoder alone and has no encoder",
            ),
        ] {
            let text = match to {
                // What else names an encoder's hook.
                "encoder_layers = 0" => smoke().replace(
                    "at = [\"decoder.ln_final.hook_out\", \"encoder.ln_final.hook_out\"]",
                    "at = [\"ln_final.hook_out\"]",
                ),
                _ => smoke().to_owned(),
            };
            let (before, section) = match text.contains(from) && !PROBE.contains(from) {
                true => (text.replacen(from, to, 1), PROBE.to_owned()),
                false => (text, PROBE.replacen(from, to, 1)),
            };
            let said =
                Config::from_toml(&format!("{before}{section}"), "t").unwrap_err().to_string();
            assert!(said.contains(sentence), "{to}: {said}");
        }
        let pairs = preset("smoke").unwrap();
        let said = Config::from_toml(&format!("{pairs}{PROBE}"), "t").unwrap_err().to_string();
        assert!(
            said.contains("[probe]: only a model of sequences has an encoder to probe"),
            "{said}"
        );
        let collatz = &smoke()[smoke().find("[task]").unwrap()..smoke().find("[model]").unwrap()];
        let gcd = "[task]\nkind = \"gcd\"\nmax = 40\nbase = 8\norder = \"most_significant\"\n\
                   test = 400\ntrain = \"online\"\n";
        let said = with(&smoke().replace(collatz, gcd), "mean", "mean").unwrap_err();
        assert!(
            said.contains(
                "[probe]: targets are asked of one number, and a source of gcd holds two"
            ),
            "{said}"
        );
    }
}
