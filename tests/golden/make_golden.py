"""Golden values for the Rust models, from PyTorch in float64: forward, loss, gradients, ten AdamW steps.

    python make_golden.py [output folder]

README.md beside this file says what each golden file holds. Written for reading: all positions, nothing pruned,
torch.nn.functional for each operation, torch.optim.AdamW for each step. Letters in shapes: b batch, t (or query q,
key k) position, d model, h head, e head dimension, v vocabulary.
"""

import json
import math
import sys
from functools import partial, reduce
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

STEPS = 10
KINK = 2e-6  # float32 rounding must not decide on which side of zero a ReLU's input falls

# ---------------------------------------------------------------- cases

ONE_LAYER = dict(
    kind="one_layer", tokens="ab", n_layers=1, d_model=32, n_heads=4, d_mlp=64, norm="post", final_norm=True,
    act="gelu", causal=False, attn_bias=True, mlp_bias=True, unembed_bias=True, unembed="classes", init="pytorch",
)
NANDA = ONE_LAYER | dict(
    tokens="ab=", norm="none", final_norm=False, act="relu", causal=True, attn_bias=False, mlp_bias=False,
    unembed_bias=False, unembed="vocab", init="nanda",
)
NOLN = NANDA | dict(mlp_bias=True, unembed="classes")
MLP = dict(kind="mlp", n_layers=1, d_model=32, d_mlp=64, tokens="ab", act="relu", bias=False, init="pytorch")
WIDE = dict(d_model=128, d_mlp=512)

ADAMW = dict(lr=1e-3, betas=[0.9, 0.999], eps=1e-8, weight_decay=1.0, no_decay=[], warmup=0, schedule="constant")
NANDA_ADAMW = ADAMW | dict(betas=[0.9, 0.98], warmup=10)
PRELN_ADAMW = ADAMW | dict(weight_decay=0.1, no_decay=["b_", "ln", ".b"], warmup=3, schedule="cosine")


def case(p, batch, model, optim=ADAMW, **offset):
    """The JSON of one case: the configuration's own field names and the sizes that follow from `p` classes."""
    vocab = p + (model["tokens"] == "ab=")  # "=" is token p
    out = vocab if model.get("unembed") == "vocab" else p
    model = model | dict(d_vocab=vocab, n_ctx=len(model["tokens"]), d_vocab_out=out)
    return dict(p=p, steps=STEPS, **offset, model=model, optim=optim | dict(batch=batch, replacement=True))


SMALL = {
    "template": case(13, 24, ONE_LAYER),
    "nanda": case(13, 24, NANDA, NANDA_ADAMW),
    "preln": case(13, 24, ONE_LAYER | dict(tokens="ab=", norm="pre", causal=True), PRELN_ADAMW),
    "deep": case(13, 24, ONE_LAYER | dict(n_layers=2, norm="pre", act="gelu_tanh")),
    "postdeep": case(13, 24, ONE_LAYER | dict(n_layers=2, tokens="ab=", final_norm=False, act="relu", causal=True)),
    "mlp": case(13, 24, MLP),
    "mlp2": case(13, 24, MLP | dict(n_layers=2, act="gelu", bias=True)),
    "s5": case(24, 24, ONE_LAYER),
}
FULL = {
    "template97": case(97, 512, ONE_LAYER | WIDE, offset=0),
    "template120": case(120, 512, ONE_LAYER | WIDE, offset=0),
    "nanda113": case(113, 512, NANDA | WIDE, NANDA_ADAMW, offset=141_000_000),
    "noln97": case(97, 512, NOLN | WIDE, NANDA_ADAMW, offset=104_000_000),
    "mlp97": case(97, 512, MLP | WIDE, offset=1_147_000_000),
}


