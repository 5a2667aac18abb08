"""The class of likelihoods that have a location and a scale."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from diabolo.model.likelihood.base import Likelihood, Own, Units

__all__ = ["Scale", "Scaled", "location_and_log_scale"]

#: A fixed scale in standardised units, one trained per column, or one that the decoder gives for each row.
Scale = Literal["learned", "decoded"] | Annotated[float, Gt(0), Lt(1e15)]
#: log σ of the decoder stays within these, so that a wild row gives a finite gradient.
LOG_SCALE = 12.0


def location_and_log_scale(theta: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's location and log scale, [*, B, columns] each."""
    location, log_scale = theta.chunk(2, dim=-1)
    return location, log_scale.clamp(-LOG_SCALE, LOG_SCALE)


class Scaled(Likelihood):
    """A law whose scale is fixed, "learned" per column, or "decoded" for each row."""

    #: Name of the setting, a `Scale`; its trained numbers are called log_ and that name.
    scaled_by: ClassVar[str]

    @property
    def given(self) -> Scale:
        """The setting's value."""
        value: Scale = getattr(self, self.scaled_by)
        return value

    def width(self, columns: int, inputs: int) -> int:
        return 2 * columns if self.given == "decoded" else columns

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {f"log_{self.scaled_by}": (columns,)} if self.given == "learned" else {}

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        return torch.cat([mean, 0.5 * variance.log()], dim=-1) if self.given == "decoded" else mean

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        return location_and_log_scale(theta)[0] if self.given == "decoded" else theta

    def spread(self, theta: Tensor, own: Own, units: Units) -> Tensor:
        """The scale, [*, 1 or B, columns]; a trained scale is added to the floor of σ, so it never falls below it."""
        if self.given == "learned":
            return (units.floor + own[f"log_{self.scaled_by}"].exp()).unsqueeze(-2)
        if self.given == "decoded":
            return units.floor + location_and_log_scale(theta)[1].exp()
        return units.floor.clamp_min(float(self.given))
