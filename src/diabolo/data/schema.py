"""What a table's columns are, learnt from training rows alone and kept in the file."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from diabolo.config import Config
from diabolo.data.dialect.record import Dialect
from diabolo.data.dtypes import TEXT, is_date, is_duration, is_time
from diabolo.data.integer_inputs import check_fixed_inputs, input_fault
from diabolo.data.slots import SlotGroup, filled, slot_groups
from diabolo.data.times import step_of, zone_of
from diabolo.errors import ColumnsError, ConfigError, DataError, nearest

__all__ = [
    "Column",
    "Kind",
    "Schema",
    "SlotGroup",
    "Summary",
    "category_fault",
    "check_names",
    "infer_schema",
    "spread_fault",
    "summarise",
]

Kind = Literal["real", "date", "integer", "count", "ordinal", "angle", "boolean", "categorical", "constant"]

ANGLE_NAME = re.compile(r"(^|[_\W])(phi|azimuth|angle)\d*$", re.IGNORECASE)
#: Rows looked at for resolution and quartiles: enough for both, and independent of the table's size.
SAMPLE = 20_000
#: Levels of a category at most: each is an input and an output of the network.
MOST_LEVELS = 1_000
#: A real column of a Gaussian latent that takes at most so many values, each often, is ordinal: a density would learn
#: to collapse onto them, and then price the smallest change without bound.
FEW, OFTEN = 12, 20
#: Likelihoods that make a column of whole numbers from 0 up a count.
OF_COUNTS = ("poisson", "negative_binomial")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its kind, and what training rows say of its values."""

    name: str
    kind: Kind
    #: Name of the type it came in, for writing it back: NumPy's, "str" or "category" for text.
    dtype: str
    #: Spacing of a rounded column in its own units, of dates in seconds; 0 for a continuous one.
    resolution: float
    #: Smallest and largest training value; the value itself for a constant.
    low: float
    high: float
    #: Share of training cells that are missing.
    missing: float
    unit: str = ""
    #: Its levels among training rows; a cell of a category is the position of its level, an ordinal one its number.
    levels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Schema:
    """The columns in fit order and the slot groups over them."""

    columns: tuple[Column, ...]
    groups: tuple[SlotGroup, ...] = ()
    #: (h, w, channels) where the columns are the pixels of an image, in C order.
    shape: tuple[int, int, int] | None = None
    #: Whether images came with an axis for their channels.
    channels: bool = True
    #: How the text of such a table is read, if it came as text.
    dialect: Dialect | None = None

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @functools.cached_property
    def words(self) -> bool:
        """Whether any column has levels, or came as text."""
        return any(c.levels or c.dtype in TEXT for c in self.columns)

    @property
    def output_names(self) -> list[str]:
        """The C names under which nll and errors come out: columns, then one count per slot group."""
        return self.names + [g.multiplicity_name for g in self.groups]

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Words by column, for cells that are positions among them."""
        return {c.name: c.levels for c in self.columns if c.levels and c.kind != "ordinal"}

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of a row as it came, None for a row of columns."""
        return self.shape if self.shape is None or self.channels else self.shape[:2]

    def positions(self, *kinds: Kind) -> list[int]:
        return [i for i, c in enumerate(self.columns) if c.kind in kinds]

    def to_json(self) -> dict[str, Any]:
        """All but the dialect, which a model file has an entry of its own for."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "dialect"}

    @staticmethod
    def from_json(state: dict[str, Any]) -> Schema:
        shape = state["shape"]
        return Schema(
            tuple(Column(**{**c, "levels": tuple(c["levels"])}) for c in state["columns"]),
            tuple(SlotGroup(g["name"], tuple(tuple(s) for s in g["slots"]), g["gaps"]) for g in state["groups"]),
            None if shape is None else tuple(shape),  # type: ignore[arg-type]
            state["channels"],
        )


@dataclasses.dataclass
class Summary:
    """Per column, over the cells that are there."""

    missing: np.ndarray
    low: np.ndarray
    high: np.ndarray


def summarise(values: np.ndarray, groups: Sequence[SlotGroup]) -> Summary:
    """Share of missing cells, smallest and largest value; in pieces that fit the cache."""
    c = values.shape[1]
    missing, low, high = np.zeros(c), np.full(c, np.inf), np.full(c, -np.inf)
    for start in range(0, len(values), 4096):
        piece = values[start : start + 4096]
        there = filled(piece, groups)
        missing += (~np.isfinite(piece)).sum(axis=0)
        low = np.minimum(low, np.where(there, piece, np.inf).min(axis=0))
        high = np.maximum(high, np.where(there, piece, -np.inf).max(axis=0))
    return Summary(missing / max(len(values), 1), low, high)


def infer_schema(
    values: np.ndarray,
    names: Sequence[str],
    dtypes: Sequence[str],
    config: Config,
    levels: Mapping[str, Sequence[str]] | None = None,
    shape: tuple[int, ...] | None = None,
    seen: Summary | None = None,
    constant: bool = False,
) -> Schema:
    """Describe the columns of training rows.

    Args:
        values: training rows, [n, C] float, NaN where missing; text as positions in `levels`.
        names: C column names.
        dtypes: C type names of the table the values came from.
        config: `kinds`, `angles`, `slots`, `likelihood` and `column_likelihood` are read.
        levels: words of the text columns.
        shape: (h, w) or (h, w, channels) where rows are images.
        seen: summary of all training rows where `values` is a sample of them.
        constant: whether all columns may be constant, as in a table that is only looked at.

    Raises:
        DataError: duplicate names, no column that varies, a category of too many levels.
        ConfigError: a setting names a column that is not there.
    """
    check_names(names, config)
    check_fixed_inputs(config, len(names), shape)
    groups = tuple(slot_groups(values, names, config))
    seen = summarise(values, groups) if seen is None else seen
    if shape is not None:
        return _image_schema(values, names, dtypes, config, shape, seen)
    grouped = {column for g in groups for slot in g.slots for column in slot}
    columns: list[Column] = []
    faults: dict[str, str] = {}
    for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
        if i in grouped and (dtype in TEXT or (config.kinds or {}).get(name) == "categorical"):
            raise ConfigError(f"slots: column {name!r} is a category; the cells of a slot are numbers, 0 for absent")
        look = _Look(name, dtype, values[:, i], i in grouped, config, seen, i)
        try:
            if config.quantize is not None:
                columns.append(look.fixed())
                continue
            columns.append(look.category((levels or {}).get(name)) if look.is_category else look.number())
        except ColumnsError as error:
            faults |= error.faults
    if faults:
        raise ColumnsError(faults)
    if all(c.kind == "constant" or (config.quantize and c.low == c.high) for c in columns) and not constant:
        raise DataError(f"all {len(columns)} columns are constant on the training rows; nothing can be learnt")
    return Schema(tuple(columns), groups)


def spread_fault(low: float, high: float, std: float) -> str | None:
    """Why numbers of this range and standard deviation have no scale, as a sentence without its subject."""
    if np.isfinite(std) and (std > 0 or not 0 < high - low < 1e-150):
        return None
    return f"has values from {low:g} to {high:g}; allowed are spreads from 1e-150 to 1e150: rescale the column"


def category_fault(cells: np.ndarray, rows: str) -> str:
    """Why a column cannot be a category, as a sentence without its subject; empty if it can.

    Args:
        cells: [n] positions among levels, or numbers; NaN where missing.
        rows: what the cells are called.
    """
    there = cells[np.isfinite(cells)]
    levels = len(np.unique(there))
    if levels <= MOST_LEVELS and (levels < 20 or 2 * levels <= len(there)):
        return ""
    return (
        f"has {levels:,} different values among {len(there):,} {rows}; a category has at most {MOST_LEVELS:,}, "
        "and from 20 on at most half as many as cells"
    )


def check_names(names: Sequence[str], config: Config) -> None:
    """Refuse duplicate columns, and settings that name a column that is not there."""
    twice = sorted({n for n in names if list(names).count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"duplicate column names: {', '.join(twice)}; rename them")
    named: list[tuple[str, Iterable[str] | None]] = [
        ("column_likelihood", config.column_likelihood),
        ("kinds", config.kinds),
        ("angles", config.angles if config.angles != "auto" else None),
    ]
    for setting, given in named:
        for name in given or {}:
            if name not in names:
                raise ConfigError(f"{setting} names {name!r}: {nearest(name, names)}")


class _Look:
    """One column's values and what the settings say of it."""

    def __init__(
        self, name: str, dtype: str, v: np.ndarray, grouped: bool, config: Config, seen: Summary, at: int
    ) -> None:
        self.name, self.dtype, self.v, self.grouped, self.config = name, dtype, v, grouped, config
        self.missing, self.low, self.high = (float(s[at]) for s in (seen.missing, seen.low, seen.high))
        self.asked = (config.kinds or {}).get(name)
        own = (config.column_likelihood or {}).get(name, config.likelihood)
        self.likelihood = own if isinstance(own, str) else own.get("name")
        #: Whether the likelihood was chosen for this very column, so that it has to fit.
        self.own = name in (config.column_likelihood or {})

    @property
    def is_category(self) -> bool:
        if self.dtype in TEXT and self.asked not in (None, "categorical"):
            raise ConfigError(f"kinds gives {self.name!r} the kind {self.asked!r}, but it holds text: a category")
        return self.dtype in TEXT or self.asked == "categorical"

    def category(self, words: Sequence[str] | None) -> Column:
        """A column of levels: those of training rows, in order."""
        fault = category_fault(self.v, "training rows")
        if fault:
            raise ColumnsError({self.name: fault})
        used = np.unique(self.v[np.isfinite(self.v)])
        if words is None:
            levels = tuple(str(int(u)) if u == np.round(u) else repr(float(u)) for u in used)
        else:
            levels = tuple(sorted(words[int(u)] for u in used))
        kind: Kind = "categorical" if len(levels) > 1 else "constant"
        low, high = (0.0, float(len(levels) - 1)) if levels else (-1.0, -1.0)
        return Column(self.name, kind, self.dtype, 0.0, low, high, self.missing, levels=levels)

    def fixed(self) -> Column:
        """An input of a network in whole numbers: a plain number, and one that stays where it is constant."""
        fault = input_fault(self.dtype, self.missing)
        if fault:
            raise ColumnsError({self.name: fault})
        resolution = _resolution(
            self.v[:: max(1, len(self.v) // SAMPLE)], "float64" if is_duration(self.dtype) else self.dtype
        )
        return Column(self.name, "real", self.dtype, resolution, self.low, self.high, self.missing)

    def number(self) -> Column:
        if not np.isfinite(self.low):
            return Column(
                self.name, "constant" if not self.grouped else "real", self.dtype, 0.0, 0.0, 0.0, self.missing
            )
        some = self.v[:: max(1, len(self.v) // SAMPLE)]
        some = some[np.isfinite(some) & ((some != 0) | (not self.grouped))]
        if is_date(self.dtype):
            resolution = float(step_of(some, zone_of(self.dtype)))
        elif is_time(self.dtype):
            resolution = 0.0
        else:
            resolution = _resolution(some, "float64" if is_duration(self.dtype) else self.dtype)
        kind: Kind = self.kind(resolution)
        if self.low == self.high and not self.grouped:
            kind = "constant"
        levels = tuple(repr(float(u)) for u in np.unique(self.v[np.isfinite(self.v)])) if kind == "ordinal" else ()
        if len(levels) > MOST_LEVELS:
            raise DataError(f"column {self.name!r} has {len(levels):,} values; an ordinal one at most {MOST_LEVELS:,}")
        return Column(self.name, kind, self.dtype, resolution, self.low, self.high, self.missing, levels=levels)

    def few_values(self) -> bool:
        """Whether a Gaussian latent should give each value of the column a probability rather than a density."""
        latent = self.config.latent if isinstance(self.config.latent, str) else self.config.latent.get("name")
        if latent == "point" or self.own or self.grouped:
            return False
        there = self.v[np.isfinite(self.v)]
        return len(there) >= 2 * OFTEN and len(np.unique(there)) <= min(FEW, len(there) // OFTEN)

    def kind(self, resolution: float) -> Kind:
        """What was asked for, or what type, name, likelihood and values say."""
        angles, whole = self.config.angles, resolution == 1
        turn = (-np.pi - 1e-3 <= self.low and self.high <= np.pi + 1e-3) or (
            self.low >= 0 and self.high <= 2 * np.pi + 1e-3
        )
        if is_date(self.dtype):
            kind: Kind = "date"
        elif is_time(self.dtype) or (
            self.name in angles if angles != "auto" else ANGLE_NAME.search(self.name) and turn
        ):
            kind = "angle"
        elif self.dtype == "bool" or self.likelihood == "bernoulli":
            kind = "boolean"
        elif self.likelihood in OF_COUNTS and (self.own or (whole and self.low >= 0)):
            kind = "count"
        else:
            kind = "integer" if whole else "ordinal" if self.few_values() else "real"
        if self.asked is not None:
            if is_date(self.dtype) or is_time(self.dtype):
                raise ConfigError(
                    f"kinds gives {self.name!r} the kind {self.asked!r}; its type {self.dtype} decides that"
                )
            kind = self.asked
        self._check_range(kind, whole)
        return kind

    def _check_range(self, kind: Kind, whole: bool) -> None:
        if kind == "boolean" and (self.low < 0 or self.high > 1):
            wrong, what = (self.v < 0) | (self.v > 1), "the Bernoulli likelihood takes values from 0 to 1"
        elif kind == "count" and (self.low < 0 or not whole):
            wrong, what = (self.v < 0) | (self.v != np.round(self.v)), "a count takes whole numbers from 0 up"
        elif kind == "integer" and not whole:
            wrong, what = self.v != np.round(self.v), "an integer column takes whole numbers"
        else:
            return
        rows = np.flatnonzero(wrong & np.isfinite(self.v))
        shown = f"{self.v[rows[0]]:g} (training row {rows[0]})" if len(rows) else f"{self.low:g} to {self.high:g}"
        raise DataError(
            f"column {self.name!r} has {shown}: {what}; rescale the column or choose another likelihood or kind"
        )


def _image_schema(
    values: np.ndarray,
    names: Sequence[str],
    dtypes: Sequence[str],
    config: Config,
    shape: tuple[int, ...],
    seen: Summary,
) -> Schema:
    """All pixels alike: one kind and one range, and none of them a constant, so that the image keeps its shape."""
    some = values.reshape(-1)[:: max(1, values.size // (4 * SAMPLE))]
    whole = Summary(*(np.array([s]) for s in (seen.missing.mean(), seen.low.min(), seen.high.max())))
    named = config.slots if config.slots != "auto" else None
    if named or config.kinds or config.column_likelihood:
        raise ConfigError("slots, kinds and column_likelihood are for tables of columns; the rows are images")
    pixel = _Look("pixel", dtypes[0], some, False, config, whole, 0).number()
    if pixel.kind == "constant":
        raise DataError("all pixels of the training images are equal; nothing can be learnt")
    h, w, c = (*shape, 1)[:3]
    columns = tuple(dataclasses.replace(pixel, name=n) for n in names)
    return Schema(columns, (), (h, w, c), len(shape) == 3)


def _resolution(present: np.ndarray, dtype: str) -> float:
    """Spacing 10^-k of a column rounded to k decimals, 0 if it is continuous."""
    if dtype == "bool" or np.issubdtype(np.dtype(dtype), np.integer):
        return 1.0
    # Zeros lie on every grid, and repeated values say nothing new.
    other = present[present != 0]
    distinct = np.unique(other[:: max(1, len(other) // 4_000)])
    if len(distinct) < 2:
        # A flag written as 0 and 1 is as whole in a text file as it is with a type of its own.
        return float(len(other) < len(present) and (distinct == np.round(distinct)).all())
    some = distinct[:: max(1, len(distinct) // 2_000)].astype(np.float64)
    # A single-precision number near v is only known to v·6e-8, so the test allows for that.
    slack = np.abs(some) * (2.0**-22 if dtype in ("float32", "float16") else 2.0**-48)
    # Sums of decimals miss zero by a little; a column of small numbers (charges in coulombs) is not all zeros.
    slack += 1e-12 * min(1.0, float(np.abs(some).max()))
    # Of floats so large that their type holds nothing between whole numbers, being whole says nothing.
    if (np.spacing(np.abs(some).astype(dtype)) >= 1).all():
        return 0.0
    for k in range(0, 7):
        step = 10.0**-k
        if np.all(np.abs(some - np.round(some / step) * step) <= np.minimum(slack, step / 8)):
            return step
    return 0.0
