"""The pages: links lead somewhere, commands are the program's, and what the code names or writes is there."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from program import done, run

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.cli.app import app
from diabolo.demo import run_demo
from diabolo.version import __version__

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import build  # noqa: E402
import snippets  # noqa: E402

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
#: Pages whose commands run on a table of the reader's own, in this order.
GUIDES = [
    ROOT / "README.md",
    *(DOCS / f"{job}.md" for job in ("detect", "report", "encode", "compress", "cluster", "generate", "fill")),
]


def named(path):
    return str(path.relative_to(ROOT))


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", h).lower()).strip().replace(" ", "-") for h in headings}


def commands(page):
    """Lines of a page's blocks that call the program, without what follows as a remark."""
    blocks = re.findall(r"^```(?:text|sh|bash)?\n(.*?)^```$", page.read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("diabolo ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.is_file() and anchor not in anchors(path)):
            wrong.append(target)
    assert wrong == []


def test_pages_that_code_names_are_there():
    wrong = []
    for folder, kinds in {
        "src": ("*.py", "*.md"),
        "tests": ("*.py",),
        "bench": ("*.py",),
        "docs": ("*.py", "*.toml"),
    }.items():
        for path in [p for kind in kinds for p in (ROOT / folder).rglob(kind)]:
            for name in re.findall(r"\bdocs/[\w/.-]+\.(?:md|toml|py|npz)\b", path.read_text()):
                if not (ROOT / name).exists():
                    wrong.append(f"{named(path)}: {name}")
    assert wrong == []


def test_the_citation_has_the_version_and_the_license():
    cited = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (__version__, project["license"])
    assert cited["cff-version"] == "1.2.0"


def test_every_page_comes_with_the_wheel():
    """`diabolo docs` shows them; a new page has its line in pyproject.toml."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    taken = wheel["force-include"]
    pages = [named(p) for p in DOCS.rglob("*.md")]
    assert [p for p in pages if p not in taken and str(Path(p).parent) not in taken] == []
    assert [p for p in taken if not (ROOT / p).exists()] == []
    assert all(target == f"diabolo/{source}" for source, target in taken.items())


def test_every_page_is_in_the_list_of_its_folder():
    for folder in (DOCS, DOCS / "benchmarks", DOCS / "decisions"):
        listed = (folder / "README.md").read_text()
        missing = [p.name for p in folder.glob("*.md") if p.name != "README.md" and f"]({p.name})" not in listed]
        assert missing == [], folder


def test_the_pages_are_in_step_with_the_code():
    assert build.faults() == []


def test_the_layers_file_gives_each_layer_a_level_a_sentence_and_modules():
    layers = tomllib.loads((DOCS / "layers.toml").read_text())["layer"]
    assert [set(layer) for layer in layers] == [{"level", "about", "holds"}] * len(layers)
    levels = [layer["level"] for layer in layers]
    assert levels == sorted(levels)


def test_the_list_of_modules_names_each_one():
    listed = build.modules()
    for path in build.SOURCE.rglob("*.py"):
        if path.name == "__init__.py":
            if path.parent != build.SOURCE:
                assert f"`{path.parent.relative_to(build.SOURCE).as_posix()}/`: " in listed
        else:
            assert f"- `{path.stem}`: " in listed, path


def test_a_page_out_of_step_is_told(tmp_path, monkeypatch):
    page = tmp_path / "architecture.md"
    page.write_text(build.ARCHITECTURE.read_text() + "- `ghost`: A module that is not there.\n")
    monkeypatch.setattr(build, "ARCHITECTURE", page)
    assert "docs/architecture.md is out of step with the code" in build.faults()


def test_lines_that_are_too_long_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "x" * 120 + "\n" + "x" * 121 + "\n| " + "x" * 150 + " |\n| " + "x" * 160 + " |\n```\n" + "x" * 150 + "\n```\n"
    )
    assert build.too_wide(page) == [2, 4]


def test_a_comment_is_parted_at_its_first_sentence():
    assert build.parted("A b (C 2017, app. B). None: 2. Then c.") == ("A b (C 2017, app. B).", "None: 2. Then c.")
    assert build.parted("As in D et al. 2017, eq. 3; or 0.\n5 more.") == (
        "As in D et al. 2017, eq. 3; or 0. 5 more.",
        "",
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_the_programs(page):
    verbs = typer.main.get_command(app).commands
    for words in commands(page):
        if not words[0].startswith("-"):
            given = [w for w in words[1:] if w != "..."]
            with verbs[words[0]].make_context(words[0], given):
                pass


def test_the_readme_names_every_extra_with_what_it_brings():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (ROOT / "README.md").read_text().split("## What")[0], re.M))
    assert set(rows) == set(extras)
    for extra, packages in extras.items():
        brings = rows[extra].lower().replace("pysz", "sz3")
        names = [re.split(r"[\[>=<]", p)[0].lower() for p in packages]
        assert "and more" in brings or all(name in brings for name in names), extra


@pytest.mark.slow
def test_the_readmes_demo_is_what_the_demo_prints(tmp_path, capsys):
    run_demo(tmp_path / "out")
    printed, said = snippets.table_rows(capsys.readouterr().out), snippets.table_rows((ROOT / "README.md").read_text())
    rows = [name for name in printed if name in said]
    assert len(rows) == 3
    for name in rows:
        assert snippets.agree(said[name], printed[name]), f"{name}: the page says {said[name]}, but now {printed[name]}"


SAMPLE = ROOT / "src" / "diabolo" / "sample" / "background.parquet"
JETS = [f"j{k}_pt" for k in range(1, 6)]


def shipped(n, start):
    """Rows of the sample that ships, with columns of the names that the pages use."""
    events = pd.read_parquet(SAMPLE, columns=["met_pt", "met_phi", *JETS]).iloc[start : start + n]
    frame = pd.DataFrame({"pt": events.met_pt, "phi": events.met_phi, "mass": events.j1_pt + events.met_pt})
    frame = frame.assign(hits=(events[JETS] > 0).sum(axis=1).clip(upper=5))
    frame["colour"] = np.where(events.met_pt > events.met_pt.median(), "red", "blue")
    return frame.assign(id=np.arange(start, start + n)).reset_index(drop=True)


def in_prose(page):
    """Commands within sentences that name the page's own model file."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found = re.findall(r"`(diabolo [a-z]+ [^`]*my\.diabolo[^`]*)`", " ".join(text.split()))
    return [shlex.split(line)[1:] for line in found]


#: Rows of DATA that a page needs: README.md promises 0.1 %, of a fit's 4,995 rows; compress.md reads row 1,000 back.
LONGER = {"README.md": 5000, "compress.md": 1100}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with the tables that the pages name."""
    folder = tmp_path_factory.mktemp("tables")
    for k, name in enumerate(("DATA", "NEW", "NEWER", "TODAY", "LABELLED")):
        frame = shipped(n := 500, 5000 * k)
        if name == "LABELLED":
            frame = frame.assign(label=np.arange(n) % 25 == 0)
        frame.to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("page", GUIDES, ids=named)
def test_a_pages_commands_and_blocks_run_as_they_stand(page, tables, tmp_path, monkeypatch):
    """In the order of the page, on rows of the sample that ships; fits of two epochs."""
    monkeypatch.chdir(tmp_path)
    for path in tables.iterdir():
        Path(path.name).symlink_to(path)
    if page.name in LONGER:
        Path("DATA.parquet").unlink()
        shipped(LONGER[page.name], 0).to_parquet("DATA.parquet")
    lines, told = [*commands(page), *in_prose(page)], []
    assert lines
    if not Path("my.diabolo").exists() and not any(words[0] == "fit" for words in lines):
        done("fit", "DATA.parquet", "-o", "my.diabolo", "--epochs", 2, "-q")
    for words in lines:
        if words[:2] == ["decompress", "DAMAGED.dbl"]:
            Path("DAMAGED.dbl").write_bytes(Path("DATA.dbl").read_bytes())
        if words[0] in ("demo", "serve"):
            continue  # minutes, and without an end; test_cli.py and test_serve.py run them
        more = {"fit": ["--epochs", "2", "-q"], "report": ["--no-refits"]}.get(words[0], [])
        status, out, err = run(*words, *more)
        # 1 is an alarm of health.
        assert status in ((0, 1) if words[0] == "health" else (0,)), (words, err)
        told.append(out)
    X, X_new = pd.read_parquet("DATA.parquet"), pd.read_parquet("NEW.parquet")
    X_gappy = X_new.assign(mass=X_new.mass.where(np.arange(len(X_new)) % 5 > 0))
    given = {"X": X, "X_new": X_new, "X_more": pd.read_parquet("NEWER.parquet"), "X_gappy": X_gappy}
    for block in snippets.blocks(page):
        detector = AnomalyDetector(VariationalAutoencoder(epochs=2)) if "detector" not in given else None
        if detector is not None and re.search(r"\bdetector\b", block.code) and "detector =" not in block.code:
            given["detector"] = detector.fit(X)
        snippets.run(block, given, named(page))
