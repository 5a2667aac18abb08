"""Fits the masked autoencoder on integers of training rows, and rounds it to whole numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch

from diabolo.compress.context import Context
from diabolo.compress.masked import Family, Group, Masked
from diabolo.compress.network import COSINE, LEAST, MOST, MOST_HIDDEN, ONE, SQUARINGS, STEPS, TURN, Network, basis
from diabolo.compress.plan import Plan
from diabolo.data.schema import ANGLE_NAME

__all__ = ["fit_masked"]

BINS, ANGLE_BINS = 96, 64
#: Hidden units and coefficients that are tried: what a large network gains more, its bytes may outweigh.
SIZES = ((8, 8), (24, 16))
#: Fewer values than this teach a network less than its own bytes cost.
FEWEST = 1_000
MOST_SPAN = 1 << 17
EPOCHS, BATCH, RATE = 16, 1024, 8e-3
STOP_SHARE = 0.1
#: Nats for a weight of size one: about what its digits cost.
THRIFT = 1.0
POWER = 1 << SQUARINGS


def fit_masked(
    plan: Plan,
    cells: dict[int, tuple[np.ndarray, np.ndarray]],
    rows: int,
    seed: int,
    report: Callable[[str], None] | None = None,
) -> Masked | None:
    """The masked autoencoder of training rows; None where no column's gain is worth its bytes.

    Args:
        plan: grids and slots.
        cells: integers [n] and which rows have one [n], by column.
        rows: n.
        seed: of initial weights and of the order of rows.
    """
    groups = _groups(plan, cells)
    families = [[_family(group, f, cells) for f in range(len(group.items[0]))] for group in groups]
    if not groups:
        return None
    masked = Masked(groups, families, plan.grids)
    generator = torch.Generator().manual_seed(seed)
    context = Context(masked, rows, {c: cells[c][1] for slot in plan.slots for c in slot if c in cells})
    examples: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for column in masked.order:
        full, there = cells[column]
        present = np.flatnonzero(there)
        g, _, f = masked.place[column]
        x, bins = (
            context.inputs(column, present, None),
            masked.placed(column, full[present], context.reference[present])[1],
        )
        examples.setdefault((g, f), []).append((x[:-1].T, bins))
        context.learn(column, present, full[present])
    worth = False
    for (g, f), parts in examples.items():
        x, bins = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        family = families[g][f]
        if len(bins) >= FEWEST:
            gain = _fit(family, x, bins, generator)
            worth |= family.network is not None
            if report:
                report(f"{plan.schema.field(groups[g].items[0][f]).name}: {len(bins):,} values, gain {gain:.3f} bits")
    return masked if worth else None


def _groups(plan: Plan, cells: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[Group]:
    """Slots of one kind together, then what else belongs together by its name, then single columns."""
    names = plan.schema.names
    usable = {c for c, (index, there) in cells.items() if there.any() and 0 < int(np.ptp(index[there])) < MOST_SPAN}
    by_kind: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for slot in plan.slots:
        if all(c in usable or not cells[c][1].any() for c in slot if c in cells) and all(c in cells for c in slot):
            by_kind.setdefault(tuple(re.sub(r"\d+", "#", names[c], count=1) for c in slot), []).append(tuple(slot))
    groups = [(tuple(items), True) for items in by_kind.values() if any(c in usable for c in items[0])]
    taken = {c for slot in plan.slots for c in slot}
    rest: dict[str, list[int]] = {}
    for c in sorted(usable - taken):
        rest.setdefault(names[c].rpartition("_")[0] or names[c], []).append(c)
    for columns in rest.values():
        angles = [c for c in columns if ANGLE_NAME.search(names[c])]
        together = len(angles) == 1 and len(columns) <= 4
        groups += [((tuple(columns),), False)] if together else [(((c,),), False) for c in columns]
    return [_group(plan, items, slots, cells) for items, slots in groups]


def _group(
    plan: Plan, items: tuple[tuple[int, ...], ...], slots: bool, cells: dict[int, tuple[np.ndarray, np.ndarray]]
) -> Group:
    names = [plan.schema.names[c] for c in items[0]]
    angle = next((f for f, n in enumerate(names) if ANGLE_NAME.search(n) and _turns(plan, items[0][f], cells)), -1)
    length = next((f for f, n in enumerate(names) if re.search(r"(^|_)(pt|et|met)$", n, re.IGNORECASE)), -1)
    return Group(items, angle, length if angle >= 0 else -1, slots)


def _turns(plan: Plan, column: int, cells: dict[int, tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether an angle's values lie within one turn, around zero or from zero."""
    index, there = cells[column]
    grid = plan.grids[column]
    if grid is None or not there.any():
        return False
    low, high = (float(v) for v in grid.value(np.array([index[there].min(), index[there].max()])))
    return (low > -3.2 and high < 3.2) or (low > -0.01 and high < 6.3)


