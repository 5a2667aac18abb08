"""A table in pieces: equal bits by any number of workers, whatever is killed, and what is wrong is named."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import done, refused, run, table, write

from diabolo.distributed import ClusterBatches, CompressPieces, Sample, ScoreBatches
from diabolo.distributed.engines.local import Local
from diabolo.errors import ConfigError, DataError, ModelFileError

PIECES = 5


@pytest.fixture(scope="module")
def many(shop, tmp_path_factory):
    """A folder of pieces, a model, and for each piece what the program writes of it alone."""
    folder = tmp_path_factory.mktemp("many")
    shutil.copy(shop / "vae.diabolo", folder / "m.diabolo")
    (folder / "data" / "more").mkdir(parents=True)
    for k in range(PIECES):
        write(table(200 + 10 * k, seed=k + 1), folder / "data" / ("more" if k > 2 else "") / f"p{k}.parquet")
    for path in sorted((folder / "data").rglob("*.parquet")):
        out = folder / "alone" / path.relative_to(folder / "data")
        out.parent.mkdir(parents=True, exist_ok=True)
        done("score", folder / "m.diabolo", path, "-o", out, "--keep", "truth", "-q")
    return folder


def parts(folder):
    """The bytes of the parts, by name; of a killed worker an empty file may be left, whose name begins with a point."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(("_diabolo", "."))}


def score(many, out, *words):
    return ("score", many / "m.diabolo", many / "data", "-o", out, "--keep", "truth", *words)


# ── what engines call ─────────────────────────────────────────────────────────────────────────────


def test_scores_of_arrow_tables_are_those_of_the_program(many):
    work = pickle.loads(pickle.dumps(ScoreBatches(many / "m.diabolo", keep={"truth": "int64"})))
    whole = pq.read_table(many / "data" / "p1.parquet")
    expected = pq.read_table(many / "alone" / "p1.parquet").drop(["row"])
    assert work(whole).equals(expected)
    batches = [b for at in range(0, len(whole), 64) for b in whole.slice(at, 64).to_batches()]
    assert pa.Table.from_batches(work.iterate(iter(batches))).equals(expected)
    assert work.schema.equals(expected.schema)
    assert work.ddl.startswith("`truth` bigint, `score` double, `p_value` double, `is_anomaly` boolean, `flag` string")


def test_what_is_sent_is_small_and_holds_no_model(many):
    work = ScoreBatches(many / "m.diabolo")
    work(pq.read_table(many / "data" / "p0.parquet"))
    assert len(pickle.dumps(work)) < 1000 < (many / "m.diabolo").stat().st_size


def test_another_file_under_the_path_is_refused(many, shop, tmp_path):
    path = tmp_path / "m.diabolo"
    shutil.copy(many / "m.diabolo", path)
    work = ScoreBatches(path)
    shutil.copy(shop / "ae.diabolo", path)
    with pytest.raises(ModelFileError, match=r"on the host .* is another file than at the start"):
        _ = work.schema
    path.unlink()
    with pytest.raises(ModelFileError, match=r"cannot be read on the host .*: No such file.*; put it where every"):
        _ = work.schema


def test_another_version_is_refused(many):
    work = ScoreBatches(many / "m.diabolo")
    work.version = "0.0.1"
    with pytest.raises(ModelFileError, match=r"has diabolo \d.*, the work comes from 0\.0\.1"):
        _ = work.schema


def test_bad_tables_and_types_are_named(many):
    work = ScoreBatches(many / "m.diabolo", keep={"id": "int64"})
    with pytest.raises(DataError, match="no column 'id' to keep"):
        work(pq.read_table(many / "data" / "p0.parquet"))
    with pytest.raises(ConfigError, match="Spark has"):
        _ = ScoreBatches(many / "m.diabolo", keep={"id": pa.uint64()}).ddl


# ── processes of this machine ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def within(monkeypatch):
    """Pieces run in this process, in reverse order: what a worker does, without the seconds that it takes to start."""
    monkeypatch.setattr(Local, "run", lambda self, work, jobs, workers, address: map(work, reversed(jobs)))


def test_parts_are_what_each_file_gives_alone(many, here, within):
    said = done(*score(many, "out"))
    assert parts("out") == parts(many / "alone")
    assert f"{PIECES} parts" in said
    assert f"{sum(200 + 10 * k for k in range(PIECES)):,} rows scored by" in said
    assert done(*score(many, "out", "--resume")).count(f"{PIECES} of them before") == 1


