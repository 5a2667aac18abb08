"""Clusters of MNIST and Fashion-MNIST, 70,000 images each, without labels: ten clusters, beside N2D's recipe.

All images of both parts, pixels over 255, no augmentation; labels only for the accuracy under the best matching of
clusters and classes (Kuhn 1955) and the normalized mutual information. One autoencoder for each seed, N2D's
784-500-500-2000-10 (McConville et al. 2019, arXiv:1908.05968), trained here for fewer epochs than there, serves all
that take codes. N2D is its codes, umap-learn with 20 neighbors, min_dist 0 and 10 dimensions, and a Gaussian mixture;
diabolo is `LatentClusterer(ae, n_clusters=10, embedding={"name": "neighbours", "metric": "correlation"})` on the same
codes and on the pixels, which are columns of one unit. Labels are kept in --cache.

With --mixtures instead: simulated known mixtures and rows without structure, the number of clusters left open.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from pathlib import Path

import common
import numpy as np
from common import Clock

FASHION = "/usr/share/datasets/fashion-mnist"
METHODS = ("k-means", "AE + k-means", "AE + mixture", "UMAP + mixture", "N2D", "diabolo")
TARGETS = {"mnist": (0.975, 0.985), "fashion": (0.66, 0.70)}


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [70000, 784] from 0 to 1, and labels."""
    if name == "mnist":
        with np.load(common.data_path("mnist", "mnist.npz")) as file:
            x, y = (np.concatenate([file[f"{a}_train"], file[f"{a}_test"]]) for a in "xy")
    else:
        folder = Path(os.environ.get("FASHION_MNIST", FASHION))
        if not folder.exists():
            sys.exit(f"{folder}: no such folder; install Debian's dataset-fashion-mnist, or set FASHION_MNIST")

        def read(what: str, skip: int) -> np.ndarray:
            files = [folder / f"{part}-{what}-ubyte.gz" for part in ("train", "t10k")]
            parts = [gzip.decompress(file.read_bytes())[skip:] for file in files]
            return np.frombuffer(b"".join(parts), np.uint8)

        x, y = read("images-idx3", 16), read("labels-idx1", 8)
    return x.reshape(len(y), -1).astype(np.float32) / 255, y.astype(np.int64)


def accuracy(y: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose cluster is matched to their class, by the best one-to-one matching."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((y.max() + 1, max(int(labels.max()) + 1, int(y.max()) + 1)))
    np.add.at(counts, (y[labels >= 0], labels[labels >= 0]), 1)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(y))


def autoencoder(name: str, seed: int, x: np.ndarray, options: argparse.Namespace):
    """N2D's autoencoder, fitted or from the cache; a fit that was broken off goes on."""
    import diabolo

    path = Path(options.cache) / f"ae-{name}-{seed}-e{options.epochs}{'-quick' * options.quick}.diabolo"
    if path.exists():
        return diabolo.Autoencoder.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    keep = path.with_name(f"{path.name}.ckpt")
    hidden = (500, 500, 2000) if not options.quick else (64, 32)
    ae = diabolo.Autoencoder(
        latent_dim=10, hidden=hidden, scaling="none", epochs=options.epochs, batch_size=256, random_state=seed
    )
    ae.fit(x, checkpoint=keep, resume=keep.exists())
    ae.save(path)
    keep.unlink(missing_ok=True)
    return ae


