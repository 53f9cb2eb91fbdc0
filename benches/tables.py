#!/usr/bin/env python3
"""Writes the tables of BENCHMARKS.md and benches/ladder/README.md from a recording.

    python benches/tables.py [FILE.csv] [--check]

Without a file: the newest recording of the CPU that the pages are about, REFERENCE. A table stands
between `<!-- table NAME -->` and `<!-- end -->`; what is between them is replaced. `<!-- table
NAME@CPU -->` is of the newest recording of another CPU, a folder of benches/record/, always.
`--check` writes nothing and fails where something would change. Ratios are of medians measured in
turns within one recording.
"""

import argparse
import collections
import csv
import math
import pathlib
import re
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGES = [HERE.parent / "README.md", HERE.parent / "BENCHMARKS.md", HERE / "ladder" / "README.md"]
REFERENCE = "amd-epyc-family-26-model-2-avx-512"
PEERS = ["torch", "torch-forced", "gemm", "matrixmultiply"]
STEP_PEERS = {"torch": "torch", "jax": "JAX", "torch-last-only": "torch, last only",
              "torch-forced": "torch, forced", "torch-last-only-forced": "torch, last only, forced"}
BATCHES = ["512", "2822", "4704"]
# Presets, and how many times PyTorch's speed their bar is.
SEQUENCES = {"collatz-1x1": 2, "collatz-2x2": 1.5, "collatz-paper": 1.3}


class Record:
    def __init__(self, path):
        lines = path.read_text().splitlines()
        self.path = path
        self.head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
        self.rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        self.by = {(r["what"], r["case"], r["form"], int(r["threads"]), r["peer"], r["unit"]): r
                   for r in self.rows}

    def get(self, what, case, form, threads, peer, unit, column="median"):
        """A number, or NaN where it was not measured."""
        row = self.by.get((what, case, form, threads, peer, unit))
        return float(row[column]) if row and row[column] else math.nan

    def cases(self, what):
        return list(dict.fromkeys((r["case"], r["form"]) for r in self.rows if r["what"] == what))


def geomean(values):
    values = [x for x in values if not math.isnan(x)]
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def best(values):
    return max((x for x in values if not math.isnan(x)), default=math.nan)


def number(x, digits=3):
    """So many digits that count; a dash for what was not measured."""
    if math.isnan(x):
        return "–"
    places = max(0, digits - 1 - math.floor(math.log10(abs(x)))) if x else 0
    return f"{x:,.{places}f}"


def percent(x):
    return "–" if math.isnan(x) else f"{100 * x:.{int(x < 0.01)}f} %"


def times(x):
    return "–" if math.isnan(x) else f"{x:.2f}×"


def table(head, rows, align=None):
    align = align or ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, align, *rows])


# --- the tables


def machine(r):
    return table(["", ""], [(key, value) for key, value in r.head.items()] +
                 [("file", f"`benches/record/{r.path.parent.name}/{r.path.name}`")], ["---", "---"])


def rate(r, case, form, threads, peer):
    return r.get("matmul", case, form, threads, peer, "GFLOP/s")


def share(r, case, form, threads, peer="plateau"):
    """Of the peak measured in the same rounds as plateau's rate."""
    return rate(r, case, form, threads, peer) / r.get("matmul", case, form, threads, "plateau",
                                                      "GFLOP/s", "peak")


def matmul(r):
    """By form and threads: geometric means over the shapes."""
    rows = []
    for threads in (1, 2):
        for form in ("nn", "nt", "tn", "all"):
            cases = [(c, f) for c, f in r.cases("matmul") if form in (f, "all")]
            shares = [share(r, c, f, threads) for c, f in cases]
            cells = [threads, form, percent(geomean(shares)), percent(min(shares, default=math.nan)),
                     f"{sum(x < 0.65 for x in shares)} of {len(shares)}"]
            for peer in PEERS:
                theirs = geomean(share(r, c, f, threads, peer) for c, f in cases)
                slower = [rate(r, c, f, threads, peer) > rate(r, c, f, threads, "plateau")
                          for c, f in cases]
                cells.append("–" if math.isnan(theirs) else f"{percent(theirs)}, {sum(slower)}")
            rows.append(cells)
    return table(["threads", "form", "plateau, geometric mean", "worst shape", "below 65 %",
                  *(f"{peer}; wins" for peer in PEERS)], rows)


