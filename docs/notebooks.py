"""The gallery: pages of docs/gallery/ as notebooks, executed, and as pages with what their cells show.

    docs/notebooks.py NAME...   out/gallery/NAME.ipynb, executed; all of them if none is named

A page is Markdown, and its Python blocks are the cells. No output is kept in the repository: one that is run anew at
each build cannot be wrong later.
"""

from __future__ import annotations

import base64
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

GALLERY = Path(__file__).parent / "gallery"
OUT = GALLERY.parents[1] / "out" / "gallery"
BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
#: A command of the shell in a cell, which IPython lets fail in silence; and the same with its status looked at.
COMMAND = re.compile(r"^(!.+)$", re.MULTILINE)
CHECKED = r"\1\nif _exit_code:\n    raise RuntimeError(f'exit status {_exit_code}')"
#: What a terminal is told of colors and lines to clear.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")
#: Seconds that a notebook may take.
PATIENCE = 300


def names() -> list[str]:
    """The gallery's pages, in the order of its list."""
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (GALLERY / "README.md").read_text())
    return list(dict.fromkeys(listed))


def notebook(name: str) -> Any:
    """A page as a notebook that is not executed yet."""
    import nbformat

    parts = BLOCK.split((GALLERY / f"{name}.md").read_text())
    cells = []
    for number, part in enumerate(parts):
        if not part.strip():
            continue
        make = nbformat.v4.new_code_cell if number % 2 else nbformat.v4.new_markdown_cell
        cells.append(make(part.strip(), id=f"cell-{number}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def executed(name: str) -> Any:
    """The notebook of a page after a run in an empty folder; an error of a cell is raised."""
    from nbclient import NotebookClient

    book = notebook(name)
    sources = [cell.source for cell in book.cells]
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.source = COMMAND.sub(CHECKED, cell.source)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(book, timeout=PATIENCE, resources=resources, coalesce_streams=True)
        client.execute(env=environment)
    for cell, source in zip(book.cells, sources, strict=True):
        cell.source = source
        cell.metadata.pop("execution", None)  # the times of the run
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not passing(output)]
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = CONTROL.sub("", output.text)
    return book


def passing(output: Any) -> bool:
    """Whether an output is a bar of progress, which tells how fast this run was."""
    return output.output_type == "display_data" and list(output.data) == ["text/plain"]


def shown(output: Any, picture: Path) -> str:
    """What a cell shows, in Markdown; a figure goes to the file `picture`."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```\n"
    data = output.get("data", {})
    if "image/png" in data:
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return f"![Figure of the cell above]({picture.name})\n"
    if "text/html" in data and "<script" not in data["text/html"]:
        # An empty line would end the HTML for Markdown.
        return '<div class="output">' + re.sub(r"\n\s*\n", "\n", data["text/html"]) + "</div>\n"
    return f"```text\n{data.get('text/plain', '').rstrip()}\n```\n" if data else ""


def as_page(name: str, book: Any, folder: Path) -> str:
    """The executed notebook as a page; its figures go to the folder."""
    out = []
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "markdown":
            out.append(cell.source + "\n")
            continue
        out.append(f"```python\n{cell.source}\n```\n")
        for place, output in enumerate(cell.outputs):
            out.append(shown(output, folder / f"{name}-{number}-{place}.png"))
    out.append(f"[The notebook with these outputs]({name}.ipynb), to run and to change.\n")
    return "\n".join(out)


def write(folder: Path) -> None:
    """Execute the gallery; its pages with outputs, its figures and its notebooks, into a folder."""
    import nbformat

    # A notebook is a process of one thread.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, book in zip(names(), pool.map(executed, names()), strict=True):
            print(f"gallery: {name}", flush=True)
            nbformat.write(book, folder / f"{name}.ipynb")
            (folder / f"{name}.md").write_text(as_page(name, book, folder))


def main() -> None:
    import nbformat

    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or names():
        nbformat.write(executed(name), OUT / f"{name}.ipynb")
        print(OUT / f"{name}.ipynb")


if __name__ == "__main__":
    main()
