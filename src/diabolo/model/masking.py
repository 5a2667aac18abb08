"""Hidden cells: the inputs of an encoder that is told which cells it sees, and the law that a fit begins at.

seen cells ─▶ [x, v, marks] ─encoder─▶ + ẑ of the linear part ─▶ z ─decoder─▶ + the linear part's law ─▶ theta

v are normal scores of columns whose likelihood has them; ẑ and the law come from `LinearPart`. The networks' last
layers start at zero, so a fit begins at the linear solution and leaves it where that lowers the loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.config import Config
from diabolo.data.encoding import SCALED, Encoded, Encoding
from diabolo.model.factors import LinearPart
from diabolo.model.heads import Head
from diabolo.model.networks import Affine, Operation

__all__ = ["LINEAR", "Masking", "Start", "most_factors", "variables_of", "variables_there"]

#: log σ² of a Gaussian latent at the start: codes a seventh of their own spread wide still say what the linear part
#: does.
START_LOG_VAR = -4.0
#: Buffers of the linear part: W [D, r], Ψ, μ and the scale of the inputs, [D] each.
LINEAR = ("linear_loadings", "linear_noise", "linear_center", "linear_scale")


def most_factors(inputs: int, asked: int) -> int:
    """Factors that D inputs determine, at most: Ledermann's bound D + ½ − √(2 D + ¼) (Ledermann 1937), at least 1."""
    return min(asked, max(1, int(inputs + 0.5 - (2 * inputs + 0.25) ** 0.5)))


@dataclasses.dataclass(frozen=True)
class Start:
    """The linear part's word on rows: the factor of its codes [*, r] and the variance of each input [*, D]."""

    gain: Tensor
    variance: Tensor


def variables_there(rows: Encoded, variables: int) -> Tensor:
    """Which variables rows have, [B, V] bool: all but cells that are missing or of an empty slot."""
    marks = torch.ones(len(rows), variables, dtype=torch.bool, device=rows.x.device)
    if rows.present is not None:
        marks[:, : rows.present.shape[1]] = rows.present
    return marks


def variables_of(head: Head, encoding: Encoding) -> slice:
    """The variables that a head's columns are, in the order of `Encoding.parents`."""
    n, block = len(encoding.cells), head.block
    if block.kind == "slots":
        start = n + block.columns[0] - len(encoding.schema.columns)
    elif block.kind == "missing":
        start = n + len(encoding.schema.groups)
    else:
        start = block.cell
    return slice(start, start + len(block.columns))


