//! The figures of "One number, from token id to weight update" are those of the default run.

use experiments::{config::Config, presets, train::Trainer};

#[test]
fn architecture_walks_a_number_that_is_really_there() {
    let page = include_str!("../../ARCHITECTURE.md").replace('−', "-");
    let (_, rest) = page.split_once("## One number").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("its end");
    let says = |figure: String| assert!(section.contains(&figure), "{figure} is not on the page");

    let config = Config::from_toml(presets::preset("default").unwrap(), "default").unwrap();
    let mut trainer = Trainer::new(&config);
    for step in 0..100 {
        trainer.forward(step).unwrap();
        trainer.update(step).unwrap();
    }
    let (loss, _) = trainer.forward(100).unwrap();
    says(format!("{loss:.5}"));
    // Row and column of a value, or of its gradient.
    let at = |trainer: &Trainer, name: &str, row: usize, col: usize, grad: bool| {
        let tape = &trainer.model().tape;
        let x = tape.find(name).unwrap_or_else(|| panic!("{name}"));
        let place = row * tape.shape(x).1 + col;
        if grad { tape.grad(x)[place] } else { tape.value(x)[place] }
    };
    says(format!("**{:.7}**", at(&trainer, "embed.W_E", 72, 0, false)));
    says(format!("p = ({:.5}, ", at(&trainer, "blocks.0.attn.hook_pattern", 8, 0, false)));
    for (name, row) in [
        ("attn.hook_k", 4),
        ("attn.hook_v", 4),
        ("attn.hook_q", 2),
        ("attn.hook_z", 2),
        ("hook_resid_mid", 2),
        ("ln1.hook_out", 2),
        ("mlp.hook_pre", 2),
        ("mlp.hook_post", 2),
        ("hook_resid_post", 2),
        ("ln2.hook_out", 2),
    ] {
        says(format!("{:.5}", at(&trainer, &format!("blocks.0.{name}"), row, 0, false)));
    }
    says(format!("{:.5}", at(&trainer, "ln_final.hook_out", 2, 0, false)));
    says(format!("{:.5}", at(&trainer, "logits", 2, 37, false)));

    trainer.update(100).unwrap();
    says(format!("{:.4e}", at(&trainer, "logits", 2, 37, true)));
    says(format!("{:.4e}", at(&trainer, "ln_final.hook_out", 2, 0, true)));
    for (name, row) in [
        ("ln2.hook_out", 2),
        ("hook_resid_post", 2),
        ("mlp.hook_post", 2),
        ("mlp.hook_pre", 2),
        ("ln1.hook_out", 2),
        ("hook_resid_mid", 2),
        ("attn.hook_z", 2),
        ("attn.hook_v", 4),
        ("attn.hook_k", 5),
    ] {
        says(format!("{:.4e}", at(&trainer, &format!("blocks.0.{name}"), row, 0, true)));
    }
    says(format!("{:.5e}**", at(&trainer, "embed.W_E", 72, 0, true)));
    says(format!("**{:.7}**", at(&trainer, "embed.W_E", 72, 0, false)));
}
