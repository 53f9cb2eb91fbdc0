//! What a model is, as data: its sizes, its switches, its names.
//!
//! These structs are the `[model]` table of an experiment file. Every field is required, because each
//! of them changes the result. Sizes are counts of f32 values: `d_model` per position, `d_mlp` per
//! hidden layer. Names of activations are TransformerLens's.

use serde::{Deserialize, Serialize};

/// What the model reads for a pair (a, b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tokens {
    /// Two tokens: a, b. The vocabulary is the symbols.
    #[serde(rename = "ab")]
    Ab,
    /// Three tokens: a, b and "=". The vocabulary is the symbols and, last, "=".
    #[serde(rename = "ab=")]
    AbEquals,
}

impl Tokens {
    /// Length of the input, `n_ctx`.
    pub fn n_ctx(self) -> usize {
        match self {
            Tokens::Ab => 2,
            Tokens::AbEquals => 3,
        }
    }

    /// Size of the input vocabulary, `d_vocab`, for a task with this many symbols.
    pub fn d_vocab(self, symbols: usize) -> usize {
        match self {
            Tokens::Ab => symbols,
            Tokens::AbEquals => symbols + 1,
        }
    }
}

/// Where a block normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Nowhere.
    None,
    /// Before attention and before the MLP: x + f(LN(x)).
    Pre,
    /// After each residual sum: LN(x + f(x)), as in the first transformer.
    Post,
}

/// The non-linearity of the hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// max(x, 0)
    Relu,
    /// x Φ(x), with the exact normal distribution function (erf).
    Gelu,
    /// GELU's tanh approximation.
    GeluTanh,
}

/// Which distributions the parameters are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The defaults of PyTorch's `Embedding`, `Linear`, `MultiheadAttention` and `LayerNorm`.
    Pytorch,
    /// Normal, with the scales of Nanda et al. 2023 (arXiv:2301.05217).
    Nanda,
}

/// What the logits stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unembed {
    /// One logit per class of the task.
    Classes,
    /// One logit per input token, "=" included.
    Vocab,
}

/// A transformer that is read at its last position. One layer in every published figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneLayerConfig {
    /// The input: two tokens or three.
    pub tokens: Tokens,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads; `d_head = d_model / n_heads`.
    pub n_heads: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Where the blocks normalise.
    pub norm: Norm,
    /// A LayerNorm between the last block and the unembedding.
    pub final_norm: bool,
    /// The MLP's non-linearity.
    pub act: Act,
    /// Whether a position may look only at itself and earlier ones.
    pub causal: bool,
    /// Biases on Q, K, V and O.
    pub attn_bias: bool,
    /// Biases on both layers of the MLP.
    pub mlp_bias: bool,
    /// A bias on the logits.
    pub unembed_bias: bool,
    /// What the logits stand for.
    pub unembed: Unembed,
    /// How the parameters are drawn.
    pub init: Init,
}

impl OneLayerConfig {
    /// Width of one attention head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Number of logits, `d_vocab_out`.
    pub fn d_vocab_out(&self, symbols: usize, classes: usize) -> usize {
        match self.unembed {
            Unembed::Classes => classes,
            Unembed::Vocab => self.tokens.d_vocab(symbols),
        }
    }

    /// Number of trained values.
    pub fn parameters(&self, symbols: usize, classes: usize) -> usize {
        let (d, m) = (self.d_model, self.d_mlp);
        let out = self.d_vocab_out(symbols, classes);
        let embed = (self.tokens.d_vocab(symbols) + self.tokens.n_ctx()) * d;
        let attn = 4 * d * d + if self.attn_bias { 4 * d } else { 0 };
        let mlp = 2 * d * m + if self.mlp_bias { m + d } else { 0 };
        let norms = if self.norm == Norm::None { 0 } else { 4 * d };
        let final_norm = if self.final_norm { 2 * d } else { 0 };
        let unembed = d * out + if self.unembed_bias { out } else { 0 };
        embed + self.n_layers * (attn + mlp + norms) + final_norm + unembed
    }

    /// The activations at the last position that a spectral probe can read, input side first.
    ///
    /// All are `(batch, d_model)`, except `mlp.hook_post`, which is `(batch, d_mlp)`.
    pub fn probes(&self) -> Vec<String> {
        let mut names = Vec::new();
        for l in 0..self.n_layers {
            names.push(format!("blocks.{l}.hook_resid_mid"));
            if self.norm == Norm::Post {
                names.push(format!("blocks.{l}.ln1.hook_out"));
            }
            names.push(format!("blocks.{l}.mlp.hook_post"));
            names.push(format!("blocks.{l}.hook_mlp_out"));
            names.push(format!("blocks.{l}.hook_resid_post"));
            if self.norm == Norm::Post {
                names.push(format!("blocks.{l}.ln2.hook_out"));
            }
        }
        if self.final_norm {
            names.push("ln_final.hook_out".to_owned());
        }
        names
    }