def shapes(m):
    """Parameter names and shapes, TransformerLens names and axis order."""
    d, f, out = m["d_model"], m["d_mlp"], m["d_vocab_out"]
    s = {"embed.W_E": (m["d_vocab"], d)}
    if m["kind"] == "mlp":
        widths = [m["n_ctx"] * d] + [f] * m["n_layers"]
        for l in range(m["n_layers"]):
            s |= {f"layers.{l}.W": (widths[l], f), f"layers.{l}.b": (f,)}
        s |= {"unembed.W_U": (widths[-1], out), "unembed.b_U": (out,)}
        present = {".b": m["bias"]}
    else:
        h, e = m["n_heads"], d // m["n_heads"]
        s |= {"pos_embed.W_pos": (m["n_ctx"], d)}
        for l in range(m["n_layers"]):
            block = {"ln1.w": (d,), "ln1.b": (d,)}
            block |= {f"attn.W_{x}": (h, d, e) for x in "QKV"} | {f"attn.b_{x}": (h, e) for x in "QKV"}
            block |= {"attn.W_O": (h, e, d), "attn.b_O": (d,), "ln2.w": (d,), "ln2.b": (d,)}
            block |= {"mlp.W_in": (d, f), "mlp.b_in": (f,), "mlp.W_out": (f, d), "mlp.b_out": (d,)}
            s |= {f"blocks.{l}.{name}": shape for name, shape in block.items()}
        s |= {"ln_final.w": (d,), "ln_final.b": (d,), "unembed.W_U": (d, out), "unembed.b_U": (out,)}
        present = {"ln_final.": m["final_norm"], ".ln": m["norm"] != "none"}
        present |= {f"{part}.b_": m[f"{part}_bias"] for part in ("attn", "mlp", "unembed")}
    return {name: shape for name, shape in s.items() if all(yes or part not in name for part, yes in present.items())}


def kind(name):
    """embedding, weight, ln (a LayerNorm's weight) or bias (its bias too), from the last part of the name."""
    last = name.split(".")[-1]
    if last in ("W_E", "W_pos"):
        return "embedding"
    return {"W": "weight", "w": "ln", "b": "bias"}[last[0]]


def fan_in(name, shape):
    """Number of inputs that one output sums over: W_O also sums over heads, W_Q, W_K and W_V do not."""
    return shape[0] * shape[1] if name.endswith("W_O") else shape[-2]


# ---------------------------------------------------------------- models

ACT = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh")}


def forward_mlp(m, w, tokens):
    """Logits [b, v] and every hook, from parameters `w` by name."""
    hooks = {"hook_embed": F.embedding(tokens, w["embed.W_E"])}  # [b, t, d]
    x = hooks["hook_embed"].flatten(1)  # [b, t*d]
    for l in range(m["n_layers"]):
        hooks[f"layers.{l}.hook_pre"] = F.linear(x, w[f"layers.{l}.W"].T, w.get(f"layers.{l}.b"))
        x = hooks[f"layers.{l}.hook_post"] = ACT[m["act"]](hooks[f"layers.{l}.hook_pre"])
    return F.linear(x, w["unembed.W_U"].T, w.get("unembed.b_U")), hooks


