"""The figures of docs/lecture.md, drawn from the variables that its blocks leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["draw"]

BLUE, RED, YELLOW, GREY, GREEN = "#0b6e8f", "#d1495b", "#e3a018", "#8a8f98", "#3d8b5f"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 105,
}
FIGURES: dict[str, Callable[[Any, dict[str, Any]], Any]] = {}


def figure(step: str) -> Callable[[Callable[[Any, dict[str, Any]], Any]], Callable[[Any, dict[str, Any]], Any]]:
    """Register the figure that is drawn after the block of this step."""

    def register(function: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Any, dict[str, Any]], Any]:
        FIGURES[step] = function
        return function

    return register


def draw(path: Path, namespace: dict[str, Any]) -> None:
    """Draw the figure of `path`'s name; the same variables give the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        made = FIGURES[path.stem](plt, namespace)
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
        plt.close(made)


def _picture(ax: Any, row: np.ndarray, **settings: Any) -> None:
    ax.imshow(row.reshape(8, 8), **{"cmap": "gray_r", "vmin": 0, "vmax": 1, **settings})
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color="#d8dbe0")


def _grid(plt: Any, rows: dict[str, np.ndarray], size: tuple[float, float]) -> Any:
    """Pictures in labelled rows."""
    fig, axes = plt.subplots(len(rows), len(next(iter(rows.values()))), figsize=size, squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            _picture(ax, picture)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    return fig


@figure("01-bottleneck")
def bottleneck(plt: Any, n: dict[str, Any]) -> Any:
    chosen = [int(np.flatnonzero(n["digit"][1400:] == d)[0]) for d in range(10)]
    fig, axes = plt.subplots(3, 10, figsize=(7.6, 2.5), height_ratios=(1, 0.8, 1))
    for column, i in enumerate(chosen):
        _picture(axes[0, column], n["test"][i])
        z = n["z"][i] / n["z"].std(axis=0)
        axes[1, column].bar(range(8), z, color=np.where(z > 0, BLUE, RED), width=0.75)
        axes[1, column].axhline(0, color=GREY, lw=0.6)
        axes[1, column].set(ylim=(-4, 4), xticks=[], yticks=[])
        axes[1, column].spines[:].set_visible(False)
        _picture(axes[2, column], n["x_hat"][i])
    for row, name in enumerate(("x, 64 pixels", "z, 8 numbers", "x̂, 64 pixels")):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    return fig


@figure("02-dimension")
def dimension(plt: Any, n: dict[str, Any]) -> Any:
    from diabolo import LinearAutoencoder

    ks = list(n["errors"])
    pca = [n["lost"](LinearAutoencoder(latent_dim=k).fit(n["X"]), n["X_new"]) for k in range(1, 6)]
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7), width_ratios=(1, 1.2))
    a, b = n["X_new"][:, 0], n["X_new"][:, 1]
    drawn = left.scatter(a, b, c=n["X_new"][:, 2], s=5, cmap="coolwarm", lw=0)
    fig.colorbar(drawn, ax=left, label="column 3 = a · b + noise", pad=0.02)
    left.set(xlabel="column 1 = a + noise", ylabel="column 2 = b + noise", title="Six columns of two numbers", aspect=1)
    right.axhline(n["noise"], color=GREY, ls="--", lw=1)
    right.annotate("noise alone", (3.3, n["noise"] * 0.9), color=GREY, va="top", fontsize=8.5)
    right.plot(range(1, 6), pca, "s-", color=RED, ms=4, label="PCA")
    right.plot(ks, list(n["errors"].values()), "o-", color=BLUE, ms=4, label="autoencoder")
    right.set(yscale="log", xlabel="latent dimensions k", ylabel="lost share of variance", xticks=range(1, 6))
    right.legend(loc="upper right")
    return fig


@figure("03-bytes")
def true_bytes(plt: Any, n: dict[str, Any]) -> Any:
    import zlib

    new = n["new32"]
    grid = np.round(new / 0.02).astype("<i2")
    bars = {
        "float32, as it came": (24.0, "exact", GREY),
        "the same, zlib": (len(zlib.compress(new.tobytes(), 9)) / len(new), "exact", GREY),
        "two latent numbers, float32": (8.0, f"worst error {n['worst']:.2f}", RED),
        "rounded to a grid, zlib": (len(zlib.compress(grid.T.tobytes(), 9)) / len(new), "worst error 0.01", YELLOW),
        "Compressor(max_error=0.01)": (n["per_row"], "worst error 0.01, model included", BLUE),
    }
    fig, ax = plt.subplots(figsize=(7.2, 2.2))
    for y, (size, note, color) in enumerate(bars.values()):
        ax.barh(y, size, color=color, height=0.65)
        ax.annotate(f" {size:.1f}  ({note})", (size, y), va="center", fontsize=8.5)
    ax.set(yticks=range(len(bars)), yticklabels=list(bars), xlabel="bytes per row of six numbers", xlim=(0, 30))
    ax.invert_yaxis()
    return fig


