"""Bytes of LHC events within an error bound: diabolo beside general and scientific compressors, in one run.

pT within 0.1 % of itself, η and φ within 1e-3; the first 100,000 events of lhc/background_train.parquet, the codec
learnt on the others. A rival's integers are of steps 2ε, for pT of ln x; its bytes are of one file per column. SZ3 and
ZFP get the bound of each column as an absolute one (pT: 0.1 % of the smallest value).
"""

from __future__ import annotations

import bz2
import io
import lzma
import time

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import small_tables

from diabolo.compress.grid import Bound
from diabolo.estimators.compressor import Compressor, decompress

ROWS = 100_000


def quantised(x, bound):
    """Integers of a rival, 0 for an empty slot, in the narrowest type."""
    if bound.relative:
        k = np.zeros(len(x), np.int64)
        k[x > 0] = np.rint(np.log(x[x > 0].astype(float)) / (2 * np.log1p(bound.error))) + 1_000
    else:
        k = np.rint(x.astype(float) / (2 * bound.error)).astype(np.int64)
    k -= k.min()
    return k.astype(np.min_scalar_type(int(k.max())))


def entropy(values):
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(counts.sum() / counts)).sum()) / 8


def ideal(table, bounds):
    """Order-0 entropy of integers of filled slots, and once of which are filled."""
    columns = [c.to_numpy() for c in table.columns]
    total, masks = 0.0, np.zeros(len(columns[0]), np.int64)
    for i in range(2, len(columns), 3):
        there = (columns[i] != 0) | (columns[i + 1] != 0) | (columns[i + 2] != 0)
        masks = masks * 2 + there
        total += sum(entropy(quantised(columns[c][there], bounds[c])) for c in (i, i + 1, i + 2) if there.any())
    return total + entropy(masks) + sum(entropy(quantised(columns[c], bounds[c])) for c in (0, 1))


def rivals(table, bounds):
    import pysz
    import zfpy
    import zstandard

    whole = np.ascontiguousarray(np.stack([c.to_numpy() for c in table.columns], axis=1))
    columns = [np.ascontiguousarray(c.to_numpy()) for c in table.columns]
    absolute = [
        b.error * (float(x[x > 0].min(initial=100.0)) if b.relative else 1)
        for x, b in zip(columns, bounds, strict=True)
    ]
    whole_numbers = [quantised(x, b) for x, b in zip(columns, bounds, strict=True)]
    zstd = zstandard.ZstdCompressor(level=19)
    yield "float32 + xz -9 (lossless)", lambda: len(lzma.compress(whole.tobytes(), preset=9))
    yield "float32 + zstd -19 (lossless)", lambda: len(zstd.compress(whole.tobytes()))
    yield "ZFP", lambda: sum(len(zfpy.compress_numpy(x, tolerance=e)) for x, e in zip(columns, absolute, strict=True))

    def sz3():
        size = 0
        for x, e in zip(columns, absolute, strict=True):
            config = pysz.szConfig((len(x),))
            config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, e
            size += len(pysz.sz.compress(x, config)[0])
        return size

    yield "SZ3", sz3

    def parquet():
        sink = io.BytesIO()
        pq.write_table(pa.table(dict(zip(table.column_names, whole_numbers, strict=True))), sink, compression="zstd")
        return len(sink.getvalue())

    yield "quantised + Parquet-zstd", parquet
    yield "quantised + zstd -19 per column", lambda: sum(len(zstd.compress(k.tobytes())) for k in whole_numbers)
    yield "quantised + xz -9 per column", lambda: sum(len(lzma.compress(k.tobytes(), preset=9)) for k in whole_numbers)
    yield "quantised + bz2 -9 per column", lambda: sum(len(bz2.compress(k.tobytes(), 9)) for k in whole_numbers)


def main() -> None:
    options = common.parser(__doc__)
    options.add_argument("--small", action="store_true", help="only whole files of ten small tables")
    options = options.parse_args()
    if options.small:
        small_tables.main()
        return
    table = pq.read_table(common.data_path("lhc", "background_train.parquet")).drop(["process"])
    relative, absolute = Bound.parse("0.1%"), Bound(1e-3)
    bounds = [relative if n.endswith("pt") else absolute for n in table.column_names]
    errors = dict(zip(table.column_names, bounds, strict=True))
    head, raw = table.slice(0, ROWS), 4 * ROWS * table.num_columns
    print(common.machine_line())
    print("| | bytes | times smaller | MB/s of a core |\n|---|---|---|---|", flush=True)
    found = {}

    def line(name, size, seconds):
        found[name] = {"bytes": size, "seconds": seconds}
        speed = f"{raw / 1e6 / seconds:.1f}" if seconds else ""
        print(f"| {name} | {size:,.0f} | {raw / size:.2f} | {speed} |", flush=True)

    for name, work in rivals(head, bounds):
        begun = time.process_time()
        try:
            line(name, work(), time.process_time() - begun)
        except Exception as error:  # a rival's interface may differ; the run says so and goes on
            print(f"| {name} | failed: {type(error).__name__}: {str(error)[:80]} | | |", flush=True)
    best = min(v["bytes"] for v in found.values())
    line("ideal order-0 entropy, filled slots once", ideal(head, bounds), 0.0)
    begun = time.process_time()
    compressor = Compressor(column_error=errors).fit(table.slice(ROWS))
    fit = time.process_time() - begun
    seconds = {"write": [], "write, verified": [], "read": []}

    def timed(name, work, *given):
        begun = time.process_time()
        came = work(*given)
        seconds[name].append(time.process_time() - begun)
        return came

    for _ in range(3):  # of each the best: what else runs on the machine only slows
        data = timed("write", compressor.compress, head, False)
        timed("write, verified", compressor.compress, head)
        back = timed("read", decompress, data)
    for name, bound in errors.items():
        assert bound.holds(head[name].to_numpy(), back[name].to_numpy()).all(), name
    line("**diabolo**, codec section included", len(data), min(seconds["write"]))
    speeds = ", ".join(f"{name} {common.spread(raw / 1e6 / np.array(v), '{:.1f}')} MB/s" for name, v in seconds.items())
    print(f"fit {fit:.0f} s; by processor time: {speeds}")
    section = compressor.report_.bytes_model
    print(f"codec section {section:,} bytes; all cells within bounds; best rival / ours = {best / len(data):.3f}")
    common.write_json(options.json, "compress", options, found)


if __name__ == "__main__":
    main()
