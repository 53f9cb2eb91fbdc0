//! `plateau audit`: its ledger adds up, names what it names, and its dump can be computed again.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::{only_run, run_in, scratch, stderr, stdout};

/// A small model of each kind, as (preset, changes).
const MODELS: &[(&str, &str, &[&str])] = &[
    ("post-norm", "default", &["optim.batch=48"]),
    ("nanda", "nanda", &["task.p=29", "spectral.probe=64", "optim.batch=64"]),
    (
        "deep",
        "default",
        &[
            "optim.batch=32",
            "model.tokens=ab=",
            "model.norm=pre",
            "model.n_layers=2",
            "model.d_model=48",
            "model.act=gelu_tanh",
            "model.causal=true",
            "optim.no_decay=[\"b_\"]",
            "optim.schedule=cosine",
            "optim.warmup=4",
            "spectral.at=[\"blocks.0.hook_resid_mid\"]",
        ],
    ),
    ("mlp", "mlp", &["optim.batch=64", "model.n_layers=2", "model.bias=true"]),
    ("s5", "entropy-paper-s5", &["optim.batch=32", "model.d_model=32", "model.d_mlp=64"]),
];

/// The same with something done to it, at every site of the transformer and at one of the MLP's; and the
/// number of tensors that an intervention draws.
const EDITED: &[(&str, &str, &[&str], usize)] = &[
    ("mixing", "entropy-mixing", &["optim.batch=48"], 1),
    ("sham", "entropy-mixing", &["optim.batch=48", "intervene.mixing.sham=true"], 2),
    ("mixing-ended", "entropy-mixing", &["optim.batch=48", "intervene.mixing.until=3"], 0),
    (
        "mixing-shuffled",
        "entropy-mixing",
        &["optim.batch=48", "intervene.labels.shuffled=true", "task.op=mul"],
        2,
    ),
    (
        "mid",
        "entropy-mixing",
        &["optim.batch=48", "intervene.mixing.site=blocks.0.hook_resid_mid"],
        1,
    ),
    (
        "ln1",
        "entropy-mixing",
        &["optim.batch=48", "intervene.mixing.site=blocks.0.ln1.hook_out"],
        1,
    ),
    (
        "post",
        "entropy-mixing",
        &["optim.batch=48", "intervene.mixing.site=blocks.0.mlp.hook_post"],
        1,
    ),
    (
        "sham-mlp-out",
        "entropy-mixing",
        &[
            "optim.batch=48",
            "intervene.mixing.site=blocks.0.hook_mlp_out",
            "intervene.mixing.sham=true",
        ],
        2,
    ),
    (
        "deep",
        "entropy-mixing",
        &[
            "optim.batch=32",
            "model.norm=pre",
            "model.n_layers=2",
            "spectral.at=[\"blocks.0.hook_resid_mid\"]",
            "intervene.mixing.site=blocks.1.hook_resid_post",
        ],
        1,
    ),
    (
        "mlp",
        "mlp",
        &[
            "optim.batch=64",
            "model.n_layers=2",
            "intervene.mixing.site=layers.0.hook_post",
            "intervene.mixing.alpha=0.5",
            "intervene.mixing.from=3",
            "intervene.mixing.until=4",
            "intervene.mixing.sham=false",
        ],
        1,
    ),
];