    /// The probes that hold the last position alone, where an edit may stand: those of the last block
    /// and what follows.
    pub fn sites(&self) -> Vec<String> {
        let last = format!("blocks.{}.", self.n_layers - 1);
        let alone = |name: &String| name.starts_with(&last) || !name.starts_with("blocks.");
        self.probes().into_iter().filter(alone).collect()
    }
}

/// A multi-layer perceptron on the concatenated embeddings of its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// The input: two tokens or three.
    pub tokens: Tokens,
    /// Number of hidden layers.
    pub n_layers: usize,
    /// Width of one token's embedding; the first layer reads `n_ctx * d_model` values.
    pub d_model: usize,
    /// Width of every hidden layer.
    pub d_mlp: usize,
    /// The non-linearity of the hidden layers.
    pub act: Act,
    /// Biases on every layer, the unembedding included.
    pub bias: bool,
    /// How the parameters are drawn.
    pub init: Init,
}

impl MlpConfig {
    /// Number of trained values. There is one logit per class.
    pub fn parameters(&self, symbols: usize, classes: usize) -> usize {
        let (d, m) = (self.d_model, self.d_mlp);
        let bias = |width: usize| if self.bias { width } else { 0 };
        let embed = self.tokens.d_vocab(symbols) * d;
        let first = self.tokens.n_ctx() * d * m + bias(m);
        let others = (self.n_layers - 1) * (m * m + bias(m));
        embed + first + others + m * classes + bias(classes)
    }

    /// The activations that a spectral probe can read, input side first; all `(batch, d_mlp)`.
    pub fn probes(&self) -> Vec<String> {
        (0..self.n_layers).map(|l| format!("layers.{l}.hook_post")).collect()
    }

    /// The probes where an edit may stand: all of them.
    pub fn sites(&self) -> Vec<String> {
        self.probes()
    }
}

/// What a position adds to its token's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// Fixed sines and cosines (Vaswani et al. 2017, arXiv:1706.03762, 3.5).
    Sinusoidal,
    /// A trained vector for each position.
    Learned,
}

/// Which of the three token tables (source embedding, target embedding, unembedding) are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tie {
    /// Each is its own.
    None,
    /// One table is all three.
    All,
}

/// Which distributions the parameters of an encoder-decoder are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceInit {
    /// The defaults of PyTorch's `nn.Transformer` between `nn.Embedding` and `nn.Linear`: Xavier uniform on
    /// its matrices (on W_Q, W_K, W_V jointly), zero biases in attention, uniform biases elsewhere;
    /// normal embeddings, a uniform unembedding.
    Pytorch,
    /// Xavier uniform on every matrix by itself, embeddings included; zero biases.
    Xavier,
}

/// An encoder-decoder transformer for sequences; without encoder layers, a decoder alone that reads the
/// source in front of the target. Biases are where PyTorch's `nn.Transformer` has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDecoderConfig {
    /// Blocks of the encoder; 0 for a decoder alone.
    pub encoder_layers: usize,
    /// Blocks of the decoder.
    pub decoder_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads; `d_head = d_model / n_heads`.
    pub n_heads: usize,
    /// Width of the MLPs.
    pub d_mlp: usize,
    /// Where the blocks normalise.
    pub norm: Norm,
    /// A LayerNorm after each stack, as `nn.Transformer` has it.
    pub final_norm: bool,
    /// The MLPs' non-linearity.
    pub act: Act,
    /// What a position adds.
    pub positions: PositionEmbedding,
    /// Whether token embeddings are multiplied by √d_model.
    pub scale_embedding: bool,
    /// Which token tables are one.
    pub tie: Tie,
    /// A bias on the logits.
    pub unembed_bias: bool,
    /// How the parameters are drawn.
    pub init: SequenceInit,
}

impl EncoderDecoderConfig {
    /// Width of one attention head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Number of trained values, for so many tokens, positions of the source and of the target.
    pub fn parameters(&self, d_vocab: usize, source: usize, target: usize) -> usize {
        let (d, m) = (self.d_model, self.d_mlp);
        let norm = if self.norm == Norm::None { 0 } else { 2 * d };
        let attention = 4 * (d * d + d);
        let mlp = 2 * d * m + m + d;
        let final_norm = if self.final_norm { 2 * d } else { 0 };
        let block = attention + mlp + 2 * norm;
        let (encoder, cross, embeddings) = match self.encoder_layers {
            0 => (0, 0, 1),
            layers => (layers * block + final_norm, attention + norm, 2),
        };
        let decoder = self.decoder_layers * (block + cross) + final_norm;
        let tables = if self.tie == Tie::All { 1 } else { embeddings + 1 };
        let positions =
            if self.positions == PositionEmbedding::Learned { source + target } else { 0 };
        let unembed_bias = if self.unembed_bias { d_vocab } else { 0 };
        encoder + decoder + (tables * d_vocab + positions) * d + unembed_bias
    }

