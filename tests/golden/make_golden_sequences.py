"""Golden values for the Rust encoder-decoder, from PyTorch in float64: forward, loss, gradients, ten AdamW steps,
greedy decoding.

    python make_golden_sequences.py [output folder]

README.md beside this file says what each golden file holds. Written for reading, and so that it shares no idea with the
Rust code: sequences are padded to the longest of the batch and masked, every position is computed, tokens are embedded one
by one. Letters in shapes: b batch, t (or query q, key k) position, d model, h head, e head dimension, v vocabulary.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from make_golden import ACT, ADAMW, KINK, PRELN_ADAMW, STEPS, fan_in, kind, learning_rate, print_float32_error

PAD, BOS, EOS, VOCAB = 8, 9, 10, 11
BATCH, SOURCE, TARGET = 12, 6, 7  # the longest source and target

MODEL = dict(
    encoder_layers=1, decoder_layers=1, d_model=32, n_heads=4, d_mlp=64, norm="pre", final_norm=True, act="relu",
    positions="sinusoidal", scale_embedding=False, tie="none", unembed_bias=True, init="xavier",
)
PAPER_ADAMW = PRELN_ADAMW | dict(eps=1e-9, weight_decay=0.01, no_decay=[], clip=0.5)
CASES = {
    "encdec_pre": (MODEL, PAPER_ADAMW, 0),
    "encdec_post": (
        MODEL | dict(encoder_layers=2, decoder_layers=2, norm="post", act="gelu", positions="learned",
                     scale_embedding=True, tie="all", init="pytorch"), ADAMW | dict(weight_decay=0.1, clip=None), 1),
    "encdec_uneven": (
        MODEL | dict(encoder_layers=1, decoder_layers=2, norm="post", act="gelu_tanh", final_norm=False,
                     unembed_bias=False), ADAMW | dict(clip=100.0), 2),
    "decoder_only": (
        MODEL | dict(encoder_layers=0, decoder_layers=2, act="gelu", scale_embedding=True),
        ADAMW | dict(clip=None), 3),
    "decoder_only_tied": (
        MODEL | dict(encoder_layers=0, act="gelu_tanh", norm="post", positions="learned", tie="all"),
        ADAMW | dict(clip=0.1), 4),
}


def shapes(m):
    """Parameter names and shapes, TransformerLens names and axis order."""
    d, f, h = m["d_model"], m["d_mlp"], m["n_heads"]
    attention = {f"W_{x}": (h, d, d // h) for x in "QKV"} | {f"b_{x}": (h, d // h) for x in "QKV"}
    attention |= {"W_O": (h, d // h, d), "b_O": (d,)}
    stacks = {"": (m["decoder_layers"], ["attn"], SOURCE + TARGET)}
    if m["encoder_layers"]:
        stacks = {"encoder.": (m["encoder_layers"], ["attn"], SOURCE),
                  "decoder.": (m["decoder_layers"], ["attn", "cross_attn"], TARGET)}
    s = {}
    for stack, (layers, attentions, positions) in stacks.items():
        s |= {"embed.W_E" if m["tie"] == "all" else f"{stack}embed.W_E": (VOCAB, d)}
        if m["positions"] == "learned":
            s |= {f"{stack}pos_embed.W_pos": (positions, d)}
        for l in range(layers):
            block = {f"{at}.{name}": shape for at in attentions for name, shape in attention.items()}
            block |= {"mlp.W_in": (d, f), "mlp.b_in": (f,), "mlp.W_out": (f, d), "mlp.b_out": (d,)}
            block |= {f"ln{n + 1}.{x}": (d,) for n in range(len(attentions) + 1) for x in "wb"}
            s |= {f"{stack}blocks.{l}.{name}": shape for name, shape in block.items()}
        if m["final_norm"]:
            s |= {f"{stack}ln_final.{x}": (d,) for x in "wb"}
    if m["tie"] == "none":
        s |= {"unembed.W_U": (d, VOCAB)}
    return s | ({"unembed.b_U": (VOCAB,)} if m["unembed_bias"] else {})


def sinusoids(positions, d):
    angle = torch.arange(positions).double()[:, None] / 10_000 ** (torch.arange(0, d, 2).double() / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # [t, d]: sine and cosine side by side


def padded(sequences):
    longest = max(map(len, sequences))
    return torch.tensor([s + [PAD] * (longest - len(s)) for s in sequences])


class Net:
    """The model, with parameters `w` by name. After a call, `hooks` holds every activation as (value, positions
    that count): [b, t, ...] and [b, t]."""

    def __init__(self, m, w):
        self.m, self.w, self.hooks = m, w, {}

    def keep(self, name, value, there):
        self.hooks[name] = (value, there)
        return value

    def norm(self, at, x):
        return F.layer_norm(x, (self.m["d_model"],), self.w[at + ".w"], self.w[at + ".b"], eps=1e-5)

    def embed(self, stack, tokens):
        m, w, (_, t) = self.m, self.w, tokens.shape
        x = F.embedding(tokens, w["embed.W_E" if m["tie"] == "all" else f"{stack}embed.W_E"])
        x = x * math.sqrt(m["d_model"]) if m["scale_embedding"] else x
        learned = m["positions"] == "learned"
        return x + (w[f"{stack}pos_embed.W_pos"][:t] if learned else sinusoids(t, m["d_model"]).to(x.dtype))

    def attention(self, at, x, there, memory, visible):
        """x [b, q, d] looks at memory [b, k, d] where visible [b, 1 or q, k]."""
        m, w = self.m, self.w

        def heads(letter, x):
            return torch.einsum("btd,hde->bthe", x, w[f"{at}.W_{letter}"]) + w[f"{at}.b_{letter}"]

        q, k, v = heads("Q", x), heads("K", memory), heads("V", memory)
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(m["d_model"] // m["n_heads"])
        pattern = F.softmax(scores.masked_fill(~visible[:, None], -math.inf), dim=-1)
        z = self.keep(f"{at}.hook_z", torch.einsum("bhqk,bkhe->bqhe", pattern, v), there)
        self.keep(f"{at}.hook_q", q, there)
        self.keep(f"{at}.hook_pattern", pattern.transpose(1, 2), there)
        return F.linear(z.flatten(2), w[f"{at}.W_O"].flatten(0, 1).T, w[f"{at}.b_O"])

    def mlp(self, at, x, there):
        pre = self.keep(f"{at}.hook_pre", F.linear(x, self.w[f"{at}.W_in"].T, self.w[f"{at}.b_in"]), there)
        post = self.keep(f"{at}.hook_post", ACT[self.m["act"]](pre), there)
        return F.linear(post, self.w[f"{at}.W_out"].T, self.w[f"{at}.b_out"])

    def stack(self, name, layers, x, there, visible, memory=None, memory_there=None):
        pre = self.m["norm"] == "pre"
        for l in range(layers):
            at = f"{name}blocks.{l}"
            sub = [("ln1", "hook_resid_mid", "hook_attn_out",
                    lambda y: self.attention(f"{at}.attn", y, there, y, visible))]
            if memory is not None:
                sub.append(("ln2", "hook_resid_mid_cross", "hook_cross_attn_out", lambda y: self.attention(
                    f"{at}.cross_attn", y, there, memory, memory_there[:, None])))
            ln = f"ln{len(sub) + 1}"
            sub.append((ln, "hook_resid_post", "hook_mlp_out", lambda y: self.mlp(f"{at}.mlp", y, there)))
            for ln, after, out, f in sub:
                x = x + self.keep(f"{at}.{out}", f(self.norm(f"{at}.{ln}", x) if pre else x), there)
                self.keep(f"{at}.{after}", x, there)
                if not pre:
                    x = self.keep(f"{at}.{ln}.hook_out", self.norm(f"{at}.{ln}", x), there)
        if self.m["final_norm"]:
            x = self.keep(f"{name}ln_final.hook_out", self.norm(f"{name}ln_final", x), there)
        return x

    def __call__(self, sources, inputs):
        """Logits [b, t, v] at every position of the decoder's inputs."""
        m = self.m
        causal = lambda t: torch.ones(1, t, t).tril().bool()
        if m["encoder_layers"]:
            source, target = padded(sources), padded(inputs)
            there = source != PAD
            memory = self.stack("encoder.", m["encoder_layers"], self.embed("encoder.", source), there,
                                there[:, None])
            self.keep("encoder.hook_out", memory, there)
            x = self.embed("decoder.", target)
            x = self.stack("decoder.", m["decoder_layers"], x, target != PAD, causal(x.shape[1]), memory, there)
        else:
            joint = padded([s + t for s, t in zip(sources, inputs)])
            x = self.stack("", m["decoder_layers"], self.embed("", joint), joint != PAD, causal(joint.shape[1]))
            starts = [len(s) for s in sources]
            longest = max(map(len, inputs))
            x = torch.stack([F.pad(row[start:], (0, 0, 0, longest))[:longest] for row, start in zip(x, starts)])
        w_u = self.w["embed.W_E"] if m["tie"] == "all" else self.w["unembed.W_U"].T
        return F.linear(x, w_u, self.w.get("unembed.b_U"))