def test_a_part_of_another_model_or_input_or_a_damaged_one_is_done_again(many, here, within):
    data, model = here / "data", here / "m.diabolo"
    shutil.copytree(many / "data", data)
    shutil.copy(many / "m.diabolo", model)
    words = ("score", model, data, "-o", "out", "--resume")
    done(*words)
    first = parts("out")
    Path("out/p0.parquet").write_bytes(b"PAR1")
    Path("out/p1.parquet").unlink()
    (Path("out/_diabolo") / "p2.parquet.json").write_text("{")
    write(table(300, seed=77), data / "more" / "p3.parquet")
    assert "1 of them before" in done(*words)
    now = parts("out")
    assert {n for n in now if now[n] != first[n]} == {"more/p3.parquet"}
    done("fit", data, "--label", "truth", "--epochs", 1, "-q", "-o", model)
    assert "before" not in done(*words)
    assert all(now[n] != data for n, data in parts("out").items())


def test_pieces_that_fail_are_named_and_the_rest_is_kept(many, here, within):
    shutil.copytree(many / "data", "data")
    whole = Path("data/p1.parquet").read_bytes()
    middle = whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :]
    Path("data/p1.parquet").write_bytes(middle)
    status, out, err = run("score", many / "m.diabolo", "data", "-o", "out", "--keep", "truth")
    assert status == 2
    first, last = err.splitlines()
    assert first.startswith("p1.parquet: ")
    assert "cannot be read" in first
    assert f"1 of {PIECES} pieces failed" in last
    assert "--resume" in last
    assert "4 parts" in out
    left = parts(many / "alone")
    del left["p1.parquet"]
    assert parts("out") == left


def test_folders_that_cannot_take_parts(many, here):
    shutil.copytree(many / "data", "data")
    model = many / "m.diabolo"
    assert "is within data" in refused("score", model, "data", "-o", "data/out")
    assert "holds the input" in refused("score", model, "data/*.parquet", "-o", "data")
    Path("busy").mkdir()
    Path("busy/notes.md").write_text("mine")
    assert "busy/notes.md: is no part of these pieces" in refused("score", model, "data", "-o", "busy")
    assert "-o x.parquet must name one" in refused("score", model, "data", "-o", "x.parquet", "--resume")
    assert Path("busy/notes.md").read_text() == "mine"


def test_engines_that_are_none(many, here):
    words = ("score", many / "m.diabolo", many / "data", "-o", "out", "--engine")
    assert "did you mean 'local'?" in refused(*words, "locl")
    assert "allowed behind the colon are whole numbers from 1 up" in refused(*words, "local:0")
    for name, call in {"ray": "map_batches", "spark": "mapInArrow"}.items():
        assert f"calls diabolo by its {call}" in refused(*words, name)
    assert "local runs on this machine" in refused(*words, "local", "--address", "tcp://host:1")
    assert "--fdr looks at all rows in turn" in refused(*score(many, "out", "--fdr", 0.1))


def test_mixed_columns_name_file_and_column(many, here):
    shutil.copytree(many / "data", "data")
    frame = table(50)
    write(frame.astype({"pt": str}), "data/p1.parquet")
    said = refused("score", many / "m.diabolo", "data", "-o", "out")
    assert "data/p1.parquet: column 'pt' holds" in said
    write(frame.drop(columns="eta"), "data/p1.parquet")
    assert "data/p1.parquet: has no column 'eta'" in refused("score", many / "m.diabolo", "data", "-o", "out")


def test_a_narrower_type_is_read_as_among_the_others(many, here, within):
    """The whole table reads pt as float64 in all files; so does the piece whose own pt is float32."""
    shutil.copytree(many / "data", "data")
    frame = table(90, seed=8)
    frame["pt"] = frame["pt"].astype(np.float32)
    write(frame, "data/p1.parquet")
    words = ("score", many / "m.diabolo", "data", "-q", "-o")
    done(*words, "whole.parquet")
    done(*words, "out")
    names = sorted(str(p) for p in Path("out").rglob("*.parquet"))
    joined = pa.concat_tables([pq.read_table(n) for n in sorted(names, key=lambda n: n.replace("out", "data"))])
    assert joined.drop(["row"]).equals(pq.read_table("whole.parquet").drop(["row"]))


