"""Anomaly detection on labelled tables: diabolo's default beside PyOD's detectors.

Tables are `*.npz` files with X [n, d] and y (1 = anomaly), by default in DIABOLO_DATA/adbench. Three protocols
(`bench/protocols.py`), several seeds; AUROC and average precision by scikit-learn. Every detector gets the same
standardised rows and runs with its own defaults ("diabolo, own units", on request, gets the table as it is).

Each result is one line of JSON under --cache, and is not computed again. A line is found by table (and a hash of its
contents), protocol, seed, detector and the detector's version: PyOD's release and settings, or a hash of diabolo's
source without comments, docstrings and command line, so that a changed diabolo makes diabolo's lines alone stale.
`--again NAME` computes a detector's lines anew, `--stale` reads lines of other versions where there are none of this.
A detector that fails is kept as a line too, is named in the report, and counts there as guessing.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common  # pins threads, so it comes first
import protocols
import report
import results
import rivals

DEFAULT = [name for name, method in rivals.METHODS.items() if not method.original]
QUICK_TABLES, QUICK_METHODS = 6, [m for m in DEFAULT if m != "VAE"]


def number(path: Path) -> tuple[int, str]:
    """ADBench's files sort by the number that they begin with."""
    found = re.match(r"\d+", path.stem)
    return (int(found[0]) if found else 10**9, path.stem)


def chosen_tables(folder: Path, wanted: list[str] | None) -> list[Path]:
    paths = sorted(folder.glob("*.npz"), key=number)
    if not paths:
        sys.exit(f"{folder}: no *.npz in it")
    if wanted:
        plain = {name: path for path in paths for name in (path.stem.lower(), report.short(path.stem).lower())}
        unknown = [name for name in wanted if name.lower() not in plain]
        if unknown:
            sys.exit(f"--tables {' '.join(unknown)}: {folder} has {', '.join(path.stem for path in paths)}")
        return [plain[name.lower()] for name in wanted]
    return paths


# ── filling the cache ─────────────────────────────────────────────────────────────────────────────


def cells(options) -> Iterator[tuple[Path, str, int, str]]:
    for protocol in options.protocol:
        for seed in options.seeds:
            for method in options.methods:
                for path in options.paths:
                    yield path, protocol, seed, method


def fill(options, cache: results.Cache) -> bool:
    """Compute what the cache lacks; whether all of it is there now."""
    end = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    for path, protocol, seed, name in cells(options):
        table, method = options.read[path], rivals.METHODS[name]
        if not protocols.judged(table, protocol):
            continue
        old = cache.find(table, protocol, seed, name, method.version())
        if old and not (name in options.again and old["when"] < began):
            continue
        if time.monotonic() > end:
            print(f"# {options.minutes:g} minutes are over; the next call goes on from here", file=sys.stderr)
            return False
        line = results.measure(table, protocol, seed, method, common.Clock)
        cache.add(line)
        said = line.get("reason") or f"{line['fit_s']:.1f} s + {line['score_s']:.1f} s"
        print(
            f"# {protocol} {seed} {table.name} {name}: {100 * line['auroc']:.2f}  {said}", file=sys.stderr, flush=True
        )
    return True


def gather(options, cache: results.Cache) -> list[report.Line]:
    found = []
    for path, protocol, seed, name in cells(options):
        table, version = options.read[path], rivals.METHODS[name].version()
        line = cache.find(table, protocol, seed, name, version)
        if line is None and options.stale:
            line = cache.find(table, protocol, seed, name, None)
        if line is not None:
            found.append(line | {"rows": len(table)})
    return found


# ── the script ────────────────────────────────────────────────────────────────────────────────────


def parsed(arguments: list[str] | None = None):
    options = common.parser(__doc__, pairs=1)
    options.add_argument("--folder", type=Path, help="the tables (default: DIABOLO_DATA/adbench)")
    options.add_argument("--cache", type=Path, default=Path("out/adbench"), help="results (default: out/adbench)")
    options.add_argument("--protocol", nargs="+", choices=protocols.PROTOCOLS, default=list(protocols.PROTOCOLS))
    options.add_argument("--tables", nargs="+", help="names, with or without their number (default: all)")
    options.add_argument("--methods", nargs="+", choices=list(rivals.METHODS), help="default: all but own units")
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    options.add_argument("--again", nargs="+", choices=list(rivals.METHODS), default=[], help="compute these anew")
    options.add_argument("--stale", action="store_true", help="where a line is missing, take another version's")
    options.add_argument("--minutes", type=float, help="start no further cell after so many")
    options.add_argument("--report-only", action="store_true", help="compute nothing, show what the cache has")
    options.add_argument("--measured", type=Path, help="earlier figures (default: DIABOLO_DATA/adbench_measured.csv)")
    options.add_argument("--published", type=Path, help="default: DIABOLO_DATA/adbench_published.csv")
    out = options.parse_args(arguments)
    folder = out.folder or common.data_path("adbench")
    out.paths = chosen_tables(folder, out.tables)
    out.read = {path: protocols.read(path) for path in out.paths}
    out.paths.sort(key=lambda path: len(out.read[path]))
    if out.quick:
        out.paths, out.seeds, out.protocol = out.paths[:QUICK_TABLES], [0], ["one-class"]
    out.methods = out.methods or (QUICK_METHODS if out.quick else DEFAULT)
    for name in ("measured", "published"):
        beside = folder.parent / f"adbench_{name}.csv"
        if getattr(out, name) is None and beside.exists():
            setattr(out, name, beside)
    return out


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    cache = results.Cache(options.cache)
    done = options.report_only or fill(options, cache)
    lines = gather(options, cache)
    print(common.machine_line())
    print(report.text(lines, options))
    if options.json:
        Path(options.json).write_text(json.dumps(lines, indent=1) + "\n")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
