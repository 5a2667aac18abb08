"""A model file, a compressed file or a table in plain words, for `diabolo info` (L5)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from diabolo.artifact import SECTIONS, read_sections
from diabolo.data.dtypes import date_said, is_date
from diabolo.data.formats import Data, is_list
from diabolo.data.reading import chunks, row_shape
from diabolo.data.schema import Column
from diabolo.errors import DataError
from diabolo.registry import spec_of
from diabolo.screen import console, visible

__all__ = ["describe_compressed", "describe_data", "describe_model"]

#: Rows that a table's description looks at.
LOOK = 100_000


def describe_model(path: Path, own_network: bool = False) -> None:
    """Print sections, parts, columns, training and calibration of a model file."""
    from rich.text import Text

    from diabolo.detect.reference import Reference
    from diabolo.detect.scores import applicable
    from diabolo.file.detector import load_detector
    from diabolo.file.main import load

    sections = read_sections(path)
    ae = load(path, own_network)
    screen, config, fitted = console(soft_wrap=True), ae.config_, ae.fitted_
    widths = " → ".join(str(w) for w in (ae.model_.encoding.width, *(config.hidden or ()), config.latent_dim))
    size = path.stat().st_size
    rest = f": {type(ae).__name__}, {size:,} bytes, sections {', '.join(sorted(sections, key=list(SECTIONS).index))}"
    screen.print(Text.assemble((str(path), "bold"), rest))
    screen.print(f"  network       {widths}, mirrored; {ae.model_.store.flat.shape[-1]:,} parameters")
    for part in ("network", "latent", "prior", "corruption", "regularizer"):
        screen.print(f"  {part:<13} {_spec(getattr(config, part))}")
    described = dict.fromkeys(_spec(spec_of(h.likelihood)) for h in ae.model_.heads if h.block.kind != "missing")
    screen.print(f"  likelihood    {', '.join(described)}")
    screen.print(f"  beta          {config.beta:g}")
    if config.bound != "elbo":
        screen.print(f"  bound         {config.bound}, {config.draws} draw{'s' * (config.draws > 1)}")
    counts = ", ".join(f"{n:,} {role}" for role, n in fitted.roles["counts"].items() if n)
    screen.print(f"  rows          {counts} (split by seed {fitted.roles['seed']})")
    best = min((e["validation"] for e in ae.history_ if e["validation"] is not None), default=float("nan"))
    seconds, versions = fitted.training["seconds"], fitted.training["versions"]
    screen.print(f"  training      {len(ae.history_)} epochs, best loss {best:.4f} nats, {seconds:.1f} s")
    screen.print(f"  written by    {', '.join(f'{k} {v}' for k, v in versions.items())}")
    screen.print(f"  data          fingerprint {fitted.roles['fingerprint']}")
    d = load_detector(path, own_network) if "detector" in sections else None
    reference = Reference(ae.model_) if d is None else d.reference_
    screen.print(f"  scores        {', '.join(applicable(reference))}")
    if d is not None:
        screen.print(
            f"  detector      {d.score_} above {d.threshold_:.6g}: false-alarm rate {100 * d.false_alarm_rate_:.3g} %, "
            f"{d.n_calibration_:,} calibration rows (smallest rate {100 / (d.n_calibration_ + 1):.2g} %)"
        )
        if d.reference_.stored is not None:
            screen.print(f"  stored        {len(d.reference_.stored):,} training rows, whose neighbours are looked for")
    if "clusters" in sections:
        from diabolo.file.clusters import load_clusterer

        c = load_clusterer(path, own_network)
        sure = "" if np.isnan(c.stability_) else f", stability {c.stability_:.2f}"
        sizes = ", ".join(f"{n:,}" for n in c.sizes_[:12]) + (", ..." if len(c.sizes_) > 12 else "")
        screen.print(f"  clusters      {c.n_clusters_} by {c.method_name_}{sure}; rows {sizes}")
    _print_schema(screen, ae.model_.encoding.schema)


def describe_data(path: Data, slots: dict[str, int] | None = None) -> None:
    """Print how a table's columns would be read, and hints where a flag would help."""
    from rich.text import Text

    from diabolo.config import Config
    from diabolo.data.dtypes import TEXT, arrow_dtype
    from diabolo.data.formats import schema_of
    from diabolo.data.schema import infer_schema

    arrow, rows = schema_of(path)
    known, other = [], []
    for name, kind in zip(arrow.names, arrow.types, strict=True):
        try:
            known.append((name, arrow_dtype(kind, name)))
        except DataError:
            if not is_list(kind):
                other.append(f"{name} ({kind})")
    screen = console(soft_wrap=True)
    count = f"{rows:,} rows" if rows is not None else "rows are counted when read"
    screen.print(Text.assemble((str(path), "bold"), f": {count}, {len(arrow)} column{'s' * (len(arrow) != 1)}"))
    if known:
        parts: list[np.ndarray] = []
        levels: dict[str, list[str]] = {}
        names, seen = [n for n, _ in known], 0
        for table, _ in chunks(path, names, levels=levels):
            parts.append(table.values)
            seen += len(table)
            if seen >= LOOK:
                break
        if not seen:
            raise DataError(f"{path}: has a header but no rows")
        values = np.concatenate(parts)[:LOOK]
        values = np.where(np.isinf(values), np.nan, values)
        shape = row_shape(arrow, names)
        schema = infer_schema(
            values, names, [d for _, d in known], Config(slots=dict(slots) if slots else None), levels, shape
        )
        _print_schema(screen, schema)
        zeros = [(n, float((values[:, i] == 0).mean())) for i, (n, d) in enumerate(known) if d not in TEXT]
        padded = [n for n, share in zeros if share > 0.2]
        if len(padded) >= 3 and schema.shape is None:
            screen.print(
                f"  {len(padded)} columns are often exactly 0 ({', '.join(padded[:4])}, ...): if they are zero-padded "
                "objects, name them with --slots, like --slots e:4,j:10",
            )
    lists = [f.name for f in arrow if is_list(f.type)]
    if lists:
        group = re.split(r"[_.]", lists[0])[0]
        screen.print(f"  lists, of which --take {group}:10 would make columns: {', '.join(lists)}")
    if other:
        screen.print(f"  not of one value each, so left out with --exclude or named with --label: {', '.join(other)}")


