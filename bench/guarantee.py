"""The share of normal rows that a detector flags, beside the promise: copies, groups, drift, by split.

Each fit draws a table anew, fits the default detector, and scores fresh rows of the same kind: new rows, rows of new
groups, later rows. A cell is the mean share flagged over fits ± its standard error, with the least and the largest of a
fit; "warned" is the share of fits that warn of rows that are not exchangeable. Exit status 1: a rate above its promise
by three standard errors where nothing was said.
"""

from __future__ import annotations

import sys
import warnings

import common
import numpy as np

from diabolo import AnomalyDetector, VariationalAutoencoder

PLANE = np.array([[1, 0.5, 0, 2], [0, 1, -1, 0.3]])


def plane(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    return z @ PLANE + 0.3 * rng.normal(size=(len(z), 4))


def drift(rng: np.random.Generator, start: float, n: int) -> np.ndarray:
    """Rows whose centre moves by 6 standard deviations in a table's length."""
    z = rng.normal(size=(n, 2))
    z[:, 0] += 6 * (start + np.arange(n) / n)
    return plane(rng, z)


def groups_of(rng: np.random.Generator, groups: int, rows: int) -> np.ndarray:
    """Rows near the centre of their group."""
    z = np.repeat(rng.normal(size=(groups, 2)), rows, axis=0) + 0.1 * rng.normal(size=(groups * rows, 2))
    return plane(rng, z) if rows == 1 else z @ PLANE + np.repeat(0.3 * rng.normal(size=(groups, 4)), rows, axis=0)


#: Kind of data: (table of n rows, fresh rows, splits to try).
KINDS = {
    "continuous": (lambda r, n: plane(r, r.normal(size=(n, 2))), lambda r, n: plane(r, r.normal(size=(n, 2))), {}),
    "Poisson, ties": (lambda r, n: 1.0 * r.poisson(3, (n, 4)), lambda r, n: 1.0 * r.poisson(3, (n, 4)), {}),
    "each row 6 times": (
        lambda r, n: r.permutation(np.repeat(plane(r, r.normal(size=(n // 6, 2))), 6, axis=0)),
        lambda r, n: plane(r, r.normal(size=(n, 2))),
        {"content": lambda n: {"groups": "content"}},
    ),
    "groups of 30": (
        lambda r, n: groups_of(r, n // 30, 30),
        lambda r, n: groups_of(r, n // 2, 2),
        {"group": lambda n: {"groups": np.arange(n) // 30}},
    ),
    "drift, later rows": (
        lambda r, n: drift(r, 0, n),
        lambda r, n: drift(r, 1, n)[: n // 5],
        {"time": lambda n: {"time": np.arange(n)}},
    ),
}


def measure(kind: str, split: str, rate: float, fits: int, rows: int) -> tuple[list[float], float]:
    """Shares flagged in each fit, and the share of fits that warn."""
    build, fresh, splits = KINDS[kind]
    shares, warned = [], 0
    for seed in range(fits):
        rng = np.random.default_rng([list(KINDS).index(kind), seed])
        X, new = build(rng, rows), fresh(rng, rows)
        ae = VariationalAutoencoder(latent_dim=2, epochs=6, random_state=seed)
        detector = AnomalyDetector(ae, false_alarm_rate=rate, random_state=seed)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            detector.fit(X, **(splits[split](rows) if split != "position" else {}))
        shares.append(float((detector.predict(new) == -1).mean()))
        warned += bool(said)
    return shares, warned / fits


def main() -> int:
    options = common.parser(__doc__)
    options.add_argument("--fits", type=int, default=40, help="fits of each line (default: 40)")
    options.add_argument("--rows", type=int, default=3000, help="rows of a table (default: 3,000)")
    options.add_argument("--rate", type=float, default=0.05, help="rate that is promised (default: 0.05)")
    given = options.parse_args()
    fits, rows = (4, 1200) if given.quick else (given.fits, given.rows)
    print(common.machine_line())
    print(f"{fits} fits of {rows:,} rows; promised: {given.rate:.1%}")
    broken = 0
    for kind, (_, _, splits) in KINDS.items():
        for split in ("position", *splits):
            shares, warned = measure(kind, split, given.rate, fits, rows)
            mean, error = float(np.mean(shares)), float(np.std(shares, ddof=1) / np.sqrt(fits))
            silent = mean > given.rate + 3 * error and warned < 1 and split != "time"
            broken += silent
            verdict = "BROKEN IN SILENCE" if silent else ""
            spread = f"{mean:7.2%} ± {error:.2%} ({min(shares):.1%} to {max(shares):.1%})"
            print(f"  {kind:<20} {split:<10} {spread:<36} warned {warned:4.0%}  {verdict}", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
