"""Computes a dumped training step again, in float64, from the model's definition.

    plateau audit default --dump step.safetensors
    python3 tests/audit/recompute.py step.safetensors [--tolerance 2e-5]

The file is read by hand and the mathematics is numpy's, so nothing here is shared with plateau. From
the config in the file, the parameters and the drawn rows follow: tokens and labels, every activation at
every position of every example, the loss, its gradient with respect to all of these by hand, and
AdamW's update. plateau computes less than that (embeddings, keys and values once for each different
row; what comes after the last attention at the last position only), so what it has is picked out of
the whole. Its list of ops serves one purpose: to know which unnamed tensor is which. Steps on sequences
are in sequences.py.

Each tensor of the file is compared: error = ||file - ours|| / ||ours||. The gradient of b_K is zero but
for rounding, because a softmax does not see a shift of all its scores, so its error is relative to the
sum of its terms' sizes. AdamW divides gradients by their own size and would magnify rounding, so its
update is computed from the gradient in the file, which has been compared itself. Where ReLU's input is
rounding away from its kink, the side is the file's. Chance is the file's, too: the drawn rows, and what
an intervention draws (partners, noise, shuffled answers).

Exit code 1 if a tensor is off, or is in the file and was not computed.
"""

import argparse
import itertools
import json
import math
import sys

import numpy as np


