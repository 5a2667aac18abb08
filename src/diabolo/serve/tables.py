"""Bodies that are tables: JSON rows, CSV, Arrow and Parquet in, and results in the same type back."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from diabolo.data.formats import read_batches
from diabolo.data.reading import as_fitted
from diabolo.errors import DAMAGE, DataError
from diabolo.serve.bodies import json_of
from diabolo.serve.columns import Columns
from diabolo.serve.faults import Fault
from diabolo.serve.messages import Answer, json_answer

__all__ = ["KINDS", "rows_answer", "rows_of", "saved", "table_of", "written"]

#: Suffix of a file by media type.
KINDS = {
    "text/csv": ".csv",
    "application/vnd.apache.arrow.stream": ".arrow",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/vnd.apache.parquet": ".parquet",
}


def rows_of(body: bytes, columns: Columns, most: int) -> tuple[dict[str, list[Any]], int, bool]:
    """Cells by column of JSON rows, how many there are, and whether one row came by itself.

    Raises:
        Fault: it is no JSON, has a column twice, or a row lacks one.
    """
    told = json_of(body, "the body")
    alone = isinstance(told, dict)
    rows = [told] if alone else told
    if not isinstance(rows, list):
        raise Fault("allowed is a row {column: cell}, or a list of rows", 400, allowed=columns.names)
    _check_rows(len(rows), most)
    return columns.lists(rows), len(rows), alone


def table_of(body: bytes, kind: str, columns: Columns, most: int) -> pa.Table:
    """The table of a file's bytes, read as `diabolo score` reads the file.

    Raises:
        Fault: it cannot be read, or lacks a column.
    """
    with saved(body, KINDS[kind]) as path:
        try:
            source = as_fitted(str(path), columns.schema)
            batches, rows = [], 0
            for batch in read_batches(source, columns.names):
                rows += batch.num_rows
                _check_rows(rows, most)
                batches.append(batch)
            if not batches:
                raise Fault("the body has no rows", 422)
            return pa.Table.from_batches(batches).unify_dictionaries()
        except Fault:
            raise
        except DataError as error:
            raise Fault(str(error).replace(str(path), "the body")) from None
        except (*DAMAGE, pa.ArrowException) as error:
            raise Fault(f"the body is no {kind} that can be read ({type(error).__name__})", 400) from None


class saved:
    """A body as a file of a folder of its own, while it is read."""

    def __init__(self, body: bytes, suffix: str, stem: str = "body") -> None:
        self._body, self._name = body, f"{stem}{suffix}"

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="diabolo-serve-")
        path = Path(self._folder.name) / self._name
        path.write_bytes(self._body)
        return path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def rows_answer(told: Mapping[str, list[Any]], alone: bool) -> Answer:
    """What is said of rows as JSON: a list of rows, or the one row that came by itself."""
    rows = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
    return json_answer(rows[0] if alone else rows)


def written(result: pa.Table, kind: str) -> Answer:
    """A result as a file of the type that the request came in."""
    sink = io.BytesIO()
    if kind == "text/csv":
        pyarrow.csv.write_csv(result, sink)
    elif kind == "application/vnd.apache.parquet":
        pyarrow.parquet.write_table(result, sink)
    else:
        new = pa.ipc.new_stream if kind.endswith("stream") else pa.ipc.new_file
        with new(sink, result.schema) as writer:
            writer.write_table(result)
    return Answer(sink.getvalue(), 200, {"content-type": kind})


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise Fault(f"more than {most:,} rows in a request: send them in parts", 413, allowed=most)
