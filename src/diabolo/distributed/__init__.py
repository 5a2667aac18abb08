"""Work on many pieces of a table at once by any engine, and fits by several processes (docs/distributed.md)."""

from diabolo.distributed.batches import ClusterBatches, CompressPieces, ScoreBatches
from diabolo.distributed.sample import Sample
from diabolo.distributed.torchrun import fit_by_torchrun

__all__ = ["ClusterBatches", "CompressPieces", "Sample", "ScoreBatches", "fit_by_torchrun"]
