"""The endpoint over a real socket: the same scores as `diabolo score`, whatever comes in, and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from browser import Page
from program import FEATURES, done, refused, run, table

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("orjson")
pytest.importorskip("prometheus_client")

from diabolo.data.schema import Column, Schema  # noqa: E402
from diabolo.errors import ConfigError  # noqa: E402
from diabolo.file.model_file import ModelFile  # noqa: E402
from diabolo.serve import apart, app  # noqa: E402
from diabolo.serve.apart import Reader  # noqa: E402
from diabolo.serve.columns import Columns  # noqa: E402
from diabolo.serve.faults import Fault  # noqa: E402
from diabolo.serve.settings import Settings, is_loopback, token_of  # noqa: E402
from diabolo.serve.tensors import HEADER  # noqa: E402

PARQUET, CSV = "application/vnd.apache.parquet", "text/csv"
STREAM, ARROW = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"


@contextlib.contextmanager
def serving(path, **settings):
    """A client of an endpoint on a port of its own, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app(path, **settings), port=0, log_config=None, lifespan="on"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=60) as client:
                while not server.started:
                    time.sleep(0.02)
                yield client
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(scope="module")
def client(shop):
    with serving(shop / "vae.diabolo", neighbors=2) as found:
        yield found


@pytest.fixture(scope="module")
def expected(shop):
    """What `diabolo score` says of the table's rows."""
    done("score", shop / "vae.diabolo", shop / "data.parquet", "-o", shop / "scores.parquet", "-q")
    return pq.read_table(shop / "scores.parquet")


def exact(n=400):
    """Rows whose numbers are the table's to the last bit."""
    frame = pa.Table.from_pandas(table()[FEATURES].iloc[:n], preserve_index=False)
    return frame.to_pylist()


# ── the same scores as the program ────────────────────────────────────────────────────────────────


def test_json_rows_have_the_scores_of_the_program(client, expected):
    told = client.post("/score", json=exact()).json()
    assert [t["score"] for t in told] == expected["score"].to_pylist()
    assert [t["p_value"] for t in told] == expected["p_value"].to_pylist()
    assert [t["is_anomaly"] for t in told] == expected["is_anomaly"].to_pylist()
    one = client.post("/score", json=exact(1)[0]).json()
    assert one == told[0]
    assert client.post("/score", json=[]).json() == []


@pytest.mark.parametrize("kind", [PARQUET, CSV, STREAM, ARROW])
def test_files_have_the_scores_of_the_program(client, expected, shop, kind):
    frame = pq.read_table(shop / "data.parquet")
    body = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(frame, body)
    elif kind == CSV:
        body.write((shop / "data.csv").read_bytes())
    else:
        with (pa.ipc.new_stream if kind == STREAM else pa.ipc.new_file)(body, frame.schema) as writer:
            writer.write_table(frame)
    answer = client.post("/score", content=body.getvalue(), headers={"content-type": kind})
    assert answer.headers["content-type"] == kind
    got = io.BytesIO(answer.content)
    if kind == PARQUET:
        told = pq.read_table(got)
    elif kind == CSV:
        told = pyarrow.csv.read_csv(got)
    else:
        told = (pa.ipc.open_stream if kind == STREAM else pa.ipc.open_file)(got).read_all()
    if kind == CSV:  # its decimals are not quite the numbers of the other files
        done("score", shop / "vae.diabolo", shop / "data.csv", "-o", shop / "of_csv.parquet", "-q")
        expected = pq.read_table(shop / "of_csv.parquet")
    for name in ("score", "p_value", "is_anomaly"):
        assert told[name].to_pylist() == expected[name].to_pylist()


def test_requests_side_by_side_have_their_own_scores(client, expected):
    """Batches: 40 callers at once, each with its own row, one of them with a cell that no model reads."""
    given, found = exact(40), [None] * 40
    given[7]["pt"] = "no number"

    def ask(i):
        found[i] = client.post("/score", json=given[i])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[7].status_code == 422
    assert found[7].json()["column"] == "pt"
    scores = expected["score"].to_pylist()
    assert all(found[i].json()["score"] == scores[i] for i in range(40) if i != 7)


