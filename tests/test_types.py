"""What a type checker says of code that uses the package: a user's mypy sees settings, arrays and floats."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[1]
SNIPPET = """
import numpy as np
from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder, decompress, report
from diabolo.report import write_report

X = np.zeros((9, 2))
detector = AnomalyDetector().fit(X)
VariationalAutoencoder(beta=4.0).fit(X).transform(X)
VariationalAutoencoder(bta=4)  # wrong
Autoencoder(bta=4)  # wrong
Autoencoder(random_state="seven")  # wrong
Autoencoder().fit(7.5).sample(n="many")  # wrong
write_report(7, X, "page.html")  # wrong
reveal_type(detector.score(X))  # float
reveal_type(Autoencoder().score(X))  # float
reveal_type(detector.p_values(X))  # numpy.ndarray
reveal_type(detector.predict([[0, 1]]))  # numpy.ndarray
reveal_type(detector.explain(X)[0].p_value)  # float
reveal_type(Autoencoder().sample(3))  # numpy.ndarray
reveal_type(decompress(b""))  # numpy.ndarray
reveal_type(report(detector, X))  # Report
report(7, X)  # wrong
reveal_type(detector.plot_scores(X))  # Axes
reveal_type(detector.health(X).to_frame())  # DataFrame
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says of each line of the snippet, by its number."""
    path = tmp_path_factory.mktemp("types") / "snippet.py"
    path.write_text(SNIPPET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        out, error, _ = api.run(["--cache-dir", str(ROOT / ".mypy_cache"), str(path)])
    assert not error, error
    return {int(n): text for n, text in re.findall(r"snippet\.py:(\d+): (error: .*|note: Revealed.*)", out)}


@pytest.mark.parametrize("number", [n for n, _ in enumerate(SNIPPET.splitlines(), 1)])
def test_a_type_checker_knows_the_public_classes(said, number):
    code, _, wanted = SNIPPET.splitlines()[number - 1].partition("  # ")
    if not wanted:
        assert number not in said, code
    elif wanted == "wrong":
        assert said[number].startswith("error: "), code
    else:
        assert "Revealed type" in said[number]
        assert wanted in said[number], code
