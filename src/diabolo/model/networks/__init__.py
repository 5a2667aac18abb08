"""Encoder and decoder families as lists of plain operations over one flat parameter buffer.

A network is data, not code: `[Affine(57, 32), Rectify(), Affine(32, 3)]`. Batching over ensemble members,
exact integer evaluation and hand-off to other runtimes all walk that list.
"""

from diabolo.model.networks.base import networks
from diabolo.model.networks.execution import run
from diabolo.model.networks.operations import (
    Affine,
    Convolution,
    ImageToRow,
    Operation,
    Rectify,
    RowToImage,
    TransposedConvolution,
)
from diabolo.model.networks.paths import has_paths, path_norms
from diabolo.model.networks.protocol import Network, Shape
from diabolo.model.networks.store import ParameterStore, parameter_shapes

__all__ = [
    "Affine",
    "Convolution",
    "ImageToRow",
    "Network",
    "Operation",
    "ParameterStore",
    "Rectify",
    "RowToImage",
    "Shape",
    "TransposedConvolution",
    "has_paths",
    "networks",
    "parameter_shapes",
    "path_norms",
    "run",
]
