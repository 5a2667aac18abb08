"""Error, bits and detection against the size of the latent: principal components, the model, and other sizes of it.

Those are the leading axes of a model that nests them, else quick refits.

All three are judged on the same rows by the same yardsticks, so that they can be compared:

    explained = 1 − Σ (x − x̂)² / Σ (x − x̄)²             over standardised inputs that are there
    bits      = ½ Σ_c n_c/n log2 1 / (1 − explained_c)   savings of a Gaussian code that knows z; n_c cells are there
    detection = AUROC of the error, damaged rows against whole ones

A damaged row has one column in eight, at least one, from another row: each cell is plausible, together they are not.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.data.sources import encoded_rows
from diabolo.metrics import auroc
from diabolo.model.autoencoder import Model
from diabolo.report.evidence import Evidence, share, spaced
from diabolo.report.space import Pass, explained_variance, pass_rows
from diabolo.train.loop import fit

__all__ = ["SizePoint", "LatentSizes", "compared_sizes"]

#: Seconds that all quick refits may take together, by the pace of the model's own training, which its file tells.
MOST_SECONDS = 4.0
#: Rows and epochs of a quick refit.
REFIT_ROWS, REFIT_EPOCHS, REFIT_BATCH, FEWEST_REFIT_ROWS = 2_500, 8, 64, 300


@dataclasses.dataclass(frozen=True)
class SizePoint:
    """Figures of a latent of one size."""

    k: int
    explained: float
    bits: float
    detection: float
    kl_bits: float | None = None  #: mean KL(q ‖ π) per row of a Gaussian latent


@dataclasses.dataclass(frozen=True)
class LatentSizes:
    """Figures of principal components by size, of the model, and of other sizes of it, or why there are none."""

    pca: list[SizePoint]
    own: SizePoint
    refits: list[SizePoint]
    why_none: str = ""
    #: What the other sizes of the model are.
    kind: str = "quick refits"


def compared_sizes(e: Evidence) -> LatentSizes:
    """Compare sizes of the latent on the rows compared."""
    whole, broken = e.rows.values[e.compared], e.damaged
    readable = ~_bad(e, broken)
    whole, broken = whole[readable], broken[readable]
    own = [pass_rows(e.model, v) for v in (whole, broken)]
    point = _point(e, e.model.latent_dim, _triple(own[0]), _triple(own[1]), own[0].kl)
    if e.model.masking is not None and e.config.nested > 0:
        return LatentSizes(_components(e, *own), point, _nested(e, whole, broken), kind="leading axes of this model")
    refits, why = _refits(e, whole, broken)
    return LatentSizes(_components(e, *own), point, refits, why)


def _nested(e: Evidence, whole: np.ndarray, broken: np.ndarray) -> list[SizePoint]:
    """The first k axes of one fit, for a few k up to its own."""
    most = e.model.latent_dim
    out = []
    for k in sorted({k for k in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, most) if k <= most}):
        pair = [_triple(pass_rows(e.model, v, k)) for v in (whole, broken)]
        out.append(_point(e, k, pair[0], pair[1]))
    return out


def _bad(e: Evidence, values: np.ndarray) -> np.ndarray:
    flags = e.encoding.flags(values)
    return np.array([f is not None for f in flags], bool)


Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def _triple(p: Pass) -> Triple:
    return p.x, p.x_hat, p.there


def _point(e: Evidence, k: int, whole: Triple, broken: Triple, kl: np.ndarray | None = None) -> SizePoint:
    sums = explained_variance(*whole, e.space.column, len(e.schema.names))
    counts = whole[2].mean(axis=0)
    known = e.space.column >= 0
    often = np.zeros(len(e.schema.names))
    np.maximum.at(often, e.space.column[known], counts[known])
    saved = -0.5 * np.log2(np.clip(1 - np.nan_to_num(sums[0]), 1e-6, 1.0))
    bits = float((often * saved).sum())
    errors = [_row_error(*t) for t in (whole, broken)]
    y = np.r_[np.zeros(len(errors[0])), np.ones(len(errors[1]))]
    carried = None if kl is None else float(kl.sum(axis=1).mean() / np.log(2))
    return SizePoint(k, share(sums), bits, float(auroc(y, np.concatenate(errors))), carried)


def _row_error(x: np.ndarray, x_hat: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.asarray((np.where(there, x - x_hat, 0).astype(np.float64) ** 2).sum(axis=1))


def _components(e: Evidence, whole: Pass, broken: Pass) -> list[SizePoint]:
    found = e.components
    most = min(found.axes.shape[1], 40)
    ks = sorted({k for k in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, e.model.latent_dim) if k <= most})
    out = []
    pairs = zip(found.reconstruct(whole.x, ks), found.reconstruct(broken.x, ks), strict=True)
    for (k, a), (_, b) in pairs:
        out.append(_point(e, k, (whole.x, a, whole.there), (broken.x, b, broken.there)))
    return out


def _refits(e: Evidence, whole: np.ndarray, broken: np.ndarray) -> tuple[list[SizePoint], str]:
    """The same model at other sizes of the latent, each trained for a moment on a few rows of the table."""
    if e.refits is False:
        return [], "Quick refits were not asked for."
    values = _refit_values(e)
    if len(values) < FEWEST_REFIT_ROWS:
        return [], f"Quick refits need {FEWEST_REFIT_ROWS} rows that are not looked at here; there are {len(values):,}."
    ks = _ladder(e.model.latent_dim, e.space.width)
    seconds = len(values) * REFIT_EPOCHS * len(ks) / _pace(e)
    if e.refits is None and seconds > MOST_SECONDS:
        return [], (
            f"Quick refits at other sizes would take some {seconds:.0f} s, by the pace of the model's own training: "
            "--refits runs them."
        )
    return [_refit(e, k, values, whole, broken) for k in ks], ""


def _refit_values(e: Evidence) -> np.ndarray:
    """Rows to refit on: none that a figure is judged by."""
    apart = np.zeros(len(e.rows.values), bool)
    apart[e.compared] = True
    free = np.flatnonzero(~apart & np.isfinite(e.scores))
    return np.asarray(e.rows.values[free[spaced(len(free), REFIT_ROWS)]])


def _ladder(k: int, width: int) -> list[int]:
    """A few sizes around k."""
    wanted = {1, max(1, k // 2), k, 2 * k}
    return sorted(s for s in wanted if s <= max(k, width))


def _pace(e: Evidence) -> float:
    """Rows per second of the model's own training; of a closed form that of its inputs' size."""
    rows, seconds = (sum(float(h.get(key) or 0) for h in e.fitted.history) for key in ("rows", "seconds"))
    solved = len(e.fitted.history) < 2
    return 5e9 / (3 * max(1, e.model.multiply_adds) + 1e5) if solved or seconds <= 0 else rows / seconds


def _refit(e: Evidence, k: int, values: np.ndarray, whole: np.ndarray, broken: np.ndarray) -> SizePoint:
    config = dataclasses.replace(
        e.config,
        latent_dim=k,
        epochs=REFIT_EPOCHS,
        batch_size=REFIT_BATCH,
        # Without a rise of beta, a training as short may end with an empty code.
        warmup=REFIT_EPOCHS // 2 if e.model.latent.stochastic else 0,
        bound_after=0,
        robust="none",
        contamination=None,
        device="cpu",
        random_state=e.seed,
    )
    model = Model(config, e.encoding)
    at = np.arange(len(values))
    last = at % 10 == 0
    train, stop = (encoded_rows(e.encoding, values[rows], None, at[rows]) for rows in (~last, last))
    fit(model, train, stop)
    own = [pass_rows(model, v) for v in (whole, broken)]
    return _point(e, k, _triple(own[0]), _triple(own[1]), own[0].kl)
