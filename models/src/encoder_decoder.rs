//! An encoder-decoder transformer (Vaswani et al. 2017, arXiv:1706.03762) over packed sequences.
//!
//! ```text
//! x       = W_E[token]·(√d or 1) + position
//! encoder   x ← x + attn(ln1(x));   x ← x + mlp(ln2(x));             memory = ln_final(x)
//! decoder   x ← x + attn(ln1(x));   x ← x + cross_attn(ln2(x), memory);   x ← x + mlp(ln3(x))
//! logits  = ln_final(x)·W_U + b_U, at every target token
//! attn(x) = softmax(q·kᵀ/√d_head)·v·W_O + b_O     open in the encoder, causal in the decoder; cross_attn
//!                                                 takes k and v from the memory
//! mlp(x)  = act(x·W_in + b_in)·W_out + b_out
//! ```
//! With norm post each sum is normalised instead, x ← ln1(x + attn(x)), as in the paper; with norm none
//! nothing is. s source tokens and t target tokens of all examples of a batch, u unique (token, position)
//! rows. Embeddings and, in the first block, ln1, queries, keys and values run on the table of unique rows.
//!
//! Without encoder layers it is a decoder alone that reads source, BOS, target as one sequence; in its
//! last block only what the loss reads goes on from the keys and values: the positions from BOS on.

use crate::config::{EncoderDecoderConfig, Norm, PositionEmbedding, SequenceInit, Tie};
use crate::one_layer::act;
use crate::recorded::{Draw, Edit, Param, Recorded, Recorder, draw_all};
use crate::sequences::{Kind, Packed, SequenceInputs, SequenceShape, Span, count, load_source};
use autograd::ops::VarlenShape;
use autograd::{Index, Rows, Tape, Var};
use rand::Rng;

/// Records the model for at most `capacity` examples; with gradients where `training`.
pub fn encoder_decoder(
    c: &EncoderDecoderConfig,
    shape: SequenceShape,
    capacity: usize,
    training: bool,
    edit: Option<Edit>,
) -> Recorded<SequenceInputs> {
    let mut r = Recorder::new(capacity, training, edit);
    if c.encoder_layers == 0 {
        return decoder_only(r, c, shape);
    }
    let span = Span::new(&mut r.tape, capacity * shape.source);
    let memory = encoder(&mut r, c, shape, span); //                        (s, d)
    decoder(r, c, shape, memory, Some(span))
}

/// Records the decoder alone; the encoder's output is given before each step, for an encoder that is
/// frozen.
///
/// # Panics
/// If the config has no encoder.
pub fn decoder_of_memory(
    c: &EncoderDecoderConfig,
    shape: SequenceShape,
    capacity: usize,
    training: bool,
    edit: Option<Edit>,
) -> Recorded<SequenceInputs> {
    assert!(c.encoder_layers > 0, "a decoder alone has no memory");
    let mut r = Recorder::new(capacity, training, edit);
    let source = r.tape.stream(capacity * shape.source);
    let memory = r.tape.given("encoder.hook_out", Rows::Packed(source, 1), c.d_model);
    decoder(r, c, shape, memory, None)
}

/// An encoder alone, forward only.
#[derive(Debug)]
pub struct Encoder {
    /// The computation.
    pub tape: Tape,
    /// Its output: (source tokens, d_model).
    pub memory: Var,
    params: Vec<Param>,
    shape: SequenceShape,
    span: Span,
}

impl Encoder {
    /// Records it.
    ///
    /// # Panics
    /// If the config has no encoder.
    pub fn new(
        c: &EncoderDecoderConfig,
        shape: SequenceShape,
        capacity: usize,
        edit: Option<Edit>,
    ) -> Encoder {
        assert!(c.encoder_layers > 0, "a config without encoder layers");
        let mut r = Recorder::new(capacity, false, edit);
        let span = Span::new(&mut r.tape, capacity * shape.source);
        let memory = encoder(&mut r, c, shape, span);
        let (tape, params) = r.into_parts();
        Encoder { tape, memory, params, shape, span }
    }

    /// Draws every parameter, as [`Recorded::draw`] does: the streams of the same names give the encoder of
    /// the whole model.
    pub fn draw<R: Rng>(&mut self, stream: impl FnMut(&str) -> R) {
        draw_all(&mut self.tape, &self.params, stream);
    }

