"""The verbs on files of physics and of data frames: ROOT files of scikit-hep-testdata, and generated ones.

    python bench/files_hep.py                         # shares that end well per format, and the lines of the rest
    python bench/files_hep.py --more 'DIR/*.parquet'  # other files besides

A table counts if a reader of its format alone finds at least 20 rows and a column of numbers in it; what is smaller,
or is no table, is listed apart with the line that is printed.
"""

from __future__ import annotations

import datetime
import glob
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import common  # first: it pins the threads
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: A table of fewer rows is no table for a fit.
FEWEST = 20
ROWS = 400


# ── files that are there ──────────────────────────────────────────────────────────────────────────


def of_root() -> list[str]:
    folder = Path(str(importlib.util.find_spec("skhep_testdata").origin)).parent / "data"
    return sorted(str(p) for p in folder.glob("*.root"))


def rows_by_uproot(path: str) -> int:
    """Rows of the largest tree in which uproot alone reads a branch of numbers; 0 where there is none."""
    import uproot

    most = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with uproot.open(Path(path)) as file:
                for name, kind in file.classnames(cycle=False).items():
                    if kind not in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"):
                        continue
                    tree = file[name]
                    if int(tree.num_entries) > most and _has_numbers(tree):
                        most = int(tree.num_entries)
        except Exception as error:
            print(f"  {path}: uproot: {error}")
    return most


