"""Branches of ROOT trees as Arrow columns: numbers, text, arrays, vectors, and objects by their members."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diabolo.data.formats.base import one_line

__all__ = ["Branch", "Branches", "branches_of"]

#: Coordinates of ROOT's vectors by class, under the names of physics; members on the way to them are joined by dots.
MEMBERS = {
    "TVector2": {"fX": "x", "fY": "y"},
    "TVector3": {"fX": "x", "fY": "y", "fZ": "z"},
    "TLorentzVector": {"fP.fX": "px", "fP.fY": "py", "fP.fZ": "pz", "fE": "E"},
    "PxPyPzE4D": {"fX": "px", "fY": "py", "fZ": "pz", "fT": "E"},
    "PxPyPzM4D": {"fX": "px", "fY": "py", "fZ": "pz", "fM": "m"},
    "PtEtaPhiE4D": {"fPt": "pt", "fEta": "eta", "fPhi": "phi", "fE": "E"},
    "PtEtaPhiM4D": {"fPt": "pt", "fEta": "eta", "fPhi": "phi", "fM": "m"},
    "Cartesian2D": {"fX": "x", "fY": "y"},
    "Cartesian3D": {"fX": "x", "fY": "y", "fZ": "z"},
    "Polar2D": {"fR": "r", "fPhi": "phi"},
    "Polar3D": {"fR": "r", "fTheta": "theta", "fPhi": "phi"},
    "Cylindrical3D": {"fRho": "rho", "fZ": "z", "fPhi": "phi"},
}
#: Members and branches that say nothing of an object.
HOUSEKEEPING = ("@", "fUniqueID", "fBits")
NOTHING = re.compile(r"(.*[./])?TObject([./].*)?")
#: What makes an Arrow array of an Awkward layout.
Make = Callable[[Any], Any]


class Unfit(Exception):
    """What cannot be a column, and why."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """A branch that is a column."""

    kind: Any
    make: Make
    branch: Any
    #: Bytes that a row takes in memory, about.
    width: float

    def cells(self, start: int, stop: int) -> Any:
        """Rows from start up to stop as an Arrow array."""
        import awkward as ak

        array = self.branch.array(entry_start=start, entry_stop=stop, library="ak")
        return self.make(ak.to_layout(array))


@dataclasses.dataclass(frozen=True)
class Branches:
    """A tree's columns, the types of the branches that are none, and what counters count."""

    columns: dict[str, Branch]
    left_out: dict[str, str]
    counts: dict[str, list[str]]


def branches_of(tree: Any) -> Branches:
    """Every leaf branch of a TTree, or field of an RNTuple."""
    if not hasattr(tree, "branches"):
        return _fields_of(tree)
    leaves = [(path, b) for path, b in tree.iteritems(recursive=True) if not len(b.branches)]
    times = collections.Counter(b.name for _, b in leaves)
    found, tried = Branches({}, {}, {}), dict[str, str]()
    for path, branch in leaves:
        if NOTHING.fullmatch(path):
            continue
        name = branch.name if times[branch.name] == 1 else path
        try:
            found.columns[name] = _branch(branch, int(tree.num_entries), tried)
        except Unfit as why:
            found.left_out[name] = str(why)
            continue
        counter = branch.count_branch
        if counter is not None:
            found.counts.setdefault(counter.name, []).append(name)
    for counter, lists in found.counts.items():
        # Written beside every list by uproot: the length of one list is no column of its own.
        if counter in found.columns and len(lists) == 1 and re.fullmatch(rf"n{re.escape(lists[0])}_*", counter):
            del found.columns[counter]
            found.left_out[counter] = f"the length of {lists[0]}"
    return found


def _branch(branch: Any, entries: int, tried: dict[str, str]) -> Branch:
    """A branch as a column; `tried` keeps for kinds of objects why one of them could not be read, empty if it could."""
    import uproot

    said, way = str(branch.typename), branch.interpretation
    if said == "unknown" or isinstance(way, uproot.interpretation.identify.UnknownInterpretation):
        raise Unfit(f"{branch.all_members.get('fClassName') or 'unknown'}: uproot does not know the type")
    if int(branch.num_entries) != entries:
        raise Unfit(f"{said}, with {int(branch.num_entries):,} entries where the tree has {entries:,}")
    try:
        kind, make = _column(_form(branch, way))
        inner = way.content if isinstance(way, uproot.AsJagged) else way
        if isinstance(inner, uproot.AsObjects | uproot.AsStridedObjects):
            if str(way) not in tried:
                tried[str(way)] = _trial(branch, make)
            if tried[str(way)]:
                raise Unfit(tried[str(way)])
    except Unfit as why:
        raise Unfit(f"{said}: {why}") from None
    except Exception as error:  # uproot raises errors of many kinds where it does not know a class
        raise Unfit(f"{said}: uproot cannot read it ({one_line(error)[:60]})") from None
    return Branch(kind, make, branch, float(branch.uncompressed_bytes or 0) / max(entries, 1))


def _form(branch: Any, way: Any) -> Any:
    try:
        return way.awkward_form(branch.file)
    except Exception:  # as below; arrays within a leaf list
        return branch.array(entry_stop=1, library="ak").layout.form


def _trial(branch: Any, make: Make) -> str:
    """Why objects cannot be read: whether the members that a class should have are there shows in the first entry."""
    try:
        make(branch.array(entry_stop=1, library="ak").layout)
    except Exception as error:  # as above
        return f"uproot cannot read it ({one_line(error)[:60]})"
    return ""