def greedy(net, sources, longest):
    """The tokens that the model writes after BOS, one whole forward pass for each."""
    written = [[] for _ in sources]
    for _ in range(longest):
        inputs = [[BOS] + t for t in written]
        logits = net(sources, inputs)
        for i, t in enumerate(written):
            if EOS not in t:
                t.append(logits[i, len(t)].argmax().item())
    return written


def check_against_torch_transformer(m, w, sources, inputs):
    """The same logits from torch.nn.Transformer with the same weights, final norms included."""
    net = Net(m, w)
    model = torch.nn.Transformer(
        m["d_model"], m["n_heads"], m["encoder_layers"], m["decoder_layers"], m["d_mlp"], 0.0, ACT[m["act"]],
        layer_norm_eps=1e-5, batch_first=True, norm_first=m["norm"] == "pre", dtype=torch.float64,
    )
    state = {}
    for stack in ("encoder", "decoder"):
        names = {"attn": "self_attn", "cross_attn": "multihead_attn"}
        for l in range(m[f"{stack}_layers"]):
            part = lambda name: w[f"{stack}.blocks.{l}.{name}"]
            at = f"{stack}.layers.{l}"
            for ours, theirs in list(names.items())[: 1 + (stack == "decoder")]:
                weights = [part(f"{ours}.W_{c}").transpose(1, 2).flatten(0, 1) for c in "QKV"]
                state |= {
                    f"{at}.{theirs}.in_proj_weight": torch.cat(weights),
                    f"{at}.{theirs}.in_proj_bias": torch.cat([part(f"{ours}.b_{c}").flatten() for c in "QKV"]),
                    f"{at}.{theirs}.out_proj.weight": part(f"{ours}.W_O").flatten(0, 1).T,
                    f"{at}.{theirs}.out_proj.bias": part(f"{ours}.b_O"),
                }
            for n in range(1, 3 + (stack == "decoder")):
                state |= {f"{at}.norm{n}.weight": part(f"ln{n}.w"), f"{at}.norm{n}.bias": part(f"ln{n}.b")}
            state |= {f"{at}.linear1.weight": part("mlp.W_in").T, f"{at}.linear1.bias": part("mlp.b_in"),
                      f"{at}.linear2.weight": part("mlp.W_out").T, f"{at}.linear2.bias": part("mlp.b_out")}
        if m["final_norm"]:
            state |= {f"{stack}.norm.weight": w[f"{stack}.ln_final.w"], f"{stack}.norm.bias": w[f"{stack}.ln_final.b"]}
    if not m["final_norm"]:
        model.encoder.norm = model.decoder.norm = None
    model.load_state_dict(state)
    source, target = padded(sources), padded(inputs)
    t = target.shape[1]
    x = model(
        net.embed("encoder.", source), net.embed("decoder.", target),
        tgt_mask=torch.ones(t, t).triu(1).bool(), src_key_padding_mask=source == PAD,
        memory_key_padding_mask=source == PAD,
    )
    w_u = w["embed.W_E"] if m["tie"] == "all" else w["unembed.W_U"].T
    there = target != PAD
    torch.testing.assert_close(
        net(sources, inputs)[there], F.linear(x, w_u, w.get("unembed.b_U"))[there], rtol=1e-12, atol=1e-12
    )


