"""Figures of scores on simulated LHC events: ROC with its bootstrap, the mass that a cut shapes, and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Shares of false alarms at which the share found is asked for.
RATES = (1e-2, 1e-3)
#: The cut whose effect on the mass is looked at.
CUT = 1e-2


def invariant_mass(x: np.ndarray, names: list[str]) -> np.ndarray:
    """Mass in GeV of all objects together, each massless; the missing momentum is one more, with η = 0."""
    at = {n: i for i, n in enumerate(names)}
    e, px, py, pz = (np.zeros(len(x)) for _ in range(4))
    for name in names:
        if not name.endswith("_pt"):
            continue
        stem = name.removesuffix("_pt")
        pt, phi = x[:, at[name]].astype(float), x[:, at[f"{stem}_phi"]].astype(float)
        eta = x[:, at[f"{stem}_eta"]].astype(float) if f"{stem}_eta" in at else np.zeros(len(x))
        e += pt * np.cosh(eta)
        px += pt * np.cos(phi)
        py += pt * np.sin(phi)
        pz += pt * np.sinh(eta)
    return np.sqrt(np.maximum(e**2 - px**2 - py**2 - pz**2, 0))


class Curve:
    """Weighted ROC figures of one score on one signal; the order is found once, bootstrap draws change weights."""

    def __init__(self, background: np.ndarray, signal: np.ndarray) -> None:
        s = np.r_[background, signal]
        self.order = np.argsort(-s, kind="stable")
        falling = s[self.order]
        self.last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(s) - 1)
        self.is_signal = self.order >= len(background)

    def figures(self, weight: np.ndarray) -> np.ndarray:
        """[AUROC, share found at each of RATES, significance improvement]."""
        w = weight[self.order]
        found = np.r_[0.0, np.cumsum(w * self.is_signal)[self.last]]
        false = np.r_[0.0, np.cumsum(w * ~self.is_signal)[self.last]]
        found, false = found / found[-1], false / false[-1]
        area = float(np.trapezoid(found, false))
        # Between two thresholds a random choice among ties reaches every rate.
        at = np.interp(RATES, false, found)
        enough = false >= min(RATES)
        return np.array([area, *at, float((found[enough] / np.sqrt(false[enough])).max())])


FIGURES = ("auroc", *(f"tpr_{r:g}" for r in RATES), "improvement")


def judge(
    scores: dict[str, dict[str, np.ndarray]], signal: str, draws: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Per score the figures [4] and their bootstrap draws [draws, 4], the same draws for all scores."""
    curves = {n: Curve(s["background"], s[signal]) for n, s in scores.items()}
    size = len(next(iter(scores.values()))["background"]) + len(next(iter(scores.values()))[signal])
    exact = {n: c.figures(np.ones(size)) for n, c in curves.items()}
    drawn: dict[str, list[np.ndarray]] = {n: [] for n in curves}
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        # Poisson weights are the bootstrap of a large sample, without drawing indices.
        weight = rng.poisson(1.0, size).astype(np.float64)
        for name, curve in curves.items():
            drawn[name].append(curve.figures(weight))
    return exact, {n: np.array(d) for n, d in drawn.items()}


def sculpting(score: np.ndarray, mass: np.ndarray, seed: int) -> dict[str, float]:
    """What a cut does to the background's mass.

    `bits`: Jensen–Shannon divergence between the masses before and after; `chance`: its 95 % quantile for as many
    events drawn at random. `peak`: mass in GeV of the tenth of events that passes most; `beyond`: the share that passes
    of the heaviest tenth, in units of that: near 1 where the cut only favors large masses, near 0 for a bump.
    """
    from diabolo.information import js_divergence

    edges = np.quantile(mass, np.linspace(0, 1, 21))
    edges[-1] *= 1 + 1e-9
    before = np.histogram(mass, edges)[0]
    rng = np.random.default_rng(seed)
    # Ties are broken at random, so that the cut keeps what it should.
    kept = np.lexsort((rng.random(len(score)), -score))[: max(1, round(CUT * len(score)))]
    after = np.histogram(mass[kept], edges)[0]
    random = [
        js_divergence(
            before / before.sum(), np.histogram(rng.choice(mass, len(kept), False), edges)[0] / len(kept), base=2
        )
        for _ in range(200)
    ]
    tenth = after.reshape(10, 2).sum(axis=1) / before.reshape(10, 2).sum(axis=1)
    top = int(tenth.argmax())
    return {
        "bits": js_divergence(before / before.sum(), after / after.sum(), base=2),
        "chance": float(np.quantile(random, 0.95)),
        "peak": float(edges[2 * top : 2 * top + 3].mean()),
        "beyond": float(tenth[-1] / tenth[top]),
    }


