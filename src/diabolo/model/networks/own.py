"""A user's own network, named by import path: "mypackage.mymodule:MyNetwork".

The class is a dataclass of settings with the methods `encoder` and `decoder` of `Network`. Each returns a list
of operations, or a `torch.nn.Module` that becomes one operation. A model file holds the path and the SHA-256 of
the module's source, never code. Only a fit, or a load that asks for it, imports the module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from diabolo.errors import ConfigError
from diabolo.model.networks.execution import run
from diabolo.model.networks.module import Module, Still
from diabolo.model.networks.operations import Operation
from diabolo.model.networks.protocol import Shape
from diabolo.model.own import imported, said
from diabolo.registry import validated

__all__ = ["OwnNetwork", "own_network"]

#: Rows of the trial that a network passes before it is trained.
TRIAL = 3


def own_network(spec: str | Mapping[str, Any]) -> OwnNetwork:
    """Import the class that `spec` names, and give it its settings.

    Raises:
        ConfigError: no such module or attribute, no network, or a wrong setting.
    """
    spec = {"name": spec} if isinstance(spec, str) else spec
    name, settings = spec["name"], {k: v for k, v in spec.items() if k != "name"}
    cls, path, digest = imported(name, "network")
    methods = [m for m in ("encoder", "decoder") if not callable(getattr(cls, m, None))]
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls) or methods:
        lacks = f", without {' and '.join(methods)}" if methods else ""
        raise ConfigError(
            f"network {name!r} is {'no dataclass' if not dataclasses.is_dataclass(cls) else 'a dataclass'}{lacks}; "
            "a network is a dataclass of its settings with the methods encoder and decoder (docs/networks.md)"
        )
    return OwnNetwork(name, validated(cls, settings, f"network {name!r}"), path, digest)


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A user's network behind the protocol of the built-in ones; its operations are tried before they are trained."""

    name: str
    network: Any
    path: Path
    sha256: str
    needs_shape: ClassVar[bool] = False

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        return self._operations("encoder", inputs, hidden, outputs, shape)

    def decoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        return self._operations("decoder", inputs, hidden, outputs, shape)

    def default_hidden(self, inputs: int, shape: Shape | None) -> tuple[int, ...]:
        if not callable(getattr(self.network, "default_hidden", None)):
            return ()
        widths = self._asked("default_hidden", lambda: self.network.default_hidden(inputs, shape))
        if not isinstance(widths, tuple | list) or not all(isinstance(w, int) and w > 0 for w in widths):
            raise ConfigError(f"network {self.name!r}: default_hidden gave {widths!r}; expected widths like (64, 32)")
        return tuple(widths)

    def _asked(self, method: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"network {self.name!r}: {method} raised {said(error)}") from error

    def _operations(
        self, side: str, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None
    ) -> list[Operation]:
        def build() -> Any:
            return self._asked(side, lambda: getattr(self.network, side)(inputs, tuple(hidden), outputs, shape))

        where = f"network {self.name!r}: {side}"
        built = Module.first(build, where)
        operations: list[Operation] = [built] if isinstance(built, Module) else built
        wanted = ("shapes", "initialise", "multiply_adds")
        if not isinstance(operations, list) or not all(hasattr(o, a) for o in operations for a in wanted):
            raise ConfigError(f"{where} gave {built!r:.80}; expected a list of operations or a torch.nn.Module")
        self._asked(side, lambda: _try(operations, inputs, outputs, where))
        return operations


def _try(operations: list[Operation], inputs: int, outputs: int, where: str) -> None:
    """Refuse operations that would train or score wrongly in silence."""
    generator = torch.Generator().manual_seed(0)
    parameters = []
    for operation in operations:
        own = {name: torch.zeros(shape) for name, shape in operation.shapes().items()}
        operation.initialise(own, generator)
        parameters += list(own.values())
    if not parameters:
        raise ConfigError(f"{where} has nothing to train")
    x = torch.randn(TRIAL, inputs, generator=generator)
    rows = x.clone()
    with torch.no_grad(), Still(where):
        out = run(operations, parameters, rows)
        fewer = run(operations, parameters, x[:-1].clone()) if isinstance(out, Tensor) else None
    if fewer is None or out.shape != (TRIAL, outputs):
        given = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(f"{where} maps rows [{TRIAL}, {inputs}] to {given}; expected [{TRIAL}, {outputs}]")
    if not torch.equal(rows, x):
        raise ConfigError(f"{where} changes the rows that it is given, in place; begin with an operation that does not")
    if not torch.allclose(fewer, out[:-1], rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ConfigError(f"{where} makes a row's output depend on the other rows of its batch")
