"""Devices: which there are, where tensors lie, and the few things that a processor and a card do differently.

Everything else is one code for all. A tensor is made on the device of those that it meets; small ones that never change
are made once for each device (`Constants`), and what a fit has learnt moves as a whole (`Movable`). Nothing here has
run on a card so far (docs/gpu.md); tests hold it on a device that PyTorch takes for one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from diabolo.errors import ConfigError

__all__ = [
    "CPU",
    "Constants",
    "Movable",
    "choose_device",
    "class_of",
    "generator",
    "moved",
    "on_cpu",
    "scoring_device",
    "single_precision",
    "to_numpy",
]

CPU = "cpu"

T = TypeVar("T")


def choose_device(wanted: str) -> str:
    """Resolve "auto", and refuse a device that is not there.

    >>> choose_device("cpu")
    'cpu'

    Raises:
        ConfigError: says which there are.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else CPU
    there = {CPU: True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted not in there:
        raise ConfigError(f"unknown device {wanted!r}; allowed: auto, {', '.join(there)}")
    if not there[wanted]:
        built = "" if wanted != "cuda" or torch.version.cuda else f": PyTorch {torch.__version__} is built without CUDA"
        raise ConfigError(
            f"device {wanted!r} is not available here{built}; allowed: {', '.join(d for d in there if there[d])}"
        )
    return wanted


def scoring_device(wanted: str) -> str:
    """Where a detector is calibrated and scores, by the device that a fit was asked for.

    A card that is asked for does all; one that is merely there trains, and its file scores anywhere.

    >>> scoring_device("auto"), scoring_device("cuda")
    ('cpu', 'cuda')
    """
    return wanted if wanted == "cuda" else CPU


def class_of(device: str | torch.device) -> str:
    """The kind of a device, without its number: scores of one kind come from one arithmetic.

    >>> class_of("cuda:1"), class_of("cpu")
    ('cuda', 'cpu')
    """
    return str(device).partition(":")[0]


def on_cpu(tensor: Tensor) -> bool:
    """Whether the processor may look into a tensor without waiting."""
    return tensor.device.type == CPU


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The cells of a tensor, copied back from wherever it lies; of one on the processor no copy."""
    return (tensor if on_cpu(tensor) else tensor.cpu()).numpy()


def generator(device: str | torch.device, seed: int, kind: type[torch.Generator] = torch.Generator) -> torch.Generator:
    """A generator of random numbers on a device."""
    found = kind(device=device)
    found.manual_seed(seed)
    return found


@contextlib.contextmanager
def single_precision(device: str | torch.device) -> Iterator[None]:
    """Products and convolutions of a card in single precision, not in TF32; the caller's setting comes back."""
    if class_of(device) != "cuda":
        yield
        return
    before = _said_of_tf32()
    try:
        for place, name, _ in before:
            setattr(place, name, False if name == "allow_tf32" else "ieee")
        yield
    finally:
        for place, name, was in before:
            setattr(place, name, was)


def _said_of_tf32() -> list[tuple[Any, str, Any]]:
    """What a caller has set, as object, name and value: flags, and from PyTorch 2.9 on words, which go beyond them.

    A flag cannot be read where a word says something else; setting one sets words, so these come last.
    """
    product: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    out: list[tuple[Any, str, Any]] = []
    for place in (product, cudnn):
        with contextlib.suppress(RuntimeError):
            out.append((place, "allow_tf32", place.allow_tf32))
    if hasattr(product, "fp32_precision"):
        out += [(part, "fp32_precision", part.fp32_precision) for part in (product, cudnn.conv, cudnn.rnn)]
    return out


class Constants:
    """Small tensors that never change: made once on the processor, and once on each device that asks."""

    def __init__(self) -> None:
        self._made: dict[tuple[Hashable, str], Any] = {}

    def __call__(self, name: Hashable, device: torch.device | str, make: Callable[[], T]) -> T:
        """What `make` gives, a tensor or a tuple of them, on a device; `make` is called once for each device."""
        key = (name, str(device))
        if key not in self._made:
            # Not in inference mode: a gradient may pass what is kept.
            with torch.inference_mode(False):
                self._made[key] = moved(make(), device)
        return self._made[key]  # type: ignore[no-any-return]


def moved(value: Any, device: torch.device | str) -> Any:
    """The same value with all its tensors on a device; through lists, tuples and dicts, and what is `Movable`."""
    if isinstance(value, Tensor | Movable):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(v, device) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(moved(v, device) for v in value)
    return {k: moved(v, device) for k, v in value.items()} if type(value) is dict else value


class Movable:
    """What holds tensors and can lie on a device: all of them move, so that none is forgotten."""

    def to(self, device: torch.device | str) -> Self:
        """The same on a device; itself where it lies there already, tensors and all."""
        found = copy.copy(self)
        for name, value in vars(self).items():
            object.__setattr__(found, name, moved(value, device))
        return found
