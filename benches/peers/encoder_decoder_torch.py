#!/usr/bin/env python3
"""One training step of the Collatz encoder-decoder in base 8 in PyTorch, eager mode with the fused AdamW.

    python encoder_decoder_torch.py [--threads N] [--check] [PRESET ... | -]

The same mathematics as `plateau bench step PRESET`: n uniform in 1 to 10,000, source digits(n), target digits(T(n)) EOS
with T(n) = n/2 or 3n + 1, most significant digit first, batch 512; pre-LayerNorm with final
norms, ReLU, sinusoidal positions, untied embeddings, all biases; mean cross-entropy over the target tokens; gradients
clipped at norm 5; AdamW (lr 1e-4, betas .9 and .999, eps 1e-9, weight decay .01). Sequences are padded to the longest of
the batch, as its users write it: F.scaled_dot_product_attention with a mask for the padding, or is_causal. Choosing the
batch's rows from tables that are padded to the longest of all, and cutting them, is part of the step.

`--check` compares the model with torch.nn.Transformer, value and gradients in float64, and prints the number of parameters.
"""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import nn

from common import row, serve, steps

BASE, BATCH, LAST = 8, 512, 10_000
PAD, BOS, EOS, VOCAB = BASE, BASE + 1, BASE + 2, BASE + 3
# By plateau's preset: layers of each stack, d_model, heads, d_mlp.
CASES = {"collatz-1x1": (1, 128, 4, 512), "collatz-2x2": (2, 256, 8, 1024),
         "collatz-paper": (6, 256, 8, 1024)}


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, memory, mask=None, causal=False):
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = split(self.q(x)), split(self.k(memory)), split(self.v(memory))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.o(z.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, d, heads, ff, cross):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 + cross))
        self.attn = Attention(d, heads)
        self.cross = Attention(d, heads) if cross else None
        self.w_in, self.w_out = nn.Linear(d, ff), nn.Linear(ff, d)

    def forward(self, x, mask, memory=None):
        y = self.norms[0](x)
        x = x + self.attn(y, y, None if self.cross else mask, causal=self.cross is not None)
        if self.cross:
            x = x + self.cross(self.norms[1](x), memory, mask)
        return x + self.w_out(F.relu(self.w_in(self.norms[-1](x))))


class Model(nn.Module):
    def __init__(self, layers, d, heads, ff):
        super().__init__()
        self.source, self.target = nn.Embedding(VOCAB, d), nn.Embedding(VOCAB, d)
        self.encoder = nn.ModuleList(Block(d, heads, ff, False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(d, heads, ff, True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2))
        self.unembed = nn.Linear(d, VOCAB)
        angle = torch.arange(64)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
        self.register_buffer("positions", torch.stack([angle.sin(), angle.cos()], -1).flatten(1))

    def forward(self, source, target):
        mask = (source != PAD)[:, None, None]                          # (b, 1, 1, s)
        x = self.source(source) + self.positions[: source.shape[1]]    # (b, s, d)
        for block in self.encoder:
            x = block(x, mask)
        memory = self.norms[0](x)
        x = self.target(target) + self.positions[: target.shape[1]]    # (b, t, d)
        for block in self.decoder:
            x = block(x, mask, memory)
        return self.unembed(self.norms[1](x))                          # (b, t, VOCAB)


def digits(n):
    return (digits(n // BASE) if n >= BASE else []) + [n % BASE]


def table(sequences):
    longest = max(map(len, sequences))
    return torch.tensor([s + [PAD] * (longest - len(s)) for s in sequences])


def tables():
    """(sources, what the decoder reads, labels) of every n."""
    every = range(1, LAST + 1)
    written = [digits(n // 2 if n % 2 == 0 else 3 * n + 1) for n in every]
    return (table([digits(n) for n in every]), table([[BOS] + w for w in written]),
            table([w + [EOS] for w in written]))


def draw(tables, batch):
    """Some rows of the tables, cut to the longest of them."""
    rows = torch.randint(LAST, (batch,))
    chosen = [table[rows] for table in tables]
    return [x[:, : int((x != PAD).sum(1).max())] for x in chosen]


def loss_of(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD)


def measure(case, args):
    torch.manual_seed(0)
    model, every = Model(*CASES[case]), tables()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-9,
                                  weight_decay=0.01, fused=True)

    def step():
        source, target, labels = draw(every, BATCH)
        optimiser.zero_grad(set_to_none=True)
        loss_of(model(source, target), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()

    row("sequence-step", case, "", args.threads, "torch", "ms", steps(step, seconds=args.seconds))


def check():
    """The model is torch.nn.Transformer between embeddings and a linear layer."""
    torch.manual_seed(0)
    layers, d, heads, ff = 2, 64, 4, 128
    model = Model(layers, d, heads, ff).double()
    other = nn.Transformer(d, heads, layers, layers, ff, 0.0, batch_first=True, norm_first=True).double()
    with torch.no_grad():
        for ours, theirs in [(model.encoder, other.encoder), (model.decoder, other.decoder)]:
            for a, b in zip(ours, theirs.layers):
                pairs = [(a.attn, b.self_attn)] + ([(a.cross, b.multihead_attn)] if a.cross else [])
                for x, y in pairs:
                    y.in_proj_weight.copy_(torch.cat([p.weight for p in (x.q, x.k, x.v)]))
                    y.in_proj_bias.copy_(torch.cat([p.bias for p in (x.q, x.k, x.v)]))
                    y.out_proj.load_state_dict(x.o.state_dict())
                b.linear1.load_state_dict(a.w_in.state_dict())
                b.linear2.load_state_dict(a.w_out.state_dict())
    source, target, labels = draw(tables(), 64)
    mask, t = source == PAD, target.shape[1]
    memory_and_target = other(
        model.source(source) + model.positions[: source.shape[1]], model.target(target) + model.positions[:t],
        tgt_mask=torch.ones(t, t).triu(1).bool(), src_key_padding_mask=mask, memory_key_padding_mask=mask)
    losses = [loss_of(model(source, target), labels), loss_of(model.unembed(memory_and_target), labels)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    wrt = [model.source.weight, model.target.weight, model.unembed.weight]
    for a, b in zip(*(torch.autograd.grad(loss, wrt) for loss in losses)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    count = lambda *sizes: sum(p.numel() for p in Model(*sizes).parameters())
    print(f"{count(1, 128, 4, 512)} and {count(6, 256, 8, 1024)} parameters; first loss {losses[0].item():.4f} "
          f"(ln {VOCAB} = {math.log(VOCAB):.4f}); torch.nn.Transformer agrees")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("cases", nargs="*", help="presets; - reads them from stdin")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.check:
        check()
    else:
        serve(args.cases, CASES, lambda case: measure(case, args))