BEST_PEERS = ("torch", "torch-forced", "gemm")


def ratios(r, threads, peers=BEST_PEERS):
    """(ratio to the best of these peers, that peer, case, form), worst first."""
    found = []
    for case, form in r.cases("matmul"):
        theirs = {peer: rate(r, case, form, threads, peer) for peer in peers}
        theirs = {peer: x for peer, x in theirs.items() if not math.isnan(x)}
        if theirs:
            peer = max(theirs, key=theirs.get)
            found.append((rate(r, case, form, threads, "plateau") / theirs[peer], peer, case, form))
    return sorted(found)


def noise(r, threads):
    """How far plateau is from itself in the same rounds: nine shapes of ten are nearer."""
    off = [abs(math.log(rate(r, c, f, threads, "plateau") / rate(r, c, f, threads, "plateau-again")))
           for c, f in r.cases("matmul")]
    off = sorted(x for x in off if not math.isnan(x))
    return off[int(0.9 * (len(off) - 1))] if off else 0.0


def matmul_losses(r):
    rows = []
    for threads in (1, 2):
        for ratio, peer, case, form in ratios(r, threads):
            if ratio < 1 and len(rows) < 20 * threads:
                rows.append([threads, form, case.replace(",", " × "),
                             number(rate(r, case, form, threads, "plateau")), peer,
                             number(rate(r, case, form, threads, peer)), times(ratio)])
    head = ["threads", "form", "m × k × n", "plateau, GFLOP/s", "best peer", "its GFLOP/s", "ratio"]
    return table(head, rows) if rows else "None."


def matmul_all(r):
    rows = []
    for case in dict.fromkeys(c for c, _ in r.cases("matmul")):
        cells = [case.replace(",", " × ")]
        for form in ("nn", "nt", "tn"):
            theirs = best(rate(r, case, form, 1, peer) for peer in PEERS)
            cells += [number(rate(r, case, form, 1, "plateau")), percent(share(r, case, form, 1)),
                      number(theirs)]
        rows.append(cells)
    return table(["m × k × n", *(x for f in ("nn", "nt", "tn") for x in (f, "of peak", "best peer"))],
                 rows)


def step_ms(r, batch, threads, peer="plateau"):
    return r.get("step", batch, "", threads, peer, "ms")


def floor_ms(r, batch, threads):
    return r.get("floor", batch, "", threads, "floor", "ms")


def step(r):
    rows = []
    for threads in (1, 2):
        for batch in BATCHES:
            ours = step_ms(r, batch, threads)
            cells = [threads, batch, number(ours)]
            for peer in STEP_PEERS:
                theirs = step_ms(r, batch, threads, peer)
                cells.append(f"{number(theirs)}, {times(theirs / ours)}")
            gflops = r.get("step", batch, "", threads, "plateau", "GFLOP/s")
            peak = r.get("step", batch, "", threads, "plateau", "GFLOP/s", "peak")
            rows.append([*cells, percent(gflops / peak), times(ours / floor_ms(r, batch, threads))])
    return table(["threads", "batch", "plateau, ms", *STEP_PEERS.values(), "of the FMA peak",
                  "of the floor"], rows)


def sequence_ms(r, preset, threads, peer="plateau"):
    return r.get("sequence-step", preset, "", threads, peer, "ms")


def sequence_floor(r, preset, threads):
    """How many times its floor a step takes."""
    floor = r.get("sequence-floor", preset, "", threads, "floor", "ms")
    return sequence_ms(r, preset, threads) / floor


def sequence_step(r):
    rows = []
    for threads in (1, 2):
        for preset in SEQUENCES:
            ours = sequence_ms(r, preset, threads)
            of = lambda unit, column: r.get("sequence-step", preset, "", threads, "plateau", unit, column)
            cells = [threads, f"`{preset}`", number(of("parameters", "median") / 1e6), number(ours)]
            for peer in ("torch", "torch-forced"):
                theirs = sequence_ms(r, preset, threads, peer)
                cells.append(f"{number(theirs)}, {times(theirs / ours)}")
            share = of("GFLOP/s", "median") / of("GFLOP/s", "peak")
            rows.append([*cells, percent(share), times(sequence_floor(r, preset, threads))])
    return table(["threads", "preset", "million parameters", "plateau, ms", "torch", "torch, forced",
                  "of the FMA peak", "of the floor"], rows, ["---"] * 2 + ["--:"] * 6)


