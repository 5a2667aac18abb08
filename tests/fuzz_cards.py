"""Cards of JSON with an entry that is another: what the fuzzers of compressed files and of model files share."""

from __future__ import annotations

import copy

#: What an entry of a card may become.
WORDS = ["", "x", "auto", "normal", "../../etc/passwd", "a:b", "\x1b[31m", "[" * 2_000, "9" * 400]
NUMBERS = [0, -1, 1, 2, 3, 255, 2**31, 2**53, 2**63, 10**40, -(10**40), 0.5, 1e-300, 1e300]
OTHERS = [None, True, False, [], {}, [[]], [1, 2], {"name": "x"}, {"a": {"b": [1]}}]


def places(value, way=()):
    """Ways to every entry of a card."""
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*way, key))


def changed_card(rng, card):
    """A copy with one entry deleted, named otherwise, repeated, or given another value."""
    card = copy.deepcopy(card)
    ways = list(places(card))[1:]
    if not ways:
        return card
    way = rng.choice(ways)
    inside = card
    for key in way[:-1]:
        inside = inside[key]
    kind = rng.randrange(6)
    if kind == 0:
        del inside[way[-1]]
    elif kind == 1 and isinstance(inside, dict):
        inside[rng.choice([*WORDS[1:6], *map(str, inside)])] = inside[way[-1]]
    elif kind == 2 and isinstance(inside[way[-1]], list):
        inside[way[-1]] = inside[way[-1]] * rng.choice([0, 2, 50])
    else:
        inside[way[-1]] = copy.deepcopy(rng.choice([*WORDS, *NUMBERS, *NUMBERS, *OTHERS]))
    return card