def test_a_row_that_cannot_be_scored_says_why(client):
    row = {**exact(1)[0], "pt": 1e300}
    told = client.post("/score", json=row).json()
    assert told["score"] is None
    assert told["p_value"] is None
    assert told["is_anomaly"] is True
    assert "pt" in told["flag"]


def test_every_kind_of_column(mixed, tmp_path):
    """Dates, text, categories, missing cells: by JSON as from a file."""
    mixed.to_parquet(tmp_path / "mixed.parquet")
    done("fit", tmp_path / "mixed.parquet", "-o", tmp_path / "mixed.diabolo", "--epochs", 2, "-q")
    done("score", tmp_path / "mixed.diabolo", tmp_path / "mixed.parquet", "-o", tmp_path / "s.parquet", "-q")
    given = pq.read_table(tmp_path / "mixed.parquet").to_pylist()
    for row in given:
        row["when"] = row["when"].isoformat()
    given.append({**given[0], "colour": "never seen", "gap": None})
    with serving(tmp_path / "mixed.diabolo") as client:
        told = client.post("/score", json=given).json()
        assert [t["score"] for t in told[:-1]] == pq.read_table(tmp_path / "s.parquet")["score"].to_pylist()
        assert told[-1]["score"] is not None
        wrong = client.post("/score", json={**given[0], "when": "yesterday"})
        assert wrong.status_code == 422
        assert wrong.json()["column"] == "when"
        assert "yesterday" not in wrong.text
        assert client.post("/score", json={**given[0], "colour": 3}).json()["column"] == "colour"


# ── the Open Inference Protocol ───────────────────────────────────────────────────────────────────


def tensors(n, binary):
    """A request of n rows, as JSON or as bytes behind it: (body, headers)."""
    inputs, behind = [], b""
    frame = table()[FEATURES].iloc[:n]
    for name in FEATURES:
        cells = frame[name].to_numpy().astype(np.float64)
        told = {"name": name, "shape": [n, 1], "datatype": "FP64"}
        if binary:
            behind += cells.tobytes()
            told["parameters"] = {"binary_data_size": cells.nbytes}
        else:
            told["data"] = cells.tolist()
        inputs.append(told)
    head = json.dumps({"id": "7", "inputs": inputs, "parameters": {"binary_data_output": binary}}).encode()
    return head + behind, {HEADER: str(len(head))} if binary else {}


def test_numbers_read_at_once_are_those_of_each_column(shop):
    """Columns of plain lists are parts of one array; what one call cannot read is read and named column by column."""
    schema = ModelFile(shop / "vae.diabolo").schema
    assert not Columns(schema).plain
    number = next(c for c in schema.columns if c.dtype == "float32" and not c.levels)
    numbers = tuple(dataclasses.replace(number, name=f"c{i}") for i in range(5))
    columns = Columns(dataclasses.replace(schema, columns=numbers, groups=()))
    assert columns.plain
    rng = np.random.default_rng(0)
    for rows in (1, 3):
        cells = {name: rng.normal(size=rows).tolist() for name in columns.names}
        cells[columns.names[1]] = [None] * rows
        cells[columns.names[2]] = [2**60 + 1] * rows  # no double: read by itself, and rounded
        lists, arrays = (
            columns.table(cells),
            columns.table({**cells, columns.names[0]: np.array(cells[columns.names[0]])}),
        )
        assert lists.equals(arrays)
        assert lists[columns.names[2]].to_pylist() == [2.0**60] * rows
        assert lists[columns.names[-1]].to_pylist() == pytest.approx(cells[columns.names[-1]], rel=1e-6)
    for wrong in ("3", True, [1.0], {}):
        with pytest.raises(Fault) as found:
            columns.table({**cells, columns.names[3]: [1.0, wrong, 2.0]})
        assert (found.value.said["column"], found.value.said["row"]) == (columns.names[3], 1)


