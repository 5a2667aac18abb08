"""Nearest stored rows, exactly: in input space, in the latent space, and in that of residuals.

Every space is a Euclidean one, so the distance between rows is that between their places (`SPACES`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from diabolo.data.encoding import SCALED, Encoded
from diabolo.data.tiles import padded
from diabolo.detect.reference import Reference
from diabolo.device import Movable, on_cpu
from diabolo.model.autoencoder import Model

__all__ = ["SPACES", "Nearest", "nearest_rows"]

#: Rows compared at once with all stored ones: 32 × 20,000 distances stay near the core that has computed them.
BLOCK = 32
#: Those that a card compares at once.
WIDE_BLOCK = 2_048
#: Size of the groups in which stored rows are searched; the first look is at the nearest row of each.
GROUP = 32
#: Candidates beyond those asked for; single precision chooses them, double precision decides.
SPARE = 4
#: Where single precision could have missed a nearer row by more than this share of d², the row is done in double.
TOLERANCE = 1e-6
#: Smallest spread of a column's residual, in standardised units: a rounding error is no distance.
RESIDUAL_FLOOR = 1e-2


class Nearest(Movable):
    """Finds the nearest of R points [R, d] in constant memory; a query's answer does not depend on other queries."""

    def __init__(self, points: Tensor) -> None:
        points = points.double()
        self.mean = points.mean(0)
        self.points = points - self.mean
        rows = len(points)
        self.stride = -(-rows // GROUP)
        pad = self.stride * GROUP - rows
        half = 0.5 * self.points.square().sum(-1, keepdim=True)
        # One more row, so that the product with (−q, 1) is ½|p|² − p·q; padding of the groups is infinitely far.
        wide = torch.cat([self.points, half], dim=-1)
        wide = torch.nn.functional.pad(wide, (0, 0, 0, pad))
        wide[rows:, -1] = torch.inf
        self._double, self._single = wide.T.contiguous(), wide.float().T.contiguous()
        self._reach = float(self.points.square().sum(-1).max().sqrt())
        # A rounded sum of products is off by some √d ε of its largest terms; four times that is never seen.
        self._error = 4 * float(torch.finfo(torch.float32).eps) * max(1, points.shape[1]) ** 0.5

    def __len__(self) -> int:
        return len(self.points)

    def query(self, queries: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The k nearest points of each query.

        Args:
            queries: [B, d].
            k: neighbors; at most one fewer than there are points.
            own: [B] int64, the position of the query itself among the points, which does not count; −1 for none.

        Returns:
            distances [B, k] float64, rising; positions [B, k] int64.
        """
        k = min(k, max(1, len(self) - 1))
        own = torch.full((len(queries),), -1, device=queries.device) if own is None else own
        size = BLOCK if on_cpu(queries) else WIDE_BLOCK
        blocks = [slice(start, start + size) for start in range(0, len(queries), size)]
        memory = self._single.new_empty(BLOCK, self._single.shape[1])
        parts = [self._block(queries[block], k, own[block], memory) for block in blocks]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _block(self, queries: Tensor, k: int, own: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        q = queries.double() - self.mean
        count = min(k + 1 + SPARE, len(self))
        if not on_cpu(q):
            # Which rows single precision may have got wrong a card would have to say; so all are done in double.
            at = _smallest(q, self._double, self.stride, count)[1]
            return _first(_without_own(self._exact(q, at), at, own), at, k)
        half, at = _smallest(q.float(), self._single, self.stride, count, memory[: len(q)])
        square = self._exact(q, at)
        if count < len(self):
            size = q.square().sum(-1)
            # No point that was passed over lies nearer than this.
            off = self._error * self._reach * (size.sqrt() + self._reach)
            least = (2 * (half[:, -1].double() - off) + size).clamp_min(0)
            last = square.sort(-1).values[:, min(k, count - 1)]
            unsure = ((last - least > TOLERANCE * last) | ~torch.isfinite(half[:, -1])).nonzero()[:, 0]
            if len(unsure):
                # Padded, so that the shape of the product does not depend on how many there are.
                some = torch.cat([q[unsure], q.new_zeros(BLOCK - len(unsure), q.shape[1])])
                at[unsure] = _smallest(some, self._double, self.stride, count)[1][: len(unsure)]
                square[unsure] = self._exact(q[unsure], at[unsure])
        return _first(_without_own(square, at, own), at, k)

    def _exact(self, q: Tensor, at: Tensor) -> Tensor:
        """Squared distances [B, count] by differences, free of cancellation."""
        near = self.points.index_select(0, at.flatten()).reshape(*at.shape, -1)
        return (near - q.unsqueeze(1)).square_().sum(-1)


def _first(square: Tensor, at: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and positions [B, k] of the nearest, by squared distances [B, count] at positions [B, count]."""
    order = square.argsort(dim=-1, stable=True)[:, :k]
    return square.gather(-1, order).sqrt(), at.gather(-1, order)


def _smallest(
    q: Tensor, points: Tensor, stride: int, count: int, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """½|p|² − p·q of the `count` points where it is smallest, and their positions, both [B, count].

    Those points lie in the `count` groups whose smallest ones are smallest. A group's points lie `stride` apart, so
    that one pass along memory compares all groups.
    """
    all_of_them = torch.mm(torch.cat([-q, q.new_ones(len(q), 1)], dim=-1), points, out=memory)
    if stride <= 2 * count:
        value, at = all_of_them.topk(count, dim=-1, largest=False)
        return value, at
    least = all_of_them.view(len(q), GROUP, stride).amin(1)
    groups = least.topk(count, dim=-1, largest=False, sorted=False).indices
    members = (groups.unsqueeze(-1) + stride * torch.arange(GROUP, device=q.device)).flatten(1)
    value, chosen = all_of_them.gather(-1, members).topk(count, dim=-1, largest=False)
    return value, members.gather(-1, chosen)


def _without_own(square: Tensor, at: Tensor, own: Tensor) -> Tensor:
    """The row's own point at infinity; where ties have pushed it out, another point of the same place."""
    mine = at == own.unsqueeze(-1)
    lost = (own >= 0) & ~mine.any(-1)
    if not on_cpu(lost) or bool(lost.any()):
        first = torch.zeros_like(mine).scatter_(-1, square.argmin(-1, keepdim=True), True)
        mine = mine | (first & lost.unsqueeze(-1))
    return torch.where(mine, torch.inf, square)


# ── the spaces ────────────────────────────────────────────────────────────────────────────────────


def input_places(model: Model, rows: Encoded) -> Tensor:
    """Places of rows in input space, [B, D + 1], where each column counts once.

    d² is a sum over columns: (x − y)² of standardised numbers (2 on average between two independent rows),
    2 − 2 cos(φ − φ') of angles (2 on average if uniform), and 2 where booleans, categories, the presence of a slot or
    the absence of a cell differ. An absent cell enters as its column's mean. The last place counts facts that no
    training row had, at 2 each: a gap in a column without gaps, a constant that changed, an unknown level.
    """
    encoding = model.encoding
    scale = model.fixed("input scale", rows.x.device, lambda: _input_scale(model))
    odd = rows.x.new_zeros(len(rows), 1)
    if rows.changed is not None:
        odd += rows.changed.sum(-1, keepdim=True)
    if rows.missing is not None:
        full = [c for c in encoding.cells if c not in set(encoding.nullable)]
        odd += rows.missing[:, encoding.at(full, odd.device)].sum(-1, keepdim=True)
    return torch.cat([rows.x * scale, (2 * odd).sqrt()], dim=-1)


def _input_scale(model: Model) -> Tensor:
    """The factor of each input in `input_places`, [D]."""
    scale = torch.ones(model.encoding.width)
    for block in model.encoding.blocks:
        if block.kind in ("boolean", "slots", "missing"):
            scale[block.start : block.stop] = 2**0.5
    return scale


def latent_places(model: Model, rows: Encoded) -> Tensor:
    """Codes [*lead, B, K], the posterior means, in units of the training codes' root mean square spread √(tr Σ / K).

    One unit for all of them leaves a dimension that a VAE has shut down mute, and principal axes in their proportions.
    """
    variance = model.buffers["latent_cov"].diagonal(dim1=-2, dim2=-1).mean(-1)
    return model.posterior(rows).mean / variance.sqrt().clamp_min(1e-6)[..., None, None]


def residual_places(model: Model, rows: Encoded) -> Tensor:
    """Residuals [*lead, B, C], each in units of its column's typical one, which stop rows have.

    The size is the root of the column's squared error, as in `mse`; the sign is that of x − x̂ for numbers, booleans and
    (of the sine of the difference) angles.
    """
    rows = dataclasses.replace(rows, memory=None)  # theta is read twice
    theta = model.decode(model.posterior(rows).mean)
    typical = model.buffers["typical_squared_error"].clamp_min(RESIDUAL_FLOOR**2).unsqueeze(-2)
    size = (model.column_squared_error(theta, rows).clamp_min(0) / typical).sqrt()
    sign = torch.ones_like(size)
    for head in model.heads:
        x, part = head.inputs(rows.x), theta[..., head.start : head.stop]
        if head.block.kind in (*SCALED, "boolean"):
            side = x - head.likelihood.mean(part, head.units)
        elif head.block.kind == "angle":
            cos, sin = x.chunk(2, dim=-1)
            side = (torch.atan2(sin, cos) - head.likelihood.mean(part, head.units)).sin()
        else:
            continue
        sign[..., model.encoding.at(list(head.block.columns), sign.device)] = torch.where(side < 0, -1.0, 1.0)
    return size * sign


#: Name of a space → places [*lead, B, d] of unclipped rows.
SPACES: dict[str, Callable[[Model, Encoded], Tensor]] = {
    "input": input_places,
    "latent": latent_places,
    "residual": residual_places,
}


def _index(reference: Reference, space: str) -> list[Nearest]:
    """The stored rows in a space, one index per leading axis, made once."""
    if space not in reference.derived and reference.stored is not None:
        values, model, parts = reference.stored.values, reference.model, []
        for part, tile in padded(values):  # in the shape of queries, so that a row and its copy have the same place
            rows = model.encoding.encode(tile.to(model.device))
            parts.append(SPACES[space](model, rows)[..., : part.stop - part.start, :])
        places = torch.cat(parts, dim=-2)
        reference.derived[space] = [Nearest(p) for p in places.reshape(-1, *places.shape[-2:])]
    index: list[Nearest] = reference.derived[space]
    return index


def nearest_rows(reference: Reference, rows: Encoded, space: str, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest stored rows of each of B unclipped rows; a stored row does not count as its own neighbor.

    Args:
        reference: has stored rows.
        rows: with `own` set where they may be stored themselves.
        space: a name of `SPACES`.
        k: neighbors; fewer come if fewer are stored.

    Returns:
        distances [*lead, B, k] float64, rising; positions among the stored rows [*lead, B, k] int64.
    """
    places = SPACES[space](reference.model, rows)
    index, lead = _index(reference, space), places.shape[:-2]
    found = [i.query(q, k, rows.own) for i, q in zip(index, places.reshape(-1, *places.shape[-2:]), strict=True)]
    distance, at = (torch.stack(parts).reshape(*lead, len(rows), -1) for parts in zip(*found, strict=True))
    return distance, at
