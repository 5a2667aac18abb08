"""The trigger of a model in whole numbers: input map, layers, score and threshold as integers, with their proof.

    x = ⌊(x_int − offset) / 2^shift⌋,    y = ⌊(W x + b) / 2^k⌋ within bounds, layer by layer,    s = Σ μ² or Σ (x − x̂)²

A row is an anomaly if s > threshold. Bounds of x and y bound every sum, so that overflow is excluded before a row is
seen. The scores that the detector was calibrated on are a rising function of s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from diabolo.data.integer_inputs import MOST_INPUTS, WORD, IntegerInputs
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import CalibrationError, ConfigError
from diabolo.model.active import active_units
from diabolo.model.autoencoder import Model
from diabolo.model.codes import encoded
from diabolo.model.quantize import WholeLayer

__all__ = ["GOLDEN", "IntegerLayer", "Trigger", "check_scores", "trigger_of"]

#: Rows that are written beside a trigger, and the part of them that are random integers.
GOLDEN, RANDOM = 1000, 0.1
#: Different scores of calibration rows, at least.
FEWEST_SCORES = 100
#: Rows whose codes tell whether the latent has collapsed.
LOOKED = 2_000
INT32, INT64 = (1 << 31) - 1, (1 << 63) - 1
HOW = "fit with --quantize weights=6,activations=10"


@dataclasses.dataclass(frozen=True)
class IntegerLayer(WholeLayer):
    """A layer whose inputs are bounded.

    Attributes:
        least, most: bounds of an input.
    """

    least: int
    most: int

    @property
    def worst(self) -> int:
        """Largest |sum| that any inputs within the bounds can give, at any place of the sum."""
        largest = max(abs(self.least), abs(self.most))
        # By Python's integers, which do not overflow.
        rows = zip(self.weight.tolist(), self.bias.tolist(), strict=True)
        return max(largest * sum(abs(int(w)) for w in row) + abs(int(bias)) for row, bias in rows)

    @property
    def bits(self) -> int:
        """Bits of the type that holds every sum: 32 or 64.

        Raises:
            ConfigError: 64 are too few.
        """
        worst = self.worst << max(0, -self.shift)
        if worst > INT64 >> 1:
            raise ConfigError(f"a sum of this network may reach {worst:.3g}, more than 64 bits hold")
        return 32 if worst <= INT32 else 64

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[n, inputs] → [n, outputs], int64."""
        sums = x @ self.weight.T + self.bias
        moved = sums >> self.shift if self.shift >= 0 else sums << -self.shift
        return np.asarray(np.clip(moved, self.low, self.high))


@dataclasses.dataclass(frozen=True)
class Trigger:
    """A detector in whole numbers.

    Attributes:
        names: of the inputs.
        inputs: from cells, or from the integers of hardware, to the network's inputs.
        layers: of the encoder and, for the score mse, the decoder.
        score: "mu_norm" or "mse".
        latent: latent numbers; the encoder ends with the layer that has them.
        threshold: a row is an anomaly if its integer score is above it.
        rate: false-alarm rate behind the threshold.
    """

    names: tuple[str, ...]
    inputs: IntegerInputs
    layers: tuple[IntegerLayer, ...]
    score: str
    latent: int
    threshold: int
    rate: float

    def words(self, values: np.ndarray) -> np.ndarray:
        """The 16-bit integers of cells [n, C]."""
        return self.inputs.words(values)

    def outputs(self, words: np.ndarray) -> np.ndarray:
        """What the last layer gives of integers [n, C]: int64."""
        h = self.inputs.inputs(words)
        for layer in self.layers:
            h = layer(h)
        return h

    def scores(self, words: np.ndarray) -> np.ndarray:
        """The integer score of integers [n, C], [n] int64."""
        apart = self.outputs(words)
        if self.score == "mse":
            apart = self.inputs.inputs(words) - apart
        return np.asarray((apart * apart).sum(axis=1))

    @property
    def most(self) -> int:
        """Largest score that there can be."""
        last = self.layers[-1]
        reach = max(-last.low, last.high)
        return len(last.bias) * (reach + (max(-self.inputs.low, self.inputs.high) if self.score == "mse" else 0)) ** 2

    @property
    def fraction(self) -> int:
        """Bits of a scored number behind the point."""
        return self.layers[-1].fraction

    @property
    def multiplications(self) -> int:
        """Of inputs by weights that are not 0, a row."""
        return sum(int((layer.weight != 0).sum()) for layer in self.layers)

    def real(self, scores: np.ndarray) -> np.ndarray:
        """The detector's scores of integer ones, by the same operations in double precision."""
        unit = 4.0**-self.fraction
        squares = np.asarray(scores, np.float64) * unit
        return np.sqrt(squares) if self.score == "mu_norm" else squares / len(self.names)

    def golden(self, rows: np.ndarray) -> np.ndarray:
        """Integers [GOLDEN, C] to compare implementations on: those of rows first, then random ones of all 16 bits."""
        rows = self.words(rows[: round(GOLDEN * (1 - RANDOM))])
        generator = np.random.default_rng(0)
        drawn = generator.integers(-WORD - 1, WORD + 1, size=(GOLDEN - len(rows), len(self.names)))
        return np.concatenate([rows, drawn])


