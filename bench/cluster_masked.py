"""Clusters, latent maps and codes of mixed types: the masked autoencoder beside the VAE and the columns themselves.

Known mixtures of `bench/cluster.py`, as they are and with every other column cut into four words; and scikit-learn's
tables without their label. Each method codes the rows: autoencoders at their defaults but for as many latent axes as
columns, 10 at most; "columns" is what they start from, standardized numbers and one-hot levels. Then `find_clusters`,
and for columns its parts: a mixture, the number of clusters left open. Of each:

- the adjusted Rand index of clusters and classes, the number left open and given;
- how often the number is right;
- the share of rows whose class is that of most of their ten nearest neighbors in codes;
- the trustworthiness of the report's map, two principal components of the codes, each axis by how far x̂ moves with it
  (Venna, Kaski 2006): whether neighbors on the map are neighbors in the table; and of the codes' own components.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common
import numpy as np
import pandas as pd
from cluster import known

#: Latent axes at most, as the clusterer's own autoencoder has.
AXES = 10
#: Neighbors that vote, and that make a map trustworthy.
NEIGHBORS = 10
LEVELS = 4
MEASURES = ("rand, open", "rand, given", "number right", "neighbors", "map", "map of codes")


def of_numbers(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    z, y, _ = known(seed)
    return pd.DataFrame(z, columns=[f"x{i}" for i in range(z.shape[1])]), y


def of_mixed(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Every other column of a known mixture cut at quartiles into words."""
    frame, y = of_numbers(seed)
    for name in frame.columns[1::2]:
        frame[name] = pd.qcut(frame[name], LEVELS, labels=[f"level {i}" for i in range(LEVELS)]).astype(str)
    return frame, y


def of_table(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")(as_frame=True)
    return found.data, found.target.to_numpy()


MIXTURES = {"numbers": of_numbers, "mixed": of_mixed}


def inputs(frame: pd.DataFrame) -> np.ndarray:
    """Standardized numbers and one-hot levels."""
    wide = pd.get_dummies(frame).astype(float)
    return ((wide - wide.mean()) / wide.std().replace(0, 1)).to_numpy()


def labels_of(ae, codes: np.ndarray, frame: pd.DataFrame, k: int | None, seed: int) -> np.ndarray:
    """Clusters of an autoencoder's codes, or of the codes alone; k of them, or as many as there are."""
    from sklearn.mixture import GaussianMixture

    from diabolo import LatentClusterer
    from diabolo.cluster.number import count_clusters
    from diabolo.cluster.stability import most_likely

    if ae is not None:
        number = "auto" if k is None else k
        return LatentClusterer(ae, n_clusters=number, n_resamples=0, random_state=seed).fit(frame).labels_
    if k is None:
        return most_likely(count_clusters(codes, seed).components.proba(codes))[0]
    return GaussianMixture(k, n_init=5, reg_covar=1e-3, random_state=seed).fit_predict(codes)


def judged(method: str, frame: pd.DataFrame, y: np.ndarray, seed: int) -> dict[str, float]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import trustworthiness
    from sklearn.metrics import adjusted_rand_score
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    from diabolo import MaskedAutoencoder, VariationalAutoencoder
    from diabolo.report.space import axis_sizes

    began, x, k = time.process_time(), inputs(frame), len(np.unique(y))
    if method == "columns":
        ae, codes = None, x
    else:
        kind = {"masked": MaskedAutoencoder, "VAE": VariationalAutoencoder}[method]
        ae = kind(latent_dim=min(AXES, frame.shape[1]), random_state=seed).fit(frame)
        codes = np.asarray(ae.transform(frame))
    left_open = labels_of(ae, codes, frame, None, seed)
    given = labels_of(ae, codes, frame, k, seed)
    maps = {"map": np.ones(codes.shape[1]) if ae is None else axis_sizes(ae.model_, codes), "map of codes": 1.0}
    votes = cross_val_score(KNeighborsClassifier(NEIGHBORS), codes, y, cv=5)
    return {
        "rand, open": adjusted_rand_score(y, left_open),
        "rand, given": adjusted_rand_score(y, given),
        "number right": float(left_open.max() + 1 == k),
        "neighbors": float(votes.mean()),
        **{m: trustworthiness(x, PCA(2).fit_transform(codes * w), n_neighbors=NEIGHBORS) for m, w in maps.items()},
        "seconds": time.process_time() - began,
    }


def main() -> None:
    parser = common.parser(__doc__, pairs=2)
    parser.add_argument("--cases", type=int, default=8, help="known mixtures of each kind (default: 8)")
    parser.add_argument("--methods", nargs="+", default=["masked", "VAE", "columns"])
    parser.add_argument("--kinds", nargs="*", default=list(MIXTURES), choices=list(MIXTURES))
    parser.add_argument("--tables", nargs="*", default=["wine", "breast_cancer", "iris"])
    options = parser.parse_args()
    print(common.machine_line())
    cases = 1 if options.quick else options.cases
    groups = {
        **{kind: [lambda k=kind, s=s: MIXTURES[k](s) for s in range(cases)] for kind in options.kinds},
        **{name: [lambda n=name: of_table(n)] for name in options.tables},
    }
    print(f"| rows | method | {' | '.join(MEASURES)} | processor time, s |\n|---|---|{'---|' * (len(MEASURES) + 1)}")
    raw = []
    for group, made in groups.items():
        for method in options.methods:
            found = [
                judged(method, *case(), seed) for case in made for seed in range(1 if options.quick else options.pairs)
            ]
            raw.append({"group": group, "method": method, "found": found})
            mean = pd.DataFrame(found).mean()
            cells = " | ".join(f"{mean[m]:.3f}" for m in MEASURES)
            print(f"| {group} | {method} | {cells} | {mean['seconds']:.1f} |", flush=True)
    common.write_json(options.json, "cluster_masked", options, raw)


if __name__ == "__main__":
    main()
