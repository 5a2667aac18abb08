"""Sources of training rows: every row once per epoch, in an order that a generator decides, from any piece on."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from diabolo.data import cache
from diabolo.data.cache import Buckets, Cached
from diabolo.data.encoding import Encoded, Encoding
from diabolo.data.roles import bucket_of
from diabolo.data.schema import Column, Schema
from diabolo.data.sources import Rows, piece_rows, slices
from diabolo.memory import Memory


def numbered(n, columns=2, masked=True):
    """Rows that carry their number, so that nothing can be lost or mixed up unseen."""
    x = torch.arange(n, dtype=torch.float32)[:, None].expand(n, columns).contiguous()
    return Rows(Encoded(x, x > 3 if masked else None), torch.arange(n, dtype=torch.float32))


def epoch(source, size, seed=0, skip=0):
    """One epoch's pieces, copied: (numbers, presence, weights)."""
    order = torch.Generator().manual_seed(seed)
    return [
        (rows.x[:, 0].clone(), None if rows.present is None else rows.present.clone(), weights.clone())
        for rows, weights in source.pieces(size, order, Memory(), skip)
    ]


def test_an_epoch_has_every_row_once_with_its_weight():
    source = numbered(20_000)
    pieces = epoch(source, 300)
    numbers = torch.cat([p[0] for p in pieces])
    assert torch.equal(numbers.sort().values, source.rows.x[:, 0])
    assert not torch.equal(numbers, source.rows.x[:, 0])
    assert all(torch.equal(x, w) and torch.equal(present[:, 0], x > 3) for x, present, w in pieces)
    assert [len(p[0]) for p in pieces] == [piece_rows(300)] * 2 + [20_000 - 2 * piece_rows(300)]
    assert piece_rows(300) % 300 == 0


def test_an_epoch_goes_on_from_any_piece():
    source = numbered(30_000)
    whole = epoch(source, 1000, seed=3)
    for skip in range(len(whole) + 1):
        rest = epoch(source, 1000, seed=3, skip=skip)
        assert len(rest) == len(whole) - skip
        assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[skip:], strict=True))


def test_the_generator_has_moved_on_before_the_first_piece():
    """So that its state at the start of the next epoch does not depend on where this one was resumed."""
    source, order = numbered(20_000), torch.Generator().manual_seed(0)
    pieces = source.pieces(100, order, Memory())
    next(pieces)
    after_one = order.get_state()
    for _ in pieces:
        pass
    assert torch.equal(order.get_state(), after_one)


# ── the same of rows on disk ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A function (n, weighted) → rows that carry their number, in buckets of some 1,000 rows."""
    monkeypatch.setattr(cache, "BUCKET", 1_000 * 8)
    monkeypatch.setattr(cache, "WAITING", 1_700 * 8)

    def build(n, weighted=True, kind=np.float32):
        column = Column("number", "real", np.dtype(kind).name, 0.0, 0.0, float(n), 0.0)
        encoding = Encoding(Schema((column, dataclasses.replace(column, name="twice"))), [0, 0], [1, 1], 1e30, n)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        buckets = Buckets(folder, n, 2, np.dtype(kind), weighted)
        for part in slices(n, 777):
            number = np.arange(part.start, part.stop, dtype=kind)
            values = np.stack([number, 2 * number], axis=1)
            buckets.add(values, number + 1 if weighted else None, bucket_of(part.start, part.stop, 5, len(buckets)))
        buckets.close()
        return Cached(buckets, encoding, lambda values: values, 10.0, False, numbered(0))

    return build


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_an_epoch_from_disk_has_every_row_once_with_its_weight(cached, weighted, kind):
    n = 20_000
    source = cached(n, weighted, kind)
    assert len(source) == n
    assert len(source.buckets) > 10
    pieces = list(source.pieces(300, torch.Generator().manual_seed(0), Memory()))
    rows = [len(rows) for rows, _ in pieces]
    assert rows == [piece_rows(300)] * 2 + [n - 2 * piece_rows(300)]
    for (values, weights), again in zip(
        source.pieces(300, torch.Generator().manual_seed(0), Memory()),
        source.pieces(300, torch.Generator().manual_seed(0), Memory()),
        strict=True,
    ):
        assert torch.equal(values.x, again[0].x)
        assert torch.equal(values.x[:, 1], 2 * values.x[:, 0])
        assert (weights is not None) == weighted
        if weighted:
            assert torch.allclose(weights, (values.x[:, 0] + 1) / 10)
    for rows in (source.chunks(), source.pieces(300, torch.Generator().manual_seed(1), Memory())):
        numbers = torch.cat([piece.x[:, 0].clone() for piece, _ in rows])
        assert torch.equal(numbers.sort().values, torch.arange(n, dtype=torch.float32))


def test_an_epoch_from_disk_goes_on_from_any_piece(cached):
    source = cached(30_000)
    whole = epoch(source, 1000, seed=3)
    orders = [torch.Generator().manual_seed(3) for _ in range(2)]
    for skip in range(len(whole) + 1):
        rest = epoch(source, 1000, seed=3, skip=skip)
        assert len(rest) == len(whole) - skip
        assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[skip:], strict=True))
    next(source.pieces(100, orders[0], Memory()))
    list(source.pieces(100, orders[1], Memory(), skip=2))
    assert torch.equal(orders[0].get_state(), orders[1].get_state())


def test_an_epoch_from_disk_is_shuffled(cached):
    """Neither the order of the table nor that of the epoch before shows: rank correlations are those of chance."""
    source, n, order = cached(20_000), 20_000, torch.Generator().manual_seed(0)
    first, second = (
        np.concatenate([rows.x[:, 0].numpy().copy() for rows, _ in source.pieces(500, order, Memory())])
        for _ in range(2)
    )
    place = np.arange(n)
    at = np.argsort(second)
    for a, b in ((first, place), (second, place), (at[first.astype(int)], place), (first[1:], first[:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n)


def test_what_a_bucket_holds_does_not_depend_on_how_rows_came(cached, monkeypatch):
    source = cached(5_000)
    monkeypatch.setattr(cache, "WAITING", 64 * 2**20)
    other = cached(5_000)
    for bucket in range(len(source.buckets)):
        assert np.array_equal(source.buckets.read(bucket), other.buckets.read(bucket))
