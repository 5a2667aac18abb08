"""Data frames of any library: columns are found by their names, whatever their order, and odd ones are named."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from diabolo import AnomalyDetector, Autoencoder, Compressor, decompress
from diabolo.data.table import as_table
from diabolo.errors import DataError


class Frame:
    """A frame of another library, which gives its columns by Arrow's C stream interface alone."""

    def __init__(self, table):
        self.table = table

    @property
    def columns(self):
        return self.table.column_names

    def __len__(self):
        return self.table.num_rows

    def __iter__(self):
        raise AssertionError("taken for an array")

    def __array__(self, *_, **__):
        raise AssertionError("taken for an array")

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Turning:
    """A frame without a stream, which turns into one that has it."""

    columns = ("a", "b", "c")

    def __init__(self, table):
        self.table = table

    def to_arrow(self):
        return self.table


class Ours(pd.DataFrame):
    """A subclass of a user's own module, as GeoDataFrame is."""


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(600, 3)) * [1, 10, 1000] + [0, 50, -9000], columns=list("abc"))


@pytest.fixture(scope="module")
def detector(rows):
    return AnomalyDetector(Autoencoder(epochs=2)).fit(rows)


@pytest.mark.parametrize("kind", [Frame, Turning, Ours, pa.table, pa.record_batch])
def test_columns_of_every_frame_are_matched_by_name(kind, rows, detector):
    def made(frame):
        if kind is Ours:
            return Ours(frame)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        return kind(table) if kind in (Frame, Turning) else kind({n: table.column(n).combine_chunks() for n in frame})

    expected = detector.anomaly_score(rows)
    for order in (["c", "a", "b"], ["b", "c", "a"]):
        found = made(rows.assign(more=1.0)[["more", *order]])
        np.testing.assert_array_equal(detector.anomaly_score(found), expected)
    with pytest.raises(DataError, match="column 'b' is missing"):
        detector.predict(made(rows[["a", "c"]].assign(d=1.0)))
    fitted = Autoencoder(epochs=1).fit(made(rows[["b", "a", "c"]]))
    assert list(fitted.feature_names_in_) == ["b", "a", "c"]


def test_columns_as_polars_has_them():
    words = pa.array(["x", "y", None, "x"])
    moments = [datetime.datetime(2024, 1, 1, 12)] * 4
    views = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 0], pa.uint32()), pa.array(["x", "y"], pa.string_view())
    )
    levels = pa.DictionaryArray.from_arrays(pa.array([2, 0, None, 2], pa.uint8()), pa.array(["z", "y", "x"]))
    table = pa.table(
        {
            "text": words.cast(pa.string_view()),
            "categorical": views,
            "enum": levels,
            "day": pa.array(moments, pa.date32()),
            "us": pa.array(moments, pa.timestamp("us")),
            "ns": pa.array(moments, pa.timestamp("ns", tz="UTC")),
            "price": pa.array([1, 2, None, 4], pa.decimal128(10, 2)),
            "s": pa.array([{"u": 1, "v": 2.5}] * 4),
        }
    )
    found = as_table(Frame(table))
    assert found.names == ["text", "categorical", "enum", "day", "us", "ns", "price", "s_u", "s_v"]
    for i, name in enumerate(("text", "categorical", "enum")):
        own = found.levels[name]
        cells = [None if np.isnan(c) else own[int(c)] for c in found.values[:, i]]
        assert cells == ["x", "y", None, "x"] if name != "enum" else cells == ["x", "z", None, "x"]
    assert found.values[0, 3] == datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC).timestamp()
    assert (found.values[:, 4] == found.values[:, 5]).all()
    assert found.values[:, 6].tolist()[:2] == [1, 2]
    # A codec gives back what came, views and all.
    back = decompress(Compressor(max_error=None).fit(Frame(table)).compress(Frame(table)))
    assert back.equals(table)


def test_one_type_of_decimals_in_all_columns():
    table = pa.table({n: pa.array([1, None, 3], pa.decimal128(10, 2)) for n in "ab"})
    np.testing.assert_array_equal(as_table(table).values, [[1, 1], [np.nan, np.nan], [3, 3]])


def test_pandas_columns_that_are_no_plain_numbers():
    frame = pd.DataFrame({"k": list("abca"), "x": [1.0, 2.0, 3.0, 4.0]})
    sparse = pd.get_dummies(frame, columns=["k"], sparse=True)
    dense = pd.get_dummies(frame, columns=["k"])
    np.testing.assert_array_equal(as_table(sparse).values, as_table(dense).values)
    bins = as_table(frame.assign(k=pd.cut(frame["x"], 2)))
    assert len(bins.levels["k"]) == 2
    periods = as_table(pd.DataFrame({"p": pd.period_range("1970", periods=3, freq="Y")}))
    assert periods.values[:, 0].tolist() == [0, 365 * 86400, 730 * 86400]


def _refused(job, *given):
    with pytest.raises(DataError) as error:
        job(*given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_columns_and_frames_that_cannot_be_read_are_named():
    assert "column 'i' holds intervals" in _refused(as_table, pd.DataFrame({"i": pd.interval_range(0, 3)}))
    assert "column 'm' holds object of mixed kinds" in _refused(as_table, pd.DataFrame({"m": [1, "a", 2.0]}))
    assert "column 'z' holds complex128" in _refused(as_table, pd.DataFrame({"z": [1 + 2j]}))
    assert "duplicate column names in the data frame: a" in _refused(
        as_table, pd.DataFrame([[1, 2]], columns=["a", "a"])
    )
    two = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert "duplicate column names in the Arrow table: a" in _refused(as_table, Frame(two))
    assert "is no table" in _refused(as_table, pa.chunked_array([[1, 2]]))

    class Lazy:
        def collect_schema(self):
            raise AssertionError("asked for more than whether it is a frame")

        def collect(self):
            raise AssertionError("collected unasked")

    assert "(X.collect())" in _refused(as_table, Lazy())


def test_columns_that_a_codec_would_not_give_back_are_all_named():
    frame = pd.DataFrame({"k": list("abca"), "x": [1.0, 2.0, 3.0, 4.0]})
    odd = pd.get_dummies(frame, columns=["k"], sparse=True).assign(bins=pd.cut(frame["x"], 2))
    said = _refused(Compressor().fit, odd)
    for name in ("'k_a' is sparse", "'k_b' is sparse", "'bins' is a category of intervals"):
        assert name in said
    assert "mixed kinds" in _refused(Compressor().fit, pd.DataFrame({"m": [1, "a", 2.0]}))
    kept = pd.DataFrame({"i": pd.interval_range(0, 3), "p": pd.period_range("1970", periods=3, freq="Y")})
    back = decompress(Compressor(max_error=None).fit(kept).compress(kept))
    pd.testing.assert_frame_equal(back, kept)
