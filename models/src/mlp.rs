//! A multi-layer perceptron on the concatenated embeddings of its tokens.
//!
//! ```text
//! x      = [W_E[a]; W_E[b]; …]                       (b, n_ctx·d)
//! pre₀   = x·W + b = Σ over positions i of W_E[tokenᵢ]·W_i + b
//! x      ← act(pre₀);   x ← act(x·W + b) for each further layer
//! logits = x·W_U + b_U
//! ```
//! The first layer's matrix is held as one block for each position, `layers.0.W_0`, `layers.0.W_1`, …
//! ((d, m) each): a block times the embedding table is computed once for each token and gathered,
//! instead of once for each example.

use crate::config::MlpConfig;
use crate::one_layer::{Draws, act};
use crate::recorded::{Edit, Purpose, Recorded, Recorder, unique};
use autograd::Rows;

/// Records the model for a task with so many symbols and classes, edited if that is asked for.
pub fn mlp(
    c: &MlpConfig,
    symbols: usize,
    classes: usize,
    purpose: Purpose,
    edit: Option<Edit>,
) -> Recorded {
    let (t, d, m) = (c.tokens.n_ctx(), c.d_model, c.d_mlp);
    // A layer's scale follows its own fan-in, so `nanda` here means normal with 1/√fan_in.
    let draws = |fan_in| Draws { init: c.init, d_model: fan_in };
    let mut r = Recorder::new(purpose.capacity, purpose.training, edit);
    let inputs = r.inputs(c.tokens, symbols);

    // Σ over positions of the embeddings that can stand there, times that position's block.
    let w_e = r.param("embed.W_E", c.tokens.d_vocab(symbols), d, draws(d).embedding());
    let mut pre = None;
    for i in 0..t {
        let w = r.param(&format!("layers.0.W_{i}"), d, m, draws(t * d).weight(t * d));
        let b = r.bias(c.bias && i == 0, "layers.0.b", m, draws(t * d).bias(t * d));
        let unique = unique(c.tokens, symbols);
        let here: Vec<u32> =
            unique.iter().filter(|row| row.1 == i as u32).map(|row| row.0).collect();
        let here = r.tape.constant(Rows::Fixed(here.len()), here);
        let here = r.tape.gather(w_e, here); //                             (tokens of position i, d)
        let here = r.tape.linear(here, w, b); //                            (tokens of position i, m)
        let term = r.tape.gather(here, inputs.at[i]); //                    (b, m)
        pre = Some(pre.map_or(term, |sum| r.tape.add(sum, term)));
    }
    let pre = pre.expect("at least one position");
    r.tape.hook("layers.0.hook_pre", pre); //                               (b, m)
    let mut x = r.tape.act(pre, act(c.act));
    x = r.probe("layers.0.hook_post", x); //                                (b, m)

    for l in 1..c.n_layers {
        let w = r.param(&format!("layers.{l}.W"), m, m, draws(m).weight(m));
        let b = r.bias(c.bias, &format!("layers.{l}.b"), m, draws(m).bias(m));
        let (pre, post) = r.tape.linear_act(x, w, b, act(c.act));
        r.tape.hook(format!("layers.{l}.hook_pre"), pre); //                (b, m)
        x = r.probe(format!("layers.{l}.hook_post"), post); //              (b, m)
    }

    let w_u = r.param("unembed.W_U", m, classes, draws(m).unembed(m, classes));
    let b_u = r.bias(c.bias, "unembed.b_U", classes, draws(m).bias(m));
    let logits = r.tape.linear(x, w_u, b_u); //                             (b, classes)
    r.finish(logits, inputs.labels, inputs)
}
