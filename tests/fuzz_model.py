"""Mutations of small model files with valid hashes and hostile content: refused in one line, or harmless.

`make fuzz` runs a hundred thousand: python tests/fuzz_model.py --mutations 100000
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

from diabolo import AnomalyDetector, LatentClusterer, SparseAutoencoder, VariationalAutoencoder
from diabolo.artifact import Section, read_content, write_sections
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.file.model_file import ModelFile

#: What an entry of a card may become.
WORDS = ["", "x", "auto", "normal", "../../etc/passwd", "a:b", "\x1b[31m", "[" * 2_000, "9" * 400]
NUMBERS = [0, -1, 1, 2, 3, 255, 2**31, 2**53, 2**63, 10**40, -(10**40), 0.5, 1e-300, 1e300]
OTHERS = [None, True, False, [], {}, [[]], [1, 2], {"name": "x"}, {"a": {"b": [1]}}]
CELLS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, 3e38, -3e38, math.inf, -math.inf, math.nan]


def corpus(folder):
    """Sections of three model files, and rows that fit them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(400, 4))
    path = Path(folder, "corpus.diabolo")
    files = []
    vae = VariationalAutoencoder(latent_dim=2, hidden=(4,), epochs=1).fit(X)
    for made in (
        AnomalyDetector(VariationalAutoencoder(latent_dim=2, hidden=(4,), epochs=1)).fit(X),
        LatentClusterer(vae, n_clusters=2, n_resamples=1).fit(X),
        SparseAutoencoder(latent_dim=4, hidden=(4,), epochs=1).fit(X),
    ):
        made.save(path)
        content = read_content(path)
        files.append((dict(content.sections), content.saved))
        path.unlink()
    return files, X[:5]


def places(value, way=()):
    """Ways to every entry of a card."""
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*way, key))


def changed_card(rng, card):
    card = copy.deepcopy(card)
    ways = list(places(card))[1:]
    if not ways:
        return card
    way = rng.choice(ways)
    inside = card
    for key in way[:-1]:
        inside = inside[key]
    kind = rng.randrange(6)
    if kind == 0:
        del inside[way[-1]]
    elif kind == 1 and isinstance(inside, dict):
        inside[rng.choice([*WORDS[1:6], *map(str, inside)])] = inside[way[-1]]
    elif kind == 2 and isinstance(inside[way[-1]], list):
        inside[way[-1]] = inside[way[-1]] * rng.choice([0, 2, 50])
    else:
        inside[way[-1]] = copy.deepcopy(rng.choice([*WORDS, *NUMBERS, *NUMBERS, *OTHERS]))
    return card


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
    out = {n: Section(copy.deepcopy(s.card), dict(s.tensors)) for n, s in sections.items()}
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
        fitted = file.autoencoder
        fitted.model.encoding.encode(fitted.model.store.flat.new_tensor(rows))
    if "detector" in file:
        AnomalyDetector.load(path).p_values(rows)
    if "clusters" in file:
        LatentClusterer.load(path).predict(rows)
    if "codec" in file:
        file.codec  # noqa: B018
    if "generator" in file:
        file.generator  # noqa: B018


def seconds_of(path, rows):
    """CPU seconds of one more try; asked only of what took long by the clock, as each question takes long itself."""
    begun = time.process_time()
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.suppress(DiaboloError):
        warnings.simplefilter("ignore")
        used(path, rows)
    return time.process_time() - begun


def fuzz(files, rows, folder, mutations, seed, until=None):
    """Number of mutations tried, refused, and used all the same; raises what is neither refusal nor use."""
    rng, tally, slowest = random.Random(seed), {"tried": 0, "refused": 0, "used": 0}, 0.0
    path = Path(folder, "mutated.diabolo")
    for number in range(mutations):
        if until is not None and time.monotonic() > until:
            break
        sections, saved = files[rng.randrange(len(files))]
        bad = mutated(rng, sections)
        try:
            with mock.patch("os.fsync"):  # a third of the time, and no part of what is tried
                write_sections(path, bad, saved=saved)
        except (ModelFileError, ValueError, RecursionError, KeyError, IndexError):
            continue  # nothing that could be written: no file
        tally["tried"] += 1
        begun = time.monotonic()
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                used(path, rows)
            tally["used"] += 1
        except DiaboloError as error:
            tally["refused"] += 1
            if not str(error).strip() or "\n" in str(error):
                raise AssertionError(f"seed {seed}, mutation {number}: says {str(error)!r}") from error
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number}: {type(error).__name__}: {error}") from error
        if time.monotonic() - begun > slowest:
            slowest = max(slowest, seconds_of(path, rows))
    path.unlink(missing_ok=True)
    return {**tally, "slowest": slowest}


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--mutations", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, help="end then, whatever the number")
    said = options.parse_args()
    begun = time.monotonic()
    until = None if said.minutes is None else begun + 60 * said.minutes
    with tempfile.TemporaryDirectory() as folder:
        files, rows = corpus(folder)
        totals, seed = {"tried": 0, "refused": 0, "used": 0, "slowest": 0.0}, said.seed
        while totals["tried"] < said.mutations and (until is None or time.monotonic() < until):
            part = fuzz(files, rows, folder, min(1_000, said.mutations - totals["tried"]), seed, until)
            totals = {k: max(v, part[k]) if k == "slowest" else v + part[k] for k, v in totals.items()}
            seed += 1
            sys.stdout.write(f"{json.dumps(totals)} {time.monotonic() - begun:.0f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
