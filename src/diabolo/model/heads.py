"""The likelihood of each block of columns, and the place of its numbers in the decoder's output."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diabolo.config import Config
from diabolo.data.encoding import SCALED, Block, Encoding
from diabolo.errors import ConfigError
from diabolo.model.knots import Knots
from diabolo.model.likelihood import Likelihood, Units, default_likelihood, likelihoods
from diabolo.registry import Spec

__all__ = ["Head", "build_heads"]

#: Kinds of column that have more than one likelihood.
CHOICE = ("real", "integer", "count", "boolean")


@dataclasses.dataclass
class Head:
    """One block's likelihood, and the place of its numbers in the decoder's output."""

    block: Block
    likelihood: Likelihood
    start: int
    stop: int
    own: list[str]
    prefix: str
    units: Units

    def inputs(self, x: Tensor) -> Tensor:
        return x[..., self.block.start : self.block.stop]


def build_heads(config: Config, encoding: Encoding, stochastic: bool) -> list[Head]:
    """One head for each run of columns of one kind and one likelihood.

    Raises:
        ConfigError: a likelihood that describes none of the columns that it was chosen for.
    """
    heads: list[Head] = []
    chosen = likelihoods.create("gaussian" if config.likelihood == "auto" else config.likelihood)
    if not set(chosen.kinds) & set(CHOICE):
        raise ConfigError(
            f"likelihood {chosen.name!r} is what {' and '.join(chosen.kinds)} columns always take; leave it at 'auto'"
        )
    if not any(block.kind in chosen.kinds for block in encoding.blocks) and not _default(config):
        kinds = ", ".join(sorted({block.kind for block in encoding.blocks} - {"missing", "slots"}))
        raise ConfigError(
            f"likelihood {chosen.name!r} describes {' and '.join(chosen.kinds)} columns; the table's are {kinds}: "
            "leave it at 'auto', or choose a kind with `kinds`"
        )
    start = 0
    for block in encoding.blocks:
        for part, spec in _split(block, config, encoding, stochastic):
            likelihood = likelihoods.create(spec)
            n = len(part.columns)
            width = likelihood.width(n, part.stop - part.start)
            prefix = f"head.{len(heads)}"
            units = _units(part, encoding)
            heads.append(Head(part, likelihood, start, start + width, list(likelihood.own(n)), prefix, units))
            start += width
    return heads


def _split(block: Block, config: Config, encoding: Encoding, stochastic: bool) -> list[tuple[Block, Spec]]:
    """A block's likelihood, and one block per run of columns that have their own (scaled columns lie one to one)."""
    if block.kind == "slots":
        # Laplace's rule keeps both patterns possible, whatever the training rows showed.
        gaps = encoding.schema.groups[block.columns[0] - len(encoding.schema.columns)].gaps
        n = encoding.n_train
        return [(block, {"name": "multiplicity", "gaps": (gaps * n + 1) / (n + 2)})]
    if block.kind == "ordinal":
        return [(block, {"name": "levels", "count": len(encoding.schema.columns[block.columns[0]].levels)})]
    names = encoding.schema.output_names
    default: Spec = default_likelihood(block.kind, stochastic)
    if config.likelihood != "auto" and block.kind in likelihoods.create(config.likelihood).kinds:
        default = config.likelihood
    if block.kind == "missing":
        return [(block, default_likelihood("missing", stochastic))]
    single = config.column_likelihood or {}
    specs = [_sized(single.get(names[c], default), encoding) for c in block.columns]
    for name, spec in zip((names[c] for c in block.columns), specs, strict=True):
        if block.kind not in likelihoods.create(spec).kinds:
            raise ConfigError(
                f"column_likelihood gives {name!r} the likelihood {spec!r}, which describes "
                f"{' and '.join(likelihoods.create(spec).kinds)} columns, but it is {block.kind}; choose a kind with "
                "`kinds`"
            )
    each = (block.stop - block.start) // len(block.columns)
    if block.kind not in SCALED and len({str(s) for s in specs}) > 1:
        shown = ", ".join(names[c] for c in block.columns[:4])
        raise ConfigError(f"column_likelihood: the {block.kind} columns {shown} share one likelihood")
    runs: list[tuple[Block, Spec]] = []
    at = 0
    for spec, group in itertools.groupby(zip(block.columns, specs, strict=True), key=lambda pair: pair[1]):
        columns = tuple(c for c, _ in group)
        begin = block.start + at * each
        runs.append((Block(block.kind, columns, begin, begin + len(columns) * each, block.cell + at), spec))
        at += len(columns)
    return runs


def likelihood_name(spec: Spec) -> str:
    return (
        spec
        if isinstance(spec, str)
        else str(spec["name"] if isinstance(spec, Mapping) else likelihoods.create(spec).name)
    )


def _default(config: Config) -> bool:
    """Whether the likelihood is one that a method sets, for the columns of its kinds if there are any."""
    return likelihood_name(config.likelihood) in ("auto", "flexible")


def _sized(spec: Spec, encoding: Encoding) -> Spec:
    if likelihood_name(spec) != "flexible" or encoding.marginals is None:
        return spec
    more = spec if isinstance(spec, Mapping) else {}
    return {**more, "name": "flexible", "groups": encoding.marginals.groups}


def _units(block: Block, encoding: Encoding) -> Units:
    """Scaling, floor of σ and bounds of a block's columns."""
    units = Units.plain(len(block.columns))
    columns = list(block.columns)
    if block.kind in (*SCALED, "angle"):
        units.floor = torch.tensor(encoding.sigma_floor(block), dtype=torch.float32)
    if block.kind in SCALED:
        units.center = torch.tensor(encoding.center[columns], dtype=torch.float64)
        units.scale = torch.tensor(encoding.scale[columns], dtype=torch.float64)
        if encoding.marginals is not None:
            spacing = np.array([c.resolution for c in encoding.schema.columns])
            units.knots = Knots.of(encoding.marginals, columns, encoding.center, encoding.scale, spacing)
        types = [np.dtype(encoding.schema.columns[c].dtype) for c in columns if block.kind != "real"]
        whole = [np.iinfo(t) if t.kind in "iu" else None for t in types]
        if whole:
            units.low = torch.tensor([float(i.min) if i else -np.inf for i in whole])
            units.high = torch.tensor([float(i.max) if i else np.inf for i in whole])
    if block.kind == "ordinal":
        units.levels = units.standardised(encoding.level_values(columns[0])).float()
    return units
