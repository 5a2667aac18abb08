"""Exported graphs behind the endpoint: the scores of `diabolo score`, and a plain word where a graph has no answer."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import FEATURES, done, refused, table

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
from test_serve import PARQUET, STREAM, serving  # it skips without the extra

from diabolo.errors import ConfigError
from diabolo.serve import app


@pytest.fixture(scope="module")
def graphs(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    done("export", shop / "vae.diabolo", "-o", folder / "vae.onnx", "-q")
    return folder


@pytest.fixture(scope="module")
def client(graphs):
    with serving(graphs / "vae.onnx") as found:
        yield found


def rows(n=50):
    return pa.Table.from_pandas(table()[FEATURES].iloc[:n], preserve_index=False)


def test_the_scores_are_those_of_the_program(client, graphs, shop, tmp_path):
    done("score", graphs / "vae.onnx", shop / "data.parquet", "-o", tmp_path / "o.parquet", "-q")
    told = pq.read_table(tmp_path / "o.parquet")
    answer = client.post("/score", json=rows().to_pylist())
    assert answer.status_code == 200, answer.text
    for name in ("score", "p_value", "is_anomaly", "flag"):
        assert [row[name] for row in answer.json()] == told[name].to_pylist()[:50]
    whole = client.post("/score", content=(shop / "data.parquet").read_bytes(), headers={"Content-Type": PARQUET})
    assert pq.read_table(pa.BufferReader(whole.content)).equals(told.select(["score", "p_value", "is_anomaly", "flag"]))
    body = pa.BufferOutputStream()
    with pa.ipc.new_stream(body, rows().schema) as writer:
        writer.write_table(rows())
    streamed = client.post("/score", content=body.getvalue().to_pybytes(), headers={"Content-Type": STREAM})
    assert pa.ipc.open_stream(streamed.content).read_all()["score"].to_pylist() == told["score"].to_pylist()[:50]


def test_a_row_without_a_score_says_why(client):
    told = client.post("/score", json=dict.fromkeys(FEATURES)).json()
    assert told == {"score": None, "p_value": None, "is_anomaly": True, "flag": "every cell is missing"}


@pytest.mark.parametrize(("method", "address"), [("POST", "/explain"), ("GET", "/health/drift"), ("POST", "/report")])
def test_what_a_graph_has_no_answer_to_is_said(client, method, address):
    answer = client.request(method, address, **({"json": rows(1).to_pylist()[0]} if method == "POST" else {}))
    assert answer.status_code == 404
    assert "vae.onnx is a graph" in answer.json()["error"]
    assert ".diabolo" in answer.json()["error"]


def test_what_it_says_of_itself(client, graphs):
    model = client.get("/models").json()["models"][0]
    assert model["typical"] == {}
    assert model["card"]["bytes"] == (graphs / "vae.onnx").stat().st_size
    assert "no drift" in model["card"]["remarks"][0]
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/v2/models/vae").json()["inputs"][0]["name"] == FEATURES[0]


def test_another_rate_and_another_score(graphs):
    with serving(graphs / "vae.onnx", choice=_choice(rate=0.2)) as client:
        assert client.get("/models").json()["models"][0]["card"]["threshold"] is None
        told = client.post("/score", json=rows(200).to_pylist()).json()
        assert [t["is_anomaly"] for t in told] == [t["p_value"] <= 0.2 * (1 + 1e-12) for t in told]
    with pytest.raises(ConfigError, match=r"computes the score .* alone; export .* --score nll"):
        app(graphs / "vae.onnx", choice=_choice(score="nll"))
    assert "promise" in refused("serve", graphs / "vae.onnx", "--false-alarm-rate", "1e-9")


def test_without_a_detector_there_is_no_verdict(graphs, tmp_path):
    from diabolo import Autoencoder

    Autoencoder(epochs=1).fit(table()[FEATURES]).save(tmp_path / "m.diabolo")
    done("export", tmp_path / "m.diabolo", "-o", tmp_path / "m.onnx", "-q")
    assert "has no detector" in refused("serve", tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_bytes((graphs / "vae.onnx").read_bytes()[:2_000])
    assert "damaged" in refused("serve", tmp_path / "bad.onnx")


def test_of_two_files_with_one_name_the_model_file_is_served(graphs, shop, tmp_path, caplog):
    shutil.copy(graphs / "vae.onnx", tmp_path / "vae.onnx")
    shutil.copy(graphs / "vae.onnx", tmp_path / "other.onnx")
    shutil.copy(shop / "vae.diabolo", tmp_path / "vae.diabolo")
    with serving(tmp_path) as client:
        cards = {m["name"]: m["card"] for m in client.get("/models").json()["models"]}
        assert client.post("/explain?model=vae", json=rows(1).to_pylist()).status_code == 200
    assert {name: card["fitted_by"] == "an ONNX graph" for name, card in cards.items()} == {
        "other": True,
        "vae": False,
    }
    assert "vae.onnx is not served" in caplog.text


def _choice(score=None, rate=None):
    from diabolo.serve.backends import Choice

    return Choice(score, rate)
