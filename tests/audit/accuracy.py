"""Makes the accuracies of predicted sequences again, from the predictions alone.

    python3 tests/audit/accuracy.py dump.csv figures.csv --kind collatz --op 3n+1 --base 8
        [--iterations 2] [--order least_significant] [--source-base 24]
    python3 tests/audit/accuracy.py dump.csv figures.csv --kind gcd --base 8

dump.csv has n, source, target and prediction of each example, figures.csv what plateau made of them
(experiments/src/observe/accuracy.rs). Only the standard library is used, and nothing is shared with
plateau: source and target are computed from n and must be the file's, the answer of a greatest common
divisor comes from math.gcd, a carry from the remainders of n, and the ends of an interval from the tails
of the binomial distribution themselves.

Exit code 1, and a sentence, if anything differs.
"""

import argparse
import csv
import math
import sys

ODD = {"3n+1": (3, 1), "5n+1": (5, 1), "7n+1": (7, 1), "1-n": (-1, 1), "3n-1": (3, -1)}


def digits(n, base, order):
    all_ = []
    while n or not all_:
        n, digit = divmod(n, base)
        all_.append(digit)
    return all_ if order == "least_significant" else all_[::-1]


def step(n, op):
    m, e = ODD[op]
    return n // 2 if n % 2 == 0 else abs(m * n + e)


def carries(n, op, base):
    """What goes from the i lowest places to the next, c_i = floor((m (n mod b^i) + e) / b^i), where it is not 0."""
    if n % 2 == 0:
        return 0
    m, e = (1, -1) if op == "1-n" else ODD[op]  # |1 - n| = n - 1
    powers = [base**i for i in range(1, 2 + len(digits(m * n + e, base, "")) + len(digits(n, base, "")))]
    return sum((m * (n % p) + e) // p != 0 for p in powers)


def interval(hits, of):
    """The shares at which so many or more, and so many or fewer, have probability 0.025 (Clopper and Pearson)."""
    choose = [math.lgamma(of + 1) - math.lgamma(i + 1) - math.lgamma(of - i + 1) for i in range(of + 1)]

    def tail(p, range_):
        log, rest = math.log(p), math.log1p(-p)
        return math.fsum(math.exp(choose[i] + i * log + (of - i) * rest) for i in range_)

    def solve(range_, rises):
        lo, hi = 0.0, 1.0
        for _ in range(50):
            mid = (lo + hi) / 2
            if (tail(mid, range_) < 0.025) == rises:
                lo = mid
            else:
                hi = mid
        return (lo + hi) / 2

    low = 0.0 if hits == 0 else solve(range(hits, of + 1), True)
    high = 1.0 if hits == of else solve(range(hits + 1), False)
    return low, high


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump")
    parser.add_argument("figures")
    parser.add_argument("--kind", required=True, choices=["collatz", "gcd"])
    parser.add_argument("--op", default="3n+1", choices=list(ODD))
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--base", type=int, required=True)
    parser.add_argument("--source-base", type=int, help="where it is not that of the answer (collatz)")
    parser.add_argument("--order", default="most_significant", choices=["most_significant", "least_significant"])
    args = parser.parse_args()

    counts = {}

    def count(name, hit):
        hits, of = counts.get(name, (0, 0))
        counts[name] = (hits + hit, of + 1)

    with open(args.dump, newline="") as file:
        for row in csv.DictReader(file):
            numbers = [int(word) for word in row["n"].split()]
            source, target, prediction = (
                [int(word) for word in row[key].split()] for key in ("source", "target", "prediction")
            )
            carried = 0
            if args.kind == "gcd":
                a, b = numbers
                answer = math.gcd(a, b)
                expected = digits(a, args.base, args.order) + [args.base + 1] + digits(b, args.base, args.order)
            else:
                (answer,) = numbers
                expected = digits(answer, args.source_base or args.base, args.order)
                for _ in range(args.iterations):
                    carried += carries(answer, args.op, args.base)
                    answer = step(answer, args.op)
            if source != expected or target != digits(answer, args.base, args.order):
                sys.exit(f"n = {row['n']}: source and target are not those of the task")
            exact = prediction == target
            count("exact", exact)
            if args.kind == "collatz":
                count("exact/odd" if numbers[0] % 2 else "exact/even", exact)
                count(f"exact/carries={carried}", exact)
                count(f"exact/output=2^{answer.bit_length() - 1}" if answer else "exact/output=0", exact)
            else:
                count(f"exact/output={answer}", exact)
            for place, digit in enumerate(target):
                count("digit", prediction[place : place + 1] == [digit])

    with open(args.figures, newline="") as file:
        figures = {row["name"]: row for row in csv.DictReader(file)}
    if set(figures) != set(counts):
        sys.exit(f"the figures are {sorted(figures)}, and {sorted(counts)} were expected")
    for name, (hits, of) in counts.items():
        row = figures[name]
        if (int(row["hits"]), int(row["of"])) != (hits, of):
            sys.exit(f"{name}: {row['hits']} of {row['of']}, and {hits} of {of} was expected")
        for key, end in zip(("lo", "hi"), interval(hits, of)):
            if abs(float(row[key]) - end) > 1e-9:
                sys.exit(f"{name}: {key} = {row[key]}, and {end} was expected")
    print(f"{len(counts)} figures of {counts['exact'][1]} predictions agree")


if __name__ == "__main__":
    main()
