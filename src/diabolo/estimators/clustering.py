"""Clusters of a dataset of any size: found in a uniform sample, labels chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diabolo.cluster.stability import most_likely
from diabolo.data.formats import Data
from diabolo.data.reading import ordered_chunks
from diabolo.data.sample import sampled
from diabolo.data.table import Table
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.clusterer import LatentClusterer

__all__ = ["clustered", "labelled"]


def clustered(
    ae: Autoencoder, data: Data, settings: dict[str, Any], most_bytes: int, report: Callable[[int], None]
) -> LatentClusterer:
    """Fit a clusterer around a fitted autoencoder to a dataset, or to a uniform sample of so many bytes."""
    schema = ae.model_.encoding.schema
    sample = sampled(data, schema, None, most_bytes, report)
    dtypes = [c.dtype for c in schema.columns]
    levels = {name: list(words) for name, words in schema.levels.items()}
    table = Table(sample.values, schema.names, dtypes, "arrow", True, levels)
    return LatentClusterer(ae, **settings)._fit_table(table)


def labelled(
    found: LatentClusterer, data: Data, sizes: list[int], report: Callable[[int], None]
) -> tuple[Any, Iterator[Any]]:
    """The Arrow schema of labels, and batches of them; adds to `sizes` the rows of each cluster, last those of none."""
    import pyarrow as pa

    schema = pa.schema(
        [
            pa.field("row", pa.int64(), metadata={"encoding": "DELTA_BINARY_PACKED"}),
            pa.field("cluster", pa.int32()),
            pa.field("confidence", pa.float32()),
        ]
    )

    def batches() -> Iterator[Any]:
        at = 0
        for values, _ in ordered_chunks(data, found.autoencoder_.model_.encoding.schema):
            labels, confidence = most_likely(found._proba_of(values))
            for j, rows in zip(*np.unique(labels, return_counts=True), strict=True):
                sizes[j] += int(rows)
            place = np.arange(at, at + len(values))
            at += len(values)
            report(len(values))
            yield pa.record_batch([pa.array(place), pa.array(labels), pa.array(confidence)], schema=schema)

    return schema, batches()