def paper_preset(r):
    """How long the 500,000 steps of study C's paper take; more than two cores by Amdahl's law."""
    one, two = (sequence_ms(r, "collatz-paper", threads) for threads in (1, 2))
    serial = 2 * two / one - 1
    rows = []
    for cores in (1, 2, 8, 16):
        ms = one * (serial + (1 - serial) / cores)
        how = "measured" if cores <= 2 else f"extrapolated: {percent(serial)} of a step take as long on any number"
        rows.append([cores, number(ms), number(500_000 * ms / 3.6e6, 2), how])
    return table(["cores", "ms a step", "hours", ""], rows, ["--:"] * 3 + ["---"])


def floor(r):
    rows = []
    for threads in (1, 2):
        for batch in BATCHES:
            of = lambda peer, unit: r.get("floor", batch, "", threads, peer, unit)
            flops, moved = of("flops", "GFLOP"), of("moved", "MB")
            peak = r.get("floor", batch, "", threads, "floor", "ms", "peak")
            bandwidth = of("bandwidth", "GB/s")
            rows.append([threads, batch, number(flops), number(peak), number(1e3 * flops / peak),
                         number(moved), number(of("held", "MB")), number(bandwidth),
                         number(moved / bandwidth), number(floor_ms(r, batch, threads)),
                         number(step_ms(r, batch, threads))])
    return table(["threads", "batch", "GFLOP", "peak, GFLOP/s", "ms", "MB moved", "MB held",
                  "GB/s", "ms", "floor, ms", "step, ms"], rows)


def entropy(r):
    """What H̃ of the batch costs at every step."""
    rows = []
    for threads in (1, 2):
        for batch in BATCHES:
            ours = r.get("step", batch, "entropy", threads, "plateau", "ms")
            rows.append([threads, batch, number(ours), percent(ours / step_ms(r, batch, threads))])
    return table(["threads", "batch", "ms", "of the step"], rows)


def spectrum(r):
    rows = [[row["form"], row["case"], row["peer"],
             *(number(float(row[column])) for column in ("min", "median", "max"))]
            for row in r.rows if row["what"] == "entropy"]
    return table(["what", "rows × dimensions", "who", "min", "median, ms", "max"], rows,
                 ["---"] * 3 + ["--:"] * 3)


def row_share(r, kernel, case):
    """(share of the bound, which bound it is)."""
    of = lambda peer: r.get("rows", case, kernel, 1, peer, "GB/s")
    bound, kind = min((of("bandwidth"), "memory"), (of("arithmetic"), "arithmetic"))
    return of("plateau") / bound, kind


def row_kernels(r):
    rows = []
    for case, kernel in r.cases("rows"):
        of = lambda peer, threads=1: r.get("rows", case, kernel, threads, peer, "GB/s")
        share, kind = row_share(r, kernel, case)
        rows.append([kernel, case.replace("x", " × ").replace("to", " → "), number(of("plateau")),
                     number(of("bandwidth")), number(of("arithmetic")), kind, percent(share),
                     times(of("plateau", 2) / of("plateau")), times(of("plateau") / of("reference"))])
    return table(["kernel", "shape", "GB/s", "memory bound", "arithmetic bound", "nearer bound",
                  "share", "two threads", "over its reference"], rows)


def row_summary(r):
    shares = collections.defaultdict(list)
    for case, kernel in r.cases("rows"):
        shares[kernel].append(row_share(r, kernel, case)[0])
    rows = [[kernel, len(found), percent(geomean(found)), percent(min(found)),
             sum(x < 0.8 for x in found)] for kernel, found in shares.items()]
    return table(["kernel", "shapes", "share of the bound, geometric mean", "worst", "below 80 %"],
                 rows)


