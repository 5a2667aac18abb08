"""One-row requests of `diabolo serve` beside FastAPI with PyOD's pickled detectors, on one core; and what it survives.

    bench/serve.py                  requests/s and latency at half load (wrk), then the soak
    bench/serve.py --soak SECONDS   length of the soak; memory is read by the minute
    bench/serve.py --pairs 0        the soak alone
    bench/serve.py --bodies N       N mutated bodies; counts the statuses
    bench/serve.py --first          servers and wrk go before all other work of the machine, as if it were idle (root,
                                    chrt); from a server that is always busy the kernel takes 50 ms a second

The endpoint, of a model file and of its graph, and its rivals run in processes of their own, pinned to one core
with wrk on the other one. Every rival is what its documentation shows: FastAPI with a pydantic model of the row, and
`decision_function` of the unpickled detector. Requests per second of the server's own processor time stand beside those
of the clock: other work on the machine slows the clock alone. FastAPI has to be importable (pip install fastapi), and
PyOD.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diabolo import AnomalyDetector, VariationalAutoencoder

ROWS, COLUMNS, CONNECTIONS = 20_000, 20, 64
TICKS = os.sysconf("SC_CLK_TCK")
#: Words before the command of a server and of wrk.
FIRST = []
#: The class of processes that all others wait for.
AHEAD = ["chrt", "-r", "1"]

RIVAL = """
import pickle, sys
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, create_model

detector = pickle.load(open(sys.argv[1], "rb"))
names = [f"f{{i}}" for i in range({columns})]
Row = create_model("Row", **{{n: (float, ...) for n in names}})
app = FastAPI()


@app.post("/score")
def score(row: Row):
    x = np.array([[getattr(row, n) for n in names]])
    found = float(detector.decision_function(x)[0])
    return {{"score": found, "is_anomaly": bool(found > detector.threshold_)}}


import uvicorn

uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="error")
"""
POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{body}]]
{paced}
"""
#: A pause before each request, of any length up to twice the mean, so that callers do not ask in step.
PACED = "function delay() return math.random(0, {ms}) end"


def table(rng):
    z = rng.normal(size=(ROWS, 6))
    x = z @ rng.normal(size=(6, COLUMNS)) + 0.3 * rng.normal(size=(ROWS, COLUMNS))
    return pa.table({f"f{i}": x[:, i] for i in range(COLUMNS)}), x


