"""Training speed of a convolutional VAE on images of 28 × 28 beside the same layers in a plain PyTorch loop.

Rows stepped on per second of the whole `fit` call, which also checks, splits, hashes, validates and describes,
against a hand-written loop over a `torch.nn.Module` that is handed training rows and does nothing but step. Equal
layers (two stages of kernel 4 and stride 2, an affine map to and from the code), equal loss (Bernoulli, KL), rows
and batch. The images are black bars on white, so no data set is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import common
import numpy as np
import torch
from common import Clock, Measured
from torch import nn
from torch.nn import functional

from diabolo import VariationalAutoencoder

SIDE, LATENT, SLOPE = 28, 16, 0.1


def bars(rows: int, seed: int = 0) -> np.ndarray:
    """[rows, 28, 28] bool: up to three rows and columns of each image are set."""
    g = np.random.default_rng(seed)
    on = g.random((rows, 2, SIDE)) < 0.06
    return on[:, 0, :, None] | on[:, 1, None, :]


class Plain(nn.Module):
    """The layers as anyone would write them."""

    def __init__(self, hidden: tuple[int, int]) -> None:
        super().__init__()
        a, b = hidden
        self.encoder = nn.Sequential(
            nn.Conv2d(1, a, 4, 2, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(a, b, 4, 2, 1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(b * 49, 2 * LATENT),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, b * 49),
            nn.LeakyReLU(SLOPE),
            nn.Unflatten(1, (b, 7, 7)),
            nn.ConvTranspose2d(b, a, 4, 2, 1),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(a, 1, 4, 2, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        distance = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
        return (distance + kl) / len(x)


def diabolo_rival(x: np.ndarray, batch: int, epochs: int, hidden: tuple[int, int]) -> Callable[[int], Measured]:
    def run(i: int) -> Measured:
        network = {"name": "conv", "kernel": 4, "slope": SLOPE}
        vae = VariationalAutoencoder(
            network=network,
            hidden=hidden,
            latent_dim=LATENT,
            batch_size=batch,
            epochs=epochs,
            patience=10**6,
            random_state=i,
        )
        with Clock() as clock:
            vae.fit(x)
        rows = sum(epoch["rows"] for epoch in vae.history_)
        training = sum(epoch["seconds"] for epoch in vae.history_)
        return {**common.rate(rows, clock), "training_rows_per_s": rows / training}

    return run


def plain_rival(
    x: np.ndarray, batch: int, epochs: int, hidden: tuple[int, int], fused: bool = False, last: bool = False
) -> Callable[[int], Measured]:
    layout = torch.channels_last if last else torch.contiguous_format
    data = torch.from_numpy(x).float()[:, None].contiguous(memory_format=layout)

    def run(i: int) -> Measured:
        torch.manual_seed(i)
        net = Plain(hidden).to(memory_format=layout)
        optimizer = torch.optim.Adam(net.parameters(), **({"fused": True} if fused else {}))
        with Clock() as clock:
            for _ in range(epochs):
                order = torch.randperm(len(data))
                for start in range(0, len(data), batch):
                    loss = net(data[order[start : start + batch]])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        return common.rate(epochs * len(data), clock)

    return run


def main() -> None:
    parser = common.parser(__doc__, pairs=5)
    parser.add_argument("--hidden", default="16,32", help="channels of the two stages (default: 16,32)")
    parser.add_argument("--batches", default="128,512", help="batch sizes (default: 128,512)")
    options = parser.parse_args()
    options.pairs = min(options.pairs, 2) if options.quick else options.pairs
    rows, epochs = (1_024, 1) if options.quick else (8_192, 2)
    first, second = (int(width) for width in options.hidden.split(","))
    hidden = (first, second)
    print(common.machine_line())
    results = {}
    x = bars(rows)
    trained = rows - rows // 10  # what diabolo leaves after its stop rows
    for batch in (int(b) for b in options.batches.split(",")):
        print(
            f"\nconvolutional VAE, batch {batch}: {rows:,} images of which {trained:,} are stepped on, {epochs} epochs"
        )
        rivals = {
            "diabolo": diabolo_rival(x, batch, epochs, hidden),
            "plain loop": plain_rival(x[:trained], batch, epochs, hidden),
            "plain loop, channels last": plain_rival(x[:trained], batch, epochs, hidden, last=True),
            "plain loop, fused Adam": plain_rival(x[:trained], batch, epochs, hidden, fused=True),
        }
        found = results[batch] = common.rounds(rivals, options.pairs)
        common.print_rates(found)
        inside = [{"rows_per_s": m["training_rows_per_s"]} for m in found["diabolo"]]
        found["diabolo, within its epochs"] = inside
        common.print_rates({"diabolo, within its epochs": inside})
        for name in ("diabolo", "diabolo, within its epochs"):
            for rival in list(rivals)[1:]:
                common.print_ratio(found, name, rival)
    common.write_json(options.json, "conv", options, results)


if __name__ == "__main__":
    sys.exit(main())
