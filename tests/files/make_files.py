"""Makes the HDF5 files of this folder; needs PyTables, which the tests do without: pip install tables."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE, ROWS = Path(__file__).parent, 12


def frame():
    made = pd.DataFrame(
        {
            "a": np.arange(ROWS) * 1.5,
            "b": np.arange(ROWS),
            "c": np.arange(ROWS) % 2 == 0,
            "t": pd.date_range("2024", periods=ROWS, freq="h"),
            "f": np.arange(ROWS, dtype="f4"),
            "s": [f"w{i % 3}" if i % 5 else None for i in range(ROWS)],
            "k": pd.Categorical([f"k{i % 3}" for i in range(ROWS)]),
        }
    )
    made.loc[3, "a"] = np.nan
    made.loc[4, "k"] = None
    made.loc[5, "t"] = None
    return made


def main(folder):
    import tables  # not among the tools of the tests

    class Event(tables.IsDescription):
        name = tables.StringCol(8, pos=0)
        x = tables.Float64Col(shape=(2,), pos=1)
        good = tables.BoolCol(pos=2)

        class nested(tables.IsDescription):
            _v_pos = 3
            u = tables.Float32Col()
            v = tables.Int64Col()

    rows = frame()
    rows.drop(columns="k").to_hdf(folder / "fixed.h5", key="df", mode="w")
    rows.to_hdf(folder / "table.h5", key="df", mode="w", format="table", index=False)
    rows.to_hdf(folder / "data_columns.h5", key="df", mode="w", format="table", data_columns=True, index=False)
    rows[["a", "b"]].to_hdf(folder / "frames.h5", key="x/one", mode="w")
    rows["a"].to_hdf(folder / "frames.h5", key="two")
    with tables.open_file(folder / "pytables.h5", "w") as file:
        table = file.create_table("/", "events", Event)
        row = table.row
        for i in range(ROWS):
            row["name"], row["x"], row["good"], row["nested/u"], row["nested/v"] = (
                f"n{i}",
                [i, i + 0.5],
                i % 2 == 0,
                i,
                -i,
            )
            row.append()
        table.flush()
        table.cols.good.create_index()
    with tables.open_file(folder / "blosc.h5", "w", filters=tables.Filters(5, "blosc")) as file:
        file.create_carray("/", "x", obj=np.arange(100.0))
    for path in sorted(folder.glob("*.h5")):
        (HERE / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
