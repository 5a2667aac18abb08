"""The section `generator`: the density of codes, the relations of columns, and perhaps rows to draw new ones from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.artifact import Section
from diabolo.cards import Count, card_of, jsonable
from diabolo.data.schema import Schema
from diabolo.errors import ConfigError, ModelFileError
from diabolo.fitted.record import Fitted, scorable
from diabolo.generate.methods import Sampler
from diabolo.generate.mixture import CodeMixture
from diabolo.generate.relations.base import Relation, relations
from diabolo.registry import spec_of

__all__ = ["generator_section", "sampler_of"]


@dataclasses.dataclass
class GeneratorCard:
    rows: Count
    relations: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def generator_section(sampler: Sampler) -> Section | None:
    """The density of the training codes, the relations of columns, and the rows where they are kept; None without."""
    if sampler.rows is None:
        return None
    tensors = dataclasses.asdict(sampler.mixture)
    if sampler.keeps_rows:
        tensors["rows"] = sampler.rows
    found = [jsonable(spec_of(r)) for r in sampler.relations]
    return Section(
        {"rows": len(sampler.rows) if sampler.keeps_rows else 0, **({"relations": found} if found else {})}, tensors
    )


def sampler_of(path: str | Path, section: Section, fitted: Fitted) -> Sampler:
    """The sampler of a section.

    Raises:
        ModelFileError: the section does not fit the model.
    """
    card = card_of(path, GeneratorCard, section.card)
    wanted = {f.name for f in dataclasses.fields(CodeMixture)} | ({"rows"} if card.rows else set())
    if set(section.tensors) != wanted:
        odd = sorted(set(section.tensors) ^ wanted)[0]
        raise ModelFileError(f"{path}: section 'generator': tensor {odd!r} is left over or missing")
    t, model = section.tensors, fitted.model
    rows, k, m = t.get("rows"), model.latent_dim, len(np.atleast_1d(t["weights"]))
    if rows is not None:
        fits = rows.shape == (card.rows, len(model.encoding.schema.columns))
        if not fits or rows.dtype not in (np.float32, np.float64) or not scorable(model.encoding, rows).all():
            raise ModelFileError(
                f"{path}: tensor 'generator/rows' must be {card.rows} rows that can be scored, F32 or F64"
            )
    for name, shape in (("weights", (m,)), ("means", (m, k)), ("covariances", (m, k, k))):
        if t[name].dtype != np.float64 or t[name].shape != shape or not np.isfinite(t[name]).all():
            raise ModelFileError(f"{path}: tensor 'generator/{name}' must be {list(shape)} finite F64")
    mixture = CodeMixture(t["weights"], t["means"], t["covariances"])
    try:
        np.linalg.cholesky(mixture.covariances)
    except np.linalg.LinAlgError:
        raise ModelFileError(f"{path}: section 'generator': a covariance is not positive definite") from None
    if not (mixture.weights > 0).all() or abs(mixture.weights.sum() - 1) > 1e-6:
        raise ModelFileError(f"{path}: section 'generator': its weights are not shares that add up to 1")
    return Sampler(model, rows, mixture, _relations_of(path, card.relations, model.encoding.schema))


def _relations_of(path: str | Path, said: list[dict[str, Any]], schema: Schema) -> list[Relation]:
    out = []
    for spec in said:
        try:
            found = relations.create(spec)
            found.check(schema)
        except ConfigError as error:
            raise ModelFileError(f"{path}: section 'generator': {str(error)[:600]}") from None
        out.append(found)
    return out