def read(path):
    """(tensors by name, metadata): 8 bytes of length, a JSON header, then the values."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    about = json.loads(header.pop("__metadata__")["plateau"])
    types = {"F32": np.dtype("<f4"), "U32": np.dtype("<u4")}

    def tensor(entry):
        begin, end = entry["data_offsets"]
        return np.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}, about


# The task


def table(task):
    """Every pair with its answer, a slowest: (pairs, 2), (pairs)."""
    if task["kind"] == "permutation":
        all_ = list(itertools.permutations(range(task["n"])))
        number = {perm: i for i, perm in enumerate(all_)}
        pairs = [(i, j) for i in range(len(all_)) for j in range(len(all_))]
        answers = [number[tuple(all_[i][k] for k in all_[j])] for i, j in pairs]
        return np.array(pairs), np.array(answers)
    p, op = task["p"], task["op"]
    pairs = [(a, b) for a in range(p) for b in range(p) if op != "div" or b != 0]
    answer = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a * pow(b, -1, p),
        "square_sum": lambda a, b: a * a + b * b,
    }[op]
    return np.array(pairs), np.array([answer(a, b) % p for a, b in pairs])


# Layers, forward and backward


def act(name, x):
    if name == "relu":
        return np.maximum(x, 0.0)
    if name == "gelu":
        return x * phi(x)
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def phi(x):
    erf = np.frompyfunc(math.erf, 1, 1)
    return 0.5 * (1 + erf(x / math.sqrt(2)).astype(float))


def slope(name, x, side):
    if name == "relu":
        return (np.where(np.abs(x) < 1e-5 * np.sqrt((x * x).mean()), side, x) > 0).astype(float)
    if name == "gelu":
        return phi(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)


def stats(x):
    """(mean, 1/deviation) of each row."""
    mean = x.mean(-1)
    return mean, 1 / np.sqrt(x.var(-1) + 1e-5)


def layer_norm(x, w, b):
    mean, r = stats(x)
    return (x - mean[..., None]) * r[..., None] * w + b


def layer_norm_backward(x, w, dy):
    """dx, dw, db"""
    mean, r = stats(x)
    hat = (x - mean[..., None]) * r[..., None]
    g = dy * w
    dx = r[..., None] * (g - g.mean(-1, keepdims=True) - hat * (g * hat).mean(-1, keepdims=True))
    rows = tuple(range(x.ndim - 1))
    return dx, (dy * hat).sum(rows), dy.sum(rows)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Step:
    """The file, and what we say should be in it."""

    def __init__(self, tensors, about):
        self.file, self.about = tensors, about
        self.config = about["config"]
        self.ours = {}  # name: (values, what the error is relative to)
        self.grads = {}  # by parameter
        self.p = {name: tensors[name].astype(float) for name in about["parameters"]}

        self.wrong = []  # what no one tensor shows
        self.drawn, self.mixing = set(), None  # by an intervention
        if self.config["model"]["kind"] == "encoder_decoder":
            return
        pairs, answers = table(self.config["task"])
        rows = tensors["rows"]
        self.symbols = int(pairs.max()) + 1
        self.tokens = pairs[rows]
        if self.config["model"]["tokens"] == "ab=":
            equals = np.full((len(rows), 1), self.symbols)
            self.tokens = np.concatenate([self.tokens, equals], 1)
        self.labels = answers[rows]
        self.b, self.t = self.tokens.shape
        self.put("tokens", self.tokens)
        intervene = self.config.get("intervene") or {}
        if "labels" in intervene:  # the answers of all pairs are shuffled: chance
            self.labels = tensors["labels"].astype(int)
            self.drawn.add("labels")
        else:
            self.put("labels", self.labels)
        self.mixing = intervene.get("mixing")
        if self.mixing and not self.mixing["from"] <= about["step"] < self.mixing["until"]:
            self.mixing = None

    def param(self, name):
        """A parameter, or 0 where the model has none of that name."""
        return self.p.get(name, 0.0)

    def grad(self, name, value, scale=None):
        if name in self.p:
            total = self.grads.get(name, 0.0) + value
            self.grads[name] = total
            self.put("grad/" + name, total, scale)

    def put(self, name, values, scale=None):
        values = np.asarray(values, float)
        self.ours[name] = (values, np.linalg.norm(values) if scale is None else scale)

    def activation(self, name, value, grad=None):
        """An activation at every position, (b, t, ...): what the file has of it."""
        if name not in self.file:
            return
        rows, cols = self.file[name].shape
        for name, x in ((name, value), ("grad/" + name, grad)):
            if x is not None:
                x = x.reshape(self.b, self.t, cols)
                self.put(name, (x if rows == self.b * self.t else x[:, -1]).reshape(rows, cols))

    def edit(self, name, value):
        """What goes on from an activation: itself, or mixed where the config says so. (b, ..., d)"""
        if not self.mixing or self.mixing["site"] != name:
            return value
        x = value.reshape(self.b, -1, value.shape[-1])[:, -1]
        sham, alpha = self.mixing["sham"], self.mixing["alpha"]
        index = "index/intervene.hook_" + ("distance" if sham else "out")
        self.pi = self.file[index].astype(int)
        assert sorted(self.pi) == list(range(self.b)) and not (self.pi == np.arange(self.b)).any()
        self.drawn.add(index)
        if sham:
            noise = self.file["intervene.noise"].astype(float)
            assert np.allclose(np.linalg.norm(noise, axis=1), 1, atol=1e-6)
            self.drawn.add("intervene.noise")
            distance = alpha * np.linalg.norm(x[self.pi] - x, axis=1, keepdims=True)
            self.put("intervene.hook_distance", distance)
            y = x + distance * noise
        else:
            y = (1 - alpha) * x + alpha * x[self.pi]
        self.put("intervene.hook_out", y)
        out = value.reshape(self.b, -1, value.shape[-1]).copy()
        out[:, -1] = y
        return out.reshape(value.shape)

    def edit_back(self, name, dy):
        """The gradient of that activation, from that of what goes on. The noise is a constant."""
        if not self.mixing or self.mixing["site"] != name:
            return dy
        d = dy.reshape(self.b, -1, dy.shape[-1])[:, -1]
        self.put("grad/intervene.hook_out", d)
        if self.mixing["sham"]:
            return dy
        alpha = self.mixing["alpha"]
        dx = (1 - alpha) * d
        np.add.at(dx, self.pi, alpha * d)
        out = dy.reshape(self.b, -1, dy.shape[-1]).copy()
        out[:, -1] = dx
        return out.reshape(dy.shape)

    def side(self, name, shape):
        """An activation of the file at every position, where it has it."""
        x = np.zeros(shape)
        if self.file[name].shape[0] == self.b:
            x[:, -1] = self.file[name]
        else:
            x[...] = self.file[name].reshape(shape)
        return x

    def loss(self, logits):
        """Mean cross-entropy; returns its gradient."""
        rows = np.arange(self.b)
        top = logits.max(-1)
        others = np.exp(logits - top[:, None])
        at_label = others[rows, self.labels].copy()
        others[rows, self.labels] = 0.0
        total = others.sum(-1) + at_label
        resid = others / total[:, None]
        resid[rows, self.labels] = -others.sum(-1) / total
        at_top = logits[rows, self.labels] == top
        loss = np.where(at_top, np.log1p(others.sum(-1)), np.log(total)) + top - logits[rows, self.labels]
        hit = logits.argmax(-1) == self.labels
        self.put("loss", [[loss.mean()]])
        self.put("grad/loss", [[1.0]])
        (op,) = [op for op in self.about["ops"] if op["op"] == "cross_entropy"]
        self.put(op["outputs"][1], resid)
        self.put(op["outputs"][2], np.stack([loss, hit], 1))
        self.put(op["index"], self.labels)
        self.put("logits", logits)
        self.put("grad/logits", resid / self.b)
        return resid / self.b

    def adamw(self):
        """The update, from the gradients in the file."""
        o, step = self.config["optim"], self.about["step"]
        lr, t = o["lr"], step + 1
        if step < o["warmup"]:
            lr *= step / o["warmup"]
        elif o["schedule"] == "cosine":
            done = (step - o["warmup"]) / max(self.config["steps"] - o["warmup"], 1)
            lr *= 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        b1, b2 = o["betas"]
        learns = [name for name in self.p if "grad/" + name in self.file]
        size = math.sqrt(sum((self.file["grad/" + name].astype(float) ** 2).sum() for name in learns))
        clip = min(1.0, o["clip"] / (size + 1e-6)) if o.get("clip") else 1.0
        updated = {}
        for name, p in self.p.items():
            if name not in learns:  # frozen, as the file's gradients say, which are compared
                updated[name] = p
                for kind in ("adam_m/", "adam_v/"):
                    self.put("after/" + kind + name, self.file[kind + name])
                continue
            g, m, v = (self.file[kind + name].astype(float) for kind in ("grad/", "adam_m/", "adam_v/"))
            g = g * clip
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            m = np.where(np.abs(m) < 1e-30, 0.0, m)
            v = np.where(v < 1e-36, 0.0, v)
            decay = 0.0 if any(part in name for part in o["no_decay"]) else o["weight_decay"]
            unbiased = (m / (1 - b1**t), v / (1 - b2**t))
            after = p * (1 - lr * decay) - lr * unbiased[0] / (np.sqrt(unbiased[1]) + o["eps"])
            updated[name] = after
            self.put("after/adam_m/" + name, m)
            self.put("after/adam_v/" + name, v)
        # Held to a baseline's norm, which nobody can compute from this step: it is an input.
        target, norm = self.about["norm"], math.sqrt(sum((p * p).sum() for p in updated.values()))
        for name, p in updated.items():
            self.put("after/" + name, p if target is None else p * (target / norm))
        return lr

    def inputs(self):
        """What the step starts from, and nobody can compute from it."""
        return {"rows"} | self.drawn | {kind + name for kind in ("", "adam_m/", "adam_v/") for name in self.p}


# The transformer


def one_layer(s):
    c, p = s.config["model"], s.param
    h, e = c["n_heads"], c["d_model"] // c["n_heads"]
    b, t, norm = s.b, s.t, c["norm"]
    mask = np.tril(np.ones((t, t), bool)) if c["causal"] else np.ones((t, t), bool)
    project = lambda x, name, l: (
        np.einsum("...d,hde->...he", x, p(f"blocks.{l}.attn.W_{name}")) + p(f"blocks.{l}.attn.b_{name}")
    )
    embed = lambda tokens, positions: p("embed.W_E")[tokens] + p("pos_embed.W_pos")[positions]
    normed = lambda x, l, which: (
        layer_norm(x, p(f"blocks.{l}.{which}.w"), p(f"blocks.{l}.{which}.b"))
    )

    x = embed(s.tokens, np.arange(t))
    blocks = []
    for l in range(c["n_layers"]):
        k = {"x": x, "n": normed(x, l, "ln1") if norm == "pre" else x}
        for name in "QKV":
            k[name] = project(k["n"], name, l)  # (b, t, h, e)
        scores = np.einsum("bqhe,bkhe->bhqk", k["Q"], k["K"]) / math.sqrt(e)
        k["pattern"] = softmax(np.where(mask, scores, -np.inf))
        k["z"] = np.einsum("bhqk,bkhe->bqhe", k["pattern"], k["V"])
        k["attn_out"] = np.einsum("bthe,hed->btd", k["z"], p(f"blocks.{l}.attn.W_O")) + p(f"blocks.{l}.attn.b_O")
        edit = lambda part, value: s.edit(f"blocks.{l}.{part}", value)  # what goes on has a 2 behind it
        k["mid"] = x + k["attn_out"]
        k["mid2"] = edit("hook_resid_mid", k["mid"])
        k["y"] = normed(k["mid2"], l, "ln1") if norm == "post" else k["mid2"]
        k["y2"] = edit("ln1.hook_out", k["y"]) if norm == "post" else k["y"]
        k["mlp_in"] = normed(k["y2"], l, "ln2") if norm == "pre" else k["y2"]
        k["pre"] = k["mlp_in"] @ p(f"blocks.{l}.mlp.W_in") + p(f"blocks.{l}.mlp.b_in")
        k["post"] = act(c["act"], k["pre"])
        k["post2"] = edit("mlp.hook_post", k["post"])
        k["mlp_out"] = k["post2"] @ p(f"blocks.{l}.mlp.W_out") + p(f"blocks.{l}.mlp.b_out")
        k["r"] = k["y2"] + edit("hook_mlp_out", k["mlp_out"])
        k["r2"] = edit("hook_resid_post", k["r"])
        k["out"] = normed(k["r2"], l, "ln2") if norm == "post" else k["r2"]
        x = edit("ln2.hook_out", k["out"]) if norm == "post" else k["out"]
        blocks.append(k)
    final = layer_norm(x, p("ln_final.w"), p("ln_final.b")) if c["final_norm"] else x
    read = s.edit("ln_final.hook_out", final) if c["final_norm"] else final

    dlogits = s.loss(read[:, -1] @ p("unembed.W_U") + p("unembed.b_U"))
    s.grad("unembed.W_U", read[:, -1].T @ dlogits)
    s.grad("unembed.b_U", dlogits.sum(0))
    dx = np.zeros_like(final)
    dx[:, -1] = dlogits @ p("unembed.W_U").T
    if c["final_norm"]:
        dx = s.edit_back("ln_final.hook_out", dx)
        s.activation("ln_final.hook_out", final, dx)
        dx, dw, db = layer_norm_backward(x, p("ln_final.w"), dx)
        s.grad("ln_final.w", dw)
        s.grad("ln_final.b", db)

    def norm_back(l, which, x, dy):
        name = f"blocks.{l}.{which}"
        dx, dw, db = layer_norm_backward(x, p(name + ".w"), dy)
        s.grad(name + ".w", dw)
        s.grad(name + ".b", db)
        return dx

    outer = lambda x, dy: np.einsum("bti,btj->ij", x, dy)
    for l in reversed(range(c["n_layers"])):
        k, name = blocks[l], lambda part: f"blocks.{l}.{part}"
        if norm == "post":
            dx = s.edit_back(name("ln2.hook_out"), dx)
            s.activation(name("ln2.hook_out"), k["out"], dx)
            dx = norm_back(l, "ln2", k["r2"], dx)
        dr = s.edit_back(name("hook_resid_post"), dx)
        s.activation(name("hook_resid_post"), k["r"], dr)
        dmlp = s.edit_back(name("hook_mlp_out"), dr)
        s.activation(name("hook_mlp_out"), k["mlp_out"], dmlp)
        dpost = dmlp @ p(name("mlp.W_out")).T
        s.grad(name("mlp.W_out"), outer(k["post2"], dmlp))
        s.grad(name("mlp.b_out"), dmlp.sum((0, 1)))
        dpost = s.edit_back(name("mlp.hook_post"), dpost)
        dpre = dpost * slope(c["act"], k["pre"], s.side(name("mlp.hook_pre"), k["pre"].shape))
        s.activation(name("mlp.hook_post"), k["post"], dpost)
        s.activation(name("mlp.hook_pre"), k["pre"], dpre)
        s.grad(name("mlp.W_in"), outer(k["mlp_in"], dpre))
        s.grad(name("mlp.b_in"), dpre.sum((0, 1)))
        k["d_mlp_in"] = dpre @ p(name("mlp.W_in")).T
        dy = dr + (norm_back(l, "ln2", k["y2"], k["d_mlp_in"]) if norm == "pre" else k["d_mlp_in"])
        if norm == "post":
            dy = s.edit_back(name("ln1.hook_out"), dy)
            s.activation(name("ln1.hook_out"), k["y"], dy)
            dy = norm_back(l, "ln1", k["mid2"], dy)
        dmid = s.edit_back(name("hook_resid_mid"), dy)
        s.activation(name("hook_resid_mid"), k["mid"], dmid)
        s.activation(name("hook_attn_out"), k["attn_out"], dmid)
        dz = np.einsum("btd,hed->bthe", dmid, p(name("attn.W_O")))
        s.grad(name("attn.W_O"), np.einsum("bthe,btd->hed", k["z"], dmid))
        s.grad(name("attn.b_O"), dmid.sum((0, 1)))
        s.activation(name("attn.hook_z"), k["z"], dz)
        dpattern = np.einsum("bqhe,bkhe->bhqk", dz, k["V"])
        ds = k["pattern"] * (dpattern - (k["pattern"] * dpattern).sum(-1, keepdims=True)) / math.sqrt(e)
        d = {
            "Q": np.einsum("bhqk,bkhe->bqhe", ds, k["K"]),
            "K": np.einsum("bhqk,bqhe->bkhe", ds, k["Q"]),
            "V": np.einsum("bhqk,bqhe->bkhe", k["pattern"], dz),
        }
        pattern = k["pattern"]
        if s.file[name("attn.hook_pattern")].shape[0] == b * h:
            pattern = pattern[:, :, -1]
        s.put(name("attn.hook_pattern"), pattern.reshape(-1, t))
        dn = {}
        for which in "QKV":
            s.grad(name(f"attn.W_{which}"), np.einsum("btd,bthe->hde", k["n"], d[which]))
            size = np.linalg.norm(np.abs(d[which]).sum((0, 1))) if which == "K" else None
            s.grad(name(f"attn.b_{which}"), d[which].sum((0, 1)), size)
            s.activation(name(f"attn.hook_{which.lower()}"), k[which], d[which])
            dn[which] = np.einsum("bthe,hde->btd", d[which], p(name(f"attn.W_{which}")))
        through_norm = sum(dn.values())
        dx = dmid + (norm_back(l, "ln1", k["x"], through_norm) if norm == "pre" else through_norm)
        k.update(dn=dn, dn_all=through_norm, d=d, dx=dx)
        # The residual stream as it is read here: of the first block a copy of the table's rows, whose
        # queries are the table's own; later, a copy of the last rows, or the stream itself.
        last_only = s.file[name("hook_resid_pre")].shape[0] == b
        if l == 0:
            dread = dmid
        elif last_only:
            dread = dmid + (dn["Q"] if norm != "pre" else 0.0)
        else:
            dread = dx
        s.activation(name("hook_resid_pre"), k["x"], dread)
        k["dread"] = dmid + (dn["Q"] if norm != "pre" else 0.0)

    dw_e, dw_pos = np.zeros_like(p("embed.W_E")), dx.sum(0)
    np.add.at(dw_e, s.tokens, dx)
    s.grad("embed.W_E", dw_e)
    s.grad("pos_embed.W_pos", dw_pos)
    unnamed_of_one_layer(s, blocks, x, embed, normed, project)


def unnamed_of_one_layer(s, blocks, x_final, embed, normed, project):
    """The first block's table of different (token, position) rows; what LayerNorm keeps; copies."""
    c, t, symbols = s.config["model"], s.t, s.symbols
    rows = [(a, i) for i in range(2) for a in range(symbols)] + [(symbols, 2)] * (t == 3)
    place = {row: i for i, row in enumerate(rows)}
    tokens, positions = np.array(rows).T
    last = np.array([i for i, row in enumerate(rows) if row[1] == t - 1])
    where = np.vectorize(lambda a, i: place[(a, i)])(s.tokens, np.arange(t)[None])  # (b, t)

    first = blocks[0]
    x = embed(tokens, positions)
    n = normed(x, 0, "ln1") if c["norm"] == "pre" else x

    def tabled(name, value, grad, among=slice(None)):
        """A value of the table's rows; its gradient is the sum over where they are used."""
        cols = value.shape[0], -1
        s.put(name, value.reshape(cols)[among])
        total = np.zeros_like(value.reshape(cols))
        np.add.at(total, where, grad.reshape(s.b, t, -1))
        s.put("grad/" + name, total[among])

    role = {}
    for op in s.about["ops"]:
        (y, *kept), ins = op["outputs"], op["inputs"]
        block = next((int(i.split(".")[1]) for i in ins[1:] if i.startswith("blocks.")), 0)
        known = [role.get(i, i) for i in ins]
        unnamed = y.startswith("op")
        if op["op"] == "gather":
            if ins[0] == "embed.W_E":
                role[y], index = "token", tokens
                tabled(y, s.p[ins[0]][tokens], first["dx"])
            elif ins[0] == "pos_embed.W_pos":
                role[y], index = "position", positions
                tabled(y, s.p[ins[0]][positions], first["dx"])
            elif unnamed and known[0] in ("x", "n") and op["index"] and s.file[y].shape[0] == len(last):
                index = last
                if known[0] == "x":
                    role[y] = "x of last"
                    tabled(y, x, first["dread"], last)
                else:
                    role[y] = "n of last"
                    tabled(y, n, first["dn"]["Q"], last)
            elif known[0] in ("x of last", "q of last"):
                index = where[:, -1] - last[0]
            elif known[0] in ("x", "k", "v", "q"):
                index = where.reshape(-1)
            else:  # the last rows of a later block
                index = np.arange(s.b) * t + t - 1
                if unnamed:
                    deep = int(known[0].removeprefix("n"))
                    s.activation(y, blocks[deep]["n"], blocks[deep]["dn"]["Q"])
            s.put(op["index"], index)
        elif op["op"] == "add" and known == ["token", "position"]:
            role[y] = "x"
            tabled(y, x, first["dx"])
        elif op["op"] == "linear" and unnamed:
            which = ins[1].rsplit("_", 1)[1]
            if block == 0:
                only_last = known[0].endswith("of last")
                role[y] = which.lower() + (" of last" if only_last else "")
                tabled(y, project(n, which, 0), first["d"][which], last if only_last else slice(None))
            else:
                s.activation(y, blocks[block][which], blocks[block]["d"][which])
        elif op["op"] == "layer_norm":
            k = blocks[block]
            if ins[1] == "ln_final.w":
                source = x_final
            elif ins[1].endswith("ln1.w"):
                source = k["x"] if c["norm"] == "pre" else k["mid2"]
            else:
                source = k["y2"] if c["norm"] == "pre" else k["r2"]
            if unnamed and ins[1] == "blocks.0.ln1.w":
                role[y] = "n"
                tabled(y, n, first["dn_all"])
                s.put(kept[0], np.stack(stats(x), 1))
                continue
            if unnamed and ins[1].endswith("ln1.w"):
                role[y] = f"n{block}"
                s.activation(y, k["n"], k["dn_all"])
            elif unnamed:
                s.activation(y, k["mlp_in"], k["d_mlp_in"])
            s.activation(kept[0], np.stack(stats(source), -1))


