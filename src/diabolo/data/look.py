"""What is said of a table before a fit, in lines: how its text is read, what is left out, remarks on columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diabolo.data.formats import Data, notes_of
from diabolo.data.reading import first_rows, notes_on
from diabolo.data.remarks import LOOKED, remarks

__all__ = ["look_lines"]


def look_lines(data: Data, names: Sequence[str], unfit: Mapping[str, str] | None = None) -> list[str]:
    """Lines for a person.

    Args:
        data: the table.
        names: of the columns that a model sees.
        unfit: columns that are left out because no model can be fitted on them, with why.
    """
    lines = [f"  {note}" for note in notes_of(data)]
    lines += notes_on(data)
    lines += [f"  {name!r} is left out: it {why}" for name, why in (unfit or {}).items()]
    table = first_rows(data, names, LOOKED)
    if table.shape is None:
        lines += [f"  {remark.line}" for remark in remarks(table.values, table.names, table.dtypes)]
    return lines