/// Small steps on sequences: each norm, positions, tie and activation, another source base, gcd, a decoder
/// alone with one block and with two, and a frozen encoder, whose outputs are given.
const SEQUENCES: &[(&str, &str, &[&str], usize)] = &[
    ("collatz", "collatz-1x1", &["optim.batch=40"], 0),
    (
        "post-norm-tied",
        "collatz-smoke",
        &[
            "optim.batch=40",
            "model.norm=post",
            "model.act=gelu",
            "model.positions=learned",
            "model.tie=all",
            "model.scale_embedding=true",
            "model.encoder_layers=2",
            "model.decoder_layers=2",
        ],
        0,
    ),
    (
        "bases",
        "collatz-smoke",
        &[
            "task.order=least_significant",
            "task.source_base=24",
            "task.iterations=2",
            "task.op=5n+1",
            "model.norm=none",
            "model.final_norm=false",
            "model.unembed_bias=false",
            "model.act=gelu_tanh",
            "optim.clip=0.1",
            "spectral.at=[\"decoder.blocks.0.hook_resid_post\"]",
        ],
        0,
    ),
    ("gcd", "gcd-1x1", &["optim.batch=24", "model.d_model=64", "model.d_mlp=128"], 0),
    (
        "decoder-alone",
        "collatz-smoke",
        &["model.encoder_layers=0", "spectral.at=[\"ln_final.hook_out\"]"],
        0,
    ),
    (
        "decoder-alone-deep",
        "collatz-smoke",
        &[
            "model.encoder_layers=0",
            "model.decoder_layers=2",
            "model.positions=learned",
            "spectral.at=[\"ln_final.hook_out\"]",
        ],
        0,
    ),
    (
        "frozen",
        "collatz-smoke",
        &["intervene.freeze.parts=[\"encoder\"]", "spectral.at=[\"decoder.ln_final.hook_out\"]"],
        1,
    ),
];

fn audit(dir: &Path, experiment: &str, changes: &[&str], more: &[&str]) -> Output {
    let mut arguments = vec!["audit", experiment];
    changes.iter().for_each(|change| arguments.extend(["--set", change]));
    arguments.extend(more);
    run_in(dir, &arguments)
}

