"""The form of one column from its different words: each form that fits all of them, and what tells several apart."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from diabolo.data.dialect.dates import TIMES, readings, time_of
from diabolo.data.dialect.forms import DURATIONS, BadCell, read_form
from diabolo.data.dialect.record import Form

__all__ = ["STRAY", "Guess", "country_codes", "decimals_of", "guess", "is_grouped"]

#: Words that people write for a missing number, beside those that stand for one everywhere.
STRAY = {"?", "-", "--", "---", ".", "..", "...", "*", "n.d.", "nd", "n.a.", "na", "n/d", "none", "missing", "unknown"}
STRAY |= {"null", "(null)", "\\n", "<na>", "nat", "#value!", "#div/0!", "#ref!", "'-", "no data", "not available"}
PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?", re.IGNORECASE)
SIGNS = ("%", "$", "€", "£", "¥", "USD", "EUR", "GBP", "CHF")
#: (decimal, thousands), the plainest first.
MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
BOOLEANS = (("yes", "no"), ("on", "off"), ("true", "false"))
#: Words that are tried before all are.
SOME = 300
ISO_3166 = (
    "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZ"
    "ECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZ"
    "LALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARE"
    "RORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW"
)
COUNTRIES = {ISO_3166[i : i + 2] for i in range(0, len(ISO_3166), 2)}
AMERICA = "ALAKAZARCACOCTDEFLGAHIIDILINIAKSKYLAMEMDMAMIMNMSMOMTNENVNHNJNMNYNCNDOHOKORPARISCSDTNTXUTVTVAWAWVWIWYDC"
STATES = {AMERICA[i : i + 2] for i in range(0, len(AMERICA), 2)}


@dataclasses.dataclass
class Guess:
    """What a column's words may be.

    Attributes:
        forms: with different readings; one if the words tell, none for plain numbers.
        marks: words among numbers that stand for a missing cell.
    """

    forms: tuple[Form, ...] = ()
    marks: tuple[str, ...] = ()


def guess(words: Sequence[str], text: bool = True) -> Guess:
    """The forms that fit all of a column's different words, without those for a missing cell, trimmed.

    Args:
        words: as they stand, blanks around them cut off.
        text: whether the column is text when nothing else fits.
    """
    if not words:
        return Guess()
    some = words[:: max(1, len(words) // SOME)]
    marks = tuple(w for w in words if w.lower() in STRAY) if len(words) > 1 else ()
    rest = [w for w in words if w not in marks] if marks else words
    tried = [w for w in some if w not in marks] if marks else some
    if len(rest) >= min(2, len(words)):
        for found in (_plain(rest), _numbers(rest, tried), _dates(rest, tried), _times(rest, tried)):
            if found is not None:
                return Guess(found, marks)
    return Guess(_booleans(words) or ((Form("text"),) if text else ()))


def _fits(words: Sequence[str], form: Form) -> Any:
    """The words in that form, or None."""
    import pyarrow as pa

    try:
        return read_form(pa.array(list(words), pa.string()), form, ())
    except BadCell:
        return None


def _different(words: Sequence[str], forms: Iterable[Form]) -> tuple[Form, ...]:
    """Of the forms that fit, the first of each reading."""
    found: list[tuple[Form, Any]] = []
    for form in forms:
        values = _fits(words, form)
        if values is not None and not any(values.equals(v) for _, v in found):
            found.append((form, values))
    return tuple(form for form, _ in found)


def _plain(words: Sequence[str]) -> tuple[Form, ...] | None:
    return () if all(PLAIN.fullmatch(w) for w in words) else None


def _numbers(words: Sequence[str], some: Sequence[str]) -> tuple[Form, ...] | None:
    if not all(any(c.isdigit() for c in w) for w in some):
        return None
    signs = [s for s in SIGNS if any(s in w for w in some)]
    if len(signs) > 1:
        return None
    sign = signs[0] if signs else ""
    able = [Form("number", sign, d, t) for d, t in MARKS if _fits(some, Form("number", sign, d, t)) is not None]
    return _different(words, able) or None


def _booleans(words: Sequence[str]) -> tuple[Form, ...] | None:
    lower = {w.lower() for w in words}
    for yes, no in BOOLEANS:
        if lower == {yes, no}:
            by = {w.lower(): w for w in words}
            return (Form("boolean", f"{by[yes]}/{by[no]}"),)
    return None


def _dates(words: Sequence[str], some: Sequence[str]) -> tuple[Form, ...] | None:
    able = [Form("date", p) for p in readings(some)]
    seasons = re.compile(r"(\d{4})[-/](\d\d)")
    matches = [seasons.fullmatch(w) for w in some]
    # 1999-00 is a season, and no month.
    if able and all(m is not None and (int(m[1]) + 1) % 100 == int(m[2]) for m in matches):
        return None
    return _different(words, able) or None


def _times(words: Sequence[str], some: Sequence[str]) -> tuple[Form, ...] | None:
    import pyarrow as pa

    if not all(":" in w or "day" in w or w[:1] == "P" or w[:2] == "-P" for w in some):
        return None
    able = [Form("time", p) for p in TIMES if time_of(pa.array(list(some), pa.string()), p)[1].all()]
    able += [Form("duration", str(i)) for i in range(len(DURATIONS))]
    return next(((form,) for form in able if _fits(words, form) is not None), None)


def decimals_of(words: Iterable[str]) -> set[str]:
    """Decimal marks that some numbers leave no doubt of."""
    found = set()
    for word in words:
        for mark, other in itertools.permutations(".,", 2):
            if word.count(mark) == 1 and word.rfind(mark) > word.rfind(other) and not is_grouped(word, mark):
                found.add(mark)
            if word.count(other) > 1 and is_grouped(word, other):
                found.add(mark)
    return found


def is_grouped(word: str, mark: str) -> bool:
    """Whether a word may be a whole number whose groups of three digits have the mark between them."""
    return re.fullmatch(rf"[-+]?[1-9]\d{{0,2}}({re.escape(mark)}\d{{3}})+", word) is not None


def country_codes(words: Iterable[str]) -> str:
    """What NA is among such words: "level", "missing" or "either"."""
    others = {w for w in words if w != "NA"}
    if len(others) < 3 or not all(re.fullmatch("[A-Z]{2}", w) for w in others):
        return "missing"
    return "level" if len(others) >= 5 and others <= COUNTRIES and not others <= STATES else "either"
