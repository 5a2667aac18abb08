"""Whole numbers that are parts of a date: 20240131, the year, the weekday."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from diabolo.data.dtypes import is_date
from diabolo.data.schema import Schema
from diabolo.data.times import DAY, local, zone_of
from diabolo.errors import ConfigError
from diabolo.generate.relations.base import FEWEST, SURE, Relation, Source, arrangements, relations

__all__ = ["DatePart"]

#: Parts by name, as a clock shows them.
Part = Literal["yyyymmdd", "yyyymm", "year", "month", "day", "hour", "weekday", "day of the year", "week day from 1"]
PARTS: tuple[Part, ...] = Part.__args__  # type: ignore[attr-defined]
#: Rows of the first look.
LOOKED = 500


@relations.register("date_part")
class DatePart(Relation):
    """A part of a date as a whole number."""

    date: int = 0
    number: int = 0
    part: Part = "yyyymmdd"
    #: Whether by the clock of the column's zone; else by that of UTC.
    by_zone: bool = True
    place = 2

    @property
    def columns(self) -> tuple[int, ...]:
        return self.date, self.number

    @property
    def result(self) -> int:
        return self.number

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        columns = source.schema.columns
        dates = [i for i in source.columns if is_date(columns[i].dtype)]
        whole = [i for i in source.numeric if i not in dates and columns[i].resolution == 1]
        least = SURE + np.log(max(1, len(dates) * len(whole) * len(PARTS)))
        some, out = source.rows[source.sample(LOOKED)], {}
        for d in dates:
            for by_zone in (True, False) if zone_of(columns[d].dtype) not in ("", "UTC") else (True,):
                zone = zone_of(columns[d].dtype) if by_zone else ""
                for part in PARTS:
                    cells = _parts(some[:, d], zone, part)
                    for n in (c for c in whole if c not in out):
                        if (some[:, n] != cells)[~np.isnan(some[:, n]) & ~np.isnan(cells)].any():
                            continue
                        found = cls(d, n, part, by_zone)
                        there = ~np.isnan(source.rows[:, [d, n]]).any(axis=1)
                        if there.sum() < FEWEST or found.broken(source.rows, source.schema).any():
                            continue
                        if arrangements(source.rows[there, n]) > least:
                            out[n] = found
        return list(out.values())

    def check(self, schema: Schema) -> None:
        super().check(schema)
        if not is_date(schema.columns[self.date].dtype):
            raise ConfigError(f"a relation 'date_part' of column {self.date}, which is no date")

    def describe(self, names: Sequence[str]) -> str:
        return f"{names[self.number]} = {self.part} of {names[self.date]}"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        wanted = _parts(rows[:, self.date], self._zone(schema), self.part)
        now = rows[:, self.number]
        return np.asarray(~np.isnan(wanted) & ~np.isnan(now) & (now != wanted))

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        if self.number in free:
            wanted, now = _parts(rows[:, self.date], self._zone(source.schema), self.part), rows[:, self.number]
            rows[:, self.number] = np.where(np.isnan(wanted) | np.isnan(now), now, wanted)
        elif self.date in free:
            wrong = np.flatnonzero(self.broken(rows, source.schema))
            from_ = source.donors(self.number, rows[wrong, self.number], rng)
            wrong, from_ = wrong[from_ >= 0], from_[from_ >= 0]
            there = ~np.isnan(source.rows[from_, self.date])
            rows[wrong[there], self.date] = source.rows[from_[there], self.date]

    def _zone(self, schema: Schema) -> str:
        return zone_of(schema.columns[self.date].dtype) if self.by_zone else ""


def _parts(seconds: np.ndarray, zone: str, part: str) -> np.ndarray:
    """A part of dates as numbers, [n]; NaN where missing."""
    shown = np.floor(local(np.nan_to_num(seconds), zone)).astype(np.int64)
    day = shown // DAY
    dates = day.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    year = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    in_month = (dates - months).astype(np.int64) + 1
    cells = {
        "yyyymmdd": lambda: year * 10_000 + month * 100 + in_month,
        "yyyymm": lambda: year * 100 + month,
        "year": lambda: year,
        "month": lambda: month,
        "day": lambda: in_month,
        "hour": lambda: shown % DAY // 3600,
        "weekday": lambda: (day + 3) % 7,
        "week day from 1": lambda: (day + 3) % 7 + 1,
        "day of the year": lambda: (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1,
    }[part]()
    return np.where(np.isnan(seconds), np.nan, cells.astype(np.float64))