    /// The activations that a probe can read, input side first: (source tokens, d_model) in the encoder,
    /// (target tokens, d_model) in the decoder, and d_mlp columns for `mlp.hook_post`.
    pub fn probes(&self) -> Vec<String> {
        let stacks = match self.encoder_layers {
            0 => vec![("", self.decoder_layers, false)],
            layers => vec![("encoder.", layers, false), ("decoder.", self.decoder_layers, true)],
        };
        let post = self.norm == Norm::Post;
        let mut names = Vec::new();
        for (stack, layers, cross) in stacks {
            for l in 0..layers {
                let mut add = |part: &str| names.push(format!("{stack}blocks.{l}.{part}"));
                let mut sublayer = |sum: &str, ln: &str| {
                    add(sum);
                    if post {
                        add(&format!("{ln}.hook_out"));
                    }
                };
                sublayer("hook_resid_mid", "ln1");
                if cross {
                    sublayer("hook_resid_mid_cross", "ln2");
                }
                add("mlp.hook_post");
                add("hook_mlp_out");
                add("hook_resid_post");
                if post {
                    add(if cross { "ln3.hook_out" } else { "ln2.hook_out" });
                }
            }
            if self.final_norm {
                names.push(format!("{stack}ln_final.hook_out"));
            }
        }
        names
    }

    /// The activations with a row for each source token, input side first: what enters each block of the
    /// encoder (in the first the embedding alone), and the encoder's [`EncoderDecoderConfig::probes`]. None
    /// of a decoder alone.
    pub fn source_hooks(&self) -> Vec<String> {
        let probes = self.probes();
        let of_block = |block: &String| -> Vec<String> {
            let inside = probes.iter().filter(|name| name.starts_with(block.as_str()));
            [format!("{block}hook_resid_pre")].into_iter().chain(inside.cloned()).collect()
        };
        let blocks = (0..self.encoder_layers).map(|l| format!("encoder.blocks.{l}."));
        let mut names: Vec<String> = blocks.flat_map(|block| of_block(&block)).collect();
        names.extend(probes.into_iter().filter(|name| name.starts_with("encoder.ln_final.")));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> OneLayerConfig {
        OneLayerConfig {
            tokens: Tokens::Ab,
            n_layers: 1,
            d_model: 128,
            n_heads: 4,
            d_mlp: 512,
            norm: Norm::Post,
            final_norm: true,
            act: Act::Gelu,
            causal: false,
            attn_bias: true,
            mlp_bias: true,
            unembed_bias: true,
            unembed: Unembed::Classes,
            init: Init::Pytorch,
        }
    }

    #[test]
    fn the_template_has_as_many_parameters_as_pytorch_counts() {
        assert_eq!(template().parameters(97, 97), 223_713);
    }

    #[test]
    fn an_mlp_counts_its_matrices() {
        let c = MlpConfig {
            tokens: Tokens::Ab,
            n_layers: 2,
            d_model: 3,
            d_mlp: 5,
            act: Act::Relu,
            bias: true,
            init: Init::Pytorch,
        };
        // embed 7x3, 6x5 + 5, 5x5 + 5, 5x7 + 7
        assert_eq!(c.parameters(7, 7), 21 + 35 + 30 + 42);
    }

    #[test]
    fn a_probe_exists_only_where_the_structure_has_it() {
        let has = |c: &OneLayerConfig, name: &str| c.probes().iter().any(|p| p == name);
        assert!(has(&template(), "blocks.0.ln2.hook_out"));
        assert!(has(&template(), "ln_final.hook_out"));
        let bare = OneLayerConfig { norm: Norm::None, final_norm: false, ..template() };
        assert!(!has(&bare, "blocks.0.ln2.hook_out"));
        assert!(!has(&bare, "ln_final.hook_out"));
        assert!(has(&bare, "blocks.0.hook_resid_post"));
    }

    fn paper() -> EncoderDecoderConfig {
        EncoderDecoderConfig {
            encoder_layers: 6,
            decoder_layers: 6,
            d_model: 256,
            n_heads: 8,
            d_mlp: 1024,
            norm: Norm::Pre,
            final_norm: true,
            act: Act::Relu,
            positions: PositionEmbedding::Sinusoidal,
            scale_embedding: false,
            tie: Tie::None,
            unembed_bias: true,
            init: SequenceInit::Pytorch,
        }
    }

    #[test]
    fn the_collatz_model_has_as_many_parameters_as_pytorch_counts() {
        // sum(p.numel()) of torch.nn.Transformer(256, 8, 6, 6, 1024), two nn.Embedding(11, 256) and an
        // nn.Linear(256, 11); the paper (arXiv:2604.13082) says 11.07 M.
        assert_eq!(paper().parameters(11, 7, 7), 11_068_683);
        let tied = EncoderDecoderConfig { tie: Tie::All, unembed_bias: false, ..paper() };
        assert_eq!(tied.parameters(11, 7, 7), 11_060_224 + 11 * 256);
        let learned = EncoderDecoderConfig { positions: PositionEmbedding::Learned, ..paper() };
        assert_eq!(learned.parameters(11, 7, 5), 11_068_683 + 12 * 256);
    }
}
