"""Rows drawn from a fitted autoencoder: what it keeps for that, interpolation, the file, and how good the rows are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from diabolo.artifact import Section
from diabolo.cards import Count, card_of
from diabolo.data.encoding import Encoding
from diabolo.data.hashing import hash_rows
from diabolo.data.table import as_table, from_values, matched
from diabolo.errors import ConfigError, DataError, ModelFileError
from diabolo.fitted.table import seed_of
from diabolo.generate.fidelity import MOST_ROWS, Fidelity, compare
from diabolo.generate.given import given_cells
from diabolo.generate.methods import Source, automatic, methods
from diabolo.generate.mixture import Mixture

if TYPE_CHECKING:
    from diabolo.estimators.autoencoder import Autoencoder

__all__ = ["draw", "generator_section", "interpolated", "judge", "judge_values", "source_of", "take_generator"]

#: Rows drawn at once.
PIECE = 65_536


def source_of(ae: Autoencoder) -> Source:
    """What an autoencoder draws rows from; learnt when first asked for, and again after a fit."""
    found: Source | None = getattr(ae, "_source", None)
    if found is None or found.model is not ae.model_ or found.rows is not ae.fitted_.kept:
        found = ae._source = Source(ae.model_, ae.fitted_.kept)
    return found


def draw(ae: Autoencoder, n: int, random_state: Any, mean: bool, method: Any, given: Mapping[str, Any] | None) -> Any:
    """n rows in the container and the types of the fit; see `Autoencoder.sample`."""
    from diabolo.estimators.autoencoder import mean_type

    check_is_fitted(ae, "model_")
    cells, schema = draw_cells(ae, n, random_state, mean, method, given), ae.model_.encoding.schema
    dtypes = [mean_type(c.dtype) if mean else c.dtype for c in schema.columns]
    return from_values(cells, schema.names, dtypes, ae.container_, schema.levels, schema.row_shape)


def draw_cells(
    ae: Autoencoder, n: int, random_state: Any, mean: bool, method: Any, given: Mapping[str, Any] | None
) -> np.ndarray:
    """The cells of n rows, [n, C] float64 in the schema's order and levels."""
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ConfigError(f"n = {n!r}; allowed are whole numbers from 1 up")
    generator = torch.Generator().manual_seed(seed_of(random_state))
    source, encoding = source_of(ae), ae.model_.encoding
    part = methods.create(automatic(source, mean) if method == "auto" else method)
    conditions = given_cells(encoding.schema, given)
    out = np.empty((n, len(encoding.schema.columns)))
    for start in range(0, n, PIECE):
        piece = slice(start, min(start + PIECE, n))
        out[piece] = part.draw(source, piece.stop - start, conditions, generator, mean)
    if not mean:
        _leave_out(encoding, out, conditions, generator)
    return _rounded(encoding, out)


def _leave_out(encoding: Encoding, values: np.ndarray, given: Mapping[int, float], generator: torch.Generator) -> None:
    """Let cells of constants, which no model of rows has, be missing as often as in training rows."""
    for i in encoding.gappy:
        if i not in given:
            drawn = torch.rand(len(values), generator=generator, dtype=torch.float64).numpy()
            values[drawn < encoding.schema.columns[i].missing, i] = np.nan


def _rounded(encoding: Encoding, values: np.ndarray) -> np.ndarray:
    """Put draws of rounded columns back on their grid, ordinals on their values."""
    for i, column in enumerate(encoding.schema.columns):
        if column.kind == "ordinal":
            levels = encoding.level_values(i).numpy()
            at = np.abs(values[:, i, None] - levels).argmin(axis=1)
            values[:, i] = np.where(np.isnan(values[:, i]), np.nan, levels[at])
        if column.resolution > 0 and column.kind in ("real", "integer", "count", "angle"):
            # By division: 3 · 0.1 is not the number that is written 0.3, and whoever compares cells would see it.
            steps = np.round(1 / column.resolution)
            values[:, i] = np.round(values[:, i] * steps) / steps
    return values


def interpolated(ae: Autoencoder, a: Any, b: Any, steps: int) -> np.ndarray:
    """E[x|z] along the straight line from the codes of rows a to those of rows b; see `Autoencoder.interpolate`."""
    check_is_fitted(ae, "model_")
    if not isinstance(steps, (int, np.integer)) or steps < 2:
        raise ConfigError(f"steps = {steps!r}; allowed are whole numbers from 2 up: both ends count")
    first, last = (np.asarray(ae.transform(rows), np.float64) for rows in (a, b))
    if len(first) != len(last):
        raise DataError(f"a has {len(first)} rows and b has {len(last)}; each row of a needs one of b")
    line = np.linspace(0, 1, steps)[:, None, None]
    codes = (1 - line) * first + line * last
    rows = np.asarray(ae.inverse_transform(codes.reshape(-1, codes.shape[-1])))
    return rows.reshape(steps, len(first), *rows.shape[1:])


