#!/usr/bin/env python3
"""The products at the workloads' shapes in PyTorch (MKL, oneDNN), in GFLOP/s.

    python matmul_torch.py [--threads N] [M,K,N ... | -]

X is (m, k), W is (k, n): nn is X·W, nt is dY·Wᵀ, tn is Xᵀ·dY; results go to buffers that exist.
"""

import argparse

import torch

from common import SHAPES, blocks, row, serve


def measure(shape, threads):
    m, k, n = map(int, shape.split(","))
    x, w, y = torch.rand(m, k) - 0.5, torch.rand(k, n) - 0.5, torch.rand(m, n) - 0.5
    forms = {
        "nn": lambda: torch.mm(x, w, out=y),
        "nt": lambda: torch.mm(y, w.T, out=x),
        "tn": lambda: torch.mm(x.T, y, out=w),
    }
    for form, once in forms.items():
        rates = [2e-9 * m * k * n / s for s in blocks(once)]
        row("matmul", shape, form, threads, "torch", "GFLOP/s", rates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("shapes", nargs="*", help="M,K,N; - reads them from stdin")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)
    serve(args.shapes, SHAPES, lambda shape: measure(shape, args.threads))
