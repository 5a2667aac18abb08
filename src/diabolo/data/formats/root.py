"""ROOT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import (
    Format,
    Source,
    formats,
    known,
    missing_package,
    rows_within,
)
from diabolo.data.formats.notes import noting, noting_counts
from diabolo.data.formats.root_branches import Branches, branches_of
from diabolo.data.formats.root_writing import write_tree
from diabolo.errors import DataError, nearest

#: What the readers of uproot call a table.
TABLES = ("TTree", "TNtuple", "TNtupleD", "TChain", "ROOT::RNTuple")
#: A table of a time when its format was not settled, which uproot reads no more.
EARLY = "ROOT::Experimental::RNTuple"
#: Trees whose rows are counted for an error.
MOST_TREES = 20


@formats.register("root")
class Root(Format):
    """ROOT trees and RNTuples by uproot; FILE.root:TREE chooses among several; jagged branches are lists."""

    suffixes: ClassVar[tuple[str, ...]] = (".root",)
    named = suffixes
    arrays = True

    def _tree(self, source: Source, file: Any) -> Any:
        there = file.classnames(cycle=False)
        trees = [path for path, kind in there.items() if kind in TABLES]
        chosen = source.inner.split(";")[0].strip("/")
        if chosen and chosen not in trees:
            raise DataError(f"{source}: no tree {chosen!r}: {nearest(chosen, trees, 'it has')}")
        if chosen:
            return file[source.inner.strip("/")]
        if not trees:
            early = [path for path, kind in there.items() if kind == EARLY]
            if early:
                raise DataError(
                    f"{source}: {early[0]} is an RNTuple of before ROOT 6.34, whose format was not settled: write it "
                    "anew with a newer ROOT"
                )
            held = ", ".join(f"{n} ({k})" for n, k in there.items())[:200] or "nothing"
            raise DataError(f"{source}: holds no tree; it holds {held}")
        return file[trees[0]] if len(trees) == 1 else self._fullest(source, file, trees)

    def _fullest(self, source: Source, file: Any, trees: Sequence[str]) -> Any:
        """The one tree that has rows.

        Raises:
            DataError: several have; says how many each.
        """
        counts = {path: int(file[path].num_entries) for path in trees[:MOST_TREES]}
        filled = [path for path, n in counts.items() if n]
        if len(filled) == 1 and len(trees) <= MOST_TREES:
            return file[filled[0]]
        said = ", ".join(f"{path} ({n:,} row{'s' * (n != 1)})" for path, n in counts.items())
        more = f" and {len(trees) - MOST_TREES} more" if len(trees) > MOST_TREES else ""
        best = max(counts, key=lambda path: counts[path])
        raise DataError(f"{source}: holds {len(trees)} trees: {said}{more}; name one, like {source}:{best}")

    def _branches(self, source: Source, tree: Any) -> Branches:
        found = branches_of(tree)
        if not found.columns:
            held = ", ".join(f"{n} ({k})" for n, k in found.left_out.items())[:300] or "nothing"
            raise DataError(
                f"{source}: no branch can be a column; allowed are numbers, text, lists and objects of them; it has "
                f"{held}"
            )
        return found

    def schema(self, source: Source) -> tuple[Any, int | None]:
        with self._open(source) as file:
            tree = self._tree(source, file)
            return _schema(self._branches(source, tree)), int(tree.num_entries)

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        with self._open(source) as file:
            tree = self._tree(source, file)
            found = self._branches(source, tree)
            for name in set(columns or ()) & found.left_out.keys() - found.columns.keys():
                raise DataError(f"{source}: the branch {name!r} cannot be a column: {found.left_out[name]}")
            there = _schema(found)
            wanted = known(columns, there.names, source)
            schema = pa.schema([there.field(n) for n in wanted])
            step = rows_within(rows, sum(max(8, int(found.columns[n].width)) for n in wanted))
            total = int(tree.num_entries)
            for start in range(0, total, step):
                stop = min(start + step, total)
                cells = [found.columns[n].cells(start, stop) for n in wanted]
                batch = pa.RecordBatch.from_arrays(cells, schema=schema)
                # Lists of a damaged file may begin anywhere.
                batch.validate(full=True)
                yield batch

    def _open(self, source: Source) -> Any:
        try:
            import uproot
        except ImportError:
            raise missing_package("uproot", "root", source) from None
        # A Path: in a text it would split FILE:TREE itself. Mapped, a branch takes no detour through threads.
        return uproot.open(source.path, handler=uproot.source.file.MemmapSource)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """A TTree named events, batch after batch."""
        try:
            import uproot
        except ImportError:
            raise missing_package("uproot", "root", path) from None
        with uproot.recreate(path) as file:
            write_tree(file, schema, batches)


def _schema(found: Branches) -> Any:
    import pyarrow as pa

    notes = {name: noting_counts(found.counts.get(name)) for name in found.columns}
    fields = [pa.field(name, branch.kind, metadata=notes[name]) for name, branch in found.columns.items()]
    return noting(pa.schema(fields), found.left_out)
