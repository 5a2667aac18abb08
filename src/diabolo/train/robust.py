"""Training rows that do not belong: how surprising a row's loss is among all, and the weight that follows.

No share is named. For losses ℓ with median m and upper quartile q, p(ℓ) = 2^−(1 + (ℓ − m)/(q − m)) bounds the chance of
a loss as large wherever the law of the losses has a log-concave survival function (an increasing hazard rate; Barlow,
Proschan 1965), as squared distances of two or more normal directions and exponential losses have: beyond q, log₂ of
the survival lies below the line through its values at m and q. Median and quartile hardly move while fewer than a
quarter of the rows are foreign. Losses of heavier tails are suspected more often.

Every epoch judges the rows anew by the model as it is then (iterative trimming; Shen, Sanghavi 2019, arXiv:1810.11874),
so that a row returns once the fit explains it. The first steps go without rows that are far from the center: a small
group far away would else pull the fit first, and be explained best.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor

from diabolo.config import Config
from diabolo.data.encoding import Encoded
from diabolo.data.sources import Rows
from diabolo.data.tiles import padded
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.objective import row_losses
from diabolo.registry import Entry, Registry
from diabolo.world import ALONE, World

__all__ = [
    "Robust",
    "Suspects",
    "belonging",
    "chances",
    "create_robust",
    "loss_limit",
    "reweighted",
    "robusts",
    "suspected",
    "suspects_among",
]

#: Benjamini and Hochberg's level: the share of rows suspected in error among those suspected is below it on average.
LEVEL = 0.05
#: Rows suspected at most: beyond a quarter, the quartile itself is foreign.
MOST_SUSPECTED = 0.25
#: Rows below which quartiles say nothing.
FEWEST = 64
#: Chance of a loss below which "downweight" takes weight away.
ORDINARY = 0.01


class Robust(Entry, abc.ABC):
    """A rule that weighs training rows by their losses."""

    @abc.abstractmethod
    def weights(self, losses: Tensor, given: Tensor | None) -> Tensor | None:
        """Weights [n] from 0 to 1 for losses [n] and the rows' own weights; None where all are 1."""


robusts: Registry[Robust] = Registry("robust", __package__)


@robusts.register("none")
class NotRobust(Robust):
    """Every row counts."""

    def weights(self, losses: Tensor, given: Tensor | None) -> Tensor | None:
        return None


@robusts.register("trim")
class Trim(Robust):
    """Leaves out rows whose loss is suspiciously large, judged anew in each epoch (Shen, Sanghavi 2019).

    With `contamination`, these are that share of largest losses; else Benjamini and Hochberg's procedure at 5 % finds
    them.
    """

    #: Share of training rows that do not belong, where it is known.
    contamination: Annotated[float, Gt(0), Lt(0.5)] | None = None

    def weights(self, losses: Tensor, given: Tensor | None) -> Tensor | None:
        if self.contamination is not None:
            out = torch.ones_like(losses)
            out[losses.argsort(descending=True, stable=True)[: round(self.contamination * len(losses))]] = 0
            return out
        return 1 - suspected(losses, chances(losses, given)).to(losses.dtype)


@robusts.register("downweight")
class Downweight(Robust):
    """Weighs a row by min(1, p/0.01): e^(−βℓ) beyond an ordinary loss, with β from the losses' own spread.

    The weights are those of the β-divergence (Akrami, Joshi, Li, Aydore, Leahy 2020, arXiv:1905.09961).
    """

    def weights(self, losses: Tensor, given: Tensor | None) -> Tensor | None:
        return (chances(losses, given) / ORDINARY).clamp_max(1.0).to(losses.dtype)


def create_robust(config: Config) -> Robust:
    """The config's entry; a `contamination` alone means to trim that share.

    Raises:
        ConfigError: an unknown entry, or a contamination that it cannot use.
    """
    robust = robusts.create(config.robust)
    if config.contamination is None:
        return robust
    if robust.name not in ("none", "trim"):
        raise ConfigError(
            f"contamination = {config.contamination} names a share to trim, but robust = {robust.name!r} weighs every "
            "row by its loss; give one of the two"
        )
    return Trim(contamination=config.contamination)  # type: ignore[call-arg]


def chances(losses: Tensor, given: Tensor | None = None) -> Tensor:
    """A bound of the chance of a loss as large, [n] float64 in [0, 1]; 1 for all of too few or too equal losses.

    Args:
        losses: [n]; NaN counts as infinite.
        given: weights [n] of the rows; None for equal ones.
    """
    values = losses.double().nan_to_num(nan=torch.inf, posinf=torch.inf)
    if len(values) < FEWEST:
        return torch.ones_like(values)
    ordered, order = values.sort()
    share = torch.ones_like(values) if given is None else given.double()[order]
    below = share.cumsum(0) / share.sum()
    median, upper = (ordered[int(torch.searchsorted(below, q).clamp_max(len(values) - 1))] for q in (0.5, 0.75))
    spread = upper - median
    if not bool(torch.isfinite(spread)) or float(spread) <= 0:
        return torch.ones_like(values)
    return torch.exp2(-1 - (values - median) / spread).clamp_max(1.0)


