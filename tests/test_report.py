"""The report: its numbers, its checks on models built with a defect and without, and the page as a browser sees it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import shutil
import zlib
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from browser import Page
from program import done, refused

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, VariationalAutoencoder
from diabolo.data.hashing import fingerprint, hash_rows
from diabolo.data.matching import matched
from diabolo.data.table import as_table
from diabolo.errors import ConfigError, DataError
from diabolo.model.active import active_units
from diabolo.report import write_report
from diabolo.report.alarms import alarms, findings
from diabolo.report.bottleneck import compared_sizes
from diabolo.report.evidence import Evidence, Given, ReportRows
from diabolo.report.html import join, tag
from diabolo.report.png import png, sheet
from diabolo.report.sections import Missing, sections
from diabolo.report.sections.size import subspace_angle
from diabolo.report.space import explained_variance, pass_rows, principal_components

NASTY = '</script><script>alert("1")</script><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def flat(plane):
    """900 training rows near a plane in eight dimensions, and 300 others."""
    return plane[1][:900], plane[1][900:]


@pytest.fixture(scope="module")
def sound(flat):
    """A VAE and a linear autoencoder that suit the plane."""
    vae = VariationalAutoencoder(latent_dim=2, hidden=(16,), epochs=20, batch_size=64, learning_rate=1e-2).fit(flat[0])
    return {"vae": vae, "ae": LinearAutoencoder(latent_dim=2).fit(flat[0])}


def look(model, X, detector=None, refits=False):
    table = matched(as_table(X), model.model_.encoding.schema, "the model")
    rows = ReportRows("X", table.values, np.arange(len(table)), len(table), fingerprint(hash_rows(table.values)))
    state = None if detector is None else detector.calibrated_
    given = Given("model", type(model).__name__, model.fitted_, model.sampler_, state)
    return Evidence(given, rows, refits=refits)


def status(model, X, *names):
    found = findings(look(model, X))
    return {n: found[n].status for n in (names or found)}


# ── checks: each fires on a model that has the defect, and is silent on a sound one ───────────────


@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_no_alarm_on_a_sound_model(sound, flat, kind):
    for X in flat:
        assert "alarm" not in status(sound[kind], X).values()
    assert set(status(sound[kind], flat[1])) == set(alarms)


def test_more_flagged_rows_than_the_promise_allows(flat, sound):
    X, new = flat
    detector = AnomalyDetector(sound["ae"], score="nll", false_alarm_rate=0.02).fit(new[:150])
    found = {
        n: findings(look(sound["ae"], rows, detector))["rate"] for n, rows in (("new", new[150:]), ("odd", 3 * new))
    }
    assert found["new"].status == "sound", found
    assert found["odd"].status == "alarm"
    assert "promised; unchanged rows give" in found["odd"].measured
    assert "diabolo health" in found["odd"].advice
    assert status(sound["ae"], new, "rate") == {"rate": "skipped"}, "without a detector nothing is promised"
    fitted = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    assert findings(look(fitted.autoencoder_, X, fitted))["rate"].status == "skipped", "they set the threshold"


def test_posterior_collapse(flat):
    collapsed = VariationalAutoencoder(
        latent_dim=2, hidden=(8,), epochs=6, batch_size=64, learning_rate=1e-2, beta=50.0
    )
    found = findings(look(collapsed.fit(flat[0]), flat[1]))["collapse"]
    assert found.status == "alarm"
    assert "of 2 latent units active; the code carries 0.0" in found.measured
    assert "now 50" in found.advice


def test_a_partly_used_latent_is_a_note(flat):
    """Two of the encoder's means are constant, and their widths are the prior's."""
    vae = VariationalAutoencoder(latent_dim=4, hidden=(8,), epochs=2).fit(flat[0])
    with torch.no_grad():
        for part in ("weight", "bias"):
            vae.model_.store.views[f"encoder.2.{part}"][[1, 2, 5, 6]] = 0.0
    found = findings(look(vae, flat[1]))["collapse"]
    assert found.status == "note"
    assert found.measured.startswith("2 of 4")


def test_identity_copying(flat, sound):
    copier = LinearAutoencoder(latent_dim=8).fit(flat[0])
    assert status(copier, flat[1], "identity") == {"identity": "alarm"}
    assert status(sound["ae"], flat[1], "identity") == {"identity": "sound"}


@pytest.mark.parametrize("defect", ["hidden", "code"])
def test_dead_units(flat, defect):
    ae = Autoencoder(latent_dim=2, hidden=(16,), epochs=3).fit(flat[0])
    assert status(ae, flat[1], "dead")["dead"] in ("sound", "note")
    views = ae.model_.store.views
    with torch.no_grad():
        if defect == "hidden":
            views["encoder.0.bias"][:12] = -1e3
        else:
            views["encoder.2.weight"][1] = 0.0
    found = findings(look(ae, flat[1]))["dead"]
    assert found.status == "alarm"
    assert ("encoder layer 1, 12 of 16" in found.advice) if defect == "hidden" else ("1 of 2 latent" in found.measured)


def test_rows_that_were_trained_on(flat, sound):
    train, new = flat
    assert status(sound["vae"], np.concatenate([new, train[:50]]), "seen") == {"seen": "alarm"}
    assert status(sound["vae"], new, "seen") == {"seen": "sound"}
    assert status(sound["vae"], train, "seen") == {"seen": "sound"}
    twice = np.concatenate([train[:400], train[:400]])
    assert status(AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(twice).autoencoder_, twice, "seen") == {
        "seen": "alarm"
    }


@pytest.mark.parametrize("defect", ["label", "number", "copy", None])
def test_columns_that_leak(flat, defect):
    frame = pd.DataFrame(flat[0], columns=[f"c{i}" for i in range(8)])
    if defect == "label":
        frame["is_signal"] = (frame.c0 > 1).astype(int)
    elif defect == "number":
        frame["id"] = np.arange(len(frame)) * 3
    elif defect == "copy":
        frame["again"] = -2.5 * frame.c3 + 1
    ae = LinearAutoencoder(latent_dim=2, epochs=1).fit(frame)
    found = findings(look(ae, frame))["columns"]
    assert found.status == ("alarm" if defect else "sound")
    named = {"label": "is_signal", "number": "--exclude id", "copy": "again", None: ""}[defect]
    assert named in found.measured + found.advice


def test_a_column_that_is_mostly_absent_is_no_copy(mixed):
    model = AnomalyDetector(VariationalAutoencoder(slots={"e": 2}, epochs=2)).fit(mixed).autoencoder_
    assert status(model, mixed, "columns") == {"columns": "sound"}


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────


def test_active_units():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(4000, 3)) * [1.0, 0.11, 0.09]
    assert active_units(codes).tolist() == [True, True, False]


def test_the_certificate_of_a_linear_autoencoder(flat, sound):
    e = look(sound["ae"], flat[0])
    # Its decoder spans the principal subspace, and leaves what PCA leaves.
    assert subspace_angle(e)[0] < 0.05
    sizes = compared_sizes(e)
    pca = next(p for p in sizes.pca if p.k == 2)
    assert sizes.own.explained == pytest.approx(pca.explained, abs=1e-4)
    assert sizes.own.bits == pytest.approx(pca.bits, rel=1e-3)
    with torch.no_grad():
        sound_weights = sound["ae"].model_.store.views["decoder.0.weight"]
        kept = sound_weights.clone()
        sound_weights[:, 0] = torch.from_numpy(e.components.axes[:, 5].copy())
    try:
        assert subspace_angle(look(sound["ae"], flat[0]))[0] == pytest.approx(90, abs=0.5)
    finally:
        sound_weights.copy_(kept)


def test_components_are_those_of_numpy():
    x = np.random.default_rng(1).normal(size=(300, 5)) @ np.random.default_rng(2).normal(size=(5, 5))
    found = principal_components(x.astype(np.float32))
    values, _ = np.linalg.eigh(np.cov(x.T, bias=True))
    np.testing.assert_allclose(found.variances, values[::-1], rtol=1e-3)
    *_, (k, whole) = found.reconstruct(x.astype(np.float32), [1, 3, 5])
    assert k == 5
    np.testing.assert_allclose(whole, x, atol=1e-4)


def test_the_share_explained_counts_only_cells_that_are_there():
    x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    there = np.ones((100, 2), bool)
    there[50:, 0] = False
    hat = x.copy()
    hat[50:, 0] = 99.0
    shares, *_ = explained_variance(x, hat, there, np.array([0, 1]), 3)
    np.testing.assert_allclose(shares, [1.0, 1.0, np.nan])


def test_what_a_pass_expects_of_angles_and_categories(mixed):
    """E[cos φ] and the levels' probabilities, not a direction of length 1 and the likeliest level."""
    model = VariationalAutoencoder(slots={"e": 2}, epochs=3).fit(mixed).model_
    values = matched(as_table(mixed), model.encoding.schema, "x").values
    p = pass_rows(model, values)
    blocks = {b.kind: b for b in model.encoding.blocks}
    angle, colors = blocks["angle"], blocks["categorical"]
    assert (np.square(p.x_hat[:, angle.start : angle.stop]).sum(axis=1) < 1).all()
    np.testing.assert_allclose(p.x_hat[:, colors.start : colors.stop].sum(axis=1), 1, atol=1e-5)
    slots, missing = blocks["slots"], blocks["missing"]
    assert not p.there[:, slots.start : slots.stop].any()
    assert not p.there[:, missing.start : missing.stop].any()


