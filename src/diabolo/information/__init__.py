"""Entropy, divergences and mutual information: of distributions, of Gaussians in closed form, of samples.

    what            a distribution or histogram    a Gaussian                     samples (nearest neighbors)
    ──────────────  ─────────────────────────────  ─────────────────────────────  ─────────────────────────────
    H(p)            `entropy`                      `gaussian_entropy`             `sample_entropy`
    H(p, q)         `cross_entropy`
    D_KL(p ‖ q)     `kl_divergence`                `gaussian_kl`                  `sample_kl`
    ½ Jeffreys      `symmetrized_kl`
    JSD(p, q)       `js_divergence`, `js_distance`
    I(X; Y)         `mutual_information`           `gaussian_mutual_information`  `sample_mutual_information`

A distribution is an array of any shape of numbers ≥ 0 that sum to 1; `normalize` makes one of counts. Results are
float64 in nats; `base=2` gives bits. Source, where a function names no other: Cover & Thomas, Elements of Information
Theory (2nd edition, 2006), chapters 2 and 8. docs/information.md puts it all on one page.
"""

from __future__ import annotations

from diabolo.information.discrete import (
    cross_entropy,
    entropy,
    js_distance,
    js_divergence,
    kl_divergence,
    mutual_information,
    normalize,
    symmetrized_kl,
)
from diabolo.information.gaussian import gaussian_entropy, gaussian_kl, gaussian_mutual_information
from diabolo.information.samples import sample_entropy, sample_kl, sample_mutual_information

__all__ = [
    "normalize",
    "entropy",
    "cross_entropy",
    "kl_divergence",
    "symmetrized_kl",
    "js_divergence",
    "js_distance",
    "mutual_information",
    "gaussian_entropy",
    "gaussian_kl",
    "gaussian_mutual_information",
    "sample_entropy",
    "sample_kl",
    "sample_mutual_information",
]
