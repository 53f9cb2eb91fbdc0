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
}
