//! A training step of the Collatz encoder-decoder in base 8, as `peers/encoder_decoder_torch.py` has it.

use autograd::optim::{AdamW, AdamWConfig, Schedule};
use experiments::seed::Seed;
use models::config::{Act, EncoderDecoderConfig, Norm, PositionEmbedding, SequenceInit, Tie};
use models::{Packed, Recorded, SequenceInputs, SequencePairs, SequenceShape, encoder_decoder};

/// Examples of a step.
pub const BATCH: usize = 512;
/// The cases by name: layers of each stack, d_model, heads, d_mlp.
pub const CASES: [&str; 3] = ["1,128,4,512", "2,256,8,1024", "6,256,8,1024"];

const BASE: u32 = 8;
const LAST: u32 = 10_000;

/// A model in training, with its data.
#[derive(Debug)]
pub struct Collatz {
    /// The model.
    pub net: Recorded<SequenceInputs>,
    adamw: AdamW,
    pairs: SequencePairs,
    rows: Vec<u32>,
    state: u64,
    steps: u64,
}

/// The digits of n, most significant first, and EOS.
fn written(n: u32) -> Vec<u32> {
    let digits = n.ilog(BASE) + 1;
    (0..digits).rev().map(|i| n / BASE.pow(i) % BASE).chain([BASE + 2]).collect()
}

impl Collatz {
    /// A case of [`CASES`] or any like them.
    ///
    /// # Panics
    /// If it is not four numbers.
    pub fn new(case: &str) -> Collatz {
        let sizes: Vec<usize> =
            case.split(',').map(|x| x.parse().expect("LAYERS,D_MODEL,HEADS,D_MLP")).collect();
        let [layers, d_model, n_heads, d_mlp] = sizes[..] else { panic!("four numbers: {case}") };
        let config = EncoderDecoderConfig {
            encoder_layers: layers,
            decoder_layers: layers,
            d_model,
            n_heads,
            d_mlp,
            norm: Norm::Pre,
            final_norm: true,
            act: Act::Relu,
            positions: PositionEmbedding::Sinusoidal,
            scale_embedding: false,
            tie: Tie::None,
            unembed_bias: true,
            init: SequenceInit::Pytorch,
        };
        let source: Packed = (1..=LAST).map(written).collect();
        let next = |n: u32| if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        let target: Packed = (1..=LAST).map(|n| written(next(n))).collect();
        let shape = SequenceShape {
            d_vocab: BASE as usize + 3,
            source: source.longest(),
            target: target.longest(),
        };
        let mut net = encoder_decoder(&config, shape, BATCH, true, None);
        net.draw(|name| Seed(0).stream(name, 0));
        let optim = AdamWConfig {
            lr: 1e-4,
            betas: (0.9, 0.999),
            eps: 1e-9,
            weight_decay: 0.01,
            no_decay: Vec::new(),
            clip: Some(5.0),
            warmup: 0,
            schedule: Schedule::Constant,
            steps: 1,
        };
        let adamw = AdamW::new(optim, &net.tape);
        let pairs = SequencePairs { source, target, bos: BASE + 1 };
        let mut collatz = Collatz { net, adamw, pairs, rows: vec![0; BATCH], state: 0, steps: 0 };
        collatz.draw();
        collatz
    }

    /// The next batch.
    pub fn draw(&mut self) {
        for row in &mut self.rows {
            // Knuth's MMIX generator: its high bits will do.
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *row = (self.state >> 33) as u32 % LAST;
        }
        self.net.load(&self.rows, &self.pairs);
    }

    /// One step, from drawing the batch to the new weights.
    ///
    /// # Panics
    /// If a gradient is not finite.
    pub fn step(&mut self) {
        self.draw();
        self.net.tape.forward();
        self.net.tape.backward(self.net.loss.loss);
        self.update();
    }

    /// AdamW.
    ///
    /// # Panics
    /// If a gradient is not finite.
    pub fn update(&mut self) {
        assert!(self.adamw.step(&mut self.net.tape, self.steps), "finite gradients");
        self.steps += 1;
    }

    /// Floating-point operations of a step on the batch that is loaded: forward, backward, AdamW (16 for each
    /// parameter, and 2 for the norm of its gradient).
    pub fn flops(&self) -> u64 {
        let (forward, backward) = self.net.tape.flops();
        forward + backward + 18 * self.net.parameter_count() as u64
    }
}