def run(r):
    of = lambda case, form, unit: r.get("run", case, form, 1, "plateau", unit)
    one, two = of("512", "one run", "steps/s"), of("512", "two at once", "steps/s")
    return table(["", ""], [
        ["`plateau run default --steps 1`, from start to end, two evaluations included",
         number(of("default, 1 step", "start to end", "ms")) + " ms"],
        ["peak memory of `plateau run default --steps 300`",
         number(of("default, 300 steps", "peak memory", "MiB")) + " MiB"],
        ["two runs at once on one thread each (`nanda`, batch 512), against one",
         f"{number(one)} and {number(two)} steps/s, {times(two / one)}"],
    ], ["---", "--:"])


def targets(r):
    """Every bar that a recording can tell of, met or not."""
    rows = []

    def bar(goal, measured, shown, met):
        known = not math.isnan(measured)
        rows.append([goal, shown if known else "–", ("met" if met else "**missed**") if known else "–"])

    cases = r.cases("matmul")
    shares = [share(r, c, f, 1) for c, f in cases]
    mean, worst = geomean(shares), min(shares, default=math.nan)
    bar("products, one thread: ≥ 85 % of the FMA peak", mean, percent(mean), mean >= 0.85)
    bar("… and no shape below 65 %", worst,
        f"{percent(worst)}; {sum(x < 0.65 for x in shares)} below", worst >= 0.65)
    against = [rate(r, c, f, 1, "plateau") / rate(r, c, f, 1, "matrixmultiply") for c, f in cases]
    against = [x for x in against if not math.isnan(x)]
    worst = min(against, default=math.nan)
    bar("never slower than matrixmultiply", worst,
        f"{times(worst)} at worst, {times(geomean(against))} on average", worst >= 1)
    off = noise(r, 1)
    for peers, text in [(("torch", "gemm"), ""), (BEST_PEERS, ", PyTorch forced among them")]:
        found = [x[0] for x in ratios(r, 1, peers)]
        faster = sum(x >= 1 for x in found) / len(found) if found else math.nan
        level = sum(math.log(x) >= -off for x in found) / len(found) if found else math.nan
        bar(f"level with the better of PyTorch and gemm on 9 shapes of 10{text}", level,
            f"{percent(level)} to within the noise, ±{100 * off:.1f} %; faster on {percent(faster)}",
            level >= 0.9)
    two = [rate(r, c, f, 2, "plateau") / rate(r, c, f, 1, "plateau") for c, f in cases
           if int(c.split(",")[0]) >= 1536]
    two = [x for x in two if not math.isnan(x)]
    worst = min(two, default=math.nan)
    bar("two threads ≥ 1.8× where m ≥ 1536", worst,
        f"{times(geomean(two))} on average, {times(worst)} at worst", worst >= 1.8)
    for peer, goal, text in [("torch", 6, "PyTorch"), ("jax", 6, "JAX"),
                             ("torch-last-only", 2.5, "PyTorch, last position only"),
                             ("torch-forced", 6, "PyTorch, forced"),
                             ("torch-last-only-forced", 2.5, "PyTorch, last position only, forced")]:
        found = [step_ms(r, b, t, peer) / step_ms(r, b, t) for t in (1, 2) for b in BATCHES]
        low = min(found)
        bar(f"training step ≥ {goal}× {text}", low,
            f"{', '.join(map(times, found[:3]))}; two threads {', '.join(map(times, found[3:]))}",
            low >= goal)
    for threads, limits in [(1, [1.4] * 3), (2, [1.6, 1.4, 1.4])]:
        found = [step_ms(r, b, threads) / floor_ms(r, b, threads) for b in BATCHES]
        met = all(x <= limit for x, limit in zip(found, limits))
        bar(f"step ≤ {' / '.join(map(str, limits))} × its floor, {threads} thread(s)", found[0],
            ", ".join(map(times, found)), met)
    for peer, text in [("torch", "PyTorch"), ("torch-forced", "PyTorch, forced")]:
        found = [[sequence_ms(r, preset, t, peer) / sequence_ms(r, preset, t) for preset in SEQUENCES]
                 for t in (1, 2)]
        met = all(x >= goal for of_threads in found for x, goal in zip(of_threads, SEQUENCES.values()))
        bar(f"encoder-decoder step ≥ {' / '.join(f'{x}×' for x in SEQUENCES.values())} {text}", found[0][0],
            f"{', '.join(map(times, found[0]))}; two threads {', '.join(map(times, found[1]))}", met)
    for threads in (1, 2):
        found = [sequence_floor(r, preset, threads) for preset in SEQUENCES]
        bar(f"encoder-decoder step ≤ 1.5 × its floor, {threads} thread(s)", found[0],
            ", ".join(map(times, found)), all(x <= 1.5 for x in found))
    ours = r.get("step", "512", "entropy", 1, "plateau", "ms") / step_ms(r, "512", 1)
    bar("H̃ of the batch ≤ 15 % of the batch-512 step", ours, percent(ours), ours <= 0.15)
    whole = lambda case, form, peer: r.get("entropy", case, form, 1, peer, "ms")
    exact = (whole("512x128", "covariance + eigvalsh + H", "torch")
             / whole("512x128", "spectrum", "plateau"))
    bar("H̃ ≥ 2× torch's f64 covariance and eigvalsh", exact, times(exact), exact >= 2)
    fast = {kind: [whole(case, "eigvalsh", "numpy") / whole(case, "entropy, within-0.002", "plateau")
                   for case in (f"{kind}-{n}x{d}" for d in (512, 1024) for n in (512, 2822))]
            for kind in ("decaying", "flat")}
    low = min(fast["decaying"] + fast["flat"])
    bar("fast H̃, to 0.002, ≥ 5× LAPACK's eigenvalues at d = 512 and 1024", low,
        f"{', '.join(map(times, fast['decaying']))} where eigenvalues decay; "
        f"{', '.join(map(times, fast['flat']))} where they do not", low >= 5)
    kernels = [row_share(r, kernel, case)[0] for case, kernel in r.cases("rows")]
    reached = sum(x >= 0.8 for x in kernels) / len(kernels) if kernels else math.nan
    bar("row kernels ≥ 80 % of their bound", reached,
        f"{percent(reached)} of {len(kernels)} kernels and shapes", reached == 1)
    of = lambda case, form, unit: r.get("run", case, form, 1, "plateau", unit)
    both = of("512", "two at once", "steps/s") / of("512", "one run", "steps/s")
    bar("two runs at once ≥ 1.9× one", both, times(both), both >= 1.9)
    memory = of("default, 300 steps", "peak memory", "MiB")
    bar("default run < 60 MiB", memory, number(memory) + " MiB", memory < 60)
    return table(["bar", "measured", ""], rows, ["---", "---", "---"])


