"""diabolo: one fitted autoencoder, several jobs, one safe file.

    x ──corrupt──▶ x̃ ──encoder──▶ q(z|x̃) ──▶ z ──decoder──▶ p(x|z)
    loss(x) = −log p(x|z)  +  β Ω

Importing this package loads nothing else; each name loads its module when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diabolo import information, plots
    from diabolo.estimators.autoencoder import Autoencoder
    from diabolo.estimators.clusterer import LatentClusterer
    from diabolo.estimators.compressor import Compressor, decompress
    from diabolo.estimators.detector import AnomalyDetector
    from diabolo.estimators.faces import load
    from diabolo.estimators.named import (
        DenoisingAutoencoder,
        LinearAutoencoder,
        MaskedAutoencoder,
        SparseAutoencoder,
        VariationalAutoencoder,
    )
    from diabolo.report.write import report
    from diabolo.version import __version__

_HOMES = {
    "Autoencoder": "diabolo.estimators.autoencoder",
    "LinearAutoencoder": "diabolo.estimators.named",
    "DenoisingAutoencoder": "diabolo.estimators.named",
    "MaskedAutoencoder": "diabolo.estimators.named",
    "SparseAutoencoder": "diabolo.estimators.named",
    "VariationalAutoencoder": "diabolo.estimators.named",
    "AnomalyDetector": "diabolo.estimators.detector",
    "LatentClusterer": "diabolo.estimators.clusterer",
    "Compressor": "diabolo.estimators.compressor",
    "decompress": "diabolo.estimators.compressor",
    "load": "diabolo.estimators.faces",
    "__version__": "diabolo.version",
    "information": "diabolo",
    "plots": "diabolo",
    "report": "diabolo",
}

__all__ = [
    "AnomalyDetector",
    "Autoencoder",
    "Compressor",
    "DenoisingAutoencoder",
    "LatentClusterer",
    "LinearAutoencoder",
    "MaskedAutoencoder",
    "SparseAutoencoder",
    "VariationalAutoencoder",
    "__version__",
    "decompress",
    "information",
    "load",
    "plots",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diabolo' has no attribute {name!r}")
    import importlib

    home = _HOMES[name]
    # A name is a module of this package, or is found in one.
    return (
        importlib.import_module(f"diabolo.{name}")
        if home == "diabolo"
        else getattr(importlib.import_module(home), name)
    )


def __dir__() -> list[str]:
    return sorted(__all__)
