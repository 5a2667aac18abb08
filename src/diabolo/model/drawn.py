"""Random numbers of a batch whose rows lie in several processes: drawn for all of its rows, and taken for one's own.

So a row meets the same noise as in one process, however many there are, and no process falls behind in what it draws.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["BatchGenerator", "for_rows", "leading", "placed"]


class BatchGenerator(torch.Generator):
    """A generator that knows which rows of a batch this process has.

    Attributes:
        rows: of the batch, in all processes.
        at: positions of the rows at hand among them, rising, [n] int64; None for all.
    """

    rows: int = 0
    at: Tensor | None = None


def for_rows(
    draw: Callable[[tuple[int, ...]], Tensor],
    shape: tuple[int, ...],
    generator: torch.Generator,
    axis: int = -2,
    first: int | None = None,
) -> Tensor:
    """Random numbers for the rows at hand, whose axis of `shape` counts them.

    Args:
        draw: numbers of a shape, from the generator.
        shape: of the result.
        generator: of the draws; a plain one draws for the rows at hand alone.
        axis: of the rows, counted from the last one.
        first: only the first so many rows of the batch are drawn for.

    >>> own = BatchGenerator().manual_seed(0)
    >>> own.rows, own.at = 4, torch.tensor([1, 2])
    >>> whole = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(for_rows(lambda s: torch.rand(s, generator=own), (2, 3), own), whole[1:3])
    True
    """
    at = getattr(generator, "at", None)
    if at is None:
        return draw(shape)
    rows: int = generator.rows if first is None else first  # type: ignore[attr-defined]
    whole = list(shape)
    whole[axis] = rows
    return draw(tuple(whole)).index_select(axis, at[: shape[axis]])


def leading(share: float, n: int, generator: torch.Generator) -> tuple[int, int]:
    """How many rows the first `share` of a batch are: among the n rows at hand, and in all processes."""
    at = getattr(generator, "at", None)
    if at is None:
        count = min(n, round(share * n))
        return count, count
    rows: int = generator.rows  # type: ignore[attr-defined]
    count = min(rows, round(share * rows))
    return int((at < count).sum()), count


def placed(x: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Rows x [n, D] at their places in the batch of `shape`, with 0 for those that lie elsewhere."""
    at = getattr(generator, "at", None)
    return x if at is None else x.new_zeros(shape).index_copy(0, at, x)
