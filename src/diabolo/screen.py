"""Text for a terminal or a page: names and cells of files are shown, never obeyed."""

from __future__ import annotations

import codecs
import dataclasses
import decimal
import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "at_most",
    "at_most_percent",
    "blocks",
    "columns_of",
    "console",
    "percent",
    "print_table",
    "share_of",
    "spell_out",
    "visible",
]

#: Characters without a picture that lay text out, and do nothing else.
LAYOUT = "\n\t\N{NO-BREAK SPACE}"
#: Characters of our own texts in letters that every encoding has.
SPELLED = {
    "→": "->", "−": "-", "–": "-", "—": "-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "…": "...", "×": "x",
    "·": "*", "±": "+-", "√": "sqrt", "∞": "inf", "°": "deg", "²": "^2", "³": "^3", "⁰": "^0", "σ": "sigma",
    "μ": "mu", "µ": "u", "β": "beta", "α": "alpha", "π": "pi", "τ": "tau", "Ω": "Omega", "Σ": "sum", "χ": "chi",
    "’": "'", "“": '"', "”": '"',
}  # fmt: skip
#: The name under which `codecs` knows `_spelled`.
HANDLER = "diabolo.spelled"


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What a stream's encoding does not have, in letters that it has: `→` as `->`, `é` as `e`, else `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    word = ""
    for c in error.object[error.start : error.end]:
        plain = SPELLED.get(c) or unicodedata.normalize("NFKD", c).encode("ascii", "ignore").decode()
        word += plain or "?"
    return word, error.end


def spell_out(*streams: TextIO) -> None:
    """Let streams of any encoding take any text: characters that the encoding lacks are spelled in ASCII."""
    codecs.register_error(HANDLER, _spelled)
    for stream in streams:
        # Some that take the place of stdout (notebooks, tests) cannot be set, and take any text.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)


def columns_of(stream: TextIO) -> int:
    """Characters of one line of a terminal; of another stream those that `COLUMNS` says, or 80."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return shutil.get_terminal_size().columns


def visible(text: str) -> str:
    r"""Text without characters that a terminal obeys, that HTML does not allow, or that turn the direction of others.

    >>> visible("pt\x1b[31m \u202eeta")
    'pt�[31m �eta'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in LAYOUT else "\N{REPLACEMENT CHARACTER}" for c in text)


def share_of(text: str) -> float | None:
    """Read a share: 0.01, 1% and "1 %" are the same; None for other words.

    >>> share_of("0.01"), share_of("1%"), share_of("0.5 %"), share_of("few")
    (0.01, 0.01, 0.005, None)
    """
    number = str(text).strip()
    try:
        # Decimal, for 7 / 100 is not the float 0.07 of every route.
        return float(decimal.Decimal(number.removesuffix("%")) / 100) if number.endswith("%") else float(number)
    except (ValueError, ArithmeticError):
        return None


def percent(share: float) -> str:
    """A share as a person reads it.

    >>> percent(0.01), percent(0.034), percent(0.000075)
    ('1 %', '3.4 %', '0.0075 %')
    """
    return f"{100 * share:.3g} %"


def at_most(value: float) -> str:
    """A number in three digits that is not below it: what "at most" may be followed by.

    >>> at_most(0.001), at_most(0.0012341), at_most(12344.0)
    ('0.001', '0.00124', '1.24e+04')
    """
    return f"{_up(value, 0):.3g}"


def at_most_percent(share: float) -> str:
    """A share as `percent`, in three digits that are not below it.

    >>> at_most_percent(0.07), at_most_percent(0.012341)
    ('7 %', '1.24 %')
    """
    return f"{_up(share, 2):.3g} %"


def _up(value: float, power: int) -> float:
    """Times 10^power, rounded up to three digits, by the decimal digits that the number is written with."""
    exact = decimal.Decimal(repr(float(value))).scaleb(power)
    return float(decimal.Context(prec=3, rounding=decimal.ROUND_CEILING).plus(exact))


@dataclasses.dataclass(frozen=True)
class _Shown:
    """Whatever rich can render, with every piece of its text made visible; rich's own codes are no text."""

    inner: Any

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.segment import Segment

        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else visible(text), style, control)

    def __rich_measure__(self, console: Any, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement.get(console, options, self.inner)


class _Hook:
    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        return [_Shown(r) for r in renderables]


def console(**settings: Any) -> Console:
    """A rich console on which names and cells of files can do nothing; 110 characters wide where it is no terminal."""
    from rich.console import Console

    made = Console(markup=False, highlight=False, **settings)
    if not made.is_terminal:
        made = Console(markup=False, highlight=False, **{"width": 110, **settings})
    made.push_render_hook(_Hook())  # type: ignore[arg-type]
    return made


def print_table(
    screen: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", left: int = 1
) -> None:
    """Print rows under headings; where a line of the screen is too short for a row, each row as a block of lines.

    Args:
        screen: where to.
        headings: of the columns.
        rows: a cell for each heading; empty ones are left out of a block.
        title: stands above.
        left: columns from the left whose cells are text and begin at the left; the first of them names the row.
    """
    from rich.cells import cell_len
    from rich.table import Table as Grid

    shown = [[visible(cell) for cell in row] for row in rows]
    words = [max(map(cell_len, heading.split()), default=0) for heading in headings]
    widths = [max([word, *(cell_len(row[i]) for row in shown)]) for i, word in enumerate(words)]
    if sum(width + 3 for width in widths) + 1 > screen.width:
        for line in [*([title] if title else []), *blocks(headings, rows)]:
            screen.print(line)
        return
    grid = Grid(title=title or None)
    for i, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        grid.add_column(heading, justify="left" if i < left else "right", overflow="fold", min_width=width)
    for row in rows:
        grid.add_row(*row)
    screen.print(grid)


def blocks(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table that is too wide for a screen: the first cell of each row, and its other cells below.

    >>> blocks(("column", "seen", "p"), [("pt", "31.2", "0.01"), ("eta", "0.4", "")])
    ['pt', '    seen  31.2', '    p     0.01', 'eta', '    seen  0.4']
    """
    from rich.cells import cell_len

    names = max(map(cell_len, headings[1:]), default=0)
    lines = []
    for row in rows:
        lines.append(visible(row[0]))
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            if cell:
                lines.append(f"    {heading}{' ' * (names - cell_len(heading))}  {visible(cell)}")
    return lines
