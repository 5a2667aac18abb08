"""The first block of a text table: as Arrow infers its types, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diabolo.data.dialect.reader import open_text
from diabolo.data.dialect.record import Dialect

__all__ = ["Block", "holds", "is_plain"]


class Block:
    """The first block.

    Attributes:
        types: Arrow type of each column by its name, as inferred.
        texts: text of the columns whose type leaves a question.
        whole: whether the block is all of the file.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path, self.dialect, self.names = path, dialect, list(dialect.names)
        with open_text(path, dialect, self.names) as reader:
            self.types = {f.name: f.type for f in reader.schema}
        self.texts, self.whole = self.text([n for n in self.names if not is_plain(self.types[n])])

    def text(self, columns: Sequence[str]) -> tuple[dict[str, Any], bool]:
        """Text of some columns in the first block, and whether that is all of the file."""
        import pyarrow as pa

        if not columns:
            return {}, self.path.stat().st_size < 1 << 21 and not self.path.name.endswith(".gz")
        types = {n: pa.string() for n in columns}
        with open_text(self.path, self.dialect, self.names, columns, types, null_text=False) as reader:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return {n: pa.array([], pa.string()) for n in columns}, True
            try:
                more = reader.read_next_batch().num_rows > 0
            except (StopIteration, pa.ArrowInvalid):
                more = False
        return {n: batch.column(n) for n in columns}, not more

    def words(self, name: str) -> list[str]:
        """The different words of a column, blanks around them cut off, without those for a missing cell."""
        import pyarrow.compute as pc

        if name not in self.texts:
            self.texts |= self.text([name])[0]
        words = pc.unique(pc.utf8_trim_whitespace(self.texts[name])).to_pylist()
        marks = self.dialect.marks_of(name)
        return [w for w in words if w not in marks]


def is_plain(kind: Any) -> bool:
    """Types that text has in one way only."""
    import pyarrow as pa

    t = pa.types
    return bool(t.is_floating(kind) or t.is_boolean(kind) or t.is_timestamp(kind) or t.is_date(kind) or t.is_null(kind))


def holds(text: Any, word: str) -> bool:
    """Whether a column of text has such a cell."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.equal(text, word)).as_py())
