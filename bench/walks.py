"""Minutes from a clone to a first result: the four walks of docs/walks.md, and the same with PyOD, as a person types.

    bench/walks.py                 a new environment for each, with pip's cache as it is
    bench/walks.py --no-cache      pip downloads everything anew
    bench/walks.py --keep FOLDER   environments stay there, and are used again

Seconds are by the clock, and processor seconds beside them, which other work on the machine changes little. The lines
are those of the page; PyOD's are the scripts of bench/walks_pyod/, counted without empty lines. The endpoint is asked
once and ended. What is planted in the tables is looked for.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import walks  # noqa: E402

TORCH = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
#: What pip is asked for; both get the same PyTorch, which PyOD's autoencoder needs too.
NEEDS = {
    "diabolo": [TORCH, f"{ROOT}[pandas,plot,root,onnx,serve]", "nbclient", "ipykernel"],
    "PyOD": [TORCH, "pyod", "pandas", "matplotlib", "uproot", "awkward", "fastapi", "uvicorn", "tqdm"],
}
PORT = 8000


class Clock:
    """Seconds by the clock and of the processor, of this process's children, since it was made."""

    def __init__(self):
        self.begun, self.before = time.perf_counter(), self._spent()

    def _spent(self):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def __str__(self):
        return f"{time.perf_counter() - self.begun:6.1f} s, {self._spent() - self.before:6.1f} s of the processor"


def environment(tool, folder, cache):
    """The interpreter of an environment with a tool in it."""
    place = folder / f"env-{tool}"
    python = place / "bin" / "python"
    if not python.exists():
        clock = Clock()
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        words = [] if cache else ["--no-cache-dir"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *words, *NEEDS[tool]], check=True)
        size = sum(p.stat().st_size for p in place.rglob("*") if p.is_file() and not p.is_symlink()) / 1e6
        state = "its cache as it is" if cache else "without its cache"
        print(f"{tool}: install {clock}; {size:,.0f} MB; pip with {state}", flush=True)
    return python


def asked(process, body):
    """The endpoint's answer to a table as CSV."""
    end = time.monotonic() + 300
    while True:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{PORT}/score", body, {"Content-Type": "text/csv"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the endpoint did not answer") from None
            time.sleep(0.1)


def served(words, folder, table):
    """What an endpoint says of a table; it is ended as the walk ends it."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return asked(process, (folder / table).read_bytes())
    finally:
        process.terminate()
        process.wait(60)


def run(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-2000:]}")
    return done.stdout


def with_diabolo(walk, python, folder):
    """The page's lines; how many there are, and the time to the first scores."""
    program, first, clock = python.with_name("diabolo"), None, Clock()
    if walk == "scientist":
        book = folder / "walk.ipynb"
        book.write_text(json.dumps(walks.notebook(walk)))
        run([python.with_name("jupyter"), "execute", "walk.ipynb"], folder)
        return sum(map(len, (text.strip().splitlines() for text in walks.cells(walk)))), None, str(clock)
    lines = walks.lines(walk)
    for line in lines:
        if line[0] == "diabolo" and line[1] == "serve":
            served([program, *line[1:]], folder, "new_parts.csv")
        elif line[0] == "diabolo":
            run([program, *line[1:]], folder)
        elif line[0] == "python":
            run([python, ROOT / line[1], *line[2:]], folder)
        if first is None and line[1] == "score":
            first = str(clock)
    return len(lines), first, str(clock)


def with_pyod(walk, python, folder):
    """The same by PyOD."""
    script, clock = Path(__file__).parent / "walks_pyod" / f"{walk}.py", Clock()
    lines = len([line for line in script.read_text().splitlines() if line.strip()])
    if walk == "engineer":
        served([python, script], folder, "new_parts.csv")
    else:
        run([python, script], folder)
    # And the line that starts it; pip, curl and kill, which the page's walk of an engineer has too.
    return lines + (4 if walk == "engineer" else 1), None, str(clock)


def flagged(folder):
    """How many planted rows, and how many others, a walk's table of scores flags."""
    for name in ("scores.csv", "scores.root"):
        if (folder / name).exists():
            if name.endswith(".root"):
                import uproot

                marks = uproot.open(f"{folder / name}:events")["is_anomaly"].array(library="np").astype(bool).tolist()
            else:
                rows = csv.DictReader(io.StringIO((folder / name).read_text()))
                marks = [row["is_anomaly"].lower() in ("1", "true") for row in rows]
            return f"{sum(marks[-walks.ODD :])} of {walks.ODD} planted, {sum(marks[: -walks.ODD])} others flagged"
    return ""


def main():
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--no-cache", action="store_true")
    words.add_argument("--keep", type=Path)
    given = words.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    os.environ.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as name:
        home = given.keep or Path(name)
        home.mkdir(parents=True, exist_ok=True)
        for tool, walk_with in (("diabolo", with_diabolo), ("PyOD", with_pyod)):
            python = environment(tool, home, not given.no_cache)
            for walk in ("physicist", "scientist", "student", "engineer"):
                folder = Path(name) / f"{tool}-{walk}"
                folder.mkdir()
                walks.write(walk, folder)
                lines, first, whole = walk_with(walk, python, folder)
                first = f"; first scores {first}" if first else ""
                print(f"{tool}: {walk}: {lines} lines, {whole}{first}; {flagged(folder)}", flush=True)
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
