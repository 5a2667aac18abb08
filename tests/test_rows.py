"""Sources of training rows: every row once per epoch, in an order that a generator decides, from any piece on."""

import torch

from diabolo.data.encoding import Encoded
from diabolo.data.rows import Rows, piece_rows
from diabolo.memory import Memory


def numbered(n, columns=2, masked=True):
    """Rows that carry their number, so that nothing can be lost or mixed up unseen."""
    x = torch.arange(n, dtype=torch.float32)[:, None].expand(n, columns).contiguous()
    return Rows(Encoded(x, x > 3 if masked else None, None, None, None), torch.arange(n, dtype=torch.float32))


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
