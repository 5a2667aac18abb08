"""ROOT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diabolo.data.formats.base import (
    Format,
    Source,
    block_batches,
    cannot_hold,
    formats,
    known,
    missing_package,
    numbered,
    plain_cells,
    rows_within,
)
from diabolo.errors import DataError, nearest

#: What the readers of uproot call a table.
TABLES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
#: The tree that is written.
TREE = "events"


@formats.register("root")
class Root(Format):
    """ROOT trees and RNTuples by uproot; FILE.root:TREE chooses among several; jagged branches are lists."""

    suffixes: ClassVar[tuple[str, ...]] = (".root",)

    def _tree(self, source: Source, file: Any) -> Any:
        there = file.classnames(cycle=False)
        trees = [path for path, kind in there.items() if kind in TABLES]
        chosen = source.inner.split(";")[0]
        if chosen and chosen not in trees:
            raise DataError(f"{source}: no tree {chosen!r}: {nearest(chosen, trees, 'it has')}")
        if not trees:
            held = ", ".join(f"{n} ({k})" for n, k in there.items())[:200] or "nothing"
            raise DataError(f"{source}: holds no tree; it holds {held}")
        if not chosen and len(trees) > 1:
            raise DataError(
                f"{source}: holds {len(trees)} trees: {', '.join(trees)}; name one, like {source}:{trees[0]}"
            )
        return file[source.inner or trees[0]]

    def _branches(self, tree: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Branches by name that can be columns, and the types of those that can't."""
        import uproot

        if not hasattr(tree, "branches"):  # an RNTuple
            return {n: tree[n] for n in tree.keys(recursive=False)}, {}
        fit, other = {}, {}
        for path, branch in tree.iteritems(recursive=True):
            if len(branch.branches):
                continue
            way = branch.interpretation
            inner = way.content if isinstance(way, uproot.AsJagged) else way
            simple = isinstance(inner, uproot.AsDtype) and inner.to_dtype.base.kind in "biuf"
            flat = simple and (inner is way or not inner.to_dtype.shape)
            name = branch.name if branch.name not in fit else path
            if flat or isinstance(way, uproot.AsStrings):
                fit[name] = branch
            else:
                other[name] = branch.typename
        return fit, other

    def _layout(self, source: Source, tree: Any) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
        """Branches, those left out, and for each its (names of the columns, their Arrow type)."""
        branches, other = self._branches(tree)
        columns = {n: _columns(n, _cells(b, 0, 0).type, source) for n, b in branches.items()}
        if not columns:
            held = ", ".join(f"{n} ({k})" for n, k in other.items())[:200] or "nothing"
            raise DataError(
                f"{source}: no branch can be a column; allowed are numbers, lists of them, text; it has {held}"
            )
        return branches, other, columns

    def schema(self, source: Source) -> tuple[Any, int | None]:
        import pyarrow as pa

        with self._open(source) as file:
            tree = self._tree(source, file)
            columns = self._layout(source, tree)[2]
            fields = [pa.field(n, kind) for names, kind in columns.values() for n in names]
            return pa.schema(fields), int(tree.num_entries)

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        with self._open(source) as file:
            tree = self._tree(source, file)
            branches, other, layout = self._layout(source, tree)
            kinds = {n: kind for names, kind in layout.values() for n in names}
            for name in set(columns or ()) & other.keys() - kinds.keys():
                raise DataError(f"{source}: the branch {name!r} holds {other[name]}, which cannot be a column")
            wanted = known(columns, list(kinds), source)
            schema = pa.schema([(n, kinds[n]) for n in wanted])
            needed = {b: names for b, (names, _) in layout.items() if not set(names).isdisjoint(wanted)}
            step = rows_within(rows, 8 * sum(map(len, needed.values())))
            total = int(tree.num_entries)
            for start in range(0, total, step):
                blocks, ready = [], {}
                for name, names in needed.items():
                    cells = _cells(branches[name], start, min(start + step, total))
                    if names == [name]:
                        ready[name] = cells
                    else:
                        blocks.append((names, np.asarray(_flat(cells)).reshape(len(cells), -1)))
                yield block_batches(blocks, schema, ready)

    def _open(self, source: Source) -> Any:
        try:
            import uproot
        except ImportError:
            raise missing_package("uproot", "root", source) from None
        return uproot.open(source.path)  # a Path: in a text it would split FILE:TREE itself

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """A TTree named events, batch after batch."""
        try:
            import awkward as ak
            import uproot
        except ImportError:
            raise missing_package("uproot", "root", path) from None
        types = {field.name: _written_type(field) for field in schema}
        with uproot.recreate(path) as file:
            tree = file.mktree(TREE, types)
            for batch in batches:
                if not batch.num_rows:
                    continue
                cells = {n: plain_cells(batch.column(n), n, "a ROOT file", text=True) for n in types}
                tree.extend(
                    {n: ak.Array(c.tolist()) if types[n] == "string" else c.astype(types[n]) for n, c in cells.items()}
                )


def _cells(branch: Any, start: int, stop: int) -> Any:
    import awkward as ak

    array = branch.array(entry_start=start, entry_stop=stop, library="ak")
    return ak.to_arrow(array, extensionarray=False, list_to32=True, string_to32=True)


def _columns(name: str, kind: Any, source: Source) -> tuple[list[str], Any]:
    """Columns of a branch: its own name, or NAME_0, NAME_1, ... where a row has an array of fixed shape."""
    import pyarrow as pa

    shape = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return (numbered(f"{name}_", shape, source) if shape else [name]), kind


def _flat(cells: Any) -> Any:
    import pyarrow as pa

    while pa.types.is_fixed_size_list(cells.type):
        cells = cells.flatten()
    return cells.to_numpy(zero_copy_only=False)


def _written_type(field: Any) -> str:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_null(kind):
        return "float64"
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise cannot_hold(field.name, field.type, "a ROOT file")
    return "float32" if pa.types.is_float16(kind) else np.dtype(kind.to_pandas_dtype()).name
