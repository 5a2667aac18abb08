"""ReMasker (Du, Melis, Wang, ICLR 2024, arXiv:2309.13793) as published, written here: cells filled in by a transformer.

Each cell is a token: its number, scaled to [0, 1], times a learned direction, and a fixed code of its column. In each
step half of the columns, drawn among the cells of a row that are there, goes through the encoder; the decoder sees
their tokens and one mask token in all other places, and gives every cell. The loss is the mean squared error of the
cells that were hidden on top of what is missing, plus that of the kept ones. To fill in, the encoder sees all there is.

Settings are the published code's: width 32, six and four layers of four heads, 600 epochs of batches of 64, AdamW at
1e-3 with 40 epochs of warming up and a cosine to 1e-5. `steps` caps the epochs, and the warming up with them. The
published code takes numbers alone; here the levels of a word are numbers 0 and 1 that are hidden together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

WIDTH, HEADS, ENCODER, DECODER, FEED_FORWARD = 32, 4, 6, 4, 4
EPOCHS, WARM_UP, BATCH, RATE, LOWEST = 600, 40, 64, 1e-3, 1e-5
KEPT = 0.5


def places(count: int) -> torch.Tensor:
    """Sines and cosines of each column's position, [1 + count, WIDTH], zeros for the token of the row."""
    omega = 1 / 10_000 ** (torch.arange(WIDTH // 2) / (WIDTH / 2))
    angle = torch.arange(count)[:, None] * omega
    return torch.cat([torch.zeros(1, WIDTH), torch.cat([angle.sin(), angle.cos()], 1)])


def layers(depth: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            WIDTH, HEADS, FEED_FORWARD * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(depth)
    )


class Network(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.embed, self.between, self.out = nn.Linear(1, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)
        self.encoder, self.decoder = layers(ENCODER), layers(DECODER)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.row, self.hidden = nn.Parameter(torch.zeros(1, 1, WIDTH)), nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.register_buffer("place", places(columns))
        for name, value in self.named_parameters():
            if value.dim() == 2:
                nn.init.xavier_uniform_(value)
            elif name.endswith("bias"):
                nn.init.zeros_(value)
        for token in (self.row, self.hidden):
            nn.init.normal_(token, std=0.02)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """[n, C] of rows of which the encoder sees the cells `seen`, [n, C] bool."""
        tokens = self.embed(x[..., None]) + self.place[1:]
        z = torch.cat([self.row.expand(len(x), -1, -1), tokens], 1)
        # What is not seen is no key of the encoder's attention: the same as leaving its token out.
        blind = torch.cat([torch.zeros(len(x), 1, dtype=torch.bool), ~seen], 1)
        for layer in self.encoder:
            z = layer(z, src_key_padding_mask=blind)
        z = self.between(self.norms[0](z))
        z = torch.where(blind[..., None], self.hidden, z) + self.place
        for layer in self.decoder:
            z = layer(z)
        return torch.tanh(self.out(self.norms[1](z)[:, 1:, :]))[..., 0] / 2 + 0.5


def kept(there: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Half of the columns of the table, drawn among those of each row that are there; `group` has each one's own."""
    chance = torch.rand(len(there), int(group.max()) + 1)[:, group].masked_fill(~there, 2.0)
    first = torch.cat([torch.ones(1, dtype=torch.bool), group[1:] != group[:-1]])
    order = chance[:, first].argsort(1).argsort(1)
    return (order < int(order.shape[1] * KEPT))[:, group] & there


def rate_at(step: int, steps: int, warm: int) -> float:
    """The learning rate's share: a line up, then a half cosine down."""
    if step < warm:
        return step / warm
    low = LOWEST / RATE
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def fit(x: torch.Tensor, there: torch.Tensor, group: torch.Tensor, seed: int, steps: int | None) -> Network:
    """A network of rows x, [n, C] in [0, 1], after 600 epochs or `steps` steps."""
    torch.manual_seed(seed)
    network = Network(x.shape[1])
    each = math.ceil(len(x) / BATCH)
    total = EPOCHS * each if steps is None else min(EPOCHS * each, steps)
    warm = max(1, total * WARM_UP // EPOCHS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: rate_at(k, total, warm))
    order = torch.empty(0, dtype=torch.long)
    for _ in range(total):
        if not len(order):
            order = torch.randperm(len(x))
        rows, order = order[:BATCH], order[BATCH:]
        here, seen = there[rows], kept(there[rows], group)
        error = (network(x[rows], seen) - x[rows]).square()
        hidden = here & ~seen
        loss = (error * hidden).sum() / hidden.sum().clamp(min=1) + (error * seen).sum() / seen.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def filled(train: np.ndarray, test: np.ndarray, group: np.ndarray, seed: int, steps: int | None = None) -> np.ndarray:
    """`test`, [n, C] with NaN where missing, filled in by what was learnt from `train`; `group`: 0, 0, 1, 2, 2, ..."""
    low, high = np.nanmin(train, axis=0), np.nanmax(train, axis=0)
    scale = high - low + 1e-8

    def scaled(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy((values - low) / scale).float()
        return x.nan_to_num(), ~x.isnan()

    network = fit(*scaled(train), torch.from_numpy(group), seed, steps)
    with torch.inference_mode():
        x, there = scaled(test)
        parts = [network(a, b) for a, b in zip(x.split(1000), there.split(1000), strict=True)]
    guess = torch.cat(parts).double().numpy() * scale + low
    return np.where(np.isnan(test), guess, test)
