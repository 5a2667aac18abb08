"""Drawn rows resampled by a learnt density ratio of training rows to them.

A classifier that tells training rows from drawn ones gives their density ratio w(x) (Sugiyama, Suzuki, Kanamori 2012);
of several candidates one is kept with probability ∝ w, which is importance resampling (Rubin 1988; with a classifier:
Grover et al. 2019, arXiv:1906.09531).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

__all__ = ["Ratio", "fit_ratio"]

#: Rows drawn for each training row to learn the ratio from; training rows below which it is not learnt.
DRAWN, FEWEST = 3, 200
#: Rows drawn for each training row where the ratio is learnt in rounds.
POOL = 20
#: Gain in the log-likelihood of held-back rows, nats, from which on the ratio is used.
WIN = 1e-3
#: Candidates for each row, times the square of the weights' coefficient of variation.
CANDIDATES = 8
#: Candidates drawn at once.
PIECE = 65_536


class Ratio:
    """w(x), a product over rounds, and the square of its coefficient of variation among rows drawn."""

    def __init__(self, classifiers: list[HistGradientBoostingClassifier], spread: float) -> None:
        self._classifiers, self.spread = classifiers, spread

    def log(self, rows: np.ndarray) -> np.ndarray:
        """log w of rows [n, C], up to a constant, [n]."""
        out = np.zeros(len(rows))
        for classifier in self._classifiers:
            out += classifier.decision_function(rows)
        return out

    def draw(self, law: Callable[[int], np.ndarray], n: int, most: int, rng: np.random.Generator) -> np.ndarray:
        """n of the rows [m, C] that the law draws, each chosen from as many candidates as the weights' spread needs."""
        each = min(most, 1 + int(np.ceil(CANDIDATES * self.spread)))
        out = []
        for start in range(0, n, PIECE // each):
            m = min(PIECE // each, n - start)
            candidates = law(m * each)
            log_w = self.log(candidates).reshape(m, each)
            # The largest of log w plus Gumbel noise is drawn with probability ∝ w.
            best = (log_w + rng.gumbel(size=log_w.shape)).argmax(axis=1)
            out.append(candidates.reshape(m, each, -1)[np.arange(m), best])
        return np.concatenate(out)


def fit_ratio(rows: np.ndarray, law: Callable[[int], np.ndarray], seed: int, rounds: int = 1) -> Ratio | None:
    """Learn the ratio by gradient boosting (scikit-learn's), stopped by held-back rows; None where it gains nothing.

    Args:
        rows: training rows, [n, C].
        law: draws rows [m, C].
        seed: of the rows held back.
        rounds: at most; each learns the difference that the weights of the rounds before it have left.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    n = len(rows)
    if n < FEWEST:
        return None
    # Weights leave few rows in effect: the rounds that follow the first draw from a larger pool.
    pool = law((DRAWN if rounds == 1 else POOL) * n)
    log_w, rng = np.zeros(len(pool)), np.random.default_rng(seed)
    found: list[HistGradientBoostingClassifier] = []
    y = np.repeat([1, 0], [n, DRAWN * n])
    for turn in range(rounds):
        w = np.exp(log_w - log_w.max())
        some = rng.choice(len(pool), DRAWN * n, p=w / w.sum()) if found else slice(DRAWN * n)
        classifier = HistGradientBoostingClassifier(
            max_iter=300, early_stopping=True, validation_fraction=0.2, random_state=(seed + turn) % 2**32
        ).fit(np.concatenate([rows, pool[some]]), y, sample_weight=np.where(y == 1, 1.0, 1 / DRAWN))
        likely = np.asarray(classifier.validation_score_)
        if likely.max() - likely[0] < WIN:
            break
        found.append(classifier)
        log_w += classifier.decision_function(pool)
    w = np.exp(log_w - log_w.max())
    return Ratio(found, float(w.var() / w.mean() ** 2)) if found else None
