"""Ω: what limits the code, in nats per row, [*lead, B]; weighted by β and added to the distance.

On a point latent a penalty on z is void if the encoder may shrink z while the decoder grows, so penalties act on
z̄_j = z_j c_j, with c_j the size of all paths of the decoder from z_j to the outputs (`networks.paths`), ‖W_j‖ for a
linear one: rescaling z leaves Ω unchanged, and no row changes another's. Files from before version 0.2 have
z̄ = z / rms(z) over the batch (`code_scale="rms"`): a square of that has mean 1 whatever the encoder does, and a few
loud rows make all others cheap. A penalty that holds the codes themselves against π has its scale from there
(`matches_prior`).

A file of this folder that registers one is all that a new one needs.
"""

from diabolo.model.regularizer.base import Context, Regularizer, regularizers

__all__ = ["Context", "Regularizer", "regularizers"]
