"""min over z of −log p(x|z) − log π(z), row by row: the likelihood with z profiled out."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores
from diabolo.model.autoencoder import Model

__all__ = ["code_scale", "profile"]

#: Evaluations of the decoder and its gradient at most; a row ends before, once three steps in a row gained nothing.
ITERATIONS = 30
#: Gains below this share of the value are nothing: of 100 nats, a thousandth of one.
TOLERANCE = 1e-5


def profile(model: Model, rows: Encoded, iterations: int = ITERATIONS) -> Tensor:
    """Proximal gradient steps of spectral length from the encoder's code, each row with a step of its own.

    Wright, Nowak, Figueiredo 2009, "Sparse reconstruction by separable approximation": z ← prox(z − t ∇f(z), t) with
    the step t of Barzilai, Borwein 1988, taken only where it lowers the sum, else shortened. So the result never lies
    above its start, nor above that of fewer iterations.

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
        found = _descend(model, _usable(rows), start.clone(), scale.clone(), iterations)
    values = [_value(model, rows, code, scale) for code in (start, found)]
    return torch.minimum(*values)


def code_scale(model: Model) -> Tensor:
    """z / z̄, [*lead, 1, K]: 1 where π is that of z; else by the decoder's paths, or the training codes' rms."""
    if model.held or _free(model):
        return torch.ones(model.latent_dim)
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


def _descend(model: Model, rows: Encoded, z: Tensor, scale: Tensor, iterations: int) -> Tensor:
    def evaluate(code: Tensor) -> tuple[Tensor, Tensor]:
        """The sum [*lead, B], and the gradient of its smooth part, −log p(x|z)."""
        code = code.detach().requires_grad_()
        cells = model.nll(model.decode(code * scale), rows)
        nll = torch.stack([c.sum(-1) for c in cells]).sum(0)
        gradient = torch.autograd.grad(nll.sum(), code)[0]
        with torch.no_grad():
            return nll + _cost(model, code), gradient

    value, gradient = evaluate(z)
    with torch.no_grad():
        # A first step of a tenth of the codes' scale, or less where the slope is small.
        step = 0.1 / torch.linalg.vector_norm(gradient, dim=-1).clamp_min(0.1)
        idle = torch.zeros_like(value)
    for _ in range(iterations):
        with torch.no_grad():
            tried = z - step.unsqueeze(-1) * gradient
            if not _free(model):
                tried = model.prior.prox(tried, step.unsqueeze(-1))
            tried = model.latent.kept(tried)
        tried_value, tried_gradient = evaluate(tried)
        with torch.no_grad():
            moved, turned = tried - z, tried_gradient - gradient
            length, bend = moved.square().sum(-1), (moved * turned).sum(-1)
            gain = value - tried_value
            # A row that has ended stays so: its result does not depend on how long other rows need.
            better = (gain >= 0.005 * length / step) & (idle < 3)
            small = ~(gain > TOLERANCE * (1 + value.abs()))
            idle = torch.where(idle < 3, torch.where(small, idle + 1, 0), idle)
            spectral = torch.where(bend > 0, length / bend, 4 * step)
            shorter = torch.minimum(torch.maximum(spectral, 0.01 * step), 0.5 * step)
            step = torch.where(better, spectral.clamp(1e-12, 1e6), shorter)
            value = torch.where(better, tried_value, value)
            z = torch.where(better.unsqueeze(-1), tried, z)
            gradient = torch.where(better.unsqueeze(-1), tried_gradient, gradient)
            if bool((idle >= 3).all()):
                break
    return z


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
