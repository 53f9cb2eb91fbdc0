#!/usr/bin/env python3
"""Records how fast plateau and its peers are here: one command, one CSV file.

    python benches/record.py [--only matmul,step,sequence-step,entropy,rows,ladder,run] [--rounds 3] [--no-gemm]

Writes benches/record/<cpu>/<date>.csv, which `benches/tables.py` puts on the pages; what an earlier recording
of the same day measured and this one does not is kept. Peers that this Python cannot import are left
out, with a sentence. Results of `matmul`, `step` and `sequence-step` come from rounds in which everybody takes a turn
at one shape before the next shape begins, in an order that moves on from round to round: the clock of
a machine drifts by more than the differences in question. `rows` and `ladder` are criterion's, each
kernel beside its yardsticks.

Columns:

    what           matmul, step, floor, sequence-step, sequence-floor, entropy, rows, ladder, run
    case           a shape "m,k,n", a batch, a preset, a kernel's shape
    form           nn, nt, tn; a kernel's name
    threads
    peer           plateau, or who else; "-forced": with MKL's AVX-512 kernels, see peers/README.md
    unit           GFLOP/s, GB/s, ms, ...
    min, median, max   of the rounds' medians; for criterion's, of its samples
    peak           the FMA peak on as many threads in GFLOP/s, median of what was measured in the
                   same rounds, where it was
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "peers"))
from common import COLUMNS, SHAPES  # noqa: E402

# A kernel that the environment forces on OpenBLAS would make a slow peer of LAPACK.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

BATCHES = ["512", "2822", "4704"]
SEQUENCES = ["collatz-1x1", "collatz-2x2", "collatz-paper"]
PARTS = ["matmul", "step", "sequence-step", "entropy", "rows", "ladder", "run"]
NANDA = ["nanda", "--set", "task.p=97", "--set", "task.train_fraction=0.5", "--set",
         "model.mlp_bias=true", "--set"]


def say(sentence):
    print(sentence, file=sys.stderr, flush=True)


def output(*command, **options):
    """What a program prints to stdout; its failure is ours."""
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
                          **options).stdout


class Record:
    """Medians by what was measured, round after round."""

    def __init__(self):
        self.values, self.peaks = {}, {}

    def add(self, what, case, form, threads, peer, unit, values, peak=None):
        key = (what, str(case), form, str(threads), peer, unit)
        self.values.setdefault(key, []).extend(values)
        if peak:
            self.peaks.setdefault(key, []).append(peak)

    def add_rows(self, rows):
        for row in rows:
            peak = float(row["peak"]) if row["peak"] else None
            self.add(row["what"], row["case"], row["form"], row["threads"], row["peer"],
                     row["unit"], [float(row["median"])], peak)

    def rows(self):
        for key, values in self.values.items():
            peaks = self.peaks.get(key)
            spread = [min(values), statistics.median(values), max(values)]
            peak = f"{statistics.median(peaks):.5g}" if peaks else ""
            yield [*key, *(f"{x:.5g}" for x in spread), peak]


class Peer:
    """A peer that waits for the next case on its stdin; `suffix` is added to its name."""

    def __init__(self, *command, env=None, suffix=""):
        self.suffix = suffix
        self.name = " ".join(pathlib.Path(part).name for part in command[1:3])
        self.process = subprocess.Popen([*command, "-"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, cwd=ROOT,
                                        env={**os.environ, **(env or {})})
        if self.process.stdout.readline().strip() != COLUMNS:
            sys.exit(f"{self.name} did not start, or prints other columns")

    def ask(self, case):
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        lines = [COLUMNS]
        while line := self.process.stdout.readline().strip():
            lines.append(line)
        if self.process.poll() is not None or len(lines) == 1:
            sys.exit(f"{self.name} gave no answer for {case}")
        rows = list(csv.DictReader(lines))
        return [dict(row, peer=row["peer"] + self.suffix) for row in rows]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def can_import(module):
    found = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True)
    if found.returncode:
        say(f"{sys.executable} has no {module}: its peers are left out")
    return found.returncode == 0


def forced_mkl():
    """MKL picks its AVX-512 kernels on Intel's CPUs only. What makes it use them on another: the
    environment of a peer, or None where there is nothing to force or no C compiler to do it."""
    name, _ = cpu()
    if "GenuineIntel" in CPUINFO.get("vendor_id", "GenuineIntel") or "AVX-512" not in name:
        return None
    if sys.platform != "linux" or not shutil.which("cc"):
        say("no C compiler: MKL keeps to the kernels that it has for this CPU")
        return None
    folder = pathlib.Path(tempfile.gettempdir()) / "plateau-forced-mkl"
    folder.mkdir(exist_ok=True)
    (folder / "forced.c").write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "forced.so", "forced.c"], cwd=folder, check=True)
    return {"LD_PRELOAD": str(folder / "forced.so")}


def torch_peers(*arguments):
    """PyTorch as it is installed and, where MKL holds back, PyTorch forced."""
    if not can_import("torch"):
        return []
    peers = [Peer(sys.executable, *arguments)]
    if forced := forced_mkl():
        peers.append(Peer(sys.executable, *arguments, env=forced, suffix="-forced"))
    return peers


def take_turns(cases, everybody, rounds, record):
    """Everybody is asked for each case before the next; who begins moves on with each round."""
    for turn in range(rounds):
        for case in cases:
            for i in range(len(everybody)):
                record.add_rows(everybody[(i + turn) % len(everybody)](case))
                time.sleep(0.01)  # threads of the one before may still be spinning
        say(f"  round {turn + 1} of {rounds}")


# --- matmul


def our_matmul(threads, peer="plateau"):
    def measure(case):
        found = json.loads(output(PLATEAU, "bench", "matmul", "--shape", case, "--threads",
                                  str(threads), "--json"))
        return [dict(what="matmul", case=case, form=row["form"], threads=threads, peer=peer,
                     unit="GFLOP/s", median=row["gflops"]["median"], peak=row["peak_gflops"])
                for row in found]
    return measure


def gemm_peer():
    """Builds the listing of peers/README.md outside the workspace; the path of its program."""
    text = (HERE / "peers" / "README.md").read_text()
    folder = pathlib.Path(tempfile.gettempdir()) / "plateau-gemm-peer"
    (folder / "src").mkdir(parents=True, exist_ok=True)
    for name, language in [("Cargo.toml", "toml"), ("src/main.rs", "rust")]:
        listing = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]
        if not (folder / name).exists() or (folder / name).read_text() != listing:
            (folder / name).write_text(listing)
    build = subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=folder,
                           env={**os.environ, "RUSTFLAGS": "-Ctarget-cpu=native"})
    if build.returncode:
        say("the listing in peers/README.md does not build here: gemm and matrixmultiply are left out")
        return None
    return str(folder / "target" / "release" / "gemm-peer")


def matmul(record, args):
    gemm = None if args.no_gemm else gemm_peer()
    for threads in (1, 2):
        say(f"matmul, {threads} thread(s)")
        peers = torch_peers(str(HERE / "peers/matmul_torch.py"), "--threads", str(threads))
        for name in ("gemm", "matrixmultiply") if gemm else ():
            peers.append(Peer(gemm, name, "--threads", str(threads),
                              env={"MATMUL_NUM_THREADS": str(threads)}))
        # plateau twice: how far it is from itself is the noise of this recording.
        ours = [our_matmul(threads), our_matmul(threads, "plateau-again")]
        take_turns(SHAPES, [*ours, *(peer.ask for peer in peers)], args.rounds, record)
        for peer in peers:
            peer.close()


# --- training steps, their floor and their entropy


def our_step(threads, what="step"):
    """Of the peers' model at a batch, or of a preset."""
    def measure(case):
        experiment = [*NANDA, f"optim.batch={case}"] if what == "step" else [case]
        found = json.loads(output(PLATEAU, "bench", "step", *experiment, "--threads", str(threads),
                                  "--json"))
        common = dict(what=what, case=case, form="", threads=threads, peer="plateau",
                      peak=found["peak_gflops"])
        return [dict(common, unit="ms", median=found["ms"]["median"]),
                dict(common, unit="GFLOP/s", median=found["gflops"]),
                dict(common, unit="parameters", median=found["parameters"]),
                dict(common, form="entropy", unit="ms", median=found["entropy_ms"])]
    return measure


