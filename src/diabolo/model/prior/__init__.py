"""π(z): what the latent is held against, drawn from, and what importance weights need.

A file of this folder that registers one is all that a new one needs.
"""

from diabolo.model.prior.base import HALF_LOG_2PI, Prior, priors

__all__ = ["HALF_LOG_2PI", "Prior", "priors"]
