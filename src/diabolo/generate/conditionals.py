"""Rows drawn from the conditionals of a masked autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le

from diabolo.errors import ConfigError
from diabolo.generate.decoding import within
from diabolo.generate.methods import Method, Sampler, methods
from diabolo.model.sequential import drawn_rows


@methods.register("masked")
class FromConditionals(Method):
    """One column after the other in a random order, each from its law given those before; of a masked autoencoder."""

    drawn_by = "the main autoencoder, one column after the other given those before"

    #: Rows that share an order: the fewer, the more orders, and the more passes.
    rows: Annotated[int, Ge(1), Le(65_536)] = 512

    def draw(
        self, sampler: Sampler, n: int, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> np.ndarray:
        if mean:
            raise ConfigError("method 'masked' draws rows and has no mean; with mean=True take 'mixture' or 'prior'")
        parts = []
        with torch.inference_mode():
            for start in range(0, n, self.rows):
                parts.append(drawn_rows(sampler.model, min(self.rows, n - start), given, generator).numpy())
        return within(sampler.model, np.concatenate(parts))
