//! A transformer that is read at its last position.
//!
//! ```text
//! x          = W_E[token] + W_pos[position]
//! norm none  x ← x + attn(x);            x ← x + mlp(x)
//! norm pre   x ← x + attn(ln1(x));       x ← x + mlp(ln2(x))
//! norm post  y = ln1(x + attn(x));       x ← ln2(y + mlp(y))
//! logits     = ln_final(x at the last position)·W_U + b_U
//! attn(x)    = softmax(q·kᵀ/√d_head)·v·W_O + b_O,   q, k, v = x·W_Q + b_Q, x·W_K + b_K, x·W_V + b_V
//! mlp(x)     = act(x·W_in + b_in)·W_out + b_out
//! ```
//! b examples of t positions, d = d_model, u unique (token, position) rows. Norms, biases and the
//! final norm are there where the config says so. One layer in every published figure; deeper ones
//! are the same lines again.

use crate::config::{Act, Init, Norm, OneLayerConfig};
use crate::recorded::{Draw, Edit, Positions, Purpose, Recorded, Recorder, unique};
use autograd::ops::AttentionShape;
use autograd::{Rows, Tape, Var};

/// Records the model for a task with so many symbols and classes, edited if that is asked for.
pub fn one_layer(
    c: &OneLayerConfig,
    symbols: usize,
    classes: usize,
    purpose: Purpose,
    edit: Option<Edit>,
) -> Recorded {
    let (t, d, m) = (c.tokens.n_ctx(), c.d_model, c.d_mlp);
    let draws = Draws { init: c.init, d_model: d };
    let mut r = Recorder::new(purpose.capacity, purpose.training, edit);
    let inputs = r.inputs(c.tokens, symbols);

    // The table of unique rows: every token at every position where it can stand.
    let unique = unique(c.tokens, symbols);
    let u = unique.len();
    let tokens = r.tape.constant(Rows::Fixed(u), unique.iter().map(|row| row.0).collect());
    let positions = r.tape.constant(Rows::Fixed(u), unique.iter().map(|row| row.1).collect());
    let w_e = r.param("embed.W_E", c.tokens.d_vocab(symbols), d, draws.embedding());
    let w_pos = r.param("pos_embed.W_pos", t, d, draws.embedding());
    let token = r.tape.gather(w_e, tokens); //                              (u, d)
    let position = r.tape.gather(w_pos, positions); //                      (u, d)
    let mut x = r.tape.add(token, position); //                             (u, d), later (b·t, d)

    for l in 0..c.n_layers {
        let name = |part: &str| format!("blocks.{l}.{part}");
        let only_last = purpose.positions == Positions::Last && l + 1 == c.n_layers;

        // Keys and values at every position.
        let ln1 = (c.norm != Norm::None).then(|| r.norm(&name("ln1"), d));
        let normed = if c.norm == Norm::Pre { r.apply(ln1, x) } else { x };
        let [w_q, w_k, w_v] = ["Q", "K", "V"].map(|which| r.projection(l, which, c, draws));
        let mut k = r.tape.linear(normed, w_k.0, w_k.1);
        let mut v = r.tape.linear(normed, w_v.0, w_v.1);

        // Queries and the residual stream where they are read.
        let (mut resid, mut q_in) = (x, normed);
        if only_last {
            let last = last_rows(&mut r.tape, l == 0, t, u);
            resid = r.tape.gather(x, last); //             (rows that can be last, d) or (b, d)
            q_in = if normed == x { resid } else { r.tape.gather(normed, last) };
        }
        let mut q = r.tape.linear(q_in, w_q.0, w_q.1);
        if l == 0 {
            // From the table of unique rows to the batch.
            (k, v) = (r.tape.gather(k, inputs.every), r.tape.gather(v, inputs.every));
            let at = if only_last { inputs.at[t - 1] } else { inputs.every };
            (q, resid) = (r.tape.gather(q, at), r.tape.gather(resid, at));
        }
        r.tape.hook(name("hook_resid_pre"), resid); //                      (b·tq, d)
        r.tape.hook(name("attn.hook_q"), q); //                             (b·tq, d)
        r.tape.hook(name("attn.hook_k"), k); //                             (b·t, d)
        r.tape.hook(name("attn.hook_v"), v); //                             (b·t, d)

        let tq = if only_last { 1 } else { t };
        let shape = AttentionShape { tq, tk: t, h: c.n_heads, e: c.d_head(), causal: c.causal };
        let (z, pattern) = r.tape.attention(q, k, v, shape);
        r.tape.hook(name("attn.hook_z"), z); //                             (b·tq, d)
        r.tape.hook(name("attn.hook_pattern"), pattern); //                 (b·h·tq, t)
        let w_o = r.push(
            &name("attn.W_O"),
            (d, d),
            vec![c.n_heads, c.d_head(), d],
            draws.weight(d),
            false,
        );
        let b_o = r.bias(c.attn_bias, &name("attn.b_O"), d, Draw::Constant(0.0));
        let attn_out = r.tape.linear(z, w_o, b_o);
        r.tape.hook(name("hook_attn_out"), attn_out); //                    (b·tq, d)
        let mut mid = r.tape.add(resid, attn_out);
        mid = r.probe(name("hook_resid_mid"), mid); //                      (b·tq, d)
        if c.norm == Norm::Post {
            let normed = r.apply(ln1, mid);
            mid = r.probe(name("ln1.hook_out"), normed);
        }

        let ln2 = (c.norm != Norm::None).then(|| r.norm(&name("ln2"), d));
        let mlp_in = if c.norm == Norm::Pre { r.apply(ln2, mid) } else { mid };
        let w_in = r.param(&name("mlp.W_in"), d, m, draws.weight(d));
        let b_in = r.bias(c.mlp_bias, &name("mlp.b_in"), m, draws.bias(d));
        let (pre, post) = r.tape.linear_act(mlp_in, w_in, b_in, act(c.act));
        r.tape.hook(name("mlp.hook_pre"), pre); //                          (b·tq, m)
        let post = r.probe(name("mlp.hook_post"), post); //                 (b·tq, m)
        let w_out = r.param(&name("mlp.W_out"), m, d, draws.weight(m));
        let b_out = r.bias(c.mlp_bias, &name("mlp.b_out"), d, draws.bias(m));
        let mlp_out = r.tape.linear(post, w_out, b_out);
        let mlp_out = r.probe(name("hook_mlp_out"), mlp_out); //            (b·tq, d)
        let resid_post = r.tape.add(mid, mlp_out);
        x = r.probe(name("hook_resid_post"), resid_post); //                (b·tq, d)
        if c.norm == Norm::Post {
            let normed = r.apply(ln2, x);
            x = r.probe(name("ln2.hook_out"), normed);
        }
    }

    if c.final_norm {
        let ln_final = r.norm("ln_final", d);
        let normed = r.apply(Some(ln_final), x);
        x = r.probe("ln_final.hook_out", normed); //                        (b·tq, d)
    }
    if purpose.positions == Positions::All {
        let last = last_rows(&mut r.tape, false, t, u);
        x = r.tape.gather(x, last); //                                      (b, d)
    }
    let out = c.d_vocab_out(symbols, classes);
    let w_u = r.param("unembed.W_U", d, out, draws.unembed(d, out));
    let b_u = r.bias(c.unembed_bias, "unembed.b_U", out, draws.bias(d));
    let logits = r.tape.linear(x, w_u, b_u); //                             (b, d_vocab_out)
    r.finish(logits, inputs.labels, inputs)
}

