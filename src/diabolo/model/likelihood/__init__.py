"""−log p(x|z) per column: the distance of the objective, unreduced, for one block of like columns.

A likelihood reads the decoder's numbers `theta` [*, B, width] and, where it has them, its own trained parameters. Every
entry also knows its mean, draws from it, its cumulative distribution (for grid masses), and a squared distance that
needs no density. Reals and integers are in standardised units; `Units` defines these.

A file of this folder that registers one is all that a new one needs.
"""

from diabolo.model.likelihood.base import Likelihood, Units, default_likelihood, likelihoods

__all__ = ["Likelihood", "Units", "default_likelihood", "likelihoods"]
