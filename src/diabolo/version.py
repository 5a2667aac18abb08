"""The versions of the package, and of the libraries that a fit depends on."""

from __future__ import annotations

import platform

__all__ = ["__version__", "versions"]

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions that a model file names."""
    import numpy as np
    import torch

    return {
        "diabolo": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