def _fields_of(tree: Any) -> Branches:
    found = Branches({}, {}, {})
    for name in tree.keys(recursive=False):
        field = tree[name]
        try:
            array = field.array(entry_stop=0, library="ak")
            kind, make = _column(array.layout.form)
            found.columns[name] = Branch(kind, make, field, 8.0)
        except Unfit as why:
            found.left_out[name] = f"{field.typename}: {why}"
        except Exception as error:  # as above
            found.left_out[name] = f"{field.typename}: uproot cannot read it ({one_line(error)[:60]})"
    return found


def _column(form: Any) -> tuple[Any, Make]:
    """The Arrow type of an Awkward form, and what makes such an array of a layout.

    Raises:
        Unfit: options, unions and what else is no table's.
    """
    import pyarrow as pa

    if form.is_numpy:
        return _numbers(form)
    if form.is_regular:
        inner, make = _column(form.content)
        size = int(form.size)
        if not size:
            raise Unfit("arrays without cells")
        kind = pa.list_(inner, size)
        return kind, lambda layout: pa.FixedSizeListArray.from_arrays(make(layout.content[: len(layout) * size]), size)
    if form.is_list and form.parameter("__array__") in ("string", "bytestring"):
        return pa.string(), _text
    if form.is_list:
        inner, make = _column(form.content)
        return pa.list_(inner), lambda layout: _lists(layout, make)
    if form.is_record:
        return _record(form)
    if form.is_option:
        inner, make = _column(form.content)
        return inner, lambda layout: _options(layout, make)
    if form.is_indexed:
        inner, make = _column(form.content)
        return inner, lambda layout: make(layout.project())
    raise Unfit("cells of several types" if form.is_union else type(form).__name__)


def _numbers(form: Any) -> tuple[Any, Make]:
    import pyarrow as pa

    dtype = np.dtype(form.primitive)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise Unfit(f"{dtype} is no number of up to 64 bits")
    kind, shape = pa.from_numpy_dtype(dtype), tuple(form.inner_shape)
    if 0 in shape:
        raise Unfit("arrays without cells")
    whole = kind
    for size in reversed(shape):
        whole = pa.list_(whole, size)

    def make(layout: Any) -> Any:
        cells = np.asarray(layout.data)
        array = pa.array(np.ascontiguousarray(cells, cells.dtype.newbyteorder("=")).reshape(-1), kind)
        for size in reversed(shape):
            array = pa.FixedSizeListArray.from_arrays(array, size)
        return array

    return whole, make


def _offsets(layout: Any) -> tuple[np.ndarray, Any]:
    """Offsets [n + 1] from 0, and the content up to the last."""
    whole = layout.to_ListOffsetArray64(True)
    offsets = np.asarray(whole.offsets)
    return offsets.astype(np.int32), whole.content[: offsets[-1]]


def _lists(layout: Any, make: Make) -> Any:
    import pyarrow as pa

    offsets, content = _offsets(layout)
    return pa.ListArray.from_arrays(pa.array(offsets), make(content))


def _options(layout: Any, make: Make) -> Any:
    import pyarrow as pa

    whole = layout.to_IndexedOptionArray64()
    index = np.asarray(whole.index)
    return make(whole.content).take(pa.array(np.maximum(index, 0), mask=index < 0))


def _text(layout: Any) -> Any:
    import pyarrow as pa

    offsets, content = _offsets(layout)
    letters = np.ascontiguousarray(content.data).tobytes()
    found = pa.StringArray.from_buffers(len(layout), pa.py_buffer(offsets), pa.py_buffer(letters))
    try:
        found.validate(full=True)
    except pa.ArrowInvalid:  # text of before UTF-8
        words = (letters[a:b] for a, b in itertools.pairwise(offsets))
        return pa.array([word.decode("latin-1") for word in words], pa.string())
    return found


def _record(form: Any) -> tuple[Any, Make]:
    """A struct of an object's members, those of vectors under the names of physics."""
    ways = [(f, (f,)) for f in form.fields if not f.startswith(HOUSEKEEPING)]
    if form.parameter("__array__") == "sorted_map" or set(form.fields) == {"0", "1"}:
        ways = [("key", ("0",)), ("value", ("1",))]
    if list(form.fields) == ["fCoordinates"] and form.content("fCoordinates").is_record:
        inner = form.content("fCoordinates")
        return _members(form, _known(inner, ("fCoordinates",)) or [(f, ("fCoordinates", f)) for f in inner.fields])
    if not ways:
        raise Unfit("objects without members")
    return _members(form, _known(form, ()) or ways)


def _known(form: Any, before: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]] | None:
    """(name, way) of the coordinates of a vector of ROOT; None for other classes."""
    said = re.sub(r"<.*", "", str(form.parameter("__record__") or "")).rsplit("::", 1)[-1]
    members = MEMBERS.get(said)
    if members is None or not {way.split(".")[0] for way in members} <= set(form.fields):
        return None
    return [(name, (*before, *way.split("."))) for way, name in members.items()]


def _members(form: Any, ways: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[Any, Make]:
    import pyarrow as pa

    made = []
    for name, way in ways:
        inner = form
        for step in way:
            inner = inner.content(step)
        made.append((name, way, *_column(inner)))
    fields = [pa.field(name, kind) for name, _, kind, _ in made]

    def make(layout: Any) -> Any:
        arrays = []
        for _, way, _, of in made:
            inner = layout
            for step in way:
                inner = inner.content(step)
            arrays.append(of(inner))
        return pa.StructArray.from_arrays(arrays, fields=fields)

    return pa.struct(fields), make