@figure("04-clusters")
def clusters(plt: Any, n: dict[str, Any]) -> Any:
    from diabolo import LinearAutoencoder

    flat = LinearAutoencoder(latent_dim=2).fit(n["codes"]).transform(n["codes"])
    fig = plt.figure(figsize=(7.6, 3.1))
    map_of_codes, prototypes = fig.subfigures(1, 2, width_ratios=(1, 1))
    left = map_of_codes.subplots()
    colors = plt.get_cmap("tab10")
    for d in range(10):
        here = n["digit"] == d
        left.scatter(*flat[here].T, s=4, color=colors(d), lw=0, alpha=0.6)
        at = np.median(flat[here], axis=0)
        label = left.annotate(str(d), at, color=colors(d), weight="bold", fontsize=13, ha="center", va="center")
        label.set_path_effects([_outline()])
    left.set(title="Codes by true digit, seen from one side", xlabel="first principal axis of z", ylabel="second")
    for k, ax in enumerate(prototypes.subplots(2, 5).ravel()):
        _picture(ax, n["clusterer"].prototypes_[k])
        ax.set_title(f"{n['clusterer'].sizes_[k]} rows", fontsize=8, loc="center")
    prototypes.suptitle("Ten clusters: their decoded centers", fontsize=9.5)
    return fig


def _outline() -> Any:
    from matplotlib import patheffects

    return patheffects.withStroke(linewidth=2.5, foreground="white")


@figure("05-detection")
def detection(plt: Any, n: dict[str, Any]) -> Any:
    fig, ax = plt.subplots(figsize=(7.2, 2.5))
    digits = list(n["error"])
    at = np.arange(len(digits))
    ax.bar(at - 0.2, list(n["error"].values()), 0.38, color=GREY, label="reconstruction error")
    ax.bar(at + 0.2, list(n["default"].values()), 0.38, color=BLUE, label="default score")
    ax.axhline(0.5, color="black", lw=0.8, ls="--")
    ax.annotate(" chance", (1, 0.5), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    ax.set(xticks=at, xticklabels=digits, xlabel="digit that was left out of training", ylabel="AUROC", ylim=(0.4, 1.0))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


@figure("06-training")
def training(plt: Any, n: dict[str, Any]) -> Any:
    fig, ax = plt.subplots(figsize=(7.2, 2.5))
    epochs = np.arange(1, len(n["training"]) + 1)
    ax.plot(epochs, np.array(n["training"]) - n["constant"], color=BLUE, label="70 rows that are trained on")
    ax.plot(epochs, np.array(n["held_back"]) - n["constant"], color=RED, label="30 rows kept apart")
    ax.axvline(n["best"] + 1, color="black", lw=0.8, ls="--")
    ax.annotate("  weights that are kept", (n["best"] + 1, 2), fontsize=8.5)
    ax.set(yscale="log", xlabel="epoch", ylabel="½ Σ (x − x̂)²  (nats per row)")
    ax.legend()
    return fig


@figure("07-pca")
def pca(plt: Any, n: dict[str, Any]) -> Any:
    from diabolo import Autoencoder, LinearAutoencoder

    rng = np.random.default_rng(1)
    t = rng.uniform(-1.3, 1.3, 800)
    arc = np.c_[np.sin(t), np.cos(t)] + 0.05 * rng.normal(size=(800, 2))
    line = LinearAutoencoder(latent_dim=1, scaling="none").fit(arc)
    curve = Autoencoder(latent_dim=1, hidden=(32, 16), scaling="none", epochs=80, batch_size=32).fit(arc)
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), sharey=True)
    for ax, ae, name, color in zip(axes, (line, curve), ("PCA, k = 1", "Autoencoder, k = 1"), (RED, BLUE), strict=True):
        back = ae.reconstruct(arc)
        for x, y in zip(arc[:150], back[:150], strict=True):
            ax.plot(*np.c_[x, y], color=color, lw=0.5, alpha=0.5)
        ax.scatter(*arc.T, s=4, color=GREY, lw=0)
        order = np.argsort(ae.transform(arc)[:, 0])
        ax.plot(*back[order].T, color=color, lw=2)
        ax.set(
            title=f"{name}: lost {n['lost'](ae, arc):.3f} of the variance", xlabel="column 1", aspect=1, ylim=(0, 1.25)
        )
    axes[0].set_ylabel("column 2")
    return fig


