"""`diabolo explore`: the file for embedding-atlas, the page's requests against NumPy's answers, and the page itself."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import stat
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import Page
from program import done, refused, table, write

from diabolo.data.reading import as_fitted
from diabolo.explore.atlas import OWN, command, write_atlas
from diabolo.explore.bins import MISSING, OTHER, binned
from diabolo.explore.measuring import measure
from diabolo.explore.nearest import nearest_rows
from diabolo.explore.projection import Whitening, projected
from diabolo.explore.view import Selection, View
from diabolo.file.model_file import ModelFile

ROWS = 900


def wide(n=ROWS, seed=1):
    """The shared table with more kinds of column, missing cells, rows that cannot be scored, and a name of ours."""
    rng = np.random.default_rng(seed)
    frame = table(n, seed).drop(columns="truth")
    frame.loc[rng.random(n) < 0.02, "pt"] *= 3
    frame["site"] = rng.choice(["north", "south", None], n, p=[0.6, 0.3, 0.1])
    frame["when"] = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s")
    frame["name"] = [f"row {i}" for i in range(n)]
    frame["score"] = rng.normal(size=n)
    frame.loc[7, "eta"] = np.inf
    return frame


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the table, and a model of some of its columns that has clusters."""
    folder = tmp_path_factory.mktemp("explore")
    write(wide(), folder / "data.parquet")
    write(wide().drop(index=7), folder / "fit.parquet")
    words = ("--columns", "pt,eta,phi,hits,tagged", "--latent", 3, "--epochs", 4, "-q")
    done("fit", folder / "fit.parquet", "-o", folder / "m.diabolo", *words, "--set", "random_state=1")
    labels = folder / "labels.parquet"
    done("cluster", folder / "m.diabolo", folder / "fit.parquet", "-o", labels, "--clusters", 2, "-q")
    return folder


def measured_of(place, folder, data="data.parquet", **more):
    file = ModelFile(place / "m.diabolo")
    source = as_fitted(str(place / data), file.schema)
    return measure(file, file.detector, source, folder, lambda _: None, **more)


@pytest.fixture(scope="module")
def measured(place, tmp_path_factory):
    return measured_of(place, tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="module")
def fields(measured, tmp_path_factory):
    return binned(measured, tmp_path_factory.mktemp("bars"))


@pytest.fixture
def view(measured, fields):
    return View(measured, *fields)


# ── places ────────────────────────────────────────────────────────────────────────────────────────


def test_whitened_axes_have_unit_covariance_and_fall_in_variance(rng):
    z = rng.normal(size=(4000, 3)) @ np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0.1]]) + 5
    found = Whitening.of(z)
    assert np.allclose(np.cov(found(z).T), np.eye(3))
    variances = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    assert np.allclose(np.square(np.linalg.inv(found.axes)).sum(axis=1), variances)
    z[5] = np.nan
    x, y, axes = projected(z.astype(np.float32), np.zeros(len(z)))
    assert np.isnan([x[5], y[5]]).all()
    assert np.isfinite(np.delete(x, 5)).all()
    assert axes == ("whitened latent axis 1", "whitened latent axis 2")


def test_an_axis_without_spread_is_zero(rng):
    z = np.stack([rng.normal(size=500), np.full(500, 2.0)], axis=1)
    x, y, _ = projected(z.astype(np.float32), np.zeros(500))
    assert np.isclose(x.std(), 1, atol=1e-2)
    assert (y == 0).all()


def test_one_latent_number_stands_against_the_score():
    z, scores = np.array([[0.5], [np.nan], [2.0]], np.float32), np.array([1.0, 2.0, 3.0])
    x, y, axes = projected(z, scores)
    assert axes == ("latent number", "score")
    assert x[[0, 2]].tolist() == [0.5, 2.0]
    assert y[[0, 2]].tolist() == [1.0, 3.0]
    assert np.isnan(y[1])


