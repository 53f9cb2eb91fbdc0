"""The spectral measure in LAPACK, one thread: what benches/benches/spectrum.rs is compared with.

Side by side (ours reads the same rows; interleave, for the clock drifts):

    for round in 1 2 3; do
        cargo bench -p plateau-benches --bench spectrum -- 'entropy|spectrum/' \
            --warm-up-time 0.5 --measurement-time 1.5
        python benches/peers/spectrum.py
    done

Needs numpy, scipy and torch. Columns: case, median ms, min, max.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import statistics
import time

import numpy
import scipy.linalg
import torch

torch.set_num_threads(1)


def noise(rows, dim):
    """The generator of the bench: the top 24 bits of a 64-bit congruence, minus a half."""
    out, state = numpy.empty(rows * dim, numpy.float32), 1
    for i in range(rows * dim):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        out[i] = (state >> 40) / 16777216 - 0.5
    return out.reshape(rows, dim)


def decaying(rows, dim):
    weights = noise(rows, dim) / numpy.arange(1, dim + 1, dtype=numpy.float32)
    return (weights.astype(float) @ noise(dim, dim)).astype(numpy.float32)


def measure(case, work, seconds=1.0):
    work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"{case:<48}{statistics.median(times):9.3f}{min(times):9.3f}{max(times):9.3f}", flush=True)


def covariance(x):
    x = x.astype(float)
    x = x - x.mean(0)
    return x.T @ x / len(x)


def entropy(values):
    p = values[values > 0]
    p = p / p.sum()
    return -(p * numpy.log(p)).sum() / numpy.log(len(values))


def whole(x):
    """f64 covariance, eigenvalues and H, as a step's probe needs them."""
    x = x.double()
    x = x - x.mean(0)
    p = torch.linalg.eigvalsh(x.T @ x / len(x)).clamp(min=0)
    p = p / p.sum()
    return -(torch.xlogy(p, p).sum() / numpy.log(x.shape[1]))


print(f"{'case':<48}{'median':>9}{'min':>9}{'max':>9}  ms, one thread")
rows = torch.from_numpy(noise(512, 128))
measure("torch: covariance + eigvalsh + H, 512x128", lambda: whole(rows))
for rows, dim in ((512, 512), (2822, 512), (512, 1024), (2822, 1024)):
    for kind, x in (("decaying", decaying(rows, dim)), ("flat", noise(rows, dim))):
        sigma = covariance(x)
        tensor = torch.from_numpy(sigma)
        name = f"{kind}-{rows}x{dim}"
        print(f"{name}: H / ln d = {entropy(numpy.linalg.eigvalsh(sigma)):.5f}")
        measure(f"  numpy eigvalsh, {name}", lambda: numpy.linalg.eigvalsh(sigma))
        measure(f"  torch eigvalsh, {name}", lambda: torch.linalg.eigvalsh(tensor))
        for driver in ("ev", "evr"):
            measure(
                f"  scipy eigvalsh {driver}, {name}",
                lambda: scipy.linalg.eigvalsh(sigma, driver=driver, check_finite=False),
            )
