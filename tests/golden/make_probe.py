"""Golden values for experiments/src/observe/probe.rs, from scikit-learn: probe.json.

    python make_probe.py [output folder]

Features are drawn once from a seeded generator, rounded to three decimals and stored with what scikit-learn makes of them:
StandardScaler and LogisticRegression with C = 1, fitted to the last digits by Newton's method. The minimum is unique but
for a number that can be added to every intercept of a softmax; here they sum to 0. Its own default, L-BFGS, is asked,
too, and must agree.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(20260413)


def fit(x, y, solver, tol):
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=1.0, solver=solver, tol=tol, max_iter=100_000).fit(scaler.transform(x), y)
    intercept = model.intercept_ - (model.intercept_.mean() if len(model.intercept_) > 1 else 0)
    return scaler, model, intercept


def case(name, x, y, train):
    """The first `train` rows are fitted, the others are held out."""
    x = np.float32(np.round(x, 3))
    data = x.astype(np.float64)
    scaler, model, intercept = fit(data[:train], y[:train], "newton-cholesky", 1e-13)
    _, other, other_intercept = fit(data[:train], y[:train], "lbfgs", 1e-11)
    off = max(np.abs(model.coef_ - other.coef_).max(), np.abs(intercept - other_intercept).max())
    assert off < 1e-5, (name, off)
    predicted = model.predict(scaler.transform(data[train:]))
    print(name, x.shape, "accuracy", (predicted == y[train:]).mean(), "solvers differ by", off)
    return dict(
        name=name, dim=x.shape[1], train=train, x=[float(str(v)) for v in x.ravel()], y=y.tolist(),
        coefficients=model.coef_.ravel().tolist(), intercepts=intercept.tolist(), predicted=predicted.tolist(),
    )


def mixed(rows, dim, spread):
    """Correlated features of different sizes, off zero."""
    return rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim)) * spread + rng.normal(size=dim) * 3


def labels(x, classes, noise):
    score = (x - x.mean(0)) / x.std(0) @ rng.normal(size=(x.shape[1], classes))
    return np.argmax(score + noise * rng.normal(size=score.shape), 1)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    cases = []
    x = mixed(150, 6, 1.0)
    cases.append(case("noisy, two classes", x, labels(x, 2, 2.0), 120))
    cases.append(case("separable, two classes", x, labels(x, 2, 0.0), 120))
    x = mixed(200, 5, 0.3)
    x[:, 2] = 0.125  # constant
    cases.append(case("a constant feature, four classes", x, labels(np.delete(x, 2, 1), 4, 1.0), 160))
    # as a collapsed encoder: eight features that are nearly one, and its class a third of the rows
    x = rng.normal(size=(180, 1)) * np.linspace(1, 2, 8) + 0.02 * rng.normal(size=(180, 8))
    cases.append(case("collapsed, three classes", x, labels(x, 3, 0.5) * 2 + 1, 144))
    x = mixed(250, 10, 1.0)
    cases.append(case("separable, eight classes", x, labels(x, 8, 0.0), 200))
    lines = ",\n".join(json.dumps(row) for row in cases)
    (folder / "probe.json").write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