def flat(value, there):
    """A hook at the positions that count: [rows, ...]; a pattern with zeros up to the longest sequence."""
    return value[there].detach()


def run(m, o, start, sources, targets, dtype):
    """Hooks, logits, loss and gradients on batch 0 at the start; then losses and parameters of ten steps."""
    w = {name: value.clone().to(dtype).requires_grad_() for name, value in start.items()}
    decay = {name: 0.0 if any(s in name for s in o["no_decay"]) else o["weight_decay"] for name in w}
    groups = [dict(params=[w[name]], weight_decay=decay[name]) for name in w]
    adamw = torch.optim.AdamW(groups, lr=o["lr"], betas=tuple(o["betas"]), eps=o["eps"])
    gold, losses, norms = {}, np.zeros(STEPS), np.zeros(STEPS)
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        inputs = [[BOS] + t[:-1] for t in targets[rows]]
        net = Net(m, w)
        logits, labels = net(sources[rows], inputs), padded(targets[rows])
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD)
        if m["act"] == "relu" and dtype == torch.float64:
            pre = [flat(*hook) for name, hook in net.hooks.items() if "hook_pre" in name]
            assert min(x.abs().min() for x in pre) > KINK, "a ReLU's input is too close to zero: change the seed"
        adamw.zero_grad()
        loss.backward()
        losses[step] = loss.item()
        if step == 0:
            for name, (value, there) in net.hooks.items():
                value = flat(value, there)
                if name.endswith("hook_pattern"):
                    most = SOURCE if "cross" in name or "encoder" in name else TARGET
                    most = most if m["encoder_layers"] else SOURCE + TARGET
                    value = F.pad(value, (0, most - value.shape[-1]))
                gold[f"hook/{name}"] = value
            gold |= {f"grad/{name}": value.grad for name, value in w.items()}
            gold |= {"logits": logits[labels != PAD], "loss": loss.reshape(1)}
            gold = {name: value.detach().double().numpy().copy() for name, value in gold.items()}
        for name in filter(lambda name: name.endswith("b_K"), w):
            w[name].grad = None  # its true gradient is zero: no update and no decay
        if o["clip"] is not None:
            norms[step] = torch.nn.utils.clip_grad_norm_([x for x in w.values() if x.grad is not None], o["clip"])
        for group in adamw.param_groups:
            group["lr"] = learning_rate(o, step)
        adamw.step()
    if o["clip"] is not None:
        gold["norms"] = norms  # before clipping
    after = {f"after10/{name}": value.detach().double().numpy() for name, value in w.items()}
    return gold | {"losses": losses} | after


