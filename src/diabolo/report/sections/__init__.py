"""The sections of a report, one concept per module; importing this package registers them in the page's order."""

from diabolo.report.sections import model, training, scores, anomalies, latent, clusters, columns, samples, codec, size  # noqa: I001
from diabolo.report.sections.base import Missing, Part, Section, sections

__all__ = [
    "Missing",
    "Part",
    "Section",
    "anomalies",
    "clusters",
    "codec",
    "columns",
    "latent",
    "model",
    "samples",
    "scores",
    "sections",
    "size",
    "training",
]
