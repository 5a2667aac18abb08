"""What a network's residuals add to the default score: a masked autoencoder's in place of the linear ones.

Tables of OddBench and ADBench by the one-class protocol of `bench/tables.py`, the smallest first (training cells),
until --minutes of processor time are spent. A `MaskedAutoencoder()` is fitted to each, and both scores compare with the
same stored rows: they differ in the view r alone. A residual is Φ⁻¹ of the middle of P(X < x) and P(X ≤ x) under the
law of a column given all other cells of the row; one that is missing is 0.
"""

from __future__ import annotations

import sys
import time
import warnings

import common  # pins threads, so it comes first
import numpy as np
import protocols
import tables
import torch

from diabolo import AnomalyDetector, MaskedAutoencoder
from diabolo.data.encoding import SCALED, Encoded, Encoding
from diabolo.data.matching import matched
from diabolo.data.table import as_table
from diabolo.detect import places as learnt
from diabolo.detect import views as module
from diabolo.model.autoencoder import Model
from diabolo.model.chain import leave_one_out
from diabolo.model.laws import Law
from diabolo.model.masking import variables_there
from diabolo.model.variables import variables

#: A normal score beyond which the law's tails are rounded to nothing.
FARTHEST = 8.0


def residuals(model: Model, rows: Encoded) -> torch.Tensor:
    """Normal scores of scaled columns given the others, [B, columns]."""
    found = variables(model)
    there = variables_there(rows, len(found))
    out: dict[int, torch.Tensor] = {}
    for v, theta in leave_one_out(model, found, rows):
        if v.single.block.kind in SCALED:
            ends = Law(v, theta, rows.x[:, v.inputs], there[:, v.number]).cdf()
            score = torch.special.ndtri(torch.from_numpy(np.mean(ends, axis=0)))
            out[int(v.inputs[0])] = score.nan_to_num(0.0, FARTHEST, -FARTHEST).clamp(-FARTHEST, FARTHEST)
    return torch.stack([out[i] for i in sorted(out)], dim=-1).float()


def places_of(model: Model) -> type[learnt.Places]:
    """Places whose view r is of a model's residuals."""

    class Places(learnt.Places):
        def __init__(self, encoding: Encoding, stored: Encoded) -> None:
            self._seen = stored
            super().__init__(encoding, stored)

        def __call__(self, rows: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
            self._seen = rows
            return super().__call__(rows)

        def _left(self, inputs: torch.Tensor) -> torch.Tensor | None:
            return residuals(model, self._seen) if self._scaled else None

    return Places


def measured(path) -> dict:
    """AUROC and average precision, per cent, by linear residuals and by those of the network; and its costs."""
    train, test, anomalous, _ = tables.thinned(tables.one_class(path))
    with common.Clock() as fitting:
        detector = AnomalyDetector(MaskedAutoencoder(random_state=0), random_state=0).fit(train)
    encoding, stored = detector.autoencoder_.model_.encoding, detector.calibrated_.reference.stored
    values = matched(as_table(test), encoding.schema, "the detector").values
    own = torch.from_numpy(stored.positions(values))
    scores, seconds = {"KNN": tables.knn(train, test, None)}, {}
    for name in ("linear", "network"):
        module.Places = learnt.Places if name == "linear" else places_of(detector.autoencoder_.model_)
        with torch.inference_mode():
            found = module.Views(encoding, stored.values)
            with common.Clock() as clock:
                scores[name] = found(encoding.encode(torch.from_numpy(values)), own).numpy()
        seconds[name] = clock.cpu
    module.Places = learnt.Places
    figures = {name: [100 * v for v in protocols.judge(anomalous, s)[:2]] for name, s in scores.items()}
    us = {name: 1e6 * s / len(test) for name, s in seconds.items()}
    return {"found": figures, "us": us, "fit": fitting.cpu, "shape": train.shape}


def cells(path) -> int:
    """Training cells of a table."""
    return tables.one_class(path)[0].size


def report(lines: list[dict]) -> None:
    groups = {"all": lines} | {k: [r for r in lines if r["kind"] == k] for k in ("oddbench", "adbench")}
    for kind, chosen in groups.items():
        if len(chosen) < 2:
            continue
        each = {name: np.array([r["found"][name] for r in chosen]) for name in ("KNN", "linear", "network")}
        print(f"\n{kind}: {len(chosen)} tables, AUROC / average precision")
        for name, found in each.items():
            print(f"  {name:<8} {found[:, 0].mean():.2f} / {found[:, 1].mean():.2f}")
        gain = each["network"] - each["linear"]
        error = gain.std(axis=0, ddof=1) / len(gain) ** 0.5
        won, lost = ((sign * gain[:, 0] > 0.005).sum() for sign in (1, -1))
        print(
            f"  network − linear: {gain[:, 0].mean():+.2f} ± {error[0]:.2f} / {gain[:, 1].mean():+.2f} ± {error[1]:.2f}"
            f", {won}–{lost}, from {gain[:, 0].min():+.1f} to {gain[:, 0].max():+.1f}"
        )
    us = {name: np.median([r["us"][name] for r in lines]) for name in ("linear", "network")}
    print(f"\nmedian of the tables, µs a row: {us['linear']:.0f} linear, {us['network']:.0f} network; ", end="")
    print(f"fit {np.median([r['fit'] for r in lines]):.1f} s; the largest table {lines[-1]['shape']}")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=25.0, help="of processor time (default: 25)")
    options = parser.parse_args()
    paths = [(cells(p), p) for kind in ("oddbench", "adbench") for p in common.data_path(kind).glob("*.npz")]
    print(common.machine_line())
    lines: list[dict] = []
    for _, path in sorted(paths)[: 3 if options.quick else None]:
        if time.process_time() > 60 * options.minutes:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lines.append({"kind": path.parent.name, "table": path.stem} | measured(path))
        print(f"# {path.stem} {lines[-1]}", file=sys.stderr, flush=True)
    report(lines)
    common.write_json(options.json, "residuals", options, lines)


if __name__ == "__main__":
    sys.exit(main())
