"""How well a model file alone tells rows that were trained on from rows that were not.

Half of a table's rows are fitted by the defaults; the file is written, and read again. Every row of the table is then
given three numbers, all from the file alone, and each is judged by its AUROC (0.5: nothing is told, 1: everything):

- nll: −log p(x|z) of the main autoencoder, low for rows that it has learnt by heart;
- nearest: the distance to the nearest row that the file keeps, in standard deviations of each column;
- hash: whether the hash of the row is among `main/row_hashes`, which a file has up to 200,000 rows.

The two last need the very row; nll is also what a guess near it would show. Rows that stopped the fit count as trained.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import machine_line, manifold, parser, write_json

SEEDS = (0, 1)
METHODS = ("vae", "ae")


def tables(quick: bool):
    """(name, cells) of each; equal rows are left out, of which no half is the only one."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    yield "breast_cancer", load_breast_cancer().data
    yield "diabetes", load_diabetes(scaled=False).data
    if not quick:
        yield "manifold", manifold(4_000, columns=12).astype(np.float64)


def fitted(method: str, rows: np.ndarray, seed: int, quick: bool):
    from diabolo import Autoencoder, VariationalAutoencoder

    kind = {"vae": VariationalAutoencoder, "ae": Autoencoder}[method]
    return kind(random_state=seed, **({"epochs": 2} if quick else {})).fit(rows)


def told(path: Path, x: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """The AUROC of each number that a file gives; NaN where the file has nothing to compute it from."""
    from sklearn.neighbors import NearestNeighbors

    from diabolo import load
    from diabolo.data.hashing import hash_rows
    from diabolo.file.model_file import ModelFile
    from diabolo.metrics import auroc

    file = ModelFile(path)
    kept, hashes = file.generator.rows, file.autoencoder.row_hashes
    out = {"nll": auroc(member, -load(path).anomaly_score(x, score="nll")), "nearest": np.nan, "hash": np.nan}
    if kept is not None:
        scale = kept.std(axis=0)
        near = NearestNeighbors(n_neighbors=1).fit(kept / scale).kneighbors(x / scale)[0][:, 0]
        out["nearest"] = auroc(member, -near)
    if hashes is not None:
        out["hash"] = auroc(member, np.isin(hash_rows(x), hashes).astype(float))
    return out


def measured(name: str, x: np.ndarray, method: str, seed: int, quick: bool) -> list[dict[str, object]]:
    """One line for the file as it is saved, and one for its main section alone."""
    from diabolo.file.model_file import save_sections

    x = np.unique(x, axis=0)
    member = np.zeros(len(x), bool)
    member[np.random.default_rng(seed).permutation(len(x))[: len(x) // 2]] = True
    ae, lines = fitted(method, x[member], seed, quick), []
    with tempfile.TemporaryDirectory() as folder:
        for held in ("rows kept", "main alone"):
            path = Path(folder, held.replace(" ", "_") + ".diabolo")
            sections = ae.sections() if held == "rows kept" else {"main": ae.sections()["main"]}
            save_sections(path, type(ae).__name__, sections)
            line = {"table": name, "rows": int(member.sum()), "method": method, "seed": seed, "file": held}
            lines.append({**line, "bytes": path.stat().st_size, **told(path, x, member)})
    return lines


def main() -> None:
    options = parser(__doc__).parse_args()
    print(machine_line())
    print("| table | rows fitted | method | seed | file | bytes | nll | nearest | hash |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    results = []
    for name, x in tables(options.quick):
        for method in METHODS:
            for seed in SEEDS:
                for line in measured(name, x, method, seed, options.quick):
                    results.append(line)
                    figures = ("–" if np.isnan(line[k]) else f"{line[k]:.3f}" for k in ("nll", "nearest", "hash"))
                    said = (name, f"{line['rows']:,}", method, seed, line["file"], f"{line['bytes']:,}", *figures)
                    print("| " + " | ".join(map(str, said)) + " |", flush=True)
    write_json(options.json, "membership.py", options, results)


if __name__ == "__main__":
    main()