def test_neighbors_are_those_of_all_distances(rng):
    z = rng.normal(size=(60, 3)) * [5, 1, 0.2]
    white = Whitening.of(z)(z)
    far = np.sqrt(np.square(white[:, None] - white[None]).sum(-1)) + np.diag(np.full(60, np.inf))
    at, distance = nearest_rows(z, 4)
    assert np.array_equal(at, np.argsort(far, axis=1)[:, :4])
    assert np.allclose(distance, np.sort(far, axis=1)[:, :4])
    assert nearest_rows(z[:1], 4)[0].tolist() == [[-1] * 4]


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_the_file_has_its_columns_and_types(place, here):
    said = done("explore", place / "m.diabolo", place / "data.parquet", "-o", "atlas.parquet")
    found, frame = pq.read_table("atlas.parquet"), wide()
    ours = ["row", "projection_x", "projection_y", f"{OWN}score", "p_value", "is_anomaly", "flag", "cluster"]
    ours += ["top_1", "top_2", "top_3", "neighbors"]
    assert found.column_names == [*ours, *frame.columns]
    kinds = [pa.int64(), *[pa.float32()] * 2, *[pa.float64()] * 2, pa.bool_(), pa.string(), pa.int32()]
    kinds += [pa.string()] * 3
    assert [found.schema.field(n).type for n in ours[:-1]] == kinds
    assert {f.name for f in found.schema.field("neighbors").type} == {"ids", "distances"}
    back = found.select(list(frame.columns)).to_pandas()
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert "uvx embedding-atlas atlas.parquet --x projection_x --y projection_y --neighbors neighbors\n" in said
    assert f"here score is {OWN}score" in said
    assert f"{ROWS:,} rows" in said
    assert "1 of them could not be scored" in said


def test_the_file_says_what_score_and_cluster_say(place, here):
    done("explore", place / "m.diabolo", place / "data.parquet", "-o", "atlas.parquet")
    done("score", place / "m.diabolo", place / "data.parquet", "-o", "s.parquet", "-q", "--explain")
    labels = ("cluster", place / "m.diabolo", place / "data.parquet", "-o", "c.parquet", "--no-fit", "-q")
    done(*labels)
    found, scores = pq.read_table("atlas.parquet"), pq.read_table("s.parquet")
    assert found[f"{OWN}score"].to_pylist() == scores["score"].to_pylist()
    for name in ("row", "p_value", "is_anomaly", "flag"):
        assert found[name].to_pylist() == scores[name].to_pylist()
    assert found["cluster"].to_pylist() == pq.read_table("c.parquet")["cluster"].to_pylist()
    odd = np.flatnonzero(np.isfinite(scores["score"].to_numpy()) & scores["is_anomaly"].to_numpy())
    assert len(odd)
    for name in ("top_1", "top_2", "top_3"):
        assert found[name].take(odd).to_pylist() == scores[name].take(odd).to_pylist()
        assert found[name].null_count == ROWS - len(odd)
    lone = found["neighbors"][7].as_py()
    assert lone == {"ids": [], "distances": []}, "a row without a code"
    assert found["projection_x"][7].as_py() is None
    near = found["neighbors"][0].as_py()
    assert len(near["ids"]) == 10
    assert near["distances"] == sorted(near["distances"])


def test_a_sample_is_said_and_keeps_the_rows_numbers(place, tmp_path):
    found = measured_of(place, tmp_path, most=300)
    assert found.total == ROWS
    assert 200 < len(found) < 400
    frame = wide()
    assert np.array_equal(found.cells["name"].to_pylist(), frame.name.to_numpy()[found.rows])
    (tmp_path / "whole").mkdir()
    whole = measured_of(place, tmp_path / "whole")
    assert np.array_equal(found.score, whole.score[found.rows])
    names = write_atlas(found, str(tmp_path / "atlas.parquet"))
    back = pq.read_table(tmp_path / "atlas.parquet")
    assert back["row"].to_pylist() == found.rows.tolist()
    assert command("a.parquet", names)[:2] == ["embedding-atlas", "a.parquet"]


