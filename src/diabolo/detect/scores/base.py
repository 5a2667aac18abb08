"""The class of all scores, and that of scores that are a sum or a mean over columns."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.model.autoencoder import Model
from diabolo.registry import Entry, Registry

__all__ = ["ByColumn", "Score", "mean_theta", "scores"]


class Score(Entry, abc.ABC):
    """A number per row, from a model and the training rows that a detector keeps."""

    #: Its needs, of `Reference.offers`: a q(z|x) with a width ("stochastic"), "stored" rows, 20 of them ("tail").
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether a row takes tens of passes, or a look at every stored row: computed only where it is asked for, and for
    #: the first rows of a report. The bound that a model was trained with is always computed.
    costly: ClassVar[bool] = False
    #: What gives the score, in words.
    judged_by: ClassVar[str] = "the main autoencoder"

    def tile(self, reference: Reference) -> int | None:
        """Rows of which a tile may have any multiple and each row keeps its bits; None for full tiles alone."""
        return None

    @abc.abstractmethod
    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        """[*lead, B], up = more anomalous; the same for a row whatever its company."""


class ByColumn(Score):
    """A score that is the mean of its columns, or their sum."""

    @abc.abstractmethod
    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        """[*lead, B, C], not reduced yet, in the order of the schema's `output_names`."""

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        columns = self.columns(reference, rows)
        return columns.matmul(columns.new_full((columns.shape[-1],), 1 / columns.shape[-1]))


scores: Registry[Score] = Registry("score", __package__)


def mean_theta(model: Model, rows: Encoded) -> Tensor:
    """The decoder's numbers at the posterior mean of each row."""
    return model.decode(model.posterior(rows).mean, rows.memory)