@contextlib.contextmanager
def server(command, port):
    """A server on the first core: its process id."""
    child = subprocess.Popen(
        [*FIRST, "taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        answered = False
        while not answered:
            if child.poll() is not None:
                sys.exit(f"the server ended: {' '.join(command[:4])}")
            time.sleep(0.1)
            with contextlib.suppress(OSError):
                answered = urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=60).status == 200
        yield child.pid
    finally:
        child.kill()
        child.wait()


def cpu(pid):
    """Processor seconds of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def check(port, body):
    """Refuse a server that does not answer a row with a score."""
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/score", body.encode(), headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert json.loads(answer.read())["is_anomaly"] in (True, False)


def memory(pid):
    """Resident MB of a process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def wrk(port, pid, body, seconds, connections=CONNECTIONS, pause=0.0):
    """Requests/s by the clock and by the server's processor time, p50 and p99 in ms, failures."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(POST.format(body=body, paced=PACED.format(ms=round(2 * pause)) if pause else ""))
        script.flush()
        begun = cpu(pid)
        address = f"http://127.0.0.1:{port}/score"
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name, address]
        text = subprocess.run([*FIRST, "taskset", "-c", "1", *words], stdout=-1, stderr=-2, text=True).stdout
        spent = cpu(pid) - begun
    if "requests in" not in text:
        sys.exit(f"wrk: {text}")
    count = int(re.search(r"(\d+) requests in", text)[1])
    lost = sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses|connect|read|write|timeout):? (\d+)", text)))
    told = {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), "per_cpu": count / max(spent, 1e-9)}
    for share in (50, 99):
        number, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text).groups()
        told[f"p{share}"] = float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    return {**told, "requests": count, "lost": lost, "busy": spent / seconds}


def pickled(folder, x):
    """PyOD's detectors as files."""
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN

    out = {}
    for name, made in (("KNN", KNN()), ("IForest", IForest(random_state=0))):
        made.fit(x)
        path = out[name] = Path(folder) / f"{name}.pkl"
        path.write_bytes(pickle.dumps(made))
    return out


def said(name, told):
    print(
        f"{name:<28} {told['rate']:8.0f} requests/s  {told['per_cpu']:8.0f} per CPU second  p50 {told['p50']:7.1f} ms  "
        f"p99 {told['p99']:7.1f} ms  lost {told['lost']}  busy {told['busy']:.2f}",
        flush=True,
    )


def soak(port, pid, body, seconds):
    """Resident memory of a soak by the minute: the window of drift and the pools of memory are full after the first."""
    told = {"requests": 0, "lost": 0, "memory": []}
    for part in [60] * (seconds // 60) + [seconds % 60] * (seconds % 60 > 0):
        found = wrk(port, pid, body, part)
        told["requests"] += found["requests"]
        told["lost"] += found["lost"]
        told["memory"].append(memory(pid))
        said(f"soak, {part} s", found)
        print(f"memory {told['memory'][-1]:.1f} MB after {told['requests']:,} requests", flush=True)
    return told


def mutated(port, frame, n, seed=0):
    """Statuses of n mutated bodies of five kinds."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import http.client
    import io

    from test_serve import PARQUET, STREAM, mutations

    rows = json.dumps(frame.slice(0, 2).to_pylist()).encode()
    inputs = [
        {"name": c, "shape": [2], "datatype": "FP64", "data": frame[c].to_pylist()[:2]} for c in frame.column_names
    ]
    parquet, stream, text = io.BytesIO(), io.BytesIO(), frame.slice(0, 2).to_pandas().to_csv(index=False).encode()
    pq.write_table(frame.slice(0, 2), parquet)
    with pa.ipc.new_stream(stream, frame.schema) as writer:
        writer.write_table(frame.slice(0, 2))
    kinds = [
        ("/score", rows, "application/json"),
        ("/v2/models/m/infer", json.dumps({"inputs": inputs}).encode(), "application/json"),
        ("/score", parquet.getvalue(), PARQUET),
        ("/score", stream.getvalue(), STREAM),
        ("/score", text, "text/csv"),
    ]
    statuses = {}
    for k, (address, body, kind) in enumerate(kinds):
        for data in mutations(body, n // len(kinds), seed + k):
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            asking.request("POST", address, data, {"Content-Type": kind})
            status = asking.getresponse().status
            statuses[status] = statuses.get(status, 0) + 1
            asking.close()
    print(f"{sum(statuses.values()):,} mutated bodies: {dict(sorted(statuses.items()))}", flush=True)
    return statuses


def main():
    parser = common.parser(__doc__, pairs=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--port", type=int, default=8471, help="first of four ports (default: 8471)")
    parser.add_argument("--soak", type=int, default=300, help="seconds of the soak; 0 for none (default: 300)")
    parser.add_argument("--bodies", type=int, default=0, help="mutated bodies, in place of the measurements")
    parser.add_argument("--first", action="store_true", help="before all other work of the machine; needs root")
    options = parser.parse_args()
    FIRST[:] = AHEAD * options.first
    frame, x = table(np.random.default_rng(0))
    body = json.dumps({name: frame[name][0].as_py() for name in frame.column_names})
    told = {"rounds": []}
    with tempfile.TemporaryDirectory() as folder:
        detector = AnomalyDetector(VariationalAutoencoder(epochs=10)).fit(frame)
        detector.save(f"{folder}/m.diabolo")
        ours = [sys.executable, "-m", "diabolo", "serve", f"{folder}/m.diabolo", "--port", str(options.port)]
        if options.bodies:
            with server(ours, options.port):
                told["statuses"] = mutated(options.port, frame, options.bodies)
            sys.exit(any(status >= 500 for status in told["statuses"]))
        (Path(folder) / "rival.py").write_text(RIVAL.format(columns=COLUMNS))
        files = pickled(folder, x) if options.pairs else {}
        detector.to_onnx(f"{folder}/g.onnx")
        graph = [sys.executable, "-m", "diabolo", "serve", f"{folder}/g.onnx", "--port", str(options.port + 3)]
        commands = {"diabolo": (ours, options.port), "diabolo, .onnx": (graph, options.port + 3)}
        for k, (name, path) in enumerate(files.items()):
            words = [sys.executable, f"{folder}/rival.py", str(path), str(options.port + 1 + k)]
            commands[f"FastAPI, PyOD {name}"] = (words, options.port + 1 + k)
        for _ in range(1 if options.quick else options.pairs):
            one = {}
            for name, (command, port) in commands.items():
                with server(command, port) as pid:
                    check(port, body)
                    wrk(port, pid, body, 1)
                    one[name] = wrk(port, pid, body, options.seconds)
                    said(name, one[name])
                    one[f"{name}, alone"] = wrk(port, pid, body, options.seconds, 1)
                    said(f"{name}, one caller", one[f"{name}, alone"])
                    # The same callers ask half as often as it can answer.
                    pause = max(1.0, 2000 * CONNECTIONS / one[name]["rate"])
                    one[f"{name}, half"] = wrk(port, pid, body, options.seconds, CONNECTIONS, pause)
                    said(f"{name}, half load", one[f"{name}, half"])
            told["rounds"].append(one)
        for own in list(commands)[:2] if told["rounds"] else ():
            for name in files:
                for unit in ("rate", "per_cpu"):
                    ratios = [r[own][unit] / r[f"FastAPI, PyOD {name}"][unit] for r in told["rounds"]]
                    spread = f"{np.median(ratios):.1f} [{min(ratios):.1f} to {max(ratios):.1f}]"
                    print(f"{own} / {name}, {unit}: {spread}")
        if options.soak:
            with server(ours, options.port) as pid:
                told["soak"] = soak(options.port, pid, body, options.soak)
    if options.json:
        Path(options.json).write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