def test_text_and_categories_of_a_csv(place, here):
    write(wide().drop(columns="score"), here / "data.csv")
    done("explore", place / "m.diabolo", "data.csv", "-o", "atlas.parquet")
    found = pq.read_table("atlas.parquet")
    assert found.num_rows == ROWS
    assert "score" in found.column_names
    frame = wide().astype({"site": "category"})
    write(frame, here / "data.parquet")
    done("explore", place / "m.diabolo", "data.parquet", "-o", "atlas.parquet")
    words = [None if pd.isna(w) else w for w in wide().site]
    assert pq.read_table("atlas.parquet")["site"].to_pylist() == words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--atlas"], "--atlas opens the file of -o"),
        (["-o", "a.csv"], "allowed is *.parquet"),
        (["-o", "a.parquet", "--atlas", "--port", 0], "two pages"),
        (["--port", 70000], "--port 70000: allowed are numbers from 0 to 65535"),
        (["-o", "a.parquet", "--score", "nope"], "nope"),
        (["-o", "a.parquet", "--false-alarm-rate", "1e-9"], "rate"),
        (["-o", "no/such/a.parquet"], "no/such"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(place, here, words, said):
    assert said in refused("explore", place / "m.diabolo", place / "data.parquet", *words)
    assert list(here.iterdir()) == []


def test_a_model_without_a_detector_is_refused(shop, here):
    assert "diabolo calibrate" in refused("explore", shop / "ae.diabolo", shop / "data.parquet", "-o", "a.parquet")


def test_a_port_that_is_taken_is_said(place):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused("explore", place / "m.diabolo", place / "data.parquet", "--port", port)
    assert f"--port {port}: " in said
    assert "--port 0 takes a free one" in said


def test_atlas_is_started_only_where_it_is_installed(place, here, monkeypatch):
    words = ("explore", place / "m.diabolo", place / "data.parquet", "-o", "a.parquet", "--atlas")
    (here / "bin").mkdir()
    monkeypatch.setenv("PATH", str(here / "bin"))
    assert "embedding-atlas is not installed; uv tool install embedding-atlas" in refused(*words)
    assert not (here / "a.parquet").exists()
    fake = here / "bin" / "embedding-atlas"
    fake.write_text('#!/bin/sh\necho "opened $*"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    begun = []
    monkeypatch.setattr(os, "execv", lambda *told: begun.append(told))  # the test's own process stays
    done(*words)
    assert (here / "a.parquet").exists()
    ((path, told),) = begun
    said = subprocess.run(told, executable=path, capture_output=True, text=True).stdout
    assert said == "opened a.parquet --x projection_x --y projection_y --neighbors neighbors\n"


# ── bars, selections ──────────────────────────────────────────────────────────────────────────────


def named(fields, name, own=False):
    return next(i for i, f in enumerate(fields[0]) if f.name == name and f.own == own)


def test_bars_hold_the_rows_that_numpy_counts(fields, measured):
    frame = wide()
    for name in ("pt", "eta", "phi"):
        field = fields[0][named(fields, name)]
        values, edges = frame[name].to_numpy(np.float64), np.array(field.edges)
        counts = np.histogram(values[np.isfinite(values)].clip(edges[0], edges[-1]), edges)[0]
        counts[-1] += int(np.isposinf(values).sum())
        assert np.abs(field.counts[: field.bars] - counts).sum() <= 2, "a value on an edge may fall to either side"
        assert field.counts.sum() == ROWS
    hits = fields[0][named(fields, "hits")]
    assert hits.counts[: hits.bars].tolist() == np.bincount(frame.hits).tolist()
    site = fields[0][named(fields, "site")]
    assert site.levels == ["north", "south"]
    assert site.counts[:2].tolist() == [(frame.site == "north").sum(), (frame.site == "south").sum()]
    assert site.counts[MISSING] == frame.site.isna().sum()
    tagged = fields[0][named(fields, "tagged")]
    assert (tagged.levels, tagged.counts[:2].tolist()) == (["false", "true"], np.bincount(frame.tagged).tolist())
    assert fields[0][named(fields, "name")].levels[-1] == OTHER
    assert fields[0][named(fields, "when")].kind == "date"
    assert fields[0][named(fields, "score", own=True)].counts.sum() == ROWS


def test_the_map_counts_what_histogram2d_counts(view, measured, monkeypatch):
    monkeypatch.setattr("diabolo.explore.view.MOST_POINTS", 10)
    x, y = measured.x.astype(np.float64), measured.y.astype(np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    for box in (view.whole, view.first, (-0.5, 0.7, -0.4, 0.9)):
        told = view.map(Selection(), box, (20, 12))
        counts = np.histogram2d(x[good], y[good], bins=(20, 12), range=[box[:2], box[2:]])[0].T
        assert told["rows"] == counts.sum()
        assert np.abs(told["density"] - counts).sum() <= 2, "single precision may move a row over an edge"
        assert set(told["points"]["row"]) <= set(np.flatnonzero(measured.is_anomaly))
        assert told["odd"] == len(told["points"]["row"]) == told["points"]["is_anomaly"].sum()
    normal = int(np.flatnonzero(~measured.is_anomaly & good)[0])
    view.mark([normal], True)
    told = view.map(Selection(), view.whole, (20, 12))
    assert normal in told["points"]["row"]
    assert told["points"]["marked"].sum() == 1


def test_few_rows_come_as_points(view, measured):
    told = view.map(Selection(), view.whole, (20, 12))
    assert told["density"] is None
    assert set(told["points"]["row"]) == set(np.flatnonzero(np.isfinite(measured.x)))


def test_selections_are_what_masks_say(view, fields, measured):
    frame = wide()
    pt, site = named(fields, "pt"), named(fields, "site")
    edges = np.array(fields[0][pt].edges)
    chosen = Selection(((pt, 10, 25), (site, 0, 0)), anomalies=False)
    inside = (frame.pt >= edges[10]) & (frame.pt < edges[26])
    mask = (inside & (frame.site == "north")).to_numpy()
    assert view.count(chosen) == mask.sum()
    own, other = view.histograms(chosen, [pt, site])
    assert sum(own) == (frame.site == "north").sum(), "a column's own brush does not count for it"
    assert other == [int((inside & (frame.site == s)).sum()) for s in ("north", "south")]
    rows = view.table(chosen, [pt, site], 0, 50)
    order = np.argsort(-measured.score, kind="stable")
    assert [r["row"] for r in rows] == order[mask[order]][:50].tolist()
    again = view.table(chosen, [pt], 50, 50)
    assert [r["row"] for r in again] == order[mask[order]][50:100].tolist()
    assert rows[0]["cells"] == [frame.pt[rows[0]["row"]], "north"]
    view.mark(chosen, True)
    assert view.marked.sum() == mask.sum()
    view.mark([int(np.flatnonzero(mask)[0])], False)
    assert view.count(Selection(marked=True)) == mask.sum() - 1
    assert view.count(Selection(anomalies=True)) == measured.is_anomaly.sum()
    box = (-0.5, 0.5, -1.0, 1.0)
    in_box = (np.abs(measured.x) <= 0.5) & (np.abs(measured.y) <= 1)
    assert view.count(Selection(box=box)) == in_box.sum()


def test_masks_stay_few(view, fields):
    pt = named(fields, "pt")
    counts = [view.count(Selection(((pt, 0, k),))) for k in range(30)]
    assert counts == np.cumsum(fields[0][pt].counts[:30]).tolist()
    assert len(view._masks) <= 8


# ── requests ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def client(place, measured, fields):
    pytest.importorskip("prometheus_client")
    pytest.importorskip("orjson")
    pytest.importorskip("httpx")
    testing = pytest.importorskip("starlette.testclient")
    from diabolo.explore.application import Explorer

    explorer = Explorer(measured, *fields, place / "m.diabolo", "data file.parquet", ("127.0.0.1",))
    return testing.TestClient(explorer.asgi, base_url="http://127.0.0.1")


def test_the_page_loads_nothing_from_elsewhere(client):
    for address, kind in {"/": "text/html", "/page.js": "text/javascript", "/draw.js": "text/javascript"}.items():
        answer = client.get(address)
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in client.get("/").text
    assert "style=" not in client.get("/").text
    assert ".explore" in client.get("/page.css").text


def test_other_sites_and_names_are_refused(client):
    assert client.get("/about", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/mark", json={"on": True}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/nothing").status_code == 404
    assert client.get("/mark").status_code == 405


def test_about_and_the_commands_to_paste(client, measured):
    about = client.get("/about").json()
    assert (about["rows"], about["total"], about["anomalies"]) == (ROWS, ROWS, int(measured.is_anomaly.sum()))
    assert about["unscored"] == 1
    assert about["commands"]["fit"] == "diabolo fit 'data file.parquet' -o new.diabolo --exclude-rows rows.csv"
    assert [f["name"] for f in about["fields"]][:3] == ["score", "p_value", "cluster"]


def test_a_row_has_the_explanation_of_the_program(client, place, measured):
    row = int(np.argmax(np.where(np.isfinite(measured.score), measured.score, -1)))
    told = client.get(f"/rows/{row}").json()
    said = done("explain", place / "m.diabolo", place / "data.parquet", "--row", row)
    assert f"score {told['score']:.4g}" in said
    assert told["is_anomaly"]
    assert [c["column"] for c in told["columns"] if c["changed"]]
    assert set(told["others"]) == {"site", "when", "name", "score"}
    assert told["others"]["name"] == f"row {row}"
    assert client.get("/rows/7").json()["flag"]
    for wrong in ("900", "-1", "x", "1e3"):
        assert client.get(f"/rows/{wrong}").status_code in (400, 404)


def test_marks_become_a_list_that_the_program_reads(client, here):
    from diabolo.data.row_list import read_row_list

    assert client.post("/mark", json={"rows": [3, 899, 5], "on": True}).json() == {"marked": 3}
    assert client.post("/mark", json={"rows": [5], "on": False}).json() == {"marked": 2}
    answer = client.get("/rows.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="rows.csv"'
    assert list(csv.reader(io.StringIO(answer.text))) == [["row", "table_rows"], ["3", "900"], ["899", "900"]]
    (here / "rows.csv").write_text(answer.text)
    assert read_row_list("rows.csv").of == 900
    assert client.post("/mark", json={"anomalies": True, "on": True}).json()["marked"] > 2


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/map", []),
        ("/map", {}),
        ("/map", {"view": [0, 1, 0, 1]}),
        ("/map", {"view": [0, 1, 1, 0], "size": [10, 10]}),
        ("/map", {"view": [0, 1, 0, None], "size": [10, 10]}),
        ("/map", {"view": [0, 1, 0, 1e300], "size": [10, 10]}),
        ("/map", {"view": [0, 1, 0, 1], "size": [10, 100_000]}),
        ("/map", {"view": [0, 1, 0, 1], "size": [10, True]}),
        ("/histograms", {"fields": [99]}),
        ("/histograms", {"fields": [0] * 100}),
        ("/histograms", {"filters": [[0, 5, 2]]}),
        ("/histograms", {"filters": [[0, 0, 255]]}),
        ("/histograms", {"filters": "x"}),
        ("/table", {"start": -1}),
        ("/table", {"anomalies": 1}),
        ("/mark", {"rows": [1]}),
        ("/mark", {"rows": ["1"], "on": True}),
        ("/mark", {"rows": [10**30], "on": True}),
    ],
)
def test_what_no_page_sends_is_answered_in_a_line(client, address, body):
    raw = json.dumps(body).replace("null", "NaN")
    answer = client.post(address, content=raw)
    assert answer.status_code in (400, 404)
    assert "\n" not in answer.json()["error"]


# ── the page, and the loop ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def address(client):
    """The page over a socket, for a browser."""
    uvicorn = pytest.importorskip("uvicorn")
    config = uvicorn.Config(client.app, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def press(page, selector, *keys):
    """Keys to an element, with Shift where a name begins so."""
    for key in keys:
        name = key.removeprefix("Shift+")
        shift = str(name != key).lower()
        page.run(
            f"(() => {{ const e = document.querySelector('{selector}'); e.focus(); e.dispatchEvent(new KeyboardEvent("
            f"'keydown', {{ key: '{name}', shiftKey: {shift}, bubbles: true }})) }})()"
        )


def test_the_page_in_a_browser(address, measured):
    with Page(os.devnull, 390, 844) as page:
        page.call("Page.navigate", url=address)
        page.until("document.documentElement?.dataset.ready === 'yes'")
        page.until("document.querySelectorAll('#table tbody tr').length === 50")
        page.until("document.getElementById('map-said').textContent.includes('each a point')")
        assert page.run("document.documentElement.scrollWidth") == 390
        press(page, "#map", "n")
        most = int(np.argsort(-measured.score, kind="stable")[0])
        page.until(f"document.querySelector('#row .verdict-line')?.textContent === 'Row {most}: an anomaly'")
        press(page, "#map", "n")
        page.until("document.querySelectorAll('#row table tbody tr').length === 5")
        press(page, "#map", "m")
        page.until("document.getElementById('selected').textContent.endsWith('1 marked')")
        press(page, ".hist svg", "ArrowRight", "Shift+ArrowRight")
        page.until("/^[0-9,]+ of 900 rows selected/.test(document.getElementById('selected').textContent)")
        press(page, ".hist svg", "Escape")
        page.until("document.getElementById('selected').textContent === '900 rows, none selected; 1 marked'")
        before = page.run("document.getElementById('map-said').textContent")
        press(page, "#map", "+", "+", "+", "+", "ArrowLeft")
        page.until(f"document.getElementById('map-said').textContent !== {json.dumps(before)}")
        page.run("document.getElementById('anomalies').click()")
        odd = int(measured.is_anomaly.sum())
        page.until(f"document.getElementById('selected').textContent.startsWith('{odd} of 900 rows selected')")
        page.run("document.getElementById('mark').click()")
        page.until(f"document.getElementById('selected').textContent.includes('; {odd} marked')")
        assert page.run("document.getElementById('save').getAttribute('aria-disabled')") == "false"
        page.run("document.getElementById('theme').click()")
        assert page.run("document.documentElement.dataset.theme") == "dark"
        assert page.console == []
        assert all(url.startswith((address, "data:", "file:", "about:")) for url in page.requests)


def test_look_mark_refit_and_recalibrate(place, here, client):
    """What the page saves, three verbs take: the foreign rows are gone from the fit and from the calibration."""
    marked = client.post("/mark", json={"anomalies": True, "on": True}).json()["marked"]
    (here / "rows.csv").write_bytes(client.get("/rows.csv").content)
    data, model = place / "data.parquet", place / "m.diabolo"
    explained = done("explain", model, data, "--rows", "rows.csv", "--columns", 1)
    assert sum(line.startswith("row ") for line in explained.splitlines()) == marked
    words = ("--columns", "pt,eta,phi,hits,tagged", "--latent", 3, "--epochs", 4, "-q")
    said = done("fit", data, "-o", "new.diabolo", "--exclude-rows", "rows.csv", *words)
    assert f"{ROWS - marked} rows, 5 columns" in said
    said = done("calibrate", "new.diabolo", data, "-o", "again.diabolo", "--exclude-rows", "rows.csv")
    assert f"{marked} rows were left out: rows.csv lists them" in said
    old, new = ModelFile(model).detector, ModelFile(here / "again.diabolo").detector
    trained = [sum(d.fitted.roles.counts.values()) for d in (old, new)]
    assert trained == [ROWS - 1, ROWS - marked]
    said = refused("calibrate", model, place / "fit.parquet", "-o", "x.diabolo", "--exclude-rows", "rows.csv")
    assert f"lists rows of a table of {ROWS} rows, and {place / 'fit.parquet'} has {ROWS - 1}" in said
