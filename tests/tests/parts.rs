//! Parts of a model that are transplanted, redrawn or frozen hold what their config says, and nothing else
//! changes; a frozen encoder whose outputs are kept gives the bits of one that is computed in every step.

use experiments::config::Config;
use experiments::presets::preset;
use experiments::run::checkpoint::{self, Checkpoint};
use std::fs;
use std::path::{Path, PathBuf};
use tests::{carry_out, run_in, scratch, stderr};

/// The preset `collatz-smoke`, 40 steps long with every tenth checkpoint kept, and these changes.
fn config(changes: &[(&str, &str)]) -> Config {
    let base = [
        ("steps", "40"),
        ("eval.every", "10"),
        ("checkpoint.every", "10"),
        ("checkpoint.keep", "0"),
    ];
    let changes: Vec<(String, String)> =
        base.iter().chain(changes).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Config::from_toml_with(preset("collatz-smoke").unwrap(), "collatz-smoke", &changes).unwrap()
}

/// The folder of a run that has been carried out, or stopped.
fn run(config: &Config, out: &Path, stop: Option<u64>) -> Result<PathBuf, String> {
    carry_out(config, out, stop).map(|(folder, _)| folder)
}

fn at(folder: &Path, step: u64) -> Checkpoint {
    checkpoint::load(&folder.join(format!("checkpoints/step-{step:07}.safetensors"))).unwrap()
}

/// A parameter's values in a checkpoint.
fn values<'a>(checkpoint: &'a Checkpoint, name: &str) -> &'a [f32] {
    &checkpoint.tensors[name].1
}

/// The names of all parameters in a checkpoint.
fn params(checkpoint: &Checkpoint) -> impl Iterator<Item = &str> {
    checkpoint.tensors.keys().map(String::as_str).filter(|name| !name.starts_with("adam_"))
}

fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Weights before the first step: those of a run that learns nothing, at lr 0.
fn initial(changes: &[(&str, &str)], out: &Path) -> Checkpoint {
    let still = [("optim.lr", "0.0"), ("steps", "10")];
    let folder = run(&config(&[&still[..], changes].concat()), out, None).unwrap();
    at(&folder, 10)
}

