"""Golden values for greedy decoding: small models that PyTorch has trained on the Collatz task, and what they write for a
thousand numbers that they have not seen, in float64.

    python make_golden_greedy.py [output folder]

README.md beside this file says what each golden file holds. The model is that of make_golden_sequences.py: padded, masked,
a whole forward pass for each token. Trained, unlike there, so that lengths differ and right and wrong ones are among them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from make_golden import fan_in, kind
from make_golden_sequences import BOS, EOS, MODEL, PAD, Net, packed, padded, shapes

BASE, LARGEST, TESTED, BATCH = PAD, 10_000, 1000, 128
SOURCE, TARGET = 5, 6  # 10,000 and 30,000 have five digits in base 8; EOS comes after the target's
MARGIN = 1e-4  # the least distance of the largest logit from the next: float32 must not decide

CASES = {  # model, steps, seed
    "greedy_encdec": (MODEL, 250, 0),
    "greedy_decoder_only": (MODEL | dict(encoder_layers=0, act="gelu"), 600, 1),
}


def digits(n):
    return digits(n // BASE) + [n % BASE] if n >= BASE else [n]


def collatz(n):
    return n // 2 if n % 2 == 0 else 3 * n + 1


def train(m, steps, seed, numbers):
    """Parameters after so many steps of AdamW on batches of `numbers`, rounded to float32."""
    generator = torch.Generator().manual_seed(seed)
    w = {at: torch.randn(shape, generator=generator, dtype=torch.float64) for at, shape in shapes(m).items()}
    for at, x in w.items():
        x *= fan_in(at, x.shape) ** -0.5 if kind(at) == "weight" else float(kind(at) == "embedding")
        x += kind(at) == "ln"
        x.requires_grad_()
    adamw = torch.optim.AdamW(w.values(), lr=3e-3, weight_decay=0.01)
    for _ in range(steps):
        rows = torch.randint(0, len(numbers), (BATCH,), generator=generator)
        batch = [numbers[i] for i in rows]
        targets = [digits(collatz(n)) + [EOS] for n in batch]
        logits = Net(m, w)([digits(n) for n in batch], [[BOS] + t[:-1] for t in targets])
        loss = F.cross_entropy(logits.flatten(0, 1), padded(targets).flatten(), ignore_index=PAD)
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        adamw.step()
    return {at: x.detach().float() for at, x in w.items()}


def greedy(net, sources):
    """What the model writes after BOS, and the least margin of a token that it wrote."""
    written, least = [[] for _ in sources], float("inf")
    for _ in range(TARGET):
        logits = net(sources, [[BOS] + t for t in written])
        for i, t in enumerate(written):
            if EOS not in t:
                best, next_ = logits[i, len(t)].topk(2).values.tolist()
                least = min(least, best - next_)
                t.append(logits[i, len(t)].argmax().item())
    return written, least


def main(folder):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, (m, steps, seed) in CASES.items():
        order = (torch.randperm(LARGEST, generator=torch.Generator().manual_seed(seed)) + 1).tolist()
        tested, others = order[:TESTED], order[TESTED:]
        start = train(m, steps, seed, others)
        sources = [digits(n) for n in tested]
        with torch.no_grad():
            written, margin = greedy(Net(m, {at: x.double() for at, x in start.items()}), sources)
        assert margin > MARGIN, f"{name}: two logits are within {margin}: change the seed"
        right = sum(t == digits(collatz(n)) + [EOS] for n, t in zip(tested, written))
        lengths = np.bincount([len(t) for t in written])
        print(f"{name}: {right} of {TESTED} right, lengths {lengths}, least margin {margin:.1e}")
        assert 100 < right < 900 and (lengths > 0).sum() >= 4
        gold = {f"param/{at}": x.numpy() for at, x in start.items()}
        gold |= packed("source", sources) | packed("greedy", written)
        case = dict(shape=dict(d_vocab=BASE + 3, source=SOURCE, target=TARGET), bos=BOS, eos=EOS, model=m, right=right)
        save_file(gold, folder / f"{name}.safetensors", metadata={"case": json.dumps(case)})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
