"""An endpoint for fitted detectors: HTTP in, scores out, and a page to look at (L5)."""

from diabolo.serve.able import LIBRARIES
from diabolo.serve.application import app

__all__ = ["LIBRARIES", "app"]
