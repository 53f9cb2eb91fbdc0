"""A step on sequences again, for recompute.py: an encoder-decoder, or a decoder alone.

Four things, each from the ones before and none from plateau:
1. the batch: source and target tokens of the drawn rows, from the task's definition;
2. the model as a textbook has it, example by example side by side, padded and masked: every named
   activation and the logits;
3. the file's list of ops replayed from parameters and tokens: plateau computes embeddings and, in the
   first block, keys and values once for each different row, and packs the rest. All that the file has is
   compared with the replay's values and gradients, and the replay's named values with the textbook's;
4. the replay's gradients against the textbook's loss, by a central difference along a random direction.

So a list of ops that is not the model's is found, as is a tensor that is not the list's.
"""

import math

import numpy as np

from recompute import act, layer_norm, layer_norm_backward, slope, softmax, stats


# The task


def digits(n, base, order):
    out = []
    while n or not out:
        out.append(n % base)
        n //= base
    return out if order == "least_significant" else out[::-1]


def collatz(n, op, iterations):
    odd = {
        "3n+1": lambda n: 3 * n + 1,
        "5n+1": lambda n: 5 * n + 1,
        "7n+1": lambda n: 7 * n + 1,
        "3n-1": lambda n: 3 * n - 1,
        "1-n": lambda n: n - 1,
    }[op]
    for _ in range(iterations):
        n = odd(n) if n % 2 else n // 2
    return n


def example(task, row):
    """Source tokens, and the target's with EOS behind."""
    base, order = task["base"], task["order"]
    source_base = task.get("source_base") or base
    symbols = max(base, source_base)  # then PAD, BOS, EOS
    if task["kind"] == "gcd":
        a, b = row // task["max"] + 1, row % task["max"] + 1
        source = digits(a, base, order) + [symbols + 1] + digits(b, base, order)
        answer = math.gcd(a, b)
    else:
        source = digits(row + 1, source_base, order)
        answer = collatz(row + 1, task["op"], task["iterations"])
    return source, digits(answer, base, order) + [symbols + 2]


class Batch:
    def __init__(self, s):
        task = s.config["task"]
        both = [example(task, int(row)) for row in s.file["rows"]]
        self.vocabulary = max(task["base"], task.get("source_base") or 0) + 3
        self.source = [source for source, _ in both]
        self.answer = [answer for _, answer in both]
        self.read = [[self.vocabulary - 2] + answer[:-1] for answer in self.answer]
        self.joint = [a + b for a, b in zip(self.source, self.read)]
        self.s, self.t = ([len(x) for x in xs] for xs in (self.source, self.read))
        self.labels = np.concatenate(self.answer)
        s.put("source", np.concatenate(self.source))
        s.put("target", np.concatenate(self.read))
        s.put("labels", self.labels)
        s.put("source.lengths", self.s)
        s.put("target.lengths", self.t)

    def lists(self, alone):
        """The index lists that an op on packed rows can have."""
        every = lambda xs: [i * self.vocabulary + token for x in xs for i, token in enumerate(x)]

        def seen(pairs, causal):
            out, first = [], 0
            for queries, keys in pairs:
                for j in range(queries):
                    out.append((first, j + 1 + keys - queries if causal else keys))
                first += keys
            return np.array(out).reshape(-1)

        if not alone:
            return [np.array(every(self.source)), np.array(every(self.read))], [
                seen(zip(self.s, self.s), False),
                seen(zip(self.t, self.t), True),
                seen(zip(self.t, self.s), False),
            ]
        n = [a + b for a, b in zip(self.s, self.t)]
        ends = np.cumsum(n)
        read = np.concatenate([np.arange(end - t, end) for end, t in zip(ends, self.t)])
        joint = np.array(every(self.joint))
        return [joint, read, joint[read]], [seen(zip(n, n), True), seen(zip(self.t, n), True)]


def pad(sequences):
    """Tokens (b, longest), and which are there."""
    tokens = np.zeros((len(sequences), max(map(len, sequences))), int)
    there = np.zeros(tokens.shape, bool)
    for i, x in enumerate(sequences):
        tokens[i, : len(x)], there[i, : len(x)] = x, True
    return tokens, there


def sinusoids(positions, d):
    i = np.arange(d)
    angle = np.arange(positions)[:, None] / 10_000 ** ((i - i % 2) / d)
    return np.where(i % 2 == 0, np.sin(angle), np.cos(angle))


# The model, as a textbook has it


