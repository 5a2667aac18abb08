"""A model file, a compressed file or a table in plain words, for `diabolo info` (L5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from diabolo.artifact import SECTIONS, read_sections
from diabolo.data.dtypes import is_date
from diabolo.data.formats import Data, is_list
from diabolo.data.reading import chunks, notes_on, row_shape
from diabolo.data.schema import Column
from diabolo.errors import DataError
from diabolo.registry import spec_of

__all__ = ["describe_compressed", "describe_data", "describe_model"]

#: Rows that a table's description looks at.
LOOK = 100_000


def describe_model(path: Path, own_network: bool = False) -> None:
    """Print sections, parts, columns, training and calibration of a model file."""
    from rich.console import Console
    from rich.text import Text

    from diabolo.detect.reference import Reference
    from diabolo.detect.scores import applicable
    from diabolo.file.detector import load_detector
    from diabolo.file.main import load

    sections = read_sections(path)
    ae = load(path, own_network)
    console, config, fitted = Console(highlight=False, soft_wrap=True, markup=False), ae.config_, ae.fitted_
    widths = " → ".join(str(w) for w in (ae.model_.encoding.width, *(config.hidden or ()), config.latent_dim))
    size = path.stat().st_size
    rest = f": {type(ae).__name__}, {size:,} bytes, sections {', '.join(sorted(sections, key=list(SECTIONS).index))}"
    console.print(Text.assemble((str(path), "bold"), rest))
    console.print(f"  network       {widths}, mirrored; {ae.model_.store.flat.shape[-1]:,} parameters")
    for part in ("network", "latent", "prior", "corruption", "regularizer"):
        console.print(f"  {part:<13} {_spec(getattr(config, part))}")
    described = dict.fromkeys(_spec(spec_of(h.likelihood)) for h in ae.model_.heads if h.block.kind != "missing")
    console.print(f"  likelihood    {', '.join(described)}")
    console.print(f"  beta          {config.beta:g}")
    if config.bound != "elbo":
        console.print(f"  bound         {config.bound}, {config.draws} draw{'s' * (config.draws > 1)}")
    counts = ", ".join(f"{n:,} {role}" for role, n in fitted.roles["counts"].items() if n)
    console.print(f"  rows          {counts} (split by seed {fitted.roles['seed']})")
    best = min((e["validation"] for e in ae.history_ if e["validation"] is not None), default=float("nan"))
    seconds, versions = fitted.training["seconds"], fitted.training["versions"]
    console.print(f"  training      {len(ae.history_)} epochs, best loss {best:.4f} nats, {seconds:.1f} s")
    console.print(f"  written by    {', '.join(f'{k} {v}' for k, v in versions.items())}")
    console.print(f"  data          fingerprint {fitted.roles['fingerprint']}")
    d = load_detector(path, own_network) if "detector" in sections else None
    reference = Reference(ae.model_) if d is None else d.reference_
    console.print(f"  scores        {', '.join(applicable(reference))}")
    if d is not None:
        console.print(
            f"  detector      {d.score_} above {d.threshold_:.6g}: false-alarm rate {100 * d.false_alarm_rate_:.3g} %, "
            f"{d.n_calibration_:,} calibration rows (smallest rate {100 / (d.n_calibration_ + 1):.2g} %)"
        )
        if d.reference_.stored is not None:
            console.print(
                f"  stored        {len(d.reference_.stored):,} training rows, whose neighbours are looked for"
            )
    if "clusters" in sections:
        from diabolo.file.clusters import load_clusterer

        c = load_clusterer(path, own_network)
        sure = "" if np.isnan(c.stability_) else f", stability {c.stability_:.2f}"
        sizes = ", ".join(f"{n:,}" for n in c.sizes_[:12]) + (", ..." if len(c.sizes_) > 12 else "")
        console.print(f"  clusters      {c.n_clusters_} by {c.method_name_}{sure}; rows {sizes}")
    _print_schema(console, ae.model_.encoding.schema)


def describe_data(path: Data, slots: dict[str, int] | None = None) -> None:
    """Print how a table's columns would be read, and hints where a flag would help."""
    from rich.console import Console
    from rich.text import Text

    from diabolo.config import Config
    from diabolo.data.dtypes import TEXT, arrow_dtype
    from diabolo.data.formats import schema_of
    from diabolo.data.schema import infer_schema

    arrow, rows = schema_of(path)
    known, other = [], []
    for field in arrow:
        try:
            known.append((field.name, arrow_dtype(field.type, field.name)))
        except DataError:
            if not is_list(field.type):
                other.append(f"{field.name} ({field.type})")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    count = f"{rows:,} rows" if rows is not None else "rows are counted when read"
    console.print(Text.assemble((str(path), "bold"), f": {count}, {len(arrow)} column{'s' * (len(arrow) != 1)}"))
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
        _print_schema(console, schema)
        zeros = [(n, float((values[:, i] == 0).mean())) for i, (n, d) in enumerate(known) if d not in TEXT]
        padded = [n for n, share in zeros if share > 0.2]
        if len(padded) >= 3 and schema.shape is None:
            console.print(
                f"  {len(padded)} columns are often exactly 0 ({', '.join(padded[:4])}, ...): if they are zero-padded "
                "objects, name them with --slots, like --slots e:4,j:10",
            )
    lists = [f.name for f in arrow if is_list(f.type)]
    if lists:
        group = re.split(r"[_.]", lists[0])[0]
        console.print(f"  lists, of which --take {group}:10 would make columns: {', '.join(lists)}")
    if other:
        console.print(f"  not of one value each, so left out with --exclude or named with --label: {', '.join(other)}")
    for line in notes_on(path, None):
        console.print(line)