def ladder(r):
    rows = []
    by_rung = collections.defaultdict(dict)
    for row in r.rows:
        if row["what"] == "ladder":
            by_rung[row["peer"]][row["form"]] = float(row["median"])
    before = {}
    for rung in sorted(by_rung):
        cells = [rung]
        for form in ("nn", "tn"):
            rate = by_rung[rung].get(form, math.nan)
            peak = by_rung["peak"].get(form, math.nan)
            gain = times(rate / before[form]) if form in before and rung != "peak" else ""
            cells += [number(rate), percent(rate / peak), gain]
            before[form] = rate
        rows.append(cells)
    return table(["rung", "nn, GFLOP/s", "of the peak", "gain", "tn, GFLOP/s", "of the peak", "gain"],
                 rows)


TABLES = {
    "machine": machine, "targets": targets, "matmul": matmul, "matmul-losses": matmul_losses,
    "matmul-all": matmul_all, "step": step, "sequence-step": sequence_step,
    "paper-preset": paper_preset, "floor": floor,
    "entropy": entropy,
    "spectrum": spectrum, "rows": row_kernels, "row-summary": row_summary, "run": run, "ladder": ladder,
}


def newest(cpu):
    found = sorted((HERE / "record" / cpu).glob("*.csv"))
    if not found:
        sys.exit(f"benches/record/{cpu}/ holds no recording: python benches/record.py makes one there")
    return found[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    record = Record(args.file or newest(REFERENCE))
    changed = []
    for page in PAGES:
        old = page.read_text()
        fill = lambda m: "\n".join(
            [m[1], TABLES[m[2]](Record(newest(m[3])) if m[3] else record), "<!-- end -->"])
        new = re.sub(r"(<!-- table ([^\s@]+)@?(\S*) -->)\n.*?<!-- end -->", fill, old, flags=re.DOTALL)
        if new != old:
            changed.append(page.name)
            if not args.check:
                page.write_text(new)
    if args.check and changed:
        sys.exit(f"{', '.join(changed)}: not what {record.path.name} says; run benches/tables.py")
