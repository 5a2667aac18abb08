"""Ways to draw rows, by name: the source of codes, and the law of a row's columns."""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le

from diabolo.errors import ConfigError
from diabolo.generate.decoding import decoded_rows, given_codes, with_noise
from diabolo.generate.margins import Margins
from diabolo.generate.mixture import CodeMixture, fit_mixture
from diabolo.generate.relations.base import Relation, Source
from diabolo.generate.relations.finding import find_relations
from diabolo.generate.reweighting import Ratio, fit_ratio
from diabolo.generate.trees import Trees, smallest_leaf
from diabolo.model.autoencoder import Model
from diabolo.registry import Entry, Registry

__all__ = ["MOST_COLUMNS", "Method", "Sampler", "automatic_method", "codes_of", "methods"]

#: Columns that trees are grown for by default; beyond, and for images, the decoder draws.
MOST_COLUMNS = 128
#: Rows of the decoder, at least, that its columns' laws are taken from.
MAPPED = 10_000


class Sampler:
    """The source of new rows: a fitted model and the training rows it keeps; laws are learnt when first asked for.

    Args:
        model: fitted.
        rows: training rows [R, C] in the schema's order and levels; None where none were kept.
        mixture: the density of their codes, where it is known already.
        relations: that drawn rows keep, where they are known already.
    """

    def __init__(
        self,
        model: Model,
        rows: np.ndarray | None,
        mixture: CodeMixture | None = None,
        relations: Sequence[Relation] | None = None,
    ) -> None:
        self.model, self.rows, self._mixture, self._relations = model, rows, mixture, relations
        self._corrected: tuple[int, tuple[Margins, Ratio | None]] | None = None
        self._law: tuple[tuple[object, ...], tuple[Trees, Ratio | None]] | None = None

    @property
    def keeps_rows(self) -> bool:
        """Whether a model file holds the rows too."""
        asked = self.model.config.keep_rows
        return self.rows is not None and (self.model.masking is None if asked is None else asked)

    @property
    def has_mixture(self) -> bool:
        """Whether a density of codes is known, or can be learnt."""
        return self.rows is not None or self._mixture is not None

    @functools.cached_property
    def noisy(self) -> Model:
        return with_noise(self.model)

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """Codes of the rows kept, [R, K].

        Raises:
            ConfigError: no rows were kept.
        """
        if self.rows is None:
            raise ConfigError(
                "the model keeps no training rows (a masked autoencoder's file keeps none unless its fit has "
                "keep_rows=True; neither does a model that learnt from a stream, or an older file): take "
                f"method {automatic_method(self, mean=False)!r}"
            )
        return codes_of(self.model, self.rows)

    @property
    def mixture(self) -> CodeMixture:
        if self._mixture is None:
            self._mixture = fit_mixture(self.codes, self.model.config.random_state)
        return self._mixture

    @functools.cached_property
    def source(self) -> Source:
        """The rows kept as relations see them."""
        schema = self.model.encoding.schema
        return Source(schema, np.empty((0, len(schema.columns))) if self.rows is None else self.rows)

    @property
    def relations(self) -> Sequence[Relation]:
        """Relations between columns that drawn rows keep; none for a file from before they were kept."""
        return self.shown if self._relations is None else self._relations

    @functools.cached_property
    def shown(self) -> Sequence[Relation]:
        """Relations between columns that the rows kept show, also those that drawn rows do not keep."""
        if self._relations:
            return self._relations
        return [] if self.rows is None else find_relations(self.model.encoding.schema, self.rows)

    @functools.cached_property
    def leaf(self) -> int:
        """Training rows in a leaf, at least, so that rows drawn are no copies."""
        component = self.mixture.component(self.codes)
        return smallest_leaf(
            self.model.encoding.schema, np.asarray(self.rows), component, self.model.config.random_state
        )

    def law(self, first: tuple[int, ...], leaf: int, reweighted: bool) -> tuple[Trees, Ratio | None]:
        """Trees over the columns, given ones first, and the density ratio of training rows to rows of the trees.

        The last ones asked for are kept.
        """
        asked = (first, leaf, reweighted)
        if self._law is None or self._law[0] != asked:
            component, schema = self.mixture.component(self.codes), self.model.encoding.schema
            seed, rows = self.model.config.random_state, np.asarray(self.rows)
            trees = Trees(schema, rows, component, first, leaf, seed)
            rng = np.random.default_rng(seed)
            ratio = fit_ratio(rows, lambda n: trees.draw(n, {}, rng), seed) if reweighted else None
            self._law = asked, (trees, ratio)
        return self._law[1]

    def corrected(self, rounds: int) -> tuple[Margins, Ratio | None]:
        """Maps of columns from rows of the decoder to training rows, and the density ratio that is left.

        The last ones asked for are kept.
        """
        if self._corrected is None or self._corrected[0] != rounds:
            schema, seed, rows = self.model.encoding.schema, self.model.config.random_state, np.asarray(self.rows)
            generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

            def decoded(n: int) -> np.ndarray:
                return decoded_rows(self.noisy, self.mixture.sample(n, rng), generator, mean=False)

            margins = Margins(schema, rows, decoded(max(len(rows), MAPPED)))
            ratio = fit_ratio(rows, lambda n: margins(decoded(n), rng), seed, rounds) if rounds else None
            self._corrected = rounds, (margins, ratio)
        return self._corrected[1]


