"""What terminals and pipes make of the output: narrow ones, and those of other encodings than UTF-8."""

from __future__ import annotations

import io
import os
import re
import signal
import struct
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from program import done

from diabolo.cli import main
from diabolo.screen import console, print_table, spell_out
from diabolo.train.progress import line
from diabolo.train.state import Epoch

pty = pytest.importorskip("pty")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")


def on_terminal(monkeypatch, columns, *words):
    """All that the program writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    pieces = []

    def read():
        while True:
            try:
                pieces.append(os.read(ours, 1 << 16))
            except OSError:  # how Linux ends a terminal that nobody writes to any more
                return

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, open(theirs, "w", encoding="utf-8") as screen:
        for stream in ("stdout", "stderr"):
            patch.setattr(sys, stream, screen)
        # Rich asks the process's own streams how wide they are.
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        with pytest.raises(SystemExit) as end:
            main([str(w) for w in words])
    reader.join(60)
    os.close(ours)
    said = b"".join(pieces).decode()
    assert not end.value.code, said
    return said


def test_the_training_line_fits_the_terminal(shop, here, monkeypatch):
    said = on_terminal(monkeypatch, 60, "fit", shop / "data.csv", "-o", "m.diabolo", "--label", "truth", "--epochs", 3)
    renewed = [line for line in said.replace("\x1b[K", "").replace("\n", "\r").split("\r") if line.startswith("epoch")]
    assert len(renewed) == 3
    assert all(len(line) < 60 for line in renewed), renewed
    assert all("validation" in line for line in renewed)
    # The last line alone ends: every other one is renewed in its place.
    assert said.count("\n") == 1 + said[said.index("m.diabolo") :].count("\n")


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 105, 200])
def test_a_narrow_line_keeps_what_matters_most(width):
    e = Epoch(3, 1.5, 0.25, 2.0, 1e-3, 1.0, 0.5, 1000, 2, True, 12.0)
    said = line(e, width)
    assert len(said) <= width
    assert said in line(e) or all(part in line(e) for part in said.split("  "))
    for least, part in ((20, "epoch"), (40, "validation"), (60, "s left"), (200, "rows/s")):
        assert (part in said) or width < least


def test_wide_tables_become_blocks_on_a_narrow_terminal(shop, here, monkeypatch):
    said = on_terminal(monkeypatch, 50, "explain", shop / "vae.diabolo", shop / "data.parquet", "--row", 0)
    assert max(map(len, said.splitlines())) <= 50
    for word in ("seen", "expected", "contribution", "normal row, "):
        assert len(re.findall(rf"^    {word}", said, re.M)) >= 5, said
    about = on_terminal(monkeypatch, 50, "info", shop / "vae.diabolo")
    assert re.search(r"^ +pt\r?\n +kind +real\r?\n", about, re.M), about


def test_what_is_likely_in_a_cell_fits_a_narrow_terminal(here, monkeypatch):
    rng = np.random.default_rng(0)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9_999, 400), unit="s")
    words = rng.choice(["a level of a long name", "another one of them", "a third"], 400)
    pd.DataFrame({"x": rng.normal(size=400), "words": words, "when": when}).to_parquet("x.parquet")
    small = ("--method", "masked", "--epochs", 1, "--hidden", "8,8", "-q")
    done("fit", "x.parquet", "-o", "m.diabolo", *small)
    for width in (30, 50, 200):
        said = on_terminal(monkeypatch, width, "explain", "m.diabolo", "x.parquet", "--row", 0)
        assert max(map(len, said.splitlines())) <= width
        assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d to", " ".join(said.split()))) == 1, said
        assert "most probable levels" in " ".join(said.split())


def test_no_cell_of_a_table_is_cut_at_any_width():
    rows = [(f"column_{i}", f"{i}.123456789", "x" * (3 * i)) for i in range(5)]
    for width in range(12, 120, 3):
        out = io.StringIO()
        print_table(console(file=out, width=width), ("column", "seen in the row", "words"), rows, "title")
        said = out.getvalue()
        for row in rows:
            assert all(cell in said.replace("\n", "") for cell in row), (width, said)


# ── encodings ─────────────────────────────────────────────────────────────────────────────────────


def through(monkeypatch, encoding, *words):
    """(status, stdout) of the program where its output is of an encoding."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        # Of its own: what a fixture has patched, the working folder among it, stays.
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            patched.setattr(sys, "argv", ["diabolo", *map(str, words)])
            with pytest.raises(SystemExit) as end:
                main()
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        out.flush()
        err.flush()
    # Click takes an ASCII stream for a mistake, and writes help in UTF-8.
    told = "utf-8" if encoding == "ascii" else encoding
    return end.value.code or 0, out.buffer.getvalue().decode(told), err.buffer.getvalue().decode(told)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_verb_ends_well_whatever_the_encoding(shop, here, monkeypatch, encoding):
    model, data = shop / "vae.diabolo", shop / "data.parquet"
    own = here / "own.diabolo"
    own.write_bytes(model.read_bytes())
    runs = [
        ("fit", data, "-o", "é→.diabolo", "--label", "truth", "--epochs", 1),
        ("score", model, data, "-o", "s.csv", "--score", "all"),
        ("evaluate", model, data, "--label", "truth"),
        ("explain", model, data, "--row", 0),
        ("calibrate", model, data, "-o", "other.diabolo", "--score", "mse"),
        ("health", model, data),
        ("compress", own, data, "-o", "d.dbl", "--max-error", "1%"),
        ("decompress", "d.dbl", "-o", "back.parquet"),
        ("cluster", own, data, "-o", "labels.csv"),
        ("encode", model, data, "-o", "z.csv", "--sigma"),
        ("decode", model, "z.csv", "-o", "x.csv"),
        ("reconstruct", model, data, "-o", "x.csv"),
        ("sample", model, "-n", 20, "-o", "new.csv", "--method", "prior"),
        ("fill", model, data, "-o", "filled.csv"),
        ("report", model, data, "-o", "r.html", "--no-refits"),
        ("info", model),
        ("info", data),
        ("--help",),
        *((verb, "--help") for verb in ("fit", "encode", "score", "compress")),
    ]
    for words in runs:
        status, out, err = through(monkeypatch, encoding, *words)
        assert status in ((0, 1) if words[0] == "health" else (0,)), (words, err)
        assert out, words
    status, out, err = through(monkeypatch, encoding, "score", "→é.diabolo", data, "-o", "s.csv")
    assert status == 2
    assert "no such file" in err


def test_what_an_encoding_lacks_is_spelled():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    spell_out(out)
    out.write("6→2, σ(x) ≤ 1 % − é ☃")
    out.flush()
    assert out.buffer.getvalue() == b"6->2, sigma(x) <= 1 % - e ?"
    wide = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    spell_out(wide)
    wide.write("6→2 ☃")
    wide.flush()
    assert wide.buffer.getvalue().decode() == "6→2 ☃"


def test_a_wide_screen_gets_a_table(shop, here):
    assert "┃" in done("explain", shop / "vae.diabolo", shop / "data.parquet", "--row", 0)