# ── the other verbs ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def gaps(many):
    """The pieces with missing cells."""
    for path in (many / "data").rglob("*.parquet"):
        frame = pq.read_table(path).to_pandas()
        frame.loc[frame.index % 7 == 0, "pt"] = np.nan
        out = many / "gaps" / path.relative_to(many / "data")
        out.parent.mkdir(parents=True, exist_ok=True)
        write(frame, out)
    return many / "gaps"


def alone(verb, model, data, folder, ending, *words):
    """What a verb writes of each file alone."""
    for path in sorted(Path(data).rglob("*.parquet")):
        name = path.relative_to(data).as_posix()
        out = Path(folder, name if ending == ".parquet" else name + ending)
        out.parent.mkdir(parents=True, exist_ok=True)
        done(verb, model, path, "-o", out, *words)
    return parts(folder)


def test_compress(many, here, within):
    shutil.copy(many / "m.diabolo", "m.diabolo")
    said = done("compress", "m.diabolo", many / "data", "-o", "out", "--max-error", "1e-2")
    assert "learnt" in said
    words = ("--max-error", "1e-2", "--no-verdict")
    assert parts("out") == alone("compress", "m.diabolo", many / "data", "alone", ".dbl", *words)
    done("decompress", "out/p0.parquet.dbl", "-o", "back.parquet")
    whole, back = pq.read_table(many / "data" / "p0.parquet"), pq.read_table("back.parquet")
    assert np.abs(whole["pt"].to_numpy() - back["pt"].to_numpy()).max() <= 1e-2
    work = pickle.loads(pickle.dumps(CompressPieces("m.diabolo")))
    made = work(whole)
    assert made.num_rows == 1
    assert made["rows"].to_pylist() == [whole.num_rows]
    Path("one.dbl").write_bytes(made["dbl"][0].as_py())
    done("decompress", "one.dbl", "-o", "one.parquet")
    assert pq.read_table("one.parquet").equals(back)
    assert work.ddl == "`rows` bigint, `dbl` binary"
    with pytest.raises(DataError, match=r"column 'pt' is not as the codec of .* has it"):
        work(whole.drop(["pt"]))


def test_cluster(many, here, within):
    shutil.copy(many / "m.diabolo", "m.diabolo")
    said = done("cluster", "m.diabolo", many / "data", "-o", "out", "--clusters", 3, "--keep", "truth")
    assert f"{sum(200 + 10 * k for k in range(PIECES)):,} rows in 3 clusters" in said
    words = ("--keep", "truth", "--no-fit", "-q")
    assert parts("out") == alone("cluster", "m.diabolo", many / "data", "alone", ".parquet", *words)
    again = done("cluster", "m.diabolo", many / "data", "-o", "out", "--clusters", 3, "--keep", "truth", "--resume")
    assert f"{PIECES} of them before" in again  # the same clusters are found again
    work = pickle.loads(pickle.dumps(ClusterBatches("m.diabolo", {"truth": "int64"})))
    expected = pq.read_table("out/p2.parquet").drop(["row"])
    assert work(pq.read_table(many / "data" / "p2.parquet")).equals(expected)
    assert work.ddl == "`truth` bigint, `cluster` int, `confidence` float"


def test_sample(many, here, within, monkeypatch):
    for module in ("diabolo.generate.drawing", "diabolo.distributed.sample"):
        monkeypatch.setattr(f"{module}.PIECE", 100)
    words = ("sample", many / "m.diabolo", "-n", 950, "--method", "prior", "--seed", 3)
    assert "3 parts" in done(*words, "-o", "out")
    done(*words, "-o", "whole.parquet")
    whole = pq.read_table("whole.parquet")
    drawn = [pq.read_table(f"out/part-{k:06d}.parquet") for k in range(3)]
    assert [len(t) for t in drawn] == [400, 400, 150]
    assert pa.concat_tables(drawn).equals(whole)
    work = pickle.loads(pickle.dumps(Sample(many / "m.diabolo", 950, 3, "prior")))
    numbers = pa.table({"id": [9, 2]})
    assert work(numbers).equals(pa.concat_tables([whole.slice(900), whole.slice(200, 100)]))
    assert work(2).equals(whole.slice(200, 100))
    with pytest.raises(ConfigError, match="allowed are 0 to 9"):
        work(10)