def _family(group: Group, f: int, cells: dict[int, tuple[np.ndarray, np.ndarray]]) -> Family:
    """Bins with equally many training values, and room beside the outermost."""
    values = np.concatenate([cells[item[f]][0][cells[item[f]][1]] for item in group.items])
    low, high = int(values.min()), int(values.max()) + 1
    middle, spread = int(np.median(values)), max(1, int(values.std()))
    if f == group.angle:
        return Family(middle, spread, [low, high], ANGLE_BINS, origin=TURN // 2 if low < 0 else 0)
    inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest")).tolist()
    room = max(4, (high - low) // 2)
    edges = sorted({low - room, low, *(int(v) for v in inner), high, high + room})
    return Family(middle, spread, edges)


def _fit(family: Family, x: np.ndarray, bins: np.ndarray, generator: torch.Generator) -> float:
    """Train one family's network, kept only if held-out values gain more than it costs; net bits per value."""
    k = family.bins or len(family.edges) - 1
    shuffled = torch.randperm(len(x), generator=generator).numpy()
    apart = max(1, int(len(x) * STOP_SHARE))
    held, train = shuffled[:apart], shuffled[apart:]
    family.uses = [int(j) for j in np.flatnonzero(x[train].std(axis=0) > 0)]
    x = x[:, family.uses]
    counts = np.bincount(bins[train], minlength=k) + 0.1
    base = np.log(counts / counts.sum())
    best = 0.0
    for hidden, waves in SIZES:
        turned = basis(k, min(waves, k // 2 * 2), family.bins > 0)
        parameters = _start(len(family.uses), hidden, turned.shape[1], base, generator)
        _train(parameters, turned, x[train], bins[train], generator)
        network = _rounded(parameters, family.bins > 0)
        if not network.exact:
            continue
        sums = network.cumulative(np.concatenate([x[held], np.ones((len(held), 1), np.float32)], axis=1).T)
        w = np.diff(sums.astype(np.float64), axis=0)
        # A value without weight costs infinitely much: that network loses.
        with np.errstate(divide="ignore"):
            nats = -np.log(w[bins[held], np.arange(len(held))] / sums[-1]).mean()
        gain = float((-base[bins[held]].mean() - nats) / np.log(2))
        net = gain - sum(_entropy(p) for p in network.parts) / len(x)
        if net > best:
            best, family.network = net, network
    return best


def _entropy(p: np.ndarray) -> float:
    """Bits that an array of integers takes, about."""
    counts = np.unique(p, return_counts=True)[1]
    return float(-(counts * np.log2(counts / p.size)).sum()) if p.size else 0.0


def _start(inputs: int, hidden: int, waves: int, base: np.ndarray, generator: torch.Generator) -> list[torch.Tensor]:
    w1 = torch.randn(hidden, inputs, generator=generator) / max(inputs, 1) ** 0.5
    w2 = torch.randn(waves, hidden, generator=generator) * 0.1 / hidden**0.5
    # Whose weight (1 + y/64)⁶⁴ is the share itself.
    level = torch.from_numpy(POWER * np.expm1((base - base.max()) / POWER)).float()
    return [p.requires_grad_() for p in (w1, torch.zeros(hidden), w2, torch.zeros(waves), level)]


def _train(
    parameters: list[torch.Tensor], waves: np.ndarray, x: np.ndarray, bins: np.ndarray, generator: torch.Generator
) -> None:
    data, target = torch.from_numpy(x / np.float32(ONE)), torch.from_numpy(bins)
    turned = torch.from_numpy(waves.T.astype(np.float32) / COSINE)
    epochs = max(EPOCHS, min(60, 600 * BATCH // max(len(x), 1)))
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    w1, b1, w2, b2, level = parameters
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            h = (data[rows] @ w1.T + b1).clamp(0, MOST_HIDDEN / ONE)
            y = (h @ w2.T + b2) @ turned + level
            logits = POWER * (1 + y / POWER).clamp(LEAST, MOST).log()
            loss = torch.nn.functional.cross_entropy(logits, target[rows])
            # A weight's digits are bytes of the file.
            loss = loss + (w1.abs().sum() + w2.abs().sum()) * (THRIFT / len(x))
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
            optimizer.step()
            schedule.step()


def _rounded(parameters: Sequence[torch.Tensor], periodic: bool) -> Network:
    """Weights and biases of 1/32: finer digits would cost more than they gain."""

    def whole(p: torch.Tensor) -> np.ndarray:
        return np.asarray(np.rint(p.detach().double().numpy() * STEPS), np.int64)

    w1, b1, w2, b2, level = parameters
    return Network(whole(w1), whole(b1), whole(w2), whole(b2), whole(level), periodic)
