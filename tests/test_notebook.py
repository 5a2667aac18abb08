"""A notebook run end to end, and what objects show in one: whole HTML that no name of the data can change."""

from __future__ import annotations

import html.parser
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import config_context

import diabolo
from diabolo import AnomalyDetector, Autoencoder, Compressor, LatentClusterer, LinearAutoencoder
from diabolo.detect.fdr import Discoveries
from diabolo.errors import ConfigError, MissingExtraError
from diabolo.markup import VOID

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import snippets  # noqa: E402

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(500, 4))
    frame = pd.DataFrame(values, columns=["pt", HOSTILE, 'a"b', "c&d"], index=[f"run {i}" for i in range(500)])
    return frame.assign(word=np.where(values[:, 0] > 0, "<b>up", "down"))


@pytest.fixture(scope="module")
def detector(rows):
    return AnomalyDetector(Autoencoder(latent_dim=2, epochs=3)).fit(rows)


class Parsed(html.parser.HTMLParser):
    """Elements that open and close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        assert self.open == [], "elements that nothing closes"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


# ── objects ───────────────────────────────────────────────────────────────────────────────────────


def shown(detector, rows):
    yield "explanation", detector.explain(rows[:1])[0]
    yield "explanations", detector.explain(rows[:2])
    yield "health", detector.health(rows)
    yield "fidelity", detector.autoencoder_.fidelity(rows, method="prior")
    found = Discoveries(detector.calibrated_.calibration, 0.2)
    found.add(detector.anomaly_score(rows).to_numpy())
    yield "discoveries", found


def test_results_are_whole_html_text_and_frames(detector, rows):
    for name, result in shown(detector, rows):
        parsed = Parsed(result._repr_html_())
        assert "script" not in parsed.tags, name
        assert "b" not in parsed.tags, name
        assert not [a for each in parsed.attributes for a in each if a.startswith("on")], name
        frame = result.to_frame()
        assert isinstance(frame, pd.DataFrame), name
        assert len(frame), name
        if "column" in frame:
            assert HOSTILE in set(frame["column"]), name
            assert HOSTILE in parsed.text, name
        assert str(result).splitlines()[0] in " ".join(parsed.text), "the card begins as the text does"


def test_frames_of_results_are_their_numbers(detector, rows):
    found = detector.explain(rows[:3])
    frame = found.to_frame()
    assert frame["row"].tolist() == np.repeat([0, 1, 2], 5).tolist()
    assert frame["p_value"].tolist() == [part.p_value for e in found for part in e.columns]
    assert list(found[1].to_frame().columns) == list(frame.columns)[1:]
    assert found[0].to_frame()["column"].tolist() == [part.column for part in found[0].columns]
    health = detector.health(rows)
    assert health.to_frame()["p_value"].tolist() == [c.p_value for c in health.columns]
    assert type(found)().to_frame().columns.tolist() == frame.columns.tolist(), "no rows keep the columns"


def test_long_results_are_cut_and_say_so(detector, rows):
    found = detector.explain(rows[:8])
    assert "and 3 more rows in .to_frame()" in found._repr_html_()
    assert len(found.to_frame()) == 8 * 5


def test_a_frame_without_pandas_is_refused_with_its_remedy(detector, rows, monkeypatch):
    result = detector.explain(rows[:1])[0]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diabolo\[pandas\]'"):
        result.to_frame()


def test_a_fitted_estimator_shows_what_it_is(detector, rows):
    clusterer = LatentClusterer(LinearAutoencoder(latent_dim=1), n_clusters=2, n_resamples=0).fit(rows[["pt", HOSTILE]])
    compressor = Compressor(max_error=0.1).fit(rows[["pt", HOSTILE]])
    for estimator, facts in (
        (detector, (f"{detector.threshold_:.6g}", "false-alarm rate 1 %", "350 train, 50 stop, 100 calibrate")),
        (detector.autoencoder_, ("350 train", "3 epochs")),
        (clusterer, ("2 by mixture",)),
        (compressor, ("for 3 columns",)),
    ):
        bundle = estimator._repr_mimebundle_()
        # scikit-learn numbers its diagrams.
        assert len(bundle["text/html"]) == pytest.approx(len(estimator._repr_html_()), abs=20)
        card = bundle["text/html"].partition("<details")[0]
        text = " ".join(Parsed(card).text)
        for fact in facts:
            assert fact in text
            assert fact in estimator.summary()
        assert "sk-top-container" in bundle["text/html"], "scikit-learn's diagram comes below"
        assert "parameters" in bundle["text/html"]
        assert repr(estimator.summary()) == str(estimator.summary())
        with config_context(display="text"):
            assert list(estimator._repr_mimebundle_()) == ["text/plain"]


def test_an_unfitted_estimator_shows_scikit_learns_diagram():
    for estimator in (AnomalyDetector(), Autoencoder(), Compressor(), LatentClusterer()):
        text = estimator._repr_mimebundle_()["text/html"]
        assert 'class="diabolo"' not in text
        with pytest.raises(AttributeError, match="not fitted yet"):
            estimator.summary()


def test_a_detector_to_be_fitted_again_is_shown_all_the_same(rows):
    detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=1)).fit(rows[["pt", "c&d"]])
    detector.autoencoder_.fit(rows[["pt", "c&d"]])
    assert "has been trained on since" in detector._repr_html_()
    assert "has been trained on since" in detector.summary()


# ── the report ────────────────────────────────────────────────────────────────────────────────────


def test_the_report_shows_itself_in_a_frame_that_reaches_nothing(detector, rows, tmp_path):
    found = detector.report(rows, tmp_path / "r.html", refits=False)
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == found.html
    parsed = Parsed(found._repr_html_())
    assert parsed.tags == ["iframe"]
    frame = parsed.attributes[0]
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] == found.html
    assert len(repr(found)) < 100
    assert found.save(tmp_path / "again.html").read_bytes() == (tmp_path / "r.html").read_bytes()
    again = diabolo.report(detector, rows, refits=False)
    assert again.html == found.html
    with pytest.raises(ConfigError, match="without an autoencoder"):
        diabolo.report(Compressor(max_error=0.1).fit(rows[["pt"]]), rows)
    with pytest.raises(ConfigError, match="allowed are a model file, and a fitted"):
        diabolo.report(3, rows)


# ── frames ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_told_of_a_frames_rows_has_its_index(detector, rows):
    some = rows.sample(40, random_state=0)
    named = {"p_value": detector.p_values, "score": detector.anomaly_score, "discovery": detector.discoveries}
    for name, method in named.items():
        found = method(some)
        assert isinstance(found, pd.Series)
        assert found.name == name
        assert found.index.equals(some.index)
        for other in (pa.Table.from_pandas(some, preserve_index=False),):
            plain = method(other)
            assert isinstance(plain, np.ndarray)
            np.testing.assert_array_equal(plain, found)
    assert some[detector.discoveries(some)].index.isin(some.index).all()
    score = detector.autoencoder_.anomaly_score(some)
    assert score.index.equals(some.index)
    for method in (detector.predict, detector.decision_function, detector.score_samples):
        assert isinstance(method(some), np.ndarray), "as scikit-learn wants it"
    table = detector.score_table(some.assign(pt=some["pt"].where(np.arange(40) > 0, np.inf)), keep="word")
    assert list(table.columns) == ["word", "score", "p_value", "is_anomaly", "flag"]
    assert table.index.equals(some.index)
    assert table["flag"].iloc[0] == "infinite: pt"
    assert table["flag"].iloc[1:].isna().all()


def test_labels_of_a_frame_as_a_table(rows):
    X = rows[["pt", "c&d"]]
    clusterer = LatentClusterer(LinearAutoencoder(latent_dim=1), n_clusters=2, n_resamples=0).fit(X)
    table = clusterer.label_table(rows, keep="word")
    assert list(table.columns) == ["word", "cluster", "confidence"]
    assert table.index.equals(rows.index)
    np.testing.assert_array_equal(table["cluster"], clusterer.labels_)
    assert clusterer.confidence(X).index.equals(rows.index)


# ── a notebook ────────────────────────────────────────────────────────────────────────────────────

#: Cells before and behind those of docs/notebook.md: on a busy machine a short call may last over a second.
QUIET = "import diabolo.progress\ndiabolo.progress.PATIENCE = 600"
BAR = """
diabolo.progress.PATIENCE, diabolo.progress.REFRESH = 0.0, 0.02
_ = diabolo.LinearAutoencoder(latent_dim=1).fit(background.iloc[:500, :3])
"""


def test_the_guide_as_a_notebook(tmp_path):
    """docs/notebook.md, block by block as its cells; an output is what a person sees below a cell."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    blocks = [block.code for block in snippets.blocks(ROOT / "docs" / "notebook.md")]
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in (QUIET, *blocks, BAR, "detector.labels_")]
    book = nbformat.v4.new_notebook(cells=cells)
    run = client(book, timeout=300, kernel_name="python3", allow_errors=True)
    run.resources = {"metadata": {"path": str(tmp_path)}}
    run.execute()
    _, *shown, bar, refused = (list(cell.outputs) for cell in book.cells)
    said = [(cell.source, o) for cell in book.cells[:-1] for o in cell.outputs if o.output_type in ("error", "stream")]
    assert said == [], "no block fails, and none writes or warns"
    seen = {}
    for code, outputs in zip(blocks, shown, strict=True):
        for output in outputs:
            assert output.output_type == "execute_result", output
            seen[code.strip().splitlines()[-1]] = output["data"]
    assert "2,800 train, 400 stop, 800 calibrate" in seen["detector"]["text/html"]
    assert seen["detector.report(new, label=process, refits=False)"]["text/html"].startswith("<iframe")
    assert 'class="diabolo"' in seen["detector.explain(new[-2:])"]["text/html"]
    figures = [data for code, data in seen.items() if "plot_" in code]
    assert len(figures) == 4
    assert all("image/png" in data for data in figures)
    assert (tmp_path / "columns.png").exists()
    (line,) = bar
    assert line.output_type == "display_data", "one line, renewed in place"
    assert re.fullmatch(r"fit: \d+\.\d s", line["data"]["text/plain"])
    assert refused[0].output_type == "error"
    assert "as_pyod().fit(X) has it" in refused[0].evalue
