"""The data of docs/walks.md, and its lines: what a person types, walk by walk.

    docs/walks.py FOLDER   writes the tables that the walks read into a folder

What is odd is planted: the last rows of each new table. A row's number tells whether it was found.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parent / "walks.md"
#: Rows of each table, of each new one, and how many of its last rows are odd.
ROWS, NEW, ODD = 2000, 500, 10


def events(path: Path, rows: int, odd: int, seed: int) -> None:
    """Collisions with a jagged list of jets, as ROOT; the odd ones have 400 GeV that no jet balances."""
    import awkward as ak
    import uproot

    rng = np.random.default_rng(seed)
    jets = rng.poisson(3, rows)
    momenta = [np.sort(20 + rng.exponential(30, n))[::-1] for n in jets]
    parts = {
        "pt": ak.Array([p.astype(np.float32) for p in momenta]),
        "eta": ak.Array([rng.normal(0, 1.2, n).astype(np.float32) for n in jets]),
        "phi": ak.Array([rng.uniform(-np.pi, np.pi, n).astype(np.float32) for n in jets]),
    }
    truth = np.arange(rows) >= rows - odd
    met = 5 + rng.exponential(10, rows) + 0.1 * np.array([p.sum() for p in momenta]) + 400 * truth
    with uproot.recreate(path) as file:
        file["events"] = {
            "event": np.arange(rows),
            "met_pt": met.astype(np.float32),
            "met_phi": rng.uniform(-np.pi, np.pi, rows).astype(np.float32),
            "truth": truth.astype(np.int32),
            "jet": ak.zip(parts),
        }


def orders(path: Path, rows: int, odd: int, seed: int) -> None:
    """Orders of a shop with words, whole numbers and gaps; the odd ones are laptops at the price of a book."""
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(seed)
    kind = rng.choice(["book", "laptop", "chair"], rows, p=[0.6, 0.15, 0.25])
    wrong = np.arange(rows) >= rows - odd
    kind[wrong] = "laptop"
    book, laptop = kind == "book", kind == "laptop"
    quantity = np.where(laptop, 1, 1 + rng.poisson(0.8, rows))
    of_book, of_laptop, of_chair = rng.gamma(8, 2, rows), rng.normal(950, 120, rows), rng.gamma(20, 6, rows)
    price = np.select([book | wrong, laptop], [of_book, of_laptop], of_chair)
    weight = np.select([book, laptop], [0.4, 2.1], 7.5) * quantity * rng.uniform(0.9, 1.1, rows)
    columns = {
        "kind": pa.array(kind.tolist()),
        "price": pa.array(price.round(2), mask=(rng.random(rows) < 0.03) & ~wrong),
        "quantity": pa.array(quantity),
        "weight": pa.array(weight.round(2), mask=rng.random(rows) < 0.03),
    }
    pyarrow.csv.write_csv(pa.table(columns), path)


def parts(path: Path, rows: int, odd: int, seed: int) -> None:
    """Machine parts whose weight follows from their size; the odd ones are too heavy."""
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(seed)
    length, width = rng.normal(40, 2, rows), rng.normal(12, 0.5, rows)
    weight = 0.0078 * 5 * length * width + rng.normal(0, 0.2, rows) + 6 * (np.arange(rows) >= rows - odd)
    columns = {"length": length.round(3), "width": width.round(3), "weight": weight.round(3)}
    columns["line"] = rng.choice(["A", "B"], rows).tolist()
    pyarrow.csv.write_csv(pa.table(columns), path)


#: Of each walk: who writes its tables, and the tables' names.
TABLES = {
    "physicist": (events, "events.root", "later.root"),
    "scientist": (orders, "orders.csv", "new_orders.csv"),
    "engineer": (parts, "parts.csv", "new_parts.csv"),
}


def write(walk: str, folder: Path) -> None:
    """The table of a walk and the new one, whose last `ODD` rows are odd; a student's data come with scikit-learn."""
    if walk in TABLES:
        make, table, new = TABLES[walk]
        make(folder / table, ROWS, 0, 1)
        make(folder / new, NEW, ODD, 2)


def section(walk: str) -> str:
    """The text of a walk."""
    found = re.search(rf"^## [^\n]*{walk}.*?(?=^## |\Z)", PAGE.read_text(), re.M | re.S | re.I)
    if found is None:
        raise SystemExit(f"{PAGE.name} has no heading with '{walk}'")
    return found[0]


def lines(walk: str) -> list[list[str]]:
    """The words of each line that a walk types at a shell, in order, without remarks."""
    blocks = re.findall(r"^```text\n(.*?)^```$", section(walk), re.M | re.S)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def cells(walk: str) -> list[str]:
    """The Python blocks of a walk, in order."""
    return re.findall(r"^```python\n(.*?)^```$", section(walk), re.M | re.S)


def notebook(walk: str) -> Any:
    """The Python blocks of a walk as a notebook that is not executed yet."""
    import nbformat

    made = [nbformat.v4.new_code_cell(text.strip(), id=f"cell-{k}") for k, text in enumerate(cells(walk))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit((__doc__ or "").strip())
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for walk in TABLES:
        write(walk, folder)
    print(*sorted(str(folder / name) for _, *names in TABLES.values() for name in names), sep="\n")


if __name__ == "__main__":
    main()