#[test]
fn an_encoder_whose_outputs_are_kept_gives_the_bits_of_one_that_is_computed() {
    let out = scratch("parts-kept");
    let run = |parts: &str| {
        let folder = run(&config(&[("intervene.freeze.parts", parts)]), &out, None).unwrap();
        (metrics(&folder), at(&folder, 40))
    };
    let (kept, end) = run("[\"encoder\"]");
    let (computed, other) = run("[\"encoder.embed\", \"encoder.blocks\", \"encoder.ln_final\"]");
    let names: Vec<&str> = params(&end).collect();
    assert!(params(&other).eq(names.iter().copied()));
    for name in names {
        assert_eq!(values(&end, name), values(&other, name), "{name}");
    }
    assert_eq!(kept.len(), computed.len());
    for (a, b) in kept.iter().zip(&computed) {
        for key in ["step", "batch/loss", "batch/acc", "train/loss", "test/acc", "test/acc/digit"] {
            assert_eq!(a.get(key), b.get(key), "{key} of step {}", a["step"]);
        }
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn what_is_frozen_stays_and_the_rest_learns() {
    let out = scratch("parts-frozen");
    let before = initial(&[], &out);
    for part in ["encoder", "decoder", "decoder.blocks.0.mlp", "unembed"] {
        let parts = format!("[{part:?}]");
        let config = config(&[("intervene.freeze.parts", &parts), ("optim.weight_decay", "0.5")]);
        let after = at(&run(&config, &out, None).unwrap(), 40);
        for name in params(&before) {
            let stays = values(&before, name) == values(&after, name);
            assert_eq!(stays, name.starts_with(&format!("{part}.")), "{part}: {name}");
        }
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_transplant_begins_with_the_donors_values_and_the_rest_with_its_own() {
    let out = scratch("parts-transplant");
    let plain = config(&[]);
    let donor = at(&run(&plain, &out, None).unwrap(), 20);
    let own = initial(&[], &out);
    let taken = format!("collatz-smoke/{}@20", plain.hash());
    for part in ["encoder", "decoder.blocks.0.cross_attn"] {
        let key = format!("intervene.transplant.{part}");
        let begun = initial(&[(&key, &taken)], &out);
        for name in params(&own) {
            let from = if name.starts_with(&format!("{part}.")) { &donor } else { &own };
            assert_eq!(values(&begun, name), values(from, name), "{part}: {name}");
        }
    }
    // Rewound: the encoder of the end, the decoder of an earlier step.
    let end = format!("collatz-smoke/{}@40", plain.hash());
    let rewound = initial(
        &[
            ("intervene.transplant.encoder", &end),
            ("intervene.transplant.decoder", &taken),
            ("intervene.transplant.unembed", &taken),
        ],
        &out,
    );
    let last = at(&out.join("collatz-smoke").join(plain.run_id()), 40);
    for name in params(&own) {
        let from = if name.starts_with("encoder.") { &last } else { &donor };
        assert_eq!(values(&rewound, name), values(from, name), "{name}");
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_redrawn_part_is_that_of_a_run_with_that_seed_on_the_same_examples() {
    let out = scratch("parts-redraw");
    let (own, other) = (initial(&[], &out), initial(&[("seed", "7")], &out));
    let begun = initial(&[("intervene.redraw.decoder", "7")], &out);
    for name in params(&own) {
        let from = if name.starts_with("decoder.") { &other } else { &own };
        assert_eq!(values(&begun, name), values(from, name), "{name}");
    }
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_run_with_a_frozen_transplanted_encoder_goes_on_with_the_same_bits() {
    let out = scratch("parts-resume");
    let plain = config(&[]);
    run(&plain, &out, None).unwrap();
    let taken = format!("collatz-smoke/{}@20", plain.hash());
    let config = config(&[
        ("intervene.transplant.encoder", &taken),
        ("intervene.freeze.parts", "[\"encoder\"]"),
    ]);
    let whole = run(&config, &out, None).unwrap();
    let (lines, end) = (metrics(&whole), at(&whole, 40));
    fs::remove_dir_all(&whole).unwrap();
    run(&config, &out, Some(17)).unwrap();
    let again = run(&config, &out, None).unwrap();
    assert!(metrics(&again) == lines && at(&again, 40).tensors == end.tensors);
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn what_cannot_be_taken_up_is_said_in_a_sentence_and_leaves_no_folder() {
    let out = scratch("parts-refused");
    let runs = out.join("runs");
    let (plain, hash) = (config(&[]), config(&[]).hash());
    run(&plain, &runs, None).unwrap();
    let other = config(&[("task.base", "10")]);
    run(&other, &runs, None).unwrap();
    let fewer = config(&[("task.test", "100")]);
    run(&fewer, &runs, None).unwrap();
    let pairs = "smoke";
    let steps = ("steps".to_owned(), "20".to_owned());
    let of_pairs = Config::from_toml_with(preset(pairs).unwrap(), pairs, &[steps]).unwrap();
    run(&of_pairs, &runs, None).unwrap();
    let another = of_pairs.hash();
    let of = |name: &str, hash: &str, step: u64| format!("{name}/{hash}@{step}");
    for (key, value, sentence) in [
        (
            "transplant.encoder",
            of("nowhere", &hash, 20),
            "the donor's run is missing, runs/nowhere/",
        ),
        (
            "transplant.encoder",
            of("collatz-smoke", &hash, 25),
            "has no checkpoint of step 25; it has 10, 20, 30, 40",
        ),
        (
            "transplant.encoder",
            of("collatz-smoke", &other.hash(), 20),
            "encoder.embed.W_E has shape [13, 32], expected [11, 32]",
        ),
        ("transplant.encoder", of("smoke", &another, 20), "no tensor encoder."),
        (
            "transplant.encodr",
            of("collatz-smoke", &hash, 20),
            "no parameter of this model begins with \"encodr\"; expected decoder, encoder, unembed",
        ),
        (
            "transplant.encoder",
            of("collatz-smoke", &fewer.hash(), 20),
            "the donor's run has task.test = 100, and this one 400: it has learnt from examples that are tested",
        ),
        ("redraw.embed", "3".into(), "no parameter of this model begins with \"embed\""),
        (
            "freeze.parts",
            "[\"lm_head\"]".into(),
            "no parameter of this model begins with \"lm_head\"",
        ),
        (
            "freeze.parts",
            "[\"encoder\", \"decoder\", \"unembed\"]".into(),
            "intervene.freeze.parts: nothing is left to learn",
        ),
    ] {
        let before = fs::read_dir(runs.join("collatz-smoke")).unwrap().count();
        let set = format!("intervene.{key}={value}");
        let done = run_in(&out, &["run", "collatz-smoke", "--steps", "40", "--set", &set]);
        let said = stderr(&done);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
        assert_eq!(fs::read_dir(runs.join("collatz-smoke")).unwrap().count(), before, "{set}");
    }
    // A damaged checkpoint.
    let path = runs.join("collatz-smoke").join(plain.run_id()).join("checkpoints");
    let path = path.join("step-0000020.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let set = format!("intervene.transplant.encoder={}", of("collatz-smoke", &hash, 20));
    let said = stderr(&run_in(&out, &["run", "collatz-smoke", "--set", &set]));
    assert!(said.contains("not a whole safetensors file, truncated or damaged"), "{said}");
    fs::remove_dir_all(out).unwrap();
}
