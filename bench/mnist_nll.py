"""Binarized MNIST: the test log-likelihood of a two-layer VAE, trained on the ELBO and on the IWAE bound.

Pixels are probabilities, Bernoulli(x/255). Training images are drawn afresh in each step, stop rows once; the 10,000
test images are one draw of a fixed seed. log p(x) is the importance-weighted estimate with `--draws` samples of
q(z|x), a lower bound in expectation (Burda, Grosse, Salakhutdinov 2016, arXiv:1509.00519), over all 784 pixels. The
settings were chosen on training images held out; the test images are read once, at the end. The third part fits the
same network by a plain PyTorch loop with the same steps, in turn with diabolo, for a few epochs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch
from common import Clock, Measured
from torch import Tensor, nn
from torch.nn import functional

from diabolo import VariationalAutoencoder
from diabolo.model.objective import importance_weighted

TEST_SEED = 2008
PIXELS, LATENT, HIDDEN = 784, 50, (500, 500)
#: What both recipes share; `patience` beyond all epochs: the cosine decides the end, stop rows which epoch is kept.
COMMON: dict[str, Any] = {
    "latent_dim": LATENT,
    "hidden": HIDDEN,
    "likelihood": {"name": "bernoulli", "binarize": True},
    "scaling": "none",
    "batch_size": 256,
    "learning_rate": 3e-3,
    "clip_norm": 100.0,
    "patience": 10**6,
    "stop_fraction": 0.02,
    "random_state": 0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "elbo": {"epochs": 150},
    "iwae": {"epochs": 110, "bound": "dreg", "draws": 5, "bound_after": 60},
}
TARGETS = {"elbo": 88.0, "iwae": 86.5}


def images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Training probabilities [n, 784] and the one binary draw of the test images."""
    with np.load(common.data_path("mnist", "mnist.npz")) as file:
        train, test = (file[k].reshape(-1, PIXELS).astype(np.float32) / 255 for k in ("x_train", "x_test"))
    drawn = (np.random.default_rng(TEST_SEED).random(test.shape) < test).astype(np.float32)
    return (train[:5_000], drawn[:300]) if options.quick else (train, drawn)


# ── the estimate ──────────────────────────────────────────────────────────────────────────────────


def estimate(log_p: Callable[[Tensor, int], Tensor], test: np.ndarray, draws: int) -> Measured:
    """Mean −log p(x) over the test images, its standard error over images, and the negative ELBO beside it."""
    rows, at_once = 4, min(draws, 250)
    nll, elbo = [], []
    with torch.inference_mode(), Clock() as clock:
        for x in torch.from_numpy(test).split(rows):
            parts = [log_p(x, at_once).double() for _ in range(math.ceil(draws / at_once))]
            nll.append(math.log(len(parts)) - torch.stack(parts).logsumexp(0))
        for x in torch.from_numpy(test).split(1_000):
            elbo.append(-torch.stack([log_p(x, 1) for _ in range(10)]).double().mean(0))
    each = torch.cat(nll)
    return {
        "nll": float(each.mean()),
        "standard_error": float(each.std() / math.sqrt(len(each))),
        "neg_elbo": float(torch.cat(elbo).mean()),
        "draws": len(parts) * at_once,
        "seconds": clock.wall,
        "cpu_seconds": clock.cpu,
    }


def diabolo_log_p(ae: VariationalAutoencoder) -> Callable[[Tensor, int], Tensor]:
    """log p(x) over all pixels.

    A pixel that no training image sets is no part of the network: the model's nll charges log(n + 2) where it is set
    and nothing where it is not, so log((n + 2)/(n + 1)) is added there to make it a distribution.
    """
    model, generator = ae.model_, torch.Generator().manual_seed(1)
    constant = model.encoding.schema.positions("constant")
    n = model.encoding.n_train

    def log_p(x: Tensor, draws: int) -> Tensor:
        kept = (x[:, constant] == 0).sum(-1)
        return importance_weighted(model, model.encoding.encode(x), draws, generator) - kept * math.log(
            (n + 2) / (n + 1)
        )

    return log_p


# ── a whole recipe ────────────────────────────────────────────────────────────────────────────────


def recipe(name: str, options: argparse.Namespace) -> dict[str, Any]:
    train, test = images(options)
    settings = {**COMMON, **RECIPES[name]}
    if options.quick:
        settings.update(epochs=2, **({"bound_after": 1} if name == "iwae" else {}))
    print(f"\n{name}: {settings}", flush=True)
    ae = VariationalAutoencoder(**settings, verbose=1)
    with Clock() as clock:
        ae.fit(train)
    if options.save:
        ae.save(os.path.join(options.save, f"mnist_{name}.diabolo"))
    kept = max(e["epoch"] for e in ae.history_ if e["best"])
    print(
        f"  {ae.n_train_:,} training and {ae.n_stop_:,} stop rows, {len(ae.history_)} epochs, epoch {kept} kept: "
        f"{clock.wall:,.0f} s, {clock.cpu:,.0f} s of processor time = {clock.cpu / 60:.1f} core-minutes",
        flush=True,
    )
    found = estimate(diabolo_log_p(ae), test, options.draws)
    print(
        f"  test NLL {found['nll']:.2f} ± {found['standard_error']:.2f} nats over {len(test):,} images "
        f"({found['draws']:.0f} draws each, {found['cpu_seconds']:,.0f} s of processor time), "
        f"negative ELBO {found['neg_elbo']:.2f}"
    )
    reached = found["nll"] <= TARGETS[name] and clock.cpu <= 120 * 60
    print(f"  target ≤ {TARGETS[name]:g} within 120 core-minutes: {'reached' if reached else 'missed'}", flush=True)
    return {
        "settings": settings,
        "fit_seconds": clock.wall,
        "fit_cpu_seconds": clock.cpu,
        "kept": kept,
        "test": found,
        "history": ae.history_,
    }