def textbook(s, p, batch):
    """(mean loss, named activations with a row for each token)"""
    c = s.config["model"]
    h, norm, named = c["n_heads"], c["norm"], {}
    e = c["d_model"] // h

    def note(name, x, there):
        """(b, t, ...) to packed rows."""
        if name not in s.file:
            return
        x = x.reshape(*there.shape, -1)
        rows = x[there]
        if len(rows) != len(s.file[name]):  # a decoder alone at its end
            rows = x[there & (np.arange(there.shape[1]) >= np.array(batch.s)[:, None])]
        named[name] = rows

    def ln(name, x):
        return layer_norm(x, p[name + ".w"], p[name + ".b"])

    def embed(stack, tokens):
        w_e = p["embed.W_E" if c["tie"] == "all" else stack + "embed.W_E"]
        x = w_e[tokens] * (math.sqrt(c["d_model"]) if c["scale_embedding"] else 1.0)
        t = tokens.shape[1]
        learned = c["positions"] == "learned"
        return x + (p[stack + "pos_embed.W_pos"][:t] if learned else sinusoids(t, c["d_model"]))

    def attention(name, queries, keys, there_q, there_k, causal):
        project = lambda x, which: (
            np.einsum("btd,hde->bthe", x, p[f"{name}.W_{which}"]) + p[f"{name}.b_{which}"]
        )
        q, k, v = project(queries, "Q"), project(keys, "K"), project(keys, "V")
        scores = np.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(e)
        mask = np.broadcast_to(there_k[:, None, None, :], scores.shape)
        if causal:
            mask = mask & np.tril(np.ones(scores.shape[-2:], bool))
        pattern = softmax(np.where(mask, scores, -np.inf))
        z = np.einsum("bhqk,bkhe->bqhe", pattern, v)
        for part, x, there in [("q", q, there_q), ("k", k, there_k), ("v", v, there_k), ("z", z, there_q)]:
            note(f"{name}.hook_{part}", x, there)
        if name + ".hook_pattern" in s.file:
            keys = s.file[name + ".hook_pattern"].shape[1] // h
            wide = np.zeros((*pattern.shape[:3], keys))
            wide[..., : pattern.shape[-1]] = pattern
            note(name + ".hook_pattern", wide.transpose(0, 2, 1, 3), there_q)
        return np.einsum("bqhe,hed->bqd", z, p[name + ".W_O"]) + p[name + ".b_O"]

    def part(block, which, hook, out_hook, x, there, f):
        out = f(ln(block + which, x) if norm == "pre" else x)
        note(block + out_hook, out, there)
        x = x + out
        note(block + hook, x, there)
        if norm == "post":
            x = ln(block + which, x)
            note(f"{block}{which}.hook_out", x, there)
        return x

    def mlp(block):
        def f(x, there):
            pre = x @ p[block + "mlp.W_in"] + p[block + "mlp.b_in"]
            post = act(c["act"], pre)
            note(block + "mlp.hook_pre", pre, there)
            note(block + "mlp.hook_post", post, there)
            return post @ p[block + "mlp.W_out"] + p[block + "mlp.b_out"]

        return f

    def stack(name, layers, tokens, there, causal, memory=None):
        x = embed(name, tokens)
        for l in range(layers):
            block = f"{name}blocks.{l}."
            note(block + "hook_resid_pre", x, there)
            x = part(block, "ln1", "hook_resid_mid", "hook_attn_out", x, there, lambda n: (
                attention(block + "attn", n, n, there, there, causal)
            ))
            last = "ln2"
            if memory:
                last = "ln3"
                x = part(block, "ln2", "hook_resid_mid_cross", "hook_cross_attn_out", x, there, lambda n: (
                    attention(block + "cross_attn", n, memory[0], there, memory[1], False)
                ))
            x = part(block, last, "hook_resid_post", "hook_mlp_out", x, there, lambda n: mlp(block)(n, there))
        if c["final_norm"]:
            x = ln(name + "ln_final", x)
            note(name + "ln_final.hook_out", x, there)
        return x

    if c["encoder_layers"] == 0:
        tokens, there = pad(batch.joint)
        x = stack("", c["decoder_layers"], tokens, there, True)
        there = there & (np.arange(there.shape[1]) >= np.array(batch.s)[:, None])
    else:
        tokens, there = pad(batch.source)
        if "encoder.hook_out" in s.given:
            memory = np.zeros((*tokens.shape, c["d_model"]))
            memory[there] = s.file["encoder.hook_out"]
        else:
            memory = stack("encoder.", c["encoder_layers"], tokens, there, False)
            note("encoder.hook_out", memory, there)
        read, there_read = pad(batch.read)
        x = stack("decoder.", c["decoder_layers"], read, there_read, True, (memory, there))
        there = there_read
    w_u = p["embed.W_E"].T if c["tie"] == "all" else p["unembed.W_U"]
    logits = x[there] @ w_u + p.get("unembed.b_U", 0.0)
    named["logits"] = logits
    chosen = logits[np.arange(len(logits)), batch.labels]
    top = logits.max(-1)
    return (np.log(np.exp(logits - top[:, None]).sum(-1)) + top - chosen).mean(), named


# The list of ops


