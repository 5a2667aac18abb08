"""Mutations of small model files with valid hashes and hostile content: refused in one line, or harmless.

`make fuzz` runs a hundred thousand: python tests/fuzz_model.py --mutations 100000
"""

from __future__ import annotations

import contextlib
import datetime
import faulthandler
import json
import math
import os
import random
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from fuzz_cards import changed_card
from fuzz_judge import MOST_WAIT, judged, wanted

from diabolo import (
    AnomalyDetector,
    Autoencoder,
    Compressor,
    LatentClusterer,
    MaskedAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    decompress,
    load,
)
from diabolo.artifact import Section, read_content, write_sections
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.file.model_file import ModelFile

#: What a cell of a tensor may become.
CELLS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, 3e38, -3e38, math.inf, -math.inf, math.nan]


def kinds(n):
    """A table with a column of every kind."""
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "x": rng.normal(size=n),
            "n": rng.integers(0, 40, n),
            "k": [("a", "bc", "ü")[i] for i in rng.integers(0, 3, n)],
            "t": rng.random(n) < 0.5,
            "day": pa.array([datetime.date(2020, 1, 1 + int(i)) for i in rng.integers(0, 28, n)]),
            "holes": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.2),
        }
    )


def corpus(folder):
    """(sections, saved class, rows that fit them) of model files: all sections, and every kind of column."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(400, 4))
    mixed, images = kinds(400), rng.integers(0, 256, (400, 8, 8)).astype(np.uint8)
    small = {"latent_dim": 2, "hidden": (4,), "epochs": 1}
    vae = VariationalAutoencoder(**small).fit(X)
    path = Path(folder, "corpus.diabolo")
    files = []
    for made, rows in (
        ([AnomalyDetector(VariationalAutoencoder(**small)).fit(X)], X[:5]),
        ([LatentClusterer(vae, n_clusters=2, n_resamples=1).fit(X)], X[:5]),
        ([Compressor(vae, max_error=0.01).fit(X)], X[:5]),
        ([SparseAutoencoder(latent_dim=4, hidden=(4,), epochs=1).fit(X)], X[:5]),
        ([AnomalyDetector(VariationalAutoencoder(**small)).fit(mixed)], mixed.slice(0, 5)),
        ([MaskedAutoencoder(hidden=(4,), epochs=1).fit(mixed)], mixed.slice(0, 5)),
        ([Autoencoder(network="conv", **small).fit(images)], images[:5]),
    ):
        for one in made:
            one.save(path)
        content = read_content(path)
        files.append((dict(content.sections), content.saved, rows))
        path.unlink()
    return files


def changed_tensor(rng, array):
    kind = rng.randrange(6)
    if kind <= 2 and array.size:
        out = array.copy()
        at = tuple(rng.randrange(n) for n in out.shape)
        value = rng.choice(CELLS)
        if out.dtype.kind == "f":
            out[at if kind else ...] = np.asarray(value, np.float64).astype(out.dtype)
        else:
            out[at] = rng.choice([0, 1, 2**31, 2**62])
        return out
    if kind == 3:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array.reshape(1)
    if kind == 4:
        return np.concatenate([array, array]) if array.ndim and array.size < 1 << 20 else array.reshape(1, -1)
    return array.astype(rng.choice([t for t in ("<f4", "<f8", "<u8", "<i8") if t != array.dtype.str]))


def mutated(rng, sections):
    """One or two entries or tensors of the sections changed, taken away, or given to another section."""
    out = {n: Section(s.card, dict(s.tensors)) for n, s in sections.items()}
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(list(out))
        section = out[name]
        kind = rng.randrange(10)
        if kind < 5:
            section.card = changed_card(rng, section.card)
        elif kind < 8 and section.tensors:
            key = rng.choice(list(section.tensors))
            with np.errstate(all="ignore"):
                section.tensors[key] = changed_tensor(rng, section.tensors[key])
        elif kind == 8 and section.tensors:
            key = rng.choice(list(section.tensors))
            section.tensors[rng.choice([f"{key}x", "stored", "data"])] = section.tensors.pop(key)
        elif len(out) > 1:
            del out[name]
    return out


def used(path, rows):
    """Everything that a verb would read of a model file, and what it gives for rows."""
    file = ModelFile(path)
    if "main" in file:
        file.schema  # noqa: B018
        file.autoencoder.model.encoding  # noqa: B018
    if "detector" in file:
        AnomalyDetector.load(path).p_values(rows)
    elif "clusters" in file:
        LatentClusterer.load(path).predict(rows)
    elif "main" in file:
        made = load(path)
        if isinstance(made, Compressor):
            decompress(made.compress(rows))
        else:
            made.transform(rows)
    if "codec" in file:
        file.codec  # noqa: B018
    if "generator" in file:
        file.generator  # noqa: B018


@contextlib.contextmanager
def unsynced():
    """Meanwhile no file waits for a disk: that is a third of the time, and no part of what is tried."""
    before, os.fsync = os.fsync, lambda handle: None
    try:
        yield
    finally:
        os.fsync = before


def fuzz(files, folder, mutations, seed, until=None):
    """Number of mutations tried, refused, and used all the same; raises what is neither refusal nor use."""
    rng, tally = random.Random(seed), {"tried": 0, "refused": 0, "used": 0, "slowest": 0.0}
    path = Path(folder, "mutated.diabolo")
    with unsynced(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for number in range(mutations):
            if number % 64 == 0:
                if until is not None and time.monotonic() > until:
                    break
                faulthandler.dump_traceback_later(MOST_WAIT, exit=True)
            # The last two take longer than the others together.
            sections, saved, rows = rng.choices(files, [3] * (len(files) - 2) + [1, 1])[0]
            bad = mutated(rng, sections)
            try:
                write_sections(path, bad, saved=saved)
            except (ModelFileError, ValueError, RecursionError, KeyError, IndexError):
                continue  # nothing that could be written: no file
            tally["tried"] += 1
            use, name = partial(used, path, rows), f"seed {seed}, mutation {number}"
            tally["slowest"] = max(tally["slowest"], judged(use, DiaboloError, "used", name, tally))
    faulthandler.cancel_dump_traceback_later()
    path.unlink(missing_ok=True)
    return tally


def in_memory():
    """A folder in memory where the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main():
    said = wanted(__doc__, 100_000)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        files = corpus(folder)
        totals, seed = {"tried": 0, "refused": 0, "used": 0, "slowest": 0.0}, said.seed
        while totals["tried"] < said.mutations and (said.until is None or time.monotonic() < said.until):
            part = fuzz(files, folder, min(1_000, said.mutations - totals["tried"]), seed, said.until)
            totals = {k: max(v, part[k]) if k == "slowest" else v + part[k] for k, v in totals.items()}
            seed += 1
            sys.stdout.write(f"{json.dumps(totals)} {time.monotonic() - said.begun:.0f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