# ── beside a plain loop ───────────────────────────────────────────────────────────────────────────


class Plain(nn.Module):
    """The same network and bound as anyone would write them in PyTorch."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = self._stack(PIXELS, *HIDDEN, 2 * LATENT)
        self.decoder = self._stack(LATENT, *HIDDEN[::-1], PIXELS)

    @staticmethod
    def _stack(*widths: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(inplace=True)]
            nn.init.normal_(layers[-2].weight, 0, math.sqrt(2 / a))
            nn.init.zeros_(layers[-2].bias)
        nn.init.normal_(layers[-2].weight, 0, math.sqrt(1 / widths[-2]))
        return nn.Sequential(*layers[:-1])

    def log_weights(self, x: Tensor, draws: int) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, -1)
        noise = torch.randn(draws, *mean.shape)
        z = mean + (0.5 * log_var).exp() * noise
        logits = self.decoder(z)
        log_x = -functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log_x + 0.5 * (noise.square() - z.square() + log_var).sum(-1)

    def log_p(self, x: Tensor, draws: int) -> Tensor:
        return self.log_weights(x, draws).logsumexp(0) - math.log(draws)

    def loss(self, x: Tensor, draws: int) -> Tensor:
        if draws > 1:
            return -self.log_p(x, draws).mean()
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        distance = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        return (distance + 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()) / len(x)


def fit_plain(train: Tensor, epochs: int, draws: int, seed: int) -> Plain:
    model, size = Plain(seed), COMMON["batch_size"]
    optimizer = torch.optim.Adam(model.parameters(), lr=COMMON["learning_rate"], fused=True)
    steps = epochs * math.ceil(len(train) / size)
    rise = min(100, max(1, steps // 50))  # diabolo's schedule
    for step in range(steps):
        if step * size % (math.ceil(len(train) / size) * size) == 0:
            order = torch.randperm(len(train)).split(size)
        factor = min(1.0, (step + 1) / rise) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = COMMON["learning_rate"] * factor
        loss = model.loss(torch.bernoulli(train[order[step % len(order)]]), draws)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), COMMON["clip_norm"])
        optimizer.step()
    return model


def beside(options: argparse.Namespace) -> dict[str, Any]:
    """Time per epoch, and NLL after as many epochs, of diabolo and the plain loop on the same rows."""
    train, _ = images(options)
    held, epochs, draws = train[-500:], 1 if options.quick else options.short, 100
    held = (np.random.default_rng(TEST_SEED).random(held.shape) < held).astype(np.float32)
    train = train[:-500]
    results: dict[str, Any] = {}
    for name, bound in (("elbo", {}), ("iwae", {"bound": "iwae", "draws": 5})):

        def diabolo(seed: int, bound: dict[str, Any] = bound) -> Measured:
            ae = VariationalAutoencoder(
                **{**COMMON, **bound, "epochs": epochs, "stop_fraction": 0.0, "random_state": seed}
            )
            with Clock() as clock:
                ae.fit(train)
            inside = sum(e["seconds"] for e in ae.history_)
            found = estimate(diabolo_log_p(ae), held, draws)
            return {**common.rate(len(train) * epochs, clock), "inside": inside / epochs, "nll": found["nll"]}

        def plain(seed: int, bound: dict[str, Any] = bound) -> Measured:
            with Clock() as clock:
                model = fit_plain(torch.from_numpy(train), epochs, int(bound.get("draws", 1)), seed)
            found = estimate(model.log_p, held, draws)
            return {**common.rate(len(train) * epochs, clock), "inside": clock.wall / epochs, "nll": found["nll"]}

        print(f"\n{name}, {len(train):,} rows, {epochs} epoch(s), held-out NLL of 500 training images ({draws} draws)")
        found = common.rounds({"diabolo": diabolo, "plain loop": plain}, options.pairs, warm_up=False)
        common.print_rates(found)
        common.print_ratio(found, "diabolo", "plain loop", 0.95)
        for rival, measured in found.items():
            print(f"  {rival:<12} NLL {common.spread(common.column(measured, 'nll'))}", flush=True)
        results[name] = found
    return results


def main() -> None:
    parser = common.parser(__doc__, pairs=3)
    parser.add_argument("--only", choices=(*RECIPES, "beside"), help="one of the three parts (default: all)")
    parser.add_argument("--draws", type=int, default=1000, help="importance samples per test image (default: 1000)")
    parser.add_argument("--short", type=int, default=2, help="epochs of the third part (default: 2)")
    parser.add_argument("--save", metavar="FOLDER", help="keep the fitted models there")
    options = parser.parse_args()
    common.data_path("mnist", "mnist.npz")
    options.draws = min(options.draws, 100) if options.quick else options.draws
    options.pairs = 1 if options.quick else options.pairs
    print(common.machine_line())
    results: dict[str, Any] = {}
    for part in (*RECIPES, "beside"):
        if options.only in (None, part):
            results[part] = beside(options) if part == "beside" else recipe(part, options)
    common.write_json(options.json, "mnist_nll", options, results)


if __name__ == "__main__":
    main()
