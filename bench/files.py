"""Files that nobody here made, and generated ones in many dialects, through every verb of the program.

    python bench/files.py [--most 200] [--rows 400] [--out files.json] [--only statsmodels]

For each file: info, fit (two epochs), score, compress, decompress, sample. A verb that fails is tried once more with
the options that its one line prints. What comes back is compared with what was read. The last lines tell the share of
readable tables that end well in every verb: at the first try, and after pasting the one line.

Files come from packages that are installed (statsmodels, scikit-learn, vega_datasets, lifelines, plotly, ...); `more`
takes further folders. The list of scikit-hep-testdata is that of the formats of physics: `SOURCES` takes it as well.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from diabolo.cli import main
from diabolo.data.dialect.record import Asked, Reading
from diabolo.data.dtypes import python_cells
from diabolo.data.formats import read_batches, with_reading
from diabolo.data.reading import as_kept
from diabolo.errors import DataError
from diabolo.file.model_file import ModelFile

#: Package → patterns of its files.
SOURCES = {
    "statsmodels": ("datasets/**/*.csv",),
    "sklearn": ("datasets/data/*.csv", "datasets/data/*.csv.gz"),
    "vega_datasets": ("_data/*.csv", "_data/*.tsv"),
    "lifelines": ("datasets/*.csv",),
    "plotly": ("package_data/datasets/*.csv.gz",),
    "palmerpenguins": ("**/*.csv",),
    "gapminder": ("**/*.csv", "**/*.tsv"),
    "matplotlib": ("mpl-data/sample_data/*.csv",),
    "plotnine": ("data/*.csv",),
}
#: Options that the other verbs need not be told again.
OF_FIT = ("--exclude", "--take")
#: Larger files are cut to their first bytes, at the end of a line: the question is how they are read.
LARGEST = 1 << 20


def real(only: str | None) -> Iterator[tuple[str, Path]]:
    """Source and path of every file of the packages that are there."""
    for package, patterns in SOURCES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None or (only and only != package):
            continue
        root = Path(next(iter(spec.submodule_search_locations)))
        for pattern in patterns:
            yield from ((package, p) for p in sorted(root.glob(pattern)) if p.stat().st_size > 100)


def generated(folder: Path, rows: int) -> Iterator[tuple[str, Path]]:
    """Tables written in dialects, of numbers, words, dates and truth values."""
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "Größe": rng.normal(170, 10, rows).round(1),
            "price": rng.lognormal(6, 1, rows).round(2),
            "count": rng.poisson(4, rows),
            "color": rng.choice(["red", "green", "blue"], rows),
            "member": rng.choice(["yes", "no"], rows),
            "zip": [f"{z:05d}" for z in rng.choice([501, 1001, 94043, 2139], rows)],
            "day": pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), "D"),
        }
    )
    frame.loc[rng.random(rows) < 0.05, "Größe"] = np.nan
    for k, (sep, decimal, form, gone, encoding, index, header) in enumerate(
        [
            (",", ".", "%Y-%m-%d", "", "utf-8", True, True),
            (";", ",", "%d.%m.%Y", "", "cp1252", False, True),
            ("\t", ",", "%d/%m/%Y", "NA", "utf-8-sig", False, True),
            ("|", ".", "%m/%d/%Y", "?", "utf-8", False, True),
            (",", ".", "%Y%m%d", "NULL", "utf-8", False, True),
            (";", ",", "%d %b %Y", "-", "utf-16", True, True),
            (",", ".", "%b %d, %Y", "n.d.", "utf-8", False, True),
            (",", ".", "%Y/%m/%d", "", "utf-8", False, False),
            (";", ",", "%d-%m-%y", "", "cp1252", False, False),
        ]
    ):
        path = folder / f"dialect{k}.csv"
        frame.to_csv(
            path, sep=sep, decimal=decimal, date_format=form, na_rep=gone, encoding=encoding, index=index, header=header
        )
        yield "generated", path
    money = frame.assign(price=[f"${p:,.2f}" for p in frame.price], share=[f"{s:.1f}%" for s in rng.random(rows) * 100])
    money.to_csv(folder / "money.csv", index=False)
    yield "generated", folder / "money.csv"
    (folder / "comment.csv").write_text("# made\n" + frame.to_csv(index=False))
    yield "generated", folder / "comment.csv"
    text = frame.to_csv(index=False).splitlines()
    (folder / "units.csv").write_text("\n".join([text[0], "cm,EUR,,,,,", *text[1:]]) + "\n")
    yield "generated", folder / "units.csv"
    wide = frame[["Größe", "price", "count"]].fillna(0)
    (folder / "blanks.dat").write_text(wide.to_string(index=False, header=False) + "\n")
    yield "generated", folder / "blanks.dat"


def run(*words: object) -> tuple[int, str, float]:
    """Exit status, what was printed, and seconds of CPU."""
    out, err, begun = io.StringIO(), io.StringIO(), time.process_time()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(w) for w in words])
        except SystemExit as done:
            status = int(done.code or 0)
    return status, out.getvalue() + err.getvalue(), time.process_time() - begun


def remedies(line: str) -> list[str]:
    """The first option that a line prints, as it would be pasted."""
    values = r"(?:'[^']*'|[^\s';]+)"
    names = "exclude|take|missing|header|decimal|date|encoding|separator"
    found = re.findall(rf"(--(?:{names})[ =]{values})", line)
    if found and "--exclude" in found[0]:
        return [w for f in found if "--exclude" in f and "unusable" not in f for w in shlex.split(f)]
    if found and "--take" in found[0]:
        return [w for f in found if "--take" in f for w in shlex.split(f)]
    if found and "--missing" in found[0]:  # of two readings of a column the first
        words = [shlex.split(f.replace("--missing=", "--missing ", 1))[1] for f in found if "--missing" in f]
        first = {w.partition("=")[0]: w for w in reversed(words)}
        return [part for w in reversed(first.values()) for part in ("--missing", w)]
    return shlex.split(found[0]) if found else []


#: The part of a file that a line names where it holds several tables.
NAME_ONE = re.compile(r"(?:choose some|name one), like (\S+)$")


def part_of(said: str) -> str | None:
    """The part of the file that a line names, as it would be pasted."""
    found = NAME_ONE.search(said.strip())
    return shlex.split(found[1])[0] if found else None


def cells(table: pa.Table) -> list[list[object]]:
    """A table's columns, names first, as Python's values."""
    return [[name, *python_cells(column)] for name, column in zip(table.column_names, table.columns, strict=True)]


def rows_of(path: str, options: list[str], model: Path) -> pa.Table:
    """A table as it is read; by the model's reading where a column that is left out has two readings."""
    given: dict[str, list[str]] = {}
    for word, value in zip(options[::2], options[1::2], strict=False):
        given.setdefault(word.lstrip("-"), []).append(value)
    asked = Asked(
        **{k: v[0] for k, v in given.items() if k in ("separator", "decimal", "encoding", "header")},
        missing=tuple(given.get("missing", ())),
        dates=tuple(given.get("date", ())),
    )
    try:
        table = pa.Table.from_batches(list(read_batches(with_reading(path, Reading(asked)), nested=True)))
    except DataError:
        table = pa.Table.from_batches(list(read_batches(as_kept(path, ModelFile(model).schema.dialect), nested=True)))
    return table


