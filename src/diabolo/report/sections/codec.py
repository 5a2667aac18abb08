"""Compression by column: some rows of the table coded by the file's codec."""

from __future__ import annotations

import io

from diabolo.compress.plan import Plan
from diabolo.compress.report import Report
from diabolo.compress.stream import write_file
from diabolo.data.formats import Data, schema_of
from diabolo.data.reading import first_cells
from diabolo.errors import DataError, DiaboloError
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, Sorted, columns_table, number, tag
from diabolo.report.sections.base import Missing, PageSection, Shown, bar, sections
from diabolo.screen import at_most

#: Rows coded.
CODED = 8_192


@sections.register("codec")
class CodecSection(PageSection):
    """Bits per value and errors of each column."""

    place = 100
    title = "Compression by column"
    short = "Compression"

    def __call__(self, e: Evidence) -> Shown | Missing:
        file = e.given.file
        if file is None or "codec" not in file:
            return Missing("The file has no codec.", "diabolo compress MODEL DATA -o FILE.dbl --max-error 1e-3")
        if e.rows.source is None:
            return Missing("The codec reads tables from a file, and these rows are from Python.")
        try:
            r = coded_rows(e.rows.source, file.codec.plan)
        except DiaboloError as error:
            return Missing(f"The codec cannot take this table: {error}")
        rest = r.bytes_out - r.bytes_model
        lead = (
            f"{number(r.rows)} rows of {number(r.bytes_in)} bytes take {number(rest)} without the codec "
            f"({r.bytes_in / max(rest, 1):.2f}×), which takes {number(r.bytes_model)} once per file. Every cell "
            "was decoded and compared."
        )
        return Shown(lead, [tag("div", _table(r), class_="card")])


def coded_rows(source: Data, plan: Plan) -> Report:
    """The first rows of a table under a plan; nothing is written.

    Raises:
        DataError: its columns are not the plan's.
    """
    schema = schema_of(source, nested=True)[0]
    if schema.names != plan.outer.names or schema.types != plan.outer.types:
        raise DataError("its columns or their types are not those that the codec was learnt from")
    table = first_cells(source, schema, CODED)
    return write_file(io.BytesIO(), table.to_batches(), plan, {"container": "arrow"})


def _table(r: Report) -> Html:
    tally, rows = r.tally, []
    most = max((float(tally.bits[i]) / max(tally.values[i], 1) for i in range(len(r.plan.schema))), default=1.0)
    for i, field in enumerate(r.plan.schema):
        bits = float(tally.bits[i]) / max(float(tally.values[i]), 1.0)
        bound = r.plan.bounds[i]
        worst = "exact" if bound is None else f"{number(float(at_most(float(tally.worst[i]))), 3)} of {bound}"
        rows.append(
            (
                field.name,
                str(field.type),
                Sorted(bar(100 * bits / most if most > 0 else 0.0, "s3", f"{bits:.2f}"), bits),
                Sorted(worst, -1.0 if bound is None else float(tally.worst[i])),
                number(int(tally.escapes[i])),
                "the codec's network" if tally.by_model[i] else "counts",
            )
        )
    return columns_table(
        "Bits per value, and the largest error beside its bound",
        ("column", "type", "bits per value", "error", "kept exactly", "coded by"),
        rows,
        numeric=(3, 4),
        sortable=True,
    )