    /// Every parameter, in recording order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Makes `rows` of the table the active examples.
    ///
    /// # Panics
    /// As [`Recorded::load`].
    pub fn load(&mut self, rows: &[u32], source: &Packed) {
        self.tape.set_examples(rows.len());
        let tokens = count("source", rows, source, self.shape.source);
        self.tape.set_rows(self.span.stream, tokens);
        load_source(&mut self.tape, self.span, self.shape, rows, source);
    }

    /// The outputs for all sources, which a frozen encoder need compute only once: (tokens, d_model).
    pub fn run(&mut self, source: &Packed) -> Vec<f32> {
        let rows: Vec<u32> = (0..source.len() as u32).collect();
        let mut all = Vec::with_capacity(source.tokens() * self.tape.shape(self.memory).1);
        for rows in rows.chunks(self.tape.capacity()) {
            self.load(rows, source);
            self.tape.forward();
            all.extend_from_slice(self.tape.value(self.memory));
        }
        all
    }
}

pub(crate) fn encoder(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    shape: SequenceShape,
    span: Span,
) -> Var {
    let w_e = token_table(r, c, "encoder.", shape.d_vocab);
    let mut x = embed(r, c, "encoder.", w_e, shape.d_vocab, shape.source); // (u, d), later (s, d)
    let reads = Reads::all(span.every, span.seen, shape.source);
    for l in 0..c.encoder_layers {
        let block = format!("encoder.blocks.{l}.");
        x = self_attention(r, c, &block, x, &reads, l == 0);
        x = mlp(r, c, &block, "ln2", x);
    }
    let memory = ln_final(r, c, "encoder.", x);
    r.tape.hook("encoder.hook_out", memory)
}

fn decoder(
    mut r: Recorder,
    c: &EncoderDecoderConfig,
    shape: SequenceShape,
    memory: Var,
    encoder: Option<Span>,
) -> Recorded<SequenceInputs> {
    let Rows::Packed(source, _) = r.tape.rows(memory) else { panic!("a memory is packed") };
    let capacity = r.tape.capacity();
    let span = Span::new(&mut r.tape, capacity * shape.target);
    let (target, rows) = (span.stream, |n| Rows::Packed(span.stream, n));
    let cross = r.tape.input(rows(2));
    let labels = r.tape.input(rows(1));

    let w_e = token_table(&mut r, c, "decoder.", shape.d_vocab);
    let mut x = embed(&mut r, c, "decoder.", w_e, shape.d_vocab, shape.target); // (u, d), later (t, d)
    let reads = Reads::all(span.every, span.seen, shape.target);
    for l in 0..c.decoder_layers {
        let block = format!("decoder.blocks.{l}.");
        x = self_attention(&mut r, c, &block, x, &reads, l == 0);
        let kv = memory_keys(&mut r, c, &block, memory); //                 (s, d) each
        x = cross_attention(&mut r, c, &block, x, kv, cross, shape.source);
        x = mlp(&mut r, c, &block, "ln3", x);
    }
    x = ln_final(&mut r, c, "decoder.", x);
    let logits = unembed(&mut r, c, w_e, x, shape.d_vocab); //              (t, d_vocab)
    let kind = Kind::EncoderDecoder { source, encoder, memory, decoder: span, cross };
    r.finish(logits, labels, SequenceInputs { shape, target, labels, kind })
}