def suspected(losses: Tensor, p: Tensor) -> Tensor:
    """Which rows Benjamini and Hochberg's procedure rejects at `LEVEL`, [n] bool; a quarter of them at most."""
    n = len(p)
    ordered = p.sort().values
    limits = LEVEL * torch.arange(1, n + 1, dtype=torch.float64, device=p.device) / max(n, 1)
    within = (ordered <= limits).nonzero()
    count = min(int(within[-1]) + 1 if len(within) else 0, int(MOST_SUSPECTED * n))
    out = torch.zeros(n, dtype=torch.bool, device=p.device)
    out[losses.nan_to_num(nan=torch.inf).argsort(descending=True, stable=True)[:count]] = True
    return out


@torch.no_grad()
def reweighted(
    model: Model,
    robust: Robust,
    rows: Encoded,
    given: Tensor | None,
    fresh: bool = False,
    world: World = ALONE,
) -> Tensor | None:
    """The weights of clipped rows, without those that do not belong, with the same sum; all members share them.

    A `fresh` model cannot tell rows apart: then the squared distance from the center is the loss. Rows that processes
    share are judged among those of all of them.
    """
    if robust.name == "none":
        return given
    losses = rows.x.square().sum(-1) if fresh else row_losses(model, rows)
    losses = losses.reshape(-1, losses.shape[-1]).mean(0)
    if world.size > 1:
        counts = [len(a) for a in world.arrays(losses.cpu().numpy())]
        here = slice(sum(counts[: world.rank]), sum(counts[: world.rank + 1]))
        losses = torch.from_numpy(world.joined(losses.cpu().numpy())).to(losses.device)
        given = None if given is None else torch.from_numpy(world.joined(given.cpu().numpy())).to(losses.device)
    else:
        here = slice(None)
    weights = robust.weights(losses, given)
    if weights is None:
        return None if given is None else given[here]
    own = torch.ones_like(weights) if given is None else given
    kept = own * weights
    total = kept.sum()
    return torch.where(total > 0, kept * (own.sum() / total), own)[here]


@dataclasses.dataclass(frozen=True)
class Suspects:
    """Rows of a fit that look out of place, the most surprising first."""

    #: Positions in the table that was fitted, [s] int64.
    rows: np.ndarray
    #: Bound of the chance of a loss as large among the rows, [s].
    p_values: np.ndarray
    #: −log p(x|z) at the code of the row, standardised nats, [s].
    losses: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@torch.no_grad()
def suspects_among(model: Model, parts: list[Rows], places: list[np.ndarray]) -> Suspects:
    """Judge rows by the fitted model.

    Args:
        parts: clipped rows, as they were trained or stopped on.
        places: the position of each of them.
    """
    losses, given = _losses(model, parts)
    p = chances(losses, given)
    order = losses.nan_to_num(nan=torch.inf).argsort(descending=True, stable=True)
    chosen = order[: int(suspected(losses, p).sum())]
    at = np.concatenate(places)
    return Suspects(at[chosen.numpy()], p[chosen].numpy(), losses[chosen].double().numpy())


@torch.no_grad()
def loss_limit(model: Model, parts: list[Rows]) -> float | None:
    """The smallest loss of a row that does not belong, by the config's rule and the fitted model.

    Args:
        model: as fitted.
        parts: clipped rows, as they were trained or stopped on.

    Returns:
        Standardised nats, inf where all rows belong; None where the config takes every row as it is.
    """
    robust = create_robust(model.config)
    if robust.name == "none":
        return None
    losses, given = _losses(model, parts)
    share = getattr(robust, "contamination", None)
    if share is not None:
        return float(losses.sort(descending=True).values[: max(1, round(share * len(losses)))][-1])
    out = suspected(losses, chances(losses, given))
    return float(losses[out].min()) if bool(out.any()) else float("inf")


@torch.no_grad()
def belonging(model: Model, values: np.ndarray, limit: float | None) -> np.ndarray:
    """Which of the rows [n, C] in the schema's order have a loss below a limit, [n] bool; all of them without one."""
    if limit is None or not len(values):
        return np.ones(len(values), bool)
    found = []
    for part, tile in padded(values):
        rows = model.encoding.encode(tile).clipped(model.encoding.clip)
        losses = row_losses(model, rows).reshape(-1, len(rows)).mean(0)
        found.append((losses[: part.stop - part.start] < limit).numpy())
    return np.concatenate(found)


def _losses(model: Model, parts: list[Rows]) -> tuple[Tensor, Tensor | None]:
    """Of rows in parts, and their weights if they have any."""
    found = []
    for part in parts:
        for rows, _ in part.chunks():
            losses = row_losses(model, rows)
            found.append(losses.reshape(-1, len(rows)).mean(0))
    weights = [part.weights for part in parts]
    given = None if any(w is None for w in weights) else torch.cat([w for w in weights if w is not None])
    return torch.cat(found), given