def mean_ranks(areas: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean over the signals of each method's rank by AUROC, 1 is best; ties share."""
    from scipy.stats import rankdata

    names = list(areas)
    table = np.array([list(areas[n].values()) for n in names])
    ranks = np.stack([rankdata(-column) for column in table.T], axis=1).mean(axis=1)
    return dict(zip(names, ranks.tolist(), strict=True))


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


def pictures(
    scores: dict[str, dict[str, np.ndarray]], masses: dict[str, np.ndarray], shown: list[str], folder: Path
) -> None:
    """ROC curves per signal, the significance improvement, and the background's mass before and after the cut."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    signals = [s for s in masses if s != "background"]
    colors = dict(zip(shown, plt.get_cmap("tab10").colors, strict=False))
    figure, axes = plt.subplots(
        2, len(signals), figsize=(5.2 * len(signals), 8.4), squeeze=False, constrained_layout=True
    )
    rates = np.geomspace(1e-3, 1, 300)
    for i, signal in enumerate(signals):
        for name in shown:
            s = scores[name]
            size = len(s["background"]) + len(s[signal])
            curve = Curve(s["background"], s[signal])
            found = np.r_[0, np.cumsum(curve.is_signal)[curve.last]] / len(s[signal])
            false = np.r_[0, np.cumsum(~curve.is_signal)[curve.last]] / len(s["background"])
            at = np.interp(rates, false, found)
            style = {"color": colors[name], "lw": 2.4 if name == shown[0] else 1.3}
            label = f"{name} ({curve.figures(np.ones(size))[0]:.3f})"
            axes[0, i].plot(rates, at, label=label, **style)
            axes[1, i].plot(rates, at / np.sqrt(rates), **style)
        axes[0, i].plot(rates, rates, color="grey", lw=0.8)
        axes[0, i].set(title=f"{signal}: ROC (AUROC)", xscale="log", ylim=(0, 1), ylabel="signal found")
        axes[1, i].set(
            title="significance improvement", xscale="log", xlabel="false-alarm rate", ylabel="found / √rate"
        )
        axes[0, i].legend(frameon=False, fontsize=8)
    figure.savefig(folder / "lhc_roc.png", dpi=120)
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(7.5, 5), constrained_layout=True)
    mass = masses["background"]
    bins = np.geomspace(max(20, np.quantile(mass, 0.001)), mass.max(), 40)
    axis.hist(mass, bins, weights=np.full(len(mass), 1 / len(mass)), color="lightgrey", label="background, no cut")
    for name in shown:
        s = scores[name]["background"]
        kept = np.argsort(-s, kind="stable")[: round(CUT * len(s))]
        axis.hist(
            mass[kept],
            bins,
            weights=np.full(len(kept), 1 / len(kept)),
            histtype="step",
            color=colors[name],
            lw=2.4 if name == shown[0] else 1.3,
            label=f"{name}, highest {CUT:.0%}",
        )
    axis.set(
        xscale="log", xlabel="invariant mass of all objects (GeV)", ylabel="share of events", title="Background's mass"
    )
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "lhc_mass.png", dpi=120)
    plt.close(figure)
    print(f"\nwrote {folder / 'lhc_roc.png'} and {folder / 'lhc_mass.png'}")
