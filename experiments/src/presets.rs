//! The experiments that come with plateau: one file per published figure, compiled in.

/// (name, text) of each preset; the first is the one that `plateau` runs without arguments.
pub const PRESETS: &[(&str, &str)] = &[
    ("default", include_str!("../presets/default.toml")),
    ("entropy-paper-add", include_str!("../presets/entropy-paper-add.toml")),
    ("entropy-paper-sub", include_str!("../presets/entropy-paper-sub.toml")),
    ("entropy-paper-mul", include_str!("../presets/entropy-paper-mul.toml")),
    ("entropy-paper-s5", include_str!("../presets/entropy-paper-s5.toml")),
    ("entropy-no-norm", include_str!("../presets/entropy-no-norm.toml")),
    ("entropy-mixing", include_str!("../presets/entropy-mixing.toml")),
    ("calibration-f50", include_str!("../presets/calibration-f50.toml")),
    ("nanda", include_str!("../presets/nanda.toml")),
    ("mlp", include_str!("../presets/mlp.toml")),
    ("mlp-p41", include_str!("../presets/mlp-p41.toml")),
    ("collatz-1x1", include_str!("../presets/collatz-1x1.toml")),
    ("collatz-2x2", include_str!("../presets/collatz-2x2.toml")),
    ("collatz-paper", include_str!("../presets/collatz-paper.toml")),
    ("collatz-smoke", include_str!("../presets/collatz-smoke.toml")),
    ("collatz-plateau", include_str!("../presets/collatz-plateau.toml")),
    ("gcd-1x1", include_str!("../presets/gcd-1x1.toml")),
    ("smoke", include_str!("../presets/smoke.toml")),
];

/// The text of a preset, if there is one of that name.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_preset_is_valid_and_bears_its_own_name() {
        for (name, text) in PRESETS {
            let config = Config::from_toml(text, name).unwrap();
            assert_eq!(config.name, *name);
            assert!(text.starts_with("# "), "{name} opens with a comment");
        }
    }

    #[test]
    fn every_preset_survives_being_written_and_read() {
        for (name, text) in PRESETS {
            let config = Config::from_toml(text, name).unwrap();
            assert_eq!(Config::from_toml(&config.to_toml(), "written").unwrap(), config);
        }
    }

    #[test]
    fn the_presets_have_the_sizes_that_their_papers_print() {
        let parameters =
            |name| Config::from_toml(preset(name).unwrap(), name).unwrap().parameters();
        assert_eq!(parameters("entropy-paper-add"), 223_713);
        // embed 114x128, pos 3x128, attention 4x128², MLP 2x128x512, unembed 128x114
        assert_eq!(parameters("nanda"), 114 * 128 * 2 + 3 * 128 + 4 * 128 * 128 + 2 * 128 * 512);
        // torch.nn.Transformer of these sizes between two embeddings and a linear layer.
        assert_eq!(parameters("collatz-paper"), 11_068_683);
        let s5 = Config::from_toml(preset("entropy-paper-s5").unwrap(), "s5").unwrap();
        assert_eq!(s5.train_count(), 1440);
    }
}