def floor(threads):
    program = bench("floor")
    return lambda case: list(csv.DictReader(
        output(program, "--threads", str(threads), case).splitlines()))


def step(record, args):
    jax = can_import("jax")
    for threads in (1, 2):
        say(f"step, {threads} thread(s)")
        more, script = ["--threads", str(threads)], str(HERE / "peers" / "step_torch.py")
        peers = torch_peers(script, *more) + torch_peers(script, "--last-only", *more)
        peers += [Peer(sys.executable, str(HERE / "peers" / "step_jax.py"), *more)] if jax else []
        everybody = [our_step(threads), floor(threads), *(peer.ask for peer in peers)]
        take_turns(BATCHES, everybody, args.rounds, record)
        for peer in peers:
            peer.close()


def sequence_step(record, args):
    for threads in (1, 2):
        say(f"sequence-step, {threads} thread(s)")
        script = str(HERE / "peers" / "encoder_decoder_torch.py")
        peers = torch_peers(script, "--threads", str(threads))
        everybody = [our_step(threads, "sequence-step"), floor(threads), *(peer.ask for peer in peers)]
        take_turns(SEQUENCES, everybody, args.rounds, record)
        for peer in peers:
            peer.close()


# --- criterion's benches


def bench(name):
    """The program of a criterion bench, built if need be."""
    messages = output("cargo", "bench", "--locked", "--quiet", "-p", "plateau-benches", "--bench",
                      name, "--no-run", "--message-format=json")
    found = [json.loads(line) for line in messages.splitlines()]
    return [x["executable"] for x in found if x.get("executable") and x["target"]["name"] == name][-1]


