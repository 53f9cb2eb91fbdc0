#!/usr/bin/env python3
"""One training step of the `nanda` model at p = 97 in JAX: one jit with donated buffers.

    python step_jax.py [--threads N] [--check] [BATCH ... | -]

The mathematics of `step_torch.py` at every position. XLA takes its threads from the CPUs that the
process may use, so `--threads` sets the affinity. `--check` prints the number of parameters and
compares value and gradients with PyTorch's at the same weights, in float64.
"""

import argparse
import math
import os

from common import row, serve, steps

P, T, D, HEADS, FF = 97, 3, 128, 4, 512
LR, B1, B2, EPS, DECAY = 1e-3, 0.9, 0.98, 1e-8, 1.0

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--check", action="store_true")
parser.add_argument("batches", nargs="*", help="batch sizes; - reads them from stdin")
args = parser.parse_args()
if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402


def parameters(rng):
    normal = lambda *shape, std=1 / math.sqrt(D): std * rng.standard_normal(shape)
    return {
        "embed": normal(P + 1, D), "pos": normal(T, D),
        "q": normal(D, D), "k": normal(D, D), "v": normal(D, D), "o": normal(D, D),
        "w_in": normal(D, FF), "b_in": np.zeros(FF), "w_out": normal(FF, D), "b_out": np.zeros(D),
        "unembed": normal(D, P + 1, std=1 / math.sqrt(P + 1)),
    }


def loss(p, tokens, answers):
    b = tokens.shape[0]
    x = p["embed"][tokens] + p["pos"]                                  # (b, t, d)
    q, k, v = ((x @ p[w]).reshape(b, T, HEADS, D // HEADS) for w in "qkv")
    scores = jnp.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(D // HEADS)
    scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
    z = jnp.einsum("bhqk,bkhe->bqhe", jax.nn.softmax(scores), v).reshape(b, T, D)
    x = x + z @ p["o"]
    x = x + jax.nn.relu(x @ p["w_in"] + p["b_in"]) @ p["w_out"] + p["b_out"]
    logits = x[:, -1] @ p["unembed"]                                   # (b, p + 1)
    at_answer = jnp.take_along_axis(logits, answers[:, None], 1)[:, 0]
    return (jax.nn.logsumexp(logits, -1) - at_answer).mean()


def step(state, tokens, answers):
    p, m, v, t = state
    gradient = jax.grad(loss)(p, tokens, answers)
    t = t + 1
    each = jax.tree.map
    m = each(lambda m, g: B1 * m + (1 - B1) * g, m, gradient)
    v = each(lambda v, g: B2 * v + (1 - B2) * g * g, v, gradient)
    bias1, bias2 = 1 - B1**t, 1 - B2**t
    update = lambda p, m, v: p * (1 - LR * DECAY) - LR * (m / bias1) / (jnp.sqrt(v / bias2) + EPS)
    return each(update, p, m, v), m, v, t


def draw(rng, pairs, batch):
    ab = pairs[rng.permutation(len(pairs))[:batch]]
    return np.concatenate([ab, np.full((batch, 1), P)], 1), ab.sum(1) % P


def measure(batch):
    rng = np.random.default_rng(0)
    every = np.stack(np.divmod(np.arange(P * P), P), 1)
    pairs = rng.permutation(every)[: P * P // 2]
    p = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), parameters(rng))
    zeros = lambda: jax.tree.map(jnp.zeros_like, p)
    state = [(p, zeros(), zeros(), jnp.float32(0))]
    jitted = jax.jit(step, donate_argnums=0)

    def once():
        state[0] = jitted(state[0], *draw(rng, pairs, int(batch)))
        jax.block_until_ready(state[0])

    row("step", batch, "", args.threads, "jax", "ms", steps(once))


def check():
    """The loss and its gradients are PyTorch's."""
    jax.config.update("jax_enable_x64", True)
    import torch
    import step_torch

    rng = np.random.default_rng(0)
    p = parameters(rng)
    every = np.stack(np.divmod(np.arange(P * P), P), 1)
    tokens, answers = draw(rng, every, 64)
    value, gradient = jax.value_and_grad(loss)(jax.tree.map(jnp.asarray, p), tokens, answers)
    model = step_torch.Model(False).double()
    table = {"embed", "pos", "b_in", "b_out"}  # the others are stored (out, in) there
    weights = {name: torch.tensor(w if name in table else w.T) for name, w in p.items()}
    model.load_state_dict(weights)
    theirs = torch.nn.functional.cross_entropy(model(torch.tensor(tokens)), torch.tensor(answers))
    theirs.backward()
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-12)
    for name, w in model.named_parameters():
        ours = np.asarray(gradient[name])
        np.testing.assert_allclose(ours if name in table else ours.T, w.grad, rtol=1e-8, atol=1e-12)
    count = sum(x.size for x in p.values())
    print(f"{count} parameters; loss and gradients are PyTorch's")


if __name__ == "__main__":
    if args.check:
        check()
    else:
        serve(args.batches, ["512", "2822", "4704"], measure)
