"""Likelihoods as operations: the cost of a cell, its expected value and its squared error, one law for each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from diabolo.errors import ConfigError
from diabolo.export.onnx.graph import DOUBLE, FLOAT, INT64, Graph, ints
from diabolo.export.onnx.special import log_gamma, log_i0e
from diabolo.model.heads import Head
from diabolo.model.likelihood.integer import LOG_RATE
from diabolo.model.likelihood.scaled import LOG_SCALE
from diabolo.model.prior import HALF_LOG_2PI

__all__ = ["LAWS", "Law", "law_of"]

Own = Mapping[str, Tensor]
Emitter = Callable[[Graph, Head, Own, str, str], str]


@dataclasses.dataclass(frozen=True)
class Law:
    """A likelihood's cost, mean and squared error of theta [n, width] and inputs [n, inputs], [n, columns] each."""

    nll: Emitter
    mean: Callable[[Graph, Head, str], str]
    error: Emitter | None = None

    def squared_error(self, g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
        if self.error is not None:
            return self.error(g, head, own, theta, x)
        gap = g.op("Sub", x, self.mean(g, head, theta))
        return g.op("Mul", gap, gap)


def law_of(head: Head, names: list[str]) -> Law:
    """The law of a head.

    Raises:
        ConfigError: its likelihood has none here; names the columns.
    """
    name = head.likelihood.name
    if name not in LAWS:
        columns = ", ".join(names[c] for c in head.block.columns[:5])
        raise ConfigError(
            f"the likelihood {name!r} of {columns} has no form in ONNX; the score auto, which reads no likelihood, has "
            "one, and mu_norm"
        )
    return LAWS[name]


def _halves(g: Graph, theta: str, head: Head) -> tuple[str, str]:
    c = len(head.block.columns)
    return g.columns(theta, range(c)), g.columns(theta, range(c, 2 * c))


def _row(t: Tensor) -> np.ndarray:
    return np.asarray(t.detach().numpy().reshape(1, -1))


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────


def _location(g: Graph, head: Head, theta: str) -> str:
    given = getattr(head.likelihood, "given", None)
    return _halves(g, theta, head)[0] if given == "decoded" else theta


def _scale(g: Graph, head: Head, theta: str) -> str:
    """e^(log scale) of the decoder."""
    return g.op("Exp", g.op("Clip", _halves(g, theta, head)[1], -LOG_SCALE, LOG_SCALE))


def _gaussian(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    likelihood: Any = head.likelihood
    gap = g.op("Sub", _location(g, head, theta), x)
    square = g.op("Mul", gap, gap)
    if likelihood.given == "decoded":
        sigma, floor = _scale(g, head, theta), _row(head.units.floor)
        variance = g.op("Add", g.op("Mul", sigma, sigma), floor * floor)
        part = g.op("Add", g.op("Mul", g.op("Log", variance), 0.5), float(HALF_LOG_2PI))
        return g.op("Add", g.op("Div", g.op("Mul", square, 0.5), variance), part)
    weight, constant = likelihood.law(None, own, head.units)
    return g.op("Add", g.op("Mul", square, _row(weight)), _row(constant))


def _laplace(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    likelihood: Any = head.likelihood
    gap = g.op("Abs", g.op("Sub", x, _location(g, head, theta)))
    if likelihood.given == "decoded":
        b = g.op("Add", _scale(g, head, theta), _row(head.units.floor))
        return g.op("Add", g.op("Div", gap, b), g.op("Log", g.op("Mul", b, 2.0)))
    spread = _row(likelihood.spread(None, own, head.units))
    return g.op("Add", g.op("Div", gap, spread), np.log(2 * spread))


def _logistic(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    units, likelihood = head.units, head.likelihood
    step = _row(units.step)
    half = 0.5 * step
    if getattr(likelihood, "given", None) == "decoded":
        raw = g.op("Clip", _halves(g, theta, head)[1], -LOG_SCALE, LOG_SCALE)
        s = g.op("Add", g.op("Exp", g.op("Sub", raw, 1.0)), 0.02 * step)
        width = g.op("Div", (2 * half).astype(np.float64), g.cast(s, DOUBLE))
        inside = g.op("Log", g.op("Sub", np.array(1.0), g.op("Exp", g.op("Neg", width))))
        inside = g.cast(inside, FLOAT)
    else:
        fixed = 0.02 * step + np.exp(_row(own["log_scale"].clamp(-12, 12)) - 1)
        s = g.constant(fixed.astype(np.float32))
        inside = g.constant(np.log(-np.expm1(-(2 * half) / fixed)).astype(np.float32))
    gap = g.op("Sub", x, _location(g, head, theta))
    above, below = (g.op("Div", g.op(kind, gap, half), s) for kind in ("Add", "Sub"))
    upper, lower = g.softplus(g.op("Neg", above)), g.softplus(below)
    value = g.op("Add", g.op("Div", x, step), _row(units.center).astype(np.float32))
    top = g.op("Greater", value, _row(units.high) - np.float32(0.5))
    bottom = g.op("Less", value, _row(units.low) + np.float32(0.5))
    cost = g.op("Add", g.op("Where", top, 0.0, upper), g.op("Where", bottom, 0.0, lower))
    return g.op("Sub", cost, g.op("Where", g.op("Or", top, bottom), 0.0, inside))


def _logistic_mean(g: Graph, head: Head, theta: str) -> str:
    low, high = (
        _row(head.units.standardised(bound.double())).astype(np.float32) for bound in (head.units.low, head.units.high)
    )
    return g.op("Min", g.op("Max", _location(g, head, theta), low), high)


def _log_rate(g: Graph, head: Head, theta: str) -> str:
    center = _row(head.units.center.double())
    base = np.log(np.where(center > 0, center, 1.0))
    return g.op("Clip", g.op("Add", g.cast(theta, DOUBLE), base), np.array(-LOG_RATE), np.array(LOG_RATE))


def _counted(g: Graph, head: Head, x: str) -> str:
    scaled = g.op("Mul", g.cast(x, DOUBLE), _row(head.units.scale.double()))
    return g.op("Add", scaled, _row(head.units.center.double()))


def _poisson(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    log_rate, k = _log_rate(g, head, theta), _counted(g, head, x)
    cost = g.op("Sub", g.op("Exp", log_rate), g.op("Mul", k, log_rate))
    return g.cast(g.op("Add", cost, log_gamma(g, g.op("Add", k, np.array(1.0)))), FLOAT)


def _negative_binomial(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    from scipy.special import gammaln

    likelihood: Any = head.likelihood
    log_rate, k = _log_rate(g, head, theta), _counted(g, head, x)
    r = likelihood.dispersion * np.exp(_row(own["log_dispersion"].double().clamp(-15, 15)))
    log_r = np.log(r)
    # log(e^a + e^b) = b + log(1 + e^(a − b)).
    log_sum = g.op("Add", g.softplus(g.op("Sub", log_rate, log_r)), log_r)
    cost = g.op("Sub", log_gamma(g, g.op("Add", k, np.array(1.0))), log_gamma(g, g.op("Add", k, r)))
    cost = g.op("Add", cost, gammaln(r))
    cost = g.op("Add", cost, g.op("Mul", g.op("Sub", log_sum, log_r), r))
    return g.cast(g.op("Add", cost, g.op("Mul", k, g.op("Sub", log_sum, log_rate))), FLOAT)


def _rate_mean(g: Graph, head: Head, theta: str) -> str:
    value = g.op("Exp", _log_rate(g, head, theta))
    gap = g.op("Sub", value, _row(head.units.center.double()))
    return g.cast(g.op("Div", gap, _row(head.units.scale.double())), FLOAT)


# ── choices ───────────────────────────────────────────────────────────────────────────────────────


def _bernoulli(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    return g.op("Sub", g.softplus(theta), g.op("Mul", theta, x))


def _sigmoid(g: Graph, head: Head, theta: str) -> str:
    return g.op("Sigmoid", theta)


def _categorical(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    return g.op("Neg", g.total(g.op("Mul", g.log_softmax(theta), x)))


def _most_probable(g: Graph, head: Head, theta: str) -> str:
    return g.cast(g.op("ArgMax", theta, axis=1, keepdims=1), FLOAT)


def _brier(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    gap = g.op("Sub", g.op("Softmax", theta, axis=-1), x)
    return g.op("Mul", g.total(g.op("Mul", gap, gap)), 0.5)


def _values(head: Head) -> np.ndarray:
    return np.arange(2.0, dtype=np.float32) if head.units.levels is None else head.units.levels.numpy()


def _levels(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    far = g.op("Abs", g.op("Sub", x, _values(head)[None]))
    at = g.op("ArgMin", far, axis=1, keepdims=1)
    return g.op("Neg", g.op("GatherElements", g.log_softmax(theta), at, axis=1))


def _expected(g: Graph, theta: str, values: np.ndarray) -> str:
    return g.op("MatMul", g.op("Softmax", theta, axis=-1), values[:, None].astype(np.float32))


def _levels_mean(g: Graph, head: Head, theta: str) -> str:
    return _expected(g, theta, _values(head))


def _multiplicity(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    likelihood: Any = head.likelihood
    slots = head.block.stop - head.block.start
    filled = g.total(x)
    at = g.cast(filled, INT64)
    count = g.op("Neg", g.op("GatherElements", g.log_softmax(theta), at, axis=1))
    leading = g.op("Less", np.arange(slots, dtype=np.float32)[None], filled)
    other = g.op("Xor", leading, g.op("Greater", x, 0.5))
    first = g.cast(g.op("Not", g.anywhere(other)), INT64)
    ways = [math.comb(slots, n) - 1 for n in range(slots + 1)]
    costs = [-math.log(likelihood.gaps) + math.log(w) if w else math.inf for w in ways]
    costs += [-math.log1p(-likelihood.gaps) if w else 0.0 for w in ways]
    place = g.op("Add", g.op("Mul", first, ints(slots + 1)[None]), at)
    return g.op("Add", count, g.op("Gather", np.array(costs, np.float32), place))


def _multiplicity_mean(g: Graph, head: Head, theta: str) -> str:
    return _expected(g, theta, np.arange(head.block.stop - head.block.start + 1))


def _multiplicity_error(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    gap = g.op("Sub", _multiplicity_mean(g, head, theta), g.total(x))
    share = g.op("Div", gap, float(head.block.stop - head.block.start))
    return g.op("Mul", share, share)


# ── angles ────────────────────────────────────────────────────────────────────────────────────────


def _length(g: Graph, c: str, s: str) -> str:
    square = g.op("Add", g.op("Mul", c, c), g.op("Mul", s, s))
    return g.op("Sqrt", g.op("Add", square, 1e-12))


def _von_mises(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    (c, s), (cos, sin) = _halves(g, theta, head), _halves(g, x, head)
    length = _length(g, c, s)
    across, along = (g.op("Sub", a, g.op("Div", b, length)) for a, b in ((cos, c), (sin, s)))
    half = g.op("Mul", g.op("Add", g.op("Mul", across, across), g.op("Mul", along, along)), 0.5)
    kappa = g.op("Min", length, 1 / _row(head.units.floor) ** 2)
    cost = g.op("Add", log_i0e(g, kappa), float(2 * HALF_LOG_2PI))
    return g.op("Add", cost, g.op("Mul", kappa, half))


def _direction(g: Graph, head: Head, theta: str) -> str:
    """atan2 of the two halves, by the half angle: 2 atan(s / (|u| + c)), and π where that is 0/0."""
    c, s = _halves(g, theta, head)
    length = g.op("Sqrt", g.op("Add", g.op("Mul", c, c), g.op("Mul", s, s)))
    # On the side of negative c the sum cancels; (|u| − c) / s is the same there.
    back = g.op("Less", c, 0.0)
    safe = g.op("Where", g.op("Equal", s, 0.0), 1e-30, s)
    forward = g.op("Div", s, g.op("Max", g.op("Add", length, c), 1e-30))
    behind = g.op("Div", g.op("Sub", length, c), safe)
    return g.op("Mul", g.op("Atan", g.op("Where", back, behind, forward)), 2.0)


def _angle_error(g: Graph, head: Head, own: Own, theta: str, x: str) -> str:
    (c, s), (cos, sin) = _halves(g, theta, head), _halves(g, x, head)
    along = g.op("Add", g.op("Mul", c, cos), g.op("Mul", s, sin))
    return g.op("Sub", 2.0, g.op("Div", g.op("Mul", along, 2.0), _length(g, c, s)))


#: A law for each likelihood that has one; docs/export.md names those that have none.
LAWS: dict[str, Law] = {
    "gaussian": Law(_gaussian, _location),
    "laplace": Law(_laplace, _location),
    "discretized_logistic": Law(_logistic, _logistic_mean),
    "poisson": Law(_poisson, _rate_mean),
    "negative_binomial": Law(_negative_binomial, _rate_mean),
    "bernoulli": Law(_bernoulli, _sigmoid),
    "categorical": Law(_categorical, _most_probable, _brier),
    "levels": Law(_levels, _levels_mean),
    "multiplicity": Law(_multiplicity, _multiplicity_mean, _multiplicity_error),
    "von_mises": Law(_von_mises, _direction, _angle_error),
}
