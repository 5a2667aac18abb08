"""min over z of −log p(x|z) − log π(z), row by row: the likelihood with z profiled out."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores
from diabolo.model.autoencoder import Model
from diabolo.model.profile import descend

__all__ = ["code_scale", "profile"]

#: Evaluations of the decoder and its gradient at most; a row ends before, once three steps in a row gained nothing.
ITERATIONS = 30


def profile(model: Model, rows: Encoded, iterations: int = ITERATIONS) -> Tensor:
    """The least sum that `diabolo.model.profile.descend` finds from the encoder's code.

    The result never lies above its start, nor above that of fewer iterations.

    Args:
        model: lead axes [*lead].
        rows: B unclipped rows.
        iterations: gradients per row at most.

    Returns:
        [*lead, B], nats, a density in original units; an upper bound of the minimum where the decoder is not linear.
    """
    scale = code_scale(model)
    start = model.posterior(rows).mean / scale
    # Callers score in inference mode, whose tensors no gradient may pass.
    with torch.inference_mode(False), torch.enable_grad():
        found = _best(model, _usable(rows), start.clone(), scale.clone(), iterations)
    values = [_value(model, rows, code, scale) for code in (start, found)]
    return torch.minimum(*values)


def code_scale(model: Model) -> Tensor:
    """z / z̄, [*lead, 1, K]: 1 where π is that of z; else by the decoder's paths, or the training codes' rms."""
    if model.held or _free(model):
        return torch.ones(model.latent_dim, device=model.device)
    reach = model.reach()
    if reach is not None:
        return reach.detach().reciprocal().clamp_max(1e6).unsqueeze(-2)
    mean, covariance = model.buffers["latent_mean"], model.buffers["latent_cov"]
    square = mean.square() + covariance.diagonal(dim1=-2, dim2=-1)
    return square.sqrt().clamp_min(1e-6).unsqueeze(-2)


def _free(model: Model) -> bool:
    """Whether all codes that the latent allows count alike: it limits them, and no Ω holds them."""
    return model.latent.limits and model.regularizer.name == "none"


def _cost(model: Model, code: Tensor) -> Tensor | float:
    """−log π of codes [*, K], [*]."""
    return 0.0 if _free(model) else -model.prior.log_prob(code).sum(-1)


def _usable(rows: Encoded) -> Encoded:
    """The parts of rows that −log p(x|z) reads, as tensors that a gradient may pass."""
    present = None if rows.present is None else rows.present.clone()
    return Encoded(rows.x.clone(), present)


def _value(model: Model, rows: Encoded, code: Tensor, scale: Tensor) -> Tensor:
    nll = model.column_nll(model.decode(code * scale, rows.memory), rows).sum(-1)
    return nll + _cost(model, code)


def _best(model: Model, rows: Encoded, start: Tensor, scale: Tensor, iterations: int) -> Tensor:
    def smooth(code: Tensor) -> Tensor:
        return torch.stack([c.sum(-1) for c in model.nll(model.decode(code * scale), rows)]).sum(0)

    def prox(code: Tensor, step: Tensor) -> Tensor:
        return model.latent.kept(code if _free(model) else model.prior.prox(code, step))

    return descend(smooth, lambda code: _cost(model, code), prox, start, iterations)


@scores.register("profile")
class Profile(Score):
    """min over z of −log p(x|z) − log π(z), nats: the likelihood reading of a sparse autoencoder.

    π is that of z̄ where the regularizer acts on z̄, else of z / rms(training codes). Of a `topk` latent, z has at most
    k dimensions, and every such z counts alike. A VAE bounds the integral of p(x, z) over z; here the best z stands for
    that integral.
    """

    costly = True

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return profile(reference.model, rows)
