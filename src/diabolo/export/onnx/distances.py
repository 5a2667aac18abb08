"""The default score of tables as operations: places of rows, distances to stored ones, and what is new in a row."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from diabolo.data.encoding import Encoding
from diabolo.detect.least import MEMBERS, PARTS
from diabolo.detect.novelty import Novelty
from diabolo.detect.places import DIFFER, FEW_LEVELS, REACH, NormalScores, Places
from diabolo.detect.reference import Stored
from diabolo.detect.views import Views
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import DOUBLE, FLOAT, INT64, Graph, ints
from diabolo.export.onnx.search import places_in

__all__ = ["distance_score", "novelty"]

#: Candidates beyond the shortlist, among which rounded distances decide as `diabolo.detect.views` does.
SPARE = 16
#: L1 distance below which two rows are the same, and what puts a row beyond all others.
SAME, FARTHEST = 1e-7, 1e30
#: Significant bits of single precision; a position takes the last ones of a distance.
SIGNIFICANT = 24


def distance_score(g: Graph, encoding: Encoding, views: Views, stored: Stored, row: Row) -> str:
    """The score of `Views`, [n] float."""
    places, levels = _places(g, views.places, row)
    axes = _axes(g, views.places, places, levels)
    square = g.op("ReduceSumSquare", axes, ints(1), keepdims=1)
    one = g.op("Exp", g.op("Sub", square, square))
    # Coordinates times stored rows: the stored ones that only fill the last group are left out.
    table = views.table[:, : views.rows].numpy()
    squared = g.op("MatMul", g.joined([axes, square, one]), table)
    near, among_wide = _near(g, views, squared, places, levels, _firsts(views, stored), row)
    wide = _wide(g, views, squared, among_wide)
    weight = (views.weight / views.unit).numpy()[:, None]
    score = g.op("MatMul", g.joined([near, wide]), weight.astype(np.float32))
    new = [novelty(g, encoding, views.novelty, row), _contradictions(g, views, row, places, levels)]
    for count in new:
        if count is not None:
            score = g.op("Add", score, g.op("Mul", count, float(views.top)))
    return g.op("Reshape", score, ints(-1))


def novelty(g: Graph, encoding: Encoding, new: Novelty, row: Row) -> str | None:
    """The number of facts that no stored row shows, [n, 1] float; None where none counts."""
    counts = new.counts.numpy() > 0
    watched, full = len(encoding.watched), len(new.full)
    facts = []
    if counts[:watched].any() and row.changed is not None:
        facts.append(g.columns(row.changed, np.flatnonzero(counts[:watched]).tolist()))
    gaps = [c for c, counted in zip(new.full, counts[watched : watched + full], strict=True) if counted]
    if gaps:
        facts.append(g.columns(row.missing, gaps))
    far = np.flatnonzero(counts[watched + full :])
    if len(far):
        x = g.columns(row.x, new.inputs[far].tolist())
        outside = g.op("Or", g.op("Less", x, _of(new.low[far])), g.op("Greater", x, _of(new.high[far])))
        facts.append(g.op("And", outside, g.columns(row.present, new.cells[far].tolist())))
    return g.total(g.cast(g.joined(facts), FLOAT)) if facts else None


def _contradictions(g: Graph, views: Views, row: Row, places: str, levels: str | None) -> str | None:
    """The number of numbers that the others contradict, [n, 1] float; None where none counts."""
    new, part = views.contradictions, views.places.parts[-1]
    counted = np.flatnonzero((new.high.isfinite() & new.low.isfinite()).numpy())
    if not len(counted):
        return None
    r = g.columns(places, (part.start + counted).tolist())
    outside = g.op("Or", g.op("Less", r, _of(new.low[counted])), g.op("Greater", r, _of(new.high[counted])))
    # None of a row without a number, or of an unknown level.
    gone = [g.op("Not", g.columns(row.present, views.places.cells.tolist()))]
    gone += [g.op("Less", levels, 0.0)] if levels is not None else []
    count, without = g.total(g.cast(outside, FLOAT)), g.total(g.cast(g.joined(gone), FLOAT))
    return g.op("Where", g.op("Greater", without, 0.0), 0.0, count)


def _of(numbers: Tensor) -> np.ndarray:
    return np.asarray(numbers.numpy().astype(np.float32)[None])


def _places(g: Graph, places: Places, row: Row) -> tuple[str, str | None]:
    """Coordinates [n, width], and levels by position [n, categories]."""
    scaled, measured = places.scaled, places.measured.tolist()
    parts: list[str] = []
    plain = normal = ""
    if measured:
        there = g.columns(row.present, places.cells.tolist())
        x = g.op("Mul", g.op("Sub", g.columns(row.x, measured), _of(places.center)), _of(places.unit))
        plain = g.op("Where", there, _soft_clip(g, x), 0.0)
        parts.append(plain)
    facts = places.facts.tolist()
    if facts:
        given = g.columns(row.x, facts)
        parts.append(g.op("Mul", given, DIFFER))
    cells = [g.columns(plain, range(scaled))] if scaled else []
    if places.linear is not None:
        inputs = [plain] if measured else []
        inputs += [g.columns(row.x, facts)] if facts else []
        inputs += [g.columns(row.x, range(a, b)) for a, b in places.few]
        linear = places.linear
        # As in diabolo a product of 16 columns at least.
        left = g.op("MatMul", g.op("Sub", g.joined(inputs), _of(linear.mean)), linear.turn.numpy())
        cells.append(g.columns(left, range(linear.columns)))
    if cells:
        found = _normal_scores(g, places.normal, g.joined(cells))
        normal = g.columns(found, range(scaled))
        parts.append(g.op("Where", g.columns(there, range(scaled)), normal, 0.0))
        if len(cells) > 1:
            parts.append(g.columns(found, range(scaled, 2 * scaled)))
    # Of categories alone there are no coordinates, and one that is always 0 stands for none.
    none = g.op("Mul", g.columns(row.x, [0]), 0.0)
    return g.joined(parts) if parts else none, _level_positions(g, places, row)


def _level_positions(g: Graph, places: Places, row: Row) -> str | None:
    """The level of each category [n, categories] float, −1 for none."""
    found = []
    for start, stop in places.words:
        # One input of a category's is 1 at most.
        place = np.arange(1, stop - start + 1, dtype=np.float32)[:, None]
        found.append(g.op("MatMul", g.columns(row.x, range(start, stop)), place))
    return g.op("Sub", g.joined(found), 1.0) if found else None


def _soft_clip(g: Graph, x: str) -> str:
    beyond = g.op("Max", g.op("Sub", g.op("Abs", x), REACH), 0.0)
    far = g.op("Mul", g.op("Log", g.op("Add", beyond, 1.0)), g.op("Sign", x))
    return g.op("Add", far, g.op("Clip", x, -REACH, REACH))


def _normal_scores(g: Graph, normal: NormalScores, x: str) -> str:
    """`NormalScores` of values [n, d]."""
    knots = [k[np.isfinite(k)] for k in normal.knots.numpy()]
    scores = normal.scores.numpy()
    found = places_in(g, knots, x)
    # A column of n knots has 2 n + 1 scores: between them and at them.
    ends = np.cumsum([2 * len(k) + 1 for k in knots])
    table = np.concatenate([s[: 2 * len(k) + 1] for s, k in zip(scores, knots, strict=True)]).astype(np.float32)
    place = g.op("Add", g.op("Mul", found.count, ints(2)[None]), found.known(g))
    place = g.op("Add", place, np.array([0, *ends[:-1]])[None])
    inside = g.op("Gather", table, place)
    low, high = normal.low.numpy()[None], normal.high.numpy()[None]
    over = g.op("Max", g.op("Sub", x, high), 0.0)
    under = g.op("Max", g.op("Sub", low, x), 0.0)
    return g.op("Sub", g.op("Add", inside, over), under)


def _axes(g: Graph, places: Places, coordinates: str, levels: str | None) -> str:
    """`Places.shortlist`, [n, axes]."""
    parts: list[str] = []
    width = len(places.stretch)
    if width:
        parts.append(g.op("Mul", g.columns(coordinates, range(width)), places.stretch.numpy()[None]))
    signs = iter(places.signs)
    for i, (start, stop) in enumerate(places.words):
        size = stop - start
        directions = np.eye(size, dtype=np.float32) if size <= FEW_LEVELS else next(signs).numpy()
        code = np.concatenate([np.zeros((1, directions.shape[1]), np.float32), directions]) * np.float32(DIFFER)
        place = g.cast(g.op("Add", g.columns(str(levels), [i]), 1.0), INT64)
        parts.append(g.op("Gather", code, g.op("Reshape", place, ints(-1)), axis=0))
    return g.joined(parts)


def _firsts(views: Views, stored: Stored) -> np.ndarray:
    """Which of the searched rows a row of the same cells is, [rows] float: the first one of equals."""
    n = len(stored)
    first = stored.firsts()
    at = views.taken[:n].numpy()
    out = np.zeros(views.rows, np.float32)
    out[at[at >= 0]] = first[at >= 0]
    return out


def _near(
    g: Graph, views: Views, squared: str, places: str, levels: str | None, firsts: np.ndarray, row: Row
) -> tuple[str, str]:
    """Mean L1 distances to the nearest rows of the shortlist in x, n and r, [n, 3]; a row is not its own neighbor.

    Whether the row is one of the stored rows of the wide view comes beside, [n, 1] bool.
    """
    at = _shortlist(g, views, squared)
    stored = views.stored.numpy() if views.stored.shape[1] else np.zeros((views.rows, 1), np.float32)
    apart = g.op("Sub", g.op("Gather", stored, at, axis=0), g.op("Unsqueeze", places, ints(1)))
    apart = g.op("Abs", apart)
    x, both, n, r = views.places.parts
    into = np.zeros((stored.shape[1], 3), np.float32)
    for part, view in ((x, 0), (both, 0), (both, 1), (n, 1), (r, 2)):
        into[part, view] = 1
    far = g.op("MatMul", apart, into)
    if levels is not None:
        known = g.op("Gather", views.levels.numpy().astype(np.float32), at, axis=0)
        other = g.op("Not", g.op("Equal", known, g.op("Unsqueeze", levels, ints(1))))
        counted = g.total(g.cast(other, FLOAT), axis=2)
        far = g.op("Add", far, g.op("Mul", counted, np.array([[[DIFFER, DIFFER, 0.0]]], np.float32)))
    # The row itself leaves its place to the last one of the list.
    same = g.op("Less", g.op("MatMul", far, np.array([[1.0], [1.0], [0.0]], np.float32)), SAME)
    own = g.op("Mul", g.cast(same, FLOAT), g.op("Gather", firsts[:, None], at, axis=0))
    if row.changed is not None:
        steady = g.op("Not", g.anywhere(row.changed))
        own = g.op("Mul", own, g.op("Unsqueeze", g.cast(steady, FLOAT), ints(2)))
    found = g.op("ReduceMax", own, ints(1), keepdims=1)
    last = np.zeros((1, _listed(views), 1), np.float32)
    last[:, views.shortlist :] = 1
    out = g.op("Add", own, g.op("Mul", g.op("Sub", 1.0, found), last))
    far = g.op("Add", far, g.op("Mul", out, FARTHEST))
    near = g.op("ReduceMean", g.smallest(far, views.near, axis=1)[0], ints(1), keepdims=0)
    wide = g.op("Mul", own, g.cast(g.op("Less", g.op("Unsqueeze", at, ints(2)), ints(views.wide)), FLOAT))
    return near, g.op("Greater", g.op("ReduceMax", wide, ints(1), keepdims=0), 0.5)


def _wide(g: Graph, views: Views, squared: str, own: str) -> str:
    """The mean distance to the nearest rows of the wide view, [n, 1]: without the row itself, else without the last."""
    value = g.smallest(g.columns(squared, range(views.wide), views.rows), views.wide_count + 1)[0]
    far = g.op("Sqrt", g.op("Max", value, 0.0))
    ends = [g.op(kind, far, ints(1), keepdims=1) for kind in ("ReduceMin", "ReduceMax")]
    return g.op("Div", g.op("Sub", g.total(far), g.op("Where", own, *ends)), float(views.wide_count))


def _listed(views: Views) -> int:
    """Rows of the shortlist, and one in the place of a row itself."""
    return min(views.shortlist + 1, views.rows)


def _shortlist(g: Graph, views: Views, squared: str) -> str:
    """Positions [n, listed] of the nearest stored rows, nearest first: by rounded distances, then by order.

    The candidates are nearest by exact distances; among them distances without their last bits decide, as they do in
    `diabolo.detect.views`. x without its last bits is ⌊x / u⌋ u with u the value of its last kept bit.
    """
    rows = order = np.arange(views.rows)
    told = views.table.shape[1]
    if views.groups > views.shortlist:  # those of the parts that are looked through
        stride, told = PARTS * views.groups, MEMBERS * views.shortlist
        order = (rows % stride) * MEMBERS + rows // stride
    bits = SIGNIFICANT - (told - 1).bit_length()
    value, at = g.smallest(squared, min(views.shortlist + SPARE, views.rows))
    value = g.op("Max", value, 1e-30)
    # Rounding to one bit: c − (c − x) with c = x (2²³ + 1) is a power of two (Dekker 1971), and one too large half the
    # time.
    big = g.op("Mul", value, float(2**23 + 1))
    power = g.op("Sub", big, g.op("Sub", big, value))
    power = g.op("Where", g.op("Greater", power, value), g.op("Mul", power, 0.5), power)
    unit = g.op("Mul", power, 2.0 ** (1 - bits))
    kept = g.cast(g.op("Mul", g.op("Floor", g.op("Div", value, unit)), unit), DOUBLE)
    place = g.cast(g.op("Gather", order, at), DOUBLE)
    # A position is worth less than the last bit.
    key = g.op("Mul", kept, g.op("Add", np.array(1.0), g.op("Mul", place, np.array(2.0**-40))))
    best = g.smallest(key, _listed(views), ordered=True)[1]
    return g.op("GatherElements", at, best, axis=1)