def mixture(z: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(10, covariance_type="full", random_state=seed).fit_predict(z)


def umap(x: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError:
        sys.exit("umap-learn is not installed; pip install 'diabolo[bench]'")
    return UMAP(n_neighbors=20, min_dist=0.0, n_components=10, metric="euclidean", random_state=seed).fit_transform(x)


def k_means(x: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(10, n_init=10, random_state=seed).fit_predict(x)


def labels_of(method: str, ae, x: np.ndarray, seed: int, options: argparse.Namespace) -> np.ndarray:
    from diabolo import LatentClusterer

    if method == "diabolo":
        embedding = {"name": "neighbours", "metric": "correlation", **dict(part.split("=") for part in options.set)}
        embedding = {k: int(v) if str(v).isdecimal() else v for k, v in embedding.items()}
        clusterer = LatentClusterer(ae, n_clusters=10, embedding=embedding, n_resamples=0, random_state=seed).fit(x)
        there = clusterer.clusters_.partition.proba(clusterer.embedded_).argmax(axis=1)
        print(f"  the network gives {(there == clusterer.labels_).mean():.2%} of the rows the cluster of their point")
        return clusterer.labels_
    if method == "k-means":
        return k_means(x, seed)
    if method == "UMAP + mixture":
        return mixture(umap(x, seed), seed)
    z = ae.transform(x)
    return {"AE + k-means": k_means, "AE + mixture": mixture, "N2D": lambda z, s: mixture(umap(z, s), s)}[method](
        z, seed
    )


def one(name: str, method: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy, mutual information and processor seconds, from the cache where it has the labels."""
    from sklearn.metrics import normalized_mutual_info_score

    own = f" {' '.join(options.set)}" if method == "diabolo" and options.set else ""
    word = "".join(c if c.isalnum() else "-" for c in method + own)
    path = Path(options.cache) / f"labels-{name}-{seed}-e{options.epochs}-{word}{'-quick' * options.quick}.npz"
    x, y = images(name)
    if options.quick:
        x, y = x[:2_000], y[:2_000]
    if path.exists():
        with np.load(path) as file:
            labels, seconds = file["labels"], float(file["seconds"])
    else:
        ae = None if method in ("k-means", "UMAP + mixture") else autoencoder(name, seed, x, options)
        with Clock() as clock:
            labels = labels_of(method, ae, x, seed, options)
        seconds = clock.cpu
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, labels=labels, seconds=seconds)
    found = {"accuracy": accuracy(y, labels), "nmi": normalized_mutual_info_score(y, labels), "cpu_s": seconds}
    print(
        f"  {name:<8} seed {seed}  {method:<15} accuracy {found['accuracy']:.4f}  NMI {found['nmi']:.4f}  "
        f"{seconds:.0f} s of processor time",
        flush=True,
    )
    return found


def show(found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    print("\n  accuracy: mean over seeds [least–largest]")
    for name, by_method in found.items():
        for method, runs in by_method.items():
            a = np.array([r["accuracy"] for r in runs])
            print(f"  {name:<8} {method:<15} {a.mean():.4f} [{a.min():.4f}–{a.max():.4f}] of {len(a)}")
        if "diabolo" in by_method:
            ours = np.array([r["accuracy"] for r in by_method["diabolo"]])
            target, moonshot = TARGETS[name]
            line = (
                f"  {name}: target ≥ {target}: {'reached' if ours.mean() >= target else 'missed'}; moonshot {moonshot}"
            )
            if "N2D" in by_method:
                ratios = ours / np.array([r["accuracy"] for r in by_method["N2D"]])
                line += f"; diabolo / N2D: {common.spread(ratios, '{:.4f}')}"
            print(line)


# ── known mixtures ────────────────────────────────────────────────────────────────────────────────


def known(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """2 to 8 Gaussians of unequal sizes and forms in 2 to 8 dimensions, centers at least 7 apart."""
    g = np.random.default_rng(seed)
    k, dims, each = int(g.integers(2, 9)), int(g.integers(2, 9)), int(g.integers(60, 250))
    centers = g.normal(size=(k, dims))
    gap = min(np.linalg.norm(a - b) for i, a in enumerate(centers) for b in centers[:i])
    centers *= max(4.0, 7.0 / gap)
    y = g.choice(k, each * k, p=g.dirichlet(np.full(k, 5.0)))
    forms = [np.linalg.qr(g.normal(size=(dims, dims)))[0] * g.uniform(0.5, 1, dims) for _ in range(k)]
    return np.stack([centers[c] + forms[c] @ g.normal(size=dims) for c in y]), y, k


def structureless(seed: int) -> tuple[np.ndarray, str]:
    g = np.random.default_rng(seed)
    n, dims = int(g.integers(200, 2000)), int(g.integers(2, 9))
    z = g.normal(size=(n, dims))
    bent = np.c_[z[:, 0], z[:, 0] ** 2 / 2 + 0.5 * z[:, 1], z[:, 2:]]
    forms = {
        "normal": z,
        "uniform": g.uniform(size=(n, dims)),
        "log-normal": np.exp(0.7 * z),
        "Student's t, 3": g.standard_t(3, size=(n, dims)),
        "bent": bent,
    }
    name = list(forms)[seed % len(forms)]
    return forms[name], name


def mixtures(cases: int) -> dict[str, object]:
    from sklearn.metrics import adjusted_rand_score

    from diabolo.cluster.number import count_clusters
    from diabolo.cluster.stability import most_likely

    right, rand, new, silent = [], [], [], {}
    with Clock() as clock:
        for seed in range(cases):
            z, y, k = known(seed)
            half = len(z) // 2
            found = count_clusters(z[:half], seed).components
            right.append(found.n_clusters == k)
            rand.append(adjusted_rand_score(y[:half], most_likely(found.proba(z[:half]))[0]))
            new.append(adjusted_rand_score(y[half:], most_likely(found.proba(z[half:]))[0]))
            z, name = structureless(seed)
            silent.setdefault(name, []).append(count_clusters(z, seed).components.n_clusters == 1)
    print(f"\nKnown mixtures, number of clusters left open, {cases} cases, {clock.cpu / cases / 2:.2f} s each")
    print(f"  number right: {np.mean(right):.0%}   target ≥ 90 %: {'reached' if np.mean(right) >= 0.9 else 'missed'}")
    print(f"  adjusted Rand index: median {np.median(rand):.3f}, mean {np.mean(rand):.3f}   target ≥ 0.95")
    print(f"  of rows that the fit has not seen: median {np.median(new):.3f}, mean {np.mean(new):.3f}")
    print("  no structure, and said so: " + ", ".join(f"{n} {sum(v)} of {len(v)}" for n, v in silent.items()))
    return {"right": np.mean(right), "rand": np.mean(rand), "new": np.mean(new), "silent": silent}


def main() -> None:
    parser = common.parser(__doc__, pairs=1)
    parser.add_argument("--data", nargs="+", default=["mnist", "fashion"], choices=["mnist", "fashion"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--epochs", type=int, default=8, help="of the autoencoder (default: 8)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of diabolo's embedding")
    parser.add_argument("--cache", default="out/cluster", metavar="FOLDER", help="(default: out/cluster)")
    parser.add_argument("--mixtures", type=int, metavar="CASES", help="known mixtures instead")
    options = parser.parse_args()
    print(common.machine_line())
    if options.mixtures:
        common.write_json(options.json, "cluster", options, mixtures(options.mixtures))
        return
    print("\nTen clusters of 70,000 images, without labels")
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in options.data:
        for seed in options.seeds:
            for method in options.methods:
                run = one(name, method, seed, options)
                found.setdefault(name, {}).setdefault(method, []).append(run)
    show(found)
    common.write_json(options.json, "cluster", options, found)


if __name__ == "__main__":
    main()
