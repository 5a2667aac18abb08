"""One variable of a masked model at a time: its law given others, without the work for all other columns.

A variable is a column's cell, the count of a slot group, or whether a cell is missing, in the order of
`Encoding.parents`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.data.encoding import Encoded
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.heads import Head
from diabolo.model.masking import Masking, Start, variables_of
from diabolo.model.networks import Affine, run

__all__ = ["Variable", "masking_of", "variables"]


def masking_of(model: Model) -> Masking:
    """The masking of a model that has one.

    Raises:
        ConfigError: it was fitted without hidden cells.
    """
    if model.masking is None or model.lead:
        raise ConfigError(
            "the law of a column given the others needs an autoencoder that was fitted with hidden cells: "
            "MaskedAutoencoder, method masked"
        )
    return model.masking


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of a model and the part of the model that is its own."""

    model: Model
    number: int
    head: int
    at: int  #: which of the head's columns
    single: Head  #: the head of this column alone
    own: dict[str, Tensor]
    outputs: Tensor  #: positions among the decoder's numbers
    inputs: Tensor  #: positions among the inputs

    @property
    def column(self) -> int:
        """Position among the schema's output columns."""
        return self.single.block.columns[0]

    def theta(self, z: Tensor, start: Start | None) -> Tensor:
        """The decoder's numbers of this variable [B, w] at wide codes z [B, code_dim]."""
        model, masking = self.model, masking_of(self.model)
        last = model.decoder[-1]
        if isinstance(last, Affine):
            *before, weight, bias = model.decoder_parameters
            h = run(model.decoder[:-1], before, z)
            out = functional.linear(h, weight[self.outputs], bias[self.outputs])
        else:
            out = run(model.decoder, model.decoder_parameters, z)[..., self.outputs]
        linear = masking.linear
        if linear is None or start is None:
            return out
        mean = linear.mean(z[..., : linear.rank] * start.gain, self.inputs)
        variance = start.variance[..., self.inputs] * linear.scale[self.inputs].square()
        return out + self.single.likelihood.start(mean, variance.expand(mean.shape), self.single.units)

    def law(self, rows: Encoded, seen: Tensor) -> Tensor:
        """theta [B, w] given the variables `seen` [B, V] of clipped rows."""
        posterior, start = self.model.encode_seen(rows.x, seen)
        return self.theta(posterior.mean, start)

    def nll(self, theta: Tensor, rows: Encoded) -> Tensor:
        """−log p [B], standardised as `Model.nll`; what is not there is not left out."""
        x = rows.x[..., self.inputs]
        return self.single.likelihood.nll(theta, self.own, x, self.single.units).squeeze(-1)

    def sample(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """A draw [B, 1]: a standardised number, a level's position, a count, an angle."""
        return self.single.likelihood.sample(theta, self.own, self.single.units, generator)

    def write(self, x: Tensor, drawn: Tensor) -> None:
        """Put draws [B, 1] into inputs [B, D], in place."""
        kind, at = self.single.block.kind, self.inputs
        if kind == "angle":
            x[:, at] = torch.cat([drawn.cos(), drawn.sin()], dim=-1).to(x.dtype)
        elif kind == "categorical":
            x[:, at] = functional.one_hot(drawn.squeeze(-1).long(), len(at)).to(x.dtype)
        elif kind == "slots":
            x[:, at] = (torch.arange(len(at), device=x.device) < drawn.round()).to(x.dtype)
        else:
            x[:, at] = drawn.to(x.dtype)


def variables(model: Model) -> list[Variable]:
    """All variables of a model, in the order of `Encoding.parents`."""
    found: dict[int, Variable] = {}
    for number, (head, own) in enumerate(zip(model.heads, model.own, strict=True)):
        n, block = len(head.block.columns), head.block
        start = variables_of(head, model.encoding).start
        width = block.stop - block.start
        for i in range(n):
            parts = head.likelihood.positions(i, n, width)
            each = [block.start + j for j in range(i, width, n)] if n > 1 else list(range(block.start, block.stop))
            one = dataclasses.replace(block, columns=(block.columns[i],))
            single = dataclasses.replace(head, block=one, units=head.units.one(i, n))
            found[start + i] = Variable(
                model,
                start + i,
                number,
                i,
                single,
                {name: value[..., i : i + 1] for name, value in own.items()},
                model.encoding.at([head.start + p for p in parts], head.units.floor.device),
                model.encoding.at(each, head.units.floor.device),
            )
    return [found[v] for v in sorted(found)]