@figure("08-need")
def need(plt: Any, n: dict[str, Any]) -> Any:
    from diabolo import Autoencoder, DenoisingAutoencoder

    seen = n["digit"][:1400] != 8
    kinds = {
        "k = 4": Autoencoder(latent_dim=4, **n["net"]),
        "k = 128": Autoencoder(**n["net"] | n["wide"]),
        "k = 128, noise": DenoisingAutoencoder(**n["net"] | n["wide"]),
    }
    odd = n["test"][n["digit"][1400:] == 8][:8]
    usual = n["test"][n["digit"][1400:] != 8][:5]
    pictures = np.r_[odd, usual]
    return _grid(
        plt,
        {"x: eights, then others": pictures}
        | {name: ae.fit(n["train"][seen]).reconstruct(pictures) for name, ae in kinds.items()},
        (7.6, 2.7),
    )


@figure("09-denoising")
def denoising(plt: Any, n: dict[str, Any]) -> Any:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), sharey=True)
    side = np.linspace(-1.7, 1.7, 18)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    away = grid[:, None] - n["centers"]
    weight = np.exp(-(away**2).sum(-1, keepdims=True) / (2 * n["variance"]))
    exact = -(n["sigma"] ** 2) * (weight * away).sum(1) / weight.sum(1) / n["variance"]
    for ax, arrows, name, color in (
        (left, n["dae"].reconstruct(grid) - grid, "learned: x̂ − x̃", BLUE),
        (right, exact, "exact: σ² ∇ log p(x̃)", GREEN),
    ):
        ax.scatter(*n["clean"][:1200].T, s=2, color=YELLOW, lw=0, alpha=0.7)
        ax.quiver(*grid.T, *arrows.T, color=color, angles="xy", scale_units="xy", scale=2.2, width=0.004)
        ax.set(title=name, aspect=1, xlabel="column 1", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8))
    left.set_ylabel("column 2")
    return fig


