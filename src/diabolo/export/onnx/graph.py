"""A small builder of ONNX graphs: an operation a call, and each constant once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diabolo.errors import MissingExtraError

__all__ = ["BOOL", "DOUBLE", "FLOAT", "INT64", "Graph", "Operand"]

#: ONNX's numbers of element types.
FLOAT, INT8, INT64, STRING, BOOL, DOUBLE = 1, 3, 7, 8, 9, 11
#: The operators that engines of 2023 and later have.
OPSET, ML_OPSET, IR = 18, 3, 9
#: A value of the graph by name, or a constant: a float is one of single precision.
Operand = str | float | npt.NDArray[Any]


class Graph:
    """Nodes in order, constants, inputs and outputs.

    Attributes:
        defaults: inputs that need not be given, by name.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError:
            raise MissingExtraError("onnx", "onnx", "writing an ONNX graph") from None
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        self._named: dict[str, str] = {}
        self.defaults: list[Any] = []
        self._shifted: dict[str, tuple[str, npt.NDArray[Any]]] = {}

    # ── values ────────────────────────────────────────────────────────────────────────────────────

    def constant(self, value: float | npt.NDArray[Any]) -> str:
        """The name of a constant; equal ones are one."""
        array = np.asarray(value, np.float32) if isinstance(value, float | int) else np.ascontiguousarray(value)
        array = array.reshape(np.shape(value))  # of a scalar too
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._onnx.numpy_helper.from_array(array, f"c:{len(self._constants)}")
        return str(self._constants[key].name)

    def input(self, name: str, kind: int, columns: int | None = None) -> str:
        """An input [n, columns]."""
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, ["n", columns]))
        return name

    def default(self, name: str, value: float) -> str:
        """A double that a caller may give another value."""
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, DOUBLE, []))
        self.defaults.append(self._onnx.numpy_helper.from_array(np.array(value, np.float64), name))
        return name

    def output(self, name: str, value: str, kind: int, columns: int | None = None) -> None:
        """An output [n], or [n, columns]; the value of an operation, which has one name."""
        self._named[value] = name
        shape: list[Any] = ["n"] if columns is None else ["n", columns]
        self.outputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))

    # ── operations ────────────────────────────────────────────────────────────────────────────────

    def several(self, kind: str, count: int, *operands: Operand, domain: str = "", **attributes: Any) -> list[str]:
        """The outputs of an operation that has several."""
        names = [f"v:{len(self.nodes)}.{i}" for i in range(count)]
        given = [o if isinstance(o, str) else self.constant(o) for o in operands]
        self.nodes.append(self._onnx.helper.make_node(kind, given, names, domain=domain, **attributes))
        return names

    def op(self, kind: str, *operands: Operand, domain: str = "", **attributes: Any) -> str:
        """The output of an operation."""
        if kind == "Add":
            operands = self._one_sum(*operands)
        name = self.several(kind, 1, *operands, domain=domain, **attributes)[0]
        if kind == "Add" and isinstance(operands[0], str) and isinstance(operands[1], np.ndarray):
            self._shifted[name] = (operands[0], operands[1])
        return name

    def _one_sum(self, a: Operand, b: Operand) -> tuple[Operand, Operand]:
        """(x + c) + d as x + (c + d), of constants of one type and as many axes."""
        if isinstance(a, str) and a in self._shifted and isinstance(b, np.ndarray):
            x, c = self._shifted[a]
            if c.dtype == b.dtype and c.ndim == b.ndim:
                return x, np.asarray(c + b)
        return a, b

    def cast(self, value: str, kind: int) -> str:
        return self.op("Cast", value, to=kind)

    def columns(self, value: str, at: Sequence[int], of: int | None = None) -> str:
        """Some columns of [n, of], as a slice where they lie side by side; the value itself where they are all."""
        first, last = at[0], at[-1]
        if list(at) == list(range(of or 0)):
            return value
        if list(at) == list(range(first, last + 1)):
            return self.op("Slice", value, ints(first), ints(last + 1), ints(1))
        return self.op("Gather", value, ints(*at), axis=1)

    def joined(self, values: Sequence[str]) -> str:
        """Values [n, ·] side by side."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=1)

    def total(self, value: str, keep: bool = True, axis: int = 1) -> str:
        return self.op("ReduceSum", value, ints(axis), keepdims=int(keep))

    def anywhere(self, value: str) -> str:
        """Whether any of bools [n, ·] is true, [n, 1]."""
        return self.op("Greater", self.total(self.cast(value, FLOAT)), 0.5)

    def any_of(self, values: Sequence[str]) -> str:
        """Or of bools."""
        out = values[0]
        for value in values[1:]:
            out = self.op("Or", out, value)
        return out

    def smallest(self, value: str, count: int, axis: int = 1, ordered: bool = False) -> list[str]:
        """The smallest values of each row and their positions."""
        return self.several("TopK", 2, value, ints(count), axis=axis, largest=0, sorted=int(ordered))

    def log_softmax(self, value: str) -> str:
        return self.op("LogSoftmax", value, axis=-1)

    def softplus(self, value: str) -> str:
        """log(1 + eˣ) = max(x, 0) + log(1 + e^(−|x|)), in the precision of x."""
        zero = self.op("Sub", value, value)
        tail = self.op("Exp", self.op("Neg", self.op("Abs", value)))
        return self.op("Add", self.op("Max", value, zero), self.log1p(tail))

    def log1p(self, value: str) -> str:
        """log(1 + x) for x ≥ 0."""
        one = self.op("Exp", self.op("Sub", value, value))
        return self.op("Log", self.op("Add", one, value))

    def model(self, metadata: dict[str, str]) -> Any:
        """The graph as a checked ONNX model."""
        h = self._onnx.helper
        self.nodes = self._needed()
        for node in self.nodes:
            node.input[:] = [self._named.get(n, n) for n in node.input]
            node.output[:] = [self._named.get(n, n) for n in node.output]
        read = {name for node in self.nodes for name in node.input}
        held = [*(c for c in self._constants.values() if c.name in read), *self.defaults]
        graph = h.make_graph(self.nodes, "diabolo", self.inputs, self.outputs, held)
        opsets = [h.make_opsetid("", OPSET), h.make_opsetid("ai.onnx.ml", ML_OPSET)]
        out = h.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="diabolo")
        h.set_model_props(out, metadata)
        return out

    def _needed(self) -> list[Any]:
        """The nodes that an output comes from."""
        wanted, out = set(self._named), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                out.append(node)
        return out[::-1]


def ints(*values: int) -> npt.NDArray[Any]:
    """A constant of whole numbers, as shapes, axes and positions are."""
    return np.array(values, np.int64)