def describe_compressed(path: Path) -> None:
    """Print bytes, chunks, and bits and errors by column of a `*.dbl` file."""
    from rich.console import Console

    from diabolo.compress.report import report_lines
    from diabolo.file.codec import file_report

    report, reader = file_report(path)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in report_lines(str(path), report):
        console.print(line)
    sizes = [c.size for c in reader.chunks]
    if sizes:
        console.print(
            f"  chunks        {max(c.rows for c in reader.chunks):,} rows, {min(sizes):,} to {max(sizes):,} bytes"
        )
    outside = reader.header.codec and not reader.codec
    where = "outside, " if outside else ""
    section = f"{where}SHA-256 {reader.header.codec[:16]}..." if reader.header.codec else "none: simple ways only"
    console.print(f"  codec section {section}")


def _spec(part: object) -> str:
    if isinstance(part, dict):
        settings = ", ".join(f"{k} = {v}" for k, v in part.items() if k != "name")
        return f"{part['name']} ({settings})" if settings else str(part["name"])
    return str(part)


def _print_schema(console: object, schema: object) -> None:
    from rich.console import Console
    from rich.table import Table

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
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("  column", "kind", "type", "lowest", "highest", "resolution", "missing"):
        grid.add_column(heading, justify="left" if heading in ("  column", "kind", "type") else "right")
    for c in schema.columns:
        missing = f"{c.missing:.1%}" if c.missing else ""
        resolution = f"{c.resolution:g}" if c.resolution else ""
        grid.add_row(f"  {c.name}", c.kind, c.dtype, *_range(c), resolution, missing)
    # A number that is cut off is another one, so that a wide table runs over the edge.
    console.width = max(console.width, console.measure(grid, options=console.options.update(max_width=1 << 16)).maximum)
    console.print(grid)
    for c in (c for c in schema.columns if c.levels):
        more = f", ... ({len(c.levels)} levels)" if len(c.levels) > 8 else ""
        console.print(f"  {c.name}: {', '.join(c.levels[:8])}{more}")
    for group in schema.groups:
        console.print(f"  slots {group.name}: {len(group.slots)} objects of {len(group.slots[0])} columns")


def _range(column: Column) -> tuple[str, str]:
    """Lowest and highest value in words; none of a column that is never there."""
    if column.missing == 1:
        return "", ""
    if column.levels:
        return column.levels[0][:20], column.levels[-1][:20]
    if is_date(column.dtype):
        low, high = (datetime.fromtimestamp(v, UTC).strftime("%Y-%m-%d %H:%M:%S") for v in (column.low, column.high))
        return low.removesuffix(" 00:00:00"), high.removesuffix(" 00:00:00")
    return f"{column.low:.6g}", f"{column.high:.6g}"
