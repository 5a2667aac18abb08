"""What axe-core finds on the pages that diabolo makes, in Chromium: what keeps a person from reading or using one.

    npm pack axe-core && tar xzf axe-core-*.tgz     # or: pip install --no-deps axe-playwright-python
    bench/axe.py --axe package/axe.min.js
    bench/axe.py --site out/site                    the site of `make site` too: a sample of its pages, or --all of them

Each page in the light and in the dark, on a desk and on a phone: report, explore, serve, what objects show in a
notebook, the site. Printed are faults of impact serious and critical, and pages that are wider than the screen; exit
status 1 where there is one. `--shots FOLDER` keeps a picture of each.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common  # noqa: F401  (pins threads before NumPy is there)
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import Page

import diabolo

SCREENS = {"desk": (1400, 900), "phone": (390, 844)}
GRAVE = ("critical", "serious")
#: Pages of the site that are looked at unless all are.
SAMPLE = ("index", "docs/index", "docs/lecture", "docs/settings", "docs/detect", "docs/benchmarks/index")
SAMPLE = (*SAMPLE, "docs/gallery/sensors", "docs/gallery/trigger", "docs/api/AnomalyDetector", "docs/architecture")
#: Verbs that serve a page, the words beside the model, and what shows that the page is there.
PROGRAMS = (
    ("serve", (), "document.querySelector('#verdict strong') !== null"),
    ("explore", ("new.parquet",), "document.documentElement.dataset.ready === 'yes'"),
)
ASK = """axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify({version: axe.version, found:
r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n =>
({html: n.html.slice(0, 160), why: (n.any[0] || n.all[0] || n.none[0] || {}).message || ''}))}))}))"""


def table(rows: int, odd: int = 0) -> pd.DataFrame:
    """Numbers, words, gaps and truth values; the last rows are odd."""
    rng = np.random.default_rng(odd)
    z = rng.normal(size=(rows, 2))
    frame = pd.DataFrame(
        z @ rng.normal(size=(2, 4)) + 0.2 * rng.normal(size=(rows, 4)), columns=["pt", "eta", "e", "m"]
    )
    frame["colour"], frame["tagged"] = np.where(z[:, 0] > 0, "red", "blue"), z[:, 1] > 0
    frame.loc[rng.random(rows) < 0.05, "m"] = np.nan
    if odd:
        frame.loc[frame.index[-odd:], "pt"] += 30
    return frame


def make(folder: Path) -> None:
    """The files that are looked at; model and tables beside them."""
    table(800).to_parquet(folder / "data.parquet")
    new = table(300, 5)
    new.to_parquet(folder / "new.parquet")
    ae = diabolo.VariationalAutoencoder(latent_dim=2, epochs=5, random_state=0)
    detector = diabolo.AnomalyDetector(ae).fit(table(800))
    detector.save(folder / "m.diabolo")
    shown = {
        "detector": detector,
        "autoencoder": detector.autoencoder_,
        "explanation": detector.explain(new[-2:]),
        "health": detector.health(new),
        "fidelity": detector.autoencoder_.fidelity(table(300, 1)),
    }
    for name, what in shown.items():
        html = what._repr_html_() if hasattr(what, "_repr_html_") else what._repr_mimebundle_()["text/html"]
        # Jupyter's frame of a cell: language, title, a main region with a heading.
        page = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        page += f'<meta name="viewport" content="width=device-width"><title>{name}</title><body><main><h1>{name}</h1>'
        (folder / f"notebook-{name}.html").write_text(f"{page}{html}</main></body></html>")
    detector.report(new, str(folder / "report.html"), refits=False)


@contextlib.contextmanager
def running(folder: Path, *words: str):
    """The address of a page of the program, until the block ends."""
    with open(folder / f"{words[0]}.log", "w") as log:
        process = subprocess.Popen([sys.executable, "-u", "-m", "diabolo", *words], cwd=folder, stdout=log, stderr=log)
    try:
        while not (found := re.search(r"http://[\d.]+:\d+", (folder / f"{words[0]}.log").read_text())):
            if process.poll() is not None:
                raise SystemExit((folder / f"{words[0]}.log").read_text())
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def open_at(page: Page, address: str, wait: str) -> None:
    page.call("Page.navigate", url="about:blank")
    page.until("location.href === 'about:blank'")
    page.call("Page.navigate", url=address)
    page.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")
    page.until(wait)


def looked_at(
    page: Page, name: str, where: str, address: str, axe: str, shot: Path | None, wait: str = "true"
) -> list[str]:
    """What is wrong with a page as one screen shows it, a line each."""
    told = []
    page.console.clear()
    open_at(page, address, wait)
    wide = page.run("document.documentElement.scrollWidth")
    if wide > page.size[0]:
        told.append(f"{where}: {wide} pixels wide")
    if not name.startswith("notebook"):  # scikit-learn's script speaks where Jupyter's styles are missing
        told += [f"{where}: console: {line}" for line in page.console]
    if shot:
        page.screenshot(shot, whole=page.size[0] > 600)
    page.run(f"{axe};0")
    for fault in json.loads(page.run(ASK))["found"]:
        if fault["impact"] in GRAVE:
            told.append(f"{where}: {fault['impact']}: {fault['id']}: {fault['help']}")
            told += [f"    {n['html']}\n    {n['why']}" for n in fault["nodes"][:4]]
    return told


def all_looked_at(pages: Sequence[tuple[str, str, str]], axe: str, shots: Path | None) -> list[str]:
    """What is wrong with each page on each screen: one browser for a screen, light or dark."""
    told = []
    for screen, size in SCREENS.items():
        for scheme in ("light", "dark"):
            begun = len(told)
            with Page(os.devnull, *size, dark=scheme == "dark", patience=600) as page:
                page.call("Page.setBypassCSP", enabled=True)
                for name, address, wait in pages:
                    shot = shots / f"{name.replace('/', '_')}-{screen}-{scheme}.png" if shots else None
                    found = looked_at(page, name, f"{name}, {screen}, {scheme}", address, axe, shot, wait)
                    print("\n".join(found), flush=True) if found else None
                    told += found
            faults = sum(not line.startswith(" ") for line in told[begun:])
            print(f"{screen}, {scheme}: {len(pages)} pages, {faults} faults", flush=True)
    return told


def axe_of(given: Path | None) -> str:
    """The text of axe-core."""
    found = importlib.util.find_spec("axe_playwright_python")
    path = given or (Path(found.origin).with_name("axe.min.js") if found and found.origin else None)
    if path is None or not path.is_file():
        raise SystemExit(
            "axe-core is not here: --axe FILE, of `npm pack axe-core`, or pip install axe-playwright-python"
        )
    return path.read_text()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--axe", type=Path, help="axe.min.js")
    words.add_argument("--site", type=Path, help="folder of the site")
    words.add_argument("--all", action="store_true", help="every page of the site")
    words.add_argument("--only", help="names that begin so")
    words.add_argument("--keep", type=Path, help="folder in which what is made stays, and is used again")
    words.add_argument("--shots", type=Path, help="folder for pictures")
    asked = words.parse_args()
    axe = axe_of(asked.axe)
    print(re.search(r"axe v[\d.]+", axe)[0])
    if asked.shots:
        asked.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = (asked.keep or Path(name)).resolve()
        if not (folder / "report.html").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
        pages = [(p.stem, f"file://{p}", "true") for p in sorted(folder.glob("*.html"))]
        for verb, words_of, wait in PROGRAMS:
            if verb.startswith(asked.only or ""):
                at = stack.enter_context(running(folder, verb, "m.diabolo", *words_of, "--port", "0"))
                pages.append((verb, at, wait))
        if asked.site:
            site = asked.site.resolve()
            every = sorted(str(p.relative_to(site).with_suffix("")) for p in site.rglob("*.html"))
            pages += [(f"site/{n}", f"file://{site}/{n}.html", "true") for n in (every if asked.all else SAMPLE)]
        pages = [p for p in pages if p[0].startswith(asked.only or "")]
        told = all_looked_at(pages, axe, asked.shots)
    sys.exit(bool(told))


if __name__ == "__main__":
    main()