def _has_numbers(tree: object) -> bool:
    for branch in tree.itervalues(recursive=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                array = branch.array(entry_stop=5, library="np")
                # The whole of it: files exist whose later baskets are broken.
                branch.array(library="np")
            except Exception:
                continue
        if any(a.dtype.kind in "iufb" and len(a) for a in _arrays(array)):
            return True
    return False


def _arrays(found: object) -> Iterator[np.ndarray]:
    """All arrays of a branch: a leaf list is a dictionary of arrays, or of such dictionaries."""
    if isinstance(found, dict):
        for inner in found.values():
            yield from _arrays(inner)
    else:
        yield np.asarray(found)


# ── files that are made ───────────────────────────────────────────────────────────────────────────


def generated(folder: Path) -> Iterator[str]:
    """Tables as pandas, polars, ROOT and h5py write them, in every type that they have."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, ROWS)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    total = int(counts.sum())
    x = pa.array(rng.normal(size=ROWS))
    objects = pa.StructArray.from_arrays(
        [pa.array(rng.exponential(40, total)), pa.array(rng.normal(size=total))], ["pt", "eta"]
    )
    few = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 3, ROWS), pa.uint8()), pa.array(["u", "v", "w"]))
    moments = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=i) for i in range(ROWS)]
    kinds = {
        "plain": {"a": x, "b": pa.array(rng.integers(0, 50, ROWS))},
        "struct": {"met": pa.StructArray.from_arrays([x, x], ["x", "y"]), "n": pa.array(counts)},
        "array": {"cov": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=4 * ROWS)), 4)},
        "lists": {"a": x, "jets": pa.ListArray.from_arrays(offsets, objects)},
        "decimals": {n: pa.array(rng.integers(0, 9999, ROWS).tolist(), pa.decimal128(10, 2)) for n in "ab"},
        "categories": {"a": x, "k": pa.array(rng.choice(["u", "v", "w"], ROWS)).dictionary_encode()},
        "unsigned": {"a": x, "k": few},
        "dates": {"a": x, "t": pa.array(moments)},
        "gaps": {"a": pa.array(x.to_pylist(), mask=rng.uniform(size=ROWS) < 0.1), "b": x},
        "views": {"a": x, "s": pa.array(rng.choice(["u", "v"], ROWS)).cast(pa.string_view())},
        "float16": {"a": pa.array(rng.normal(size=ROWS).astype(np.float16)), "b": x},
        "maps": {"a": x, "m": pa.array([[("u", 1)]] * ROWS, pa.map_(pa.string(), pa.int32()))},
        "binary": {"a": x, "raw": pa.array([b"x"] * ROWS)},
    }
    for name, columns in kinds.items():
        table = pa.table(columns)
        pq.write_table(table, folder / f"{name}.parquet")
        yield str(folder / f"{name}.parquet")
        with pa.ipc.new_file(folder / f"{name}.arrow", table.schema) as out:
            out.write_table(table)
        yield str(folder / f"{name}.arrow")
    yield from _hdf5(folder, rng)
    yield from _frames(folder, rng)


def _hdf5(folder: Path, rng: np.random.Generator) -> Iterator[str]:
    import h5py

    kind = np.dtype([("pt", "f4"), ("cov", "f8", (3,)), ("in", [("u", "i4"), ("v", "f8")]), ("word", "S4")])
    table = np.zeros(ROWS, kind)
    for field in ("pt", "cov"):
        table[field] = rng.normal(size=table[field].shape)
    table["word"] = rng.choice([b"u", b"v"], ROWS)
    files = {
        "columns": {"a": rng.normal(size=ROWS), "group/b": rng.integers(0, 9, ROWS)},
        "compound": {"events": table},
        "matrix": {"x": rng.normal(size=(ROWS, 5))},
        "mixed": {"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS), "z": rng.normal(size=ROWS) + 1j},
    }
    for name, datasets in files.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for path, cells in datasets.items():
                file.create_dataset(path, data=cells, compression="gzip")
        yield str(folder / f"{name}.h5")


def _frames(folder: Path, rng: np.random.Generator) -> Iterator[str]:
    """As pandas with PyTables, and polars, write; where they are installed."""
    import pandas as pd

    frame = pd.DataFrame({"a": rng.normal(size=ROWS), "b": rng.integers(0, 9, ROWS), "c": rng.uniform(size=ROWS) < 0.5})
    # PyTables is imported as `tables`, which is the name of a module of this folder too.
    here = sys.path.pop(0)
    try:
        layouts = ("fixed", "table") if importlib.util.find_spec("tables") else ()
        for layout in layouts:
            frame.to_hdf(folder / f"pandas_{layout}.h5", key="df", mode="w", format=layout)
    finally:
        sys.path.insert(0, here)
    yield from (str(folder / f"pandas_{layout}.h5") for layout in layouts)
    if importlib.util.find_spec("polars"):
        import polars as pl

        made = pl.from_pandas(frame).with_columns(pl.Series("k", rng.choice(["u", "v"], ROWS)).cast(pl.Categorical))
        made.write_parquet(folder / "polars.parquet")
        made.write_ipc(folder / "polars.arrow")
        yield from (str(folder / "polars.parquet"), str(folder / "polars.arrow"))


def rows_of(path: str) -> int:
    """Rows of a file by a reader of its format alone."""
    if path.endswith(".root"):
        return rows_by_uproot(path)
    if path.endswith((".parquet", ".pq", ".parq")):
        return int(pq.ParquetFile(path).metadata.num_rows)
    return FEWEST


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--more", action="append", default=[], metavar="PATTERN", help="other files besides")
    options.add_argument(
        "--skip", metavar="WORD", help="leave out files with this in their names, all but the first five"
    )
    options.add_argument("--after", metavar="NAME", default="", help="leave out ROOT files with names up to this one")
    options.add_argument("--only", metavar="SUFFIX", help="only files that end so; several by commas")
    options.add_argument("--limit", type=float, default=300, help="seconds for a file (default: 300)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            *(f for f in of_root() if Path(f).name > given.after),
            *generated(Path(folder)),
            *(f for pattern in given.more for f in sorted(glob.glob(pattern))),
        ]
        endings = tuple(given.only.split(",")) if given.only else ""
        files = [f for f in files if f.endswith(endings)][:: 10 if given.quick else 1]
        like = [f for f in files if given.skip and given.skip in Path(f).name]
        files = [f for f in files if f not in like[5:]]
        counted = {f: rows_of(f) >= FEWEST for f in files}
        found: dict[str, list[common.Chain]] = {}
        for c, f in zip(common.chains([(f, _back(f)) for f in files], given.limit), files, strict=True):
            kind = Path(f).suffix.removeprefix(".") if counted[f] else "small or no table"
            found.setdefault(kind, []).append(c)
            # A run of an hour shows how far it is.
            print(f"  {Path(f).name}: {'+'.join(c.well) or '-'}, {c.pastes} pasted", file=sys.stderr, flush=True)
    print(common.machine_line())
    for kind, those in sorted(found.items(), key=lambda pair: pair[0] == "small or no table"):
        common.print_chains(those, kind)
    common.write_json(given.json, __file__, given, {k: [vars(c) for c in v] for k, v in found.items()})


def _back(path: str) -> str:
    """What comes back: the same format for ROOT, Parquet and Arrow, Parquet for others."""
    suffix = Path(path).suffix
    return suffix if suffix in (".root", ".arrow") else ".parquet"


if __name__ == "__main__":
    main()