@figure("10-sparse")
def sparse(plt: Any, n: dict[str, Any]) -> Any:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.5), width_ratios=(1, 1.3))
    bins = np.linspace(-3, 3, 81)
    for name, color in (("none", GREY), ("sparse", BLUE)):
        left.hist(n["scaled"][name].ravel(), bins, density=True, histtype="step", lw=1.8, color=color, label=name)
    left.set(yscale="log", xlabel="code over its rms, z̄", ylabel="density")
    left.legend(["every dimension", "the 24 largest of 96"], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    shown = right.imshow(
        n["scaled"]["sparse"][:40].T, aspect="auto", cmap="RdBu_r", vmin=-4, vmax=4, interpolation="nearest"
    )
    fig.colorbar(shown, ax=right, label="z̄", pad=0.02)
    right.set(xlabel="digit", ylabel="latent dimension", title="40 digits: most codes are silent")
    return fig


@figure("11-profile")
def profiled(plt: Any, n: dict[str, Any]) -> Any:
    z = np.linspace(-0.6, 3.4, 500)
    p = np.exp(n["log_joint"](1.5, z))
    area = np.exp(-n["marginal"][2001])
    fig, ax = plt.subplots(figsize=(7.2, 2.5))
    ax.fill_between(z, p, color=BLUE, alpha=0.25, lw=0, label=f"area = p(x) = {area:.3f}: the marginal")
    ax.plot(z, p, color=BLUE)
    best = z[p.argmax()]
    ax.plot([best, best], [0, p.max()], color=RED, lw=2, label=f"height = max p(x, z) = {p.max():.3f}: the profile")
    ax.set(xlabel="z", ylabel="p(x = 1.5, z)", ylim=(0, None))
    ax.legend(loc="upper right")
    return fig


@figure("12-divergences")
def divergences(plt: Any, n: dict[str, Any]) -> Any:
    from diabolo import information as info

    grid = np.linspace(-8, 14, 1101)

    def law(center: float, width: float) -> np.ndarray:
        return info.normalize(np.exp(-((grid - center) ** 2) / (2 * width**2)))

    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    left.fill_between(grid, law(0, 1), color=BLUE, alpha=0.4, lw=0, label="p, width 1")
    left.fill_between(grid, law(3, 1.5), color=RED, alpha=0.4, lw=0, label="q, width 1.5, Δ = 3")
    left.set(xlim=(-4, 9), yticks=[], xlabel="x", ylabel="probability")
    left.legend(loc="upper right")
    shifts = np.linspace(0, 5, 26)
    p = law(0, 1)
    for name, function, color in (
        ("D(p ‖ q)", lambda q: info.kl_divergence(p, q), BLUE),
        ("D(q ‖ p)", lambda q: info.kl_divergence(q, p), RED),
        ("½ Jeffreys", lambda q: info.symmetrized_kl(p, q), GREY),
        ("Jensen–Shannon", lambda q: info.js_divergence(p, q), GREEN),
    ):
        right.plot(shifts, [function(law(s, 1.5)) for s in shifts], color=color, label=name)
    right.axhline(np.log(2), color=GREEN, lw=0.8, ls="--")
    right.annotate("log 2", (0.1, np.log(2)), color=GREEN, va="bottom", fontsize=8.5)
    right.set(xlabel="distance Δ of the centers", ylabel="nats", ylim=(0, 6))
    right.legend(loc="upper left")
    return fig


@figure("13-elbo")
def elbo(plt: Any, n: dict[str, Any]) -> Any:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    means, widths = np.linspace(0.2, 1.2, 60), np.geomspace(0.05, 1, 60)
    gap = np.array([[n["evidence"] - n["elbo"](m, s**2) for m in means] for s in widths])
    shown = left.contourf(means, widths, gap, levels=[0, 0.05, 0.2, 0.5, 1, 2, 4, 8], cmap="Blues_r", extend="max")
    fig.colorbar(shown, ax=left, label="log p(x) − ELBO (nats)", pad=0.02)
    left.plot(n["m_post"], n["v_post"] ** 0.5, "*", color=YELLOW, ms=13, mec="white")
    left.plot(n["m"], n["v"] ** 0.5, "o", color=RED, mec="white")
    left.annotate("exact posterior", (n["m_post"], n["v_post"] ** 0.5 * 0.72), ha="center", color="white", fontsize=8.5)
    left.annotate(" q", (n["m"], n["v"] ** 0.5), color="black", va="center")
    left.set(yscale="log", xlabel="mean of q(z|x)", ylabel="width of q(z|x)")
    counts = 2 ** np.arange(7)
    mean = [np.log(np.exp(n["log_w"][:, :k]).mean(axis=1)).mean() for k in counts]
    right.axhline(n["evidence"], color="black", lw=1)
    right.annotate("log p(x)", (1, n["evidence"]), va="bottom", fontsize=8.5)
    right.plot(counts, mean, "o-", color=BLUE, ms=4)
    right.set(xscale="log", xlabel="draws", ylabel="nats", xticks=counts, xticklabels=counts)
    right.set_title("The bound with more draws of q")
    right.minorticks_off()
    return fig


@figure("14-beta")
def rates(plt: Any, n: dict[str, Any]) -> Any:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    names = [f"β = {b:g}" for b in n["vaes"]]
    points = [(n["rate"][b], n["errors"][b]) for b in n["vaes"]]
    left.plot(*np.transpose(points), "-", color=GREY, lw=1)
    for name, point, color in zip(names, points, (RED, BLUE, YELLOW), strict=True):
        left.plot(*point, "o", color=color, ms=7)
        left.annotate(name, point, xytext=(7, 6), textcoords="offset points", fontsize=8.5)
    left.set(
        yscale="log", xlabel="rate: KL (nats per row)", ylabel="lost share of variance", xlim=(-2, 34), ylim=(0.002, 3)
    )
    values = list(n["elbos"].values())
    right.hlines(names, min(values) - 2, values, color=GREY, lw=1)
    right.scatter(values, names, color=(RED, BLUE, YELLOW), s=45, zorder=3)
    for y, value in enumerate(values):
        right.annotate(f"{value:.1f}", (value, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5)
    right.set(xlabel="ELBO of new rows (nats per row), right is better", xlim=(min(values) - 2, max(values) + 4))
    right.margins(y=0.2)
    right.invert_yaxis()
    return fig


@figure("15-scores")
def scores(plt: Any, n: dict[str, Any]) -> Any:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    names = (("normal", "normal", GREY), ("far out on the plane", "along", RED), ("beside the plane", "off", BLUE))
    for name, key, color in names:
        rows = n[key][:400]
        on = rows @ n["plane"]
        beside = np.linalg.norm(rows - on @ n["plane"].T, axis=1)
        left.scatter(np.linalg.norm(on, axis=1), beside, s=4, color=color, lw=0, alpha=0.7, label=name)
        score = [n["vae"].anomaly_score(rows, s) for s in ("mu_norm", "nll")]
        right.scatter(*score, s=4, color=color, lw=0, alpha=0.7)
    left.set(xlabel="distance from the center, on the plane", ylabel="distance from the plane", title="Where they are")
    right.set(xlabel="|μ|", ylabel="−log p(x|z) at z = μ (nats)", title="What the scores see")
    left.legend(loc="upper right", markerscale=2.5, handletextpad=0.1)
    return fig


@figure("16-draws")
def draws(plt: Any, n: dict[str, Any]) -> Any:
    rows = {}
    for i, name in ((1400, "a digit"), (1405, "another")):
        x = n["black"][i : i + 1]
        rows[name] = np.r_[x, n["bernoulli"].reconstruct(x), n["bernoulli"].reconstruct(x, draws=7)[:, 0]]
    fig = _grid(plt, rows, (7.2, 1.9))
    for ax, name in zip(fig.axes, ("x", "mean", *["drawn"] * 7), strict=False):
        ax.set_title(name, fontsize=8.5, loc="center")
    return fig


@figure("17-samples")
def samples(plt: Any, n: dict[str, Any]) -> Any:
    return _grid(
        plt,
        {"data": n["black"][1500:1512], "means E[x|z]": n["means"][:12], "draws from p(x|z)": n["draws"][:12]},
        (7.6, 2.2),
    )


@figure("19-masking")
def masking(plt: Any, n: dict[str, Any]) -> Any:
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharex=True, sharey=True)
    truth = n["X_new"][:150, 0]
    for ax, (name, law), color in zip(axes, n["laws"].items(), (GREY, BLUE), strict=True):
        low, middle, high = law.quantile([0.05, 0.5, 0.95])[:150].T
        ax.errorbar(
            truth, middle, np.abs([middle - low, high - middle]), fmt="o", ms=2.5, lw=0.8, color=color, alpha=0.7
        )
        ends = [truth.min(), truth.max()]
        ax.plot(ends, ends, color=RED, lw=1)
        ax.set(title={"linear": "linear part alone", "masked": "with the network"}[name], xlabel="first column")
    axes[0].set_ylabel("its law given the others")
    return fig


@figure("18-overcomplete")
def overcomplete(plt: Any, n: dict[str, Any]) -> Any:
    fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.3), sharey=True)
    names = list(n["models"])
    colors = [GREY, RED, BLUE, YELLOW]
    for ax, values, title in zip(
        axes,
        (n["active"], n["told"], n["seen"]),
        ("axes in use", "samples told apart (0.5 is best)", "anomalies found (1 is best)"),
        strict=True,
    ):
        ax.barh(range(len(names)), [values[m] for m in names], color=colors, height=0.6)
        for y, m in enumerate(names):
            ax.annotate(
                f" {values[m]:.2f}" if values is not n["active"] else f" {values[m]}",
                (values[m], y),
                va="center",
                fontsize=8,
            )
        ax.set_title(title, fontsize=8.5)
    axes[0].set(
        yticks=range(len(names)), yticklabels=[m.replace("beta", "β") for m in names], xlim=(0, 9.5), xlabel="of k"
    )
    for ax in axes[1:]:
        ax.set(xlim=(0.4, 1.08), xlabel="AUROC")
        ax.axvline(0.5, color=GREY, lw=0.8, ls="--")
    axes[0].invert_yaxis()
    return fig


