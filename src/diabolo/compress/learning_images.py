"""Fits the autoencoder of images on a sample of pixels, and rounds it to whole numbers.

The loss is −ELBO. Pixels whose neighbours are all zero teach little: they are drawn more rarely and weigh more, so that
its mean stays the same. In the last part weights and activations are rounded going forward, and gradients pass them by
(Bengio et al. 2013, arXiv:1308.3432).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diabolo.compress.bytesio import pack
from diabolo.compress.curves import CELL
from diabolo.compress.image_model import HEAD_WEIGHT, LEVELS, ImageModel, Sizes
from diabolo.compress.images import encode_images
from diabolo.compress.pixels import by_column

__all__ = ["Training", "fit_images", "prepared", "sizes_of"]

F = torch.nn.functional
#: Most pixels that a pixel sees; pixels of all images from which networks are large.
MOST_SEEN, LARGE = 112, 10_000_000
BATCH, RATE = 128, 3e-3
NEAR, FAR = 0.15, 0.03
#: Share of the steps in which the KL's weight rises to one (Bowman et al. 2016, arXiv:1511.06349), so that latents are
#: in use before neighbours make them seem needless; and share after which numbers are rounded.
WARM, EXACT_FROM = 0.3, 0.7
WEIGHT, ACT, TOP = 64, 64, 511 / 64
#: Grey levels as an input: one is 64 of them. Widths of levels add up to eight; 2¹¹ each.
INPUT, LINE, UNIT = 64, 8.0, 1 << 11
LEAST = 2.0**-14
#: Fewer images teach less than the networks' bytes cost. Epochs, but no more steps than that.
FEWEST, EPOCHS, MOST_STEPS = 500, 40, 2_400
#: Images held out, to see what the networks gain.
HELD = 300
DEEPEST, DEEPEST_LATENT = 10.0, 310 / 64


def sizes_of(shape: tuple[int, ...], n: int) -> Sizes:
    """Sizes for n images [h, w] or [h, w, channels]; networks are small where few images would pay for their bytes."""
    rows, columns, channels = shape[0], int(np.prod(shape[1:])), int(np.prod(shape[2:]))
    reach = next(r for r in range(5, 0, -1) if r * (2 * r * channels + 1) + r * channels <= MOST_SEEN or r == 1)
    up, aside = min(reach, rows - 1), min(reach * channels, columns - 1)
    widths = (16, 4, 8, 96, 64, 64, 64, 5) if n * rows * columns >= LARGE else (8, 4, 4, 32, 32, 32, 32, 4)
    return Sizes(rows, columns, up, aside, *widths)


def _rounded(w: Tensor, unit: int) -> Tensor:
    return w + (torch.round(w * unit) / unit - w).detach()


class Training:
    """Weights in training.

    Args:
        sizes: of the networks.
        images: [n, pixels] uint8.
        steps: optimizer steps in all.
        seed: of weights, batches and draws.
    """

    def __init__(self, sizes: Sizes, images: np.ndarray, steps: int, seed: int) -> None:
        self.sizes, self.images, self.steps, self.step = sizes, images, steps, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.levels = _levels(images)
        edges = np.concatenate([[0], np.cumsum(self.levels)]) / UNIT
        self.edges = torch.tensor(edges, dtype=torch.float32)
        self.weights = self._start()
        parameters = list(self.weights.values())
        self.optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, RATE, total_steps=steps + 1, pct_start=min(0.1, max(2 / steps, 0.01))
        )
        s = sizes
        width = s.columns + 2 * s.aside
        i = torch.arange(s.pixels)
        self.row, self.column = i // s.columns, i % s.columns
        self.place = (self.row + s.up) * width + self.column + s.aside
        self.cell = self.row // s.cell * s.grid[1] + self.column // s.cell
        self.offsets = torch.tensor([dy * width + dx for dy, dx in s.offsets], dtype=torch.int64)

    def _start(self) -> dict[str, Tensor]:
        gains = {"e2": 0.3, "d2": 1.0, "head": 0.3}
        out = {}
        for name, shape in self.sizes.shapes.items():
            if name == "levels":
                continue
            if name.endswith("_b") or name in ("row", "column"):
                out[name] = torch.zeros(shape)
            else:
                scale = gains.get(name, 1.4) / max(shape[1], 1) ** 0.5
                out[name] = torch.randn(shape, generator=self.generator) * scale
        m, k = self.sizes.mixture, self.sizes.latents
        out["head"][:, self.sizes.second :] = 0
        out["head_b"][m : 2 * m] = torch.linspace(0, LINE, m)
        out["head_b"][2 * m :] = math.log(UNIT / 4 / 4)
        if k:
            out["e2_b"][k:] = math.log(LEVELS / CELL / 2)
        return {name: w.requires_grad_() for name, w in out.items()}

    # ── the loss ──────────────────────────────────────────────────────────────────────────────────

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(which pixels of a batch [B, h, w], their weights)."""
        s = self.sizes
        shown = F.pad((x > 0).float()[:, None], (s.aside, s.aside, s.up, 0))
        near = F.max_pool2d(shown, (s.up + 1, 2 * s.aside + 1), 1).reshape(len(x), -1) > 0
        share = torch.where(near, NEAR, FAR)
        which = (torch.rand(share.shape, generator=self.generator) < share).reshape(-1).nonzero()[:, 0]
        return which, 1 / share.reshape(-1)[which]

    def _loss(self, x: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        """(−log p(x|z) over a sample of pixels, KL), nats summed over a batch [B, h, w] of grey levels."""
        w, s = self.weights, self.sizes
        if exact:
            w = {k: _rounded(v, HEAD_WEIGHT if k.startswith("head") else WEIGHT) for k, v in w.items()}

        def active(h: Tensor) -> Tensor:
            h = h.clamp(0, TOP)
            return h + (torch.floor(h * ACT) / ACT - h).detach() if exact else h

        which, weight = self._select(x)
        image, i = which // s.pixels, which % s.pixels
        padded = F.pad(x, (s.aside, s.aside, s.up, 0)).reshape(len(x), -1) / INPUT
        near = padded.take((image * padded.shape[1] + self.place[i])[:, None] + self.offsets)
        p1 = w["p1"]
        h = near @ p1[:, : near.shape[1]].T + w["p1_b"]
        h = h + w["row"].index_select(0, self.row[i]) + w["column"].index_select(0, self.column[i])
        kl = torch.zeros(())
        if s.latents:
            pooled = F.pad(x, (0, s.columns % 2, 0, s.rows % 2))
            pooled = F.avg_pool2d(pooled[:, None], 2).flatten(1) / INPUT
            mu, tau = (active(pooled @ w["e1"].T + w["e1_b"]) @ w["e2"].T + w["e2_b"]).chunk(2, 1)
            sigma = tau.clamp(0, DEEPEST_LATENT).exp() * (CELL * 2 / LEVELS)
            kl = 0.5 * (mu.square() + sigma.square() - 1 - 2 * sigma.log()).sum()
            z = mu + sigma * torch.randn(mu.shape, generator=self.generator)
            features = active(active(z @ w["d1"].T + w["d1_b"]) @ w["d2"].T + w["d2_b"])
            features = features.reshape(-1, s.features) @ p1[:, near.shape[1] :].T
            h = h + features.index_select(0, image * (s.grid[0] * s.grid[1]) + self.cell[i])
        h = active(active(h) @ w["p2"].T + w["p2_b"])
        out = h @ w["head"][:, : s.second].T + near @ w["head"][:, s.second :].T + w["head_b"]
        nats = self._nats(out, x.reshape(-1)[which].long())
        return (nats * weight).sum(), kl

    def _nats(self, out: Tensor, value: Tensor) -> Tensor:
        """−log p of grey levels [n] under mixtures [n, 3M]."""
        logits, centers, t = out.chunk(3, 1)
        steep = (-t.clamp(0, DEEPEST)).exp() * (UNIT / 4)
        upper = torch.sigmoid((self.edges[value + 1][:, None] - centers) * steep)
        lower = torch.sigmoid((self.edges[value][:, None] - centers) * steep)
        upper = torch.where(value[:, None] == LEVELS - 1, torch.ones(()), upper)
        lower = torch.where(value[:, None] == 0, torch.zeros(()), lower)
        share = (logits.softmax(1) * (upper - lower)).sum(1)
        return -(share * (1 - LEAST) + LEAST / LEVELS).log()

    # ── training ──────────────────────────────────────────────────────────────────────────────────

    def run(self, report: Callable[[int, float, float], None] | None = None, until: int | None = None) -> None:
        """Train to the end, or until a step; `report` gets the step, bits per pixel, and KL's among them."""
        s, n = self.sizes, len(self.images)
        batch, parameters = min(BATCH, n), list(self.weights.values())
        per_epoch, order, epoch = -(-n // batch), torch.empty(0), -1
        while self.step < min(self.steps, until or self.steps):
            if self.step // per_epoch != epoch:
                epoch = self.step // per_epoch
                order = torch.randperm(n, generator=torch.Generator().manual_seed(epoch))
            at = self.step % per_epoch * batch
            rows = self.images[np.sort(order[at : at + batch].numpy())]
            x = torch.from_numpy(rows.astype(np.float32)).reshape(-1, s.rows, s.columns)
            nats, kl = self._loss(x, self.step >= EXACT_FROM * self.steps)
            loss = (nats + kl * min(1.0, self.step / (WARM * self.steps))) / (len(x) * s.pixels)
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            if report:
                bits = 1 / (len(x) * s.pixels * math.log(2))
                report(self.step, (nats.item() + kl.item()) * bits, kl.item() * bits)

    def model(self) -> ImageModel:
        """The model of the weights so far."""
        whole = {
            k: np.rint(v.detach().double().numpy() * (HEAD_WEIGHT if k.startswith("head") else WEIGHT)).astype(np.int64)
            for k, v in self.weights.items()
        }
        return ImageModel(self.sizes, whole | {"levels": self.levels})

    def state(self) -> dict[str, Any]:
        """What `resume` needs."""
        return {
            "weights": {k: v.detach() for k, v in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
        }

    def resume(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for k, v in self.weights.items():
                v.copy_(state["weights"][k])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]


def _levels(images: np.ndarray) -> np.ndarray:
    """Widths of grey levels, the root of how often each occurs; 2¹¹ of them for each of eight."""
    counts = np.bincount(images.reshape(-1), minlength=LEVELS)
    width = np.sqrt(counts / max(images.size, 1) + 1e-5)
    return np.asarray(np.maximum(1, np.rint(width * (LINE * UNIT / width.sum()))).astype(np.int64))


def prepared(
    images: np.ndarray, shape: tuple[int, ...], seed: int, epochs: int | None = None
) -> tuple[Training, np.ndarray] | None:
    """A training of images, and those held out; None where there are too few."""
    if len(images) < FEWEST or min(shape[:2]) < 2:
        return None
    held = np.random.default_rng(seed).permutation(len(images)) < min(HELD, len(images) // 10)
    train = images[~held]
    steps = math.ceil((epochs or EPOCHS) * len(train) / BATCH)
    steps = steps if epochs else min(steps, MOST_STEPS)
    return Training(sizes_of(shape, len(train)), train, steps, seed), images[held]


def fit_images(
    images: np.ndarray,
    shape: tuple[int, ...],
    seed: int,
    epochs: int | None = None,
    report: Callable[[int, float, float], None] | None = None,
) -> ImageModel | None:
    """The autoencoder of training images; None where its gain is not worth its bytes.

    Args:
        images: [n, pixels] uint8.
        shape: [h, w] or [h, w, channels].
        seed: of initial weights, batches and draws.
        epochs: passes over the images; None: 40, and at most 2,400 steps of 128 images.
        report: gets the step, and of its batch bits per pixel in all and of the KL.
    """
    ready = prepared(images, shape, seed, epochs)
    if ready is None:
        return None
    training, held = ready
    training.run(report)
    model = training.model()
    bits = encode_images(model, held)[1].total
    simple = min(8.0 * len(pack(held.tobytes())), by_column(images) * len(held) / len(images))
    worth = (simple - bits) / len(held) * len(images)
    return model if worth > 8 * len(model.to_bytes()) else None
