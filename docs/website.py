"""Build the site of `make site`: docs/ in plain Markdown, the gallery run, the API from docstrings, every link checked.

    docs/website.py                 out/site; open out/site/index.html, from a disk or a server
    docs/website.py --no-gallery    the gallery's pages without their outputs

docs/README.md orders the pages. Nothing on the site is asked of the network, and a policy in each page forbids it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))
import api  # noqa: E402
import notebooks  # noqa: E402

OUT = ROOT / "out"
#: Pages beside docs/, and how the list of pages names them.
BESIDE = {"README.md": "diabolo", "CHANGELOG.md": "Changes", "CONTRIBUTING.md": "Contributing", "VISION.md": "Vision"}
#: What lies in docs/ and is no page.
NO_PAGES = shutil.ignore_patterns("*.py", "__pycache__", "*.toml", "data")
LINK = re.compile(r"\]\(([^)\s]+)\)")
POLICY = (
    "default-src 'none'; img-src 'self' data:; font-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'self'; form-action 'none'; script-src 'self'"
)
#: What the theme asks of another site, so that a search works from a disk too; here it needs a server.
SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')
#: Attributes that fetch something.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


def without_code(text: str) -> str:
    """Markdown without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def spaced(text: str) -> str:
    """A list that follows a paragraph at once gets an empty line, which Python-Markdown asks for."""
    out: list[str] = []
    inside = False
    for line in text.split("\n"):
        inside ^= line.startswith("```")
        before = out[-1] if out else ""
        if not inside and re.match(r"(- |\d+\. |\|)", line) and before.strip():
            kind = r"\|" if line.startswith("|") else r"(- |\d+\. |  )"
            if not re.match(kind, before):
                out.append("")
        out.append(line)
    return "\n".join(out)


def short(page: Path) -> str:
    """How the list of pages names one: its heading up to a colon."""
    return page.read_text().partition("\n")[0].lstrip("# ").partition(":")[0].strip()


def linked(page: Path) -> list[str]:
    """Pages of Markdown that a page links, in order, once each."""
    found = (target.partition("#")[0] for target in LINK.findall(without_code(page.read_text())))
    return list(dict.fromkeys(name for name in found if name.endswith(".md") and not name.startswith("..")))


def navigation(pages: Path) -> list[dict[str, object]]:
    """The list of pages, by the headings and links of docs/README.md; a folder's own list stands where it is linked."""
    listed: list[dict[str, object]] = [{"diabolo": "README.md"}]
    text = (pages / "docs" / "README.md").read_text()
    for heading, body in re.findall(r"^\*\*(.+?)\*\*([^*]*(?:\*(?!\*)[^*]*)*)", text, re.MULTILINE):
        entries: list[object] = []
        for name in dict.fromkeys(LINK.findall(body)):
            page = pages / "docs" / name
            if page.name == "README.md":
                inner = [page.parent / n for n in linked(page)]
                held = [{short(p): str(p.relative_to(pages))} for p in inner if p.parent == page.parent]
                entries.append({short(page): [f"docs/{name}", *held]})
            elif name == "api.md":
                names = [{n: f"docs/api/{n}.md"} for n in api.pages()]
                entries.append({short(page): [f"docs/{name}", *names]})
            else:
                entries.append({short(page): f"docs/{name}"})
        listed.append({heading: entries})
    around: list[object] = [{"All pages": "docs/README.md"}]
    around += [{title: name} for name, title in BESIDE.items() if name != "README.md"]
    known = {"docs", *BESIDE}
    around += [
        {short(p): str(p.relative_to(pages))}
        for p in sorted(pages.rglob("*.md"))
        if p.relative_to(pages).parts[0] not in known
    ]
    return [*listed, {"Project": around}]


def toml(value: object) -> str:
    """Lists, tables and text in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def held(value: object) -> list[str]:
    """Pages that a list of pages names."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value
    return [page for each in inner for page in held(each)]  # type: ignore[union-attr]