def chain(path: str, folder: Path) -> dict[str, object]:
    """Every verb on one file."""
    found: dict[str, object] = {"tries": 1, "failed": "", "line": ""}
    seconds = {}
    status, said, seconds["info"] = run("info", path)
    if status:
        # info names what is to be left out of a fit, and takes no such option itself.
        part, more = part_of(said), remedies(said)
        found |= {"tries": 2, "line": said.strip()[:300]}
        path = part or path
        asked = [] if "--exclude" in more else more
        status, said, _ = run("info", path, *asked)
        if status or not (part or more):
            return found | {"failed": "info", "line": said.strip()[:300], "seconds": seconds}
    model, options = folder / "m.diabolo", [] if found["tries"] == 1 else more
    fit = ("fit", path, "-o", model, "--epochs", 2, "-q")
    status, said, seconds["fit"] = run(*fit, *options)
    if status:
        more = remedies(said)
        found |= {"tries": 2, "line": said.strip()[:300]}
        options = [*options, *more]
        status, said, seconds["fit"] = run(*fit, *options) if more else (status, said, 0.0)
        if status:
            return found | {"failed": "fit", "line": said.strip()[:300], "seconds": seconds}
    reading = [w for pair in zip(options[::2], options[1::2], strict=False) if pair[0] not in OF_FIT for w in pair]
    for verb, words in {
        "score": ("score", model, path, "-o", folder / "s.parquet", "-q", *reading),
        "compress": ("compress", model, path, "-o", folder / "a.dbl", "--no-verdict", *reading),
        "decompress": ("decompress", folder / "a.dbl", "-o", folder / "b.parquet"),
        "encode": ("encode", model, path, "-o", folder / "z.parquet", "-q", *reading),
        "decode": ("decode", model, folder / "z.parquet", "-o", folder / "x.parquet", "-q"),
        "reconstruct": ("reconstruct", model, path, "-o", folder / "y.parquet", "-q", *reading),
        "sample": ("sample", model, "-n", 20, "-o", folder / "n.csv"),
    }.items():
        status, said, seconds[verb] = run(*words)
        if status:
            return found | {"failed": verb, "line": said.strip()[:300], "seconds": seconds}
    came, back = rows_of(path, reading, model), pa.parquet.read_table(folder / "b.parquet")
    found["rows"], found["same"] = len(came), str(cells(came)) == str(cells(back))
    return found | {"seconds": seconds}