def criterion(name, record, *flags):
    """Runs a bench and takes its samples."""
    say(f"{name}, by criterion")
    home = pathlib.Path(tempfile.mkdtemp(prefix="plateau-bench-"))
    done = subprocess.run([bench(name), "--bench", "--quiet", *flags], cwd=ROOT, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env={**os.environ, "CRITERION_HOME": str(home)})
    if done.returncode:
        sys.exit(f"{done.stderr}\nthe bench {name} failed")
    for described in sorted(home.rglob("new/benchmark.json"), key=lambda x: x.stat().st_mtime):
        about = json.loads(described.read_text())
        samples = json.loads((described.parent / "sample.json").read_text())
        seconds = [1e-9 * t / i for t, i in zip(samples["times"], samples["iters"])]
        group, function, value = (about[k] for k in ("group_id", "function_id", "value_str"))
        if "/" in group:  # rows/relu/65536, plateau/1
            what, form, case = group.split("/", 2)
            peer, _, threads = function.partition("/")
        else:  # eigenvalues, householder, 128/1
            what, peer = "entropy", "plateau"
            form = f"{group}, {function}" if function and value else group
            case, _, threads = (value or function).rpartition("/")
        if about["throughput"]:
            (kind, amount), = about["throughput"].items()
            unit, values = "GB/s" if kind == "Bytes" else "GFLOP/s", [1e-9 * amount / s for s in seconds]
        else:
            unit, values = "ms", [1e3 * s for s in seconds]
        record.add(what, case, form, threads or 1, peer, unit, values)
    shutil.rmtree(home)


# --- the program as a whole


