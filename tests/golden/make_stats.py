"""Golden values for experiments/src/stats and forecast, from scipy: stats.json.

    python make_stats.py [output folder]

Numbers are drawn once from a seeded generator and stored with what scipy says of them, so the Rust tests need neither.
Every bootstrap here is scipy's own, with 200,000 resamples and scipy's random numbers: the tests allow for the spread of
their own, smaller number.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import optimize, stats

rng = np.random.default_rng(20260413)


def times(n, mean, spread):
    """Steps of grokking, no two alike."""
    return np.unique(np.round(rng.normal(mean, spread, 4 * n)))[: 4 * n : 4][:n].tolist()


def tied(n, values):
    return rng.integers(0, values, n).astype(float).tolist()


def mann_whitney():
    groups = [
        (times(5, 14000, 3000), times(5, 18000, 3000)),
        (times(10, 14000, 3000), times(10, 15000, 3000)),
        (times(3, 14000, 3000), times(12, 15000, 3000)),
        (times(30, 14000, 3000), times(10, 22000, 3000)),
        (times(40, 14000, 3000), times(45, 15500, 3000)),
        (tied(8, 5), tied(9, 6)),
        (tied(20, 3), tied(15, 4)),
        ([1.0, 1.0, 2.0], [1.0, 3.0, 3.0]),
    ]
    rows = []
    for x, y in groups:
        exact = len(set(x + y)) == len(x + y)
        method = "exact" if exact else "asymptotic"
        test = stats.mannwhitneyu(x, y, alternative="two-sided", method=method, use_continuity=True)
        rows.append(dict(x=x, y=y, u=float(test.statistic), p=float(test.pvalue), exact=exact))
    return rows


def correlation():
    x = rng.normal(size=25)
    columns = [
        (x.tolist(), (x + rng.normal(size=25)).tolist()),
        (x.tolist(), np.exp(-2 * x).tolist()),
        (tied(30, 4), tied(30, 5)),
        ((1e9 + x).tolist(), (1e-9 * x**3).tolist()),
    ]
    return [
        dict(
            x=x, y=y, pearson=stats.pearsonr(x, y).statistic, spearman=stats.spearmanr(x, y).statistic,
            kendall=stats.kendalltau(x, y, variant="b").statistic,
        )
        for x, y in columns
    ]


def clopper_pearson():
    counts = [(10, 10), (0, 10), (5, 10), (28, 30), (1, 30), (9, 10), (500, 1000), (3, 100000)]
    rows = []
    for k, n in counts:
        for level in (0.8, 0.95, 0.99):
            ends = stats.binomtest(k, n).proportion_ci(level, method="exact")
            rows.append(dict(k=k, n=n, level=level, lo=float(ends.low), hi=float(ends.high)))
    return rows


def bootstrap():
    rows = []
    for x in (times(10, 14000, 3000), np.exp(rng.normal(size=12)).tolist()):
        for name, statistic in (("mean", np.mean), ("median", np.median), ("variance", lambda v, axis: np.var(v, axis=axis, ddof=1))):
            for method in ("percentile", "BCa"):
                if (name, method) == ("median", "BCa"):
                    continue  # the jackknife of a median is not smooth
                found = stats.bootstrap((x,), statistic, confidence_level=0.9, n_resamples=200_000, method=method, rng=7, batch=10_000)
                ends = found.confidence_interval
                rows.append(dict(
                    x=x, statistic=name, method=method, level=0.9, lo=float(ends.low), hi=float(ends.high),
                    error=float(found.standard_error),
                ))
    return rows


def quantile():
    x = rng.normal(size=11).tolist()
    return [dict(x=x, q=q, value=float(np.quantile(x, q))) for q in (0.0, 0.025, 0.3, 0.5, 0.61, 0.975, 1.0)]


def power_law():
    """y = c1 x^gamma + c2 with c1, c2 >= 0: the best of many starts of scipy's least squares."""
    rows = []
    for c1, gamma, c2, noise in ((2.45e5, 1.65, 0.0, 600.0), (4e4, 0.7, 900.0, 400.0), (6e4, 2.4, 1500.0, 150.0)):
        x = np.round(rng.uniform(-0.02, 0.2, 80), 6)
        gap = np.maximum(x, 0)
        y = np.round(c1 * gap**gamma + c2 + rng.normal(0, noise, x.size), 3)

        def residual(v):  # c1 and c2 in units of the data
            return v[0] * 1e4 * (gap / 0.1) ** v[1] + v[2] * 1e3 - y

        fits = [
            optimize.least_squares(residual, [1.0, g, 0.5], bounds=([0, 0.05, 0], [np.inf, 10, np.inf]), xtol=1e-15, ftol=1e-15, gtol=1e-15)
            for g in (0.3, 0.7, 1.0, 1.7, 2.5, 4.0)
        ]
        best = min(fits, key=lambda fit: fit.cost)
        scale, g, offset = best.x
        rows.append(dict(
            gap=x.tolist(), remaining=y.tolist(), c1=float(scale * 1e4 / 0.1**g), gamma=float(g), c2=float(offset * 1e3),
            squares=float(2 * best.cost),
        ))
    return rows


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    golden = dict(
        mann_whitney=mann_whitney(), correlation=correlation(), clopper_pearson=clopper_pearson(),
        bootstrap=bootstrap(), quantile=quantile(), power_law=power_law(),
    )
    lines = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in golden.items()
    )
    (folder / "stats.json").write_text("{\n" + lines + "\n}\n")
    for row in golden["power_law"]:
        print({k: row[k] for k in ("c1", "gamma", "c2", "squares")})


if __name__ == "__main__":
    main()