# ── how good they are ─────────────────────────────────────────────────────────────────────────────


def judge(ae: Autoencoder, X: Any, n: int = MOST_ROWS, seed: int = 0, method: Any = "auto") -> Fidelity:
    """Draw rows and compare them with the rows of X that the autoencoder was not fitted on.

    Rows that it was fitted on are known by their hashes; copies are looked for among the training rows that it keeps.

    Args:
        ae: fitted.
        X: real rows, [m, C].
        n: rows to draw, at most as many as there are real ones.
        seed: of draws, folds and classifier.
        method: as for `Autoencoder.sample`.

    Raises:
        DataError: fewer than ten rows of X are new to the autoencoder.
    """
    check_is_fitted(ae, "model_")
    table = matched(as_table(X), ae.model_.encoding.schema, "the model")
    return judge_values(ae, table.values, n, seed, method)


def judge_values(ae: Autoencoder, values: np.ndarray, n: int, seed: int, method: Any) -> Fidelity:
    """`judge` for rows [m, C] in the schema's order and levels."""
    schema, known = ae.model_.encoding.schema, ae.fitted_.row_hashes
    real = values if known is None else values[~np.isin(hash_rows(values), known)]
    # What cannot be scored, as an infinite cell, no draw is like, and no distance is to.
    bad = ae.model_.encoding.encode(_tensor(real)).bad if len(real) else None
    real = real if bad is None else real[~bad.numpy()]
    if len(real) < 10:
        raise DataError(
            f"{len(real)} of {len(values):,} rows are new to the model; at least 10 are needed to judge drawn rows: "
            "give rows that it was not fitted on"
        )
    drawn = draw_cells(ae, min(n, len(real)), seed, False, method, None)
    return compare(real, drawn, schema, ae.fitted_.kept, seed)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class GeneratorCard:
    rows: Count


def generator_section(ae: Autoencoder) -> dict[str, Section]:
    """The rows kept and the density of their codes, as a section by its name; none where none were kept."""
    source = source_of(ae)
    if source.rows is None:
        return {}
    mixture = source.mixture
    tensors = {"rows": source.rows, **dataclasses.asdict(mixture)}
    return {"generator": Section({"rows": len(source.rows)}, tensors)}


def take_generator(path: str | Path, ae: Autoencoder, section: Section | None) -> None:
    """Give a loaded autoencoder what its file keeps for drawing rows.

    Raises:
        ModelFileError: the section does not fit the model.
    """
    if section is None:
        return
    card = card_of(path, GeneratorCard, section.card)
    wanted = {"rows", *(f.name for f in dataclasses.fields(Mixture))}
    if set(section.tensors) != wanted:
        odd = sorted(set(section.tensors) ^ wanted)[0]
        raise ModelFileError(f"{path}: section 'generator': tensor {odd!r} is left over or missing")
    t = section.tensors
    rows, k, m = t["rows"], ae.model_.latent_dim, len(np.atleast_1d(t["weights"]))
    fits = rows.ndim == 2 and rows.shape == (card.rows, ae.n_features_in_) and len(rows) >= 1
    if (
        not fits
        or rows.dtype not in (np.float32, np.float64)
        or ae.model_.encoding.encode(_tensor(rows)).bad is not None
    ):
        raise ModelFileError(f"{path}: tensor 'generator/rows' must be {card.rows} rows that can be scored, F32 or F64")
    for name, shape in (("weights", (m,)), ("means", (m, k)), ("covariances", (m, k, k))):
        if t[name].dtype != np.float64 or t[name].shape != shape or not np.isfinite(t[name]).all():
            raise ModelFileError(f"{path}: tensor 'generator/{name}' must be {list(shape)} finite F64")
    mixture = Mixture(t["weights"], t["means"], t["covariances"])
    try:
        np.linalg.cholesky(mixture.covariances)
    except np.linalg.LinAlgError:
        raise ModelFileError(f"{path}: section 'generator': a covariance is not positive definite") from None
    if not (mixture.weights > 0).all() or abs(mixture.weights.sum() - 1) > 1e-6:
        raise ModelFileError(f"{path}: section 'generator': its weights are not shares that add up to 1")
    ae.fitted_.kept = rows
    ae._source = Source(ae.model_, rows, mixture)


def _tensor(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(rows, requirements=("C", "W")))
