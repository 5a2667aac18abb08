"""`Autoencoder`: the estimator over every choice of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from diabolo.config import Config, build_config
from diabolo.data.dtypes import TEXT, is_date
from diabolo.data.encoding import Encoded
from diabolo.data.table import Table, as_table, from_values, matched
from diabolo.data.tiles import TILE, tiles
from diabolo.detect.choice import density
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import ConfigError, DataError
from diabolo.fitted.table import Keep, check_weights, fit_table, keep_of, seed_of
from diabolo.model.objective import imputed
from diabolo.train.loop import Epoch

if TYPE_CHECKING:
    from diabolo.data.stream import Stream
    from diabolo.detect.split import Parts
    from diabolo.train.online import Pace

__all__ = ["Autoencoder", "mean_type"]


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An autoencoder of chosen parts, fitted on unlabelled rows.

    loss(x) = −log p(x | z) + β Ω, with z from the encoder of a possibly corrupted x (docs/notation.md).

    Parameters are the fields of `diabolo.config.Config`; a part is a name ("gaussian") or a mapping with its
    settings ({"name": "gaussian", "std": 0.2}). Fitted attributes: `history_` (one dict per epoch),
    `config_`, `model_`, `n_train_`, `n_stop_`, `n_features_in_`, `feature_names_in_`, `suspects_` (docs/robust.md).

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 6)) @ np.ones((6, 6))
    >>> ae = Autoencoder(latent_dim=1, epochs=5).fit(X)
    >>> ae.transform(X).shape, ae.reconstruct(X).shape, ae.anomaly_score(X).dtype
    ((200, 1), (200, 6), dtype('float64'))
    """

    def __init__(
        self,
        *,
        latent_dim: int | None = None,
        hidden: Any = None,
        network: Any = "mlp",
        latent: Any = "point",
        prior: Any = "normal",
        likelihood: Any = "auto",
        column_likelihood: Any = None,
        corruption: Any = "none",
        regularizer: Any = "none",
        beta: float = 1.0,
        warmup: int = 0,
        bound: str = "elbo",
        bound_after: int = 0,
        draws: int = 1,
        scaling: str = "standard",
        clip: float = 8.0,
        angles: Any = "auto",
        kinds: Any = None,
        slots: Any = None,
        robust: Any = "none",
        contamination: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        schedule: str = "cosine",
        weight_decay: float = 0.0,
        clip_norm: float = 10.0,
        patience: int = 10,
        stop_fraction: float = 0.1,
        solver: str = "auto",
        device: str = "auto",
        random_state: Any = 0,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.network = network
        self.latent = latent
        self.prior = prior
        self.likelihood = likelihood
        self.column_likelihood = column_likelihood
        self.corruption = corruption
        self.regularizer = regularizer
        self.beta = beta
        self.warmup = warmup
        self.bound = bound
        self.bound_after = bound_after
        self.draws = draws
        self.scaling = scaling
        self.clip = clip
        self.angles = angles
        self.kinds = kinds
        self.slots = slots
        self.robust = robust
        self.contamination = contamination
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.patience = patience
        self.stop_fraction = stop_fraction
        self.solver = solver
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ── fitting ───────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit on rows X [n, C]; y is ignored, `sample_weight` [n] weighs loss, scaling and stopping.

        Args:
            checkpoint: file to keep the running fit in, renewed every ten seconds; it stays when the fit ends, and
                is yours to delete once the model is saved.
            resume: go on from that file if it is there; the result is the same bit for bit as without the break
                (docs/reproducibility.md).

        Raises:
            DataError: text, infinities, fewer than two rows or nothing that varies.
            ConfigError: settings that are wrong or do not fit together.
            TrainingError: the loss was not finite.
            CheckpointError: the checkpoint to resume from is damaged, or of other settings or data.
        """
        return self._fit_table(as_table(X), sample_weight, keep=keep_of(checkpoint, resume))

    def _fit_table(
        self,
        table: Table,
        sample_weight: Any,
        calibrate: float = 0.0,
        report: Callable[[Epoch], None] | None = None,
        role_seed: int | None = None,
        keep: Keep | None = None,
    ) -> Self:
        weights = check_weights(sample_weight, len(table))
        report = self._reporter(report)
        self._adopt(fit_table(table, weights, self._settings(), calibrate, report, role_seed, keep), table)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Step once on each of the rows X [n, C] of a stream, at a constant learning rate.

        The first call fixes columns, kinds, scaling and widths from its rows; on a fitted or loaded autoencoder the
        first call takes over those of the fit. No row is kept apart to decide when to stop: `validation` in
        `history_`, which gets a line per call, is the loss of the rows before the first step on them. The optimiser's
        state lives on between calls, and is not saved: after `load` it starts afresh. `sample_weight` [n] weighs the
        rows of a call against each other. A detector of this autoencoder has to be fitted again.

        Raises:
            DataError: an infinite cell, other columns than those of the first call.
            TrainingError: no step had a finite loss; the autoencoder is as it was.
        """
        from diabolo.fitted.online import learn

        table = as_table(X)
        learn(self, table, check_weights(sample_weight, len(table)))
        return self

    def _fit_stream(
        self,
        stream: Stream,
        folder: Path,
        calibrate: float = 0.0,
        report: Callable[[Epoch], None] | None = None,
        role_seed: int | None = None,
        keep: Keep | None = None,
        progress: Callable[[int], None] | None = None,
        stored: int = 0,
    ) -> Parts:
        """Fit from a cache in `folder`, and return the rows that were kept apart, with `stored` others."""
        from diabolo.fitted.stream import fit_stream

        report = self._reporter(report)
        settings = self._settings()
        fitted, apart = fit_stream(stream, folder, settings, calibrate, report, role_seed, keep, progress, stored)
        self._adopt(fitted, stream.head)
        return apart

    def _settings(self) -> Config:
        """The parameters as a checked configuration."""
        settings = self.get_params(deep=False)
        del settings["verbose"]
        settings["random_state"] = seed_of(settings["random_state"])
        return build_config({k: _plain(v) for k, v in settings.items()})

    def _reporter(self, report: Callable[[Epoch], None] | None) -> Callable[[Epoch], None] | None:
        if self.verbose and report is None:
            from diabolo.train.progress import print_epoch

            return print_epoch
        return report

    def _adopt(self, fitted: Any, table: Table) -> None:
        self.fitted_ = fitted
        self.model_, self.config_, self.history_ = fitted.model, fitted.model.config, fitted.history
        self.suspects_ = fitted.suspects
        self.n_train_, self.n_stop_ = fitted.roles["counts"]["train"], fitted.roles["counts"]["stop"]
        self.n_features_in_ = len(table.names)
        if table.named:
            self.feature_names_in_ = np.array(table.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.container_ = table.container
        self._pace: Pace | None = None
        self._n_features_out = self.config_.latent_dim

    # ── the map ───────────────────────────────────────────────────────────────────────────────────

    def _table(self, X: Any) -> Table:
        check_is_fitted(self, "model_")
        return matched(as_table(X), self.model_.encoding.schema, type(self).__name__)

    def _tiles(self, values: np.ndarray) -> Iterator[tuple[slice, Encoded]]:
        """Yield (slice, rows) over padded tiles."""
        tensor = torch.from_numpy(np.require(values, requirements=("C", "W")))
        for part in tiles(len(values)):
            tile, size = tensor[part], part.stop - part.start
            if size < TILE:
                tile = torch.cat([tile, tile[-1:].expand(TILE - size, -1)])
            yield part, self.model_.encoding.encode(tile)

    def transform(self, X: Any) -> np.ndarray:
        """The posterior mean μ(x), [n, K], in X's float type."""
        table = self._table(X)
        out = np.empty((len(table), self.model_.latent_dim), table.values.dtype)
        with torch.inference_mode():
            for part, rows in self._tiles(table.values):
                out[part] = self.model_.posterior(rows).mean[: part.stop - part.start].numpy()
        return out

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[x|z] in original units, [n, C] or images, float64, for codes [n, K]; a category as its level's position."""
        check_is_fitted(self, "model_")
        z = as_table(X).values
        if z.shape[1] != self.model_.latent_dim:
            raise DataError(f"codes have {z.shape[1]} columns; this model's latent has {self.model_.latent_dim}")
        out = np.empty((len(z), self.n_features_in_))
        with torch.inference_mode():
            for part in tiles(len(z)):
                theta = self.model_.decode(torch.from_numpy(z[part].astype(np.float32)))
                out[part] = self.model_.mean_values(theta).numpy()
        shape = self.model_.encoding.schema.row_shape
        return out if shape is None else out.reshape(len(z), *shape)

    def reconstruct(
        self, X: Any, draws: int | None = None, random_state: Any = 0, *, only_missing: bool = False
    ) -> Any:
        """x̂ in original units, like X.

        Without `draws`: E[x|z] at the posterior mean, [n, C], in X's container; of a category the most probable level.
        Missing cells are filled in; with `only_missing` the others stay as they are, integers stay integers, and the
        mean is over p(z|x_seen) too, E[x|x_seen] (Mattei, Frellsen 2019, arXiv:1812.02633, eq. 8): the better guess.
        With draws = k ≥ 1: k outputs for each input, z ~ q(z|x) and x ~ p(x|z), an array [k, n, C] float64 (a category
        is the position of its level); with `only_missing`, k multiple imputations.

        Raises:
            ConfigError: draws is not a whole number from 1 up.
        """
        if draws is not None and (not isinstance(draws, (int, np.integer)) or draws < 1):
            raise ConfigError(f"draws = {draws!r}; allowed are whole numbers from 1 up, or None for the mean")
        table = self._table(X)
        n, generator = len(table), torch.Generator().manual_seed(seed_of(random_state))
        out = np.empty((draws or 1, n, self.n_features_in_))
        with torch.inference_mode():
            for part, rows in self._tiles(table.values):
                size, posterior = part.stop - part.start, self.model_.posterior(rows)
                if draws is None:
                    theta = self._imputed(rows) if only_missing else self.model_.decode(posterior.mean)
                    out[0, part] = self.model_.mean_values(theta)[:size].numpy()
                else:
                    for k in range(draws):
                        theta = self.model_.decode(posterior.sample(1, generator))
                        out[k, part] = self.model_.sample_values(theta, generator, fill=only_missing)[:size].numpy()
        if only_missing:
            out = np.where(np.isnan(table.values), out, table.values)
        schema = self.model_.encoding.schema
        if draws is not None:
            return out if table.shape is None else out.reshape(draws, n, *table.shape)
        dtypes = table.dtypes if only_missing else [mean_type(d) for d in table.dtypes]
        return from_values(out[0], table.names, dtypes, table.container, schema.levels, table.shape)

    def _imputed(self, rows: Encoded) -> torch.Tensor:
        """`imputed`, some rows at a time: it computes each of them at many nodes."""
        step = 256
        parts = [imputed(self.model_, rows.rows(slice(i, i + step))) for i in range(0, len(rows), step)]
        return torch.cat(parts, dim=-2)

    # ── scores and samples ────────────────────────────────────────────────────────────────────────

    def anomaly_score(self, X: Any, score: str = "nll") -> np.ndarray:
        """Score rows, [n] float64, up = more anomalous; +inf for a row that cannot be scored.

        Raises:
            ConfigError: an unknown score, or one that needs more than the autoencoder has: a latent with a width, rows
                or members that a detector keeps.
        """
        table = self._table(X)
        return score_table(Reference(self.model_), table.values, [score])[score]

    def score_samples(self, X: Any) -> np.ndarray:
        """−anomaly_score, scikit-learn's sign: up = more normal."""
        return -self.anomaly_score(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-density per row in nats (its lower bound for a Gaussian latent); for model selection."""
        table = self._table(X)
        name = density(self.model_)
        return -float(np.mean(score_table(Reference(self.model_), table.values, [name])[name]))

    def sample(
        self,
        n: int = 1,
        random_state: Any = 0,
        mean: bool = False,
        *,
        method: Any = "auto",
        given: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw n rows in original units, in the container and types that fit was given (docs/generate.md).

        Args:
            random_state: seed of the draws.
            mean: E[x|z] in place of draws.
            method: "prior", "mixture", "resampled", "trees" or a mapping with settings; "auto" takes trees for draws of
                a table, and the mixture for means, images and more than 128 columns.
            given: values by column; rows are drawn from the law of the others given them.

        Raises:
            ConfigError: a column or value that training rows do not have.
            DataError: rows with such values are too rare for the method.
        """
        from diabolo.generate.drawing import draw

        return draw(self, n, random_state, mean, method, given)

    def interpolate(self, a: Any, b: Any, steps: int = 10) -> np.ndarray:
        """E[x|z_t] on the line z_t = (1 − t) μ(a) + t μ(b), t = 0..1 in equal steps, [steps, n, C] or images, float64.

        Args:
            a, b: rows [n, C] where the lines begin and end; categories come out as positions of levels.
            steps: points on each line, both ends among them.
        """
        from diabolo.generate.drawing import interpolated

        return interpolated(self, a, b, steps)

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the model file (docs/format.md); it appears only once it is whole."""
        from diabolo.artifact import write_sections
        from diabolo.file.main import main_section
        from diabolo.generate.drawing import generator_section

        check_is_fitted(self, "model_")
        write_sections(path, {"main": main_section(self), **generator_section(self)})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, which grid searches hand over, as plain Python."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


def mean_type(dtype: str) -> str:
    """The type of a mean: text, dates and floats keep theirs, a mean of integers is no integer."""
    return dtype if dtype in TEXT or is_date(dtype) or dtype.startswith("float") else "float64"
