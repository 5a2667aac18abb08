"""A fit by several processes: the rows, roles and scaling of one, the same bits at every run, and no harm by a kill.

Ranks are forked from this process where that shows the same, so that nothing is imported twice; the launcher and the
kill are real.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import ClassVar

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from program import refused, run
from test_larger import COLUMNS, SLOTS, events
from test_resume import assert_same_file

from diabolo.artifact import read_sections
from diabolo.cli import main
from diabolo.cli.training import Fit, train
from diabolo.config import build_config
from diabolo.data import cache, onepass
from diabolo.data.cache import Buckets, Cached
from diabolo.data.encoding import Encoded, Encoding
from diabolo.data.roles import bucket_of
from diabolo.data.row_list import left_out_of
from diabolo.data.schema import Column, Schema
from diabolo.data.shared import SharedRows, batches, shared_cache
from diabolo.data.sources import Rows
from diabolo.detect.calibrating import Choice
from diabolo.distributed import fit_by_torchrun
from diabolo.distributed.torchrun import workers_of
from diabolo.errors import ConfigError, WorkerError
from diabolo.memory import Memory
from diabolo.model.drawn import BatchGenerator
from diabolo.model.objective import objective
from diabolo.train.covariance import fit_covariance
from diabolo.train.factors import fit_factors
from diabolo.train.logistic import logistic_regressions
from diabolo.train.pairs import Pairs
from diabolo.world import ALONE, World, join

#: Of an epoch: what tells the time, and what a variational autoencoder has not.
CLOCKS = {"seconds", "left", "linear"}


def by_ranks(count, work):
    """What `work` gives for the world of each of so many processes.

    They come from a process that has imported the package and done nothing else: gradients that this one has taken
    before would forbid those of its children.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diabolo", "torch", __name__])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{rank}.pt" for rank in range(count)]
        sizes = cache.BUCKET, cache.WAITING, onepass.sample_rows  # which `small` may have changed
        data, here = cloudpickle.dumps((work, sizes)), os.getcwd()
        told = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks = [
            context.Process(target=as_rank, args=(data, {**os.environ, **told, "RANK": str(rank)}, here, file))
            for rank, file in enumerate(files)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        assert [rank.exitcode for rank in ranks] == [0] * count
        return [torch.load(file, weights_only=False) for file in files]


def as_rank(data, variables, folder, file):
    os.environ.update(variables)
    os.chdir(folder)
    work, (cache.BUCKET, cache.WAITING, onepass.sample_rows) = cloudpickle.loads(data)
    torch.save(work(join()), file)


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────


def test_what_processes_tell_each_other():
    """Sums by rank, arrays of any length, rank 0's numbers for all."""

    def work(world):
        sums = world.total([torch.full((2,), 10.0**world.rank), torch.tensor(1, dtype=torch.float64)])
        first = torch.full((3,), float(world.rank))
        world.first_(first)
        return (
            [s.tolist() for s in sums],
            [a.tolist() for a in world.arrays(np.arange(2 * world.rank, dtype=np.uint8).reshape(-1, 2))],
            world.texts("é" * world.rank),
            first.tolist(),
        )

    expected = ([[111.0, 111.0], 3.0], [[], [[0, 1]], [[0, 1], [2, 3]]], ["", "é", "éé"], [0.0] * 3)
    assert by_ranks(3, work) == [expected] * 3


def test_sums_of_closed_forms_and_em_are_those_of_all_rows(rng):
    """Pairs, EM of a covariance and of factors, logistic regressions: by two processes as by one."""
    x = torch.from_numpy(rng.normal(size=(700, 3)) @ rng.normal(size=(3, 5)) + 50 + 0.3 * rng.normal(size=(700, 5)))
    weights, seen = torch.from_numpy(rng.uniform(0.5, 2, 700)), torch.from_numpy(rng.random(x.shape) > 0.1)
    cells = (x, weights, seen, x + torch.from_numpy(3 * rng.normal(size=x.shape)) > 50)
    first, second = (tuple(t[part] for t in cells) for part in (slice(0, 200), slice(200, None)))

    def work(rows, total):
        x, weights, seen, labels = rows
        pairs = Pairs(5)
        pairs.add(x, weights, seen)
        pairs.merge(total)
        factors = fit_factors(lambda: [(x, weights, seen)], 5, 2, passes=1, total=total)
        center, scale = torch.full((2,), 50.0), torch.ones(2)
        slopes = logistic_regressions(lambda: [(x[:, :2], labels, weights)], center, scale, 5, total)
        moments = fit_covariance(lambda: [(x, weights, seen)], 5, passes=1, total=total)
        return [*pairs.mean_and_covariance(), *dataclasses.astuple(factors), *slopes, *moments]

    whole, alone = work(cells, ALONE.total), work(first, ALONE.total)
    one, other = by_ranks(2, lambda world: work((first, second)[world.rank], world.total))
    for a, b, expected, part in zip(one, other, whole, alone, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, expected, rtol=1e-8, atol=1e-8)
        assert not torch.allclose(part, expected, rtol=1e-3, atol=1e-3), "the other process's rows play no part"


PARTS = {
    "plain": {},
    "vae": {"latent": "gaussian", "regularizer": "kl", "draws": 2},
    "iwae": {"latent": "gaussian", "regularizer": "kl", "draws": 3, "bound": "iwae"},
    "noise": {"corruption": "gaussian"},
    "salt": {"corruption": "salt_and_pepper", "regularizer": "lp"},
    "mask": {"corruption": "mask", "prior": "laplace", "regularizer": "prior"},
    "hidden cells": {
        "corruption": {"name": "mask", "rate": "any"},
        "nested": 0.3,
        "latent": "gaussian",
        "regularizer": "kl",
        "network": "residual",
    },
}


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("case", PARTS)
def test_gradients_of_shares_add_up_to_that_of_the_batch(case, lead, mixed, build_model, encoded):
    """For three processes, one of which may have no row of a batch, with weights: term by term, draw by draw."""
    model = build_model(mixed, lead, **{"hidden": (8,), "latent_dim": 2, "slots": {"e": 2}, **PARTS[case]})
    rows = encoded(model, mixed).clipped(model.encoding.clip)
    some = Rows(rows.rows(slice(0, 200)), torch.linspace(0.5, 1.5, 200))

    def steps(source):
        """Loss and gradient of each step, and the noise's state at the end."""
        noise, out, memory = BatchGenerator(), [], Memory()
        noise.manual_seed(7)
        for piece in source.pieces(64, torch.Generator().manual_seed(3), Memory()):
            for batch in batches(piece, piece[1], 64, memory):
                leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
                model.use(leaves)
                noise.rows, noise.at = batch.count, batch.at
                loss, _, _ = objective(model, dataclasses.replace(batch.rows, memory=None), batch.weights, 0.7, noise)
                loss.sum().backward()
                zero = {k: torch.zeros_like(v) for k, v in leaves.items()}
                gradient = [(zero[k] if v.grad is None else v.grad).reshape(-1) for k, v in leaves.items()]
                out.append(torch.cat([loss.detach().reshape(-1), *gradient]))
        return torch.stack(out), noise.get_state()

    whole, state = steps(some)
    # 8 rows in the last batch: of 16 processes some have none.
    for size in (3, 16):
        found = [steps(SharedRows(some, World(rank, size))) for rank in range(size)]
        assert all(torch.equal(s, state) for _, s in found), "the processes would draw other numbers from now on"
        scale = float(whole.abs().max())
        torch.testing.assert_close(sum(f for f, _ in found), whole, rtol=1e-4, atol=2e-6 * scale)
        assert not torch.allclose(found[0][0] * size, whole, rtol=1e-3, atol=1e-3 * scale)


class Told(World):
    """A world whose counts of rows are known without asking."""

    counts: ClassVar[list[np.ndarray]] = []

    def arrays(self, own):
        return self.counts


def test_batches_of_caches_are_those_of_one_cache(tmp_path, monkeypatch):
    """Rows stay where they lie: the pieces of all processes together are those of one, row by row, at their places."""
    n, buckets = 20_000, 5
    column = Column("number", "real", "float64", 0.0, 0.0, float(n), 0.0)
    encoding = Encoding(Schema((column,)), [0], [1], 1e30, n)

    def cached(start, stop):
        folder = tmp_path / f"{start}-{stop}"
        folder.mkdir()
        held = Buckets(folder, n, 1, np.dtype(float), weighted=True)
        held.counts = np.zeros(buckets, np.int64)
        numbers = np.arange(float(start), float(stop))
        held.add(numbers[:, None], numbers + 1, bucket_of(start, stop, 0, buckets))
        held.close()
        return Cached(held, encoding, lambda values: values, 1.0, False, Rows(Encoded(torch.zeros(1, 1)), None))

    whole = cached(0, n)
    parts = [cached(*ends) for ends in ((0, 3_000), (3_000, 3_001), (3_001, n))]
    monkeypatch.setattr(Told, "counts", [p.buckets.counts for p in parts])
    shared = [shared_cache(part, Told(k, 3)) for k, part in enumerate(parts)]
    assert [len(s) for s in shared] == [n] * 3
    for skip in (0, 1):
        every = [s.pieces(300, torch.Generator().manual_seed(5), Memory(), skip) for s in shared]
        alone = whole.pieces(300, torch.Generator().manual_seed(5), Memory(), skip)
        for (rows, weights), *shares in zip(alone, *every, strict=True):
            found = torch.full_like(weights, -1)
            for share in shares:
                assert (share.total, torch.equal(share.at, share.at.sort().values)) == (len(rows), True)
                found[share.at] = share.rows.x[:, 0]
            assert torch.equal(found, rows.x[:, 0])
            assert torch.equal(weights, found + 1)


# ── whole fits ────────────────────────────────────────────────────────────────────────────────────

SETTINGS = {"epochs": 2, "slots": SLOTS, "hidden": (8,), "latent_dim": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of different lengths with every kind of column, cells that are missing, words, and weights of 0."""
    folder = tmp_path_factory.mktemp("data")
    table, at = events(9_000), 0
    for k, rows in enumerate((1_000, 2_500, 5_500)):
        pq.write_table(table.slice(at, rows), folder / f"p{k}.parquet", row_group_size=700)
        at += rows
    return folder


@pytest.fixture
def small(monkeypatch):
    """Buckets of some 1,000 rows, and a sample of the training rows that is not all of them."""
    monkeypatch.setattr(cache, "BUCKET", 80_000)
    monkeypatch.setattr(cache, "WAITING", 50_000)
    monkeypatch.setattr(onepass, "sample_rows", lambda *_: 3_000)


def fitted(data, out, memory, weight=None, method="vae", **settings):
    """A function world → all that a fit of a detector by the program's own ways leaves."""
    config = build_config({"random_state": 0, **SETTINGS, **settings}, method)

    def work(world):
        fit = Fit(config, Choice("auto", None, 0, 0), True, None, None, None, world)
        found, detector, _ = train(str(data), out, COLUMNS, weight, fit, memory, None)
        history = [{k: v for k, v in e.items() if k not in CLOCKS} for e in found.history]
        left = {"parameters": found.model.store.flat.numpy().copy(), "history": history}
        left |= {name: buffer.numpy().copy() for name, buffer in found.model.buffers.items()}
        rows = [found.model.encoding.to_json(), found.roles, found.row_hashes, found.kept]
        if detector is not None:
            rows += [{k: len(c.scores) for k, c in detector.calibrations.items()}, detector.reference.stored.values]
            left |= {f"score {k}": c.scores.copy() for k, c in detector.calibrations.items()}
        return rows, left

    return work


def plain(thing):
    """Lists and dictionaries with the bytes of arrays in their place."""
    if isinstance(thing, np.ndarray):
        return (thing.dtype.str, thing.shape, thing.tobytes())
    if isinstance(thing, dict):
        return {name: plain(value) for name, value in thing.items()}
    return [plain(value) for value in thing] if isinstance(thing, list) else thing


@pytest.mark.parametrize(("memory", "weight"), [(1 << 30, None), (0, "w")], ids=["memory", "cache"])
def test_two_processes_fit_as_one(folder, small, tmp_path, memory, weight):
    """Schema, scaling, roles and kept rows bit for bit; losses and scores to rounding; all bits from run to run."""
    work = fitted(folder, tmp_path / "m.diabolo", memory, weight)
    rows, left = work(ALONE)
    (two, found), (other, same) = by_ranks(2, work)
    (_, again), _ = by_ranks(2, work)
    assert plain(two) == plain(rows)
    assert plain(other) == plain(rows[:4]), "rank 1 calibrates nothing"
    assert plain(found) == plain(again)
    assert found["parameters"].tobytes() == same["parameters"].tobytes()
    assert found["parameters"].tobytes() != left["parameters"].tobytes(), "sums in another order have other last bits"
    for a, b in zip(found["history"], left["history"], strict=True):
        assert a == pytest.approx(b, rel=1e-4), "far within the 1 % that a curve may differ by"
    for name in left.keys() - {"history", "parameters"}:
        np.testing.assert_allclose(np.sort(found[name], 0), np.sort(left[name], 0), rtol=2e-2, atol=2e-3, err_msg=name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["memory", "cache"])
def test_linear_autoencoders_with_gaps_are_solved_by_processes(folder, small, tmp_path, memory):
    """EM over rows that lie in three processes ends where it ends in one."""
    table = pq.read_table(folder).select(["a", "b", "c"])
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2_000)
    config = build_config({"latent_dim": 2, "random_state": 0}, "linear")

    def work(world):
        fit = Fit(config, None, True, None, None, None, world)
        found, _, _ = train(str(tmp_path / "t.parquet"), tmp_path / "m", ["a", "b", "c"], None, fit, memory, None)
        return found.model.encoding.to_json(), found.model.store.flat.numpy().copy()

    schema, parameters = work(ALONE)
    found = by_ranks(3, work)
    assert all(s == schema and p.tobytes() == found[0][1].tobytes() for s, p in found)
    np.testing.assert_allclose(found[0][1], parameters, rtol=1e-3, atol=1e-4)


def test_a_robust_fit_judges_rows_among_those_of_all_processes(folder, tmp_path):
    work = fitted(folder / "p0.parquet", tmp_path / "m", 1 << 30, robust="trim")
    one, (two, _) = work(ALONE)[1]["history"], by_ranks(2, work)
    assert [e["distance"] for e in two[1]["history"]] == pytest.approx([e["distance"] for e in one], rel=1e-3)


# ── the program ───────────────────────────────────────────────────────────────────────────────────

WORDS = ("--method", "vae", "--hidden", "8", "--latent", "2", "--exclude", "w", "-q")


def ranks_of(driver):
    """Process ids by rank of the processes that a driver has started."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(re.search(r"^PPid:\s(\d+)", (place / "status").read_text(), re.MULTILINE)[1])
            told = dict(w.split("=", 1) for w in (place / "environ").read_text().split("\0") if "=" in w)
        except (OSError, TypeError, UnicodeDecodeError):
            continue
        if parent == driver and "RANK" in told:
            found[int(told["RANK"])] = int(place.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ranks are found in /proc")
def test_a_killed_rank_resumes(folder, tmp_path, monkeypatch):
    """One line says which rank died; the line that it ends with goes on, to the bits of a fit that was not killed."""
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    monkeypatch.chdir(tmp_path)
    data, more = folder / "p0.parquet", ("--epochs", "30", "--set", "patience=30")

    def whole(world):
        with pytest.raises(SystemExit):
            main(["fit", str(data), "-o", "whole.diabolo", *WORDS, *more, "--engine", "torchrun"])

    by_ranks(2, whole)
    killed = []

    def kill():
        while 1 not in (found := ranks_of(os.getpid())):
            time.sleep(0.1)
        killed.append(found[1])
        while not Path("m.diabolo.ckpt").exists():
            time.sleep(0.01)
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    status, out, err = run("fit", data, "-o", "m.diabolo", *WORDS, *more, "--engine", "torchrun:2")
    thread.join()
    assert (status, out, "Traceback" in err) == (2, "", False)
    told = re.fullmatch(
        rf"diabolo: rank 1 \(process {killed[0]}\) was killed by SIGKILL, as the system does where memory ends; "
        r"this goes on from the checkpoint: diabolo (.*)\n",
        err,
    )
    assert told, err
    assert Path("m.diabolo.ckpt").exists()
    assert not Path("m.diabolo").exists()
    status, _, err = run("fit", data, "-o", "m.diabolo", *WORDS, *more, "--resume")
    assert status == 2
    assert "another fit's checkpoint: world = 2 there, None here; without resume, the fit starts afresh" in err
    assert run(*shlex.split(told[1]))[0] == 0
    assert_same_file(tmp_path / "m.diabolo", read_sections(tmp_path / "whole.diabolo"))
    assert sorted(os.listdir(tmp_path)) == ["m.diabolo", "whole.diabolo"]


def test_a_failure_of_any_rank_is_told_once(folder, tmp_path):
    """An infinite cell that rank 1 alone reads."""
    table = pq.read_table(folder).select(["a", "c"])
    cells = table["a"].to_numpy().copy()
    cells[8_000] = np.inf
    pq.write_table(table.set_column(0, "a", pa.array(cells)), tmp_path / "t.parquet")
    words = ("fit", tmp_path / "t.parquet", "-o", tmp_path / "m.diabolo", "--memory", "0")
    line = refused(*words, "--engine", "torchrun:2")
    assert "row 8000" in line
    assert "'a'" in line
    assert os.listdir(tmp_path) == ["t.parquet"]


@pytest.mark.slow
def test_ranks_that_torchrun_itself_has_started(folder, tmp_path):
    """As on several machines, where each runs torchrun."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ("-m", "diabolo", "fit", folder / "p0.parquet", "-o", tmp_path / "m.diabolo", *WORDS, "--epochs", "2")
    ended = subprocess.run([*torchrun, *map(str, words), "--engine", "torchrun"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("m.diabolo: 1,000 rows") == 1
    fit_by_torchrun(folder / "p0.parquet", tmp_path / "n.diabolo", 2, *WORDS, "--epochs", "2")
    assert_same_file(tmp_path / "n.diabolo", read_sections(tmp_path / "m.diabolo"))
    without = subprocess.run([*torchrun, *map(str, words)], capture_output=True, text=True)
    assert without.returncode != 0
    assert "torchrun has started 2 processes, which would fit the same model; add --engine torchrun" in without.stderr


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


def test_what_no_engine_can_do(folder, tmp_path, monkeypatch):
    words = ("fit", folder / "p0.parquet", "-o", tmp_path / "m.diabolo")
    assert "a fit is run by torchrun; allowed are torchrun and torchrun:N" in refused(*words, "--engine", "dask")
    for wrong in ("torchrun:", "torchrun:0", "torchrun:two"):
        assert "allowed behind the colon are whole numbers from 1 up" in refused(*words, "--engine", wrong)
    assert workers_of("torchrun:12") == 12
    with pytest.raises(ConfigError, match="no launcher has started this process"):
        join()
    assert os.listdir(tmp_path) == []


def test_rows_left_out_need_the_table_in_memory(folder, tmp_path):
    pq.write_table(pa.table({"row": [3]}), tmp_path / "rows.parquet")

    def work(world):
        source = left_out_of(str(folder), tmp_path / "rows.parquet")
        fit = Fit(build_config(SETTINGS, "vae"), None, True, None, None, None, world)
        with pytest.raises(ConfigError, match=r"give a --memory that holds the table, or leave --engine out"):
            train(source, tmp_path / "m", COLUMNS, None, fit, 0, None)

    by_ranks(2, work)


def test_a_process_that_ends_is_told_by_the_others():
    def work(world):
        if world.rank:
            return ""
        try:
            while True:
                world.total([torch.ones(1)])
        except WorkerError as error:
            return str(error)

    line = by_ranks(2, work)[0]
    assert re.fullmatch(r"another process of this fit has ended \(.*\); --resume goes on once all run", line)
