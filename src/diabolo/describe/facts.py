"""A fitted model in facts, a name and a sentence each, whether it lies in a file or in memory."""

from __future__ import annotations

import numpy as np

from diabolo.cluster.clusters import Clusters
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import applicable
from diabolo.detect.reference import Reference
from diabolo.errors import CalibrationError
from diabolo.file.codec import Codec
from diabolo.fitted.record import Fitted
from diabolo.registry import spec_of

__all__ = [
    "Fact",
    "checks_of",
    "facts_of_autoencoder",
    "facts_of_clusters",
    "facts_of_codec",
    "facts_of_detector",
    "lines_of",
]

Fact = tuple[str, str]


def lines_of(facts: list[Fact]) -> list[str]:
    """Facts as lines, sentences below one another."""
    return [f"  {name:<13} {said}" for name, said in facts]


def facts_of_autoencoder(fitted: Fitted, estimator: str) -> list[Fact]:
    """Network, parts, rows by role and training.

    Args:
        estimator: name of its class.
    """
    model, config, history, training = fitted.model, fitted.model.config, fitted.history, fitted.training
    widths = " → ".join(str(w) for w in (model.encoding.width, *(config.hidden or ()), config.latent_dim))
    facts = [("network", f"{widths}, mirrored; {model.store.flat.shape[-1]:,} parameters")]
    parts = ("network", "latent", "prior", "corruption", "regularizer")
    facts += [(part, _spec(getattr(config, part))) for part in parts]
    described = dict.fromkeys(_spec(spec_of(h.likelihood)) for h in model.heads if h.block.kind != "missing")
    facts += [("likelihood", ", ".join(described)), ("beta", f"{config.beta:g}")]
    if config.bound != "elbo":
        facts.append(("bound", f"{config.bound}, {config.draws} draw{'s' * (config.draws > 1)}"))
    counts = ", ".join(f"{n:,} {role}" for role, n in fitted.roles.counts.items() if n)
    best = min((e["validation"] for e in history if e["validation"] is not None), default=float("nan"))
    linear = history[-1].get("linear") if history else None
    return [
        *facts,
        ("fitted by", estimator),
        ("rows", f"{counts} (split by {fitted.roles.split}, seed {fitted.roles.seed})"),
        ("training", f"{len(history)} epochs, best loss {best:.4f} nats, {training.seconds:.1f} s"),
        *([] if linear is None else [("linear part", _said_of_linear(linear, best))]),
        ("written by", ", ".join(f"{k} {v}" for k, v in training.versions.items())),
        ("data", f"fingerprint {fitted.roles.fingerprint}"),
    ]


def _said_of_linear(linear: float, best: float) -> str:
    if best < linear:
        return (
            f"loss {linear:.4f} nats by itself, as principal components predict; the network gains {linear - best:.4f}"
        )
    return f"loss {linear:.4f} nats, which no epoch was better than: the network adds nothing"


def facts_of_detector(detector: Calibrated | None, reference: Reference) -> list[Fact]:
    """The scores that there are, and the one in use with threshold and rate."""
    facts = [("scores", ", ".join(applicable(reference)))]
    if detector is not None:
        facts.append(("detector", _said_of_detector(detector)))
    return facts


def _said_of_detector(d: Calibrated) -> str:
    try:
        threshold = d.threshold
    except CalibrationError as error:  # of an earlier rule: what is known of the file is said all the same
        return f"{d.score_name}: {error}"
    return (
        f"{d.score_name} above {threshold:.6g}: false-alarm rate {100 * d.rate:.3g} %, "
        f"{d.calibration.said} (smallest rate {100 / (d.calibration.units + 1):.2g} %)"
    )


def checks_of(fitted: Fitted, detector: Calibrated | None) -> list[Fact]:
    """What can be checked without new rows: signs against exchangeable rows, rows out of place or without a score."""
    said = []
    if detector is not None:
        said += [doubt.in_python for doubt in detector.doubts] + detector.remarks
        if detector.n_unscorable:
            said.append(f"{detector.n_unscorable:,} calibration rows could not be scored, and were left out")
    if fitted.suspects is not None and len(fitted.suspects):
        said.append(f"{len(fitted.suspects):,} rows of the fit look out of place: suspects_ lists them")
    return [("check", sentence) for sentence in said] or [
        ("checks", "no sign against the fit itself; report(X) looks at rows too")
    ]


def facts_of_clusters(clusters: Clusters) -> list[Fact]:
    """Number, method, stability and sizes."""
    c = clusters
    sure = "" if np.isnan(c.stability) else f", stability {c.stability:.2f}"
    sizes = ", ".join(f"{n:,}" for n in c.sizes[:12]) + (", ..." if len(c.sizes) > 12 else "")
    return [("clusters", f"{c.n_clusters} by {c.method}{sure}; rows {sizes}")]


def facts_of_codec(codec: Codec) -> list[Fact]:
    """Bytes and columns."""
    outside = ", which files written with --external-model need" if codec.outside else ""
    return [("codec", f"{len(codec.data):,} bytes, for {len(codec.plan.schema)} columns{outside}")]


def _spec(part: object) -> str:
    if isinstance(part, dict):
        settings = ", ".join(f"{k} = {v}" for k, v in part.items() if k != "name")
        return f"{part['name']} ({settings})" if settings else str(part["name"])
    return str(part)
