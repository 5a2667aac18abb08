"""Lists of rows: what is read and refused, and that rows which are left out play no part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from program import done, refused, table, write

from diabolo.data.formats import RowList, read_batches, schema_of
from diabolo.data.row_list import left_out_of, read_row_list
from diabolo.errors import DataError
from diabolo.file.model_file import ModelFile


@pytest.mark.parametrize(
    ("text", "rows", "of"),
    [
        ("row\n1\n0\n", [0, 1], None),
        ("row\n20240102\n20240101\n", [20240101, 20240102], None),
        ("row,table_rows\n5,400\n7,400\n", [5, 7], 400),
        ("\ufeffrow;note\n7;a b\n", [7], None),
        ("id,row\na,5\nb,1\n", [1, 5], None),
    ],
)
def test_lists_are_read(here, text, rows, of):
    (here / "rows.csv").write_text(text)
    found = read_row_list("rows.csv")
    assert (found.rows.tolist(), found.of) == (rows, of)


def test_what_score_writes_is_a_list(here, shop):
    done("score", shop / "vae.diabolo", shop / "data.parquet", "-o", "scores.parquet", "-q")
    scores = pd.read_parquet("scores.parquet")
    odd = scores[scores.is_anomaly]
    odd.to_parquet("odd.parquet")
    assert read_row_list("odd.parquet").rows.tolist() == odd.row.tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row\n7\n7\n8\n8\n", "rows.csv: 7, 8 are listed twice"),
        ("row\n7\nx\n-3\n2.5\n", "rows.csv: row holds 'x', '-3', '2.5'; allowed are whole numbers from 0 up"),
        ("row\nx\n7\n7\n", "row holds 'x'; allowed are whole numbers from 0 up; 7 is listed twice"),
        ("row,a\n,1\n4,1\n", "row holds empty"),
        ("row\n", "lists no row"),
        ("rows\n4\n", "has no column 'row' of row numbers: did you mean"),
        ("row,table_rows\n1,400\n2,401\n", "table_rows is 400 and 401; a list is of one table"),
    ],
)
def test_lists_that_are_none_are_refused(here, text, said):
    (here / "rows.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_row_list("rows.csv")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row\n399\n400\n401\n", "rows.csv: row 400 and 1 more: "),
        ("row,table_rows\n3,399\n", "rows.csv: lists rows of a table of 399 rows, and "),
    ],
)
def test_lists_of_another_table_are_refused_by_each_verb(here, shop, suffix, text, said):
    """A file that tells its number of rows, and one that has to be read for it."""
    (here / "rows.csv").write_text(text)
    data, model = shop / f"data.{suffix}", shop / "vae.diabolo"
    assert said in refused("explain", model, data, "--rows", "rows.csv")
    assert said in refused("fit", data, "-o", "new.diabolo", "--exclude-rows", "rows.csv", "--epochs", 1, "-q")
    assert said in refused("calibrate", model, data, "-o", "new.diabolo", "--exclude-rows", "rows.csv")
    assert not (here / "new.diabolo").exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_list_of_all_rows_leaves_none(here, shop, suffix):
    pd.DataFrame({"row": np.arange(400)}).to_csv("rows.csv", index=False)
    said = refused("fit", shop / f"data.{suffix}", "-o", "new.diabolo", "--exclude-rows", "rows.csv", "-q")
    assert "rows.csv: lists all 400 rows of " in said


def test_explain_wants_a_row_and_takes_both_ways(here, shop):
    words = ("explain", shop / "vae.diabolo", shop / "data.parquet")
    assert "no row is named: give --row N, or --rows FILE" in refused(*words)
    (here / "rows.csv").write_text("row,table_rows\n7,400\n3,400\n")
    said = done(*words, "--rows", "rows.csv", "--row", "3", "--row", "9", "--columns", 1)
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("row ")] == ["row 3", "row 7", "row 9"]
    pd.DataFrame({"row": np.arange(1001)}).to_csv("many.csv", index=False)
    write(table(1100), here / "long.parquet")
    assert "at most 1,000 rows are explained at once" in refused(*words[:2], "long.parquet", "--rows", "many.csv")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_rows_that_are_left_out_are_not_read(here, suffix):
    frame, out = table(300), np.array([0, 5, 6, 299])
    write(frame, here / f"data.{suffix}")
    pd.DataFrame({"row": out}).to_csv("rows.csv", index=False)
    data = left_out_of(f"data.{suffix}", "rows.csv")
    left = pd.concat([b.to_pandas() for b in read_batches(data, ["pt"])])["pt"].to_numpy()
    assert np.array_equal(left, frame.pt.drop(out).to_numpy())
    assert schema_of(data)[1] in (None, 296)
    without = RowList("rows.csv", out)
    assert [without.number(i) for i in range(296)] == frame.index.drop(out).tolist()


def test_a_fit_without_rows_is_that_of_the_table_without_them(here):
    """The oracle: a table from which they were taken; and a negative control, a fit with them."""
    frame, out = table(300), [0, 17, 250]
    write(frame, here / "data.parquet")
    write(frame.drop(out), here / "less.parquet")
    pd.DataFrame({"row": out, "table_rows": 300}).to_csv("rows.csv", index=False)
    settings = ("--exclude", "truth", "--epochs", 2, "-q")
    said = done("fit", "data.parquet", "-o", "a.diabolo", "--exclude-rows", "rows.csv", *settings)
    done("fit", "less.parquet", "-o", "b.diabolo", *settings)
    done("fit", "data.parquet", "-o", "c.diabolo", *settings)
    assert "297 rows, 5 columns" in said
    assert "3 rows were left out: rows.csv lists them" in said
    a, b, c = (ModelFile(here / f"{name}.diabolo").hashes for name in "abc")
    same = [name for name in a if name != "main"]
    assert [a[n] for n in same] == [b[n] for n in same]
    assert [a[n] for n in same] != [c[n] for n in same]
    parameters = [ModelFile(here / f"{n}.diabolo").autoencoder.model.store.flat.tolist() for n in "abc"]
    assert parameters[0] == parameters[1] != parameters[2]
    again = done("calibrate", "a.diabolo", "data.parquet", "-o", "d.diabolo", "--exclude-rows", "rows.csv")
    assert "3 rows were left out: rows.csv lists them" in again
    first, renewed = (ModelFile(here / f"{n}.diabolo").detector for n in "ad")
    assert renewed.n_calibration == first.n_calibration, "the rows that the fit kept apart"
    assert renewed.threshold == first.threshold


def test_a_message_says_how_rows_are_numbered(here):
    """Row 5 of what is left is row 6 of the table."""
    frame = table(300).assign(w=1.0)
    frame.loc[6, "w"] = -1.0
    write(frame, here / "data.parquet")
    (here / "rows.csv").write_text("row\n2\n")
    words = ("--exclude-rows", "rows.csv", "--weight", "w")
    for memory in ("1KB", "1GB"):
        said = refused("fit", "data.parquet", "-o", "a.diabolo", *words, "--memory", memory, "-q")
        assert "of row 5 is -1.0" in said
        assert "(rows are numbered without the 1 of rows.csv)" in said
    assert "of row 6 is -1.0; allowed are finite numbers from 0 up\n" in refused(
        "fit", "data.parquet", "-o", "a.diabolo", "--weight", "w", "-q"
    )
    (here / "rows.csv").write_text("row\n6\n")
    done("fit", "data.parquet", "-o", "a.diabolo", *words, "--epochs", 1, "-q")