def codes_of(model: Model, rows: np.ndarray) -> np.ndarray:
    """Posterior means of rows [n, C], [n, K] float64."""
    out = np.empty((len(rows), model.latent_dim))
    values = torch.from_numpy(np.require(rows, requirements=("C", "W")))
    with torch.inference_mode():
        for i in range(0, len(rows), 4096):
            out[i : i + 4096] = model.posterior(model.encoding.encode(values[i : i + 4096])).mean.double().numpy()
    return out


class Method(Entry, abc.ABC):
    """A way to draw rows."""

    #: What draws, in words.
    drawn_by: ClassVar[str]

    @abc.abstractmethod
    def draw(
        self, sampler: Sampler, n: int, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> np.ndarray:
        """Rows [n, C] float64 in original units; with `mean` means in place of draws.

        Args:
            sampler: rows are drawn from it.
            n: number of rows.
            given: values of columns by position, which every row gets.
            generator: of all chance.
            mean: E[x|z] in place of draws.
        """


methods: Registry[Method] = Registry("method", __package__)


def automatic_method(sampler: Sampler, mean: bool) -> str:
    """The method of `auto`: trees for rows of a table, the decoder for means, images and very many columns."""
    schema = sampler.model.encoding.schema
    if sampler.model.masking is not None and not mean:
        return "masked"
    if not sampler.keeps_rows:
        return "mixture" if sampler.has_mixture else "prior"
    return "mixture" if mean or schema.shape is not None or len(schema.columns) > MOST_COLUMNS else "trees"


class _Decoded(Method):
    """A method whose rows the decoder draws."""

    @abc.abstractmethod
    def codes(self, sampler: Sampler, n: int, generator: torch.Generator) -> np.ndarray: ...

    def draw(
        self, sampler: Sampler, n: int, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> np.ndarray:
        if given:
            codes = given_codes(sampler.noisy, lambda m: self.codes(sampler, m, generator), n, given, _numpy(generator))
        else:
            codes = self.codes(sampler, n, generator)
        out = decoded_rows(sampler.noisy, codes, generator, mean)
        for c, value in given.items():
            out[:, c] = value
        return out


@methods.register("prior")
class FromPrior(_Decoded):
    """z ~ π, or one Gaussian with the training codes' moments where they were not held against π; x ~ p(x|z)."""

    drawn_by = "the main autoencoder's decoder, from its prior"

    def codes(self, sampler: Sampler, n: int, generator: torch.Generator) -> np.ndarray:
        return np.asarray(sampler.model.sample_prior(n, generator).numpy())


@methods.register("mixture")
class FromMixture(_Decoded):
    """z from a Gaussian mixture fitted to the training codes, the aggregate posterior; x ~ p(x|z)."""

    drawn_by = "the main autoencoder's decoder, from the density of its codes of the kept rows"

    def codes(self, sampler: Sampler, n: int, generator: torch.Generator) -> np.ndarray:
        return sampler.mixture.sample(n, _numpy(generator))


@methods.register("resampled")
class FromResampled(Method):
    """Rows of `mixture`, moved to the laws of training columns and kept by the ratio of densities."""

    drawn_by = "the main autoencoder's decoder, put right by the kept rows"

    #: Rounds in which the ratio is learnt, each of the difference that is left; 0: only the columns' laws are
    #: corrected.
    rounds: Annotated[int, Ge(0), Le(20)] = 3
    #: Candidates for each row at most.
    candidates: Annotated[int, Ge(2), Le(1_000)] = 100

    def draw(
        self, sampler: Sampler, n: int, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> np.ndarray:
        if mean:
            raise ConfigError("method 'resampled' draws rows and has no mean; with mean=True take 'mixture' or 'prior'")
        margins, ratio = sampler.corrected(self.rounds)
        rng = _numpy(generator)
        codes = given_codes(sampler.noisy, lambda m: sampler.mixture.sample(m, rng), n, given, rng) if given else None

        def law(m: int) -> np.ndarray:
            z = sampler.mixture.sample(m, rng) if codes is None else codes[rng.integers(0, n, m)]
            out = margins(decoded_rows(sampler.noisy, z, generator, mean=False), rng)
            for c, value in given.items():
                out[:, c] = value
            return out

        return law(n) if ratio is None else ratio.draw(law, n, self.candidates, rng)


@methods.register("trees")
class FromTrees(Method):
    """The component of z in that mixture, then each column by its tree's law, given the columns before."""

    drawn_by = "trees over the kept rows and their codes by the main autoencoder"

    #: Training rows in a leaf, at least: fewer copy, more blur. "auto" takes the fewest that do not copy.
    leaf: Annotated[int, Ge(1), Le(10_000)] | Literal["auto"] = "auto"
    #: Candidates for each row at most; the density ratio chooses one of them. 1: every row is kept.
    candidates: Annotated[int, Ge(1), Le(1_000)] = 24

    def draw(
        self, sampler: Sampler, n: int, given: Mapping[int, float], generator: torch.Generator, mean: bool
    ) -> np.ndarray:
        if mean:
            raise ConfigError("method 'trees' draws rows and has no mean; with mean=True take 'mixture' or 'prior'")
        leaf = sampler.leaf if self.leaf == "auto" else self.leaf
        trees, ratio = sampler.law(tuple(sorted(given)), leaf, self.candidates > 1)
        rng = _numpy(generator)
        if ratio is None:
            return trees.draw(n, given, rng)
        return ratio.draw(lambda m: trees.draw(m, given, rng), n, self.candidates, rng)


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """A generator of NumPy's that continues one of PyTorch's."""
    return np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))
