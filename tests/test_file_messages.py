"""What is printed of a file, line by line: a table to be read through as a person would. Further formats add their own.

Each case is a file, a command (`{f}` is the file), and the line as it is printed; a refused command prints one line.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest
from program import run

ROWS = "".join(f"{i % 7}.5,{'ab'[i % 2]}\n" for i in range(60))
NAMES = "".join(f'"c{i}, S",{i % 7},{i % 5}\n' for i in range(60))
MONEY = "".join(f'"${1000 + i:,}.50",{i % 9}\n' for i in range(60))

#: name → (file, its content, command, line). Lines of `info` begin with two blanks.
SAID = {
    # how text is read
    "semicolons": ("a.csv", "x;y\n1;2\n3;4\n", "info {f}", "  cells separated by semicolons"),
    "tabs": ("a.csv", "x\ty\n1\t2\n3\t4\n", "info {f}", "  cells separated by tabs"),
    "bars": ("a.csv", "x|y\n1|2\n3|4\n", "info {f}", "  cells separated by bars"),
    "blanks": ("a.dat", "x y\n1 2\n3 4\n", "info {f}", "  cells separated by blanks"),
    "latin-1": ("a.csv", "größe,y\n1,2\n3,4\n".encode("latin-1"), "info {f}", "  encoding cp1252"),
    "utf-16": ("a.csv", "x,y\n1,2\n3,4\n".encode("utf-16"), "info {f}", "  encoding utf-16"),
    "quotes": ("a.csv", "x,y\n1,'a'\n3,'b'\n", "info {f}", "  cells quoted by '"),
    "comments": ("a.csv", "# a\n# b\nx,y\n1,2\n3,4\n", "info {f}", "  2 lines of comment before the table left out"),
    "comments-within": ("a.csv", "x,y\n1,2\n# no\n3,4\n", "info {f}", "  lines that begin with # left out"),
    "names-in-comment": ("a.csv", "#x,y\n1,2\n3,4\n", "info {f}", "  names taken from the line of comment 'x,y'"),
    "title": (
        "a.csv",
        "Report\nx,y,z\n1,2,3\n4,5,6\n",
        "info {f}",
        "  1 line before the table left out: 'Report', ...",
    ),
    "units": ("a.csv", "t,v\ns,m/s\n1,2\n3,4\n5,6\n", "info {f}", "  the second line, of units, left out: s, m/s"),
    "no-header": (
        "a.csv",
        "M,0.455\nF,0.35\nM,0.2\n",
        "info {f}",
        "  no header: its first line (M, 0.455) is a row, and its columns are named column1, column2, ...; "
        "--header first takes it for names",
    ),
    "index": (
        "a.csv",
        ",x\n0,1.5\n1,2.5\n",
        "info {f}",
        "  column 'column1' has no name and counts the rows: left out",
    ),
    "index-again": (
        "a.csv",
        "Unnamed: 0,x\n0,1.5\n1,2.5\n",
        "info {f}",
        "  column 'Unnamed: 0' has the name 'Unnamed: 0' and counts the rows: left out",
    ),
    "unnamed": ("a.csv", ",x\n7,1.5\n3,2.5\n", "info {f}", "  column 1 has no name, and is named 'column1'"),
    "trailing": ("a.csv", "x,\n1,\n2,\n", "info {f}", "  column 'column2' has neither a name nor cells: left out"),
    "two-lines": (
        "a.csv",
        "a,a,b\nx,y,k\n1,2,u\n3,4,v\n5,6,w\n",
        "info {f}",
        "  names taken from its first 2 lines",
    ),
    "lines-in-words": ("a.csv", 'x,y\n1,"u\nv"\n2,w\n3,w\n', "info {f}", r"  y: u\nv, w"),
    "twice": ("a.csv", "x,x\n1,2\n3,4\n", "info {f}", "  column 2 is a second 'x', and is named 'x_2'"),
    "decimal": ("a.csv", "x;y\n1,5;2\n3,25;4\n", "info {f}", "  'x': numbers with decimal ','"),
    "thousands": ("a.csv", 'x\n"1,200.5"\n"3,400.25"\n', "info {f}", "  'x': numbers with thousands ','"),
    "percent": ("a.csv", "x\n45%\n3%\n", "info {f}", "  'x': numbers with '%' left off"),
    "currency": ("a.csv", MONEY, "info {f} --header none", "  'column1': numbers with thousands ',', '$' left off"),
    "labels": ("a.csv", "zip,x\n00501,1\n94043,2\n", "info {f}", "  'zip': labels of digits"),
    "truth": ("a.csv", "x,y\nyes,1\nno,2\n", "info {f}", "  'x': truth values yes/no"),
    "dates": ("a.csv", "x,y\n24/08/2008,1\n1/5/2019,2\n", "info {f}", "  'x': dates %d/%m/%Y"),
    "eight-digits": ("a.csv", "x\n20240131\n20240201\n20240202\n", "info {f}", "  'x': dates %Y%m%d"),
    "times": ("a.csv", "x,y\n13:08,1\n09:15,2\n", "info {f}", "  'x': times of day %H:%M"),
    "durations": ("a.csv", "x,y\n26:30:00,1\n1:00:00,2\n", "info {f}", "  'x': durations, in seconds"),
    "epochs": ("a.csv", "x\n1600000000\n1600000100\n", "info {f} --date x=epoch", "  'x': times since 1970 in s"),
    "marks": ("a.csv", "x,y\n1.5,a\n?,b\n2.5,c\n", "info {f}", "  missing cells are written '?' in 'x'"),
    "Namibia": (
        "a.csv",
        "c\nNA\nZA\nDE\nFR\nBR\nIN\n",
        "info {f}",
        "  'c': NA and other marks are labels there, and no missing cells",
    ),
    "pandas-index": (
        "a.parquet",
        pd.DataFrame({"x": [1.5, 2.5]}, index=["a", "b"]),
        "info {f}",
        "  column '__index_level_0__' is pandas' index: left out",
    ),
    # what has two readings
    "one-mark": (
        "a.csv",
        'p,x\n"1,000",1\n"1,037",2\n',
        "fit {f} -o m.diabolo",
        "a.csv: column 'p' has two readings: '1,000' may be 1000 or 1: --decimal . or --decimal , says which mark "
        "comes before the decimals; --exclude p leaves it out",
    ),
    "days": (
        "a.csv",
        "d,x\n1/5/2019,1\n2/5/2019,2\n",
        "fit {f} -o m.diabolo",
        "a.csv: column 'd' has two readings: '1/5/2019' may be 1 May 2019 or 5 January 2019: --date d=%d/%m/%Y or "
        "--date d=%m/%d/%Y says it, --date d=none that it is no date; --exclude d leaves it out",
    ),
    "country": (
        "a.csv",
        "c,x\nNA,1\nCA,2\nAL,3\nGA,4\n",
        "fit {f} -o m.diabolo",
        "a.csv: column 'c' has two readings: 'NA' may be a label or a missing cell: --missing c=NA says it is missing, "
        "--missing c= a label; --exclude c leaves it out",
    ),
    "first-line": (
        "a.csv",
        "0,1\n0,2\n1,2\n",
        "info {f}",
        "a.csv: its first line (0, 1) may be names or a row: --header first or --header none says it",
    ),
    "script": (
        "a.csv",
        "размер,y\n1,2\n".encode("cp1251"),
        "info {f}",
        "a.csv: its text is not UTF-8, and its bytes do not tell which encoding it is in: --encoding says it, like "
        "--encoding cp1252, cp1251, shift_jis or gb18030",
    ),
    # what cannot be fitted
    "names-rows": (
        "a.csv",
        f'"City, State",x,y\n{NAMES}',
        "info {f}",
        "  'City, State' has 60 different values among 60 rows; a category has at most 1,000, "
        "and from 20 on at most half as many as cells",
    ),
    "remedy": (
        "a.csv",
        f'"City, State",x,y\n{NAMES}',
        "info {f}",
        "  leave out what cannot be fitted: --exclude 'City, State'",
    ),
    "several": (
        "a.csv",
        "a b,c,x\n" + "".join(f"n{i},m{i},{i % 5}\n" for i in range(60)),
        "info {f}",
        "  leave out what cannot be fitted: --exclude 'a b,c'",
    ),
    "stray": (
        "a.csv",
        "x,y\n" + "".join(f"{i}.5,{i % 5}\n" for i in range(60)) + "<0.006,1\n",
        "info {f}",
        "  'x' has '<0.006', which is not a number, in row 60, and its other cells are: mend it; --missing '<0.006' "
        "says that it stands for a missing cell, --set kinds.x=categorical makes it a category",
    ),
    "left-out-unknown": (
        "a.csv",
        f"x,k\n{ROWS}",
        "fit {f} -o m.diabolo --exclude kk",
        "a.csv: no column 'kk': did you mean 'k'?",
    ),
    "column-twice": (
        "a.csv",
        f"x,k\n{ROWS}",
        "fit {f} -o m.diabolo --columns x --columns x",
        "--columns names 'x' twice; name each column once",
    ),
    "nothing-left": (
        "a.csv",
        f"x,k\n{ROWS}",
        "fit {f} -o m.diabolo --exclude x --exclude k",
        "a.csv: no column is left to fit; it has x, k",
    ),
    # a look at the columns
    "label": (
        "a.csv",
        f"x,label\n{ROWS}",
        "info {f}",
        "  'label' is named like a label: if it says what a row is, --label label keeps it out of the fit",
    ),
    "counts": (
        "a.csv",
        "id,x\n" + "".join(f"{i},{i % 7}\n" for i in range(60)),
        "info {f}",
        "  'id' counts up with the rows, which says nothing of new ones: --exclude id",
    ),
    "clock": (
        "a.csv",
        "t,x\n" + "".join(f"2024-01-01 10:00:{i:02d},{i % 7}\n" for i in range(60)),
        "info {f}",
        "  't' rises with the rows like a clock, so that new rows lie beyond it: --exclude t",
    ),
    "identifier": (
        "a.csv",
        "n,x\n" + "".join(f"{i * 7919 % 1009},{i % 7}\n" for i in range(60)),
        "info {f}",
        "  'n' holds another whole number in every row, like an identifier: if it only names rows, --exclude n",
    ),
    "copy": (
        "a.csv",
        "alive,survived\n" + "".join(f"{('yes', 'no')[i % 2]},{(1, 0)[i % 2]}\n" for i in range(60)),
        "info {f}",
        "  'survived' is a copy of 'alive', and counts twice in every score: --exclude survived",
    ),
    # options
    "separator": (
        "a.csv",
        "x\n1\n",
        "info {f} --separator ::",
        "--separator '::': allowed is one character, or comma, ",
    ),
    "decimal-mark": ("a.csv", "x\n1\n", "info {f} --decimal ;", "--decimal ;: allowed are '.' and ','"),
    "header-word": (
        "a.csv",
        "x\n1\n",
        "info {f} --header 2",
        "--header 2: allowed are none (every line is a row) and ",
    ),
    "encoding-name": (
        "a.csv",
        "x\n1\n",
        "info {f} --encoding u",
        "--encoding u: unknown; allowed are names like utf-8, ",
    ),
    "date-form": ("a.csv", "x\n1\n", "info {f} --date x", "--date x: expected COLUMN=FORMAT, like day=%d/%m/%Y, or "),
    "date-field": (
        "a.csv",
        "x\n1\n",
        "info {f} --date x=%k",
        "--date: '%k': %k is unknown; allowed are the fields %Y, ",
    ),
    "date-column": ("a.csv", "x\n1\n", "info {f} --date z=epoch", "a.csv: --date: no column 'z': it has x"),
    # what is no table
    "empty": ("a.csv", "", "info {f}", "a.csv: the file is empty"),
    "blank": ("a.csv", "\n\n", "info {f}", "a.csv: the file is empty"),
    "header-only": ("a.csv", "x,y\n", "info {f}", "a.csv: has a header but no rows"),
    "binary": ("a.csv", bytes(range(256)), "info {f}", "a.csv: is no text; allowed is text, like a table with a "),
    "ragged": ("a.csv", "x,y\n1,2\n1,2,3\n", "info {f}", "a.csv: row 1: Expected 2 columns, got 3"),
    "read-only": ("a.csv", f"x,k\n{ROWS}", "info {f}.none", "a.csv.none: no such file"),
}


@pytest.mark.parametrize("case", SAID)
def test_the_line_that_is_printed(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, content, words, line = SAID[case]
    if isinstance(content, pd.DataFrame):
        content.to_parquet(name)
    else:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    status, out, err = run(*words.replace("{f}", name).split(" "))
    if line.startswith("  "):
        assert status == 0, err
        assert line in out.splitlines(), out
    else:
        assert status == 2, out
        assert err.count("\n") == 1
        assert err.startswith(f"diabolo: {line}"), err


def test_the_table_is_long_enough():
    assert len(SAID) >= 60
    assert all(not re.search(r"\s$", line) or line.endswith(" ") for _, _, _, line in SAID.values())
