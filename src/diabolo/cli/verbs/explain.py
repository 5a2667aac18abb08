"""`diabolo explain`: which columns make a row anomalous, what was expected, and the nearest normal rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError, DataError
from diabolo.screen import console, print_table

if TYPE_CHECKING:
    from diabolo.detect.explaining import Explanation

__all__ = ["explain", "parse_rows"]

#: Rows explained in one run, at most.
MOST_EXPLAINED = 1_000
#: What is said below a table with laws.
LIKELY = "likely: 5 % to 95 % of the law given the other cells, or the most probable levels"


@verb(
    40,
    "diabolo explain my.diabolo NEW.parquet --row 12",
    "diabolo explain my.diabolo NEW.parquet --row 12 --row 20:25 --columns 3",
    "diabolo explain my.diabolo NEW.parquet --row 12 --context hits",
)
def explain(
    model: Path = typer.Argument(..., help="Model file with a detector."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    row: list[str] = typer.Option([], "--row", help="Row number from 0, or a range A:B without B; repeatable."),
    rows_: Path | None = typer.Option(
        None, "--rows", metavar="FILE", help="List of rows, as explore saves it.", show_default="--row alone"
    ),
    columns: int = typer.Option(8, min=1, help="Columns to show of each row, the first ones."),
    context: list[str] = typer.Option(
        [], help="Columns that are given and not judged, like run,detector; repeat for more."
    ),
    neighbors: int = typer.Option(3, min=0, max=50, help="Nearest normal rows to show."),
    own_network: bool = OWN_NETWORK,
) -> None:
    """Say which columns make a row what it is: seen and expected value, contribution to the score, p-value."""
    from diabolo.data.choosing import split_names
    from diabolo.data.reading import as_fitted
    from diabolo.detect.explaining import explain as explained
    from diabolo.file.model_file import ModelFile

    if not row and rows_ is None:
        raise ConfigError("no row is named: give --row N, or --rows FILE with a column of row numbers")
    wanted = parse_rows(row)
    detector = ModelFile(model, own_network).detector
    schema = detector.reference.model.encoding.schema
    given = split_names(context, schema.names)
    source = as_fitted(data, schema)
    wanted = wanted if rows_ is None else _with_listed(wanted, rows_, source)
    screen = console()
    for at, values in _cells(source, schema, wanted):
        (found,) = explained(detector, values, neighbors, at, given)
        _show(screen, found, columns)


def parse_rows(words: list[str]) -> list[int]:
    """Row numbers, each once, rising.

    >>> parse_rows(["7", "2:4"])
    [2, 3, 7]
    """
    rows: set[int] = set()
    for word in words:
        first, colon, last = (part.strip() for part in word.partition(":"))
        if not first.isdecimal() or (colon and not last.isdecimal()) or (colon and int(last) <= int(first)):
            raise ConfigError(f"--row {word}: allowed are a row number from 0, like 12, or a range, like 10:20")
        stop = int(last) if colon else int(first) + 1
        if stop - int(first) <= MOST_EXPLAINED:
            rows.update(range(int(first), stop))
        if stop - int(first) > MOST_EXPLAINED or len(rows) > MOST_EXPLAINED:
            raise ConfigError(
                f"--row {word}: at most {MOST_EXPLAINED:,} rows are explained at once; diabolo score --explain names "
                "the first columns of every anomaly"
            )
    return sorted(rows)


def _with_listed(wanted: list[int], path: Path, source: Any) -> list[int]:
    """Row numbers, and those that a file lists, each once, rising."""
    from diabolo.data.formats import read_batches, schema_of
    from diabolo.data.row_list import read_row_list

    listed = read_row_list(path)
    schema, count = schema_of(source)
    if count is None:
        count = sum(batch.num_rows for batch in read_batches(source, schema.names[:1]))
    listed.check(count, str(source))
    rows = sorted({*wanted, *listed.rows.tolist()})
    if len(rows) > MOST_EXPLAINED:
        raise ConfigError(
            f"--rows {path}: at most {MOST_EXPLAINED:,} rows are explained at once, and these are {len(rows):,}; "
            "diabolo score --explain names the first columns of every anomaly"
        )
    return rows


def _cells(source: Any, schema: Any, wanted: list[int]) -> list[tuple[int, Any]]:
    """The cells [1, C] of rows by number."""
    from diabolo.data.reading import ordered_chunks

    found: list[tuple[int, Any]] = []
    at = 0
    for values, _ in ordered_chunks(source, schema):
        found += [(i, values[i - at : i - at + 1].copy()) for i in wanted if at <= i < at + len(values)]
        at += len(values)
        if len(found) == len(wanted):
            return found
    missing = next(i for i in wanted if i >= at)
    rows = f"rows from 0 to {at - 1:,}" if at else "no rows"
    raise DataError(f"--row {missing}: {source} has {rows}")


def _show(screen: Any, found: Explanation, columns: int) -> None:
    from diabolo.detect.explaining import show

    screen.print(found.headline())
    lawful = any(part.interval for part in found.columns)
    near = [f"normal row, {n.distance:.3g} away" for n in found.neighbors]
    rows = []
    for part in found.columns[:columns]:
        cells = [show(n.values[part.column]) for n in found.neighbors]
        name = f"* {part.column}" if part.changed else f"  {part.column}"
        numbers = (f"{part.contribution:.4g}", f"{part.p_value:.3g}")
        law = (part.interval,) if lawful else ()
        rows.append((name, show(part.seen), show(part.expected), *law, *numbers, *cells))
    law = ("likely",) if lawful else ()
    print_table(screen, ("column", "seen", "expected", *law, "contribution", "p", *near), rows)
    left = len(found.columns) - columns
    notes = ["* has to change for the row to be normal"] if found.changed else []
    notes += [LIKELY] if lawful else []
    notes += [f"{left} more columns: --columns"] if left > 0 else []
    if notes:
        screen.print("; ".join(notes))
