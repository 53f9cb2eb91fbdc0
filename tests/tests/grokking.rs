//! Published and independently measured numbers of whole runs. Minutes each, so
//! `cargo test --release -p plateau-tests --test grokking -- --ignored`.

use serde_json::Value;
use std::fs;
use tests::{run_in, scratch, stderr, stdout};

fn summary(name: &str, arguments: &[&str]) -> Value {
    let dir = scratch(name);
    let output = run_in(&dir, &[&["run"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::remove_dir_all(dir).unwrap();
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
#[ignore = "three runs of 4,000 steps: a minute"]
fn at_half_the_data_the_template_memorises_and_groks_when_the_authors_code_does() {
    // The paper's companion code at fraction .5: memorises by step 800, groks at 1,600–2,000 (5
    // seeds); PyTorch, seed 42: 2,000. Measured here: 1,900, 2,100, 2,000, 2,100 (seeds 0, 1, 2, 42).
    for seed in ["0", "1", "2"] {
        let run = summary(&format!("calibration-{seed}"), &["calibration-f50", "--seed", seed]);
        let step = |key: &str| run[key].as_u64().unwrap_or(u64::MAX);
        assert!(step("t_memorise") <= 900, "{run}");
        assert!((1500..=2300).contains(&step("t_grok")), "{run}");
    }
}

#[test]
#[ignore = "12,000 steps: a minute"]
fn the_main_job_groks_long_after_it_has_memorised() {
    let run = summary("main-job", &["default"]);
    let step = |key: &str| run[key].as_u64().unwrap_or_else(|| panic!("{key} not reached: {run}"));
    let (memorised, grokked) = (step("t_memorise"), step("t_grok"));
    assert!(grokked >= 5 * memorised && grokked >= memorised + 3000, "{run}");
    assert!(grokked + 2000 <= step("steps"), "long enough to see the entropy settle: {run}");
    assert!(run["final"]["test/acc"].as_f64().unwrap() >= 0.99, "{run}");
    let entropy = run["final"]["normalised_entropy"].as_f64().unwrap();
    assert!((0.40..0.55).contains(&entropy), "{run}");
}