# The multi-layer perceptron


def mlp(s):
    c, p = s.config["model"], s.param
    t, w_e = s.t, p("embed.W_E")
    pre = sum(w_e[s.tokens[:, i]] @ p(f"layers.0.W_{i}") for i in range(t)) + p("layers.0.b")
    pres, posts, read = [pre], [act(c["act"], pre)], []
    read.append(s.edit("layers.0.hook_post", posts[0]))
    for l in range(1, c["n_layers"]):
        pres.append(read[-1] @ p(f"layers.{l}.W") + p(f"layers.{l}.b"))
        posts.append(act(c["act"], pres[-1]))
        read.append(s.edit(f"layers.{l}.hook_post", posts[-1]))
    dlogits = s.loss(read[-1] @ p("unembed.W_U") + p("unembed.b_U"))
    s.grad("unembed.W_U", read[-1].T @ dlogits)
    s.grad("unembed.b_U", dlogits.sum(0))
    dpost = dlogits @ p("unembed.W_U").T
    for l in reversed(range(c["n_layers"])):
        name = f"layers.{l}.hook_pre"
        dpost = s.edit_back(f"layers.{l}.hook_post", dpost)
        dpre = dpost * slope(c["act"], pres[l], s.file[name].astype(float))
        for name, value, grad in ((name, pres[l], dpre), (f"layers.{l}.hook_post", posts[l], dpost)):
            s.put(name, value)
            s.put("grad/" + name, grad)
        s.grad(f"layers.{l}.b", dpre.sum(0))
        if l > 0:
            s.grad(f"layers.{l}.W", read[l - 1].T @ dpre)
            dpost = dpre @ p(f"layers.{l}.W").T

    # The first layer: a table of each position's tokens, then a sum of its rows.
    here = [np.arange(s.symbols)] * 2 + [np.array([s.symbols])] * (t == 3)
    at = [s.tokens[:, i] - (s.symbols if i == 2 else 0) for i in range(t)]
    dw_e = np.zeros_like(w_e)
    role, terms = {}, 0.0
    for op in s.about["ops"]:
        (y, *_), ins = op["outputs"], op["inputs"]
        if op["op"] == "gather" and ins == ["embed.W_E"]:
            i = sum(kind == "embedded" for kind, _ in role.values())
            role[y] = ("embedded", i)
            s.put(op["index"], here[i])
            s.put(y, w_e[here[i]])
        elif op["op"] == "linear" and role.get(ins[0], " ")[0] == "embedded":
            i = role[ins[0]][1]
            assert ins[1] == f"layers.0.W_{i}"
            role[y] = ("product", i)
            w, x = p(ins[1]), w_e[here[i]]
            s.put(y, x @ w + (p("layers.0.b") if i == 0 else 0.0))
            dy = np.zeros((len(x), w.shape[1]))
            np.add.at(dy, at[i], dpre)
            s.put("grad/" + y, dy)
            s.put("grad/" + ins[0], dy @ w.T)
            s.grad(ins[1], x.T @ dy)
            np.add.at(dw_e, here[i], dy @ w.T)
        elif op["op"] == "gather":
            i = role[ins[0]][1]
            role[y] = ("term", i)
            s.put(op["index"], at[i])
            term = s.ours[ins[0]][0][at[i]]
            terms = terms + term
            s.put(y, term)
            s.put("grad/" + y, dpre)
        elif op["op"] == "add" and y.startswith("op"):
            s.put(y, terms)
            s.put("grad/" + y, dpre)
    s.grad("embed.W_E", dw_e)