def cut(path: Path, folder: Path) -> Path:
    """The file, or its first lines in a file of the same name."""
    if path.stat().st_size <= LARGEST or path.name.endswith(".gz"):
        return path
    text = path.read_bytes()[:LARGEST]
    (folder / path.name).write_bytes(text[: text.rfind(b"\n") + 1])
    return folder / path.name


def run_all(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One line per file, printed as it is done."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = [*([] if arguments.only else generated(folder, arguments.rows)), *real(arguments.only)]
        listed += [("more", Path(p)) for p in arguments.more]
        for source, path in listed[: arguments.most]:
            found: dict[str, object] = {"file": path.name, "source": source, **chain(str(cut(path, folder)), folder)}
            results.append(found)
            end = found["failed"] or ("well" if found.get("same") else "other values came back")
            total = sum(dict(found["seconds"]).values())  # type: ignore[call-overload]
            print(
                f"{path.name:<40} {source:<14} tries {found['tries']} {end!s:<12} {total:6.1f} s  {found['line']}"[:400]
            )
            sys.stdout.flush()
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10_000, help="files at most")
    parser.add_argument("--rows", type=int, default=400, help="rows of the generated tables")
    parser.add_argument("--only", help="one source")
    parser.add_argument("--more", nargs="*", default=[], help="further files")
    parser.add_argument("--out", type=Path, help="results as JSON")
    given = parser.parse_args()
    done = run_all(given)
    well = [r for r in done if not r["failed"] and r.get("same")]
    first = [r for r in well if r["tries"] == 1]
    print(f"{len(done)} files: {len(first)} end well at the first try ({len(first) / len(done):.1%}), ", end="")
    print(f"{len(well)} after pasting the one line ({len(well) / len(done):.1%})")
    print("failed:", dict(Counter(str(r["failed"]) for r in done if r["failed"])))
    slowest = max(dict(r["seconds"]).get("info", 0.0) for r in done)  # type: ignore[call-overload]
    print(f"slowest info: {slowest:.2f} s of CPU")
    if given.out:
        given.out.write_text(json.dumps(done, indent=1))