fn decoder_only(
    mut r: Recorder,
    c: &EncoderDecoderConfig,
    shape: SequenceShape,
) -> Recorded<SequenceInputs> {
    let (capacity, longest) = (r.tape.capacity(), shape.source + shape.target);
    let joint = Span::new(&mut r.tape, capacity * longest);
    let target = r.tape.stream(capacity * shape.target);
    let [read, labels] = [(); 2].map(|()| r.tape.input(Rows::Packed(target, 1)));
    let read_seen = r.tape.input(Rows::Packed(target, 2));

    let w_e = token_table(&mut r, c, "", shape.d_vocab);
    let mut x = embed(&mut r, c, "", w_e, shape.d_vocab, longest); //       (u, d), then (s + t, d)
    for l in 0..c.decoder_layers {
        let block = format!("blocks.{l}.");
        let mut reads = Reads::all(joint.every, joint.seen, longest);
        if l + 1 == c.decoder_layers {
            reads = Reads { queries: Some(read), seen: read_seen, ..reads };
        }
        x = self_attention(&mut r, c, &block, x, &reads, l == 0); //        in the end (t, d)
        x = mlp(&mut r, c, &block, "ln2", x);
    }
    x = ln_final(&mut r, c, "", x);
    let logits = unembed(&mut r, c, w_e, x, shape.d_vocab); //              (t, d_vocab)
    let kind = Kind::DecoderOnly { joint, read, read_seen, on_table: c.decoder_layers == 1 };
    r.finish(logits, labels, SequenceInputs { shape, target, labels, kind })
}

/// The parameter of a stack's token embedding: (d_vocab, d). Where the tables are tied, the one table.
pub(crate) fn token_table(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    stack: &str,
    d_vocab: usize,
) -> Var {
    let name = if c.tie == Tie::All { "embed.W_E" } else { &format!("{stack}embed.W_E") };
    r.tape.find(name).unwrap_or_else(|| {
        let draw = match c.init {
            SequenceInit::Pytorch => Draw::Normal(1.0),
            SequenceInit::Xavier => xavier(d_vocab, c.d_model),
        };
        r.param(name, d_vocab, c.d_model, draw)
    })
}

/// The table of unique rows: each token at each position, position by position.
pub(crate) fn embed(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    stack: &str,
    w_e: Var,
    d_vocab: usize,
    positions: usize,
) -> Var {
    let (d, u) = (c.d_model, d_vocab * positions);
    let tokens = (0..u).map(|row| (row % d_vocab) as u32).collect();
    let tokens = r.tape.constant(Rows::Fixed(u), tokens);
    let mut token = r.tape.gather(w_e, tokens); //                          (u, d)
    if c.scale_embedding {
        token = r.tape.scale(token, (d as f64).sqrt() as f32);
    }
    let name = format!("{stack}pos_embed.W_pos");
    let w_pos = match c.positions {
        PositionEmbedding::Learned => {
            let draw = match c.init {
                SequenceInit::Pytorch => Draw::Normal(1.0),
                SequenceInit::Xavier => xavier(positions, d),
            };
            r.param(&name, positions, d, draw)
        }
        PositionEmbedding::Sinusoidal => {
            let w_pos = r.tape.given(&name, Rows::Fixed(positions), d);
            for (i, x) in r.tape.value_mut(w_pos).iter_mut().enumerate() {
                *x = sinusoid(i / d, i % d, d);
            }
            w_pos
        }
    };
    let places = (0..u).map(|row| (row / d_vocab) as u32).collect();
    let places = r.tape.constant(Rows::Fixed(u), places);
    let position = r.tape.gather(w_pos, places); //                         (u, d)
    r.tape.add(token, position)
}