def test_sizes_with_quick_refits(flat, sound):
    sizes = compared_sizes(look(sound["ae"], np.concatenate(flat * 4), refits=True))
    assert [p.k for p in sizes.refits] == [1, 2, 4]
    # Trained for a moment on rows of the table, they come near the optimum.
    assert [p.explained for p in sizes.refits][:2] == pytest.approx([p.explained for p in sizes.pca][:2], abs=0.05)
    by_k = {p.k: p for p in sizes.pca}
    # Rows lie near a plane: the second number matters, the third does not, and the whole space detects nothing.
    assert by_k[2].explained - by_k[1].explained > 0.2 > by_k[3].explained - by_k[2].explained
    assert by_k[2].detection > by_k[8].detection + 0.05
    assert compared_sizes(look(sound["ae"], flat[1], refits=False)).refits == []


def test_a_png_has_its_pixels():
    pixels = sheet(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), across=2, gap=1)
    assert pixels.shape == (3, 9)
    raw = png(pixels)
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    lines = np.frombuffer(zlib.decompress(raw[raw.index(b"IDAT") + 4 :]), np.uint8).reshape(3, 10)
    np.testing.assert_array_equal(np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8), pixels)


# ── the page ──────────────────────────────────────────────────────────────────────────────────────


class Reader(HTMLParser):
    """Elements with their attributes, and what is not closed or closed twice."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.wrong, self.text = [], [], [], []

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name not in ("meta", "input", "br", "img", "hr", "link"):
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.found.append((name, dict(attributes)))

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.wrong.append(name)

    def all(self, name):
        return [a for n, a in self.found if n == name]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, mixed, images):
    """Reports on a table of every kind of column, of images, and of a bare autoencoder; and the nasty table's rows."""
    folder = tmp_path_factory.mktemp("pages")
    frame = pd.concat([mixed] * 2, ignore_index=True).rename(columns={"a": NASTY, "colour": "kind & <b>"})
    frame["truth"] = np.where(np.arange(len(frame)) % 3, NASTY, "<i>x")
    columns = frame.drop(columns="truth")
    detector = AnomalyDetector(VariationalAutoencoder(slots={"e": 2}, epochs=4)).fit(columns)
    detector.save(folder / "m.diabolo")
    write_report(folder / "m.diabolo", frame, folder / "table.html", label="truth", refits=True)
    write_report(AnomalyDetector(Autoencoder(latent_dim=3, epochs=3)).fit(images), images, folder / "images.html")
    write_report(Autoencoder(latent_dim=1, epochs=2).fit(columns), columns, folder / "bare.html", refits=False)
    frame.to_parquet(folder / "frame.parquet")
    return folder


