"""The program run as a person runs it, and the table that its tests run it on."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diabolo.artifact import MODEL, read_sections, write_sections
from diabolo.cli import main
from diabolo.file.rows import unpacked

#: Version 1 held rows where they were used, and named no class: hostile sections are written as it did.
OLD = dataclasses.replace(MODEL, version="1", older=())
FEATURES = ["pt", "eta", "phi", "hits", "tagged"]


def run(*words):
    """(status, stdout, stderr) of the program, run inside this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code or 0, out.getvalue(), err.getvalue()


def done(*words):
    """stdout of a run that must succeed."""
    status, out, err = run(*words)
    assert status == 0, err
    return out


def one_line(err):
    """stderr, which must be one line that somebody wrote for this failure."""
    assert err.startswith("diabolo: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "--debug shows where" not in err, f"an exception that nobody foresaw: {err}"
    return err


def refused(*words):
    """The one line of a run that must fail."""
    status, _, err = run(*words)
    assert status == 2
    return one_line(err)


def program(*words, **more):
    """The program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "diabolo", *map(str, words)], capture_output=True, text=True, timeout=600, **more
    )


def sections_of(path):
    """A model file's sections as they are in memory, each with its own rows."""
    return unpacked(path, read_sections(path))


def rewrite(path, sections):
    """A model file of sections as they are in memory, whatever they hold."""
    write_sections(path, sections, OLD)


def left_behind(folder):
    return sorted(p.name for p in Path(folder).iterdir() if ".part" in p.name)


def table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {
            "pt": 3 * z[:, 0] + 20 + 0.1 * rng.normal(size=n),
            "eta": (z @ [1, -1] + 0.1 * rng.normal(size=n)).astype(np.float32),
            "phi": np.arctan2(z[:, 1], z[:, 0]),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])).astype(np.int16),
            "tagged": z[:, 0] > 0,
            "truth": (rng.random(n) < 0.2).astype(np.int64),
        }
    )


def write(frame, path):
    """A table as the suffix says; NumPy files hold the columns of `FEATURES` that are not named in them."""
    suffix = Path(path).suffix
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".npy":
        np.save(path, frame[FEATURES].to_numpy(np.float64))
    else:
        np.savez(path, **{n: frame[n].to_numpy() for n in frame})
    return path
