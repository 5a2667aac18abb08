"""Rows drawn from a sampler, and how far they are from real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diabolo.data.encoding import Encoding
from diabolo.data.hashing import hash_rows
from diabolo.data.schema import Schema
from diabolo.errors import ConfigError, DataError
from diabolo.fitted.record import scorable
from diabolo.generate.fidelity import Broken, Fidelity, fidelity_of
from diabolo.generate.given import given_cells, words_of
from diabolo.generate.grid import on_grid
from diabolo.generate.keeping import repaired
from diabolo.generate.methods import Method, Sampler, automatic_method, methods
from diabolo.generate.relations.finding import keys_of
from diabolo.generate.together import check_together
from diabolo.progress import tick
from diabolo.registry import Spec

__all__ = ["PIECE", "draw", "draw_piece", "judge"]

#: Rows drawn at once, and times that rows are drawn again which break a relation that cannot be repaired.
PIECE, AGAIN = 65_536, 8
#: Share of rows that may still break one without a word.
LET = 0.01


def draw(
    sampler: Sampler,
    n: int,
    seed: int,
    mean: bool = False,
    method: Spec = "auto",
    given: Mapping[str, Any] | None = None,
    start: int = 0,
    tell: Callable[[str], None] | None = None,
) -> np.ndarray:
    """The cells of n rows, [n, C] float64 in the schema's order and levels; see `Autoencoder.sample`.

    Args:
        start: rows that were drawn before, by other seeds, which have keys already.
        tell: is called with what may be wrong with the rows, in a sentence.

    Raises:
        ConfigError: a column or value that training rows do not have.
        DataError: given values that exclude each other, or are too rare for the method.
    """
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ConfigError(f"n = {n!r}; allowed are whole numbers from 1 up")
    part = methods.create(automatic_method(sampler, mean) if method == "auto" else method)
    conditions = given_cells(sampler.model.encoding.schema, given)
    doubt = check_together(sampler.model.encoding.schema, sampler.rows, conditions, sampler.relations)
    rows = _Rows(sampler, part, conditions, torch.Generator().manual_seed(seed), mean)
    out = rows(n)
    broken = None if mean or not sampler.relations else rows.keep(out, start)
    for said in (doubt, broken):
        if tell is not None and said is not None:
            tell(said)
    return out


def draw_piece(
    sampler: Sampler,
    number: int,
    n: int,
    seed: int,
    mean: bool = False,
    method: Spec = "auto",
    given: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Piece `number` of n rows, at most `PIECE` rows: they depend on its number and the seed, not on other pieces."""
    start = number * PIECE
    return draw(sampler, min(PIECE, n - start), seed + (number << 32), mean, method, given, start, tell)


class _Rows:
    """A method's rows, piece by piece."""

    def __init__(
        self, sampler: Sampler, part: Method, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> None:
        self.sampler, self.part, self.given, self.generator, self.mean = sampler, part, given, generator, mean
        self.schema = sampler.model.encoding.schema

    def __call__(self, n: int) -> np.ndarray:
        """Rows [n, C] on the grids of their columns."""
        encoding = self.sampler.model.encoding
        out = np.empty((n, len(self.schema.columns)))
        for start in range(0, n, PIECE):
            tick(start, n, "rows")
            piece = slice(start, min(start + PIECE, n))
            out[piece] = self.part.draw(self.sampler, piece.stop - start, self.given, self.generator, self.mean)
        if not self.mean:
            _leave_out(encoding, out, self.given, self.generator)
        for i, column in enumerate(self.schema.columns):
            if i not in self.given:
                out[:, i] = on_grid(column, out[:, i])
        return out

    def keep(self, out: np.ndarray, start: int) -> str | None:
        """Give rows fresh keys and the relations of training rows, in place; what many of them break, in a sentence."""
        found, source = self.sampler.relations, self.sampler.source
        rng = np.random.default_rng(int(torch.randint(1 << 62, (), generator=self.generator)))
        keys = [k for k in keys_of(found) if k.column not in self.given]
        for key in keys:
            out[:, key.column] = key.fresh(out[:, key.column], self.schema.columns[key.column], start)
        broken = repaired(found, out, self.given, source, rng)
        for _ in range(AGAIN):
            if not broken.any():
                break
            other = self(int(broken.sum()))
            for key in keys:
                other[:, key.column] = out[broken, key.column]
            still = repaired(found, other, self.given, source, rng)
            at = np.flatnonzero(broken)
            out[at[~still]] = other[~still]
            broken[at] = still
        if broken.mean() <= LET:
            return None
        share, worst = max(((float(r.broken(out, self.schema).mean()), r) for r in found), key=lambda s: s[0])
        said = f"{share:.1%} of the rows drawn break {worst.describe(self.schema.names)}, which all training rows keep"
        return f"given {words_of(self.schema, self.given)}: {said}" if self.given else said


def _leave_out(encoding: Encoding, values: np.ndarray, given: Mapping[int, float], generator: torch.Generator) -> None:
    """Leave out cells of constants as often as in training rows; no method draws them."""
    for i in encoding.gappy:
        if i not in given:
            drawn = torch.rand(len(values), generator=generator, dtype=torch.float64).numpy()
            values[drawn < encoding.schema.columns[i].missing, i] = np.nan


def judge(
    sampler: Sampler, known: np.ndarray | None, values: np.ndarray, n: int, seed: int, method: Spec = "auto"
) -> Fidelity:
    """Draw rows, and compare them with those of the rows [m, C] that the autoencoder was not fitted on.

    Keys are left aside: fresh ones are like no real ones.

    Args:
        known: hashes of the rows that it was fitted on; None where they are not known.
        values: real rows in the schema's order and levels.
        n: rows to draw, at most as many as there are real ones.
        seed: of draws, folds and classifier.
        method: as for `Autoencoder.sample`.

    Raises:
        DataError: fewer than ten rows are new to the autoencoder.
    """
    real = values if known is None else values[~np.isin(hash_rows(values), known)]
    # A row that cannot be scored, as one with an infinite cell, is like no draw and has no distance.
    real = real[scorable(sampler.model.encoding, real)]
    if len(real) < 10:
        raise DataError(
            f"{len(real)} of {len(values):,} rows are new to the model; at least 10 are needed to judge drawn rows: "
            "give rows that it was not fitted on"
        )
    schema = sampler.model.encoding.schema
    drawn = draw(sampler, min(n, len(real)), seed, method=method)
    shares = [(r, float(r.broken(drawn, schema).mean())) for r in sampler.shown]
    broken = sorted((Broken(r.describe(schema.names), s) for r, s in shares if s), key=lambda b: -b.share)
    keys = {k.column for k in keys_of(sampler.relations)}
    at = [i for i in range(len(schema.columns)) if i not in keys]
    rows = None if sampler.rows is None else sampler.rows[:, at]
    found = fidelity_of(real[:, at], drawn[:, at], _without(schema, at), rows, seed)
    return dataclasses.replace(found, broken=tuple(broken))


def _without(schema: Schema, at: list[int]) -> Schema:
    """The schema of some of the columns; slots are told by their cells alone."""
    if len(at) == len(schema.columns):
        return schema
    return dataclasses.replace(schema, columns=tuple(schema.columns[i] for i in at), groups=())
