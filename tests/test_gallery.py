"""The gallery: every page runs as a notebook, and what it shows is that of the run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import notebooks  # noqa: E402

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

#: Three of every kind of cell in the quick suite; each takes 5 to 20 s of a core.
QUICK = ("business", "conditions", "sensors")
#: What a page needs beyond the package and pandas.
NEEDS = {"trigger": "uproot", "serving": "starlette"}


def test_the_list_has_every_page_and_each_has_a_heading():
    assert sorted(notebooks.names()) == sorted(p.stem for p in notebooks.GALLERY.glob("*.md") if p.stem != "README")
    assert len(notebooks.names()) == 8
    for name in notebooks.names():
        first = notebooks.notebook(name).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith("# ")


def test_the_repository_keeps_no_outputs():
    assert [p.name for p in notebooks.GALLERY.iterdir() if p.suffix != ".md"] == []


def numbers(text, pattern):
    found = re.search(pattern, text)
    assert found, f"{pattern} in {text}"
    return [float(part.replace(",", "")) for part in found.groups()]


#: What must be printed, and that it means what the page says.
PROMISES = {
    "trigger": (r"background\s+([\d.]+)%", lambda kept: kept < 2.5),
    "sensors": (r"flagged now: ([\d.]+)%; healthy: True", lambda flagged: flagged < 3),
    "business": (r"kind: ([\d.]+)% of \d+ hidden words", lambda right: right > 90),
    "lecture": (r"AUROC of the default: ([\d.]+)", lambda auroc: auroc > 0.7),
    "images": (r"promised\), ([\d.]+)% of broken ones", lambda found: found > 50),
    "lake": (r"energy\s+worst error ([\d.]+)", lambda error: error <= 0.1),
    "conditions": (r"nights \* price in ([\d.]+)%", lambda kept: kept == 100),
    "serving": (r"([\d.]+)% of the scores equal", lambda same: same == 100),
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in notebooks.names()]
)
def test_a_page_runs_as_a_notebook(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "pandas"))
    book = notebooks.executed(name)
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    pattern, holds = PROMISES[name]
    printed = "\n".join(o.text for o in outputs if o.output_type == "stream")
    (value,) = numbers(printed, pattern)
    assert holds(value), printed
    page = notebooks.as_page(name, book, tmp_path)
    assert page.count("```python") == sum(cell.cell_type == "code" for cell in book.cells)
    pictures = re.findall(r"!\[Figure of the cell above\]\(([^)]+)\)", page)
    assert all((tmp_path / picture).stat().st_size > 1000 for picture in pictures)
    assert notebooks.COMMAND.sub(notebooks.CHECKED, "!x") not in page, "what the run adds is taken out again"
    nbformat.validate(book)


def page_of(folder, monkeypatch, text):
    (folder / "page.md").write_text(text)
    monkeypatch.setattr(notebooks, "GALLERY", folder)


def test_a_command_that_fails_in_a_cell_fails_the_run(tmp_path, monkeypatch):
    page_of(tmp_path, monkeypatch, "# Page\n\n```python\n!exit 3\n```\n")
    with pytest.raises(Exception, match="exit status 3"):
        notebooks.executed("page")


def test_outputs_become_markdown(tmp_path, monkeypatch):
    code = (
        "print('a\\x1b[31mred\\x1b[0m')\nprint('b')\n",
        "from IPython.display import HTML\nHTML('<table>\\n\\n<tr><td>1</td></tr></table>')\n",
        "from IPython.display import HTML\nHTML('<script>1</script>')\n",
        "2 + 3\n",
        "from IPython.display import display\ndisplay('fit: 1.0 s')\n",
    )
    page_of(tmp_path, monkeypatch, "# Page\n\n" + "\n".join(f"```python\n{block}```\n" for block in code))
    book = notebooks.executed("page")
    text = notebooks.as_page("page", book, tmp_path)
    assert "```text\nared\nb\n```" in text
    assert '<div class="output"><table>\n<tr>' in text
    assert "```text\n5\n```" in text
    assert "fit: 1.0 s" not in text.replace("display('fit: 1.0 s')", ""), "bars of progress are left out"
    assert "<script>1</script></div>" not in text
    assert [len(cell.outputs) for cell in book.cells if cell.cell_type == "code"] == [1, 1, 1, 1, 0]
