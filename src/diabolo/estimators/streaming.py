"""A detector that learns from rows as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from numpy.typing import ArrayLike

from diabolo.config import RandomState, seed_of
from diabolo.data.table import TableLike, as_table, check_weights
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.calibrating import Choice
from diabolo.detect.streaming import Recent, stepped
from diabolo.errors import CalibrationError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.named import given_autoencoder, unfitted
from diabolo.fitted.record import Fitted

__all__ = ["Streaming"]

GROUPS = (
    "the rate is that of new groups, and partial_fit knows none: fit again with groups=, or go on with "
    "AnomalyDetector(detector.autoencoder_) if each row is independent of the others"
)


class Streaming:
    """The method of a detector for rows of a stream."""

    autoencoder: Autoencoder | None
    autoencoder_: Autoencoder
    false_alarm_rate: float | None
    random_state: RandomState
    _recent: Recent | None = None

    if TYPE_CHECKING:

        @property
        def _score(self) -> str: ...

        @property
        def calibrated_(self) -> Calibrated: ...

        def __sklearn_is_fitted__(self) -> bool: ...

        def _adopt(self, calibrated: Calibrated, ae: Autoencoder, stacklevel: int | None = None) -> Self: ...

    def partial_fit(self, X: TableLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Step once on four of five rows X [n, C] of a stream, and renew the p-values on the others.

        A seeded hash of a row's place in the stream decides. The last 20,000 rows stepped on are stored (fewer of wide
        rows), the last 5,000 of the others calibrate: the promise is for rows exchangeable with these. The first call
        fixes columns, kinds and scaling, as in `Autoencoder.partial_fit`. After a fit or a load the autoencoder and
        the stored rows go on, and the calibration begins anew. A call costs a pass over all rows that are kept, so
        give some hundred rows at once. A fitted autoencoder that was given as a parameter stays as it is, and where a
        call fails the detector does.

        Args:
            y: ignored.
            sample_weight: [n] from 0 up; rows of weight 0 play no part.

        Warns:
            PromiseWarning: as in `fit`.

        Raises:
            CalibrationError: too few rows have come to calibrate on for the rate; the detector has groups.
            DataError: an infinite cell, other columns than those of the first call.
            TrainingError: no step had a finite loss.

        >>> import numpy as np
        >>> from diabolo import AnomalyDetector, Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(1000, 3))
        >>> detector = AnomalyDetector(Autoencoder(latent_dim=1))
        >>> [detector.partial_fit(part).n_calibration_ for part in (X[:500], X[500:])]
        [106, 210]
        """
        table = as_table(X)
        weights, seed = check_weights(sample_weight, len(table)), seed_of(self.random_state)
        begun, given = self.__sklearn_is_fitted__(), given_autoencoder(self.autoencoder)
        state, ae = (self.calibrated_, self.autoencoder_) if begun else (None, given)
        if state is not None and state.n_groups is not None:
            raise CalibrationError(GROUPS)
        if ae is None or not hasattr(ae, "model_"):
            ae = unfitted(ae, seed)
        fitted: Fitted | None = getattr(ae, "fitted_", None)
        recent = self._recent if self._recent is not None and self._recent.fitted is fitted else None
        stored, device = (state.reference.stored, state.device) if state is not None else (None, None)
        named = None if self.random_state is None else seed
        choice = Choice(self._score, self.false_alarm_rate, seed, named, device)
        found, self._recent = stepped(
            fitted, stored, recent, table, weights, ae.settings(), choice, type(self).__name__
        )
        return self._adopt(found, ae.from_fitted(found.fitted, ae.get_params(deep=False)), 3)