/// sin(position/10000^(i/d)) for even i; the cosine beside it.
fn sinusoid(position: usize, i: usize, d: usize) -> f32 {
    let angle = position as f64 / 10_000_f64.powf((i - i % 2) as f64 / d as f64);
    (if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
}

/// Which rows a self-attention reads, and which go on from it.
#[derive(Clone, Copy)]
pub(crate) struct Reads {
    /// The row of each token in the table of unique rows, which the first block takes in.
    pub every: Index,
    /// The rows that go on, where that is not all; in the first block, rows of the table.
    pub queries: Option<Index>,
    /// (first, count) of each of their keys.
    pub seen: Index,
    /// The most keys.
    pub max_keys: usize,
    /// Where decoding keeps keys and values: the place of each new row, and how many places there are.
    pub cache: Option<(Index, usize)>,
}

impl Reads {
    fn all(every: Index, seen: Index, max_keys: usize) -> Reads {
        Reads { every, queries: None, seen, max_keys, cache: None }
    }
}

/// x + attn(ln1(x)), or ln1(x + attn(x)). In the first block x is the table of unique rows.
pub(crate) fn self_attention(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    block: &str,
    x: Var,
    reads: &Reads,
    first: bool,
) -> Var {
    let (norm, normed) = ln_before(r, c, &format!("{block}ln1"), x);
    let (mut resid, mut q_in) = (x, normed);
    if let Some(queries) = reads.queries.filter(|_| !first) {
        resid = r.tape.gather(x, queries);
        q_in = if normed == x { resid } else { r.tape.gather(normed, queries) };
    }
    let attn = format!("{block}attn.");
    let mut q = projection(r, c, &attn, "Q", q_in);
    let mut k = projection(r, c, &attn, "K", normed);
    let mut v = projection(r, c, &attn, "V", normed);
    if first {
        // From the table of unique rows to the batch.
        (k, v) = (r.tape.gather(k, reads.every), r.tape.gather(v, reads.every));
        let queries = reads.queries.unwrap_or(reads.every);
        (q, resid) = (r.tape.gather(q, queries), r.tape.gather(resid, queries));
    }
    if let Some((place, places)) = reads.cache {
        (k, v) = (r.tape.put(k, place, places), r.tape.put(v, place, places));
    }
    r.tape.hook(format!("{block}hook_resid_pre"), resid);
    let out = attention(r, c, &attn, (q, k, v), reads.seen, reads.max_keys);
    r.tape.hook(format!("{block}hook_attn_out"), out);
    sum(r, block, resid, out, "hook_resid_mid", (norm, "ln1"))
}

/// Keys and values of the memory for a block of the decoder: (source tokens, d) each.
pub(crate) fn memory_keys(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    block: &str,
    memory: Var,
) -> (Var, Var) {
    let attn = format!("{block}cross_attn.");
    (projection(r, c, &attn, "K", memory), projection(r, c, &attn, "V", memory))
}

/// x + cross_attn(ln2(x)), or ln2(x + cross_attn(x)).
pub(crate) fn cross_attention(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    block: &str,
    x: Var,
    (k, v): (Var, Var),
    seen: Index,
    max_keys: usize,
) -> Var {
    let (norm, normed) = ln_before(r, c, &format!("{block}ln2"), x);
    let attn = format!("{block}cross_attn.");
    let q = projection(r, c, &attn, "Q", normed);
    let out = attention(r, c, &attn, (q, k, v), seen, max_keys);
    r.tape.hook(format!("{block}hook_cross_attn_out"), out);
    sum(r, block, x, out, "hook_resid_mid_cross", (norm, "ln2"))
}

/// x + mlp(ln(x)), or ln(x + mlp(x)).
pub(crate) fn mlp(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    block: &str,
    ln: &str,
    x: Var,
) -> Var {
    let (d, m, name) = (c.d_model, c.d_mlp, |part: &str| format!("{block}{part}"));
    let (norm, normed) = ln_before(r, c, &name(ln), x);
    let w_in = r.param(&name("mlp.W_in"), d, m, xavier(d, m));
    let b_in = r.param(&name("mlp.b_in"), 1, m, bias(c, d));
    let (pre, post) = r.tape.linear_act(normed, w_in, b_in.into(), act(c.act));
    r.tape.hook(name("mlp.hook_pre"), pre); //                              (rows, m)
    let post = r.probe(name("mlp.hook_post"), post);
    let w_out = r.param(&name("mlp.W_out"), m, d, xavier(m, d));
    let b_out = r.param(&name("mlp.b_out"), 1, d, bias(c, m));
    let out = r.tape.linear(post, w_out, b_out.into());
    let out = r.probe(name("hook_mlp_out"), out); //                        (rows, d)
    sum(r, block, x, out, "hook_resid_post", (norm, ln))
}

/// The stack's last LayerNorm, where the config has one.
pub(crate) fn ln_final(r: &mut Recorder, c: &EncoderDecoderConfig, stack: &str, x: Var) -> Var {
    if !c.final_norm {
        return x;
    }
    let norm = r.norm(&format!("{stack}ln_final"), c.d_model);
    let normed = r.apply(Some(norm), x);
    r.probe(format!("{stack}ln_final.hook_out"), normed)
}

/// The logits: x·W_U + b_U, or x·W_Eᵀ + b_U where the tables are tied.
pub(crate) fn unembed(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    w_e: Var,
    x: Var,
    d_vocab: usize,
) -> Var {
    let d = c.d_model;
    let draw = match c.init {
        SequenceInit::Pytorch => Draw::Uniform(1.0 / (d as f64).sqrt()),
        SequenceInit::Xavier => xavier(d, d_vocab),
    };
    let w_u = (c.tie == Tie::None).then(|| r.param("unembed.W_U", d, d_vocab, draw));
    let b_u = r.bias(c.unembed_bias, "unembed.b_U", d_vocab, bias(c, d));
    match w_u {
        Some(w_u) => r.tape.linear(x, w_u, b_u),
        None => r.tape.linear_transposed(x, w_e, b_u),
    }
}

/// Queries, keys or values: x·W + b for all heads, (d, h·e) on the tape.
fn projection(r: &mut Recorder, c: &EncoderDecoderConfig, attn: &str, which: &str, x: Var) -> Var {
    let (d, h, e) = (c.d_model, c.n_heads, c.d_head());
    let draw = match c.init {
        // PyTorch draws the three matrices as one of (d, 3d).
        SequenceInit::Pytorch => xavier(d, 3 * d),
        SequenceInit::Xavier => xavier(d, d),
    };
    let w = r.push(&format!("{attn}W_{which}"), (d, d), vec![h, d, e], draw, true);
    let zero = Draw::Constant(0.0);
    let b = r.push(&format!("{attn}b_{which}"), (1, d), vec![h, e], zero, false);
    r.tape.linear(x, w, Some(b))
}

/// softmax(q·kᵀ/√e)·v·W_O + b_O.
fn attention(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    attn: &str,
    (q, k, v): (Var, Var, Var),
    seen: Index,
    max_keys: usize,
) -> Var {
    let (d, h, e) = (c.d_model, c.n_heads, c.d_head());
    for (name, x) in [("hook_q", q), ("hook_k", k), ("hook_v", v)] {
        r.tape.hook(format!("{attn}{name}"), x); //                         (rows, d)
    }
    let (z, pattern) = r.tape.varlen_attention(q, k, v, seen, VarlenShape { h, e, max_keys });
    r.tape.hook(format!("{attn}hook_z"), z); //                             (queries, d)
    r.tape.hook(format!("{attn}hook_pattern"), pattern); //                 (queries, h·max_keys)
    let w_o = r.push(&format!("{attn}W_O"), (d, d), vec![h, e, d], xavier(d, d), false);
    let b_o = r.param(&format!("{attn}b_O"), 1, d, Draw::Constant(0.0));
    r.tape.linear(z, w_o, Some(b_o))
}

/// A sub-layer's LayerNorm, and what the sub-layer reads.
fn ln_before(
    r: &mut Recorder,
    c: &EncoderDecoderConfig,
    name: &str,
    x: Var,
) -> (Option<(Norm, Var, Var)>, Var) {
    if c.norm == Norm::None {
        return (None, x);
    }
    let (w, b) = r.norm(name, c.d_model);
    let normed = if c.norm == Norm::Pre { r.tape.layer_norm(x, w, b) } else { x };
    (Some((c.norm, w, b)), normed)
}

/// The residual stream after a sub-layer: x + out, normalised where norms come after.
fn sum(
    r: &mut Recorder,
    block: &str,
    x: Var,
    out: Var,
    hook: &str,
    (norm, ln): (Option<(Norm, Var, Var)>, &str),
) -> Var {
    let sum = r.tape.add(x, out);
    let sum = r.probe(format!("{block}{hook}"), sum); //                    (rows, d)
    match norm {
        Some((Norm::Post, w, b)) => {
            let normed = r.tape.layer_norm(sum, w, b);
            r.probe(format!("{block}{ln}.hook_out"), normed)
        }
        _ => sum,
    }
}

/// Xavier's uniform distribution (Glorot & Bengio 2010) for a matrix from so many inputs to so many outputs.
fn xavier(fan_in: usize, fan_out: usize) -> Draw {
    Draw::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt())
}

/// The biases of a linear layer outside attention.
fn bias(c: &EncoderDecoderConfig, fan_in: usize) -> Draw {
    match c.init {
        SequenceInit::Pytorch => Draw::Uniform(1.0 / (fan_in as f64).sqrt()),
        SequenceInit::Xavier => Draw::Constant(0.0),
    }
}
