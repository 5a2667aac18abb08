"""Which network of a model file serves which job, in plain words."""

from __future__ import annotations

import dataclasses

from diabolo.compress.plan import network_of
from diabolo.detect.choice import automatic_score, score_of
from diabolo.detect.reference import Reference
from diabolo.file.model_file import ModelFile
from diabolo.generate.methods import automatic_method, methods

__all__ = ["Served", "jobs_of"]


@dataclasses.dataclass(frozen=True)
class Served:
    """A job, and what serves it in words."""

    job: str
    by: str


def jobs_of(file: ModelFile) -> list[Served]:
    """What serves each job that a file can do, as the command line would do it by default."""
    if "main" not in file:
        nothing = "nothing here: the file holds no autoencoder"
        found = [Served(job, nothing) for job in ("detect", "fill in", "draw", "cluster")]
    else:
        found = [
            Served("detect", _detects(file)),
            Served("fill in", "the main autoencoder"),
            Served("draw", methods.get(automatic_method(file.generator, mean=False)).drawn_by),
            Served("cluster", _clusters(file)),
        ]
    return [*found, Served("compress", _compresses(file))]


def _detects(file: ModelFile) -> str:
    if "detector" in file:
        name = file.detector.score_name
        return f"{score_of(name).judged_by} (score {name})"
    name = automatic_score(Reference(file.autoencoder.model))
    return f"{score_of(name).judged_by} (score {name}), with no threshold: the file holds no detector"


def _clusters(file: ModelFile) -> str:
    if "clusters" not in file:
        return "codes of the main autoencoder; no clusters are in the file yet"
    if file.clusterer.head is None:
        return "codes of the main autoencoder"
    return "a small network of its own, which sees rows and their codes by the main autoencoder"


def _compresses(file: ModelFile) -> str:
    if "codec" not in file:
        return "none yet: diabolo compress fits a network of its own for it, never the main autoencoder"
    codec = file.codec.data
    return f"{network_of(codec)} of its own, in whole numbers, {len(codec):,} bytes" if codec else network_of(codec)
