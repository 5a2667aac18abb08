"""One table, one verdict: `diabolo health` and the report judge the same rows alike."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from program import done, run, table, write

from diabolo import AnomalyDetector
from diabolo.data.reading import read_table
from diabolo.file.model_file import ModelFile
from diabolo.report.alarms.base import findings
from diabolo.report.evidence import Evidence, Given, ReportRows

CASES = {
    "fresh": lambda t: t,
    "few": lambda t: t.head(12),
    "shifted": lambda t: t.assign(pt=t.pt + 2.0),
    "slightly shifted": lambda t: t.assign(pt=t.pt + 0.5),
    "anomalies": lambda t: t.assign(eta=np.where(np.arange(len(t)) % 25 == 0, 30.0, t.eta)),
    "few anomalies": lambda t: t.assign(eta=np.where(np.arange(len(t)) % 180 == 0, 30.0, t.eta)),
    "gaps": lambda t: t.assign(phi=np.where(np.arange(len(t)) % 10 == 0, np.nan, t.phi)),
    "infinite": lambda t: t.assign(pt=np.where(np.arange(len(t)) % 20 == 0, np.inf, t.pt)),
    "one kind": lambda t: t[t.tagged],
    "copies": lambda t: pd.concat([t.head(60)] * 8, ignore_index=True),
    "no relation": lambda t: t.assign(eta=np.random.default_rng(0).permutation(t.eta)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement")
    write(table(1500), folder / "fit.parquet")
    words = ("fit", folder / "fit.parquet", "-o", folder / "m.diabolo", "--label", "truth", "--epochs", 4, "-q")
    done(*words, "--false-alarm-rate", "2%")
    return folder / "m.diabolo"


def status_of(model, path):
    """The status of the report's check."""
    file = ModelFile(model)
    rows, _ = read_table(path, file.schema.names)
    fitted = file.autoencoder
    given = Given("m", "VariationalAutoencoder", fitted, file.generator, file.detector)
    evidence = Evidence(given, ReportRows(str(path), rows.values, np.arange(len(rows)), len(rows), "another"))
    return findings(evidence)["rate"].status


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_health_and_the_report_agree(case, seed, model, tmp_path):
    path = tmp_path / "new.parquet"
    CASES[case](table(700, seed)).to_parquet(path)
    status, said, err = run("health", model, path)
    assert err == ""
    assert {0: "sound", 1: "alarm"}[status] == status_of(model, path), said


def test_both_verdicts_occur(model, tmp_path):
    found = {}
    for case in ("fresh", "shifted"):
        CASES[case](table(700, 1)).to_parquet(tmp_path / "new.parquet")
        found[case] = run("health", model, tmp_path / "new.parquet")[0]
    assert found == {"fresh": 0, "shifted": 1}


def test_the_pages_say_what_health_says(model, tmp_path):
    for case in ("fresh", "shifted"):
        path = tmp_path / "new.parquet"
        CASES[case](table(700, 1)).to_parquet(path)
        done("report", model, path, "-o", tmp_path / "r.html", "--no-refits")
        page = re.sub(r"<[^>]+>|\s+", " ", (tmp_path / "r.html").read_text().replace("\xa0", " "))
        assert "Flagged share, and whether the rows still fit" in page
        assert ("changed: " in page) == (case == "shifted")
        promised = run("health", model, path)[1]
        assert "your 2 % is now" in promised
        assert "2 % promised" in page


def test_python_agrees_too(model, tmp_path):
    detector = AnomalyDetector.load(model)
    for case in ("fresh", "anomalies", "shifted"):
        frame = CASES[case](table(700, 1))
        frame.to_parquet(tmp_path / "new.parquet")
        healthy = detector.health(frame[list(detector.feature_names_in_)]).healthy
        assert healthy == (status_of(model, tmp_path / "new.parquet") == "sound")
