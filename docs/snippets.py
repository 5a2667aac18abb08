"""The pages that show what a run prints: their Python blocks, and how far another machine's numbers may differ.

A fit ends in nearly the same numbers on another machine, not in the same bits. So one rule holds for every page with
printed numbers. They come from one run, whose machine the page names (`MADE`). Another run must print the same words,
and numbers within one tolerance, which the page states (`NOTE`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import platform
import re
import time
from pathlib import Path
from typing import Any

__all__ = ["NOTE", "Block", "agree", "blocks", "made", "noted", "run", "table_rows", "with_outputs"]

#: A number that a fit prints may differ by this much on another machine: a share of it, and the least step.
RELATIVE, ABSOLUTE = 0.2, 0.03
#: The sentence that a page with printed numbers has; its line breaks are the page's.
NOTE = (
    f"Another machine may print numbers that differ by up to {RELATIVE:.0%}".replace("%", " %")
    + f", or by {ABSOLUTE}; a test compares them within that."
)

#: The line that names the machine of a page's numbers.
MADE = re.compile(r"^Numbers made on .+, \d{4}-\d{2}-\d{2}\.$", re.MULTILINE)

NUMBER = re.compile(r"[-−+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
FENCED = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\((?P<path>[^)]+)\)")


@dataclasses.dataclass
class Block:
    """One block of a page."""

    title: str  #: of the section that it stands in
    line: int
    code: str
    output: str  #: what the page says it prints
    image: str | None  #: path of the section's figure, from the page


def blocks(page: Path) -> list[Block]:
    """The page's Python blocks with the text blocks that follow them."""
    text = page.read_text()
    found = []
    for match in FENCED.finditer(text):
        before = text[: match.start()]
        headings = re.findall(r"^## (.+)$", before, re.MULTILINE)
        section = text[match.end() :].split("\n## ")[0]
        image = IMAGE.search(section)
        found.append(
            Block(
                headings[-1] if headings else "",
                before.count("\n") + 2,
                match["code"],
                match["output"] or "",
                image["path"] if image else None,
            )
        )
    return found


def run(block: Block, namespace: dict[str, Any], page: str = "page") -> str:
    """Execute a block in a namespace; what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)
    return out.getvalue()


def agree(said: str, printed: str) -> bool:
    """Whether two texts have the same words and, within the tolerance, the same numbers."""
    if " ".join(NUMBER.sub("#", said).split()) != " ".join(NUMBER.sub("#", printed).split()):
        return False
    pairs = zip(NUMBER.findall(said), NUMBER.findall(printed), strict=True)
    return all(abs(_value(a) - _value(b)) <= max(ABSOLUTE, RELATIVE * abs(_value(a))) for a, b in pairs)


def _value(number: str) -> float:
    return float(number.replace("−", "-").replace(",", ""))


def made() -> str:
    """The line that names this machine and this day."""
    import torch

    cpu = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.+)$", cpu.read_text(), re.MULTILINE) if cpu.exists() else []
    name = models[0].strip() if models else platform.processor() or platform.machine()
    threads = f"{torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__.split('+')[0]}"
    return f"Numbers made on {name}, {versions}, {threads}, {time.strftime('%Y-%m-%d')}."


def noted(page: Path) -> bool:
    """Whether a page names its numbers' machine, and says how far those of another one may differ."""
    text = page.read_text()
    return NOTE in " ".join(text.split()) and len(MADE.findall(text)) == 1


def table_rows(text: str) -> dict[str, str]:
    """Rows of a table that has numbers, in Markdown or drawn by rich, by their first cell: their numbers in order."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip(" *") for cell in re.split(r"[|│┃]", line)[1:-1]]
        if cells and any(NUMBER.search(cell) for cell in cells[1:]):
            found[cells[0]] = " ".join(number for cell in cells[1:] for number in NUMBER.findall(cell))
    return found


def with_outputs(text: str, outputs: list[str]) -> str:
    """The page's text: as it is while all outputs agree with it, else with each output of this run, and its machine."""
    said = [match["output"] or "" for match in FENCED.finditer(text)]
    if all(not printed or agree(old, printed) for old, printed in zip(said, outputs, strict=True)):
        return text
    left = iter(outputs)

    def one(match: re.Match[str]) -> str:
        printed = next(left)
        return f"```python\n{match['code']}```\n\n```text\n{printed}```\n" if printed else match[0]

    return MADE.sub(made(), FENCED.sub(one, text))
