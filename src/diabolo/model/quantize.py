"""Affine maps and rectifiers in whole numbers, trained through straight-through estimators.

    a = W x + b,    y = ⌊2^f a⌋ within the bits of an activation, times 2^−f

W are whole multiples of 2^−g within the bits of a weight, b of the product's step. A rectifier is the least integer, 0.
g and f are one power of two per layer, chosen on rows that training does not step on. ⌊·⌋ and rounding have slope 1
where they saturate nothing (Bengio, Léonard, Courville 2013, arXiv:1308.3432; Jacob et al. 2018, arXiv:1712.05877).
A step is taken in single precision; a score is computed in double precision, which holds every such sum exactly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diabolo.config import Config, Quantize
from diabolo.data.encoding import Encoding
from diabolo.errors import ConfigError
from diabolo.model.networks import Affine, Operation, Rectify

__all__ = ["MOST_BIAS", "WholeLayer", "WholeNetwork", "WholeParts", "whole_network"]

#: Largest bias in steps of its product.
MOST_BIAS = 1 << 30
#: Bits behind the point, at most, and fewest.
FRACTION = 30
#: Power of two that a layer's outputs may grow by beyond the largest on the rows that chose its range.
HEADROOM = 2.0


@dataclasses.dataclass(frozen=True)
class WholeLayer:
    """One affine map in whole numbers, and what follows it.

    Attributes:
        weight: [outputs, inputs] int64.
        bias: [outputs] int64.
        shift: bits that the sum loses; below 0, a shift to the left.
        low, high: bounds of an output.
        weight_fraction, fraction: bits behind the point of weights and of outputs.
    """

    weight: np.ndarray
    bias: np.ndarray
    shift: int
    low: int
    high: int
    weight_fraction: int
    fraction: int


class WholeNetwork:
    """A list of affine maps and rectifiers that runs in whole numbers once its ranges are chosen.

    Args:
        rectified: of each affine map, whether a rectifier follows.
        bits: of weights and activations.
        whole: leading outputs of the last map that are whole; the others are real numbers, for training alone.
        last: bits behind the point of the outputs, where they are given.
    """

    def __init__(self, rectified: Sequence[bool], bits: Quantize, whole: int, last: int | None = None) -> None:
        self.rectified, self.bits, self.whole, self.last = list(rectified), bits, whole, last
        #: Bits behind the point: of what enters, and [layers, 2] of weights and outputs; None before they are chosen.
        self.entering = 0
        self.fractions: list[tuple[int, int]] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the buffer that keeps the ranges."""
        return len(self.rectified), 2

    @property
    def outgoing(self) -> int:
        """Bits behind the point of the outputs."""
        return self.fractions[-1][1] if self.fractions else 0

    def read(self, kept: Tensor, entering: int) -> None:
        """Take over ranges that a buffer keeps.

        Raises:
            ConfigError: ranges that are no whole numbers, or out of bounds.
        """
        numbers = [[float(v) for v in row] for row in kept.tolist()]
        if not all(v == round(v) and abs(v) <= 4 * FRACTION for row in numbers for v in row):
            raise ConfigError(f"ranges of a network in whole numbers are whole numbers within ±{4 * FRACTION}")
        self.entering, self.fractions = entering, [(int(w), int(f)) for w, f in numbers]

    def bounds(self, layer: int) -> tuple[int, int]:
        """Least and largest integer that a layer gives."""
        b = self.bits.activations
        return (0, (1 << b) - 1) if self.rectified[layer] else (-(1 << (b - 1)), (1 << (b - 1)) - 1)

    # ── running ───────────────────────────────────────────────────────────────────────────────────

    def __call__(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        """[*, inputs] → [*, outputs]: with slopes where they are asked for, else exactly."""
        if self.fractions is None:
            raise ConfigError("the ranges of this network in whole numbers are not chosen yet")
        training = torch.is_grad_enabled()
        h = x if training else x.double()
        before = self.entering
        for layer, (weight_fraction, fraction) in enumerate(self.fractions):
            weight, bias = (p if training else p.double() for p in parameters[2 * layer : 2 * layer + 2])
            last = layer == len(self.fractions) - 1
            whole = self.whole if last else len(bias)
            a = h @ self._weight(weight[:whole], weight_fraction).mT
            a = a + self._bias(bias[:whole], weight_fraction + before)
            y = _floored(a, fraction, *self.bounds(layer))
            if whole < len(bias):
                y = torch.cat([y, h @ weight[whole:].mT + bias[whole:]], dim=-1)
            h, before = y, fraction
        return h.to(x.dtype)

    def _weight(self, weight: Tensor, fraction: int) -> Tensor:
        most = (1 << (self.bits.weights - 1)) - 1
        near = (weight * 2.0**fraction).round().clamp(-most, most) * 2.0**-fraction
        return weight + (near - weight).detach() if weight.requires_grad else near

    @staticmethod
    def _bias(bias: Tensor, fraction: int) -> Tensor:
        near = (bias * 2.0**fraction).round().clamp(-MOST_BIAS, MOST_BIAS) * 2.0**-fraction
        return bias + (near - bias).detach() if bias.requires_grad else near

    # ── ranges ────────────────────────────────────────────────────────────────────────────────────

    @torch.no_grad()
    def choose(self, parameters: Sequence[Tensor], x: Tensor, entering: int) -> Tensor:
        """Choose the ranges by rows x [n, inputs], which are whole; gives them as the buffer keeps them.

        A layer's weights get the power of two of the least squared error, its outputs the least one that holds twice
        the largest among these rows.
        """
        self.entering, chosen, h = entering, [], x.double()
        before = entering
        for layer in range(len(self.rectified)):
            last = layer == len(self.rectified) - 1
            weight, bias = (p.double() for p in parameters[2 * layer : 2 * layer + 2])
            weight, bias = (weight[: self.whole], bias[: self.whole]) if last else (weight, bias)
            g = self._best_fraction(weight, bias, before)
            a = h @ self._weight(weight, g).mT + self._bias(bias, g + before)
            low, high = self.bounds(layer)
            most = max(float(a.max()), 0.0 if self.rectified[layer] else float(-a.min()), 1e-9)
            f = math.floor(math.log2((high + 1) / (HEADROOM * most)))
            f = max(-FRACTION, min(FRACTION, f)) if not last or self.last is None else self.last
            h, before = _floored(a, f, low, high), f
            chosen.append((g, f))
        self.fractions = chosen
        return torch.tensor(chosen, dtype=torch.float32)

    def _best_fraction(self, weight: Tensor, bias: Tensor, before: int) -> int:
        largest = max(float(weight.abs().max()), 1e-9)
        start = math.floor(math.log2(((1 << (self.bits.weights - 1)) - 1) / largest))
        room = math.floor(math.log2(MOST_BIAS / max(float(bias.abs().max()), 1e-9))) - before
        found = [max(-FRACTION, min(FRACTION, start + more, room)) for more in range(3)]
        return min(found, key=lambda g: float((self._weight(weight, g) - weight).square().sum()))

    # ── as integers ───────────────────────────────────────────────────────────────────────────────

    def layers(self, parameters: Sequence[Tensor]) -> list[WholeLayer]:
        """The network as integers."""
        if self.fractions is None:
            raise ConfigError("the ranges of this network in whole numbers are not chosen yet")
        out, before = [], self.entering
        for layer, (g, f) in enumerate(self.fractions):
            weight, bias = (p.detach().double() for p in parameters[2 * layer : 2 * layer + 2])
            last = layer == len(self.fractions) - 1
            whole = self.whole if last else len(bias)
            integers = [
                (part[:whole] * 2.0**step).round().numpy().astype(np.int64)
                for part, step in ((self._weight(weight, g), g), (self._bias(bias, g + before), g + before))
            ]
            out.append(WholeLayer(integers[0], integers[1], g + before - f, *self.bounds(layer), g, f))
            before = f
        return out


def _floored(a: Tensor, fraction: int, low: int, high: int) -> Tensor:
    """⌊2^f a⌋ within bounds, times 2^−f; of slope 1 within them."""
    step = 2.0**-fraction
    near = (a / step).floor().clamp(low, high) * step
    if not a.requires_grad:
        return near
    inside = a.clamp(low * step, (high + 1) * step)
    return inside + (near - inside).detach()


def whole_network(operations: Sequence[Operation], bits: Quantize, whole: int, last: int | None = None) -> WholeNetwork:
    """A network in whole numbers over the same parameters.

    Raises:
        ConfigError: operations other than affine maps, each perhaps followed by a rectifier of slope 0.
    """
    rectified: list[bool] = []
    for operation in operations:
        if isinstance(operation, Affine):
            rectified.append(False)
        elif isinstance(operation, Rectify) and operation.slope == 0 and rectified and not rectified[-1]:
            rectified[-1] = True
        else:
            raise ConfigError(
                "quantize: a network in whole numbers has affine maps and rectifiers of slope 0: take network 'mlp' or "
                "'linear'"
            )
    if rectified[-1]:
        raise ConfigError("quantize: the last operation of a network in whole numbers is an affine map")
    return WholeNetwork(rectified, bits, whole, last)


@dataclasses.dataclass
class WholeParts:
    """The parts of a model that a trigger takes: its encoder and, for the score mse, its decoder."""

    encoder: WholeNetwork
    decoder: WholeNetwork | None
    entering: int  #: bits of an input behind the point

    @staticmethod
    def of(
        encoder: Sequence[Operation],
        decoder: Sequence[Operation],
        encoding: Encoding,
        config: Config,
        lead: tuple[int, ...],
    ) -> WholeParts | None:
        """The parts of a model of these operations that go over to whole numbers; None where none do.

        Raises:
            ConfigError: operations or settings that whole numbers do not go with.
        """
        if config.quantize is None:
            return None
        if lead:
            raise ConfigError("quantize: whole numbers are of one network, and this one has members")
        bits, inputs = config.quantize, encoding.inputs
        if inputs is None:
            raise ConfigError("quantize: the encoding of a network in whole numbers gives whole inputs")
        latent = config.latent if isinstance(config.latent, str) else config.latent.get("name")
        if latent not in ("point", "gaussian"):
            raise ConfigError(
                f"quantize: latent {latent!r} has no whole numbers; take 'gaussian' (method vae) or 'point'"
            )
        if not isinstance(config.corruption, str) and config.corruption.get("rate") == "any":
            raise ConfigError("quantize: a masked autoencoder takes more than its columns; take method vae or ae")
        first = whole_network(encoder, bits, config.latent_dim or 0)
        if bits.score != "mse":
            return WholeParts(first, None, inputs.fraction)
        outputs = getattr(decoder[-1], "outputs", 0)
        if outputs != encoding.width:
            raise ConfigError(
                f"quantize: the score mse takes one output per column, and the likelihood asks for {outputs} of "
                f"{encoding.width} columns: take likelihood 'gaussian' with sigma 'learned' or a number"
            )
        return WholeParts(first, whole_network(decoder, bits, outputs, inputs.fraction), inputs.fraction)

    @property
    def chosen(self) -> bool:
        """Whether the ranges are chosen, so that the parts run in whole numbers."""
        return self.encoder.fractions is not None

    def kept(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the buffers that keep the ranges."""
        out: dict[str, tuple[int, ...]] = {"encoder_ranges": self.encoder.shape}
        return out if self.decoder is None else {**out, "decoder_ranges": self.decoder.shape}

    def read(self, buffers: Mapping[str, Tensor]) -> None:
        """Take over the ranges of a file."""
        self.encoder.read(buffers["encoder_ranges"], self.entering)
        if self.decoder is not None:
            self.decoder.read(buffers["decoder_ranges"], self.encoder.outgoing)

    def choose(self, encoder: Sequence[Tensor], decoder: Sequence[Tensor], x: Tensor) -> dict[str, Tensor]:
        """Choose the ranges by inputs x [n, D]; gives the buffers that keep them."""
        out = {"encoder_ranges": self.encoder.choose(encoder, x, self.entering)}
        if self.decoder is not None:
            with torch.no_grad():
                z = self.encoder(encoder, x)[..., : self.encoder.whole]
            out["decoder_ranges"] = self.decoder.choose(decoder, z, self.encoder.outgoing)
        return out
