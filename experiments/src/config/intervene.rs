//! The optional sections: what is done to a run, and when it ends before its last step.
//!
//! A section that is absent does nothing and is no part of the hash; one that is there has every
//! field. `--set intervene.mixing.alpha=0.3` may begin a section that the file does not have.

use super::Config;
use crate::run::checkpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Every path that a file may leave out, for `--set`: of an optional section, or an optional field.
pub const OPTIONAL: &[&str] = &[
    "eval.test",
    "intervene.mixing.site",
    "intervene.mixing.alpha",
    "intervene.mixing.from",
    "intervene.mixing.until",
    "intervene.mixing.sham",
    "intervene.norm.baseline",
    "intervene.norm.from",
    "intervene.norm.until",
    "intervene.labels.shuffled",
    "intervene.freeze.parts",
    "optim.clip",
    "task.renew",
    "task.source_base",
    "probe.at",
    "probe.erase",
    "probe.every",
    "probe.pool",
    "probe.rows",
    "probe.targets",
    "stop.past_grok",
    "stop.give_up",
];

/// Optional tables whose keys are parts of a model: what stands behind the path and a dot is one key, dots
/// and all, as in `--set intervene.redraw.decoder.blocks.0=7`.
pub const BY_PART: [&str; 2] = ["intervene.transplant", "intervene.redraw"];

/// The `[intervene]` table. A part of a model is the beginning of its parameters' names, up to a dot or their
/// end: `encoder`, `decoder.blocks.0`, `unembed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterveneConfig {
    /// Representations are mixed, or disturbed as much by noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixing: Option<MixingConfig>,
    /// The norm of all parameters follows that of another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormConfig>,
    /// There is no rule to find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsConfig>,
    /// Parts that begin as another run has left them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transplant: Option<BTreeMap<String, Donor>>,
    /// Parts that are drawn with another seed than the run's. The examples stay those of the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redraw: Option<BTreeMap<String, u64>>,
    /// Parts that do not learn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeConfig>,
}

/// The `[intervene.mixing]` table: zᵢ ← (1 − α)·zᵢ + α·z_π(i) in the forward of a training step, π a
/// fresh derangement of the batch at every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixingConfig {
    /// The activation z, by name: a hook at the last position.
    pub site: String,
    /// α, above 0 and at most 1.
    pub alpha: f64,
    /// The first step with it.
    pub from: u64,
    /// The first step without it.
    pub until: u64,
    /// Noise instead: zᵢ ← zᵢ + α·‖z_π(i) − zᵢ‖·uᵢ, uᵢ a random unit vector; as far, nowhere in
    /// particular. The amplitude passes no gradient on.
    pub sham: bool,
}

/// The `[intervene.norm]` table: after an update all parameters are multiplied by one number, so that
/// their norm is the baseline's at that step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormConfig {
    /// Name of the experiment whose run is the baseline; see [`Config::baseline`].
    pub baseline: String,
    /// The first step with it.
    pub from: u64,
    /// The first step without it.
    pub until: u64,
}

/// The `[intervene.labels]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsConfig {
    /// The answers of all pairs are permuted at random. Always true.
    pub shuffled: bool,
}

/// A checkpoint of another run, `<experiment>/<config hash>@<step>`. Its seed is that of the run that takes it
/// up: the split follows from the seed, and a run of another has learnt from examples that are tested here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Donor {
    /// The experiment: a folder's name below `runs`.
    pub name: String,
    /// [`Config::hash`] of the run.
    pub hash: String,
    /// Steps behind the checkpoint.
    pub step: u64,
}

impl Donor {
    /// Its run's folder below `runs`.
    pub fn folder(&self, runs: &Path, seed: u64) -> PathBuf {
        runs.join(&self.name).join(format!("{}-s{seed}", self.hash))
    }

    /// The checkpoint's file below `runs`.
    pub fn checkpoint(&self, runs: &Path, seed: u64) -> PathBuf {
        checkpoint::path(&self.folder(runs, seed).join("checkpoints"), self.step)
    }
}

impl fmt::Display for Donor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}@{}", self.name, self.hash, self.step)
    }
}

impl From<Donor> for String {
    fn from(donor: Donor) -> String {
        donor.to_string()
    }
}

