"""Scores by name: those that a model can give, those that are always computed, and the one behind "auto"."""

from __future__ import annotations

from diabolo.detect.reference import Reference
from diabolo.detect.scores import Score, scores
from diabolo.errors import ConfigError, nearest
from diabolo.model.autoencoder import Model

__all__ = ["applicable", "automatic_score", "check_score", "density", "routine", "score_of"]

#: Unmet needs of a score, in words.
LACKING = {
    "stochastic": "needs a VAE; this model has a {latent} latent and",
    "stored": "needs training rows, which a detector keeps: fit an AnomalyDetector (no --only main); this model",
    "tail": "needs 20 rows that a detector keeps; this one has fewer, and",
}


def score_of(name: str) -> Score:
    """The score of a name, or of a name and its k, like "neighbours:20".

    Raises:
        ConfigError: an unknown name, a k out of range, or of a score that takes none.
    """
    plain, colon, number = str(name).partition(":")
    return scores.create({"name": plain, "k": number} if colon else plain)


def applicable(reference: Reference) -> list[str]:
    """Names of the scores whose needs are met."""
    return [n for n in scores if scores.get(n).needs <= reference.offers]


def density(model: Model) -> str:
    """The score that is −log p(x) or nearest to it: the bound that was trained where there is one, else −log p(x|z)."""
    if not model.latent.stochastic:
        return "nll"
    return "neg_elbo" if model.config.bound == "elbo" else "neg_log_likelihood"


def routine(reference: Reference, *asked: str) -> list[str]:
    """The scores that cost a pass or a few, that of the bound that was trained, and those asked for."""
    always = (density(reference.model), *asked)
    plain = [n for n in applicable(reference) if not scores.get(n).costly or n in always]
    return [*plain, *(n for n in asked if ":" in n)]


def automatic_score(reference: Reference) -> str:
    """The score behind "auto": the combined one where rows are stored, else that of the model alone.

    Rows of objects keep the bound of a Gaussian latent: the model has a law of the number of objects of each kind.
    Distances between rows padded with zeros have none. A network in whole numbers has the score of its trigger.
    """
    if reference.model.config.quantize is not None:
        return reference.model.config.quantize.score
    objects = bool(reference.model.encoding.schema.groups) and reference.model.latent.stochastic
    there = scores.get("auto").needs <= reference.offers
    return "auto" if there and not objects else density(reference.model)


def check_score(reference: Reference, name: str) -> Score:
    """The score of a name; one that does not exist, or whose needs are not met, is refused.

    Raises:
        ConfigError: with the unmet need, and the scores that there are.
    """
    if str(name).partition(":")[0] not in scores:
        raise ConfigError(f"unknown score {name!r}: {nearest(name, applicable(reference))}")
    score = score_of(name)
    lacking = sorted(score.needs - reference.offers)
    if lacking:
        words = LACKING[lacking[0]].format(latent=reference.model.latent.name)
        raise ConfigError(f"score {name!r} {words} gives {', '.join(applicable(reference))}")
    return score
