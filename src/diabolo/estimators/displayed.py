"""Fitted estimators as people look at them: a card in a notebook, a summary, a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.exceptions import NotFittedError

from diabolo.data.formats import Data
from diabolo.data.table import TableLike
from diabolo.describe.facts import (
    Fact,
    checks_of,
    facts_of_autoencoder,
    facts_of_clusters,
    facts_of_codec,
    facts_of_detector,
    lines_of,
)
from diabolo.detect.reference import Reference
from diabolo.errors import DiaboloError
from diabolo.markup import Html, join, tag
from diabolo.progress import progress
from diabolo.report import Report, report
from diabolo.results import Lines, card

__all__ = ["Displayed", "Reported"]

#: Facts that a card shows, in this order; a summary has them all.
ON_CARD = ("detector", "clusters", "codec", "rows", "columns", "training", "linear part", "network", "check", "checks")


class Displayed:
    """An estimator that shows itself: scikit-learn's diagram of parameters, and once fitted a card of facts above."""

    def summary(self) -> Lines:
        """The fitted estimator in lines: rows by role, parts, training, threshold, rate and checks.

        Raises:
            NotFittedError: it is not fitted.

        >>> import numpy as np
        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X).summary()
        AnomalyDetector
        ...
          rows          420 train, 60 stop, 120 calibrate (split by position, seed 0)
        ...
        """
        facts = _facts(self)
        if not facts:
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet; fit it on rows first")
        return Lines("\n".join([type(self).__name__, *lines_of(facts)]))

    def _repr_html_inner(self) -> str:
        try:
            diagram = super()._repr_html_inner()  # type: ignore[misc]
        except DiaboloError:  # the diagram asks for every attribute, which a detector to be fitted again refuses
            diagram = tag("pre", repr(self))
        return _shown(self, diagram)

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if get_config()["display"] == "diagram":
            bundle["text/html"] = self._repr_html_inner()
        return bundle


class Reported(Displayed):
    """An estimator with an autoencoder, on which there is a page."""

    def report(
        self,
        X: TableLike | Data,
        path: str | Path | None = None,
        *,
        label: str | ArrayLike | None = None,
        seed: int = 0,
        refits: bool | None = None,
    ) -> Report:
        """A page on this estimator and its verdict on rows X [n, C], which shows itself in a notebook.

        Args:
            X: rows in the columns of the fit, or the path of a table.
            path: file to write too.
            label, seed, refits: as for `diabolo.report`.

        Raises:
            DataError, ConfigError: the rows or the label cannot be used.
            OutputError: the page cannot be written.

        >>> import numpy as np
        >>> from diabolo import LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(300, 3))
        >>> LinearAutoencoder(latent_dim=1).fit(X).report(X, refits=False)
        Report of ... characters: it shows itself in a notebook, .save(path) writes it
        """
        with progress("report", getattr(self, "verbose", 0)):
            return report(self, X, path, label=label, seed=seed, refits=refits)


def _shown(estimator: Displayed, diagram: str) -> str:
    """scikit-learn's diagram; of a fitted estimator below its facts."""
    facts = _facts(estimator)
    if not facts:
        return diagram
    # "network" names its widths first, and its part.
    first = dict(reversed(facts))
    known = [(name, first[name]) for name in ON_CARD if name in first and name != "check"]
    known += [fact for fact in facts if fact[0] == "check"]
    title = f"{type(estimator).__name__}, fitted"
    more = tag("details", tag("summary", "parameters"), Html(diagram), style="margin:.3em 0")
    return join([card(title, facts=known), more])


def _facts(estimator: Any) -> list[Fact]:
    """All that is known of a fitted estimator; nothing of another."""
    ae = getattr(estimator, "autoencoder_", estimator)
    fitted, codec = getattr(ae, "fitted_", None), getattr(estimator, "codec_", None)
    facts: list[Fact] = []
    if fitted is not None:
        facts += facts_of_autoencoder(fitted, type(ae).__name__)
        schema = fitted.model.encoding.schema
        facts.append(("columns", f"{len(schema.names):,}, of {fitted.model.encoding.width:,} inputs"))
        detector = None
        try:
            detector = getattr(estimator, "calibrated_", None)
            facts += facts_of_detector(detector, Reference(fitted.model) if detector is None else detector.reference)
        except DiaboloError as error:  # a detector that has to be fitted again is shown all the same
            facts.append(("detector", str(error)))
        if hasattr(estimator, "clusters_"):
            facts += facts_of_clusters(estimator.clusters_)
        facts += checks_of(fitted, detector)
    return facts if codec is None else [*facts_of_codec(codec), *facts]
