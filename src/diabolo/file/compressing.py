"""The codec for a table: that of a model file, or one that is learnt from the table and put there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

import pyarrow as pa

from diabolo.compress.fitting import bounds_of, learned_plan
from diabolo.compress.plan import Plan
from diabolo.data.formats import SHAPE, Data, check_writable
from diabolo.data.reading import as_fitted, first_cells
from diabolo.errors import ConfigError, OutputError
from diabolo.file.codec import Codec, asked_bounds, codec_section
from diabolo.file.model_file import ModelFile

__all__ = ["codec_for"]

#: Rows that a codec section is learnt from at most.
LEARN_ROWS = 200_000


def codec_for(
    file: ModelFile,
    data: Data,
    schema: pa.Schema,
    max_error: float | str | None,
    column_error: Mapping[str, float | str | None],
    seed: int,
    external: bool = False,
) -> tuple[Plan, int, str]:
    """The plan for a table under bounds: of the model file, or learnt from the table's first rows and put there.

    A section that other files need is never replaced: those files could not be read any more.

    Args:
        external: whether the file will be written without the section.

    Returns:
        The plan, how many rows it was learnt from (0 if the model file had it), and why it was not put there, if so.

    Raises:
        DataError: the table lacks a column of the model.
        ConfigError: `external`, and the model file has a section of other columns or bounds that files need.
        OutputError: `external`, and the model file cannot be written to.
    """
    # Lists are compressed as they are, and columns that the model took of them count as theirs.
    if "main" in file:
        as_fitted(data, file.schema)
    bounds = bounds_of(schema, max_error, column_error)
    kept = ""
    if "codec" in file:
        old = file.codec
        if _alike(old.plan.outer, schema) and old.asked == asked_bounds(bounds, schema):
            if external and old.plan.codec and not old.outside:
                # A model file that cannot be written to keeps its section anyway.
                with contextlib.suppress(OutputError):
                    file.update({"codec": codec_section(dataclasses.replace(old, outside=True))})
            return old.plan.with_outer(schema), 0, ""
        if old.outside:
            kept = (
                f"the section of {file.path} is of other columns or bounds, and files written with --external-model "
                "need it"
            )
            if external:
                raise ConfigError(f"{kept}: give a copy of the model file, or leave --external-model out")
    if not kept:
        try:
            check_writable(file.path)
        except OutputError as error:
            if external:
                raise
            kept = str(error).partition(";")[0]
    first = first_cells(data, schema, LEARN_ROWS)
    plan = learned_plan(first, bounds, seed)
    if not kept:
        codec = Codec(plan, asked_bounds(bounds, plan.outer), external and bool(plan.codec))
        file.update({"codec": codec_section(codec)})
    return plan, first.num_rows, kept


def _alike(one: pa.Schema, other: pa.Schema) -> bool:
    """Whether two schemas have the same columns and images; other notes, as of pandas, do not count."""
    shapes = [(s.metadata or {}).get(SHAPE) for s in (one, other)]
    return bool(one.equals(other)) and shapes[0] == shapes[1]