def stage(build: Path, gallery: bool) -> None:
    """The pages as they are in the repository, so that links hold, with the API's and the gallery's outputs."""
    shutil.rmtree(build, ignore_errors=True)
    pages = build / "pages"
    shutil.copytree(DOCS, pages / "docs", ignore=NO_PAGES)
    for name in BESIDE:
        shutil.copy(ROOT / name, pages / name)
    api.write(pages / "docs")
    if gallery:
        notebooks.write(pages / "docs" / "gallery")
    for page in pages.rglob("*.md"):
        text = page.read_text()
        for target in LINK.findall(without_code(text)):
            path = (page.parent / target.partition("#")[0]).resolve()
            source = ROOT / path.relative_to(pages) if path.is_relative_to(pages) else path
            # A file of the repository that a page names, like a test or a benchmark.
            if not urlsplit(target).scheme and not path.exists() and source.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, path)
        page.write_text(spaced(text))
    listed = navigation(pages)
    left_out = {str(p.relative_to(pages)) for p in pages.rglob("*.md")} - set(held(listed))
    if left_out:
        raise SystemExit(f"no list names these pages: {sorted(left_out)}; add them to docs/README.md")
    config = (DOCS / "zensical.toml").read_text().replace("[project]\n", f"[project]\nnav = {toml(listed)}\n", 1)
    (build / "zensical.toml").write_text(config)
    for name in ("src", "docs"):
        (build / name).symlink_to(ROOT / name)


class Parsed(HTMLParser):
    """What a page is asked by (ids), where it leads (links), what it fetches, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.inline = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[k] for k in ("id", "name") if k in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in FETCHED and FETCHED[tag] in given and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(given[FETCHED[tag]])
        self.inline = tag == "script" and "src" not in given

    def handle_data(self, data: str) -> None:
        if self.inline:
            self.scripts.append(data)
            self.inline = False


def faults(site: Path) -> list[str]:
    """Links that lead nowhere, and what a page would ask of the network."""
    pages = {path: Parsed(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        here = path.relative_to(site)
        for target in page.links + page.fetched:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                if target in page.fetched and url.scheme != "data":
                    found.append(f"{here}: {target} is asked of the network")
                continue
            to = (path.parent / unquote(url.path)).resolve() if url.path else path
            to = to / "index.html" if to.is_dir() else to
            anchor = unquote(url.fragment)
            if not to.is_file():
                found.append(f"{here}: {target} leads nowhere")
            elif anchor and to in pages and anchor not in pages[to].ids:
                found.append(f"{here}: {target} has no such anchor")
    return found


def guard(site: Path) -> None:
    """A policy in each page: it asks nothing of other sites, and runs its own scripts alone."""
    for path in site.rglob("*.html"):
        text = SHIM.sub("", path.read_text())
        hashes = {
            "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
            for script in Parsed(text).scripts
        }
        policy = " ".join([POLICY, *sorted(hashes)])
        meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        path.write_text(text.replace("<head>", "<head>" + meta, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-gallery", action="store_true", help="do not run the gallery")
    parser.add_argument("--out", type=Path, default=OUT, help="folder in which the folder `site` is made")
    asked = parser.parse_args()
    build, site = asked.out.resolve() / "site-build", asked.out.resolve() / "site"
    stage(build, gallery=not asked.no_gallery)
    program = Path(sys.executable).parent / "zensical"
    subprocess.run([program, "build", "--clean", "--strict"], cwd=build, check=True)
    made = build / "site"
    (made / "404.html").unlink()  # only for a site at a server's root
    guard(made)
    found = faults(made)
    if found:
        raise SystemExit("\n".join(found))
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(made, site)
    shutil.rmtree(build)
    print(f"{len(list(site.rglob('*.html')))} pages; open {site / 'index.html'}")


if __name__ == "__main__":
    main()
