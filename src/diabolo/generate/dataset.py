"""A dataset's codes, rows from codes, and reconstructions, chunk by chunk, as Arrow batches to be written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch

from diabolo.data.dtypes import TEXT, arrow_dtype, meaning
from diabolo.data.formats import Data, schema_of
from diabolo.data.keeping import with_kept
from diabolo.data.reading import check_columns, chunks, ordered_chunks, regrouped
from diabolo.data.tiles import TILE
from diabolo.errors import ConfigError, DataError
from diabolo.fitted.record import Fitted
from diabolo.generate.filling import reconstructed
from diabolo.model.autoencoder import Model
from diabolo.model.codes import decoded, encoded, unreadable

__all__ = ["Passed", "code_schema", "codes_in", "decoded_rows_of", "encoded_rows_of", "reconstructed_rows_of"]

#: What `row` and `draw` count from 0.
NUMBERED = {"encoding": "DELTA_BINARY_PACKED"}
#: Columns that are named at most.
NAMED = 5

Batches = tuple[pa.Schema, Iterator[pa.RecordBatch]]


@dataclasses.dataclass
class Passed:
    """What there is to say of the rows that passed; grows while batches are taken."""

    report: Callable[[int], None]
    rows: int = 0
    #: Rows without an output, and the first of them with its reason.
    empty: int = 0
    first: str = ""

    def add(self, none: np.ndarray, why: Callable[[int], str]) -> None:
        """Count rows, of which `none` [n] bool have no output; `why` tells of one by its position."""
        at = np.flatnonzero(none)
        if len(at) and not self.empty:
            self.first = f"row {self.rows + int(at[0])}: {why(int(at[0]))}"
        self.empty += len(at)
        self.rows += len(none)
        self.report(len(none))


def code_schema(model: Model, std: bool) -> pa.Schema:
    """Columns of codes: row, z_0, z_1, ..., and sigma_0, sigma_1, ... with `std`."""
    names = [f"{word}_{k}" for word in ("z", "sigma")[: 1 + std] for k in range(model.latent_dim)]
    numbers = [pa.field(n, pa.float32(), metadata={"encoding": "BYTE_STREAM_SPLIT"}) for n in names]
    return pa.schema([pa.field("row", pa.int64(), metadata=NUMBERED), *numbers])


def encoded_rows_of(model: Model, data: Data, std: bool, passed: Passed, kept: Sequence[str] = ()) -> Batches:
    """Codes of a dataset's rows, in single precision, which is all that a model computes in.

    Args:
        data: with the columns of the model.
        std: σ(x) too.
        kept: columns of the data that are carried beside the codes.
    """
    schema = with_kept(code_schema(model, std), data, kept)

    def batches() -> Iterator[pa.RecordBatch]:
        for values, cells in ordered_chunks(data, model.encoding.schema, kept):
            place = np.arange(passed.rows, passed.rows + len(values))
            codes = encoded(model, values, std)
            passed.add(unreadable(codes.mean), _why(model, values))
            numbers = codes.mean if codes.std is None else np.hstack([codes.mean, codes.std])
            own = [pa.array(c, from_pandas=True) for c in np.ascontiguousarray(numbers.astype(np.float32).T)]
            yield pa.record_batch([pa.array(place), *(cells[n] for n in kept), *own], schema=schema)

    return schema, batches()


def codes_in(model: Model, data: Data) -> tuple[list[str], list[str]]:
    """Names of the columns of a dataset that are a model's codes, and of those that are none of its codes.

    They are z_0, z_1, ... by name in any order, or all columns of a matrix without names.

    Raises:
        DataError: there are none, or those of another width; a code that is no number.
    """
    schema, k = schema_of(data)[0], model.latent_dim
    wanted = [f"z_{j}" for j in range(k)]
    there = [n for n in schema.names if re.fullmatch(r"z_\d+", n)]
    if not there and schema.names and schema.names == [f"x{j}" for j in range(len(schema.names))]:
        there = schema.names
        wanted = [f"x{j}" for j in range(k)]
    check_columns(data, [n for n in wanted if n in there])
    said = "z_0" if k == 1 else f"z_0 to z_{k - 1}"
    if not there:
        has = ", ".join(schema.names[:NAMED]) + (", ..." if len(schema.names) > NAMED else "")
        raise DataError(
            f"{data}: holds no codes: expected the columns {said}, as `diabolo encode` writes; it has {has}"
        )
    if set(there) != set(wanted):
        raise DataError(
            f"{data}: holds codes of {len(there)} numbers ({there[0]} to {there[-1]}); this model's have {k} ({said})"
        )
    for name in wanted:
        dtype = arrow_dtype(schema.field(name).type, name, str(data))
        if dtype in TEXT or meaning(dtype) != "numbers":
            raise DataError(f"{data}: column {name!r} holds {schema.field(name).type}; a code is a number")
    own = {"row", *(f"sigma_{j}" for j in range(k)), *wanted}
    return wanted, [n for n in schema.names if n not in own]


def decoded_rows_of(
    fitted: Fitted, data: Data, names: Sequence[str], passed: Passed, kept: Sequence[str] = ()
) -> Batches:
    """E[x|z] of a dataset of codes, in the columns of the fit.

    Args:
        names: of the codes' columns, z_0 first.
        kept: columns of the data that are carried before the rows.
    """
    rows, columns_of = fitted.arrow_like_fit(mean=True)
    schema = with_kept(rows, data, kept, 0)

    def batches() -> Iterator[pa.RecordBatch]:
        for table, cells in chunks(data, names, kept):
            values = decoded(fitted.model, table.values)
            passed.add(unreadable(table.values), lambda _: "a number is missing or infinite")
            yield pa.record_batch([*(cells[n] for n in kept), *columns_of(values)], schema=schema)

    return schema, batches()


def reconstructed_rows_of(
    fitted: Fitted, data: Data, draws: int | None, seed: int, passed: Passed, kept: Sequence[str] = ()
) -> Batches:
    """Reconstructions of a dataset's rows in the columns of the fit; see `Autoencoder.reconstruct`.

    Args:
        data: with the columns of the model.
        draws: outputs for each row, one below the other, behind the columns row and draw; None for the mean alone.
        seed: of the draws.
        kept: columns of the data that are carried before the rows.

    Raises:
        ConfigError: the table has a column row or draw, and there are draws.
    """
    model, k = fitted.model, draws or 1
    known = model.encoding.schema
    rows, columns_of = fitted.arrow_like_fit(mean=draws is None)
    numbers = [] if draws is None else [pa.field(n, pa.int64(), metadata=NUMBERED) for n in ("row", "draw")]
    for field in numbers:
        if field.name in known.names:
            raise ConfigError(f"draws have a column {field.name!r} of their own; rename the table's")
    schema = with_kept(pa.schema([*numbers, *rows], rows.metadata), data, kept, len(numbers))
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[pa.RecordBatch]:
        pieces = ordered_chunks(data, known, kept)
        # Whole tiles take the generator's numbers as the table in one piece would.
        for values, cells in pieces if draws is None else regrouped(pieces, TILE):
            place, n = passed.rows, len(values)
            out = reconstructed(model, values, draws, generator)
            # A draw may be of missing cells alone, so that the code has the last word.
            none = np.isnan(out).all(axis=(0, 2))
            none[none] = unreadable(encoded(model, values[none]).mean)
            passed.add(none, _why(model, values))
            own = columns_of(out.transpose(1, 0, 2).reshape(k * n, -1))
            which = np.repeat(np.arange(n), k)
            first = [] if draws is None else [pa.array(place + which), pa.array(np.tile(np.arange(k), n))]
            beside = [cells[name] if k == 1 else cells[name].take(pa.array(which)) for name in kept]
            yield pa.record_batch([*first, *beside, *own], schema=schema)

    return schema, batches()


def _why(model: Model, values: np.ndarray) -> Callable[[int], str]:
    return lambda i: str(model.encoding.flags(values[i : i + 1])[0] or "the code overflows")