def run(record, args):
    """Start-up, memory, and two runs at once."""
    say("run")
    one = [PLATEAU, "bench", "step", *NANDA, "optim.batch=512", "--json"]
    for turn in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            output(PLATEAU, "run", "default", "--steps", "1", "--out", folder, "--json",
                   stderr=subprocess.DEVNULL)
            record.add("run", "default, 1 step", "start to end", 1, "plateau", "ms",
                       [1e3 * (time.perf_counter() - begun)])
        with tempfile.TemporaryDirectory() as folder:
            child = subprocess.Popen(
                [PLATEAU, "run", "default", "--steps", "300", "--out", folder], cwd=ROOT,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                sys.exit("plateau run default --steps 300 failed")
            scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
            record.add("run", "default, 300 steps", "peak memory", 1, "plateau", "MiB",
                       [usage.ru_maxrss / scale])
        rate = lambda text: 1e3 / json.loads(text)["ms"]["median"]
        alone = rate(output(*one))
        both = [subprocess.Popen(one, cwd=ROOT, text=True, stdout=subprocess.PIPE) for _ in range(2)]
        together = sum(rate(child.communicate()[0]) for child in both)
        record.add("run", "512", "one run", 1, "plateau", "steps/s", [alone])
        record.add("run", "512", "two at once", 1, "plateau", "steps/s", [together])
        say(f"  round {turn + 1} of {args.rounds}")


def entropy(record, args):
    criterion("spectrum", record, "--sample-size", "10", "--warm-up-time", "0.1",
              "--measurement-time", "0.5")
    script = HERE / "peers" / "spectrum.py"
    if script.exists() and can_import("torch"):
        say("spectrum.py")
        for line in output(sys.executable, str(script)).splitlines():
            # "  numpy eigvalsh, flat-512x1024", then median, min and max in milliseconds
            if found := re.fullmatch(r"\s*(\w+):? (.+), (\S+) +([\d.]+) +([\d.]+) +([\d.]+)", line):
                peer, form, case, *values = found.groups()
                record.add("entropy", case, form, 1, peer, "ms", [float(x) for x in values])


# --- where it was measured


def cpuinfo():
    """What Linux says of the first CPU; empty elsewhere."""
    path = pathlib.Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.exists() else ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


CPUINFO = cpuinfo()


def cpu():
    """(name, short name for a folder)."""
    fields = CPUINFO
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f", family {fields['cpu family']}, model {fields['model']}"
    if "avx512f" in fields.get("flags", "").split():
        name += ", AVX-512"
    return name, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def version(module):
    found = subprocess.run([sys.executable, "-c", f"import {module}; print({module}.__version__)"],
                           capture_output=True, text=True)
    return f"{module} {found.stdout.strip()}" if found.returncode == 0 else f"no {module}"


def write(record, args):
    name, slug = cpu()
    now = datetime.datetime.now().astimezone()
    path = HERE / "record" / slug / f"{now.date()}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in record.rows() if row[0]]
    fresh = {row[0] for row in rows}
    kept, parts = [], {}
    if path.exists():
        lines = path.read_text().splitlines()
        old = csv.reader(line for line in lines if not line.startswith("#"))
        kept = [row for row in list(old)[1:] if row[0] not in fresh]
        heads = (line[2:].split(": ", 1) for line in lines if line.startswith("# "))
        parts = {key: value for key, value in heads if key in {row[0] for row in kept}}
    changed = output("git", "status", "--porcelain", "--", "*.rs", "*.toml").strip()
    head = {
        "cpu": name,
        "cores": os.cpu_count(),
        "versions": ", ".join([output("rustc", "--version").strip(), version("torch"), version("jax")]),
    }
    commit = output("git", "rev-parse", "--short=12", "HEAD").strip() + " changed" * bool(changed)
    here = (f"{now:%Y-%m-%d %H:%M %Z}, commit {commit}, {args.rounds} rounds, "
            f"load {LOAD:.1f} before the first part")
    parts.update({part: here for part in fresh})
    head |= {part: parts[part] for part in sorted(parts, key=lambda part: PARTS_ORDER.get(part, 99))}
    with path.open("w", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in head.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS.split(","))
        writer.writerows(sorted(kept + rows, key=lambda row: PARTS_ORDER.get(row[0], 99)))
    say(f"{len(rows)} rows to {path.relative_to(ROOT)}")


PARTS_ORDER = {what: i for i, what in enumerate(
    ["matmul", "step", "floor", "sequence-step", "sequence-floor", "entropy", "rows", "ladder", "run"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-gemm", action="store_true",
                        help="leaves out gemm and matrixmultiply, which need the network once")
    args = parser.parse_args()
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    LOAD = os.getloadavg()[0]
    if LOAD > 0.5:
        say(f"others are at work on this machine (load {LOAD:.1f}): the figures will show it")
    output("cargo", "build", "--release", "--locked", "--quiet", "-p", "plateau")
    PLATEAU = str(ROOT / "target" / "release" / "plateau")
    for part in parts:
        record = Record()
        if part in ("rows", "ladder"):
            criterion(part, record)
        else:
            {"matmul": matmul, "step": step, "sequence-step": sequence_step, "entropy": entropy,
             "run": run}[part](record, args)
        write(record, args)
    say("done; python benches/tables.py and the name of that file puts it on the pages")