def test_fill(many, gaps, here, within):
    said = done("fill", many / "m.diabolo", gaps, "-o", "out")
    assert parts("out") == alone("fill", many / "m.diabolo", gaps, "alone", ".parquet", "-q")
    missing = sum(-(-(200 + 10 * k) // 7) for k in range(PIECES))
    assert f"{missing:,} cells of 1 column filled in" in said
    done("fill", many / "m.diabolo", gaps, "-o", "drawn", "--draws", 2)
    first = [pq.read_table(f"drawn/p{k}.parquet")["pt"][:2].to_pylist() for k in range(2)]
    assert first[0][0] != first[0][1]
    assert first[0] != first[1]  # row 0 is missing in both, and draws of two pieces differ


def test_health(many, gaps, here, within):
    words = ("health", many / "m.diabolo", "--json")
    for data in (many / "data", gaps):
        whole, together = run(*words, data), run(*words, data, "-o", f"out-{data.name}")
        assert together == whole
        assert run(*words, data, "-o", f"out-{data.name}", "--resume") == whole
    assert whole[0] == 1  # the missing cells are an alarm
    assert "must name a folder" in refused(*words, gaps, "-o", "counts.json")


def test_evaluate(many, here, within):
    words = ("evaluate", many / "m.diabolo", many / "data", "--label", "truth")
    whole = done(*words)
    assert "AUROC" in whole
    assert done(*words, "-o", "out") == whole
    assert done(*words, "-o", "out", "--resume") == whole
    assert "a truth column must not be a feature" in refused(*words[:-1], "pt", "-o", "other")
    assert "must name a folder" in refused(*words, "-o", "scores.parquet")


# ── processes, and kills ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["local", "dask"])
def engine(request):
    """Engines that the program starts itself."""
    if request.param == "dask":
        pytest.importorskip("distributed")
    return request.param


def driver(engine, then):
    """The program, with a line that is run when the first piece is done, and only then.

    Nothing waits for a time: under Dask, which sends all pieces at once, a worker keeps the others back until then.
    """
    return f"""
import multiprocessing, os, signal, time
from pathlib import Path
from diabolo.cli import main
from diabolo.distributed.engines import engines
Engine = type(engines.create({engine!r}))
plain = Engine.run

def run(self, work, jobs, workers, address):
    first, told = jobs[0].name, os.path.abspath("told")

    def held(job):
        while job.name != first and not os.path.exists(told):
            time.sleep(0.01)
        return work(job)

    for outcome in plain(self, held if {engine == "dask"} else work, jobs, workers, address):
        if not os.path.exists(told):
            made = multiprocessing.active_children()
            Path("workers").write_text(" ".join(str(process.pid) for process in made))
            {then}
            Path(told).touch()
        yield outcome

Engine.run = run
main()
"""


def alive(pid):
    """Whether a process runs; one that has ended and is not collected does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def workers():
    """The process ids that a driver left in writing."""
    return [int(pid) for pid in Path("workers").read_text().split()]


def notes(out="out"):
    return len(list(Path(out).rglob("_diabolo/**/*.json")))


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@LINUX
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_processes_of_any_number_give_the_same_bits(many, here, monkeypatch, workers):
    run = Local.run
    monkeypatch.setattr(
        Local, "run", lambda self, work, jobs, *more: run(self, work, [*jobs[workers:], *jobs[:workers]], *more)
    )
    done(*score(many, "out", "--engine", f"local:{workers}"))
    assert parts("out") == parts(many / "alone")


@LINUX
def test_workers_are_forked_from_a_process_without_threads_that_wait(many, here, monkeypatch):
    """A lock that another thread holds during a fork is held for ever in the child; Arrow's allocator frees its own."""
    seen, run = [], Local.run

    def watched(self, *more):
        for outcome in run(self, *more):
            seen.extend(_threads(worker.pid) for worker in multiprocessing.active_children())
            yield outcome

    monkeypatch.setattr(Local, "run", watched)
    Path("code.py").write_text("raise SystemExit('taken for a module of Python')")
    done(*score(many, "out", "--engine", "local:1"))
    assert seen
    assert all(names - {"jemalloc_bg_thd"} == {"python"} and count <= 2 for names, count in seen)


def _threads(pid):
    """Names and number of the threads of the process that made another."""
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) != os.getpid()
    names = [(task / "comm").read_text().strip() for task in Path(f"/proc/{parent}/task").iterdir()]
    return {"python" if name.startswith("python") else name for name in names}, len(names)


@LINUX
def test_a_worker_that_is_killed_after_its_first_piece(many, here, stem, engine):
    kill = "for process in made: process.kill(); process.join()"
    count = {"local": 2, "dask": 1}[engine]
    status, err = stem.run(driver(engine, kill), score(many, "out", "--engine", f"{engine}:{count}"))
    assert status == 0, err
    assert len(workers()) == count
    assert not any(alive(pid) for pid in workers())
    assert parts("out") == parts(many / "alone")


@LINUX
def test_the_driver_is_killed_and_its_run_resumed(many, here, stem, engine, within):
    words = score(many, "out", "--engine", f"{engine}:{ {'local': 2, 'dask': 1}[engine] }")
    tracker = (
        "from multiprocessing.resource_tracker import _resource_tracker as t; Path('tracker').write_text(str(t._pid))"
    )
    kill = f"{tracker}; os.kill(os.getpid(), signal.SIGKILL)"
    status = stem.start(driver(engine, kill), words, errors=here / "said").wait()
    assert status == -signal.SIGKILL, (here / "said").read_text()
    end = time.monotonic() + 240
    while any(alive(pid) for pid in workers()):  # no worker outlives its driver
        assert time.monotonic() < end
        time.sleep(0.01)
    if engine == "local":
        while alive(int(Path("tracker").read_text())):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert "leaked" not in (here / "said").read_text()
    ready = notes()
    assert 1 <= ready <= 2  # what was under way has ended too
    assert f"{ready} of them before" in done(*score(many, "out", "--resume"))
    assert parts("out") == parts(many / "alone")


def test_what_a_killed_worker_left_is_swept(many, here, within):
    """By the next run, also beside parts that are done, which it does not write again."""
    done(*score(many, "out"))
    half, note = Path("out/.p0.parquet.abcdefgh.part.parquet"), Path("out/_diabolo/.p1.parquet.json.abcdefgh.part.json")
    for path in (half, note):
        path.touch()
        os.utime(path, (1, 1))
    assert f"{PIECES} of them before" in done(*score(many, "out", "--resume"))
    assert not half.exists()
    assert not note.exists()
    assert parts("out") == parts(many / "alone")


# ── engines that call diabolo ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("package", ["ray", "pyspark"])
@pytest.mark.slow
def test_the_ten_lines_of_engines_that_call_diabolo(many, here, package):
    """The page's own lines, run as a script beside the data."""
    pytest.importorskip(package)
    shutil.copytree(many / "data", "data")
    for path in Path("data/more").glob("*.parquet"):
        path.rename(Path("data") / path.name)
    Path("data/more").rmdir()
    shutil.copy(many / "m.diabolo", "m.diabolo")
    page = Path(__file__).parents[1] / "docs" / "distributed.md"
    code = next(b for b in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S) if package in b)
    assert len([line for line in code.splitlines() if line]) <= 10
    Path("lines.py").write_text(code)
    ended = subprocess.run([sys.executable, "lines.py"], capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    out = {"ray": "scores-ray", "pyspark": "scores-spark"}[package]
    found = pa.concat_tables([pq.read_table(p) for p in sorted(Path(out).glob("*.parquet"))])
    alone = [pq.read_table(p).drop(["row"]) for p in sorted((many / "alone").rglob("*.parquet"))]
    expected = pa.concat_tables(alone)
    order = [(name, "ascending") for name in ("score", "p_value", "truth")]
    assert found.select(expected.column_names).sort_by(order).to_pydict() == expected.sort_by(order).to_pydict()


def test_workers_read_arrow_files(tmp_path):
    """A count by Arrow's threads, which a forked worker lacks, would wait for ever."""
    rng = np.random.default_rng(0)
    for i in range(2):
        cells = pa.table({"a": rng.normal(size=200), "b": rng.normal(size=200)})
        with pa.ipc.new_file(tmp_path / f"p{i}.arrow", cells.schema) as out:
            out.write_table(cells)
    done("fit", tmp_path / "p0.arrow", "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")
    words = ["score", "m.diabolo", "p*.arrow", "-o", "out", "--engine", "local:2", "-q"]
    subprocess.run([sys.executable, "-m", "diabolo", *words], cwd=tmp_path, timeout=120, check=True)
    assert len(list((tmp_path / "out").iterdir())) >= 2
