"""Ω: what limits the code, in nats per row, [*lead, B]; weighted by β and added to the distance.

On a point latent a penalty on z is void if the encoder may shrink z while the decoder grows, so penalties
act on z̄ = z / rms(z), with each dimension's weighted root mean square over the batch: rescaling z leaves Ω unchanged.
A square of z̄ has mean 1 whatever the encoder does, so penalties that are squares are refused rather than silently
void. A penalty that holds the codes themselves against π has its scale from there (`matches_prior`).

A file of this folder that registers one is all that a new one needs.
"""

from diabolo.model.regularizer.base import Context, Regularizer, regularizers

__all__ = ["Context", "Regularizer", "regularizers"]
