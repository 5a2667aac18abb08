"""What runs pieces: processes of this machine, or a cluster. A file of this folder that registers one is all."""

from diabolo.distributed.engines.base import Engine, engines

__all__ = ["Engine", "engines"]
