"""What the encoder's numbers mean: a point z, or a q(z|x). A file of this folder that registers one is all."""

from diabolo.model.latent.base import Latent, Posterior, latents

__all__ = ["Latent", "Posterior", "latents"]
