"""What the benchmark scripts share: pinned threads, paired timing, the machine's name, data.

Import it before NumPy or PyTorch: it reads `--threads` and sets the thread variables that they read once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def _threads() -> int:
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--threads", type=int, default=1)
    return max(1, early.parse_known_args()[0].threads)


THREADS = _threads()
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"):
    os.environ[_variable] = str(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(THREADS)

#: The network of most scripts: 57 → 32 → 16 → 3 → 16 → 32 → 57, ReLU between.
COLUMNS, HIDDEN, LATENT = 57, (32, 16), 3


# ── options ───────────────────────────────────────────────────────────────────────────────────────


def parser(description: str | None, pairs: int = 7) -> argparse.ArgumentParser:
    """The options that every script has."""
    out = argparse.ArgumentParser(description=(description or "").partition("\n")[0], allow_abbrev=False)
    out.add_argument("--threads", type=int, default=1, help="threads for everything (default: 1)")
    out.add_argument("--pairs", type=int, default=pairs, help=f"rounds, rivals interleaved (default: {pairs})")
    out.add_argument("--quick", action="store_true", help="small and few: shows that it runs, not how fast")
    out.add_argument("--json", metavar="FILE", help="write every raw number there")
    return out


def data_path(*parts: str) -> Path:
    """A file under the folder that DIABOLO_DATA names; ends the script in one line where there is none."""
    root = os.environ.get("DIABOLO_DATA")
    if not root:
        sys.exit(f"DIABOLO_DATA is not set; set it to the folder that holds {'/'.join(parts)}")
    path = Path(root, *parts)
    if not path.exists():
        sys.exit(f"{path}: no such file; DIABOLO_DATA is {root}")
    return path


# ── the machine ───────────────────────────────────────────────────────────────────────────────────


def machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as handle:
            model = next((line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def machine_line() -> str:
    m = machine()
    return (
        f"# {m['cpu']}, {m['cores']} cores, {m['threads']} thread(s), load {m['load']}, "
        f"Python {m['python']}, torch {m['torch']}, {m['date']}"
    )


# ── paired timing ─────────────────────────────────────────────────────────────────────────────────


class Clock:
    """`with Clock() as t:` then `t.wall` and `t.cpu` (this process's own seconds, blind to other load)."""

    def __enter__(self) -> Clock:
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def elapsed(self) -> float:
        return time.perf_counter() - self._wall

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu


Measured = dict[str, float]


def rounds(
    rivals: Mapping[str, Callable[[int], Measured]], pairs: int, warm_up: bool = True
) -> dict[str, list[Measured]]:
    """Call the rivals in turn, A B C, C B A, A B C, ..., each with the number of its round.

    Turning the order keeps a machine that drifts from favouring one place. A rival returns its
    measurements, among them `rows_per_s`. One unrecorded call of each comes first.
    """
    if warm_up:
        for rival in rivals.values():
            rival(0)
    out: dict[str, list[Measured]] = {name: [] for name in rivals}
    for i in range(pairs):
        names = list(rivals) if i % 2 == 0 else list(rivals)[::-1]
        for name in names:
            out[name].append(rivals[name](i))
    return out


def rate(rows: int, clock: Clock) -> Measured:
    return {"rows": rows, "rows_per_s": rows / clock.wall, "rows_per_cpu_s": rows / max(clock.cpu, 1e-9)}


def column(measured: list[Measured], key: str) -> np.ndarray:
    return np.array([m[key] for m in measured])


def spread(values: np.ndarray, form: str = "{:.2f}") -> str:
    """Median [minimum–maximum; quartiles]."""
    low, q1, median, q3, high = (form.format(v) for v in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    return f"{median} [{low}–{high}; quartiles {q1}–{q3}]"


def print_rates(found: dict[str, list[Measured]], key: str = "rows_per_s") -> None:
    for name, measured in found.items():
        print(f"  {name:<34} {spread(column(measured, key), '{:,.0f}')} rows/s")


def print_ratio(
    found: dict[str, list[Measured]], name: str, rival: str, target: float | None = None, key: str = "rows_per_s"
) -> None:
    """The ratio of each pair, and the same of processor time where both measured it."""
    ratios = column(found[name], key) / column(found[rival], key)
    line = f"  {name} / {rival}: {spread(ratios)}"
    if key == "rows_per_s" and all("rows_per_cpu_s" in m for n in (name, rival) for m in found[n]):
        cpu = column(found[name], "rows_per_cpu_s") / column(found[rival], "rows_per_cpu_s")
        line += f", by processor time {np.median(cpu):.2f}"
    if target is not None:
        line += f"   target ≥ {target:g}: {'reached' if np.median(ratios) >= target else 'missed'}"
    print(line)


def write_json(path: str | None, script: str, options: argparse.Namespace, results: object) -> None:
    if path:
        record = {"script": script, "machine": machine(), "options": vars(options), "results": results}
        Path(path).write_text(json.dumps(record, indent=1, default=float) + "\n")
        print(f"wrote {path}")


# ── tables and the hand-written network ───────────────────────────────────────────────────────────


def correlated(rows: int, seed: int = 0, columns: int = COLUMNS) -> np.ndarray:
    """Correlated normal columns of about unit variance, float32: twelve common factors and own noise."""
    g = np.random.default_rng(seed)
    mixing = g.normal(size=(12, columns)) / np.sqrt(12)
    x = g.normal(size=(rows, 12)) @ mixing * np.sqrt(0.7) + g.normal(size=(rows, columns)) * np.sqrt(0.3)
    return x.astype(np.float32)


def manifold(rows: int, seed: int = 0, columns: int = COLUMNS, noise: float = 0.1) -> np.ndarray:
    """Columns that are smooth functions of three hidden numbers, plus noise; float32.

    The functions are the same for every seed; the rows differ.
    """
    maps = np.random.default_rng(2024)
    direction, phase = maps.normal(size=(LATENT, columns)), maps.uniform(0, 2 * np.pi, columns)
    bend = maps.normal(size=(LATENT, columns)) * 0.5
    g = np.random.default_rng(seed)
    t = g.normal(size=(rows, LATENT))
    x = np.sin(t @ direction + phase) + t @ bend
    return (x + noise * g.normal(size=x.shape)).astype(np.float32)


def network(inputs: int = COLUMNS, hidden: tuple[int, ...] = HIDDEN, latent: int = LATENT) -> torch.nn.Sequential:
    """The network as anyone would write it in PyTorch."""
    widths = [inputs, *hidden, latent, *hidden[::-1], inputs]
    layers: list[torch.nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(torch.nn.Linear(a, b))
        # No rectifier after the latent nor after the output.
        if i not in (len(hidden), len(widths) - 2):
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


def pyod_autoencoder(hidden: tuple[int, ...] = HIDDEN, latent: int = LATENT, **settings: object) -> Any:
    """PyOD's AutoEncoder with these widths; it mirrors the list, and rectifies the latent too."""
    try:
        from pyod.models.auto_encoder import AutoEncoder
    except ImportError as error:  # it needs tqdm too, which it does not declare
        sys.exit(f"PyOD's AutoEncoder cannot be imported ({error}); pip install 'diabolo[bench]' tqdm")
    return AutoEncoder(hidden_neuron_list=[*hidden, latent], verbose=0, **{"dropout_rate": 0, **settings})


def fit_pyod(detector: Any, x: np.ndarray) -> tuple[Clock, Clock]:
    """Fit; the time of the whole call, which ends by scoring all rows, and of its epochs alone."""
    inner, part = detector.train, Clock()

    def timed(loader: object) -> None:
        with part:
            inner(loader)

    detector.train = timed
    with Clock() as whole:
        detector.fit(x)
    return whole, part


# ── chains of verbs over files ────────────────────────────────────────────────────────────────────

#: What a fit's one line may ask to be pasted: columns to leave out, or the part of the file that is meant.
LEAVE_OUT = re.compile(r"--exclude[ =]((?:'[^']*'|[^\s;:),])+(?:,(?:'[^']*'|[^\s;:),])+)*)")
NAME_ONE = re.compile(r"(?:name one|choose some), like (\S+)$")
#: The suffix that a line names for what comes back.
OTHER_FORM = re.compile(r"; write (\.\w+)(?: or |$)")
MOST_PASTES = 40


@dataclasses.dataclass
class Chain:
    """How far a file came: the verbs that ended well, what was pasted, the line that ended it, CPU seconds."""

    data: str
    well: list[str] = dataclasses.field(default_factory=list)
    pastes: int = 0
    line: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    columns: int = 0


def run_verb(*words: object) -> tuple[int, str]:
    """(status, what was printed last) of the program, run inside this process."""
    import io

    from diabolo.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main([str(w) for w in words])
        except SystemExit as end:
            return int(end.code or 0), out.getvalue().strip()
    return 0, out.getvalue().strip()


def chain(data: str, folder: Path, back: str, epochs: int = 2) -> Chain:
    """info, fit (after what its line says is pasted), score, compress and back, sample.

    Args:
        data: what the command line is given.
        folder: for what is written.
        back: suffix of the table that comes back.
    """
    found, model = Chain(data), folder / "m.diabolo"

    def timed(verb: str, *words: object) -> bool:
        start = time.process_time()
        status, said = run_verb(*words)
        found.seconds[verb] = found.seconds.get(verb, 0.0) + time.process_time() - start
        found.line = "" if status == 0 else said.splitlines()[-1] if said else f"status {status}"
        if status == 0:
            found.well.append(verb)
        return status == 0

    if not timed("info", "info", data):
        named = NAME_ONE.search(found.line)
        if named is None:
            return found
        found.data, found.pastes = named[1], 1
        if not timed("info", "info", found.data):
            return found
    more: list[str] = []
    while not timed("fit", "fit", found.data, "-o", model, "--epochs", epochs, "-q", *more):
        asked = LEAVE_OUT.search(found.line)
        if asked is None or found.pastes >= MOST_PASTES:
            return found
        found.pastes += 1
        more = ["--exclude", ",".join([*more[1:], asked[1].strip("'")])]
    timed("score", "score", model, found.data, "-o", folder / "s.parquet", "-q")
    if timed("compress", "compress", model, found.data, "-o", folder / "c.dbl", "--max-error", "1e-3", "--no-verdict"):
        other = None
        if not timed("decompress", "decompress", folder / "c.dbl", "-o", folder / f"back{back}"):
            other = OTHER_FORM.search(found.line)
        if other is not None:
            found.pastes += 1
            timed("decompress", "decompress", folder / "c.dbl", "-o", folder / f"back{other[1]}")
    line = found.line
    timed("sample", "sample", model, "-n", 10, "-o", folder / "drawn.parquet")
    found.line = line or found.line
    return found


#: Verbs of a chain that ended well in all.
WELL = ("info", "fit", "score", "compress", "decompress", "sample")


def _sent(send: Any, data: str, folder: Path, back: str) -> None:
    send.send(chain(data, folder, back))


def chains(jobs: Sequence[tuple[str, str]], limit: float) -> Iterator[Chain]:
    """The chain of each (data, suffix that comes back), in a process of its own that ends after `limit` seconds."""
    import multiprocessing
    import tempfile

    # Forked from a process that has run no threads yet.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diabolo.cli", "diabolo.estimators.detector", "diabolo.demo"])
    for data, back in jobs:
        with tempfile.TemporaryDirectory() as folder:
            receive, send = context.Pipe(duplex=False)
            worker = context.Process(target=_sent, args=(send, data, Path(folder), back))
            worker.start()
            found = Chain(data, line=f"not done in {limit:g} s, or killed")
            if receive.poll(limit):
                with contextlib.suppress(EOFError):
                    found = receive.recv()
            worker.kill()
            worker.join()
        yield found


def print_chains(found: Sequence[Chain], kind: str) -> None:
    """Shares by how much had to be pasted, then a line for each file that did not end well."""
    well = [c for c in found if all(verb in c.well for verb in WELL)]
    counts = [sum(c.pastes <= most for c in well) for most in (0, 1, MOST_PASTES)]
    total = max(len(found), 1)
    shares = [f"{n} ({n / total:.0%})" for n in counts]
    print(f"{kind}: {len(found)} tables; well in every verb at once {shares[0]}, after one paste {shares[1]}, ", end="")
    print(f"after more {shares[2]}; info at most {max((c.seconds.get('info', 0) for c in found), default=0):.1f} s CPU")
    for c in found:
        if c not in well:
            print(f"  {c.data.rpartition('/')[2]}: {'+'.join(c.well) or '-'} | {c.line[:160]}")
