"""The Open Inference Protocol, version 2: tensors in and out, as JSON and as bytes behind it.

https://github.com/kserve/open-inference-protocol, with the binary tensor extension of Triton: the JSON is as long as
the header `Inference-Header-Content-Length` says, and tensors follow in little-endian order.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from diabolo.serve.bodies import json_of
from diabolo.serve.columns import Columns
from diabolo.serve.faults import Fault

__all__ = ["HEADER", "Inference", "inference", "metadata", "rendered"]

HEADER = "inference-header-content-length"
TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
#: Outputs: name, datatype, and whether they come where none are asked for.
OUTPUTS = {"score": "FP64", "p_value": "FP64", "is_anomaly": "BOOL", "flag": "BYTES"}
#: The name of one tensor [n, columns] in place of one tensor for each column.
MATRIX = "x"


@dataclasses.dataclass(slots=True)
class Inference:
    """A request to infer: its cells by column, and how the answer is wanted."""

    cells: dict[str, Any]
    rows: int
    binary: bool  #: whether cells came as bytes
    id: str | None
    outputs: dict[str, bool]  #: names, and whether each is to come as bytes


def metadata(name: str, version: str, columns: Columns) -> dict[str, Any]:
    """A model's tensors: one for each column, and what it says of a row."""
    number = "FP32" if pa.float32() in columns.arrow.types else "FP64"
    inputs = [{"name": f.name, "datatype": number if f.numeric else "BYTES", "shape": [-1, 1]} for f in columns.fields]
    outputs = [{"name": n, "datatype": kind, "shape": [-1]} for n, kind in OUTPUTS.items()]
    return {"name": name, "versions": [version], "platform": "diabolo", "inputs": inputs, "outputs": outputs}


def inference(body: bytes, header: str | None, columns: Columns, most: int) -> Inference:
    """Read a request.

    Args:
        body: JSON, and tensors behind it.
        header: `Inference-Header-Content-Length`, if it came.
        columns: of the model.
        most: rows that are allowed.

    Raises:
        Fault: says which part cannot be read.
    """
    told, behind = _parted(body, header)
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(t, dict) for t in inputs):
        raise Fault("inputs: allowed is a list of tensors, one for each column", 400, allowed=columns.names)
    cells: dict[str, Any] = {}
    rows: int | None = None
    at = 0
    for tensor in inputs:
        name, kind, shape = tensor.get("name"), tensor.get("datatype"), _shape(tensor)
        if not isinstance(name, str) or not isinstance(kind, str) or kind not in (*TYPES, "BYTES"):
            raise Fault(f"an input has no name, or no datatype of {', '.join(TYPES)}, BYTES", 400, allowed=[*TYPES])
        size = _parameter(tensor, "binary_data_size")
        if size is None:
            data = _flat(tensor.get("data"), math.prod(shape), name)
        else:
            data, at = _bytes(behind, at, size, kind, math.prod(shape), name), at + size
        if rows is not None and shape[0] != rows:
            raise Fault(f"input {name!r} has {shape[0]:,} rows, and the one before it {rows:,}", 400, column=name)
        rows = shape[0]
        if rows > most:
            raise Fault(f"{rows:,} rows; allowed are {most:,} in a request", 413, allowed=most)
        cells |= _by_column(name, kind, shape, data, columns)
    if at != len(behind):
        raise Fault(f"{len(behind) - at:,} bytes are behind the last tensor", 400)
    absent = columns.missing(list(cells))
    if absent is not None:
        raise absent
    id_ = told.get("id")
    binary = any(not isinstance(c, list) for c in cells.values())
    return Inference(cells, rows or 0, binary, id_ if isinstance(id_, str) else None, _wanted(told))


def rendered(
    name: str, version: str, asked: Inference, result: Mapping[str, list[Any]]
) -> tuple[bytes, dict[str, str]]:
    """The answer's body and headers."""
    outputs, behind = [], []
    for column, binary in asked.outputs.items():
        told: dict[str, Any] = {"name": column, "datatype": OUTPUTS[column], "shape": [asked.rows]}
        if binary:
            data = _packed(column, result[column])
            behind.append(data)
            told["parameters"] = {"binary_data_size": len(data)}
        else:
            told["data"] = _plain(column, result[column])
        outputs.append(told)
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": outputs}
    if asked.id is not None:
        answer["id"] = asked.id
    head = orjson.dumps(answer)
    if not behind:
        return head, {"content-type": "application/json"}
    return b"".join([head, *behind]), {"content-type": "application/octet-stream", HEADER: str(len(head))}


def _parted(body: bytes, header: str | None) -> tuple[dict[str, Any], memoryview]:
    size = len(body)
    if header is not None:
        if not header.isascii() or not header.isdecimal() or int(header) > len(body):
            raise Fault(f"Inference-Header-Content-Length: allowed is a number of bytes up to {len(body):,}", 400)
        size = int(header)
    whole = memoryview(body)
    told = json_of(whole[:size], "the request")
    if not isinstance(told, dict):
        raise Fault("the request is no JSON object with inputs", 400)
    return told, whole[size:]