def flat(name, x):
    """A parameter as a matrix: (d, h·e) of W_Q, W_K and W_V; (h·e, d) of W_O; (1, n) of a vector."""
    if x.ndim == 3:
        return x.reshape(-1, x.shape[2]) if name.endswith("W_O") else x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    return x.reshape(1, -1) if "W_" not in name else x


def shaped(name, x, like):
    if like.ndim == 3 and not name.endswith("W_O"):
        h, d, e = like.shape
        return x.reshape(d, h, e).transpose(1, 0, 2)
    return x.reshape(like.shape)


def heads(x, h):
    return x.reshape(len(x), h, -1).transpose(1, 0, 2)


def spans(seen):
    """Runs of queries over the same first key: (queries, first, counts)."""
    first, count = seen.reshape(-1, 2).T
    cuts = np.flatnonzero(np.diff(first)) + 1
    for run in np.split(np.arange(len(first)), cuts):
        yield run, first[run[0]], count[run]


def replay(s, batch):
    """Values and gradients of every op, from parameters and tokens alone."""
    c = s.config["model"]
    h, e = c["n_heads"], c["d_model"] // c["n_heads"]
    gathers, seens = batch.lists(c["encoder_layers"] == 0)
    v = {name: flat(name, x) for name, x in s.p.items()}
    for name in s.given:
        v[name] = s.file[name].astype(float)
    lists, g = {}, {}

    def index(op, file, among):
        """The list of ours that the file's is most like. The wrong one would miss the textbook's values."""
        same = [x for x in among if x.shape == file.shape]
        if not same:
            raise SystemExit(f"{op['index']}: no list of {len(file)} entries follows from the tokens")
        ours = min(same, key=lambda x: (x != file).sum())
        s.put(op["index"], ours)
        return ours

    for op in s.about["ops"]:
        kind, ins, outs = op["op"], op["inputs"], op["outputs"]
        if kind == "gather" and ins[0].endswith("pos_embed.W_pos") and ins[0] not in v:
            v[ins[0]] = sinusoids(len(s.file[ins[0]]), c["d_model"])
            s.put(ins[0], v[ins[0]])
        x = [v[name] for name in ins]
        if op["index"]:
            file, u = s.file[op["index"]], np.arange(len(s.file[op["index"]]))
            if kind == "cross_entropy":
                i = batch.labels
                s.put(op["index"], i)
            elif kind == "varlen_attention":
                i = index(op, file, seens)
            elif ins[0].endswith("embed.W_E"):
                i = index(op, file, [u % batch.vocabulary])
            elif ins[0].endswith("pos_embed.W_pos"):
                i = index(op, file, [u // batch.vocabulary])
            else:
                i = index(op, file, gathers)
            lists[outs[0]] = i
        if kind == "gather":
            y = [x[0][i]]
        elif kind == "add":
            y = [x[0] + x[1]]
        elif kind == "scale":
            y = [x[0] * math.sqrt(c["d_model"])]
        elif kind == "layer_norm":
            y = [layer_norm(x[0], x[1], x[2]), np.stack(stats(x[0]), 1)]
        elif kind in ("linear", "linear_act", "linear_transposed"):
            y = [x[0] @ (x[1].T if kind == "linear_transposed" else x[1]) + sum(x[2:])]
            if kind == "linear_act":
                y.insert(0, act(c["act"], y[0]))
        elif kind == "varlen_attention":
            z, pattern = np.zeros_like(x[0]), np.zeros((len(x[0]), h, s.file[outs[1]].shape[1] // h))
            for run, first, count in spans(i):
                keys = slice(first, first + count.max())
                q, k, w = (heads(a, h) for a in (x[0][run], x[1][keys], x[2][keys]))
                scores = q @ k.transpose(0, 2, 1) / math.sqrt(e)
                p = softmax(np.where(np.arange(count.max()) < count[:, None], scores, -np.inf))
                z[run] = (p @ w).transpose(1, 0, 2).reshape(len(run), -1)
                pattern[run, :, : count.max()] = p.transpose(1, 0, 2)
            y = [z, pattern.reshape(len(z), -1)]
        elif kind == "cross_entropy":
            at = np.arange(len(i)), i
            resid = softmax(x[0])
            others = resid.copy()
            others[at] = 0.0
            row = -np.log(resid[at])
            resid[at] = -others.sum(-1)
            y = [np.array([[row.mean()]]), resid, np.stack([row, x[0].argmax(-1) == i], 1)]
        else:
            raise SystemExit(f"{outs[0]}: sequences have no op {kind}")
        v.update(zip(outs, y))

    def add(name, dx):
        g[name] = g[name] + dx if name in g else dx

    scales = {}
    add("loss", np.ones((1, 1)))
    for op in reversed(s.about["ops"]):
        kind, ins, outs = op["op"], op["inputs"], op["outputs"]
        if outs[0] not in g:
            continue
        x, dy, i = [v[name] for name in ins], g[outs[0]], lists.get(outs[0])
        if kind == "gather":
            d = np.zeros_like(x[0])
            np.add.at(d, i, dy)
            # Rows of the table sum what a bias of keys does not see over where they are used.
            scales[ins[0]] = scales.get(ins[0], 0.0) + np.abs(dy).sum(0)
            d = [d]
        elif kind == "add":
            d = [dy, dy]
        elif kind == "scale":
            d = [dy * math.sqrt(c["d_model"])]
        elif kind == "layer_norm":
            d = layer_norm_backward(x[0], x[1][0], dy)
            d = [d[0], d[1][None], d[2][None]]
        elif kind in ("linear", "linear_act"):
            if kind == "linear_act":
                dy = dy * slope(c["act"], v[outs[1]], s.file[outs[1]].astype(float))
                g[outs[1]] = dy
            d = [dy @ x[1].T, x[0].T @ dy, dy.sum(0)[None]][: len(x)]
            if len(ins) == 3 and ins[2].endswith("attn.b_K"):
                scales[ins[2]] = scales.get(outs[0], np.abs(dy).sum(0))
        elif kind == "linear_transposed":
            d = [dy @ x[1], dy.T @ x[0], dy.sum(0)[None]][: len(x)]
        elif kind == "varlen_attention":
            d = [np.zeros_like(a) for a in x]
            pattern = v[outs[1]].reshape(len(dy), h, -1)
            join = lambda a: a.transpose(1, 0, 2).reshape(a.shape[1], -1)
            for run, first, count in spans(i):
                keys = slice(first, first + count.max())
                q, k, w, dz = (heads(a, h) for a in (x[0][run], x[1][keys], x[2][keys], dy[run]))
                p = pattern[run, :, : count.max()].transpose(1, 0, 2)
                dp = dz @ w.transpose(0, 2, 1)
                ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / math.sqrt(e)
                d[0][run] += join(ds @ k)
                d[1][keys] += join(ds.transpose(0, 2, 1) @ q)
                d[2][keys] += join(p.transpose(0, 2, 1) @ dz)
        elif kind == "cross_entropy":
            d = [v[outs[1]] * dy[0, 0] / len(i)]
        for name, dx in zip(ins, d):
            add(name, dx)
    return v, g, scales


def encoder_decoder(s):
    c, file = s.config["model"], s.file
    frozen = ((s.config.get("intervene") or {}).get("freeze") or {}).get("parts", [])
    of = lambda part, name: name == part or name.startswith(part + ".")
    s.given = {"encoder.hook_out"} if any(of(part, "encoder") for part in frozen) else set()
    s.drawn |= s.given
    batch = Batch(s)
    v, g, scales = replay(s, batch)

    written = {name for op in s.about["ops"] for name in op["outputs"]}
    for name in written:
        s.put(name, v[name])
    for name, x in g.items():
        if name in s.p:
            if not any(of(part, name) for part in frozen):
                x = shaped(name, x, s.p[name])
                s.grads[name] = x
                s.put("grad/" + name, x, np.linalg.norm(scales[name]) if name.endswith("attn.b_K") else None)
        elif name in written and ("grad/" + name in file or not frozen):
            s.put("grad/" + name, x)
    for name, label in s.about["aliases"].items():
        for kind in ("", "grad/"):
            if kind + label in s.ours:
                s.ours[kind + name] = s.ours[kind + label]

    loss, named = textbook(s, s.p, batch)
    named["loss"] = np.array([[loss]])
    for name, x in named.items():
        ours = s.ours[name][0] if name in s.ours else s.file[name]
        if ours.shape != x.shape or not np.linalg.norm(ours - x) <= 1e-6 * np.linalg.norm(x):
            s.wrong.append(f"{name} of the ops is not the model's")
    hooks = {name for name in file if "hook_" in name and not name.startswith(("grad/", "index/"))}
    for name in sorted(hooks - set(named) - s.given):
        s.wrong.append(f"{name} is not known of the model")

    random = np.random.default_rng(0)
    way = {name: random.standard_normal(s.p[name].shape) for name in s.grads}
    # A step so small that hardly a ReLU passes its kink on it; the one that does counts 1/√(their number).
    at = lambda h: textbook(s, {name: x + h * way.get(name, 0.0) for name, x in s.p.items()}, batch)[0]
    difference = (at(1e-8) - at(-1e-8)) / 2e-8
    ours = sum((s.grads[name] * way[name]).sum() for name in way)
    if not abs(ours - difference) <= 1e-3 * math.sqrt(sum((x * x).sum() for x in s.grads.values())):
        s.wrong.append(f"the loss rises by {difference:.6e} along a direction, by its gradient {ours:.6e}")