def test_inference_as_json_and_as_bytes(client, expected):
    scores = expected["score"].to_pylist()[:5]
    body, headers = tensors(5, False)
    told = client.post("/v2/models/vae/infer", content=body, headers=headers).json()
    assert told["id"] == "7"
    outputs = {o["name"]: o for o in told["outputs"]}
    assert outputs["score"] == {"name": "score", "datatype": "FP64", "shape": [5], "data": scores}
    assert outputs["flag"]["data"] == [""] * 5
    body, headers = tensors(5, True)
    version = client.get("/v2/models/vae").json()["versions"][0]
    answer = client.post(f"/v2/models/vae/versions/{version}/infer", content=body, headers=headers)
    size = int(answer.headers[HEADER])
    head, behind = json.loads(answer.content[:size]), answer.content[size:]
    assert head["model_version"] == version
    assert struct.unpack("<5d", behind[:40]) == tuple(scores)
    assert len(behind) == 40 + 40 + 5 + 20
    assert client.post("/v2/models/vae/versions/0/infer", content=body).status_code == 404
    assert client.get("/v2/models/vae/ready").json() == {"name": "vae", "ready": True}
    assert client.get("/v2").json()["name"] == "diabolo"
    inputs = client.get("/v2/models/vae").json()["inputs"]
    assert [i["name"] for i in inputs] == FEATURES


def test_one_tensor_for_all_columns(client, expected):
    cells = table()[FEATURES].iloc[:3].to_numpy(np.float64)
    told = {"inputs": [{"name": "x", "shape": [3, 5], "datatype": "FP64", "data": cells.ravel().tolist()}]}
    answer = client.post("/v2/models/vae/infer", json={**told, "outputs": [{"name": "score"}]}).json()
    assert answer["outputs"][0]["data"] == expected["score"].to_pylist()[:3]


def test_tritonclient_works_unchanged(client, expected):
    triton = pytest.importorskip("tritonclient.http")
    address = str(client.base_url).removeprefix("http://").rstrip("/")
    asking = triton.InferenceServerClient(address)
    assert asking.is_server_live()
    assert asking.is_server_ready()
    assert asking.is_model_ready("vae")
    inputs = []
    for tensor in asking.get_model_metadata("vae")["inputs"]:
        made = triton.InferInput(tensor["name"], [9, 1], tensor["datatype"])
        made.set_data_from_numpy(table()[tensor["name"]].to_numpy().astype(np.float64)[:9, None])
        inputs.append(made)
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput(n, binary_data=binary) for n in ("score", "is_anomaly", "flag")]
        result = asking.infer("vae", inputs, outputs=outputs)
        assert result.as_numpy("score").tolist() == expected["score"].to_pylist()[:9]
        assert result.as_numpy("is_anomaly").tolist() == expected["is_anomaly"].to_pylist()[:9]
    asking.close()


# ── explanations, drift, what it says of itself ───────────────────────────────────────────────────


def test_explanations(client):
    odd = {**exact(1)[0], "pt": 80.0}
    told = client.post("/explain?neighbors=2", json=odd).json()
    assert told["is_anomaly"]
    assert told["columns"][0]["column"] == "pt"
    assert told["columns"][0]["seen"] == 80.0
    assert len(told["neighbors"]) == 2
    assert client.post("/explain", json=odd).json()["neighbors"] == []
    assert client.post("/explain?neighbors=3", json=odd).status_code == 400
    assert client.post("/explain", json=[odd] * 101).status_code == 413


def test_drift_is_that_of_health(shop):
    """The window's verdict is that of `diabolo health` on the same rows; rows beyond the window are forgotten."""
    frame = table(300, seed=5)
    moved = frame.assign(pt=frame["pt"] + 9)
    given = {k: pa.Table.from_pandas(f[FEATURES], preserve_index=False) for k, f in (("new", frame), ("moved", moved))}
    for name, part in given.items():
        pq.write_table(part, shop / f"{name}.parquet")
    with serving(shop / "vae.diabolo", window=300) as client:
        assert client.get("/health/drift").json()["n_rows"] == 0
        new = given["new"].to_pylist()
        for row in new[:20]:
            client.post("/score", json=row)
        client.post("/score", json=new[20:])
        found = client.get("/health/drift").json()
        status = 0 if not found["alarm"] else 1
        told = health_of(shop, "new")
        assert told == (status, {k: found[k] for k in told[1]})
        client.post("/score", content=(shop / "moved.parquet").read_bytes(), headers={"content-type": PARQUET})
        found = client.get("/health/drift").json()
        assert found["alarm"]
        assert found["drifted"][0] == "pt"
        assert found["n_rows"] == 300
        assert health_of(shop, "moved")[1] == {k: found[k] for k in told[1]}
        assert [point["alarm"] for point in found["history"]] == [status == 1, True]
        assert "diabolo_drift_alarm" in client.get("/metrics").text