def packed(name, sequences):
    starts = np.cumsum([0] + [len(s) for s in sequences]).astype(np.int32)
    return {name: np.array(sum(sequences, []), dtype=np.int32), f"{name}_starts": starts}


def main(folder):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print("| case | hooks | logits | losses | gradients | after 10 steps |\n|---|---|---|---|---|---|")
    for name, (m, o, seed) in CASES.items():
        generator = torch.Generator().manual_seed(seed)
        start = {name: torch.randn(shape, generator=generator) for name, shape in shapes(m).items()}
        for at, x in start.items():
            embedding = m["d_model"] ** -0.5 if m["scale_embedding"] else 1.0
            x *= {"embedding": embedding, "ln": 0.1, "bias": 0.05}.get(kind(at)) or fan_in(at, x.shape) ** -0.5
            x += kind(at) == "ln"
        draw = lambda low, high: torch.randint(low, high, (), generator=generator).item()
        digits = lambda longest: [draw(0, PAD) for _ in range(draw(0, longest))]
        sources = [digits(SOURCE) + [EOS] for _ in range(STEPS * BATCH)]
        targets = [digits(TARGET) + [EOS] for _ in range(STEPS * BATCH)]
        # every length, the shortest and the longest in the first batch too
        sources[:2], targets[:2] = [[EOS], [draw(0, PAD) for _ in range(SOURCE)]], [
            [draw(0, PAD) for _ in range(TARGET - 1)] + [EOS], [EOS]]
        wide = {name: x.double() for name, x in start.items()}
        if m["encoder_layers"]:
            check_against_torch_transformer(m, wide, sources[:BATCH], [[BOS] + t[:-1] for t in targets[:BATCH]])
        gold = run(m, o, start, sources, targets, torch.float64)
        print_float32_error(name, gold, run(m, o, start, sources, targets, torch.float32))
        gold |= {f"param/{at}": x.numpy() for at, x in start.items()}
        gold |= packed("source", sources) | packed("target", targets)
        with torch.no_grad():
            gold |= packed("greedy", greedy(Net(m, wide), sources[:BATCH], TARGET))
        case = dict(shape=dict(d_vocab=VOCAB, source=SOURCE, target=TARGET), bos=BOS, eos=EOS, steps=STEPS, model=m,
                    optim=o | dict(batch=BATCH))
        save_file(gold, folder / f"{name}.safetensors", metadata={"case": json.dumps(case)})
        if o["clip"] is not None:
            print(f"  clip {o['clip']}: norms {np.round(gold['norms'], 2)}", file=sys.stderr)
    paper = torch.nn.Transformer(256, 8, 6, 6, 1024)
    count = sum(p.numel() for p in paper.parameters()) + 3 * VOCAB * 256 + VOCAB
    assert count == 11_068_683, count


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