def _shape(tensor: Mapping[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
    if not whole or not isinstance(shape, list) or not 1 <= len(shape) <= 2 or min(shape) < 0 or max(shape) > 1 << 31:
        raise Fault("an input's shape: allowed are [rows], [rows, 1], and [rows, columns] of the input 'x'", 400)
    return shape


def _parameter(told: Mapping[str, Any], name: str) -> int | None:
    parameters = told.get("parameters")
    found = parameters.get(name) if isinstance(parameters, dict) else None
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise Fault(f"{name}: allowed are whole numbers from 0 up", 400)
    return found


def _flat(data: Any, size: int, name: str) -> list[Any]:
    """Cells of a list, which may hold a list for each row."""
    if isinstance(data, list) and data and isinstance(data[0], list):
        data = list(itertools.chain.from_iterable(d if isinstance(d, list) else [d] for d in data))
    if not isinstance(data, list) or len(data) != size:
        came = f"{len(data):,} cells" if isinstance(data, list) else "no list"
        raise Fault(f"input {name!r}: data holds {came}; its shape says {size:,}", 400, column=name)
    return data


def _bytes(behind: memoryview, at: int, size: int, kind: str, count: int, name: str) -> Any:
    part = behind[at : at + size]
    if len(part) != size:
        raise Fault(f"input {name!r}: {len(part):,} bytes are there of {size:,}", 400, column=name)
    if kind == "BYTES":
        return _words(part, count, name)
    if size != count * np.dtype(TYPES[kind]).itemsize:
        raise Fault(f"input {name!r}: {size:,} bytes are no {count:,} cells of {kind}", 400, column=name)
    return np.frombuffer(part, TYPES[kind])


def _words(part: memoryview, count: int, name: str) -> list[str]:
    """Words, each behind its length in four bytes."""
    out: list[str] = []
    at = 0
    while at + 4 <= len(part) and len(out) < count:
        (size,) = struct.unpack_from("<I", part, at)
        out.append(_text(bytes(part[at + 4 : at + 4 + size]), name))
        at += 4 + size
    if at != len(part) or len(out) != count:
        raise Fault(f"input {name!r}: its bytes are no {count:,} words with their lengths", 400, column=name)
    return out


def _text(word: bytes, name: str) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise Fault(f"input {name!r}: a word is no UTF-8", 400, column=name) from None


def _by_column(name: str, kind: str, shape: list[int], data: Any, columns: Columns) -> dict[str, Any]:
    """A tensor's cells by column; `x` is a matrix of all columns where no column has that name."""
    if len(shape) == 1 or shape[1] == 1:
        if name in columns or len(columns.names) > 1 or name != MATRIX:
            return {name: _worded(data, kind, name, columns)}
        return {columns.names[0]: data}
    if name != MATRIX or name in columns or shape[1] != len(columns.names):
        raise Fault(
            f"input {name!r} of shape {shape}: allowed are [rows, 1] for each column, or one input 'x' "
            f"[rows, {len(columns.names)}]",
            400,
            column=name,
        )
    if isinstance(data, list):
        return {c: data[i :: shape[1]] for i, c in enumerate(columns.names)}
    matrix = data.reshape(shape)
    return {c: _worded(matrix[:, i], kind, c, columns) for i, c in enumerate(columns.names)}


def _worded(data: Any, kind: str, name: str, columns: Columns) -> Any:
    """Cells; an empty word stands for a missing cell, since bytes have no other."""
    if kind == "BYTES" and name in columns and not columns[name].numeric:
        return [None if word == "" else word for word in data]
    return data


def _wanted(told: Mapping[str, Any]) -> dict[str, bool]:
    """Outputs by name, and whether each is to come as bytes."""
    parameters = told.get("parameters")
    always = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    asked = told.get("outputs")
    if asked is None or asked == []:
        return dict.fromkeys(OUTPUTS, always)
    if not isinstance(asked, list) or not all(isinstance(o, dict) and o.get("name") in OUTPUTS for o in asked):
        raise Fault(f"outputs: allowed are {', '.join(OUTPUTS)}", 400, allowed=[*OUTPUTS])
    found = {}
    for output in asked:
        own = output.get("parameters")
        binary = own.get("binary_data", always) if isinstance(own, dict) else always
        found[output["name"]] = binary is True
    return found


def _plain(column: str, cells: list[Any]) -> list[Any]:
    return ["" if c is None else c for c in cells] if column == "flag" else cells


def _packed(column: str, cells: list[Any]) -> bytes:
    if column == "flag":
        words = [(c or "").encode() for c in cells]
        return b"".join(struct.pack("<I", len(w)) + w for w in words)
    return np.array([math.nan if c is None else c for c in cells], TYPES[OUTPUTS[column]]).tobytes()
