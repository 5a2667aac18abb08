"""Clusters of a dataset of any size: found in a uniform sample, labels chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from diabolo.cluster.clusters import Clusters, ClusterSettings, find_clusters
from diabolo.cluster.stability import most_likely
from diabolo.config import seed_of
from diabolo.data.formats import Data
from diabolo.data.keeping import with_kept
from diabolo.data.reading import ordered_chunks
from diabolo.data.sample import sampled
from diabolo.model.autoencoder import Model

__all__ = ["clustered", "labelled"]


#: The facts of each row.
LABELS = pa.schema(
    [
        pa.field("row", pa.int64(), metadata={"encoding": "DELTA_BINARY_PACKED"}),
        pa.field("cluster", pa.int32()),
        pa.field("confidence", pa.float32()),
    ]
)


def clustered(
    model: Model, data: Data, settings: ClusterSettings, most_bytes: int, report: Callable[[int], None]
) -> Clusters:
    """Find clusters of a dataset, or of a uniform sample of so many bytes."""
    sample = sampled(data, model.encoding.schema, None, most_bytes, report)
    return find_clusters(model, sample.values, settings, seed_of(settings.random_state)).clusters


def labelled(
    found: Clusters,
    model: Model,
    data: Data,
    sizes: list[int],
    report: Callable[[int], None],
    kept: Sequence[str] = (),
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The Arrow schema of labels, and batches of them; the rows of each cluster are added to `sizes`, of none last.

    Args:
        kept: columns of the data that are carried beside the labels.
    """
    schema = with_kept(LABELS, data, kept)

    def batches() -> Iterator[pa.RecordBatch]:
        at = 0
        for values, cells in ordered_chunks(data, model.encoding.schema, kept):
            labels, confidence = most_likely(found.proba(model, values))
            for j, rows in zip(*np.unique(labels, return_counts=True), strict=True):
                sizes[j] += int(rows)
            place = np.arange(at, at + len(values))
            at += len(values)
            report(len(values))
            beside = [cells[name] for name in kept]
            yield pa.record_batch([pa.array(place), *beside, pa.array(labels), pa.array(confidence)], schema=schema)

    return schema, batches()
