"""Extrapolated fixed-point iterations: the way up of an EM algorithm in a fraction of its passes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["climb"]

#: The longest leap grows by this factor after each one that was as long as allowed.
GROWTH = 4.0


def climb(step: Callable[[Tensor], tuple[float, Tensor]], start: Tensor, passes: int, gain: float) -> Tensor:
    """Follow steps that never fall, leaping along their direction: SQUAREM (Varadhan, Roland 2008, scheme S3).

    With the steps r = θ₁ − θ₀ and v = (θ₂ − θ₁) − r, a leap ends at θ₀ + 2 a r + a² v, where a = |r| / |v|; a = 1 is
    θ₂. A leap that ends lower than θ₁ is taken back (doi:10.1111/j.1467-9469.2007.00585.x).

    Args:
        step: gives a point's value and the next point, whose value is not lower.
        start: the first point.
        passes: calls of `step`, at most but for two.
        gain: a round of steps and a leap that gains less than this ends the climb.

    Returns:
        The highest point, or one step on from it.

    >>> import torch
    >>> def halfway(at):
    ...     return -float(at.square().sum()), 0.9 * at
    >>> bool(climb(halfway, torch.ones(2), 20, 1e-12).abs().max() < 1e-6)
    True
    """
    here = start
    best, first = step(here)
    used, longest = 1, 1.0
    while used < passes:
        middle, second = step(first)
        line = first - here
        bend = second - first - line
        long = min(longest, max(1.0, float(line.norm() / bend.norm().clamp_min(1e-300))))
        end = here + 2 * long * line + long**2 * bend
        value, after = step(end)
        used += 2
        if long > 1 and not value >= middle:
            end, longest = second, max(1.0, longest / GROWTH)
            value, after = step(end)
            used += 1
        elif long == longest:
            longest *= GROWTH
        rise, best = value - best, value
        here, first = end, after
        if not rise >= gain:
            break
    return first