@pytest.mark.parametrize("name", ["table", "images", "bare"])
def test_the_page_is_whole_and_asks_for_nothing(pages, name):
    text = (pages / f"{name}.html").read_text()
    page = Reader()
    page.feed(text)
    assert page.wrong == []
    assert page.open == []
    ids = [a["id"] for _, a in page.found if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.found:
        for key in ("aria-labelledby", "aria-describedby", "for"):
            assert set((attributes.get(key) or "").split()) <= set(ids)
        for key in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
        assert not any(k.startswith("on") or k == "style" for k in attributes)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|eval\(|innerHTML", text)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, element in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        (body,) = re.findall(element, text, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert len(text) < 6e6


@pytest.mark.parametrize("name", ["table", "images", "bare"])
def test_the_page_can_be_read_without_seeing_it(pages, name):
    page = Reader()
    page.feed((pages / f"{name}.html").read_text())
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.all("nav")[0]["aria-label"]
    assert len(page.all("h1")) == 1
    levels = [int(n[1]) for n, _ in page.found if re.fullmatch(r"h[1-6]", n)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), "a level of headings is jumped over"
    assert all(a["alt"] for a in page.all("img"))
    for svg in page.all("svg"):
        assert "aria-hidden" in svg or svg["role"] == "img"
    assert len(page.all("caption")) == len(page.all("table")) > 2
    assert {a["scope"] for a in page.all("th")} == {"col", "row"}
    titles = {sections.get(n).title for n in sections}
    assert {f"#{n}" for n in sections} <= {a["href"] for a in page.all("a")}
    assert len(titles) == len(sections.names())


def test_names_and_values_are_text(pages):
    text = (pages / "table.html").read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "kind & <b>" not in text
    assert "<i>x" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert" in text
    assert "\\u003c/script\\u003e" in text
    assert tag("p", NASTY, title='"><b>') == tag("p", join([NASTY]), title='"><b>')
    assert "\u202e" not in join(["a\u202eb\x00"])


def test_same_rows_same_bytes(pages, monkeypatch):
    frame = pd.read_parquet(pages / "frame.parquet")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    write_report(pages / "m.diabolo", frame, pages / "again.html", label="truth", refits=True)
    again = (pages / "again.html").read_text()
    assert '<time datetime="1970-01-02">' in again
    first = (pages / "table.html").read_text()
    assert first.replace(date.today().isoformat(), "1970-01-02") == again


def test_sections_that_are_missing_say_how_to_get_them(flat, sound):
    e = look(sound["ae"], flat[1])
    lacking = {n: s for n in sections if isinstance(s := sections.create(n)(e), Missing)}
    assert "anomalies" in lacking
    assert all(s.why for s in lacking.values())
    assert lacking["anomalies"].command.startswith("diabolo calibrate")


def test_sections_of_later_verbs(shop, here):
    """Clusters and codec are shown once the file has them; samples always."""
    model, data = here / "m.diabolo", shop / "data.parquet"
    shutil.copy(shop / "vae.diabolo", model)
    done("report", model, data, "-o", "before.html", "--no-refits")
    before = (here / "before.html").read_text()
    assert "diabolo cluster MODEL DATA" in before
    assert "diabolo compress MODEL DATA" in before
    done("cluster", model, data, "-o", "labels.parquet", "--clusters", 2)
    done("compress", model, data, "-o", "data.dbl", "--max-error", "0.01")
    done("report", model, data, "-o", "after.html", "--no-refits")
    after = (here / "after.html").read_text()
    assert "2 clusters of codes" in after
    assert "cluster 1" in after
    assert re.search(r"400 rows of [\d,]+ bytes take [\d,]+ without the codec", after)
    assert after.count("of 0.01</td>") == 3  # pt, eta and phi are floats
    assert re.search(r"2,000 rows drawn from the model beside \d+ of the table", after)
    page = Reader()
    page.feed(after)
    assert page.wrong == page.open == []


def test_from_the_command_line(pages, here):
    said = done(
        "report", pages / "m.diabolo", pages / "frame.parquet", "-o", "r.html", "--label", "truth", "--no-refits"
    )
    assert "r.html" in said
    assert (here / "r.html").read_text().startswith("<!doctype html>")
    model, data = pages / "m.diabolo", pages / "frame.parquet"
    assert "'nope'" in refused("report", model, data, "-o", "x.html", "--label", "nope")
    assert "choose another name" in refused("report", model, data, "-o", model)
    assert not (here / "x.html").exists()


def test_one_row_has_a_page(pages, here):
    pd.read_parquet(pages / "frame.parquet")[:1].to_parquet("one.parquet")
    done("report", pages / "m.diabolo", "one.parquet", "-o", "one.html", "--no-refits")
    assert "One row has no principal components" in (here / "one.html").read_text()


def test_bad_calls(flat, sound, tmp_path):
    with pytest.raises(ConfigError, match="allowed are a model file"):
        write_report(3, flat[0], tmp_path / "r.html")
    with pytest.raises(DataError, match="2 values for 300 rows"):
        write_report(sound["ae"], flat[1], tmp_path / "r.html", label=[1, 2])
    with pytest.raises(DataError, match="no row can be scored, the first for this reason: infinite: x0"):
        write_report(sound["ae"], np.full((4, 8), np.inf), tmp_path / "r.html")
    with pytest.raises(DataError, match="no such column"):
        write_report(sound["ae"], flat[1], tmp_path / "r.html", label="truth")
    with pytest.raises(ConfigError, match="allowed is the name of a column"):
        write_report(sound["ae"], tmp_path / "table.csv", tmp_path / "r.html", label=np.zeros(300))
    assert not (tmp_path / "r.html").exists()


# ── in a browser ──────────────────────────────────────────────────────────────────────────────────


def test_in_a_browser(pages):
    with Page(pages / "table.html") as page:
        assert page.console == []
        assert [u for u in page.requests if not u.startswith(("file:", "data:"))] == []
        # The map: all rows, then fewer; a level is hidden; another color; the keyboard.
        assert page.run("document.getElementById('map-live').hidden") is False
        count = "Number(document.getElementById('map-canvas').dataset.count)"
        everything = page.run(count)
        page.run("(e => { e.value = 90; e.dispatchEvent(new Event('input')); })(document.getElementById('map-from'))")
        assert 0 < page.run(count) < 0.2 * everything
        page.run("(e => { e.value = 0; e.dispatchEvent(new Event('input')); })(document.getElementById('map-from'))")
        choose = (
            "(e => { e.value = 'truth'; e.dispatchEvent(new Event('change')); })(document.getElementById('map-color'))"
        )
        page.run(choose)
        page.run("document.querySelector('#map-legend button').click()")
        assert 0 < page.run(count) < everything
        page.run("document.getElementById('map-canvas').focus()")
        page.key("Home")
        assert page.run("document.getElementById('map-detail').textContent").startswith("Row ")
        # A table: filtered, sorted.
        shown = "[...document.querySelectorAll('#columns-table tbody tr')].filter(r => !r.hidden)"
        page.run(
            "(e => { e.value = 'E1'; e.dispatchEvent(new Event('input')); })(document.getElementById('columns-filter'))"
        )
        assert (
            page.run(f"{shown}.map(r => r.cells[0].textContent)") == ["e1_pt", "e1_eta"]
            or page.run(f"{shown}.length") == 2
        )
        page.run("document.querySelector('#columns-table th:nth-child(1) button').click()")
        names = page.run("[...document.querySelectorAll('#columns-table tbody th')].map(c => c.textContent)")
        assert names == sorted(names, key=str.casefold) or page.run(
            "document.querySelector('[aria-sort=ascending]') !== null"
        )
        # Light and dark.
        before = page.run("getComputedStyle(document.body).backgroundColor")
        page.run("document.getElementById('theme').click()")
        assert page.run("getComputedStyle(document.body).backgroundColor") != before
        assert page.console == []


def test_on_a_phone_and_in_the_dark(pages):
    with Page(pages / "images.html", width=390, height=800, dark=True) as page:
        assert page.console == []
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("getComputedStyle(document.documentElement).colorScheme") == "dark"
        assert page.run("document.getElementById('theme').textContent") == "Light"
