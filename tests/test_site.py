"""The site of docs/: every page is on it, every link leads somewhere, and it asks nothing of the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import website  # noqa: E402


def test_a_list_after_a_paragraph_gets_its_empty_line():
    text = "Words\n- a\n- b\n  more\n- c\n\n1. x\n2. y\nText\n| a |\n|---|\n```\nx\n- y\n```\n"
    assert website.spaced(text) == (
        "Words\n\n- a\n- b\n  more\n- c\n\n1. x\n2. y\nText\n\n| a |\n|---|\n```\nx\n- y\n```\n"
    )


@pytest.fixture
def small(tmp_path):
    (tmp_path / "a.html").write_text('<head></head><a href="b.html#there">x</a><a href="https://x.org/">y</a>')
    (tmp_path / "b.html").write_text('<head></head><h1 id="there">b</h1><a href="#there">x</a><script>1</script>')
    return tmp_path


def test_links_that_lead_nowhere_are_told(small):
    assert website.faults(small) == []
    (small / "c.html").write_text('<a href="d.html">x</a><a href="b.html#gone">y</a><a href="#gone">z</a>')
    assert website.faults(small) == [
        "c.html: d.html leads nowhere",
        "c.html: b.html#gone has no such anchor",
        "c.html: #gone has no such anchor",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://x.org/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.org/a.css">',
        '<img src="http://x.org/a.png">',
    ],
)
def test_what_asks_the_network_is_told(small, text):
    (small / "c.html").write_text(text)
    (fault,) = website.faults(small)
    assert "is asked of the network" in fault


def test_each_page_gets_a_policy_that_knows_its_scripts(small):
    website.guard(small)
    text = (small / "b.html").read_text()
    assert "default-src 'none'" in text
    # echo -n 1 | openssl sha256 -binary | base64
    assert "'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='" in text
    assert "sha256-" not in (small / "a.html").read_text()


def test_the_list_of_pages_has_each_page_once():
    listed = website.held(website.navigation(ROOT))
    pages = {str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(listed)
    assert len(listed) == len(set(listed))


def test_a_page_that_no_list_names_is_refused(tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("images", "data"))
    for name in website.BESIDE:
        shutil.copy(ROOT / name, tmp_path / name)
    (docs / "forgotten.md").write_text("# Forgotten\n")
    monkeypatch.setattr(website, "ROOT", tmp_path)
    monkeypatch.setattr(website, "DOCS", docs)
    with pytest.raises(SystemExit, match=r"docs/forgotten\.md"):
        website.stage(tmp_path / "build", gallery=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical")
    pytest.importorskip("mkdocstrings_handlers.python")
    # Without the gallery's outputs, which tests/test_gallery.py looks at.
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "website.py", "--no-gallery", "--out", folder],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_has_every_page_and_the_names_of_the_api(site):
    pages = {str(p.relative_to(site)) for p in site.rglob("*.html")}
    wanted = {str(p.relative_to(ROOT).with_suffix(".html")) for p in (ROOT / "docs").rglob("*.md")}
    assert {w.replace("README", "index") for w in wanted} <= pages
    text = (site / "docs" / "api" / "AnomalyDetector.html").read_text()
    assert 'id="diabolo.estimators.detector.AnomalyDetector.fit"' in text
    assert '<span class="gp">&gt;&gt;&gt; </span>' in text, "examples are code"
    assert "found_elsewhere" not in text
    derived = (site / "docs" / "api" / "LinearAutoencoder.html").read_text()
    assert 'id="diabolo.estimators.named.LinearAutoencoder"' in derived
    assert 'id="diabolo.estimators.named.LinearAutoencoder.' not in derived, "its methods stand on the base's page"


@pytest.mark.parametrize("size", [(1400, 900), (390, 844)], ids=["desk", "phone"])
def test_pages_fit_the_screen_and_ask_for_nothing(site, size):
    from browser import Page

    with Page(site / "index.html", *size) as page:
        for name in ("index", "docs/benchmarks/index", "docs/settings", "docs/api/AnomalyDetector", "docs/lecture"):
            page.call("Page.navigate", url=f"file://{site / name}.html")
            page.until(f"document.readyState === 'complete' && location.href.endsWith('{name}.html')")
            assert page.run("document.documentElement.scrollWidth") <= size[0], name
        assert page.console == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
