#!/usr/bin/env python3
"""One training step of the `nanda` model at p = 97 in PyTorch, eager mode with the fused AdamW.

    python step_torch.py [--threads N] [--last-only] [--check] [BATCH ... | -]

The same mathematics as `plateau bench step nanda --set task.p=97 --set model.mlp_bias=true --set
task.train_fraction=0.5 --set optim.batch=BATCH`: three tokens (a, b, =), d 128, 4 heads, feed-forward 512 with biases and ReLU, no
norm, causal attention without biases, 98 logits, cross-entropy at the last position, AdamW (lr 1e-3,
betas .9 and .98, weight decay 1). Drawing the batch is part of the step there, and here.

`--last-only` is the same function with what the loss does not read left out, as an expert would
write it: keys and values at every position; query, MLP and unembedding at the last one. `--check`
compares both forms, value and gradients in float64, and prints the number of parameters.
"""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import nn

from common import row, serve, steps

P, T, D, HEADS, FF = 97, 3, 128, 4, 512


class Model(nn.Module):
    def __init__(self, last_only):
        super().__init__()
        self.last_only = last_only
        normal = lambda *shape, std=1 / math.sqrt(D): nn.Parameter(std * torch.randn(*shape))
        self.embed, self.pos = normal(P + 1, D), normal(T, D)
        self.q, self.k, self.v, self.o = (normal(D, D) for _ in range(4))
        self.w_in, self.b_in = normal(FF, D), nn.Parameter(torch.zeros(FF))
        self.w_out, self.b_out = normal(D, FF), nn.Parameter(torch.zeros(D))
        self.unembed = normal(P + 1, D, std=1 / math.sqrt(P + 1))

    def heads(self, x, w):
        """(b, t, d) to (b, heads, t, d / heads)."""
        return F.linear(x, w).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def forward(self, tokens):
        x = F.embedding(tokens, self.embed) + self.pos                 # (b, t, d)
        k, v = self.heads(x, self.k), self.heads(x, self.v)
        if self.last_only:
            x = x[:, -1:]                                              # (b, 1, d): sees every key
        q = self.heads(x, self.q)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=not self.last_only)
        x = x + F.linear(z.transpose(1, 2).flatten(2), self.o)
        x = x + F.linear(F.relu(F.linear(x, self.w_in, self.b_in)), self.w_out, self.b_out)
        return F.linear(x[:, -1], self.unembed)                        # (b, p + 1)


def draw(pairs, batch):
    """Tokens (b, 3) and answers (b) of some of the training pairs."""
    ab = pairs[torch.randperm(len(pairs))[:batch]]
    return torch.cat([ab, torch.full((batch, 1), P)], 1), ab.sum(1) % P


def training_pairs():
    every = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    return every[torch.randperm(P * P)[: P * P // 2]]


def measure(batch, args):
    torch.manual_seed(0)
    model, pairs = Model(args.last_only), training_pairs()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0,
                                  fused=True)

    def step():
        tokens, answers = draw(pairs, int(batch))
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(model(tokens), answers).backward()
        optimiser.step()

    peer = "torch-last-only" if args.last_only else "torch"
    row("step", batch, "", args.threads, peer, "ms", steps(step))


def check():
    """Both forms are one function."""
    torch.manual_seed(0)
    full, last = Model(False).double(), Model(True).double()
    last.load_state_dict(full.state_dict())
    tokens, answers = draw(training_pairs(), 64)
    losses = [F.cross_entropy(model(tokens), answers) for model in (full, last)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    for (name, a), b in zip(full.named_parameters(), last.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12, msg=name)
    count = sum(p.numel() for p in full.parameters())
    print(f"{count} parameters; first loss {losses[0].item():.4f} (ln 98 = {math.log(98):.4f}); "
          "both forms agree")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--last-only", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("batches", nargs="*", help="batch sizes; - reads them from stdin")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.check:
        check()
    else:
        serve(args.batches, ["512", "2822", "4704"], lambda batch: measure(batch, args))