def forward_transformer(m, w, tokens):
    """Logits [b, v] at the last position and every hook (all positions), from parameters `w` by name."""
    hooks, n, d = {}, m["n_ctx"], m["d_model"]

    def norm(at, x):
        return F.layer_norm(x, (d,), w[at + ".w"], w[at + ".b"], eps=1e-5)

    def keep(name, value):
        hooks[name] = value
        return value

    def attention(at, x):
        def heads(letter):
            y = torch.einsum("btd,hde->bthe", x, w[f"{at}.W_{letter}"])
            bias = w.get(f"{at}.b_{letter}")
            return keep(f"{at}.hook_{letter.lower()}", y if bias is None else y + bias)

        q, k, v = heads("Q"), heads("K"), heads("V")
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(d // m["n_heads"])
        if m["causal"]:
            scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
        pattern = keep(f"{at}.hook_pattern", F.softmax(scores, dim=-1))
        z = keep(f"{at}.hook_z", torch.einsum("bhqk,bkhe->bqhe", pattern, v))
        return F.linear(z.flatten(2), w[f"{at}.W_O"].flatten(0, 1).T, w.get(f"{at}.b_O"))

    def mlp(at, x):
        pre = keep(f"{at}.hook_pre", F.linear(x, w[f"{at}.W_in"].T, w.get(f"{at}.b_in")))
        post = keep(f"{at}.hook_post", ACT[m["act"]](pre))
        return F.linear(post, w[f"{at}.W_out"].T, w.get(f"{at}.b_out"))

    x = keep("hook_embed", F.embedding(tokens, w["embed.W_E"])) + w["pos_embed.W_pos"]
    for l in range(m["n_layers"]):
        at = f"blocks.{l}"
        keep(f"{at}.hook_resid_pre", x)
        inner = norm(f"{at}.ln1", x) if m["norm"] == "pre" else x
        x = keep(f"{at}.hook_resid_mid", x + keep(f"{at}.hook_attn_out", attention(f"{at}.attn", inner)))
        if m["norm"] == "post":
            x = keep(f"{at}.ln1.hook_out", norm(f"{at}.ln1", x))
        inner = norm(f"{at}.ln2", x) if m["norm"] == "pre" else x
        x = keep(f"{at}.hook_resid_post", x + keep(f"{at}.hook_mlp_out", mlp(f"{at}.mlp", inner)))
        if m["norm"] == "post":
            x = keep(f"{at}.ln2.hook_out", norm(f"{at}.ln2", x))
    if m["final_norm"]:
        x = keep("ln_final.hook_out", norm("ln_final", x))
    return F.linear(x[:, -1], w["unembed.W_U"].T, w.get("unembed.b_U")), hooks


def check_against_torch_layers(m, w, tokens):
    """The same logits from torch.nn.TransformerEncoderLayer, LayerNorm and Linear with the same weights."""
    everything = m | dict(norm="post", attn_bias=True, mlp_bias=True, unembed_bias=True)
    padded = {name: w.get(name, torch.zeros(shape)) for name, shape in shapes(everything).items()}
    x = F.embedding(tokens, w["embed.W_E"]) + w["pos_embed.W_pos"]
    mask = torch.ones(m["n_ctx"], m["n_ctx"]).triu(1).bool() if m["causal"] else None
    for l in range(m["n_layers"]):
        part = lambda name: padded[f"blocks.{l}.{name}"]
        layer = torch.nn.TransformerEncoderLayer(
            m["d_model"], m["n_heads"], m["d_mlp"], dropout=0.0, activation=ACT[m["act"]], batch_first=True,
            norm_first=m["norm"] == "pre", layer_norm_eps=1e-5, dtype=torch.float64,
        )
        layer.load_state_dict({
            "self_attn.in_proj_weight": torch.cat([part(f"attn.W_{c}").transpose(1, 2).flatten(0, 1) for c in "QKV"]),
            "self_attn.in_proj_bias": torch.cat([part(f"attn.b_{c}").flatten() for c in "QKV"]),
            "self_attn.out_proj.weight": part("attn.W_O").flatten(0, 1).T, "self_attn.out_proj.bias": part("attn.b_O"),
            "linear1.weight": part("mlp.W_in").T, "linear1.bias": part("mlp.b_in"),
            "linear2.weight": part("mlp.W_out").T, "linear2.bias": part("mlp.b_out"),
            "norm1.weight": part("ln1.w"), "norm1.bias": part("ln1.b"),
            "norm2.weight": part("ln2.w"), "norm2.bias": part("ln2.b"),
        })
        if m["norm"] == "none":
            layer.norm1 = layer.norm2 = torch.nn.Identity()
        x = layer(x, src_mask=mask)
    if m["final_norm"]:
        norm = torch.nn.LayerNorm(m["d_model"], eps=1e-5, dtype=torch.float64)
        norm.load_state_dict({"weight": w["ln_final.w"], "bias": w["ln_final.b"]})
        x = norm(x)
    head = torch.nn.Linear(m["d_model"], m["d_vocab_out"], dtype=torch.float64)
    head.load_state_dict({"weight": w["unembed.W_U"].T, "bias": padded["unembed.b_U"]})
    torch.testing.assert_close(forward_transformer(m, w, tokens)[0], head(x[:, -1]), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- training


def learning_rate(o, step):
    if step < o["warmup"]:
        return o["lr"] * min(step / o["warmup"], 1.0)
    if o["schedule"] == "constant":
        return o["lr"]
    return o["lr"] * 0.5 * (1.0 + math.cos(math.pi * (step - o["warmup"]) / (STEPS - o["warmup"])))


def run(c, start, tokens, labels, dtype):
    """Hooks, logits, loss and gradients on batch 0 at the start; then losses and parameters of ten steps."""
    m, o = c["model"], c["optim"]
    forward = forward_mlp if m["kind"] == "mlp" else forward_transformer
    w = {name: value.clone().to(dtype).requires_grad_() for name, value in start.items()}
    decay = {name: 0.0 if any(s in name for s in o["no_decay"]) else o["weight_decay"] for name in w}
    groups = [dict(params=[w[name]], weight_decay=decay[name]) for name in w]
    adamw = torch.optim.AdamW(groups, lr=o["lr"], betas=tuple(o["betas"]), eps=o["eps"])
    gold, losses = {}, np.zeros(STEPS)
    for step in range(STEPS):
        logits, hooks = forward(m, w, tokens[step])
        loss = F.cross_entropy(logits, labels[step])
        if m["act"] == "relu" and dtype == torch.float64:  # at the last position
            pre = [x.reshape(len(x), -1, m["d_mlp"])[:, -1] for name, x in hooks.items() if "hook_pre" in name]
            assert min(x.abs().min() for x in pre) > KINK, "a ReLU's input is too close to zero: change the offset"
        adamw.zero_grad()
        loss.backward()
        losses[step] = loss.item()
        if step == 0:
            gold |= {f"hook/{name}": value for name, value in hooks.items()}
            gold |= {f"grad/{name}": value.grad for name, value in w.items()}
            gold |= {"logits": logits, "loss": loss.reshape(1)}
            gold = {name: value.detach().double().numpy().copy() for name, value in gold.items()}
        for name in filter(lambda name: name.endswith("b_K"), w):
            w[name].grad = None  # its true gradient is zero: no update and no decay
        for group in adamw.param_groups:
            group["lr"] = learning_rate(o, step)
        adamw.step()
    after = {f"after10/{name}": value.detach().double().numpy() for name, value in w.items()}
    return gold | {"losses": losses} | after


def print_float32_error(case_name, gold, single):
    """A row of README.md's table: the worst ‖float32 − float64‖ / ‖float64‖ of each group of tensors."""
    worst = {group: (0.0, "") for group in ("hook", "logits", "losses", "grad", "after10")}
    for name, x in gold.items():
        group, _, rest = name.partition("/")
        if group in worst and not rest.endswith("b_K"):
            worst[group] = max(worst[group], (np.linalg.norm(single[name] - x) / np.linalg.norm(x), rest))
    print(f"| {case_name} |", " | ".join(f"{error:.1e} {rest}".strip() for error, rest in worst.values()), "|")


# ---------------------------------------------------------------- mixing of representations


def mixing():
    """z, the upstream gradient and what is drawn; what goes on in place of z, and z's gradient, for both kinds."""
    generator = torch.Generator().manual_seed(100)
    z, upstream, noise = (torch.randn(24, 33, generator=generator) for _ in range(3))
    noise /= noise.norm(dim=1, keepdim=True)
    partner = (torch.arange(24) + 7) % 24  # a derangement
    gold = dict(z=z, upstream=upstream, noise=noise, partner=partner.int())
    for alpha in (0.1, 0.3, 1.0):
        for name in ("mix", "sham", "distance"):
            x = z.double().requires_grad_()
            distance = alpha * torch.linalg.vector_norm(x[partner] - x, dim=1, keepdim=True)
            y = {"mix": torch.lerp(x, x[partner], alpha), "sham": x + distance.detach() * noise, "distance": distance}[name]
            y.backward(upstream.double()[:, : y.shape[1]])
            gold |= {f"{name}/{alpha}": y.detach(), f"grad/{name}/{alpha}": x.grad}
    return {name: x.numpy() for name, x in gold.items()}


# ---------------------------------------------------------------- inputs: drawn (small) or computed (full)


def drawn(c, generator):
    """Starting values at usual scales, biases and LayerNorms away from 0 and 1, in float32; random batches."""
    m, batch = c["model"], c["optim"]["batch"]
    start = {name: torch.randn(shape, generator=generator) for name, shape in shapes(m).items()}
    for name, x in start.items():
        x *= {"embedding": 1.0, "ln": 0.1, "bias": 0.05}.get(kind(name)) or fan_in(name, x.shape) ** -0.5
        x += kind(name) == "ln"
    tokens = torch.randint(c["p"], (STEPS, batch, m["n_ctx"]), generator=generator)
    tokens[:, :, 2:] = c["p"]
    return start, tokens, torch.randint(c["p"], (STEPS, batch), generator=generator)


def fnv1a64(text):
    return reduce(lambda h, byte: (h ^ byte) * 0x100000001B3 % 2**64, text.encode(), 0xCBF29CE484222325)


def splitmix64(x):
    """First output of SplitMix64 from state x (uint64 array; arithmetic wraps)."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def stream(name, count, offset=0):
    """splitmix64(fnv1a64(name) + offset + i) for i < count."""
    return splitmix64(np.arange(offset, offset + count, dtype=np.uint64) + np.uint64(fnv1a64(name)))


def value(name, shape):
    """float32 values that another language repeats bit for bit: t is exact, then one rounding per operation."""
    k = (stream(name, math.prod(shape)) >> np.uint64(40)).astype(np.int64)  # 24 bits
    t = ((k - 2**23) / 2**23).astype(np.float32)  # in [-1, 1)
    scale = {"embedding": 1.0, "ln": 0.1, "bias": 0.02}.get(kind(name)) or math.sqrt(3 / fan_in(name, shape))
    x = t * np.float32(scale)
    return (np.float32(1) + x if kind(name) == "ln" else x).reshape(shape)


def computed(c):
    """Starting values and batches by formula, so that full-size inputs need not be stored."""
    m, batch, p = c["model"], c["optim"]["batch"], np.uint64(c["p"])
    start = {name: torch.from_numpy(value(name, shape)) for name, shape in shapes(m).items()}
    integers = lambda name, shape: ((stream(name, math.prod(shape), c["offset"]) >> np.uint64(11)) % p).reshape(shape)
    tokens = torch.from_numpy(integers("tokens", (STEPS, batch, m["n_ctx"])).astype(np.int64))
    tokens[:, :, 2:] = c["p"]
    return start, tokens, torch.from_numpy(integers("labels", (STEPS, batch)).astype(np.int64))


def summary(name, x):
    """A tensor too large to store: its L2 norm and 64 entries."""
    sample = x.reshape(-1)[stream("sample:" + name, 64) % np.uint64(x.size)]
    return {f"{name}/norm": np.array([np.linalg.norm(x)]), f"{name}/sample": sample}


# ---------------------------------------------------------------- files


def main(folder):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    assert fnv1a64("foobar") == 0x85944171F73967E8, "FNV-1a's published test vector"
    assert splitmix64(np.zeros(1, np.uint64))[0] == 0xE220A8397B1DCDAF, "SplitMix64's first output from seed 0"
    assert sum(map(math.prod, shapes(FULL["template97"]["model"]).values())) == 223_713
    print("| case | hooks | logits | losses | gradients | after 10 steps |\n|---|---|---|---|---|---|")

    for seed, (name, c) in enumerate(SMALL.items()):
        inputs = start, tokens, labels = drawn(c, torch.Generator().manual_seed(seed))
        if c["model"]["kind"] == "one_layer":
            check_against_torch_layers(c["model"], {n: x.double() for n, x in start.items()}, tokens[0])
        gold = run(c, *inputs, torch.float64)
        print_float32_error(name, gold, run(c, *inputs, torch.float32))
        gold |= {f"param/{n}": x.numpy() for n, x in start.items()}
        gold |= {"tokens": tokens.int().numpy(), "labels": labels.int().numpy()}
        save_file(gold, folder / f"{name}.safetensors", metadata={"case": json.dumps(c)})

    save_file(mixing(), folder / "mixing.safetensors")

    full = {}
    for name, c in FULL.items():
        inputs = computed(c)
        gold = run(c, *inputs, torch.float64)
        print_float32_error(name, gold, run(c, *inputs, torch.float32))
        full |= {f"{name}/{n}": gold[n] for n in ("loss", "losses")}
        for n, x in gold.items():
            if n == "logits" or n.startswith(("grad/", "after10/")):
                full |= {f"{name}/{key}": entry for key, entry in summary(n, x).items()}
    save_file(full, folder / "full.safetensors", metadata={"case": json.dumps(FULL)})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
