"""The least of many squared distances, row by row: by the bits of numbers on the processor, by `topk` on a card.

Both look first at the least of groups: of R distances the k least lie in as many groups at most, those of the least
minima, and in as many parts of these.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diabolo.device import on_cpu

__all__ = ["MEMBERS", "PARTS", "grouped", "mean_of_least", "partitioned", "without"]

#: Groups are looked through where one of their rows is near: first their parts, then the rows of these.
PARTS, MEMBERS = 4, 8


def without(squared: Tensor, own: Tensor) -> None:
    """Put each row's own place [B], −1 for none, at infinity in squared distances [B, R]."""
    if on_cpu(squared):
        kin = own >= 0
        squared[kin.nonzero()[:, 0], own[kin]] = torch.inf
        return
    at = own.clamp_min(0).unsqueeze(-1)
    gone = torch.where(own.unsqueeze(-1) >= 0, torch.inf, squared.gather(-1, at))
    squared.scatter_(-1, at, gone)


# ── on the processor ──────────────────────────────────────────────────────────────────────────────


def partitioned(squared: np.ndarray, groups: int, count: int) -> np.ndarray:
    """Positions of the `count` least of squared distances [B, ·] in so many groups, [B, count]."""
    if groups <= count:
        return _smallest(squared, count)
    parts = np.minimum.reduce(squared.reshape(-1, MEMBERS, PARTS * groups), axis=1)
    whole = np.minimum.reduce(parts.reshape(-1, PARTS, groups), axis=1)
    found = _among(parts, _smallest(whole, count), PARTS, groups, count)
    return _among(squared, found, MEMBERS, PARTS * groups, count)


def _among(squared: np.ndarray, groups: np.ndarray, size: int, stride: int, count: int) -> np.ndarray:
    """Positions [B, count] of the smallest squared distances [B, ·] in groups [B, ·] of so many, a stride apart."""
    groups = np.sort(groups, axis=1)  # a tie has one order
    members = (groups[..., None] + stride * np.arange(size)).reshape(len(groups), -1)
    row = np.arange(len(groups))[:, None]
    best = _smallest(squared.take(members + row * squared.shape[1]), count)
    return np.asarray(members.take(best + row * members.shape[1]))


def _smallest(squared: np.ndarray, count: int) -> np.ndarray:
    """Positions of the smallest squared distances [B, n], [B, count], equal ones told by position.

    A position takes the last bits of its distance, ⌈log₂ n⌉ of 23; of 256 distances they are told apart down to a
    relative 0.00003. So whole numbers are parted, without a branch, where the machine can.
    """
    last = (1 << (squared.shape[1] - 1).bit_length()) - 1
    keys = np.maximum(squared, 0.0).view(np.int32)
    keys &= ~last
    keys |= np.arange(squared.shape[1], dtype=np.int32)
    keys.partition(count - 1, axis=1)
    return np.asarray(keys[:, :count] & last, np.int64)


# ── on a card ─────────────────────────────────────────────────────────────────────────────────────


def grouped(squared: Tensor, groups: int, count: int) -> Tensor:
    """`partitioned` of a tensor, [B, count]; distances are compared by all their bits."""
    if groups <= count:
        return _least(squared, count)
    parts = squared.view(-1, MEMBERS, PARTS * groups).amin(1)
    found = _least(parts.view(-1, PARTS, groups).amin(1), count)
    found = _inside(parts, found, PARTS, groups, count)
    return _inside(squared, found, MEMBERS, PARTS * groups, count)


def _inside(squared: Tensor, groups: Tensor, size: int, stride: int, count: int) -> Tensor:
    """Positions [B, count] of the least squared distances [B, ·] in groups [B, ·] of so many, a stride apart."""
    members = (groups.unsqueeze(-1) + stride * torch.arange(size, device=groups.device)).flatten(1)
    return members.gather(-1, _least(squared.gather(-1, members), count))


def _least(squared: Tensor, count: int) -> Tensor:
    return squared.topk(count, dim=-1, largest=False, sorted=False).indices


# ── either ────────────────────────────────────────────────────────────────────────────────────────


def mean_of_least(distances: Tensor, count: int) -> Tensor:
    """Mean of the `count` least of distances [*, n], [*]; on the processor they are sorted in place."""
    if on_cpu(distances):
        found = distances.numpy()
        found.sort(axis=-1)
        return distances[..., :count].mean(-1)
    # Rising, so that the sum has one order.
    return distances.topk(count, dim=-1, largest=False, sorted=True).values.mean(-1)