class Masking:
    """The inputs and the start of a model that knows columns given others.

    Args:
        encoding: of the table.
        heads: the model's.
        code_dim: axes of the wide code.
        latent_dim: leading axes that whole rows are decoded from.
    """

    def __init__(self, encoding: Encoding, heads: list[Head], code_dim: int, latent_dim: int) -> None:
        self.encoding, self.heads, self.code_dim, self.latent_dim = encoding, heads, code_dim, latent_dim
        self.linear: LinearPart | None = None
        self._scored = [h for h in heads if h.block.kind in SCALED and h.likelihood.in_scores]
        self._again = [i for h in self._scored for i in range(h.block.start, h.block.stop)]
        self.variables = len(encoding.parents[0])
        self._groups = [h.units.knots.ends.shape[1] - 1 for h in self._scored]  # type: ignore[union-attr]
        #: Inputs of the encoder: x, scores and groups where a column has them, and a mark for each variable that is
        #: seen.
        self.width = encoding.width + len(self._again) + self.variables
        self.width += sum(len(h.block.columns) * g for h, g in zip(self._scored, self._groups, strict=True))

    # ── into the encoder ──────────────────────────────────────────────────────────────────────────

    def features(self, x: Tensor) -> Tensor:
        """x [*, D] with normal scores in the place of columns that have them: the space of the linear part."""
        return self._features(x)[0]

    def _features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`features`, and the groups of values [*, columns] by head."""
        if not self._scored:
            return x, []
        out, groups = x.clone(), []
        for head in self._scored:
            part, knots = slice(head.block.start, head.block.stop), head.units.knots
            if knots is not None:
                values = x[..., part]
                cell = knots.cell(values)
                out[..., part] = knots.scores(values, cell)
                groups.append(knots.groups(cell))
        return out, groups

    def inputs(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor | None, Start | None]:
        """The encoder's inputs [*, B, width] for x [B, D] and seen variables [*, B, V], and the linear part's ẑ and
        start.
        """
        with torch.no_grad():
            marks = seen.to(x.dtype)
            by_input = marks[..., self.encoding.places_on(x.device)[1]]
            features, groups = self._features(x)
            parts = [x * by_input, marks]
            if self._again:
                again = self.encoding.at(self._again, x.device)
                parts.insert(1, features[..., again] * by_input[..., again])
            for head, group, count in zip(self._scored, groups, self._groups, strict=True):
                there = by_input[..., head.block.start : head.block.stop].unsqueeze(-1)
                parts.append((functional.one_hot(group, count) * there).flatten(-2))
            out = torch.cat(parts, dim=-1)
            if self.linear is None:
                return out, None, None
            z, variance = self.linear.code(self.linear.features(features), by_input)
            return out, z, Start(torch.ones_like(z), variance)

    def lifted(self, h: Tensor, z: Tensor | None) -> Tensor:
        """The encoder's numbers with ẑ added to the means of the leading axes."""
        if z is None:
            return h
        r = z.shape[-1]
        return torch.cat([h[..., :r] + z, h[..., r:]], dim=-1)

    # ── out of the decoder ────────────────────────────────────────────────────────────────────────

    def whole(self, axes: Tensor) -> Start | None:
        """The start of whole rows that are decoded from their first axes, axes [B] int64 of them."""
        if self.linear is None:
            return None
        gain = self.linear.gain.expand(len(axes), -1)
        return Start(gain, self.linear.left[axes.clamp_max(self.linear.rank)])

    def theta(self, theta: Tensor, z: Tensor, start: Start | None) -> Tensor:
        """The decoder's numbers [*, B, width] with the linear part's law added, for codes z [*, B, code_dim]."""
        linear = self.linear
        if linear is None or start is None:
            return theta
        mean = linear.mean(z[..., : linear.rank] * start.gain)
        variance = (start.variance * linear.scale.square()).expand(mean.shape)
        parts = []
        for head in self.heads:
            inputs = slice(head.block.start, head.block.stop)
            parts.append(head.likelihood.start(mean[..., inputs], variance[..., inputs], head.units))
        return theta + torch.cat(parts, dim=-1)

    def padded(self, z: Tensor) -> Tensor:
        """Codes [*, K] as wide ones whose other axes are 0."""
        return functional.pad(z, (0, self.code_dim - z.shape[-1]))

    # ── parameters ────────────────────────────────────────────────────────────────────────────────

    def kept(self, factors: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the buffers of a linear part of so many factors."""
        if not factors:
            return {}
        d = self.encoding.width
        return dict(zip(LINEAR, ((d, factors), (d,), (d,), (d,)), strict=True))

    def read(self, buffers: Mapping[str, Tensor]) -> None:
        """Build the linear part from its buffers [*lead, ...], which are alike for all members; zeros are none."""
        if LINEAR[0] not in buffers:
            return
        loadings, *rest = (buffers[name] for name in LINEAR)
        one = loadings.reshape(-1, *loadings.shape[-2:])[0]
        noise, center, scale = (t.reshape(-1, t.shape[-1])[0] for t in rest)
        if bool((noise > 0).all()) and bool((scale > 0).all()):
            self.linear = LinearPart(one, noise, center, scale)

    def initialise(
        self,
        parameters: Mapping[str, Tensor],
        encoder: Sequence[Operation],
        decoder: Sequence[Operation],
        config: Config,
    ) -> None:
        """Last layers that say nothing yet: the decoder's, and the encoder's axes that the linear part fills."""
        last = len(decoder) - 1
        if isinstance(decoder[last], Affine):
            parameters[f"decoder.{last}.weight"].zero_()
        last = len(encoder) - 1
        if isinstance(encoder[last], Affine):
            weight, bias = parameters[f"encoder.{last}.weight"], parameters[f"encoder.{last}.bias"]
            weight[..., : config.factors, :].zero_()
            # A Gaussian latent's other half is log σ².
            weight[..., self.code_dim :, :].zero_()
            bias[..., self.code_dim :].fill_(START_LOG_VAR)
