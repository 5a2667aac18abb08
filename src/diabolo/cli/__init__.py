"""L6: the command line, one verb per job; modules that need PyTorch load inside the verbs."""

from diabolo.cli.app import main

__all__ = ["main"]
