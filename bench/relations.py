"""Share of drawn rows that keep the exact relations of a table, by relation and method of drawing.

A table of every kind of relation is made, 2,000 rows; a model is fitted to it, and rows are drawn by each method. With
--without, relations are left to the method alone, for comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import pandas as pd
from common import machine_line, parser

from diabolo import MaskedAutoencoder, VariationalAutoencoder
from diabolo.generate.methods import Sampler, methods

START = pd.Timestamp("2023-01-01")
COUNTRY = {"Köln": "DE", "Berlin": "DE", "Paris": "FR", "Lyon": "FR", "Roma": "IT"}
#: Relations by name, each true of every row of the table.
CHECKS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "sum = a + b + c": lambda t: (t["sum"] - t["a"] - t["b"] - t["c"]).abs() < 0.005,
    "total = price · qty": lambda t: (t["total"] - t["price"] * t["qty"]).abs() < 0.005,
    "rate = a / b": lambda t: (t["rate"] - t["a"] / t["b"]).abs() < 0.00051,
    "ymd is the date of checkin": lambda t: t["checkin"].dt.strftime("%Y%m%d").astype(int) == t["ymd"],
    "checkin < checkout": lambda t: t["checkin"] < t["checkout"],
    "checkin is a whole day": lambda t: t["checkin"].dt.normalize() == t["checkin"],
    "low < high, high missing": lambda t: (t["low"] < t["high"]) | t["high"].isna(),
    "one hot": lambda t: t[["h0", "h1", "h2"]].sum(axis=1) == 1,
    "city → country": lambda t: t["city"].map(COUNTRY) == t["country"],
    "k2 = 10 k": lambda t: t["k2"] == 10 * t["k"],
    "F = 1.8 C + 32": lambda t: (t["F"] - (1.8 * t["C"] + 32)).abs() < 0.0501,
}


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b, c, price = (np.round(rng.lognormal(2, s, n), 2) for s in (1, 0.5, 1, 0.7))
    qty, city = rng.integers(1, 10, n), rng.choice(list(COUNTRY), n)
    checkin = START + pd.to_timedelta(rng.integers(0, 700, n), "D")
    low, hot, k = np.round(rng.normal(10, 4, n), 1), rng.integers(0, 3, n), rng.integers(0, 50, n)
    celsius = np.round(rng.normal(15, 8, n), 1)
    high = np.where(rng.random(n) < 0.2, np.nan, np.round(low + rng.exponential(5, n) + 0.1, 1))
    return pd.DataFrame(
        {
            **{"id": rng.permutation(n) + 1_000, "a": a, "b": b, "c": c, "sum": np.round(a + b + c, 2)},
            **{"price": price, "qty": qty, "total": np.round(price * qty, 2), "rate": np.round(a / b, 3)},
            **{"checkin": checkin, "ymd": checkin.strftime("%Y%m%d").astype(int)},
            **{"checkout": checkin + pd.to_timedelta(rng.poisson(4, n) + 1, "D"), "low": low, "high": high},
            **{f"h{i}": (hot == i).astype(int) for i in range(3)},
            **{"city": city, "country": [COUNTRY[w] for w in city], "k": k, "k2": 10 * k},
            **{"C": celsius, "F": np.round(1.8 * celsius + 32, 1)},
        }
    )


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--rows", type=int, default=2_000)
    given.add_argument("--epochs", type=int, default=15)
    given.add_argument("--without", action="store_true", help="Leave relations to the method alone.")
    args = given.parse_args()
    known = table(args.rows, args.seed)
    plain, masked = (
        kind(epochs=args.epochs, random_state=args.seed).fit(known)
        for kind in (VariationalAutoencoder, MaskedAutoencoder)
    )
    drawn = {}
    for m in methods.names():
        ae = masked if m == "masked" else plain
        if args.without:
            ae.sampler_ = Sampler(ae.model_, ae.fitted_.source_rows, relations=[])
        drawn[m] = ae.sample(args.rows, random_state=1, method=m)
    print(machine_line())
    print(f"{'share of rows':30}" + "".join(f"{m:>12}" for m in drawn))
    fresh = {"fresh keys": lambda t: ~t["id"].duplicated() & ~t["id"].isin(known["id"])}
    for name, holds in {**CHECKS, **fresh}.items():
        print(f"{name:30}" + "".join(f"{holds(rows).mean():12.1%}" for rows in drawn.values()))


if __name__ == "__main__":
    main()