impl TryFrom<String> for Donor {
    type Error = String;
    fn try_from(text: String) -> Result<Donor, String> {
        text.parse()
    }
}

impl FromStr for Donor {
    type Err = String;
    fn from_str(text: &str) -> Result<Donor, String> {
        let parts = || {
            let (run, step) = text.split_once('@')?;
            let (name, hash) = run.split_once('/')?;
            let is_hash = hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            (is_hash && super::can_be_a_folder(name)).then_some(())?;
            let step = step.replace('_', "").parse().ok()?;
            Some(Donor { name: name.to_owned(), hash: hash.to_owned(), step })
        };
        parts().ok_or_else(|| {
            format!(
                "{text:?} is no checkpoint: expected <experiment>/<config hash>@<step>, as in \
                 collatz-1x1/0123456789ab@4000; a run folder is named <config hash>-s<seed>"
            )
        })
    }
}

/// The `[intervene.freeze]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeConfig {
    /// The parts. Their parameters stay as they begin: no gradient, no decay.
    pub parts: Vec<String>,
}

/// The part of a model that holds an encoder and nothing else.
pub const ENCODER: &str = "encoder";

/// Whether a parameter belongs to a part.
pub fn in_part(param: &str, part: &str) -> bool {
    param.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The `[stop]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopConfig {
    /// The run ends so many steps after T_grok, and at `steps` at the latest.
    pub past_grok: u64,
    /// The run ends here if it has not grokked: what groks late can be carried past it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<u64>,
}

impl Config {
    /// The same experiment with nothing done to it.
    pub fn without_interventions(&self) -> Config {
        Config { intervene: None, ..self.clone() }
    }

    /// The parts that do not learn.
    pub fn frozen(&self) -> &[String] {
        let freeze = self.intervene.as_ref().and_then(|intervene| intervene.freeze.as_ref());
        freeze.map_or(&[], |freeze| &freeze.parts)
    }

    /// Whether an encoder, as a whole, does not learn: then it is computed once, and not in every step.
    pub fn freezes_encoder(&self) -> bool {
        self.frozen().iter().any(|part| part == ENCODER)
    }

    /// The run whose norm `[intervene.norm]` follows: this one without interventions, under the
    /// baseline's name.
    pub fn baseline(&self) -> Option<Config> {
        let name = self.intervene.as_ref()?.norm.as_ref()?.baseline.clone();
        Some(Config { name, ..self.without_interventions() })
    }

    /// The last step of a run that groks at this step, if it has.
    pub fn last_step(&self, t_grok: Option<u64>) -> u64 {
        let Some(stop) = &self.stop else { return self.steps };
        let end = match t_grok {
            Some(t_grok) => t_grok.saturating_add(stop.past_grok),
            None => stop.give_up.unwrap_or(self.steps),
        };
        self.steps.min(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::probe::{Pool, ProbeConfig};
    use crate::presets::PRESETS;
    use toml::{Table, Value};

    const TEXT: &str = include_str!("../../presets/entropy-paper-add.toml");
    const EVERYTHING: &str = r#"
[intervene.mixing]
site = "ln_final.hook_out"
alpha = 0.3
from = 0
until = 50_000
sham = false
[intervene.norm]
baseline = "entropy-paper-add"
from = 10
until = 20
[intervene.labels]
shuffled = true
[intervene.freeze]
parts = ["embed"]
[stop]
past_grok = 10_000
"#;

    fn everything() -> Config {
        Config::from_toml(&format!("{TEXT}{EVERYTHING}"), "t").unwrap()
    }

    fn with(changes: &[(&str, &str)]) -> Result<Config, String> {
        let changes: Vec<_> = changes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Config::from_toml_with(TEXT, "t", &changes).map_err(|e| e.to_string())
    }

    #[test]
    fn absent_sections_leave_no_trace() {
        let config = with(&[]).unwrap();
        assert_eq!((&config.intervene, &config.stop), (&None, &None));
        assert!(!config.to_toml().contains("intervene") && !config.to_toml().contains("stop"));
        assert_eq!((config.optim.clip, config.eval.test), (None, None));
        assert!(!config.to_toml().contains("clip") && !config.to_toml().contains("\ntest"));
    }

    #[test]
    fn the_sections_are_part_of_the_hash_and_of_the_written_config() {
        let all = everything();
        assert_eq!(Config::from_toml(&all.to_toml(), "written").unwrap(), all);
        let mut hashes = vec![with(&[]).unwrap().hash(), all.hash()];
        for changed in ["alpha = 0.3", "sham = false", "from = 10", "baseline", "10_000"] {
            let text = match changed {
                "alpha = 0.3" => EVERYTHING.replace(changed, "alpha = 0.4"),
                "sham = false" => EVERYTHING.replace(changed, "sham = true"),
                "from = 10" => EVERYTHING.replace(changed, "from = 11"),
                "baseline" => EVERYTHING.replace("paper-add", "paper-other"),
                _ => EVERYTHING.replace(changed, "10_001"),
            };
            hashes.push(Config::from_toml(&format!("{TEXT}{text}"), "t").unwrap().hash());
        }
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(hash), "{i}");
        }
    }

    #[test]
    fn the_hashes_of_the_presets_are_those_of_the_first_release() {
        let hash = |name: &str| {
            let (_, text) = PRESETS.iter().find(|preset| preset.0 == name).unwrap();
            Config::from_toml(text, name).unwrap().hash()
        };
        for (name, expected) in [
            ("default", "33d3eb256745"),
            ("entropy-paper-add", "0fdf83a014e8"),
            ("entropy-paper-sub", "04fdfcff9b0d"),
            ("entropy-paper-mul", "50ae36a906da"),
            ("entropy-paper-s5", "dfae887ae96d"),
            ("calibration-f50", "7beca3997409"),
            ("nanda", "6d1c98dc71e4"),
            ("mlp", "4c83d4d8887d"),
            ("smoke", "e9e71cd088c5"),
        ] {
            assert_eq!(hash(name), expected, "{name}");
        }
    }

    #[test]
    fn set_knows_every_optional_path() {
        fn paths(prefix: &str, table: &Table, found: &mut Vec<String>) {
            for (key, value) in table {
                match value {
                    Value::Table(inner) => paths(&format!("{prefix}{key}."), inner, found),
                    _ => found.push(format!("{prefix}{key}")),
                }
            }
        }
        let (mut all, mut required) = (everything(), Vec::new());
        paths("", &Table::try_from(with(&[]).unwrap()).unwrap(), &mut required);
        (all.optim.clip, all.eval.test) = (Some(5.0), Some(1000));
        all.stop.as_mut().unwrap().give_up = Some(1);
        let (at, targets, pool) = (Vec::new(), Vec::new(), Pool::Mean);
        all.probe = Some(ProbeConfig { every: 1, rows: 20, at, pool, targets, erase: Vec::new() });
        let mut found = Vec::new();
        paths("", &Table::try_from(all).unwrap(), &mut found);
        found.retain(|path| !required.contains(path));
        // of a task that this preset does not have
        found.extend(["task.renew", "task.source_base"].map(str::to_owned));
        found.sort_unstable();
        let mut known = OPTIONAL.to_vec();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn set_begins_a_section_whose_other_fields_come_from_further_changes() {
        let site = ("intervene.mixing.site", "ln_final.hook_out");
        let rest = [("from", "5"), ("until", "9"), ("sham", "true"), ("alpha", "0.25")];
        let rest = rest.map(|(key, value)| (format!("intervene.mixing.{key}"), value));
        let mut changes = vec![site];
        for (key, value) in &rest {
            let sentence = with(&changes).unwrap_err();
            assert!(sentence.contains(&format!("missing field `{}`", "alpha")), "{sentence}");
            changes.push((key, value));
        }
        let mixing = with(&changes).unwrap().intervene.unwrap().mixing.unwrap();
        assert_eq!((mixing.alpha, mixing.from, mixing.until, mixing.sham), (0.25, 5, 9, true));
        assert_eq!(with(&[("stop.past_grok", "7")]).unwrap().stop.unwrap().past_grok, 7);
        let changed = with(&[("optim.clip", "5.0"), ("eval.test", "900")]).unwrap();
        assert_eq!((changed.optim.clip, changed.eval.test), (Some(5.0), Some(900)));
        let sentence = with(&[("intervene.mixing.aplha", "0.3")]).unwrap_err();
        assert!(sentence.contains("did you mean `intervene.mixing.alpha`?"), "{sentence}");
    }

    #[test]
    fn the_baseline_is_the_same_run_with_nothing_done_to_it() {
        let all = everything();
        let baseline = all.baseline().unwrap();
        assert_eq!(baseline.name, "entropy-paper-add");
        assert_eq!(baseline, with(&[("stop.past_grok", "10000")]).unwrap());
        assert_eq!(baseline.run_id(), all.without_interventions().run_id());
        assert_eq!(with(&[]).unwrap().baseline(), None);
    }

    #[test]
    fn a_run_ends_past_grokking_and_never_after_its_steps() {
        let all = everything();
        let ends = [None, Some(0), Some(7000), Some(45_000)].map(|t_grok| all.last_step(t_grok));
        assert_eq!(ends, [50_000, 10_000, 17_000, 50_000]);
        let all = with(&[("stop.past_grok", "10000"), ("stop.give_up", "30000")]).unwrap();
        let ends = [None, Some(29_000), Some(45_000)].map(|t_grok| all.last_step(t_grok));
        assert_eq!(ends, [30_000, 39_000, 50_000]);
        assert_eq!(with(&[]).unwrap().last_step(Some(7000)), 50_000);
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_a_sentence() {
        for (from, to, sentence) in [
            (
                "alpha = 0.3",
                "alpha = 0.0",
                "intervene.mixing.alpha = 0: must be above 0 and at most 1",
            ),
            ("alpha = 0.3", "alpha = 1.1", "intervene.mixing.alpha = 1.1: must be above 0"),
            ("alpha = 0.3", "alpha = nan", "intervene.mixing.alpha = NaN: must be above 0"),
            (
                "until = 50_000",
                "until = 0",
                "intervene.mixing.until = 0: must be above intervene.mixing.from = 0",
            ),
            (
                "from = 10",
                "from = 20",
                "intervene.norm.until = 20: must be above intervene.norm.from = 20",
            ),
            (
                "ln_final.hook_out",
                "ln_final",
                "intervene.mixing.site: this model has no \"ln_final\" at the last position; it has blocks.0.hook_resid_mid, ",
            ),
            (
                "shuffled = true",
                "shuffled = false",
                "intervene.labels.shuffled = false: to shuffle nothing, leave the section out",
            ),
            (
                "\"entropy-paper-add\"\nfrom",
                "\"a/b\"\nfrom",
                "intervene.norm.baseline = \"a/b\": it is a folder's name",
            ),
            ("past_grok = 10_000", "past_grok = 0", "stop.past_grok = 0: must be at least 1"),
            (
                "past_grok = 10_000",
                "past_grok = 10_000\ngive_up = 0",
                "stop.give_up = 0: must be at least 1",
            ),
            ("alpha = 0.3", "alpha = 0.3\nbeta = 1", "unknown field `beta`"),
            ("sham = false", "", "missing field `sham`"),
        ] {
            assert!(EVERYTHING.contains(from), "{from}");
            let text = format!("{TEXT}{}", EVERYTHING.replacen(from, to, 1));
            let said = Config::from_toml(&text, "t").unwrap_err().to_string();
            assert!(said.contains(sentence), "{said}");
        }
        let said = Config::from_toml(&format!("{TEXT}[intervene]\n"), "t").unwrap_err().to_string();
        assert!(said.contains("[intervene]: it is empty"), "{said}");
        let one = [("optim.batch", "1"), ("intervene.mixing.site", "ln_final.hook_out")]
            .into_iter()
            .chain([("intervene.mixing.alpha", "1"), ("intervene.mixing.from", "0")])
            .chain([("intervene.mixing.until", "1"), ("intervene.mixing.sham", "false")]);
        let said = with(&one.collect::<Vec<_>>()).unwrap_err();
        assert!(said.contains("optim.batch = 1: mixing needs at least 2"), "{said}");
    }

    #[test]
    fn a_donor_is_a_run_and_a_step() {
        let donor: Donor = "collatz-1x1/0123456789ab@4_000".parse().unwrap();
        assert_eq!((donor.name.as_str(), donor.step), ("collatz-1x1", 4000));
        assert_eq!(donor.to_string(), "collatz-1x1/0123456789ab@4000");
        for wrong in
            ["collatz-1x1/0123456789ab", "0123456789ab@1", "a/0123456789ab-s0@1", "a/b@1", ""]
        {
            let said = wrong.parse::<Donor>().unwrap_err();
            assert!(said.starts_with(&format!("{wrong:?} is no checkpoint: expected ")), "{said}");
        }
    }

    #[test]
    fn a_part_ends_at_a_dot() {
        let holds = |part| in_part("decoder.blocks.1.attn.W_Q", part);
        let parts = ["decoder", "decoder.blocks.1", "decoder.blocks.1.attn.W_Q"];
        assert!(parts.iter().all(|part| holds(part)));
        let others = ["decoder.b", "encoder", "decoder.blocks.1.attn.W_QQ", "decoder."];
        assert!(!others.iter().any(|part| holds(part)));
    }

    #[test]
    fn set_gives_a_part_what_it_begins_with() {
        let donor = "a/0123456789ab@40";
        let changed = with(&[
            ("intervene.transplant.blocks.0.attn", donor),
            ("intervene.redraw.unembed", "7"),
            ("intervene.freeze.parts", "[\"embed\"]"),
        ]);
        let config = changed.unwrap();
        let intervene = config.intervene.as_ref().unwrap();
        assert_eq!(intervene.transplant.as_ref().unwrap()["blocks.0.attn"].to_string(), donor);
        assert_eq!(intervene.redraw.as_ref().unwrap()["unembed"], 7);
        assert_eq!(config.frozen(), ["embed"]);
        assert_eq!(Config::from_toml(&config.to_toml(), "written").unwrap(), config);
        let other = with(&[("intervene.redraw.unembed", "8")]).unwrap();
        assert_ne!(other.hash(), with(&[("intervene.redraw.unembed", "7")]).unwrap().hash());
    }

    #[test]
    fn parts_that_cannot_be_given_are_refused_in_a_sentence() {
        for (changes, sentence) in [
            (
                &[("intervene.transplant.embed", "x")][..],
                "\"x\" is no checkpoint: expected <experiment>/<config hash>@<step>",
            ),
            (&[("intervene.freeze.parts", "[]")], "[intervene.freeze]: it names no part"),
            (
                &[("intervene.redraw.blocks", "1"), ("intervene.redraw.blocks.0", "2")],
                "[intervene]: blocks.0 is given twice, by transplant or redraw: blocks holds it",
            ),
            (
                &[
                    ("intervene.redraw.embed", "1"),
                    ("intervene.transplant.embed", "a/0123456789ab@4"),
                ],
                "[intervene]: embed is given twice",
            ),
        ] {
            let said = with(changes).unwrap_err();
            assert!(said.contains(sentence), "{said}");
        }
        let collatz = include_str!("../../presets/collatz-1x1.toml");
        for (changes, sentence) in [
            (
                [("model.tie", "all"), ("intervene.freeze.parts", "[\"encoder\"]")],
                "with model.tie = \"all\" the encoder reads the decoder's table of tokens",
            ),
            (
                [("model.encoder_layers", "0"), ("intervene.freeze.parts", "[\"encoder\"]")],
                "this model is a decoder alone and has no encoder",
            ),
            (
                [("task.max", "1_000_000"), ("intervene.freeze.parts", "[\"encoder\"]")],
                "for all 1000000 sources would take up to ",
            ),
        ] {
            let hooks = ("spectral.at", "[\"decoder.ln_final.hook_out\"]");
            let alone = ("spectral.at", "[\"ln_final.hook_out\"]");
            let hook = if changes[0].1 == "0" { alone } else { hooks };
            let changes: Vec<(String, String)> = changes
                .into_iter()
                .chain([hook, ("model.d_model", "256")])
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            let said = Config::from_toml_with(collatz, "t", &changes).unwrap_err().to_string();
            assert!(said.contains(sentence), "{said}");
        }
    }

    #[test]
    fn mixing_needs_the_last_position_alone() {
        let two = TEXT.replace("n_layers = 1", "n_layers = 2");
        let at = |site: &str| {
            let all = EVERYTHING.replace("ln_final.hook_out", site);
            Config::from_toml(&format!("{two}{all}"), "t").map(|_| ())
        };
        assert!(at("blocks.1.hook_resid_mid").is_ok() && at("ln_final.hook_out").is_ok());
        let said = at("blocks.0.hook_resid_mid").unwrap_err().to_string();
        assert!(said.contains("at the last position; it has blocks.1.hook_resid_mid, "), "{said}");
    }
}