def describe_compressed(path: Path) -> None:
    """Print bytes, chunks, and bits and errors by column of a `*.dbl` file."""
    from diabolo.compress.report import report_lines
    from diabolo.file.codec import file_report

    report, reader = file_report(path)
    screen = console(soft_wrap=True)
    for line in report_lines(str(path), report):
        screen.print(line)
    sizes = [c.size for c in reader.chunks]
    if sizes:
        screen.print(
            f"  chunks        {max(c.rows for c in reader.chunks):,} rows, {min(sizes):,} to {max(sizes):,} bytes"
        )
    outside = reader.header.codec and not reader.codec
    where = "outside, " if outside else ""
    section = f"{where}SHA-256 {reader.header.codec[:16]}..." if reader.header.codec else "none: simple ways only"
    screen.print(f"  codec section {section}")


def _spec(part: object) -> str:
    if isinstance(part, dict):
        settings = ", ".join(f"{k} = {v}" for k, v in part.items() if k != "name")
        return f"{part['name']} ({settings})" if settings else str(part["name"])
    return str(part)


def _print_schema(console: object, schema: object) -> None:
    from rich.console import Console

    from diabolo.data.schema import Schema

    if not (isinstance(console, Console) and isinstance(schema, Schema)):
        raise TypeError("expected a rich Console and a Schema")
    if schema.shape is not None:
        h, w, channels = schema.shape
        c = schema.columns[0]
        console.print(
            f"  images        {h} × {w} × {channels}, {c.kind} pixels of {c.dtype} from {c.low:g} to {c.high:g}"
        )
        return
    rows = [("column", "kind", "type", "lowest", "highest", "resolution", "missing")]
    for c in schema.columns:
        missing = f"{c.missing:.1%}" if c.missing else ""
        resolution = f"{c.resolution:g}" if c.resolution else ""
        rows.append((c.name, c.kind, c.dtype, *_range(c), resolution, missing))
    for line in _aligned(rows, left=3):
        console.print(f"  {line}")
    for c in (c for c in schema.columns if c.levels):
        more = f", ... ({len(c.levels)} levels)" if len(c.levels) > 8 else ""
        console.print(f"  {c.name}: {', '.join(_short(w) for w in c.levels[:8])}{more}")
    for group in schema.groups:
        console.print(f"  slots {group.name}: {len(group.slots)} objects of {len(group.slots[0])} columns")


def _aligned(rows: list[tuple[str, ...]], left: int) -> list[str]:
    """Rows of cells as lines, columns under one another, the first so many to the left.

    A number that is cut off is another one, so that a wide table runs over the edge.
    """
    from rich.cells import cell_len

    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            cells.append(cell + blanks if i < left else blanks + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _short(word: str, most: int = 60) -> str:
    return word if len(word) <= most else f"{word[: most - 1]}…"


def _range(column: Column) -> tuple[str, str]:
    """Lowest and highest value in words; none of a column that is never there."""
    if column.missing == 1:
        return "", ""
    if column.levels:
        return _short(column.levels[0], 20), _short(column.levels[-1], 20)
    if is_date(column.dtype):
        return date_said(column.low), date_said(column.high)
    return f"{column.low:.6g}", f"{column.high:.6g}"