fn ledger(dir: &Path, experiment: &str, changes: &[&str], more: &[&str]) -> Value {
    let output = audit(dir, experiment, changes, &[&["--json"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

fn number(x: &Value) -> f64 {
    x.as_f64().unwrap_or_else(|| panic!("a number, not {x}"))
}

fn rows<'a>(ledger: &'a Value, pass: &'a str) -> impl Iterator<Item = &'a Value> {
    ledger["rows"].as_array().unwrap().iter().filter(move |row| row["pass"] == pass)
}

#[test]
fn the_json_of_an_audit_has_the_documented_keys() {
    let dir = scratch("audit-json");
    let l = ledger(&dir, "smoke", &[], &[]);
    let keys = |x: &Value| x.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&l),
        [
            "preset",
            "seed",
            "step",
            "threads",
            "batch",
            "parameters",
            "machine",
            "peak_gflops",
            "bandwidth",
            "rows",
            "on_top",
            "totals",
            "worst",
            "tolerance"
        ]
    );
    let row = [
        "op",
        "pass",
        "kind",
        "name",
        "formula",
        "files",
        "inputs",
        "outputs",
        "flops",
        "bytes",
        "ms",
        "gflops",
        "floor_ms",
        "roof_share",
        "kept_bytes",
        "error",
        "gradient_check",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for r in l["rows"].as_array().unwrap().iter().chain([&l["on_top"]]) {
        assert_eq!(keys(r), row);
        assert!(
            !r["formula"].as_str().unwrap().is_empty() && !r["name"].as_str().unwrap().is_empty()
        );
        for file in r["files"].as_array().unwrap() {
            assert!(root.join(file.as_str().unwrap()).exists(), "{file}");
        }
        assert!(number(&r["ms"]) >= 0.0 && number(&r["bytes"]) > 0.0, "{r}");
    }
    assert_eq!(
        keys(&l["totals"]),
        [
            "flops",
            "bytes",
            "kept_bytes",
            "ms",
            "step_ms",
            "steps_ms",
            "reconciled",
            "floor_ms",
            "over_floor",
            "repeats"
        ]
    );
    assert_eq!((&l["preset"], &l["step"]), (&"smoke".into(), &0.into()));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_ledger_adds_up() {
    let dir = scratch("audit-sums");
    let l = ledger(&dir, "default", &["optim.batch=64"], &[]);
    let t = &l["totals"];
    let all = l["rows"].as_array().unwrap();
    for key in ["flops", "bytes", "kept_bytes", "ms", "floor_ms"] {
        let sum: f64 = all.iter().map(|r| number(&r[key])).sum();
        assert!((sum / number(&t[key]) - 1.0).abs() < 1e-9, "{key}: {sum} {}", t[key]);
    }
    // loosely: other processes may have the machine
    let reconciled = number(&t["reconciled"]);
    println!("reconciled: {reconciled}");
    assert!((0.85..1.15).contains(&reconciled), "{reconciled}");
    assert!(number(&t["over_floor"]) >= 1.0, "no step is faster than its floor");
    // Every op goes forward and comes back, in opposite orders.
    let numbers = |pass| rows(&l, pass).map(|r| r["op"].as_u64().unwrap()).collect::<Vec<_>>();
    let mut back = numbers("backward");
    back.reverse();
    assert_eq!(numbers("forward"), back);
    assert_eq!(back, (0..back.len() as u64).collect::<Vec<_>>());
    // Errors are those of f32: there, and small.
    let linear = rows(&l, "forward").find(|r| r["kind"] == "linear").unwrap();
    assert!((1e-9..1e-6).contains(&number(&linear["error"])), "{linear}");
    let mut errors = std::collections::BTreeSet::new();
    for r in rows(&l, "backward") {
        assert!(number(&r["error"]) < 1e-5 && number(&r["gradient_check"]) < 1e-5, "{r}");
        errors.extend(["error", "gradient_check"].map(|key| number(&r[key]).to_bits()));
    }
    assert!(errors.len() > 20, "{} different errors in the backward", errors.len());
    // The times are each op's own: most of the work takes most of the time.
    let slowest = all.iter().max_by(|a, b| number(&a["ms"]).total_cmp(&number(&b["ms"]))).unwrap();
    assert!(slowest["kind"].as_str().unwrap().starts_with("linear"), "{slowest}");
    let fastest = rows(&l, "forward").map(|r| number(&r["ms"])).fold(f64::INFINITY, f64::min);
    assert!(10.0 * fastest < number(&slowest["ms"]), "{fastest} against {slowest}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn flops_and_bytes_are_those_that_the_shapes_ask_for() {
    let dir = scratch("audit-counts");
    let l = ledger(&dir, "default", &["optim.batch=64"], &[]);
    let find = |pass: &'static str, name: &str| {
        rows(&l, pass).find(|r| r["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    // (64, 512)·(512, 128) + (128): two operations for each multiply-add
    let [forward, backward] =
        ["forward", "backward"].map(|pass| find(pass, "blocks.0.hook_mlp_out"));
    assert_eq!(forward["flops"], 2 * 64 * 512 * 128);
    assert_eq!(backward["flops"], 4 * 64 * 512 * 128 + 64 * 128);
    let (x, w, b, y) = (64 * 512, 512 * 128, 128, 64 * 128);
    assert_eq!(forward["bytes"], 4 * (x + w + b + y));
    assert_eq!(backward["bytes"], 4 * (y + x + w + x + w + b));
    assert_eq!(forward["kept_bytes"], 4 * y);
    let shapes: Vec<Value> =
        forward["inputs"].as_array().unwrap().iter().map(|m| m["shape"].clone()).collect();
    assert_eq!(serde_json::json!(shapes), serde_json::json!([[64, 512], [512, 128], [1, 128]]));
    let adamw = rows(&l, "optimiser").next().unwrap();
    assert_eq!(adamw["bytes"], 28 * number(&l["parameters"]) as u64);
    fs::remove_dir_all(dir).unwrap();
}

/// The paper-and-pencil work of the step that is compared with PyTorch's: nanda, p = 97, batch 512.
#[test]
fn the_work_of_a_step_is_that_of_its_formulas() {
    let dir = scratch("audit-work");
    let changes = ["task.p=97", "optim.batch=512", "model.mlp_bias=true"];
    let l = ledger(&dir, "nanda", &changes, &[]);
    // batch, unique rows, width, MLP, logits; attention weights: 512 × 4 heads × 3 keys
    let (b, u, d, m, v, w) = (512, 195, 128, 512, 98, 512 * 4 * 3);
    let keys = 3 * b * d;
    let expected: [(&str, &str, u64, u64); 12] = [
        ("gather", "op00.gather", 0, u * d),
        ("add", "op02.add", u * d, 0),
        ("linear", "op03.linear", 2 * u * d * d, 4 * u * d * d),
        ("gather", "blocks.0.attn.hook_k", 0, keys),
        // two products for each weight over 32 columns and its softmax; four and its gradient
        ("attention", "blocks.0.attn.hook_z", 4 * w * 32 + 19 * w, 8 * w * 32 + 5 * w),
        ("linear", "blocks.0.hook_attn_out", 2 * b * d * d, 4 * b * d * d),
        ("add", "blocks.0.hook_resid_mid", b * d, 0),
        // one for ReLU; one for its slope, one for the bias
        ("linear_act", "blocks.0.mlp.hook_post", 2 * b * d * m + b * m, 4 * b * d * m + 2 * b * m),
        ("linear", "blocks.0.hook_mlp_out", 2 * b * m * d, 4 * b * m * d + b * d),
        ("linear", "logits", 2 * b * d * v, 4 * b * d * v),
        // an exponential (16), maximum, difference, sum, quotient
        ("cross_entropy", "loss", 20 * b * v, 2 * b * v),
        ("gather", "op01.gather", 0, u * d),
    ];
    for (kind, name, forward, backward) in expected {
        for (pass, flops) in [("forward", forward), ("backward", backward)] {
            let row = rows(&l, pass).find(|r| r["kind"] == kind && r["name"] == name);
            let row = row.unwrap_or_else(|| panic!("no {pass} {kind} {name}"));
            assert_eq!(row["flops"], flops, "{pass} {name}");
        }
    }
    // q, k, v in, z and the pattern out; then these and dz in, dq, dk, dv out
    let attention = |pass: &'static str| rows(&l, pass).find(|r| r["kind"] == "attention").unwrap();
    assert_eq!(attention("forward")["bytes"], 4 * (2 * b * d + 2 * keys + w));
    assert_eq!(attention("backward")["bytes"], 4 * (3 * b * d + 4 * keys + w));
    assert_eq!(rows(&l, "optimiser").next().unwrap()["flops"], 16 * 222_720);
    assert_eq!(l["totals"]["flops"], 538_714_368_u64);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_preset_can_be_audited() {
    let dir = scratch("audit-presets");
    let presets = experiments::presets::PRESETS;
    for (name, _) in presets {
        // Small batches and few layers, for a quick test: shapes are not what differs between presets.
        let mut changes = if name.ends_with("smoke") { vec![] } else { vec!["optim.batch=40"] };
        if ["collatz-2x2", "collatz-paper"].contains(name) {
            changes.extend(["model.d_model=64", "model.d_mlp=128", "model.encoder_layers=2"]);
            changes.push("model.decoder_layers=2");
        }
        let output = audit(&dir, name, &changes, &[]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("% of a step measured without hooks"), "{text}");
        assert!(
            text.lines().take_while(|l| !l.starts_with("Shapes")).all(|l| l.chars().count() < 145)
        );
    }
    fs::remove_dir_all(dir).unwrap();
}

/// A step of sequences, whose work depends on how many tokens its batch has.
#[test]
fn the_work_of_a_step_on_sequences_is_that_of_its_tokens() {
    let dir = scratch("audit-sequences");
    let l = ledger(&dir, "collatz-smoke", &[], &["--step", "2"]);
    let shape = |pass: &'static str, name: &str| {
        let row = rows(&l, pass).find(|r| r["name"] == name);
        let row = row.unwrap_or_else(|| panic!("no {pass} {name}"));
        let of = |i: usize| row["outputs"][0]["shape"][i].as_u64().unwrap();
        (of(0), of(1), row["flops"].as_u64().unwrap())
    };
    // Numbers up to 1,000 have one to four digits; an answer up to 3,000 as many, and EOS.
    let (s, d, flops) = shape("forward", "encoder.blocks.0.hook_mlp_out");
    assert!((64..=256).contains(&s) && d == 32, "{s} {d}");
    assert_eq!(flops, 2 * s * 64 * 32);
    let (t, v, flops) = shape("forward", "logits");
    assert!((128..=320).contains(&t) && v == 11, "{t} {v}");
    assert_eq!(flops, 2 * t * 32 * 11);
    // Each token's row and (first, count) of its keys, of source, target and cross-attention; labels.
    let load = rows(&l, "batch").find(|r| r["kind"] == "load").unwrap();
    assert_eq!(load["kept_bytes"], 4 * (3 * s + 6 * t));
    // The norm that gradients are clipped by is two operations a parameter.
    let parameters = l["parameters"].as_u64().unwrap();
    assert_eq!(rows(&l, "optimiser").next().unwrap()["flops"], 18 * parameters);
    assert_eq!(l["on_top"]["inputs"][0]["shape"], serde_json::json!([t, 32]));
    assert!(number(&l["on_top"]["error"]) < 1e-9, "{}", l["on_top"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_run_is_audited_at_its_newest_checkpoint_or_at_any_step() {
    let dir = scratch("audit-run");
    assert!(run_in(&dir, &["run", "smoke"]).status.success());
    let run = only_run(&dir.join("runs"));
    let run = run.to_str().unwrap();
    assert_eq!(ledger(&dir, run, &[], &[])["step"], 300);
    // The preset trained that far and the run between two checkpoints are the same step, bit for bit.
    let dump = |experiment: &str, name: &str| {
        let path = dir.join(name);
        let l = ledger(&dir, experiment, &[], &["--step", "123", "--dump", path.to_str().unwrap()]);
        assert_eq!(l["step"], 123);
        fs::read(path).unwrap()
    };
    let (from_run, from_preset) =
        (dump(run, "run.safetensors"), dump("smoke", "preset.safetensors"));
    let names = |bytes: &[u8]| safetensors::SafeTensors::deserialize(bytes).unwrap().names().len();
    assert!(names(&from_run) > 100);
    assert!(from_run == from_preset);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_cannot_be_audited_is_said_in_a_sentence() {
    let dir = scratch("audit-sentences");
    let nowhere = dir.join("nowhere").join("x");
    let nowhere = nowhere.to_str().unwrap();
    for (arguments, sentence) in [
        (vec!["audit", "smoke", "--step", "301"], "--step 301: smoke has steps 0 to 300"),
        (vec!["audit", "smoky"], "smoky is neither a file nor a preset"),
        (vec!["audit", "smoke", "--dump", nowhere], "nowhere/x"),
        (vec!["audit", "smoke", "--page", nowhere], "nowhere/x"),
        (vec!["audit", "smoke", "--set", "optim.lrr=1"], "lrr"),
    ] {
        let output = run_in(&dir, &arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && !said.contains("panicked"), "{arguments:?}: {said}");
        assert_eq!(stdout(&output), "");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_page_shows_every_op_and_asks_no_network_for_anything() {
    let dir = scratch("audit-page");
    let l = ledger(&dir, "smoke", &[], &["--page", "audit.html"]);
    let page = fs::read_to_string(dir.join("audit.html")).unwrap();
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for row in l["rows"].as_array().unwrap() {
        assert!(page.contains(row["name"].as_str().unwrap()), "{row}");
    }
    let dots = page.matches("class=\"dot ").count();
    let step = number(&l["totals"]["ms"]);
    let computes = |r: &&Value| number(&r["flops"]) > 0.0 && number(&r["ms"]) >= 1e-3 * step;
    let expected = l["rows"].as_array().unwrap().iter().filter(computes).count();
    assert_eq!(dots, expected, "one dot for each row that computes and takes time");
    assert!(dots > 20, "{dots}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_intervention_has_its_rows() {
    let dir = scratch("audit-interventions");
    assert!(run_in(&dir, &["run", "smoke"]).status.success());
    let mixing = [
        "intervene.mixing.site=ln_final.hook_out",
        "intervene.mixing.alpha=0.3",
        "intervene.mixing.from=2",
        "intervene.mixing.until=4",
    ];
    let norm = ["intervene.norm.baseline=smoke", "intervene.norm.from=2", "intervene.norm.until=4"];
    for sham in ["intervene.mixing.sham=false", "intervene.mixing.sham=true"] {
        let changes: Vec<&str> = mixing.iter().chain(&norm).copied().chain([sham]).collect();
        let ops: &[&str] = if sham.ends_with("true") { &["distance", "perturb"] } else { &["mix"] };
        for (step, acts) in [("1", false), ("2", true), ("3", true), ("4", false)] {
            let l = ledger(&dir, "smoke", &changes, &["--step", step]);
            let kinds =
                |pass| rows(&l, pass).map(|r| r["kind"].as_str().unwrap()).collect::<Vec<_>>();
            for op in ops {
                assert_eq!(kinds("forward").contains(op), acts, "{sham} {step} {op}");
            }
            // The amplitude passes no gradient on.
            assert_eq!(kinds("backward").contains(ops.last().unwrap()), acts);
            assert!(!kinds("backward").contains(&"distance"));
            assert_eq!(kinds("batch").len(), if acts { 3 } else { 2 }, "{sham} {step}");
            assert_eq!(kinds("optimiser").len(), if acts { 2 } else { 1 }, "{sham} {step}");
            for r in rows(&l, "optimiser").filter(|r| r["kind"] == "rescale") {
                assert!(number(&r["error"]) < 1e-6 && number(&r["ms"]) > 0.0, "{r}");
            }
            let sum: f64 = l["rows"].as_array().unwrap().iter().map(|r| number(&r["ms"])).sum();
            assert!((sum / number(&l["totals"]["ms"]) - 1.0).abs() < 1e-9);
        }
    }
    // What the update leaves is dumped as rescaled, and is what numpy computes.
    if let Some(python) = python() {
        let file = dump(&dir, "norm", "smoke", &norm);
        let output = recompute(&python, &file);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    fs::remove_dir_all(dir).unwrap();
}

/// A Python with numpy: $PYTHON, or python3.
fn python() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    let has = Command::new(&python).args(["-c", "import numpy"]).output();
    has.is_ok_and(|done| done.status.success()).then_some(python)
}

fn recompute(python: &str, dump: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("audit/recompute.py");
    Command::new(python).arg(script).arg(dump).output().expect("python starts")
}

fn dump(dir: &Path, name: &str, preset: &str, changes: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let output = audit(dir, preset, changes, &["--step", "3", "--dump", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    path
}

#[test]
fn numpy_computes_every_dumped_tensor_again() {
    let Some(python) = python() else {
        println!("skipped: no python3 with numpy");
        return;
    };
    let dir = scratch("audit-numpy");
    let plain = MODELS.iter().map(|&(name, preset, changes)| (name, preset, changes, 0));
    let all = plain.chain(EDITED.iter().copied()).chain(SEQUENCES.iter().copied());
    for (name, preset, changes, drawn) in all {
        let file = dump(&dir, name, preset, changes);
        let output = recompute(&python, &file);
        let text = stdout(&output);
        assert!(output.status.success(), "{name}: {}\n{text}", stderr(&output));
        let bytes = fs::read(&file).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        // What a step starts from: the drawn rows, and each parameter with its moments.
        let count = |word: &str| text.lines().filter(|line| line.ends_with(word)).count();
        let updated = tensors.names().iter().filter(|name| name.starts_with("after/")).count();
        assert_eq!(count("  input"), 1 + drawn + updated, "{name}");
        let computed = tensors.len() - 1 - drawn - updated;
        assert_eq!(count("  ok"), computed, "{name}: a line for each tensor");
        let table = ["embed.W_E", "decoder.embed.W_E"]
            .into_iter()
            .find(|table| tensors.names().contains(table))
            .unwrap_or_else(|| panic!("{name}: no embedding"));
        let [grad, after] = ["grad", "after/adam_v"].map(|kind| format!("{kind}/{table}"));
        let batch = if preset.starts_with("collatz") || preset.starts_with("gcd") {
            "source.lengths"
        } else {
            "tokens"
        };
        for tensor in [batch, "labels", "loss", "logits", &grad, &after] {
            assert!(tensors.names().contains(&tensor), "{name}: {tensor}");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_spoilt_dump_is_not_what_numpy_computes() {
    let Some(python) = python() else {
        println!("skipped: no python3 with numpy");
        return;
    };
    // One kind of tensor each: input, index list, activation, kept value, gradients, update.
    let pairs = [
        "labels",
        "index/op00.gather",
        "blocks.0.mlp.hook_post",
        "op14.layer_norm.stats",
        "grad/blocks.0.attn.hook_q",
        "grad/embed.W_E",
        "after/blocks.0.mlp.W_in",
        "after/adam_m/unembed.W_U",
    ];
    nothing_spoilt_passes(&python, "audit-spoilt", MODELS[0].1, MODELS[0].2, &pairs);
    let sequences = [
        "source",
        "target",
        "labels",
        "source.lengths",
        "index/op00.gather",
        "index/decoder.blocks.0.cross_attn.hook_z",
        "encoder.pos_embed.W_pos",
        "encoder.hook_out",
        "decoder.blocks.0.attn.hook_pattern",
        "grad/decoder.blocks.0.cross_attn.hook_k",
        "grad/encoder.embed.W_E",
        "after/decoder.blocks.0.mlp.W_in",
        "after/adam_m/unembed.W_U",
    ];
    nothing_spoilt_passes(&python, "audit-spoilt-sequences", "collatz-smoke", &[], &sequences);
}

fn nothing_spoilt_passes(
    python: &str,
    scratch_name: &str,
    preset: &str,
    changes: &[&str],
    spoil: &[&str],
) {
    let dir = scratch(scratch_name);
    let file = dump(&dir, "whole", preset, changes);
    let whole = fs::read(&file).unwrap();
    let (header, meta) = safetensors::SafeTensors::read_metadata(&whole).unwrap();
    for name in spoil {
        let info = meta.info(name).unwrap_or_else(|| panic!("no {name}"));
        let mut spoilt = whole.clone();
        let (begin, end) = (8 + header + info.data_offsets.0, 8 + header + info.data_offsets.1);
        // The largest element, in size, is halved: one error in one number.
        let words = whole[begin..end].chunks_exact(4);
        let size = |w: &[u8]| f32::from_le_bytes(w.try_into().unwrap()).abs();
        let top = words.enumerate().max_by(|a, b| size(a.1).total_cmp(&size(b.1))).unwrap().0;
        let at = begin + 4 * top;
        let word: [u8; 4] = whole[at..at + 4].try_into().unwrap();
        let changed = match info.dtype {
            safetensors::Dtype::U32 => (u32::from_le_bytes(word) / 2).to_le_bytes(),
            _ => (f32::from_le_bytes(word) * 0.5).to_le_bytes(),
        };
        spoilt[at..at + 4].copy_from_slice(&changed);
        fs::write(&file, &spoilt).unwrap();
        let output = recompute(python, &file);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stdout(&output));
        let said = stderr(&output);
        assert!(said.contains(name), "{name}: {said}");
    }
    fs::remove_dir_all(dir).unwrap();
}
