"""What a compressed file came to: bytes, bits and errors by column, verified by decoding; written into the file."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.columns import is_coded_list
from diabolo.compress.pixels import pixel_columns
from diabolo.compress.plan import Plan, Tally
from diabolo.errors import CompressedFileError
from diabolo.screen import at_most

__all__ = ["Report", "report_lines", "summary", "summary_read"]

#: Errors are told in this part of their bound, rounded up.
PARTS = (1 << 14) - 1
MOST_SUMMARY = 1 << 26


@dataclasses.dataclass
class Report:
    """Bytes in (of Arrow buffers), out, of the codec section and of all chunks within; tallies by column."""

    bytes_in: int
    bytes_out: int
    bytes_model: int
    bytes_chunks: int
    rows: int
    chunks: int
    tally: Tally
    plan: Plan


def summary(bytes_in: int, tally: Tally, plan: Plan) -> bytes:
    """The tallies of a file, for its index."""
    out = BytesWriter()
    out.number(bytes_in)
    out.number(int(tally.verified))
    for i, bound in enumerate(plan.bounds):
        for count in (math.ceil(tally.bits[i] / 8), tally.escapes[i], tally.by_model[i]):
            out.number(int(count))
        if bound is not None and tally.verified:
            root = math.sqrt(tally.squares[i] / max(tally.values[i], 1))
            for error in (tally.worst[i], root):
                out.number(min(PARTS, math.ceil(error / bound.error * PARTS)))
    return pack(bytes(out.data))


def summary_read(data: bytes, rows: int, plan: Plan) -> tuple[int, Tally]:
    """(bytes in, tallies) of what `summary` wrote.

    Raises:
        CompressedFileError: it is none.
    """
    reader, tally = BytesReader(unpack(data, MOST_SUMMARY)), Tally.of(len(plan.schema))
    bytes_in, verified = reader.number(), reader.number()
    if verified > 1:
        raise CompressedFileError("its summary is damaged")
    tally.verified = bool(verified)
    tally.values += rows
    for i, bound in enumerate(plan.bounds):
        tally.bits[i], tally.escapes[i], tally.by_model[i] = 8.0 * reader.number(), reader.number(), reader.number()
        if bound is not None and verified:
            worst, root = (reader.number() / PARTS * bound.error for _ in range(2))
            tally.worst[i], tally.squares[i] = worst, root * root * rows
            if not math.isfinite(worst + tally.squares[i]):
                raise CompressedFileError("its summary is damaged")
    reader.finish()
    return bytes_in, tally


def report_lines(name: str, r: Report) -> list[str]:
    """A report in words: a line on the file, then one for images and for each other column."""
    lines = [
        f"{name}: {r.rows:,} rows in {r.chunks:,} chunk{'s' * (r.chunks != 1)}; {r.bytes_in:,} bytes in memory, "
        f"{r.bytes_out:,} in the file ({r.bytes_in / max(r.bytes_out, 1):.2f}×), "
        f"of which {r.bytes_model:,} are the codec section"
    ]
    tally, pixels = r.tally, pixel_columns(r.plan.schema)
    inside = set() if pixels is None else set(pixels[1])
    if pixels is not None:
        bits, cells = tally.bits[pixels[1]].sum(), tally.values[pixels[1]].sum()
        by_model = ", by the codec's network" if tally.by_model[pixels[1]].any() else ""
        shape = "×".join(map(str, pixels[0]))
        lines.append(f"  images of {shape}: {bits / max(cells, 1):.3f} bits per pixel, exact{by_model}")
    for i, field in enumerate(r.plan.schema):
        if i in inside:
            continue
        bound, values = r.plan.bounds[i], max(tally.values[i], 1)
        per = "list" if is_coded_list(field.type) else "value"
        line = f"  {field.name}: {tally.bits[i] / values:.3f} bits per {per}"
        if bound is None:
            line += ", exact"
        elif not tally.verified:
            line += f", bound {bound}, not verified"
        else:
            root = np.sqrt(tally.squares[i] / values)
            kind = " of the value" if bound.relative else ""
            line += f", error at most {at_most(tally.worst[i])}{kind} (bound {bound}), RMS {root:.3g}"
        if bound is not None and tally.escapes[i]:
            line += f", {int(tally.escapes[i]):,} cells exact"
        lines.append(line + (", by the codec's network" if tally.by_model[i] else ""))
    return lines
