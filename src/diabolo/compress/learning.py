"""Fits the autoregressive network on integers of training rows, and rounds it to whole numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch

from diabolo.compress.autoregressive import Autoregressive
from diabolo.compress.context import Context
from diabolo.compress.network import COSINE, LEAST, MOST, MOST_HIDDEN, ONE, SQUARINGS, STEPS, TURN, Network, basis
from diabolo.compress.objects import Family, Group
from diabolo.compress.plan import Plan
from diabolo.data.schema import ANGLE_NAME
from diabolo.progress import tick

__all__ = ["fit_autoregressive"]

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


def fit_autoregressive(
    plan: Plan,
    cells: dict[int, tuple[np.ndarray, np.ndarray]],
    rows: int,
    seed: int,
    report: Callable[[str], None] | None = None,
) -> Autoregressive | None:
    """The autoregressive network of training rows; None where no column's gain is worth its bytes.

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
    autoregressive = Autoregressive(groups, families, plan.grids)
    generator = torch.Generator().manual_seed(seed)
    context = Context(autoregressive, rows, {c: cells[c][1] for slot in plan.slots for c in slot if c in cells})
    examples: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for column in autoregressive.order:
        full, there = cells[column]
        present = np.flatnonzero(there)
        g, _, f = autoregressive.place[column]
        x, bins = (
            context.inputs(column, present, None),
            autoregressive.placed(column, full[present], context.reference[present])[1],
        )
        examples.setdefault((g, f), []).append((x[:-1].T, bins))
        context.learn(column, present, full[present])
    worth = False
    for done, ((g, f), parts) in enumerate(examples.items()):
        tick(done, len(examples), "networks of columns")
        x, bins = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        family = families[g][f]
        if len(bins) >= FEWEST:
            gain = _fit(family, x, bins, generator)
            worth |= family.network is not None
            if report:
                report(f"{plan.schema.field(groups[g].items[0][f]).name}: {len(bins):,} values, gain {gain:.3f} bits")
    return autoregressive if worth else None


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
        price = sum(_entropy(p) for p in network.parts) / len(x)
        if gain - price > best:
            best, family.network = gain - price, network
        if gain < price / 2:
            break  # a larger one costs several times as much
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
    return [w1, torch.zeros(hidden), w2, torch.zeros(waves), level]


def _train(
    parameters: list[torch.Tensor], waves: np.ndarray, x: np.ndarray, bins: np.ndarray, generator: torch.Generator
) -> None:
    data, target = torch.from_numpy(x / np.float32(ONE)), torch.from_numpy(bins)
    turned = torch.from_numpy(waves.T.astype(np.float32) / COSINE)
    # Of few rows, many small steps cost less than a few large ones.
    batch = BATCH if len(x) >= 16 * BATCH else BATCH // 4
    epochs = max(EPOCHS, min(60, (600 if batch == BATCH else 300) * batch // max(len(x), 1)))
    adam = _Adam(parameters, epochs * -(-len(x) // batch))
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            adam.step(_gradients(parameters, turned, data[rows], target[rows], THRIFT / len(x)))


def _gradients(
    parameters: list[torch.Tensor], turned: torch.Tensor, x: torch.Tensor, bins: torch.Tensor, thrift: float
) -> list[torch.Tensor]:
    """Of the mean cross-entropy of a batch, and of the weights' sizes: a weight's digits are bytes of the file.

    By hand: a network of so few weights takes longer to be recorded than to be computed.
    """
    w1, b1, w2, b2, level = parameters
    h = torch.addmm(b1, x, w1.T)
    passed = (h > 0) & (h < MOST_HIDDEN / ONE)
    h = h.clamp_(0, MOST_HIDDEN / ONE)
    t = 1 + (torch.addmm(b2, h, w2.T) @ turned + level) / POWER
    inside = (t > LEAST) & (t < MOST)
    t = t.clamp_(LEAST, MOST)
    slope = (POWER * t.log()).softmax(dim=1)
    slope[torch.arange(len(bins)), bins] -= 1
    # Of logits POWER log t, by y: 1/t.
    slope = slope.div_(t).mul_(inside).div_(len(bins))
    c = slope @ turned.T
    back = (c @ w2).mul_(passed)
    gradients = [back.T @ x, back.sum(0), c.T @ h, c.sum(0), slope.sum(0)]
    return [g + thrift * p.sign() if p.dim() == 2 else g for g, p in zip(gradients, parameters, strict=True)]


class _Adam:
    """Adam (Kingma, Ba 2015, arXiv:1412.6980) with one cycle of rate and momentum (Smith 2018, arXiv:1803.09820)."""

    def __init__(self, parameters: list[torch.Tensor], steps: int) -> None:
        self.parameters, self.steps, self.done = parameters, steps, 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.kept = 1.0

    def step(self, gradients: list[torch.Tensor]) -> None:
        rise = 0.3 * self.steps - 1
        up = min(self.done / max(rise, 1), 1.0)
        down = max(self.done - rise, 0) / max(self.steps - rise, 1)
        place = (1 - np.cos(np.pi * up)) / 2 if down == 0 else (1 + np.cos(np.pi * down)) / 2
        rate, momentum = RATE * (place + (1 - place) / 25), 0.95 - 0.1 * place
        self.done += 1
        self.kept *= momentum
        correction = float(np.sqrt(1 - 0.999**self.done))
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m.mul_(momentum).add_(g, alpha=1 - momentum)
            v.mul_(0.999).addcmul_(g, g, value=1 - 0.999)
            p.addcdiv_(m, v.sqrt().div_(correction).add_(1e-8), value=-rate / (1 - self.kept))


def _rounded(parameters: Sequence[torch.Tensor], periodic: bool) -> Network:
    """Weights and biases of 1/32: finer digits would cost more than they gain."""

    def whole(p: torch.Tensor) -> np.ndarray:
        return np.asarray(np.rint(p.detach().double().numpy() * STEPS), np.int64)

    w1, b1, w2, b2, level = parameters
    return Network(whole(w1), whole(b1), whole(w2), whole(b2), whole(level), periodic)
