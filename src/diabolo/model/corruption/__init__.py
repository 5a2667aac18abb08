"""x → x̃, on its way into the encoder and in training only. A file of this folder that registers one is all."""

from diabolo.model.corruption.base import Corruption, corruptions, hidden, with_gaps

__all__ = ["Corruption", "corruptions", "hidden", "with_gaps"]
