"""Text tables in the ways that people write them: what a sample tells, what is asked, what a model keeps."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import done, refused

from diabolo.data.choosing import choose_columns
from diabolo.data.dialect.record import Asked, Dialect, Form, Reading
from diabolo.data.formats import read_batches, schema_of, text_of, with_reading, write_batches
from diabolo.data.formats.csv import Csv
from diabolo.errors import ConfigError, DataError, ModelFileError
from diabolo.file.model_file import ModelFile


def table(text, folder, name="a.csv", encoding="utf-8", **asked):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return with_reading(path, Reading(Asked(**asked)))


def cells(data, *columns):
    """Columns as Python values."""
    read = pa.Table.from_batches(list(read_batches(data, list(columns) or None)))
    return {n: read.column(n).to_pylist() for n in read.column_names}


DAY = datetime.date
#: text → columns as they are to be read.
READ = {
    "semicolons-and-decimal-commas": ("a;b\n1,5;x\n2,25;y\n", {"a": [1.5, 2.25], "b": ["x", "y"]}),
    "no-header-decimal-commas": ("1,5;2,25\n3,75;4,5\n", {"column1": [1.5, 3.75], "column2": [2.25, 4.5]}),
    "tabs-in-csv": ("a\tb\n1\tx y\n2\tz\n", {"a": [1, 2], "b": ["x y", "z"]}),
    "bars": ("a|b\n1|2\n3|4\n", {"a": [1, 3], "b": [2, 4]}),
    "runs-of-blanks": ("  x   y\n  1   2\n 10  20\n", {"x": [1, 10], "y": [2, 20]}),
    "names-of-rows": (
        '"x" "y"\n"Mazda RX4" 21 6\n"Datsun" 22 4\n',
        {"column1": ["Mazda RX4", "Datsun"], "x": [21, 22], "y": [6, 4]},
    ),
    "an-index": (",x,y\n0,1.5,a\n1,2.5,b\n", {"x": [1.5, 2.5], "y": ["a", "b"]}),
    "an-index-of-R": ('"","x"\n"1",1.5\n"2",2.5\n', {"x": [1.5, 2.5]}),
    "unnamed-but-no-index": (",x\n7,1.5\n3,2.5\n", {"column1": [7, 3], "x": [1.5, 2.5]}),
    "a-comma-at-the-end": ("x,y,\n1,2,\n3,4,\n", {"x": [1, 3], "y": [2, 4]}),
    "names-twice": ("a,b,a\n1,2,3\n4,5,6\n", {"a": [1, 4], "b": [2, 5], "a_2": [3, 6]}),
    "blanks-around-names": (" a , b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
    "units": ("t,v\ns,m/s\n1,2\n3,4\n5,6\n", {"t": [1, 3, 5], "v": [2, 4, 6]}),
    "comments": ("# made by me\n#\nx,y\n1,2\n# no row, is it, or\n3,4\n", {"x": [1, 3], "y": [2, 4]}),
    "names-in-a-comment": ("# x y\n1 2\n3 4\n", {"x": [1, 3], "y": [2, 4]}),
    "a-line-for-Excel": ("sep=;\r\na;b\r\n1,5;2\r\n3,25;4\r\n", {"a": [1.5, 3.25], "b": [2, 4]}),
    "a-line-for-Excel-in-quotes": ('"sep=|"\na|b,c\n1|2\n3|4\n', {"a": [1, 3], "b,c": [2, 4]}),
    "names-over-two-lines": (
        "a,a,b\nx,y,k\n1,2,u\n3,4,v\n5,6,w\n",
        {"a x": [1, 3, 5], "a y": [2, 4, 6], "b k": ["u", "v", "w"]},
    ),
    "names-over-two-lines-and-an-index": (
        ",a,a\n,mean,std\nk,,\nu,1,2\nv,3,4\nw,5,6\n",
        {"k": ["u", "v", "w"], "a mean": [1, 3, 5], "a std": [2, 4, 6]},
    ),
    "names-over-three-lines": (
        "a,a,a\nx,x,y\nmin,max,min\n" + "1,2,3\n4,5,6\n" * 5,
        {"a x min": [1, 4] * 5, "a x max": [2, 5] * 5, "a y min": [3, 6] * 5},
    ),
    "units-under-names-that-repeat": (
        "a,b,a\nm,s,m\n1,2,3\n3,4,5\n5,6,7\n",
        {"a": [1, 3, 5], "b": [2, 4, 6], "a_2": [3, 5, 7]},
    ),
    "a-title": ("Report of 2020\n\na,b,c\n1,2,3\n4,5,6\n", {"a": [1, 4], "b": [2, 5], "c": [3, 6]}),
    "thousands": ('p\n"1,200.5"\n"1,234,567"\n3\n', {"p": [1200.5, 1234567, 3]}),
    "thousands-by-another-column": ('p,x\n"1,200",0.5\n"1,037",1.25\n', {"p": [1200, 1037], "x": [0.5, 1.25]}),
    "thousands-of-points": ("p;x\n1.200,5;1\n3,25;2\n", {"p": [1200.5, 3.25], "x": [1, 2]}),
    "thousands-of-blanks": ("p;x\n1 234,5;1\n12 000,1;2\n", {"p": [1234.5, 12000.1], "x": [1, 2]}),
    "thousands-of-apostrophes": ("p;x\n1'234.5;1\n2'000.0;2\n", {"p": [1234.5, 2000.0], "x": [1, 2]}),
    "percent": ("p\n45%\n3.5 %\n", {"p": [45, 3.5]}),
    "currency": ('p\n"$1,200.50"\n-$3\n($4)\n', {"p": [1200.5, -3, -4]}),
    "blanks-around-numbers": (
        'p,x\n"25,649   ",1.5\n"850 ",2\n" 1,234,567",3\n',
        {"p": [25649, 850, 1234567], "x": [1.5, 2, 3]},
    ),
    "truth": ("y,z\nyes,ON\nno,OFF\nyes,\n", {"y": [True, False, True], "z": [True, False, None]}),
    "only-yes": ("y,z\nyes,1\nyes,2\n", {"y": ["yes", "yes"], "z": [1, 2]}),
    "digits-with-zeros": ("zip,x\n00501,1\n94043,2\n", {"zip": ["00501", "94043"], "x": [1, 2]}),
    "no-labels": ("a,b\n0,0.5\n10,0.25\n", {"a": [0, 10], "b": [0.5, 0.25]}),
    "exact-integers": ("id\n9007199254740993\n9007199254740995\n", {"id": [9007199254740993, 9007199254740995]}),
    "question-marks": ("a,b\n1.5,x\n?,y\n2.5,?\n", {"a": [1.5, None, 2.5], "b": ["x", "y", None]}),
    "dashes-beside-signs": ("a,b\n1.5,+\n-,-\n2.5,+\n", {"a": [1.5, None, 2.5], "b": ["+", "-", "+"]}),
    "n.d.": ("a,b\n1,x\nn.d.,y\n3,z\n", {"a": [1, None, 3], "b": ["x", "y", "z"]}),
    "blank-cells": ("a,b\n1.5,x\n ,y\n2.5,z\n", {"a": [1.5, None, 2.5], "b": ["x", "y", "z"]}),
    "Namibia": ("c\nNA\nZA\nDE\nFR\nBR\nIN\n", {"c": ["NA", "ZA", "DE", "FR", "BR", "IN"]}),
    "no-Namibia": ("c,x\nNA,1\nred,2\nblue,3\nred,4\n", {"c": [None, "red", "blue", "red"], "x": [1, 2, 3, 4]}),
    "days-first": ("d\n24/08/2008\n1/5/2019\n", {"d": [DAY(2008, 8, 24), DAY(2019, 5, 1)]}),
    "months-first": ("d\n3/14/2025\n1/5/2019\n", {"d": [DAY(2025, 3, 14), DAY(2019, 1, 5)]}),
    "days-first-by-another-column": (
        "d,e\n1/5/2019,24.08.2008\n2/5/2019,01.01.2001\n",
        {"d": [DAY(2019, 5, 1), DAY(2019, 5, 2)], "e": [DAY(2008, 8, 24), DAY(2001, 1, 1)]},
    ),
    "dashes": ("d\n17-08-1984\n01-02-1985\n", {"d": [DAY(1984, 8, 17), DAY(1985, 2, 1)]}),
    "year-first": ("d\n2018/10/15\n2018/1/2\n", {"d": [DAY(2018, 10, 15), DAY(2018, 1, 2)]}),
    "names-of-months": (
        "d,e\nJan-1-1995,14 March 2025\nFeb-13-1996,2 April 2024\n",
        {"d": [DAY(1995, 1, 1), DAY(1996, 2, 13)], "e": [DAY(2025, 3, 14), DAY(2024, 4, 2)]},
    ),
    "months": ("d,x\n2000-01,1\n2000-11,2\n", {"d": [DAY(2000, 1, 1), DAY(2000, 11, 1)], "x": [1, 2]}),
    "seasons-are-no-months": ("d,x\n2000-01,1\n2001-02,2\n", {"d": ["2000-01", "2001-02"], "x": [1, 2]}),
    "quarters": ("d,x\n1974Q1,1\n1974Q4,2\n", {"d": [DAY(1974, 1, 1), DAY(1974, 10, 1)], "x": [1, 2]}),
    "eight-digits": (
        "d,x\n19580329,1\n19580405,2\n19580412,3\n",
        {"d": [DAY(1958, 3, 29), DAY(1958, 4, 5), DAY(1958, 4, 12)], "x": [1, 2, 3]},
    ),
    "eight-digits-that-are-no-days": ("d\n19580329\n19580431\n19580412\n", {"d": [19580329, 19580431, 19580412]}),
    "moments": (
        "t\n3/14/2025 1:20\n12/1/2025 13:05\n",
        {"t": [datetime.datetime(2025, 3, 14, 1, 20), datetime.datetime(2025, 12, 1, 13, 5)]},
    ),
    "afternoon": (
        "t\n3/14/2025 1:20 PM\n12/1/2025 12:05 AM\n",
        {"t": [datetime.datetime(2025, 3, 14, 13, 20), datetime.datetime(2025, 12, 1, 0, 5)]},
    ),
    "times-of-day": ("t,x\n13:08,1\n09:15,2\n", {"t": [datetime.time(13, 8), datetime.time(9, 15)], "x": [1, 2]}),
    "durations": ("t,x\n26:30:00,1\n1 day 01:00:00,2\n-0:01:30,3\n", {"t": [95400, 90000, -90], "x": [1, 2, 3]}),
    "single-quotes": (
        "0.23,5.07,'-1'\n0.15,-0.16,'-1'\n0.3,0.4,'1'\n",
        {"column1": [0.23, 0.15, 0.3], "column2": [5.07, -0.16, 0.4], "column3": [-1, -1, 1]},
    ),
    "lines-in-cells": ('a,b\n1,"x\ny"\n2,"z"\n', {"a": [1, 2], "b": ["x\ny", "z"]}),
    "years-as-names": (
        "country,1990,1991,1992\nFR,1,2,3\nDE,2,3,4\n",
        {"country": ["FR", "DE"], "1990": [1, 2], "1991": [2, 3], "1992": [3, 4]},
    ),
    "no-header-beside-text": (
        "M,0.455,15\nM,0.35,7\nF,0.53,9\n",
        {"column1": ["M", "M", "F"], "column2": [0.455, 0.35, 0.53], "column3": [15, 7, 9]},
    ),
    "no-header-rising": ("108,392.5\n19,46.2\n13,15.7\n", {"column1": [108, 19, 13], "column2": [392.5, 46.2, 15.7]}),
    "numbers-in-single": ("1.51e+02\n7.5e+01\n1.41e+02\n", {"column1": [151, 75, 141]}),
    "years-beyond-four-digits": ("d,x\n24/08/10001,1\n1/5/2019,2\n", {"d": None, "x": [1, 2]}),
}


@pytest.mark.parametrize("case", READ)
def test_what_a_sample_tells(case, tmp_path):
    text, wanted = READ[case]
    data = table(text, tmp_path)
    if None in wanted.values():
        column = pa.Table.from_batches(list(read_batches(data))).column("d")
        assert str(column.cast(pa.timestamp("s")).to_numpy()[0]) == "10001-08-24T00:00:00"
        return
    assert cells(data) == wanted
    assert schema_of(data)[0].names == list(wanted)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings(encoding, tmp_path):
    data = table("größe,y\n1,Käse\n2,Brötchen\n", tmp_path, encoding=encoding)
    assert cells(data) == {"größe": [1, 2], "y": ["Käse", "Brötchen"]}
    cyrillic = table("размер,y\n1,сыр\n2,хлеб\n", tmp_path, encoding="cp1251")
    with pytest.raises(DataError, match="--encoding says it"):
        cells(cyrillic)
    assert cells(with_reading(cyrillic, Reading(Asked(encoding="cp1251"))))["размер"] == [1, 2]


#: text → the column with two readings, and an option with its result for each.
ASKED = {
    "1,234": ('p,x\n"1,000",1\n"1,037",2\n', "p", {"decimal": [(".", [1000, 1037]), (",", [1.0, 1.037])]}),
    "1.234": ("p;x\n1.234;1\n5.678;2\n", "p", {"decimal": [(".", [1.234, 5.678]), (",", [1234, 5678])]}),
    "days": (
        "p,x\n1/5/2019,1\n2/5/2019,2\n",
        "p",
        {"dates": [(("p=%d/%m/%Y",), [DAY(2019, 5, 1), DAY(2019, 5, 2)]), (("p=none",), ["1/5/2019", "2/5/2019"])]},
    ),
    "NA": (
        "p,x\nNA,1\nCA,2\nAL,3\nGA,4\n",
        "p",
        {"missing": [(("p=NA",), [None, "CA", "AL", "GA"]), (("p=",), ["NA", "CA", "AL", "GA"])]},
    ),
}


@pytest.mark.parametrize("case", ASKED)
def test_two_readings_are_asked_about_and_never_guessed(case, tmp_path):
    text, column, answers = ASKED[case]
    data = table(text, tmp_path)
    assert list(text_of(data).questions) == [column]
    with pytest.raises(DataError, match=f"column '{column}': .* may be .*--"):
        cells(data)
    assert cells(data, "x")["x"][:2] == [1, 2]  # what is not read is not asked about
    for option, choices in answers.items():
        for value, wanted in choices:
            assert cells(table(text, tmp_path, **{option: value}))[column] == wanted


@pytest.mark.parametrize("text", ["0,1\n0,2\n1,2\n2,3\n", "150,4,setosa\n5.1,3.5,0\n4.9,3.0,0\n"])
def test_a_first_line_that_may_be_either_is_asked_about(text, tmp_path):
    data = table(text, tmp_path)
    with pytest.raises(DataError, match="may be names or a row: --header first or --header none says it"):
        schema_of(data)
    rows = text.count("\n")
    for header, count in (("first", rows - 1), ("none", rows)):
        assert len(next(iter(cells(table(text, tmp_path, header=header)).values()))) == count


def test_epochs_and_further_marks(tmp_path):
    text = "t,x,y\n1600000000,1.5,a\n1600000100,<0.006,b\n1600000200,2.5,c\n"
    read = cells(table(text, tmp_path, dates=("t=epoch",), missing=("<0.006",)))
    assert read["t"][0] == datetime.datetime(2020, 9, 13, 12, 26, 40)
    assert read["x"] == [1.5, None, 2.5]
    with pytest.raises(DataError, match=r"--date: no column 'when': did you mean 't'|it has"):
        schema_of(table(text, tmp_path, dates=("when=epoch",)))


@pytest.mark.parametrize(
    "asked",
    [
        {"separator": "::"},
        {"decimal": ";"},
        {"header": "two"},
        {"encoding": "none such"},
        {"dates": ("d=%k",)},
        {"dates": ("d",)},
    ],
)
def test_wrong_options(asked):
    with pytest.raises(ConfigError, match="--"):
        Asked(**asked)


NUMBERS = st.lists(st.floats(-1e9, 1e9).map(lambda v: round(v, 3)), min_size=12, max_size=40)
DATES = st.dates(DAY(1900, 1, 1), DAY(2100, 12, 31))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tables_in_random_dialects_come_back(data, tmp_path_factory):
    """Written by pandas in a random dialect, read back: right values, or a question, and never others."""
    floats = data.draw(NUMBERS)
    n = len(floats)
    frame = pd.DataFrame(
        {
            "real": floats,
            "whole": data.draw(st.lists(st.integers(-(2**62), 2**62), min_size=n, max_size=n)),
            "word": data.draw(st.lists(st.sampled_from(["red", "größer", "a b", "it's"]), min_size=n, max_size=n)),
            "label": [f"{v:05d}" for v in data.draw(st.lists(st.integers(0, 999), min_size=n, max_size=n))],
            "day": pd.to_datetime(data.draw(st.lists(DATES, min_size=n, max_size=n))),
            "yes": data.draw(st.lists(st.booleans(), min_size=n, max_size=n)),
        }
    )
    frame["yes"] = frame["yes"].map({True: "yes", False: "no"})
    sep, decimal = data.draw(
        st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", ".")])
    )
    gone = data.draw(st.sampled_from(["", "NA", "?", "n.d."]))
    form = data.draw(st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y", "%Y%m%d"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]))
    index, holes = data.draw(st.booleans()), data.draw(st.booleans())
    if holes:
        frame.loc[1::5, "real"] = np.nan
    path = Path(tmp_path_factory.mktemp("dialect")) / "a.csv"
    frame.to_csv(path, sep=sep, decimal=decimal, na_rep=gone, date_format=form, encoding=encoding, index=index)
    questions = text_of(path).questions
    # Days to the twelfth alone, numbers like 1.234 alone: what no sample tells.
    assert set(questions) <= {"day", "real"}
    days = frame["day"]
    assert "day" not in questions or (days.dt.day <= 12).all()
    columns = [c for c in frame.columns if c not in questions]
    back = cells(path, *columns)
    assert schema_of(path)[0].names == list(frame.columns)
    for name in columns:
        wanted = frame[name].tolist()
        if name == "real":
            assert back[name] == [None if v != v else v for v in wanted]
        elif name == "yes" and len(set(wanted)) == 2:
            assert back[name] == [v == "yes" for v in wanted]
        elif name == "day" and form == "%Y%m%d" and days.nunique() < 3:
            assert [str(v) for v in back[name]] == days.dt.strftime(form).tolist()
        elif name == "day":
            assert back[name] == [v.date() for v in wanted]
        else:
            assert back[name] == wanted


def test_a_model_keeps_the_dialect_and_the_order_of_dates(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200) * 1000, "k": rng.choice(["00501", "94043"], 200)})
    frame["day"] = pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 700, 200), "D")
    path, model = tmp_path / "a.csv", tmp_path / "m.diabolo"
    frame.to_csv(path, sep=";", decimal=",", date_format="%d/%m/%Y", index=False)
    done("fit", path, "-o", model, "--epochs", 1, "-q", "--only", "main")
    kept = ModelFile(model).schema.dialect
    assert kept.separator == ";"
    assert kept.forms["x"] == Form("number", "", ",")
    assert kept.forms["day"] == Form("date", "%d/%m/%Y")
    # A few rows that tell neither the order of the date nor the mark of the decimals.
    few = tmp_path / "few.csv"
    few.write_text("day;k;x\n1/5/2019;501;1,234\n2/5/2019;94043;2,345\n")
    assert set(text_of(few).questions) == {"day", "x"}
    done("score", model, few, "-o", tmp_path / "s.parquet", "-q")
    same = tmp_path / "few.parquet"
    pd.DataFrame({"x": [1.234, 2.345], "k": ["501", "94043"], "day": [DAY(2019, 5, 1), DAY(2019, 5, 2)]}).to_parquet(
        same
    )
    done("score", model, same, "-o", tmp_path / "t.parquet", "-q")
    one, other = (pd.read_parquet(tmp_path / f"{n}.parquet")["score"].tolist() for n in "st")
    assert one == other
    # Another separator leaves the decimals open, and that is asked about.
    (tmp_path / "tabs.tsv").write_text(few.read_text().replace(";", "\t"))
    line = refused("score", model, tmp_path / "tabs.tsv", "-o", tmp_path / "u.parquet")
    assert "--decimal . or --decimal , says which mark this one has" in line
    done("score", model, tmp_path / "tabs.tsv", "-o", tmp_path / "u.parquet", "-q", "--decimal", ",")
    assert pd.read_parquet(tmp_path / "u.parquet")["score"].tolist() == one


@pytest.mark.parametrize(
    "wrong",
    [
        {"forms": {"x": Form("date", "%Q")}},
        {"forms": {"x": Form("number", "", ",", ",")}},
        {"separator": "ab"},
        {"encoding": "no such"},
        {"skip": -1},
    ],
)
def test_a_dialect_that_no_sample_gives_is_refused(wrong):
    with pytest.raises(ConfigError):
        dataclasses.replace(Dialect(), **wrong).check()
    assert issubclass(ModelFileError, ValueError)


def test_what_goes_out_has_the_forms_that_came_in(tmp_path):
    data = table("t,d,y,q\n13:08,24/08/2008,yes,1974Q1\n09:15,01/05/2019,no,1975Q3\n", tmp_path)
    schema = schema_of(data)[0]
    write_batches(tmp_path / "b.csv", schema, read_batches(data))
    said = (tmp_path / "b.csv").read_text().replace('"', "")
    assert said == "t,d,y,q\n13:08,24/08/2008,yes,1974Q1\n09:15,01/05/2019,no,1975Q3\n"


def test_a_folder_is_read_as_its_first_file_is(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "1.csv").write_text("d;x\n24/08/2008;1,5\n1/5/2019;2,25\n")
    (folder / "2.csv").write_text("d;x\n1/5/2019;1,234\n2/5/2019;5,678\n")
    (folder / "README.txt").write_text("Two runs.\n")
    assert cells(folder)["x"] == [1.5, 2.25, 1.234, 5.678]
    assert cells(folder)["d"][2] == DAY(2019, 5, 1)


def test_later_rows_of_a_large_table_may_hold_what_the_first_block_does_not(tmp_path):
    lines = "1,1\n" * 1_200_000
    data = table(f"x,y\n{lines}2,1.5\n", tmp_path)
    assert [str(f.type) for f in schema_of(data)[0]] == ["double", "double"]
    with pytest.raises(DataError, match=r"row 1200000, column 'y': .*--missing oops says so"):
        cells(table(f"x,y\n{lines}2,oops\n", tmp_path, "b.csv"))


def test_safe_csv(tmp_path):
    (tmp_path / "a.csv").write_text(
        "=x,k\n1.5,=1+1\n2.5,b\n" * 1 + "3.5,-2+3\n" * 30 + "4.5,b\n" * 30 + "2.5,=1+1\n" * 30
    )
    done("fit", tmp_path / "a.csv", "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--only", "main")
    done("sample", tmp_path / "m.diabolo", "-n", 40, "-o", tmp_path / "s.csv", "--safe-csv")
    lines = (tmp_path / "s.csv").read_text().replace('"', "").splitlines()
    assert lines[0] == "'=x,k"
    assert {line.split(",")[1] for line in lines[1:]} <= {"'=1+1", "'-2+3", "b"}


def test_names_with_commas_and_repeated_options(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"City, State",x y,z,$k\n' + "".join(f'"c{i}, S",{i % 7},{i % 5},{i % 3}\n' for i in range(60)))
    assert choose_columns(path, exclude=["City, State"])[0] == ["x y", "z", "$k"]
    assert choose_columns(path, exclude=["City, State,z"])[0] == ["x y", "$k"]
    assert choose_columns(path, exclude=["City, State", "z"])[0] == ["x y", "$k"]
    assert choose_columns(path, columns=["z", "$k"])[0] == ["z", "$k"]
    chosen, left = choose_columns(path, exclude=["unusable"])
    assert chosen == ["x y", "z", "$k"]
    assert list(left) == ["City, State"]


def test_the_dialect_is_plain_json():
    dialect = Dialect(forms={"x": Form("number", "%", ",")}, own={"c": ("NA",)}, names=("x", "c"))
    assert json.loads(json.dumps(dataclasses.asdict(dialect)))["forms"]["x"]["decimal"] == ","
    assert Csv.complete


@pytest.mark.parametrize(
    ("text", "name", "rows"),
    {
        "as wide as the table": ("x,y\n1,2\n# a, b\n5,6\n", "a.csv", [(1, 2), (5, 6)]),
        "one column": ("x\n1\n# a\n5\n", "a.csv", [(1,), (5,)]),
        "behind the header, and at the end": ("# n\n\nx,y\n# a,b\n1,2\n#5,6\n7,8\n# c", "a.csv", [(1, 2), (7, 8)]),
        "other signs": ("x,y\n1,2\n% a, b\n5,6\n", "a.csv", [(1, 2), (5, 6)]),
        "between runs of blanks": ("# x y\n" + "1  2\n" * 9 + " # b c\n 5  6\n", "a.dat", [(1, 2)] * 9 + [(5, 6)]),
        "units under names in a comment": ("# x, y\nm,s\n1,2\n3,4\n5,6\n", "a.csv", [(1, 2), (3, 4), (5, 6)]),
        "colors": ("c,y\n#ff0000,2\n#00ff00,4\nred,3\n", "a.csv", [("#ff0000", 2), ("#00ff00", 4), ("red", 3)]),
        "words": ("c,y\na,2\n# b,4\nc,3\n", "a.csv", [("a", 2), ("# b", 4), ("c", 3)]),
        "in a cell of several lines": ('x,c\n1,"a\n# b"\n2,c\n', "a.csv", [(1, "a\n# b"), (2, "c")]),
    }.values(),
)
def test_comments_between_rows(tmp_path, text, name, rows):
    read = pa.Table.from_batches(read_batches(table(text, tmp_path, name)))
    assert [tuple(row.values()) for row in read.to_pylist()] == rows


def test_a_comment_far_behind_the_sample_is_left_out_by_the_dialect_of_the_fit(tmp_path):
    rows = "".join(f"{i},{i % 7}\n" for i in range(3_000))
    (tmp_path / "a.csv").write_text("x,y\n# a\n" + rows)
    done("fit", tmp_path / "a.csv", "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")
    (tmp_path / "b.csv").write_text("x,y\n" + rows * 9 + "# a, b\n1,1\n")
    done("score", tmp_path / "m.diabolo", tmp_path / "b.csv", "-o", tmp_path / "s.parquet")
    assert len(pd.read_parquet(tmp_path / "s.parquet")) == 27_001


@pytest.mark.parametrize("cell", ["inf", "Inf", "-Infinity"])
def test_infinity_is_missing_once_the_printed_option_is_pasted(tmp_path, cell):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{cell if i == 7 else i % 5},{i % 3}\n" for i in range(200)))
    line = refused("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1)
    option = next(w for w in (["--missing", "-inf"], ["--missing", "inf"]) if " ".join(w) in line)
    done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", *option)
    done("score", tmp_path / "m.diabolo", path, "-o", tmp_path / "s.parquet")
    assert ("--missing -inf" in line) == cell.startswith("-")


def test_both_infinities_are_missing_once_the_printed_options_are_pasted(tmp_path):
    path = tmp_path / "a.csv"
    odd = {7: "inf", 9: "-Infinity"}
    path.write_text("x,y\n" + "".join(f"{odd.get(i, i % 5)},{i % 3}\n" for i in range(200)))
    assert "--missing inf --missing -inf takes it" in refused("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1)
    done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--missing", "inf", "--missing", "-inf")


def test_names_that_repeat_in_the_files_of_the_fit_may_repeat_in_others(tmp_path):
    path, model = tmp_path / "a.csv", tmp_path / "m.diabolo"
    path.write_text("a,b,a\n" + "".join(f"{i % 7},{i % 5},{i % 3}\n" for i in range(200)))
    done("fit", path, "-o", model, "--epochs", 1, "-q")
    done("score", model, path, "-o", tmp_path / "s.parquet")
    done("compress", model, path, "-o", tmp_path / "a.dbl", "--no-verdict")
    done("decompress", tmp_path / "a.dbl", "-o", tmp_path / "b.csv")
    assert cells(tmp_path / "b.csv") == cells(path)
    (tmp_path / "c.csv").write_text("a,b,a_2,b\n1,2,3,4\n")
    line = refused("score", model, tmp_path / "c.csv", "-o", tmp_path / "s.parquet")
    assert "duplicate column names: b; rename them" in line


def test_what_is_said_of_a_table_holds_for_the_columns_that_are_kept(tmp_path):
    """A first line that may be either: `--header first` says it, to score too, and to its --keep."""
    path = tmp_path / "a.csv"
    rows = [f"{i % 9}.5,{i % 4}.1,{i % 7}.2,{i % 3}.3,{i % 3}" for i in range(80)]
    path.write_text("\n".join(["150,4,setosa,versicolor,virginica", *rows]) + "\n")
    assert "--header first" in refused("info", path)
    done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--header", "first")
    words = ("score", tmp_path / "m.diabolo", path, "-o", tmp_path / "s.parquet", "--header", "first")
    done(*words, "--keep", "virginica")
    assert set(pd.read_parquet(tmp_path / "s.parquet")["virginica"]) == {0, 1, 2}


def test_columns_with_two_readings_that_were_left_out_come_back_as_they_stand(tmp_path):
    """Other verbs read them too, and have nothing to ask."""
    states = ["NA", "CA", "TX", "NY", "AL", "WA"]
    text = "".join(
        f"{'NA' if i % 11 == 0 else i},{states[i % 6]},{i % 5 + 1}/{i % 6 + 1}/2019\n" for i in range(1, 200)
    )
    path = tmp_path / "a.csv"
    path.write_text("x,state,day\n" + text)
    assert set(text_of(path).questions) == {"state", "day"}
    done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--exclude", "unusable")
    done("compress", tmp_path / "m.diabolo", path, "-o", tmp_path / "a.dbl", "--no-verdict")
    done("decompress", tmp_path / "a.dbl", "-o", tmp_path / "b.parquet")
    back = pd.read_parquet(tmp_path / "b.parquet")
    assert back["state"].tolist() == [line.split(",")[1] for line in text.splitlines()]
    assert back["day"].tolist() == [line.split(",")[2] for line in text.splitlines()]
    done("score", tmp_path / "m.diabolo", path, "-o", tmp_path / "s.parquet", "--keep", "state")


def test_text_of_two_encodings_is_refused_until_one_is_named(tmp_path):
    """Read as one of the two, café would be two words, of which one is none."""
    path = tmp_path / "a.csv"
    cells = [f"café{i % 3},{i % 7}\n".encode("utf-8" if i % 10 == 0 else "cp1252") for i in range(60)]
    path.write_bytes(b"name,x\n" + b"".join(cells))
    assert refused("info", path).endswith(
        f"{path}: a part of its text is UTF-8 and a part is not: write it in one encoding, or "
        "--encoding cp1252 takes all of it for that one\n"
    )
    assert "cafÃ©0" in done("info", path, "--encoding", "cp1252")


@pytest.mark.parametrize("word", ["«CAFÉ»", "MANHÃ", "«AMANHû", "café", "CÃES", "2 × 3 µm ±1°"])
def test_western_text_is_not_taken_for_two_encodings(tmp_path, word):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"name,x\n" + b"".join(f"{'né' if i % 30 else word},{i % 7}\n".encode("cp1252") for i in range(60))
    )
    assert word in done("info", path)
