"""The section `clusters`: a partition of codes, and the network that assigns rows; a reader checks everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from diabolo.artifact import Section
from diabolo.cards import Count, card_of, finite
from diabolo.cluster.clusters import Clusters, ClusterSettings
from diabolo.cluster.embedding import embeddings
from diabolo.cluster.fitted import Components, Exemplars, FittedPartition
from diabolo.cluster.head import ClusterHead, Sight
from diabolo.cluster.partition import partitions
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.fitted.record import Fitted
from diabolo.model.autoencoder import Model
from diabolo.registry import spec_of

__all__ = ["clusters_of", "clusters_section"]

COMPONENTS = ("weights", "means", "covariances", "group")
EXEMPLARS = ("points", "labels", "confidence")
SIGHT = ("mean", "directions", "shift", "scale")


@dataclasses.dataclass
class ClustererParameters:
    n_clusters: Annotated[int, Ge(1)] | Literal["auto"]
    method: dict[str, Any]
    embedding: dict[str, Any]
    n_resamples: Count
    random_state: Count | None


@dataclasses.dataclass
class ClustersCard:
    parameters: ClustererParameters
    partition: Literal["components", "exemplars"]
    stability: Annotated[float, Ge(-1), Le(1)] | None
    reach: Annotated[float, Ge(0)] | None = None
    #: Affine layers of the head; 0 without one.
    layers: Annotated[int, Ge(0), Le(64)] = 0


def clusters_section(clusters: Clusters) -> Section:
    """The settings, partition and centers as a section."""
    found, settings = clusters.partition, clusters.settings
    k = settings.n_clusters
    card: dict[str, Any] = {
        "parameters": {
            "n_clusters": k if isinstance(k, str) else int(k),
            "method": spec_of(partitions.create(settings.method)),
            "embedding": spec_of(embeddings.create(settings.embedding)),
            "n_resamples": int(settings.n_resamples),
            "random_state": settings.random_state,
        },
        "partition": "components" if isinstance(found, Components) else "exemplars",
        "stability": finite(clusters.stability),
    }
    if isinstance(found, Exemplars):
        card["reach"] = found.reach
    names = COMPONENTS if isinstance(found, Components) else EXEMPLARS
    tensors = {name: np.asarray(getattr(found, name)) for name in names}
    head = clusters.head
    if head is not None:
        card["layers"] = len(head.weights)
        tensors |= {f"sight_{name}": getattr(head.sight, name) for name in SIGHT}
        for i, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
            tensors |= {f"head_weight_{i}": weight, f"head_bias_{i}": bias}
    tensors |= {"centers": clusters.centers, "sizes": clusters.sizes.astype(np.int64)}
    return Section(card, tensors)


def clusters_of(path: str | Path, section: Section, fitted: Fitted) -> Clusters:
    """The clusters of a section.

    Raises:
        ModelFileError: the section is damaged, or does not fit the autoencoder.
    """
    card = card_of(path, ClustersCard, section.card)
    tensors, model = dict(section.tensors), fitted.model
    try:
        partitions.create(card.parameters.method)
        embeddings.create(card.parameters.embedding)
        partition = _partition(path, card, -1 if card.layers else model.latent_dim, tensors)
        head = _head(path, card, model, partition.n_clusters, tensors)
    except ModelFileError:
        raise
    except (DiaboloError, ValueError, np.linalg.LinAlgError) as error:
        raise ModelFileError(f"{path}: section 'clusters' does not fit together: {error}") from None
    k = partition.n_clusters
    centers = _tensor(path, tensors, "centers", np.float64, (k, model.latent_dim))
    sizes = _tensor(path, tensors, "sizes", np.int64, (k,))
    if (sizes < 0).any() or (np.isfinite(centers).all(axis=1) != (sizes > 0)).any():
        raise ModelFileError(f"{path}: section 'clusters': sizes and centers do not fit together")
    if tensors:
        raise ModelFileError(f"{path}: section 'clusters': tensor {sorted(tensors)[0]!r} is left over")
    stability = float("nan") if card.stability is None else card.stability
    return Clusters(ClusterSettings(**dataclasses.asdict(card.parameters)), partition, head, centers, sizes, stability)


def _tensor(
    path: str | Path,
    tensors: dict[str, np.ndarray],
    name: str,
    dtype: type[np.float64 | np.int64],
    shape: tuple[int, ...],
) -> np.ndarray:
    """Take a tensor out of those that came; −1 in the shape is any length."""
    t = tensors.pop(name, None)
    fits = t is not None and t.dtype == dtype and t.ndim == len(shape)
    if t is None or not fits or any(want not in (-1, got) for want, got in zip(shape, t.shape, strict=True)):
        word = {np.float64: "F64", np.int64: "I64"}[dtype]
        said = ", ".join("n" if s == -1 else str(s) for s in shape)
        raise ModelFileError(f"{path}: tensor 'clusters/{name}' must be [{said}] {word}")
    return t


def _head(
    path: str | Path, card: ClustersCard, model: Model, k: int, tensors: dict[str, np.ndarray]
) -> ClusterHead | None:
    if not card.layers:
        return None
    inputs, codes = model.encoding.width, model.latent_dim
    mean = _tensor(path, tensors, "sight_mean", np.float64, (inputs,))
    directions = _tensor(path, tensors, "sight_directions", np.float64, (inputs, -1))
    width = directions.shape[1] + codes
    shift = _tensor(path, tensors, "sight_shift", np.float64, (width,))
    scale = _tensor(path, tensors, "sight_scale", np.float64, (width,))
    weights, biases = [], []
    for i in range(card.layers):
        weights.append(_tensor(path, tensors, f"head_weight_{i}", np.float64, (width, -1)))
        width = weights[-1].shape[1]
        biases.append(_tensor(path, tensors, f"head_bias_{i}", np.float64, (width,)))
    finite_ones = all(np.isfinite(t).all() for t in (mean, directions, shift, scale, *weights, *biases))
    if not finite_ones or not (scale > 0).all():
        raise ModelFileError(f"{path}: section 'clusters': the head has numbers that are not finite, or scales of 0")
    if width not in (k, k + 1):
        raise ModelFileError(f"{path}: section 'clusters': the head has {width} outputs for {k} clusters")
    return ClusterHead(Sight(mean, directions, shift, scale), weights, biases, k)


def _partition(path: str | Path, card: ClustersCard, dims: int, tensors: dict[str, np.ndarray]) -> FittedPartition:
    def refuse(problem: str) -> ModelFileError:
        return ModelFileError(f"{path}: section 'clusters': {problem}")

    if card.partition == "exemplars":
        points = _tensor(path, tensors, "points", np.float64, (-1, dims))
        labels = _tensor(path, tensors, "labels", np.int64, (len(points),))
        confidence = _tensor(path, tensors, "confidence", np.float64, (len(points),))
        if not len(points) or not np.isfinite(points).all() or card.reach is None or not np.isfinite(card.reach):
            raise refuse("no exemplars, some that are not finite, or no reach")
        if labels.min() < -1 or labels.max() >= len(points) or not ((confidence >= 0) & (confidence <= 1)).all():
            raise refuse("labels or confidence out of range")
        return Exemplars(points, labels, confidence, card.reach)
    means = _tensor(path, tensors, "means", np.float64, (-1, dims))
    c = len(means)
    weights = _tensor(path, tensors, "weights", np.float64, (c,))
    covariances = _tensor(path, tensors, "covariances", np.float64, (c, *means.shape[1:] * 2))
    group = _tensor(path, tensors, "group", np.int64, (c,))
    if not c or not all(np.isfinite(t).all() for t in (weights, means, covariances)):
        raise refuse("no components, or some that are not finite")
    if (
        not (weights > 0).all()
        or abs(weights.sum() - 1) > 1e-6
        or group.min() < 0
        or group.max() != len(np.unique(group)) - 1
    ):
        raise refuse("weights are not shares that add up to 1, or groups have no component")
    return Components(weights, means, covariances, group)
