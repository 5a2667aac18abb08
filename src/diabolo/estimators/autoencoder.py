"""`Autoencoder`: the estimator over every choice of parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from diabolo.artifact import Section
from diabolo.config import RandomState, seed_of
from diabolo.data.dtypes import mean_type
from diabolo.data.keeping import like_rows
from diabolo.data.table import RowsOut, TableLike, TableOut, as_table, check_weights, from_values
from diabolo.detect.choice import density
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import ModelFileError
from diabolo.estimators.conditionals import HasConditionals
from diabolo.estimators.displayed import Reported
from diabolo.estimators.faces import Face, face_of
from diabolo.estimators.following import following
from diabolo.estimators.generating import Generates
from diabolo.estimators.plotted import PlottedScores
from diabolo.estimators.settings import HasSettings
from diabolo.file.generator import generator_section
from diabolo.file.main import main_section
from diabolo.file.model_file import ModelFile, save_sections
from diabolo.fitted.keep import keep_of
from diabolo.fitted.online import begin, learn
from diabolo.fitted.record import Fitted
from diabolo.fitted.table import fit_table
from diabolo.generate.filling import filled, reconstructed
from diabolo.generate.methods import Sampler
from diabolo.model.codes import decoded, encoded

__all__ = ["Autoencoder"]


class Autoencoder(
    Face,
    Reported,
    PlottedScores,
    HasConditionals,
    Generates,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    HasSettings,
):
    """An autoencoder of chosen parts, fitted on unlabelled rows.

    loss(x) = −log p(x | z) + β Ω, with z from the encoder of a possibly corrupted x (docs/notation.md).

    Parameters are the fields of `diabolo.config.Config`; a part is a name ("gaussian") or a mapping with its
    settings ({"name": "gaussian", "std": 0.2}). Fitted attributes: `history_` (one dict per epoch),
    `config_`, `model_`, `n_train_`, `n_stop_`, `n_features_in_`, `feature_names_in_`, `suspects_` (docs/robust.md).
    Methods on rows raise DataError for other columns than those of the fit, and NotFittedError before it.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 6)) @ np.ones((6, 6))
    >>> ae = Autoencoder(latent_dim=1, epochs=5).fit(X)
    >>> ae.transform(X).shape, ae.reconstruct(X).shape, ae.anomaly_score(X).dtype
    ((200, 1), (200, 6), dtype('float64'))
    >>> bool(np.isclose(ae.score(X), ae.score_samples(X).mean()))
    True
    """

    # ── fitting ───────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        X: TableLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit on rows X [n, C]; y is ignored, `sample_weight` [n] weighs loss, scaling and stopping.

        Args:
            checkpoint: file that holds the running fit, renewed every ten seconds. It stays when the fit ends; delete
                it once the model is saved.
            resume: go on from that file if it is there. The result is the same, bit for bit, as without the break
                (docs/reproducibility.md).

        Raises:
            DataError: text, infinities, fewer than two rows or nothing that varies.
            ConfigError: settings that are wrong or do not fit together.
            TrainingError: the loss was not finite.
            CheckpointError: the checkpoint to resume from is damaged, or of other settings or data.
        """
        table = as_table(X)
        weights = check_weights(sample_weight, len(table))
        keep = keep_of(checkpoint, resume)
        with following(self.verbose) as report:
            fitted = fit_table(table, weights, self.settings(), report=report, keep=keep)
        return self._adopt(fitted)

    def partial_fit(self, X: TableLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Step once on each of the rows X [n, C] of a stream, at a constant learning rate.

        The first call fixes columns, kinds, scaling and widths by its rows; a fitted or loaded autoencoder keeps those
        of its fit. No row is kept apart to decide when to stop. `history_` gets one line per call, in which
        `validation` is the loss of the rows before the first step on them. The optimizer's state lives on between
        calls, but is not saved: after `load` it starts afresh. `sample_weight` [n] weighs the rows of a call against
        each other. A detector of this autoencoder has to be fitted again.

        Raises:
            DataError: an infinite cell, other columns than those of the first call.
            TrainingError: no step had a finite loss; the autoencoder is as it was.

        >>> X, ae = np.random.default_rng(0).normal(size=(200, 3)), Autoencoder(latent_dim=1)
        >>> [len(ae.partial_fit(part).history_) for part in (X[:100], X[100:])]
        [1, 2]
        """
        table = as_table(X)
        weights = check_weights(sample_weight, len(table))
        if not hasattr(self, "model_"):
            self._adopt(begin(table, weights, self.settings()))
        learn(self.fitted_, table, weights, type(self).__name__)
        return self._adopt(self.fitted_)

    @classmethod
    def from_fitted(cls, fitted: Fitted, parameters: Mapping[str, Any], sampler: Sampler | None = None) -> Self:
        """An estimator of these parameters with a fit that was made elsewhere.

        Args:
            sampler: where it is known already.
        """
        return cls(**parameters)._adopt(fitted, sampler)

    def _adopt(self, fitted: Fitted, sampler: Sampler | None = None) -> Self:
        self.fitted_, self.sampler_ = fitted, sampler or Sampler(fitted.model, fitted.source_rows)
        self.model_, self.config_, self.history_ = fitted.model, fitted.model.config, fitted.history
        self.suspects_ = fitted.suspects
        self.n_train_, self.n_stop_ = fitted.roles.counts["train"], fitted.roles.counts["stop"]
        self._n_features_out = fitted.model.latent_dim
        self.remember_columns(fitted)
        return self

    # ── the map ───────────────────────────────────────────────────────────────────────────────────

    def transform(self, X: TableLike) -> np.ndarray:
        """The posterior mean μ(x), [n, K], in X's float type; NaN for a row that cannot be encoded."""
        values = self._table(X).values
        return encoded(self.model_, values).mean

    def posterior_std(self, X: TableLike) -> np.ndarray:
        """σ(x) of q(z|x) = N(μ(x), diag σ²(x)), [n, K], in X's float type; NaN for a row that cannot be encoded.

        It is in the unit of z, and μ(x) is `transform(X)` (Kingma, Welling 2013, arXiv:1312.6114, eq. 9).

        Raises:
            ConfigError: a point latent, which has no width.

        >>> X = np.random.default_rng(0).normal(size=(200, 3)) @ np.ones((3, 6))
        >>> Autoencoder(latent="gaussian", latent_dim=1, epochs=5).fit(X).posterior_std(X).shape
        (200, 1)
        """
        values = self._table(X).values
        return cast(np.ndarray, encoded(self.model_, values, std=True).std)

    def inverse_transform(self, X: TableLike) -> np.ndarray:
        """E[x|z] in original units, [n, C] or images, float64, for codes [n, K]; NaN for a code that is not finite.

        A category comes out as its level's position.

        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Autoencoder(latent_dim=1, epochs=1).fit(X).inverse_transform([[0.0], [np.nan]]).shape
        (2, 3)
        """
        check_is_fitted(self, "model_")
        out = decoded(self.model_, as_table(X).values)
        return out.reshape(len(out), *(self.model_.encoding.schema.row_shape or out.shape[1:]))

    def reconstruct(
        self, X: TableLike, draws: int | None = None, random_state: RandomState = 0, *, only_missing: bool = False
    ) -> TableOut:
        """x̂ in original units, like X.

        Without `draws` it is E[x|z] at the posterior mean, [n, C], in X's container, with the most probable level of a
        category, and nothing for a row that cannot be encoded. With draws = k ≥ 1 each input has k outputs, z ~ q(z|x)
        and x ~ p(x|z), as an array [k, n, C] float64 with the position of a category's level.

        With `only_missing`, missing cells are filled in by E[x|x_seen], or by k draws of p(x|x_seen) (docs/fill.md).
        All other cells stay as they are, and integers stay integers.

        Raises:
            ConfigError: draws is not a whole number from 1 up, or the latent is too wide to fill in cells.
        """
        table, schema = self._table(X), self.model_.encoding.schema
        seed, given = seed_of(random_state), (self.model_, table.values, draws)
        generator = torch.Generator().manual_seed(seed)
        out = filled(*given, seed) if only_missing else reconstructed(*given, generator)
        if draws is not None:
            return out if table.shape is None else out.reshape(draws, len(table), *table.shape)
        dtypes = table.dtypes if only_missing else [mean_type(d) for d in table.dtypes]
        types = table.types if only_missing else table.types.of_means
        return from_values(out[0], table.names, dtypes, table.container, schema.levels, table.shape, types)

    # ── scores ────────────────────────────────────────────────────────────────────────

    def anomaly_score(self, X: TableLike, score: str = "nll") -> RowsOut:
        """Score rows, [n] float64, up = more anomalous; +inf for a row that cannot be scored.

        Raises:
            ConfigError: an unknown score, or one that needs more than the autoencoder has: a latent with a width, rows
                or members that a detector keeps.
        """
        return like_rows(X, self._scores(X, score), "score")

    def _scores(self, X: TableLike, score: str) -> np.ndarray:
        values = self._table(X).values
        return score_table(Reference(self.model_), values, [score])[score]

    def score_samples(self, X: TableLike) -> np.ndarray:
        """−anomaly_score of rows X [n, C], [n] float64, scikit-learn's sign: up = more normal."""
        return -self._scores(X, "nll")

    def score(self, X: TableLike, y: object = None) -> float:
        """Mean log-density of rows X [n, C] in nats (its lower bound for a Gaussian latent); for model selection."""
        check_is_fitted(self, "model_")
        return -float(np.mean(self._scores(X, density(self.model_))))

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def sections(self) -> dict[str, Section]:
        """The sections of a model file that hold the autoencoder: `main`, and `generator` where rows were kept."""
        check_is_fitted(self, "model_")
        generator = generator_section(self.sampler_)
        main = main_section(self.fitted_, type(self).__name__, self.get_params(deep=False))
        return {"main": main} if generator is None else {"main": main, "generator": generator}

    def save(self, path: str | Path) -> None:
        """Write the model file (docs/format.md), by atomic rename.

        Sections that other jobs have added to a file of this very autoencoder stay in it.

        Raises:
            OutputError: the file cannot be written.

        >>> import tempfile
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> ae = Autoencoder(latent_dim=1, epochs=1).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ae.save(f"{folder}/my.diabolo")
        ...     bool(np.array_equal(Autoencoder.load(f"{folder}/my.diabolo").transform(X), ae.transform(X)))
        True
        """
        save_sections(path, type(self).__name__, self.sections())

    @classmethod
    def from_file(cls, file: ModelFile) -> Self:
        """The estimator of this class that an open model file holds; see `load`."""
        card = file.estimator
        kind = face_of(file.path, card.type, Autoencoder)
        if not issubclass(kind, cls):
            raise ModelFileError(f"{file.path}: holds a {card.type}, not a {cls.__name__}; {card.type}.load reads it")
        try:
            return kind.from_fitted(file.autoencoder, card.parameters, file.generator)
        except TypeError as error:
            raise ModelFileError(f"{file.path}: section 'main' does not fit together: {error}") from None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
