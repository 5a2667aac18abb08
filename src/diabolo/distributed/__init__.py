"""Work on many pieces of a table at once, by any engine: the same bits wherever a piece runs (docs/distributed.md)."""

from diabolo.distributed.batches import ClusterBatches, CompressPieces, ScoreBatches
from diabolo.distributed.sample import Sample

__all__ = ["ClusterBatches", "CompressPieces", "Sample", "ScoreBatches"]
