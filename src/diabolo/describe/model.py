"""A model file in plain words."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from diabolo.describe.columns import print_schema
from diabolo.describe.facts import (
    facts_of_autoencoder,
    facts_of_clusters,
    facts_of_codec,
    facts_of_detector,
    lines_of,
)
from diabolo.describe.jobs import jobs_of
from diabolo.detect.reference import Reference
from diabolo.file.model_file import ModelFile
from diabolo.screen import console, visible

__all__ = ["describe_model"]

#: Relations that are listed at most.
MOST_RELATIONS = 40
#: Sections that hold rows of the training table, and their use of them.
USES = {"detector": "that the detector compares new rows with", "generator": "that new rows are drawn from"}


def describe_model(path: Path, own_network: bool = False) -> None:
    """Print sections, parts, columns, training and calibration of a model file."""
    file = ModelFile(path, own_network)
    screen = console(soft_wrap=True)
    rest = f": {file.saved}, {file.size:,} bytes, sections {', '.join(file.names)}"
    screen.print(Text.assemble((str(path), "bold"), rest))
    screen.print(f"  bytes         {_said_of_bytes(file)}")
    if "main" in file:
        for line in [*lines_of(facts_of_autoencoder(file.autoencoder, file.estimator.type)), *_said_of_jobs(file)]:
            screen.print(line)
    if "codec" in file:
        for line in lines_of(facts_of_codec(file.codec)):
            screen.print(line)
    screen.print("  jobs, and what serves each")
    for served in jobs_of(file):
        screen.print(f"    {served.job:<11} {served.by}")
    if "main" in file:
        print_schema(screen, file.schema)
        for line in _said_of_relations(file):
            screen.print(line)


def _said_of_jobs(file: ModelFile) -> list[str]:
    d = file.detector if "detector" in file else None
    reference = Reference(file.autoencoder.model) if d is None else d.reference
    lines = lines_of(facts_of_detector(d, reference))
    if file.rows:
        why = ", ".join(f"{n:,} {use}" for section, use in USES.items() if (n := file.rows_of(section)))
        lines.append(f"  rows kept     {file.rows:,} rows of the training table are in the file: {why}")
    if "clusters" in file:
        lines += lines_of(facts_of_clusters(file.clusterer))
    return lines


def _said_of_bytes(file: ModelFile) -> str:
    apart = dict(file.sizes)
    rows = apart.pop("rows", 0)
    kept = f"{rows:,} of rows of the training table" if rows else "none of rows of the training table"
    return f"{', '.join(f'{name} {size:,}' for name, size in apart.items())}; apart from these {kept}"


def _said_of_relations(file: ModelFile) -> list[str]:
    """Relations between columns that drawn rows keep, a line each."""
    if "generator" not in file:
        return []
    names = [visible(name) for name in file.schema.names]
    found = file.generator.relations
    lines = [f"  relation      {r.describe(names)}" for r in found[:MOST_RELATIONS]]
    if len(found) > MOST_RELATIONS:
        lines.append(f"  relation      and {len(found) - MOST_RELATIONS} more")
    return lines