/// The rows that are at the last position: of the table of unique rows, or of a batch (b·t rows).
fn last_rows(tape: &mut Tape, table: bool, t: usize, u: usize) -> autograd::Index {
    let t = t as u32;
    if table {
        // Two positions: the second half of the table. Three: its last row, "=".
        let first = if t == 2 { u / 2 } else { u - 1 };
        tape.constant(Rows::Fixed(u - first), (first as u32..u as u32).collect())
    } else {
        let examples = tape.capacity() as u32;
        tape.constant(Rows::PerExample(1), (0..examples).map(|b| b * t + t - 1).collect())
    }
}

/// The tape's activation for the config's.
pub(crate) fn act(act: Act) -> autograd::Act {
    match act {
        Act::Relu => autograd::Act::Relu,
        Act::Gelu => autograd::Act::Gelu,
        Act::GeluTanh => autograd::Act::GeluTanh,
    }
}

/// The distributions of the parameters.
///
/// `pytorch`: the defaults of `Embedding` (normal, 1), `Linear` (uniform, 1/√fan_in, weight and
/// bias), `MultiheadAttention` (Xavier uniform on the joint (d, 3d) projection, zero biases) and
/// `LayerNorm`. `nanda`: normal with 1/√d_model everywhere, 1/√d_vocab for W_U, zero biases, as in
/// the code of Nanda et al. 2023 (arXiv:2301.05217).
#[derive(Clone, Copy)]
pub(crate) struct Draws {
    pub init: Init,
    pub d_model: usize,
}

