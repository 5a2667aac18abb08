"""A `torch.nn.Module` as one operation: its parameters live in the store, its code stays with the module."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from diabolo.errors import ConfigError

__all__ = ["Module", "Still"]


@dataclasses.dataclass(frozen=True)
class Module:
    """y = module(x) with the store's parameters in place of the module's own.

    Args:
        build: gives the module anew; its own random numbers are then drawn from the seed.
        module: the one that runs.
        where: its name in errors.
    """

    build: Callable[[], Any]
    module: nn.Module
    where: str

    @staticmethod
    def first(build: Callable[[], Any], where: str) -> Any:
        """The result of `build`, wrapped if it is a module; no random number of the process is used up.

        Raises:
            ConfigError: the module keeps numbers that are not trained, or draws random ones.
        """
        built = seeded(build, torch.Generator().manual_seed(0), where)
        if not isinstance(built, nn.Module):
            return built
        buffers = [name for name, _ in built.named_buffers()]
        if buffers:
            raise ConfigError(
                f"{where} has the buffer {buffers[0]!r}, which a model file does not hold (batch norm keeps such); "
                "take a layer without (LayerNorm, GroupNorm), or make it a parameter"
            )
        for name, parameter in built.named_parameters():
            if parameter.dtype != torch.float32 or not parameter.requires_grad:
                kind = f"of {parameter.dtype}" if parameter.dtype != torch.float32 else "frozen"
                raise ConfigError(f"{where} has the parameter {name!r}, which is {kind}; all are float32 and trained")
        return Module(build, built.train(), where)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(p.shape) for name, p in self.module.named_parameters()}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        fresh = dict(seeded(self.build, generator, self.where).named_parameters())
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(fresh[name])

    @property
    def multiply_adds(self) -> int:
        """One for each parameter, a lower bound: a module may use a parameter many times."""
        return sum(p.numel() for p in self.module.parameters())

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        own = {name: next(parameters) for name, _ in self.module.named_parameters()}
        out: Tensor = functional_call(self.module, own, (x,))
        return out


def seeded(build: Callable[[], Any], generator: torch.Generator, where: str) -> Any:
    """The result of `build` with the random numbers of a generator."""
    with _Seeded(generator, where):
        return build()


class _Seeded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Random numbers of PyTorch come from `generator`, not from the process's one, in this thread alone."""

    def __init__(self, generator: torch.Generator, where: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator, self.where = generator, where

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            if not any(a.name == "generator" for a in func._schema.arguments):
                func = getattr(func.overloadpacket, "generator", None)
            if func is None:
                raise ConfigError(f"{self.where} draws random numbers in a way that no seed reaches")
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


class Still(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses random numbers: a network that draws some is another one at each call."""

    def __init__(self, where: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.where = where

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ConfigError(
                f"{self.where} draws random numbers ({func.overloadpacket.__name__}; dropout does); "
                "take a corruption instead, which is off when rows are scored"
            )
        return func(*args, **(kwargs or {}))
