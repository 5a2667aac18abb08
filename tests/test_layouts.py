"""Arrow's newer layouts, types that Parquet does not have, and words that no category can hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import done, refused

from diabolo import Autoencoder
from diabolo.data.formats import read_batches
from diabolo.data.layouts import in_plain_layouts, plain_layout

ROWS = 120
NUMBERS = pa.array(np.random.default_rng(0).normal(size=ROWS))
RUNS = pa.RunEndEncodedArray.from_arrays([40, 100, ROWS], [1.0, None, 5.0])
LISTS = [[float(i)] * (i % 4) if i % 9 else None for i in range(ROWS)]
VIEWS = {
    "runs": RUNS,
    "runs-of-words": pa.RunEndEncodedArray.from_arrays([40, ROWS], ["u", "v"]),
    "views-of-lists": pa.array(LISTS, pa.list_view(pa.float64())),
    "large-views-of-lists": pa.array(LISTS, pa.large_list_view(pa.float32())),
}


def arrow(path, **columns):
    table = pa.table(columns)
    with pa.ipc.new_file(path, table.schema) as out:
        out.write_table(table)
    return path


@pytest.mark.parametrize(("start", "rows"), [(0, ROWS), (3, 50), (ROWS - 1, 1), (0, 0)])
@pytest.mark.parametrize("kind", VIEWS)
def test_newer_layouts_have_the_same_cells_in_older_ones(kind, start, rows):
    batch = pa.record_batch({"a": VIEWS[kind]}).slice(start, rows)
    plain = in_plain_layouts(batch, plain_layout(batch.schema))
    plain.validate(full=True)
    assert plain.to_pylist() == batch.to_pylist()
    assert str(plain.schema.field("a").type) in ("double", "string", "list<item: double>", "large_list<item: float>")


@pytest.mark.parametrize("kind", VIEWS)
def test_arrow_files_of_newer_layouts_go_through_the_verbs(kind, tmp_path):
    path, model = arrow(tmp_path / "a.arrow", x=NUMBERS, a=VIEWS[kind]), tmp_path / "m.diabolo"
    more = ("--take", "a:2") if "lists" in kind else ()
    assert "a" in done("info", path)
    done("fit", path, "-o", model, "--epochs", 1, "-q", *more)
    done("score", model, path, "-o", tmp_path / "s.parquet")
    done("compress", model, path, "-o", tmp_path / "a.dbl", "--no-verdict")
    done("decompress", tmp_path / "a.dbl", "-o", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").column("a").to_pylist() == VIEWS[kind].to_pylist()


def test_frames_of_newer_layouts_are_fitted():
    model = Autoencoder(epochs=1).fit(pa.table({"x": NUMBERS, "a": RUNS}))
    assert model.score_samples(pa.table({"x": NUMBERS, "a": RUNS})).shape == (ROWS,)


def test_a_run_is_read_a_part_at_a_time(tmp_path):
    """One run may stand for any number of rows."""
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([10**6], pa.int32()), [1.0])
    path = arrow(tmp_path / "a.arrow", a=runs)
    assert max(batch.num_rows for batch in read_batches(path)) < 10**6
    assert sum(batch.num_rows for batch in read_batches(path)) == 10**6


def test_types_that_parquet_does_not_have_are_named_with_the_form_that_has_them(tmp_path):
    spans = pa.array([pa.MonthDayNano([1, 2, 3])] * ROWS)
    path, model = arrow(tmp_path / "a.arrow", x=NUMBERS, span=spans), tmp_path / "m.diabolo"
    done("fit", path, "-o", model, "--epochs", 1, "-q", "--exclude", "span")
    done("compress", model, path, "-o", tmp_path / "a.dbl", "--no-verdict")
    line = refused("decompress", tmp_path / "a.dbl", "-o", tmp_path / "b.parquet")
    assert "column 'span' holds month_day_nano_interval, which a Parquet file cannot hold; write .arrow" in line
    done("decompress", tmp_path / "a.dbl", "-o", tmp_path / "b.arrow")
    assert pa.ipc.open_file(tmp_path / "b.arrow").read_all().column("span").to_pylist() == spans.to_pylist()


def test_a_column_of_long_words_is_shown_beside_the_others_and_left_out_by_the_printed_option(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"s": ["x" * 70_000, *["y"] * (ROWS - 1)], "a": NUMBERS}), path)
    shown = done("info", path)
    assert "'s' holds a text of 70,000 bytes" in shown
    assert "leave out what cannot be fitted: --exclude s" in shown
    assert "--exclude s leaves it out" in refused("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1)
    done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--exclude", "s")
