"""The search of the default score beside faiss-cpu, PyTorch and SciPy: the nearest of 10,000 stored rows.

The default score takes distances in x and n together by a matrix product of 16 rows, and looks for the nearest 32 in
groups (`diabolo.detect.views`). `faiss.IndexFlatL2`, and `torch.topk` of one product of all rows, search the same
coordinates of 20 columns of correlated numbers. An exact search without a shortlist would be by L1, in three sets of
20 coordinates: one of them is searched by `faiss.IndexFlat` and by SciPy's `cdist`.

Rows are fresh in every call, since the same ones over and over teach a processor their branches. Times are processor
time of one call on one thread: the least and the median, for the machine may be shared. Beside them: the share of rows
whose neighbors are those of double precision, and whether a row's neighbors and distances are the same bits alone and
among others.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

import common  # pins threads, so it comes first
import numpy as np
import torch

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.detect.least import partitioned
from diabolo.detect.places import TILE
from diabolo.detect.scores.auto import views_of
from diabolo.detect.views import NEAR, SHORTLIST, Views

#: Distances [n, k], where they are kept, and positions [n, k] of coordinates [n, d].
Search = Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray]]
FITTED, COLUMNS = 25_000, 20


def ours(views: Views) -> Search:
    """Squared distances, and positions among them, as in a block of the default score."""
    product = torch.empty(TILE, views.table.shape[1])

    def search(axes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        n, rows = len(axes), np.pad(axes, ((0, -len(axes) % TILE), (0, 0)), mode="edge")
        asked = torch.from_numpy(np.c_[rows, (rows * rows).sum(1), np.ones(len(rows), np.float32)])
        at, far = np.empty((n, SHORTLIST), np.int64), np.empty((n, SHORTLIST), np.float32)
        for start in range(0, n, TILE):
            torch.mm(asked[start : start + TILE], views.table, out=product)
            squared = product.numpy()[: n - start]
            part = slice(start, start + len(squared))
            at[part] = partitioned(squared, views.groups, views.shortlist)
            far[part] = np.take_along_axis(squared, at[part], 1)
        return far, at

    return search


def by_topk(stored: np.ndarray) -> Search:
    table, square = torch.from_numpy(stored).T.contiguous(), torch.from_numpy((stored * stored).sum(1))

    def search(axes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        found = torch.addmm(square, torch.from_numpy(axes), table, alpha=-2).topk(SHORTLIST, largest=False)
        return found.values.numpy(), found.indices.numpy()

    return search


def by_cdist(stored: np.ndarray) -> Search:
    from scipy.spatial.distance import cdist

    def search(axes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        return None, np.argpartition(cdist(axes, stored, "cityblock"), NEAR - 1, axis=1)[:, :NEAR]

    return search


def by_faiss(index: object, count: int) -> Search:
    def search(axes: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        return index.search(axes, count)

    return search


def searches(views: Views, stored: np.ndarray) -> dict[str, tuple[Search, int]]:
    """By name the search, and of how many coordinates it is."""
    d = COLUMNS
    out = {
        "L2, 32: default score": (ours(views), 2 * d),
        "L2, 32: torch.topk of one product": (by_topk(stored), 2 * d),
        "L1, 3, one view of three: SciPy cdist": (by_cdist(np.ascontiguousarray(stored[:, :d])), d),
    }
    with contextlib.suppress(ImportError):
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        squares, sums = faiss.IndexFlatL2(2 * d), faiss.IndexFlat(d, faiss.METRIC_L1)
        squares.add(stored)
        sums.add(np.ascontiguousarray(stored[:, :d]))
        out["L2, 32: faiss IndexFlatL2"] = by_faiss(squares, SHORTLIST), 2 * d
        out["L1, 3, one view of three: faiss IndexFlat"] = by_faiss(sums, NEAR), d
    return dict(sorted(out.items()))


def exact(axes: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Positions of the nearest 32 by differences in double precision, [n, 32], rising."""
    far = torch.cdist(
        *(torch.from_numpy(a).double() for a in (axes, stored)), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return far.topk(SHORTLIST, largest=False).indices.sort(-1).values.numpy()


def checked(search: Search, rows: np.ndarray, truth: np.ndarray) -> str:
    """Neighbors beside those of double precision; and 64 of the rows alone beside the same ones among all."""
    far, at = search(rows)
    if far is None or at.shape[1] != SHORTLIST:
        return ""
    right = (np.sort(at, axis=1) == truth).all(axis=1).mean()
    alone = [search(rows[i : i + 1]) for i in range(64)]
    order = [np.argsort(a) for a in at[:64]]
    same = all(
        (a[0] == at[i][order[i]]).all() and (f[0] == far[i][order[i]]).all()
        for i, (f, a) in enumerate((f[:, np.argsort(a[0])], np.sort(a)) for f, a in alone)
    )
    return f"exact of {100 * right:.2f} % of rows; alone {'the same bits' if same else 'OTHER BITS'}"


def main() -> None:
    options = common.parser(__doc__).parse_args()
    x = common.correlated(FITTED, columns=COLUMNS)
    detector = AnomalyDetector(VariationalAutoencoder(epochs=1, random_state=0)).fit(x)
    reference = detector.calibrated_.reference
    views, encoding = views_of(reference), reference.model.encoding
    places, stored = views.places, views.places.shortlist(views.stored, views.levels).contiguous().numpy()
    with torch.inference_mode():
        fresh = encoding.encode(torch.from_numpy(common.correlated(1 << 15, seed=1, columns=COLUMNS)))
        rows = places.shortlist(*places(fresh)).numpy()
        every = searches(views, stored)
        print(common.machine_line())
        print(f"\n{len(stored):,} stored rows; one call, milliseconds of processor time: least (median)")
        truth, found = exact(rows[:4096], stored), {}
        for count, calls in ((1, 300), (64, 40), (2_048, 2)):
            times: dict[str, list[float]] = {name: [] for name in every}
            for i in range(calls // 20 or 2 if options.quick else calls):
                at = i * count % (len(rows) - count + 1)
                for name, (search, d) in every.items():
                    asked = np.ascontiguousarray(rows[at : at + count, :d])
                    began = time.process_time()
                    search(asked)
                    times[name].append(1e3 * (time.process_time() - began))
            for name, ms in times.items():
                print(f"  {count:>5} rows  {name:<44} {min(ms):8.2f} ({np.median(ms):.2f})", flush=True)
            found[str(count)] = times
        for name, (search, d) in every.items():
            said = checked(search, np.ascontiguousarray(rows[:4096, :d]), truth)
            if said:
                print(f"  {name:<44} {said}")
    common.write_json(options.json, "search", options, found)


if __name__ == "__main__":
    sys.exit(main())