def trigger_of(detector: Calibrated, score: str | None = None, rate: float | None = None) -> Trigger:
    """A calibrated detector in whole numbers.

    Args:
        score: the score that is asked for; None for the trigger's.
        rate: false-alarm rate; None for the detector's.

    Raises:
        ConfigError: the network is not one of whole numbers, or the score is another than the one that it makes.
        CalibrationError: a rate that the calibration rows cannot promise; too few different scores for a threshold.
    """
    model = detector.reference.model
    quantize, whole, inputs = model.config.quantize, model.whole, model.encoding.inputs
    if quantize is None or whole is None or inputs is None or not whole.chosen:
        raise ConfigError(f"the network of this model is one of real numbers, and a trigger takes whole ones: {HOW}")
    wanted = score or detector.score_name
    if wanted != quantize.score:
        other = ",score=mse" if wanted == "mse" else ""
        raise ConfigError(
            f"score {wanted!r}: this network in whole numbers makes the score {quantize.score!r}; "
            + (f"{HOW}{other}" if wanted in ("mu_norm", "mse") else f"take --score {quantize.score}")
        )
    detector = detector.choosing(wanted, rate)
    if len(model.encoding.schema.columns) > MOST_INPUTS:
        raise ConfigError(f"{len(model.encoding.schema.columns):,} inputs; allowed are {MOST_INPUTS:,}")
    check_scores(detector)
    layers = _bounded(model)
    if quantize.score == "mse" and layers[-1].fraction != inputs.fraction:
        raise ConfigError("the outputs of this network have another step than its inputs; fit again")
    built = Trigger(
        tuple(model.encoding.schema.names), inputs, layers, quantize.score, model.latent_dim, 0, detector.rate
    )
    found = dataclasses.replace(built, threshold=_largest(lambda s: built.real(s) <= detector.threshold, built.most))
    _compare(found, detector)
    return found


def _bounded(model: Model) -> tuple[IntegerLayer, ...]:
    """The layers in order, each with the bounds of its inputs."""
    whole, inputs = model.whole, model.encoding.inputs
    if whole is None or inputs is None:
        return ()
    layers = whole.encoder.layers(model.encoder_parameters)
    if whole.decoder is not None:
        layers += whole.decoder.layers(model.decoder_parameters)
    out, least, most = [], inputs.low, inputs.high
    for layer in layers:
        out.append(IntegerLayer(**vars(layer), least=least, most=most))
        _ = out[-1].bits  # refuses a sum that no type holds
        least, most = layer.low, layer.high
    return tuple(out)


def _largest(holds: Callable[[np.ndarray], np.ndarray], most: int) -> int:
    """The largest integer from 0 to `most` for which a falling condition holds; −1 if it holds for none."""
    low, high = -1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bool(holds(np.array([middle]))[0]) else (low, middle - 1)
    return low


def check_scores(detector: Calibrated) -> None:
    """Refuse a latent that says nothing of the rows, and scores of which no threshold can be made.

    Raises:
        CalibrationError: says which, and what to change in the fit.
    """
    scores, model = detector.calibration.scores, detector.reference.model
    distinct, remedy = len(np.unique(scores)), "lower --beta, or raise it slowly with --set warmup=10"
    if distinct < FEWEST_SCORES:
        raise CalibrationError(
            f"no threshold can be made: {len(scores):,} calibration rows have {distinct:,} different scores, and it "
            f"takes {FEWEST_SCORES}; fit again with more bits ({HOW[9:]}) or, where the latent has collapsed, {remedy}"
        )
    stored = detector.reference.stored
    if model.latent.stochastic and stored is not None:
        z = encoded(model, stored.values[:LOOKED]).mean / np.sqrt(model.prior.variance)
        if not active_units(z).any():
            raise CalibrationError(
                f"the latent has collapsed: none of its {model.latent_dim} units moves with the rows (variance above "
                f"0.01 of the prior's); fit again: {remedy}"
            )
    flagged = float((scores > detector.threshold).mean())
    if flagged < detector.rate / 2 - 1 / len(scores):
        raise CalibrationError(
            f"equal scores leave a rate of {flagged:.3g} where {detector.rate:.3g} is asked for: allow a larger rate, "
            "or fit with more bits"
        )


def _compare(trigger: Trigger, detector: Calibrated) -> None:
    """Hold the integers against the model's own scores and verdicts, on the rows that the detector keeps.

    Raises:
        ConfigError: a score differs; nothing is to be written then.
    """
    stored = detector.reference.stored
    if stored is None:
        return
    rows = stored.values[:LOOKED]
    own = score_table(Reference(detector.reference.model), rows, [trigger.score])[trigger.score]
    integers = trigger.scores(trigger.words(rows))
    differing = int(
        ((trigger.real(integers) != own) | ((integers > trigger.threshold) != (own > detector.threshold))).sum()
    )
    if differing:
        raise ConfigError(f"{differing:,} of {len(rows):,} scores in whole numbers differ from the model's own")