def encoder_decoder(s):
    import sequences  # beside this file; it takes the layers from here

    sequences.encoder_decoder(s)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--tolerance", type=float, default=2e-5)
    args = parser.parse_args()
    try:
        tensors, about = read(args.file)
    except (OSError, ValueError, KeyError, MemoryError, OverflowError) as e:
        sys.exit(f"{args.file}: no whole dump of `plateau audit --dump` ({type(e).__name__}: {e})")
    s = Step(tensors, about)
    models = {"one_layer": one_layer, "mlp": mlp, "encoder_decoder": encoder_decoder}
    models[s.config["model"]["kind"]](s)
    lr = s.adamw()

    wrong = s.wrong
    if not math.isclose(lr, about["optimiser"]["lr"], rel_tol=1e-12):
        wrong.append(f"the learning rate is {about['optimiser']['lr']}, ours {lr}")
    for name in sorted(tensors):
        file = tensors[name].astype(float)
        shape = "x".join(map(str, file.shape))
        if name in s.inputs():
            print(f"{name:<44} {shape:>12}            input")
            continue
        if name not in s.ours:
            print(f"{name:<44} {shape:>12}            not computed")
            wrong.append(f"{name} was not computed")
            continue
        ours, scale = s.ours[name]
        if ours.shape != file.shape:
            error = math.inf
        else:
            off = np.linalg.norm(file - ours)
            error = 0.0 if off == 0.0 else off / scale if scale > 0 else math.inf
        ok = error <= args.tolerance
        print(f"{name:<44} {shape:>12} {error:9.1e}  {'ok' if ok else 'OFF'}")
        if not ok:
            wrong.append(f"{name} is off by {error:.1e}")
    for name in sorted(set(s.ours) - set(tensors)):
        wrong.append(f"{name} is not in the file")
    print(f"{len(tensors)} tensors, {len(wrong)} wrong, tolerance {args.tolerance:.0e}")
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