@figure("20-blur")
def blur(plt: Any, n: dict[str, Any]) -> Any:
    fig = plt.figure(figsize=(7.2, 2.8))
    pictures, right = fig.subfigures(1, 2, width_ratios=(1.25, 1))
    rows = {"new": n["new_images"], "decoded": n["shown"]["decoded"], "from π": n["shown"]["decoded from the prior"]}
    axes = pictures.subplots(3, 7)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(row, np.asarray(images), strict=False):
            _picture(ax, image)
        row[0].set_ylabel(name)
    ax = right.subplots()
    edges = np.array([0.1, 0.2, 0.3, 0.4, 0.48, 0.6, 0.72])
    place = np.digitize(n["cycles"], edges)
    middles = [n["cycles"][place == i].mean() for i in range(1, 7)]
    for (name, images), color in zip(n["shown"].items(), (BLUE, YELLOW, RED), strict=True):
        spectra = [(abs(np.fft.fft2(np.reshape(X, (-1, 8, 8)))) ** 2).mean(axis=0) for X in (images, n["new_images"])]
        kept = [np.divide(*(s[place == i].sum() for s in spectra)) for i in range(1, 7)]
        ax.plot(middles, kept, "o-", ms=4, lw=1.2, color=color, label=name)
    ax.axhline(1, color=GREY, lw=0.8, ls="--")
    ax.set(xlabel="cycles per pixel", ylabel="power, of the new digits'", ylim=(0, 1.1))
    ax.legend(loc="lower left")
    return fig