fn inverse_root(n: usize) -> f64 {
    1.0 / (n as f64).sqrt()
}

impl Draws {
    pub fn embedding(self) -> Draw {
        match self.init {
            Init::Pytorch => Draw::Normal(1.0),
            Init::Nanda => Draw::Normal(inverse_root(self.d_model)),
        }
    }

    pub fn weight(self, fan_in: usize) -> Draw {
        match self.init {
            Init::Pytorch => Draw::Uniform(inverse_root(fan_in)),
            Init::Nanda => Draw::Normal(inverse_root(self.d_model)),
        }
    }

    fn projection(self) -> Draw {
        match self.init {
            Init::Pytorch => Draw::Uniform((6.0 / (4 * self.d_model) as f64).sqrt()),
            Init::Nanda => Draw::Normal(inverse_root(self.d_model)),
        }
    }

    pub fn unembed(self, fan_in: usize, out: usize) -> Draw {
        match self.init {
            Init::Pytorch => Draw::Uniform(inverse_root(fan_in)),
            Init::Nanda => Draw::Normal(inverse_root(out)),
        }
    }

    pub fn bias(self, fan_in: usize) -> Draw {
        match self.init {
            Init::Pytorch => Draw::Uniform(inverse_root(fan_in)),
            Init::Nanda => Draw::Constant(0.0),
        }
    }
}

impl Recorder<'_> {
    /// The weight and bias of a LayerNorm.
    pub(crate) fn norm(&mut self, name: &str, d: usize) -> (Var, Var) {
        let w = self.param(&format!("{name}.w"), 1, d, Draw::Constant(1.0));
        let b = self.param(&format!("{name}.b"), 1, d, Draw::Constant(0.0));
        (w, b)
    }

    pub(crate) fn apply(&mut self, norm: Option<(Var, Var)>, x: Var) -> Var {
        let (w, b) = norm.expect("a norm where the config has one");
        self.tape.layer_norm(x, w, b)
    }

    pub(crate) fn bias(&mut self, on: bool, name: &str, n: usize, draw: Draw) -> Option<Var> {
        on.then(|| self.param(name, 1, n, draw))
    }

    /// W and b of the queries, keys or values of layer l: (d, h·e) on the tape.
    fn projection(
        &mut self,
        l: usize,
        which: &str,
        c: &OneLayerConfig,
        draws: Draws,
    ) -> (Var, Option<Var>) {
        let (d, h, e) = (c.d_model, c.n_heads, c.d_head());
        let name = |kind: &str| format!("blocks.{l}.attn.{kind}_{which}");
        let w = self.push(&name("W"), (d, d), vec![h, d, e], draws.projection(), true);
        let b = c
            .attn_bias
            .then(|| self.push(&name("b"), (1, d), vec![h, e], Draw::Constant(0.0), false));
        (w, b)
    }
}
