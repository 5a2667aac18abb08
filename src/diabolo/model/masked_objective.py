"""The formula where cells are hidden: the distance is to the hidden ones, and some rows hide nothing.

    masked term(x) = C_x / |H| · Σ_{c in H} −log p(x_c | z(x_S))      C_x observed variables, H the hidden ones of them
    plain term(x)  = −log p(x | z_1..k(x)) + β Ω                       of whole rows, from k leading axes, k drawn
    loss = (1 − s) · masked term + s · plain term                      s = `Config.nested`

With |H| uniform from 1 to C_x the masked term's mean is that of −Σ_c log p(x_c | those before c) over orders of the
columns, an upper bound of the −log p(x) of their mixture (Uria, Murray, Larochelle 2014, arXiv:1310.1757). Whole rows make
the first k axes the code of an autoencoder of K = k (Rippel, Gelbart, Adams 2014, arXiv:1402.0915).
"""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.model.autoencoder import Model
from diabolo.model.masking import Masking, Start

__all__ = ["cell_weights", "masked_theta", "whole_rows"]


def whole_rows(model: Model, rows: int) -> int:
    """Rows of a batch, the first ones, that hide nothing."""
    return min(rows, round(model.config.nested * rows)) if model.masking is not None else 0


def cell_weights(masking: Masking, hidden: Tensor, there: Tensor, whole: int) -> Tensor:
    """Weight of each variable in a row's distance, [*, B, V]: C_x/|H| of hidden ones; 1 of all in the first `whole` rows.

    A hidden variable whose slot group or gap is hidden too is told apart from nothing, and has no weight.
    """
    slots, gaps = (p.to(hidden.device) for p in masking.encoding.parents)
    own = torch.arange(len(slots), device=hidden.device)
    known = there & hidden
    for parent in (slots, gaps):
        known = known & ((parent == own) | ~hidden[..., parent])
    count = known.sum(-1, keepdim=True)
    weight = torch.where(known, there.sum(-1, keepdim=True) / count.clamp_min(1), 0.0)
    weight[..., :whole, :] = there[:whole].to(weight.dtype)
    return weight


def masked_theta(model: Model, rows: Encoded, hidden: Tensor, whole: int, generator: torch.Generator):
    """theta [*, B, width] of rows with hidden variables, the first `whole` of them decoded from leading axes; and q."""
    masking = model.masking
    assert masking is not None
    hidden[..., :whole, :] = False
    seen = masking.there(rows) & ~hidden
    posterior, start = model.encode_seen(rows.x, seen, rows.memory)
    z = posterior.sample(1, generator)
    if whole:
        device = z.device
        axes = torch.randint(1, model.latent_dim + 1, (whole,), generator=generator, device=device)
        kept = torch.arange(z.shape[-1], device=device) < axes.unsqueeze(-1)
        z = torch.cat([z[..., :whole, :] * kept, z[..., whole:, :]], dim=-2)
        if start is not None:
            first = masking.whole(axes)
            assert first is not None
            lead = start.gain.shape[:-2]
            first = Start(first.gain.expand(*lead, -1, -1), first.variance.expand(*lead, -1, -1))
            start = Start.joined([first, Start(start.gain[..., whole:, :], start.variance[..., whole:, :])])
    return model.decode_wide(z, start, rows.memory), posterior