def health_of(shop, name):
    status, out, _ = run("health", shop / "vae.diabolo", shop / f"{name}.parquet", "--json")
    return status, json.loads(out)


def test_metrics_count_and_hold_no_cell(client):
    before = client.get("/metrics").text
    client.post("/score", json={**exact(1)[0], "pt": 314159.25})
    text = client.get("/metrics").text

    def value(page, name):
        return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(name)), 0.0)

    assert value(text, 'diabolo_rows_total{model="vae"}') == value(before, 'diabolo_rows_total{model="vae"}') + 1
    assert "314159" not in text
    assert not any(name in text for name in FEATURES if name not in ("pt", "hits"))


def test_the_document_of_the_interface(client):
    told = client.get("/openapi.json").json()
    row = told["components"]["schemas"]["vae"]
    assert row["required"] == FEATURES
    for path, calls in told["paths"].items():
        for method in calls:
            url = path.replace("{name}", "vae").replace("{version}", client.get("/v2/models/vae").json()["versions"][0])
            assert client.request(method, url).status_code not in (404, 405), path


def test_what_it_says_of_a_model(client, shop):
    told = client.get("/models").json()["models"][0]
    detector = ModelFile(shop / "vae.diabolo").detector
    assert told["card"]["threshold"] == detector.threshold
    assert [c["name"] for c in told["columns"]] == FEATURES
    assert client.post("/score", json=told["typical"]).json()["is_anomaly"] is False


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────


