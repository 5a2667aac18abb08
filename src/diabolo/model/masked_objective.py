"""The formula where cells are hidden: the distance is to the hidden ones, and some rows hide nothing.

    masked term(x) = C_x / |H| · Σ_{c in H} −log p(x_c | z(x_S))      C_x observed variables, H the hidden ones of them
    plain term(x)  = −log p(x | z_1..k(x)) + β Ω                       of whole rows, from k leading axes, k drawn
    loss = (1 − s) · masked term + s · plain term                      s = `Config.nested`

With |H| uniform from 1 to C_x the masked term's mean is that of −Σ_c log p(x_c | those before c) over orders of the
columns, an upper bound of the −log p(x) of their mixture (Uria, Murray, Larochelle 2014, arXiv:1310.1757). Whole rows
make the first k axes the code of an autoencoder of K = k (Rippel, Gelbart, Adams 2014, arXiv:1402.0915).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.model.autoencoder import Model
from diabolo.model.corruption import hidden as without
from diabolo.model.drawn import for_rows, leading
from diabolo.model.latent import Posterior
from diabolo.model.masking import Start, variables_of, variables_there

__all__ = ["Masked", "masked_rows"]


@dataclasses.dataclass(frozen=True)
class Masked:
    """A batch with hidden variables on its way through the model."""

    cells: list[Tensor]  #: −log p per head [*, B, columns], times each cell's weight
    posterior: Posterior
    whole: int  #: rows, the first ones, that hide nothing


def masked_rows(
    model: Model, rows: Encoded, hidden: Tensor, generator: torch.Generator, nested: float | None = None
) -> Masked:
    """The weighted distances of a batch whose variables `hidden` [*lead, B, V] the encoder does not see.

    Args:
        model: parts and parameters.
        rows: B clean, clipped rows.
        hidden: changed in place: the first rows hide nothing where the config nests codes.
        generator: of draws from the latent and of numbers of axes.
        nested: share of rows that hide nothing; None for the config's.
    """
    encoding, masking = model.encoding, model.masking
    there = variables_there(rows, hidden.shape[-1])
    share = model.config.nested if nested is None else nested
    whole, of_all = (0, 0) if masking is None else leading(share, len(rows), generator)
    hidden[..., :whole, :] = False
    if masking is None:
        posterior = model.encode(without(rows.x, ~hidden, encoding), rows.memory)
        theta = model.decode(posterior.sample(1, generator), rows.memory)
    else:
        posterior, start = model.encode_seen(rows.x, there & ~hidden, rows.memory)
        z = posterior.sample(1, generator)
        z, start = _nested(model, z, start, there, (whole, of_all), generator)
        theta = model.decode_wide(z, start, rows.memory)
    weight = _weights(encoding, hidden, there, whole)
    heads = zip(model.heads, model.nll(theta, rows), strict=True)
    return Masked([cells * weight[..., variables_of(h, encoding)] for h, cells in heads], posterior, whole)


def _weights(encoding: Encoding, hidden: Tensor, there: Tensor, whole: int) -> Tensor:
    """Weight of each variable in a row's distance, [*, B, V]: C_x/|H| of hidden ones; 1 of all in whole rows.

    A hidden variable whose slot group, or whose gap, is hidden too comes later in every order, and has no weight.
    """
    own = torch.arange(hidden.shape[-1], device=hidden.device)
    known = there & hidden
    for parent in encoding.places_on(hidden.device)[0]:
        known = known & ((parent == own) | ~hidden[..., parent])
    weight = known * (there.sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1))
    if whole:
        weight[..., :whole, :] = there[:whole].to(weight.dtype)
    return weight


def _nested(
    model: Model, z: Tensor, start: Start | None, there: Tensor, first: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Start | None]:
    """Codes whose first rows, of those at hand and of the batch, keep a random number of leading axes, and the linear
    part's law of each row.
    """
    whole, of_all = first
    if not of_all or model.masking is None:
        return z, start

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randint(1, model.latent_dim + 1, shape, generator=generator, device=z.device)

    axes = for_rows(draw, (whole,), generator, axis=-1, first=of_all)
    if not whole:
        return z, start
    kept = torch.arange(z.shape[-1], device=z.device) < axes.unsqueeze(-1)
    z = torch.cat([z[..., :whole, :] * kept, z[..., whole:, :]], dim=-2)
    law = model.masking.whole(axes)
    if start is None or law is None:
        return z, start
    # The law given a code of whole rows; a row that lacks cells keeps that of the cells it has.
    known = there[:whole].all(-1, keepdim=True)
    gain = torch.where(known, law.gain, start.gain[..., :whole, :])
    variance = torch.where(known, law.variance, 1.0)
    rest = Start(start.gain[..., whole:, :], start.variance[..., whole:, :])
    gain, variance = (t.expand(*z.shape[:-2], *t.shape[-2:]) for t in (gain, variance))
    return z, Start(torch.cat([gain, rest.gain], -2), torch.cat([variance, rest.variance], -2))
