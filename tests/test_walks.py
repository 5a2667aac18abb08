"""Four walks of docs/walks.md, each line as it stands there: what was planted is found, and all ways agree."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from program import done

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import notebooks  # noqa: E402
import snippets  # noqa: E402
import walks  # noqa: E402

PLANTED = np.arange(walks.NEW) >= walks.NEW - walks.ODD
#: Fewer epochs than a person's fit, for time alone.
QUICK = ["--epochs", "5", "--quiet"]


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    """A folder of one walk's tables, in which it is walked."""
    walks.write(request.param, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(flagged, least=walks.ODD, most_others=0.06):
    """The planted rows are flagged, and not many others."""
    flagged = np.asarray(flagged, bool)
    assert flagged[PLANTED].sum() >= least
    assert flagged[~PLANTED].mean() < most_others


@pytest.mark.parametrize("folder", ["physicist"], indirect=True)
def test_a_physicist_goes_from_jagged_root_to_root_and_a_report(folder):
    uproot = pytest.importorskip("uproot")
    told = {}
    for program, verb, *words in walks.lines("physicist"):
        assert program == "diabolo"
        told[verb] = done(verb, *words, *(QUICK if verb == "fit" else []))
    assert list(told) == ["info", "fit", "score", "explain", "report"]
    assert "--take jet:" in told["info"], "info names the option that the fit takes"
    assert "--exclude event" in told["info"]
    assert "jet (6 slots of 3 columns)" in told["fit"]
    events = uproot.open("later.root:events")["event"].array(library="np")
    tree = uproot.open("scores.root:events").arrays(library="np")
    found(tree["is_anomaly"])
    assert set(np.argsort(-tree["score"])[: walks.ODD]) == set(np.flatnonzero(PLANTED))
    np.testing.assert_array_equal(tree["event"], events)
    np.testing.assert_array_equal(tree["truth"], PLANTED)
    first_reason = told["explain"].index("met_pt")
    assert all(first_reason < place for name in ("jet1_pt", "met_phi") if (place := told["explain"].find(name)) >= 0)
    page = (folder / "report.html").read_text()
    assert "met_pt" in page
    assert "<script src" not in page, "it opens without a network"


@pytest.mark.parametrize("folder", ["scientist"], indirect=True)
def test_a_data_scientist_goes_from_a_frame_to_figures_and_a_report_in_a_notebook(folder):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = walks.notebook("scientist")
    client = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    shown = [[output.data for output in cell.outputs if "data" in output] for cell in book.cells]
    fitted, table, why, scores, columns, report = (data[-1] for data in shown)
    assert "AnomalyDetector" in fitted["text/plain"]
    assert "text/html" in fitted
    first = {int(row) for row in re.findall(r"<th>(\d+)</th>", table["text/html"])}
    assert len(first) == 12
    assert set(np.flatnonzero(PLANTED)) <= first, "the planted rows are among the twelve of the highest scores"
    assert "price" in why["text/html"]
    assert "image/png" in scores
    assert "image/png" in columns
    assert "<iframe" in report["text/html"]
    assert (folder / "report.html").stat().st_size > 50_000
    errors = [o.text for cell in book.cells for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
    assert errors == []


#: What shortens the tutorial's fits: each setting as the page has it, and as it is here.
SHORTER = {"epochs=25": "epochs=2", '"epochs": 30': '"epochs": 2'}


def test_a_student_takes_the_lectures_lines_from_its_page_and_runs_the_tutorial(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (docs, *read), (python, script, name) = walks.lines("student")
    assert (docs, python) == ("diabolo", "python")
    assert (ROOT / script).resolve() == Path(notebooks.__file__).resolve()
    page = tmp_path / "lecture.md"
    page.write_text(done(*read))
    namespace = {}
    first = [step for step in snippets.blocks(page) if not step.title or step.title.startswith("1. ")]
    assert len(first) == 2, "what the steps share, and the first one"
    for step in first:
        assert snippets.agree(step.output, snippets.run(step, namespace, str(page))), step.title
    whole = notebooks.notebook

    def short(which):
        book = whole(which)
        for long, brief in SHORTER.items():
            assert any(long in cell.source for cell in book.cells), long
            for cell in book.cells:
                cell.source = cell.source.replace(long, brief)
        return book

    monkeypatch.setattr(notebooks, "notebook", short)
    monkeypatch.setattr(notebooks, "OUT", tmp_path)
    monkeypatch.setattr(sys, "argv", [script, name])
    notebooks.main()
    book = json.loads((tmp_path / "lecture.ipynb").read_text())
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", ())]
    assert sum("image/png" in o.get("data", ()) for o in outputs) >= 3, "digits, their codes and new ones"
    told = "".join("".join(o.get("text", ())) for o in outputs)
    (by_default,) = re.findall(r"AUROC of the default: ([\d.]+)", told)
    assert float(by_default) > 0.7, "nines were never seen"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which a wheel of this repository is installed, by the lines of the page without a network."""
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("wheel")
    built = walks.lines("engineer")[:2]
    assert [line[:2] for line in built] == [["pip", "wheel"], ["pip", "install"]]
    # As `pip wheel` does it, by the build tool that is here.
    code = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = folder.glob("diabolo-*.whl")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", *words, str(wheel)], check=True, capture_output=True)
    return folder / "site"


def ready(process, address, log):
    """Waits until the endpoint answers."""
    end = time.monotonic() + 120
    while True:
        try:
            return urllib.request.urlopen(f"{address}/v2/health/ready", timeout=5).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


@pytest.mark.parametrize("folder", ["engineer"], indirect=True)
def test_an_engineer_goes_from_a_wheel_to_an_endpoint_with_the_same_verdicts(folder, installed):
    for package in ("onnxruntime", "starlette", "uvicorn", "orjson", "prometheus_client"):
        pytest.importorskip(package)
    python = [sys.executable, "-m", "diabolo"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('diabolo').origin)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed), "the wheel's, and not this folder's"
    fit, score, export, again, serve, curl, kill = walks.lines("engineer")[2:]
    assert [line[0] for line in (serve, curl, kill)] == ["diabolo", "curl", "kill"]
    for program, verb, *words in (fit, score, export, again):
        assert program == "diabolo"
        more = QUICK if verb == "fit" else []
        run = subprocess.run([*python, verb, *words, *more], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    scores, graph = pd.read_csv("scores.csv"), pd.read_csv("again.csv")
    found(scores["is_anomaly"])
    assert scores["is_anomaly"].equals(graph["is_anomaly"])
    np.testing.assert_allclose(graph["score"], scores["score"], rtol=1e-4)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = serve.index("--port") + 1
    address, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*python, *serve[1:place], port, *serve[place + 1 :]], env=environment, stdout=out, stderr=out
        )
    try:
        ready(server, address, log)
        url = next(word for word in curl if word.startswith("http")).replace(
            f"http://127.0.0.1:{serve[place]}", address
        )
        header = dict([curl[curl.index("-H") + 1].split(": ")])
        (name,) = [word[1:] for word in curl if word.startswith("@")]
        with urllib.request.urlopen(urllib.request.Request(url, Path(name).read_bytes(), header), timeout=60) as answer:
            Path("served.csv").write_bytes(answer.read())
        assert kill == ["kill", "-TERM", "PID"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    served = pd.read_csv("served.csv")
    assert served["is_anomaly"].equals(scores["is_anomaly"])
    np.testing.assert_array_equal(served["score"], scores["score"])
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/v2/health/live", timeout=5)