def test_faults_say_what_is_allowed(client):
    row = exact(1)[0]
    lacking = client.post("/score", json=[row, {k: v for k, v in row.items() if k != "eta"}])
    assert (lacking.status_code, lacking.json()["column"], lacking.json()["row"]) == (422, "eta", 1)
    wrong = client.post("/score", json=[row, {**row, "eta": [1]}])
    assert (wrong.status_code, wrong.json()["column"], wrong.json()["row"]) == (422, "eta", 1)
    assert client.post("/score", content=b"{").status_code == 400
    assert client.post("/score", json=3).status_code == 400
    assert client.post("/score", content=b"<a/>", headers={"content-type": "text/xml"}).status_code == 415
    assert client.post("/score", json=row, headers={"content-encoding": "gzip"}).status_code == 415
    assert client.get("/nowhere").json()["error"].startswith("no such address")
    assert client.put("/score").status_code == 405
    assert client.post("/v2/models/other/infer", json={}).status_code == 404
    absent = client.post(
        "/v2/models/vae/infer", json={"inputs": [{"name": "pt", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    )
    assert (absent.status_code, absent.json()["column"]) == (422, "eta")


def test_limits_are_said(shop):
    with serving(shop / "vae.diabolo", max_rows=10, max_body=20_000) as client:
        many = client.post("/score", json=exact(11))
        assert (many.status_code, many.json()["allowed"]) == (413, 10)
        long = client.post("/score", content=b" " * 20_001)
        assert (long.status_code, long.json()["allowed"]) == (413, 20_000)
        parts = client.post("/score", content=iter([b" " * 15_000] * 2))
        assert parts.status_code == 413
        body, headers = tensors(11, True)
        assert client.post("/v2/models/vae/infer", content=body, headers=headers).status_code == 413
        file = (shop / "data.parquet").read_bytes()
        assert client.post("/score", content=file, headers={"content-type": PARQUET}).status_code == 413
        assert client.post("/score", json=exact(10)).status_code == 200


def test_a_full_queue_is_429(shop):
    """One request of many pieces holds the queue of one; others are told to come again."""
    with serving(shop / "vae.diabolo", queue=1) as client:
        found = []

        def ask():
            found.append(client.post("/score", json=exact(1)).status_code)

        threads = [threading.Thread(target=ask) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(found) <= {200, 429}
        assert 200 in found


def test_a_token(shop, tmp_path):
    with serving(shop / "vae.diabolo", token="a" * 32) as client:
        row = exact(1)[0]
        assert client.post("/score", json=row).status_code == 401
        for word in ("Bearer " + "b" * 32, "Bearer", "Basic " + "a" * 32, "Bearer " + "a" * 31):
            assert client.post("/score", json=row, headers={"authorization": word}).status_code == 401
        assert client.post("/score", json=row, headers={"authorization": "Bearer " + "a" * 32}).status_code == 200
        for open_ in ("/", "/page.js", "/v2/health/live", "/v2/health/ready"):
            assert client.get(open_).status_code == 200
        for closed in ("/models", "/metrics", "/openapi.json", "/v2/models/vae", "/health/drift"):
            assert client.get(closed).status_code == 401
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "good").write_text("x" * 20 + "\n")
    assert token_of(tmp_path / "good") == "x" * 20
    for bad in ("short", "nowhere"):
        with pytest.raises(ConfigError):
            token_of(tmp_path / bad)
    assert "token" in refused("serve", shop / "vae.diabolo", "--host", "0.0.0.0")
    assert not is_loopback("0.0.0.0")


def test_pages_of_other_sites_may_not_ask(shop):
    with serving(shop / "vae.diabolo", hosts=("127.0.0.1", "localhost")) as client:
        row = exact(1)[0]
        assert client.post("/score", json=row, headers={"origin": "https://example.org"}).status_code == 403
        assert client.post("/score", json=row, headers={"host": "example.org"}).status_code == 403
        own = str(client.base_url).rstrip("/")
        assert client.post("/score", json=row, headers={"origin": own}).status_code == 200


def test_settings_are_checked(shop, tmp_path):
    with pytest.raises(ConfigError, match=r"max_rows.*level"):
        Settings(tmp_path, max_rows=0, level=2.0)
    with pytest.raises(ConfigError, match="no such setting"):
        app(shop / "vae.diabolo", max_row=3)
    with pytest.raises(ConfigError, match="no model file"):
        app(tmp_path)
    assert "holds no detector" in refused("serve", shop / "ae.diabolo")
    assert Fault("x", 429, allowed=3).said == {"error": "x", "allowed": 3}


def test_two_cells_of_one_name_are_refused(client):
    row = json.dumps(exact(1)[0])
    twice = row[:-1] + ', "pt": 1.0}'
    for address, body, headers in (
        ("/score", twice, {}),
        ("/score", f"[{row}, {twice}]", {}),
        ("/explain", twice, {}),
        ("/v2/models/vae/infer", tensors(2, False)[0].replace(b'"shape"', b'"shape":[9,1],"shape"', 1), {}),
    ):
        answer = client.post(address, content=body, headers=headers)
        assert answer.status_code == 400, address
        assert "twice in one object" in answer.json()["error"]
    # A colon within a name or a cell is none between a name and its cell.
    assert client.post("/score", content=row[:-1] + ', "a:b": ":::"}').status_code == 200
    assert client.post("/score", content='{"a":' * 900 + "1" + "}" * 900).status_code in (400, 422)


def test_true_is_no_number(client):
    row = exact(1)[0]
    answer = client.post("/score", json=row | {"pt": True})
    assert answer.status_code == 422
    assert "type bool; allowed is a number" in answer.json()["error"]
    assert client.post("/score", json=row | {"pt": 1}).status_code == 200


def test_dates_and_times_of_a_caller():
    """A date of a column with a zone has an offset, one of a column without has none, and the answer says which."""
    kinds = {
        "plain": "datetime64[us]",
        "zoned": "datetime64[us] Europe/Berlin",
        "clock": "time64[us]",
        "wait": "timedelta64[us]",
    }
    columns = Columns(Schema(tuple(Column(c, "real", kinds.get(c, "float64"), 0, 0, 1, 0) for c in ("x", *kinds))))
    row = {"x": 1.0, "plain": "2024-05-01T12:00:00", "zoned": "2024-05-01T12:00:00+02:00", "clock": "12:30:00"}
    read = columns.table({k: [v] for k, v in (row | {"wait": 1.5}).items()}).to_pylist()[0]
    assert read["zoned"].utctimetuple()[:5] == (2024, 5, 1, 10, 0)
    assert str(read["clock"]) == "12:30:00"
    for name, cell, allowed in (
        ("plain", "2024-05-01T12:00:00Z", "without an offset"),
        ("zoned", "2024-05-01T12:00:00", "with its offset"),
        ("clock", "12:30:00+02:00", "without an offset"),
        ("clock", "25:30", "time of day"),
        ("wait", True, "seconds"),
    ):
        with pytest.raises(Fault, match=allowed):
            columns.table({k: [v] for k, v in (row | {"wait": 1.5, name: cell}).items()})


def test_a_reader_apart_that_is_killed_with_its_endpoint_says_nothing(shop):
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from diabolo.file.model_file import ModelFile
        from diabolo.serve.apart import Reader
        from diabolo.serve.columns import Columns
        if __name__ == "__main__":
            columns = Columns(ModelFile(Path({str(shop / "vae.diabolo")!r})).schema)
            body = Path({str(shop / "data.parquet")!r}).read_bytes()
            print(Reader().table(body, {PARQUET!r}, columns, 1000).num_rows, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    (shop / "reads.py").write_text(code)
    ended = subprocess.run([sys.executable, shop / "reads.py"], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, "400\n", "")


def mutations(body, n, seed):
    """Bodies with bytes that were changed, taken out, repeated or cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        data = bytearray(body)
        for _ in range(rng.integers(1, 5)):
            at, kind = int(rng.integers(len(data))), rng.integers(4)
            if kind == 0:
                data[at] = rng.integers(256)
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 2:
                data[at:at] = data[at : at + int(rng.integers(1, 9))]
            else:
                word = [b"null", b"1e999", b"-0", b'"', b"[", b"{}", b"true", b"\xff", b"99999999999999999999"]
                data[at : at + 1] = word[rng.integers(len(word))]
            if not data:
                data = bytearray(b"x")
        yield bytes(data[: int(rng.integers(1, len(data) + 1))] if rng.random() < 0.1 else data)


def sound_bodies(shop):
    """Requests that are answered: (address, body, headers)."""
    json_, binary = tensors(2, False), tensors(2, True)
    file, text = io.BytesIO(), (shop / "data.csv").read_bytes()[:300].rpartition(b"\n")[0]
    pq.write_table(pq.read_table(shop / "data.parquet").slice(0, 3), file)
    stream = io.BytesIO()
    frame = pq.read_table(shop / "data.parquet").slice(0, 3)
    with pa.ipc.new_stream(stream, frame.schema) as writer:
        writer.write_table(frame)
    words = json.dumps(exact(2)).encode()
    return [
        ("/score", words, {"content-type": "application/json"}),
        ("/explain", words, {"content-type": "application/json"}),
        ("/v2/models/vae/infer", json_[0], {"content-type": "application/json"}),
        ("/v2/models/vae/infer", binary[0], {"content-type": "application/octet-stream", **binary[1]}),
        ("/score", file.getvalue(), {"content-type": PARQUET}),
        ("/score", text, {"content-type": CSV}),
        ("/score", stream.getvalue(), {"content-type": STREAM}),
    ]


def test_a_body_that_ends_its_reader_is_the_bodys_fault(shop, monkeypatch):
    """PyArrow aborts on some damaged Parquet; here a reader that dies stands for it, and the next body is read."""
    columns, body = Columns(ModelFile(shop / "vae.diabolo").schema), (shop / "data.parquet").read_bytes()
    reader = Reader()
    try:
        monkeypatch.setattr(apart, "table_of", dies)
        with pytest.raises(Fault) as found:
            reader.table(body, PARQUET, columns, 1000)
        assert found.value.status == 400
        monkeypatch.undo()
        assert reader.table(body, PARQUET, columns, 1000).num_rows == 400
        with pytest.raises(Fault) as found:
            reader.table(body, PARQUET, columns, 10)
        assert (found.value.status, found.value.said["allowed"]) == (413, 10)
    finally:
        reader.close()


def dies(*_):
    os.abort()


def test_mutated_bodies_are_never_a_500(client, shop):
    statuses = {}
    for i, (address, body, headers) in enumerate(sound_bodies(shop)):
        assert client.post(address, content=body, headers=headers).status_code == 200, (address, headers)
        for data in mutations(body, 8 if address == "/explain" else 40, i):
            status = client.post(address, content=data, headers=headers).status_code
            statuses[status] = statuses.get(status, 0) + 1
            assert status in (200, 400, 413, 422), (address, data)
    assert statuses[200] > 10
    assert statuses[400] > 10


# ── new versions, sudden ends ─────────────────────────────────────────────────────────────────────


def test_a_new_version_is_taken_up_without_a_lost_request(shop, tmp_path):
    """Files are exchanged by rename while four callers ask: every answer is that of one version or the other."""
    done(
        "fit",
        shop / "data.parquet",
        "--label",
        "truth",
        "--epochs",
        1,
        "--seed",
        1,
        "-q",
        "-o",
        tmp_path / "other.diabolo",
    )
    row, scores = exact(1)[0], set()
    for path in (shop / "vae.diabolo", tmp_path / "other.diabolo"):
        done("score", path, shop / "data.parquet", "-o", tmp_path / "s.parquet", "-q")
        scores.add(pq.read_table(tmp_path / "s.parquet")["score"][0].as_py())
    assert len(scores) == 2
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(shop / "vae.diabolo", folder / "m.diabolo")
    with serving(folder, watch=0.05) as client:
        statuses, told, versions, ended = [], set(), set(), threading.Event()

        def ask():
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                while not ended.is_set():
                    answer = own.post("/score?model=m", json=row)
                    statuses.append(answer.status_code)
                    told.add(answer.json().get("score"))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(4):
                source = tmp_path / "other.diabolo" if turn % 2 == 0 else shop / "vae.diabolo"
                shutil.copy(source, folder / ".new")
                before = client.get("/v2/models/m").json()["versions"]
                os.replace(folder / ".new", folder / "m.diabolo")
                end = time.monotonic() + 30
                while client.get("/v2/models/m").json()["versions"] == before:
                    assert time.monotonic() < end
                versions.add(client.get("/v2/models/m").json()["versions"][0])
            # A file that is no model is refused, and the version before it goes on; a new name is a new model.
            (folder / ".new").write_bytes(b"no model")
            os.replace(folder / ".new", folder / "m.diabolo")
            shutil.copy(shop / "vae.diabolo", folder / ".new")
            os.replace(folder / ".new", folder / "second.diabolo")
            while client.get("/v2/models/second/ready").status_code != 200:
                assert time.monotonic() < end + 30
                time.sleep(0.05)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert set(statuses) == {200}
        assert told == scores
        assert len(versions) == 2
        assert 'diabolo_model_loads_total{model="m",result="refused"} 1.0' in client.get("/metrics").text
        assert client.post("/score", json=row).json()["allowed"] == ["m", "second"]


@contextlib.contextmanager
def process(path, log, *words):
    """`diabolo serve` in a process of its own: (process, client)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "diabolo", "serve", str(path), "--port", str(port), *words]
    with open(log, "ab") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(1200):
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/v2/health/ready").status_code == 200:
                        break
                assert child.poll() is None, log.read_text()
                time.sleep(0.05)
            yield child, client
    finally:
        child.kill()
        child.wait()


def test_killed_under_load_and_ended_in_peace(shop, expected, tmp_path):
    """After SIGKILL no answer was wrong, and a restart answers alike; SIGTERM lets what has begun end."""
    right, log = expected["score"].to_pylist(), tmp_path / "log"
    given, wrong, answered = exact(20), [], []
    with process(shop / "vae.diabolo", log) as (child, client):

        def ask(i):
            with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=client.base_url) as own:
                while True:
                    told = own.post("/score", json=given[i]).json()
                    answered.append(i)
                    if told["score"] != right[i]:
                        wrong.append(told)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 40:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert wrong == []
    with process(shop / "vae.diabolo", log) as (child, client):
        assert [t["score"] for t in client.post("/score", json=given).json()] == right[:20]
        client.post("/score", json={**given[0], "pt": 314159.25, "eta": "secretword"})
        client.post("/score", json={**given[0], "pt": 1e300})
        client.post("/score", content=b"pt,eta\nsecretword,314159.25\n", headers={"content-type": CSV})
        found = []
        slow = threading.Thread(target=lambda: found.append(client.post("/explain", json=exact(100))))
        slow.start()
        time.sleep(0.3)
        child.send_signal(signal.SIGTERM)
        slow.join()
        assert found[0].status_code == 200
        assert len(found[0].json()) == 100
        assert child.wait(30) == 0
    text = log.read_text()
    assert "stopped" in text
    assert "secretword" not in text
    assert "314159" not in text


# ── the page in a browser ─────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def opened(client, **more):
    with Page(os.devnull, **more) as page:
        page.call("Page.navigate", url=str(client.base_url))
        page.until("document.getElementById('main') !== null && document.readyState === 'complete'")
        yield page


WHY = "(document.querySelector('#verdict .why') || {textContent: ''}).textContent.length > 5"


def test_the_page(client, shop):
    with opened(client) as page:
        page.until(WHY)
        assert page.run("document.querySelector('#verdict strong').textContent") == "Normal"
        seen = client.get("/health/drift").json()["n_rows"]
        # By the keyboard: a cell is changed, and the score follows.
        page.run("(e => { e.focus(); e.select(); })(document.getElementById('cell-pt'))")
        page.call("Input.insertText", text="95")
        page.until("document.querySelector('#verdict strong').textContent === 'Anomaly'")
        page.until("document.querySelector('[data-column=pt]').classList.contains('changed')")
        assert "expected" in page.run("document.querySelector('[data-column=pt] .hint').textContent")
        assert '"pt": 95' in page.run("document.getElementById('curl').textContent")
        # Rows that are tried do not count for drift.
        assert client.get("/health/drift").json()["n_rows"] == seen
        # A file becomes a report.
        text = json.dumps((shop / "data.csv").read_text())
        page.run(
            "(() => { const d = new DataTransfer(); d.items.add(new File([" + text + "], 'rows.csv'));"
            "const c = document.getElementById('chosen'); c.files = d.files; c.dispatchEvent(new Event('change')); })()"
        )
        page.until("!document.getElementById('report').hidden")
        report = client.get(page.run("document.querySelector('#file-said a').getAttribute('href')"))
        assert report.text.startswith("<!doctype html>")
        assert report.headers["content-security-policy"].startswith("sandbox")
        page.run("document.getElementById('look').click()")
        page.until("document.getElementById('drift-said').textContent.length > 5")
        before = page.run("getComputedStyle(document.body).backgroundColor")
        page.run("document.getElementById('theme').click()")
        assert page.run("getComputedStyle(document.body).backgroundColor") != before
        assert page.console == []
        own = str(client.base_url)
        assert [u for u in page.requests if not u.startswith((own, "data:", "file:", "about:"))] == []
    policy = client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_the_page_on_a_phone_with_a_token(shop):
    with (
        serving(shop / "vae.diabolo", token="b" * 32) as client,
        opened(client, width=390, height=844, dark=True) as page,
    ):
        page.until("!document.getElementById('token').hidden")
        page.run("document.getElementById('word').focus()")
        page.call("Input.insertText", text="b" * 32)
        page.run("document.querySelector('#token button').click()")
        page.until(WHY)
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("getComputedStyle(document.documentElement).colorScheme") == "dark"
