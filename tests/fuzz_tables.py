"""Mutations of small Parquet, Arrow, HDF5, ROOT and NumPy files: read or refused in one line, whatever their bytes.

The libraries that read these formats end a process on some damaged files, so mutations are tried in forked processes.
`make fuzz` runs twenty thousand of each: python tests/fuzz_tables.py --mutations 20000
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import io
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from fuzz_judge import MOST_BYTES, MOST_SECONDS

from diabolo.data.formats import notes_of, read_batches, schema_of
from diabolo.errors import DiaboloError

#: Seconds of the clock in which a process has to say something.
MOST_WAIT = 900
#: Mutations of one forked process.
TOGETHER = 200
EDGES = [0, 1, 2, 3, 4, 6, 8, 12, 15, 16, 21, 24, 60, 63, 64, 126, 127, 128, 129, 192, 250, 254, 255]


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def table(n=40):
    """Columns of every type that a table has."""
    rng = np.random.default_rng(0)
    gone = rng.random(n) < 0.2
    words = [["a", "bc", "ü", ""][i] for i in rng.integers(0, 4, n)]
    return pa.table(
        {
            "x": rng.normal(size=n),
            "f": pa.array(rng.normal(size=n).astype("f4"), mask=gone),
            "n": pa.array(rng.integers(0, 9, n), mask=gone),
            "u": pa.array(rng.integers(0, 9, n).astype("u1")),
            "t": pa.array(rng.random(n) < 0.5, mask=gone),
            "s": pa.array(words, mask=gone),
            "k": pa.array(words).dictionary_encode(),
            "b": pa.array([w.encode() for w in words]),
            "d": pa.array([decimal.Decimal(i) for i in range(n)], pa.decimal128(10, 2)),
            "day": pa.array([datetime.date(2020, 1, 1)] * n),
            "when": pa.array(range(n), pa.timestamp("us", "UTC")),
        }
    )


def nested(n=40):
    """Lists, structs, maps, and each within the others."""
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "x": rng.normal(size=n),
            "l": pa.array([None if i % 7 == 3 else list(range(i % 4)) for i in range(n)]),
            "r": pa.array([{"u": 1.5, "v": [1, 2]}, None] * (n // 2)),
            "o": pa.array([[{"pt": 1.0, "q": i}] * (i % 3) for i in range(n)]),
            "m": pa.array([[("a", i)] for i in range(n)], pa.map_(pa.string(), pa.int64())),
            "a": pa.array([[1.0, 2.0]] * n, pa.list_(pa.float64(), 2)),
            "ll": pa.array([[[1], [2, i]] for i in range(n)]),
        }
    )


def parquet_files():
    ways = [
        (table(), {"compression": "snappy"}),
        (table(), {"compression": "zstd", "data_page_version": "2.0", "version": "1.0", "row_group_size": 16}),
        (table(), {"compression": "none", "use_dictionary": False, "write_page_index": True}),
        (table(), {"compression": "gzip", "write_statistics": False, "write_page_checksum": True}),
        (nested(), {"compression": "lz4", "row_group_size": 16, "store_schema": False}),
        (nested(), {"compression": "none", "data_page_version": "2.0", "write_page_index": True}),
        (table().select(["x", "n", "s"]), {"compression": "brotli", "use_dictionary": ["s"], "column_encoding": {
            "x": "BYTE_STREAM_SPLIT", "n": "DELTA_BINARY_PACKED"}}),
        (table().select(["x", "s", "b"]), {"compression": "zstd", "use_dictionary": False, "column_encoding": {
            "s": "DELTA_BYTE_ARRAY", "b": "DELTA_LENGTH_BYTE_ARRAY"}}),
    ]  # fmt: skip
    out = []
    for frame, options in ways:
        sink = io.BytesIO()
        pq.write_table(frame, sink, **options)
        out.append((".parquet", sink.getvalue()))
    return out


def arrow_files():
    out = []
    for frame in (table(), nested()):
        for codec in (None, "lz4", "zstd"):
            sink = io.BytesIO()
            feather.write_feather(frame, sink, compression=codec or "uncompressed", chunksize=16)
            out.append((".feather", sink.getvalue()))
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, frame.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as stream:
                stream.write_table(frame, 16)
            out.append((".arrows", sink.getvalue()))
    return out


def hdf5_files():
    import h5py

    rng, out = np.random.default_rng(0), []
    kind = np.dtype([("pt", "f4"), ("cov", "f8", (3,)), ("in", [("u", "i4"), ("v", "f8")]), ("word", "S4")])
    ways = [
        ({"a": rng.normal(size=40), "g/b": rng.integers(0, 9, 40)}, {}),
        ({"a": rng.normal(size=40), "g/b": rng.integers(0, 9, 40)}, {"chunks": (16,), "compression": "gzip"}),
        ({"events": np.zeros(40, kind)}, {"chunks": (16,), "shuffle": True, "fletcher32": True}),
        ({"x": rng.normal(size=(40, 5))}, {"chunks": (16, 5), "compression": "lzf"}),
        ({"s": np.array([b"ab", b"c"] * 20), "t": np.array(["ab", "c"] * 20, object)}, {}),
    ]
    for libver in ("earliest", "latest"):
        for datasets, options in ways:
            sink = io.BytesIO()
            with h5py.File(sink, "w", libver=libver) as file:
                for path, cells in datasets.items():
                    dtype = h5py.string_dtype() if cells.dtype.hasobject else None
                    file.create_dataset(path, data=cells, dtype=dtype, **options)
                lists = file.create_dataset("l", (40,), h5py.vlen_dtype(np.int32))
                for i in range(40):
                    lists[i] = range(i % 3)
            out.append((".h5", sink.getvalue()))
    return out


def root_files():
    import awkward as ak
    import uproot

    rng, out = np.random.default_rng(0), []
    columns = {"x": rng.normal(size=40), "n": rng.integers(0, 9, 40)}
    lists = {"jets": ak.zip({"pt": ak.Array([[1.0] * (i % 3) for i in range(40)])})}
    for compression in (None, uproot.ZLIB(1), uproot.LZ4(1)):
        for made in (columns, columns | lists):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "a.root")
                with uproot.recreate(path, compression=compression) as file:
                    file.mktree("events", {k: v.type if hasattr(v, "type") else v.dtype for k, v in made.items()})
                    file["events"].extend(made)
                out.append((".root", path.read_bytes()))
    return out


def numpy_files():
    rng, out = np.random.default_rng(0), []
    arrays = {"x": rng.normal(size=(40, 3)), "n": rng.integers(0, 9, 40), "s": np.array(["a", "ü"] * 20)}
    for save in (np.savez, np.savez_compressed):
        sink = io.BytesIO()
        save(sink, **arrays)
        out.append((".npz", sink.getvalue()))
    sink = io.BytesIO()
    np.savez(sink, x=np.asfortranarray(arrays["x"]))
    out.append((".npz", sink.getvalue()))
    for array in (arrays["x"], np.asfortranarray(arrays["x"])):
        sink = io.BytesIO()
        np.save(sink, array)
        out.append((".npy", sink.getvalue()))
    return out


FILES = {"parquet": parquet_files, "arrow": arrow_files, "hdf5": hdf5_files, "root": root_files, "numpy": numpy_files}


# ── mutations ─────────────────────────────────────────────────────────────────────────────────────


def place(rng, kind, data):
    """Where to change: of Parquet half the time in the footer, which tells where all else is."""
    if kind == ".parquet" and rng.random() < 0.6:
        length = struct.unpack("<I", data[-8:-4])[0]
        return len(data) - 8 - rng.randrange(min(length, len(data) - 8))
    if kind in (".feather", ".root", ".h5") and rng.random() < 0.5:
        return rng.randrange(min(1200, len(data))) if rng.random() < 0.5 else len(data) - 1 - rng.randrange(
            min(1200, len(data)))  # fmt: skip
    return rng.randrange(len(data))


# Thrift's compact protocol, in which a Parquet file's footer is written: a struct is {field: (kind, value)}.


def plain_struct(data, at):
    """The struct at a place, and where it ends."""
    fields, field = {}, 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = zigzag(data, at)
        value, at = plain_value(data, at, head & 15)
        fields[field] = (head & 15, value)
    return fields, at + 1


def varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return number, at


def zigzag(data, at):
    number, at = varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def plain_value(data, at, kind):
    if kind in (1, 2):
        return kind, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return zigzag(data, at)
    if kind == 8:
        size, at = varint(data, at)
        return bytes(data[at : at + size]), at + size
    if kind == 9:
        inner, count = data[at] & 15, data[at] >> 4
        at += 1
        if count == 15:
            count, at = varint(data, at)
        out = []
        for _ in range(count):
            value, at = plain_value(data, at, inner) if inner > 2 else (data[at], at + 1)
            out.append(value)
        return (inner, out), at
    return plain_struct(data, at)


def packed_varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def packed_struct(fields):
    out, before = b"", 0
    for field, (kind, value) in fields.items():
        step, before = field - before, field
        head = bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + packed_value(4, field)
        out += head + packed_value(kind, value)
    return out + b"\0"


def packed_value(kind, value):
    if kind in (1, 2):
        return b""
    if kind == 3:
        return bytes([value])
    if kind in (4, 5, 6):
        return packed_varint(((value << 1) ^ (value >> 63)) & (2**64 - 1))
    if kind == 8:
        return packed_varint(len(value)) + value
    if kind == 9:
        inner, items = value
        head = bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([240 | inner]) + packed_varint(len(items))
        return head + b"".join(packed_value(inner, v) if inner > 2 else bytes([v]) for v in items)
    return packed_struct(value)


def structs_of(fields, kind=12):
    """A struct and all within it."""
    if kind == 12:
        yield fields
        for inner, value in fields.values():
            yield from structs_of(value, inner)
    elif kind == 9 and fields[0] in (9, 12):
        for value in fields[1]:
            yield from structs_of(value, fields[0])


NUMBERS = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 22, 63, 64, 1000, 2**31 - 1, 2**31, 2**62]


def changed_footer(rng, data):
    """A Parquet file one or two of whose footer's numbers, names and lists are others."""
    length = struct.unpack("<I", data[-8:-4])[0]
    whole = plain_struct(data, len(data) - 8 - length)[0]
    if rng.random() < 0.7:  # Arrow's own schema, by which the same bytes are read otherwise
        whole.pop(5, None)
    for _ in range(rng.choice([1, 1, 2])):
        fields = rng.choice(list(structs_of(whole)))
        if not fields:
            continue
        field = rng.choice(list(fields))
        kind, value = fields[field]
        way = rng.randrange(10)
        if way == 0:
            del fields[field]
        elif way == 1:
            fields[rng.randrange(1, 18)] = fields.pop(field)
        elif kind in (4, 5, 6):
            fields[field] = (kind, rng.choice([*NUMBERS, value + 1, value - 1, 2 * value, len(data)]))
        elif kind == 8:
            fields[field] = (kind, rng.choice([b"", b"x", value + b".a", value[:-1], b"\xff" + value, b"a" * 300]))
        elif kind == 9:
            inner, items = value
            some = list(items)
            if some and way < 5:
                del some[rng.randrange(len(some))]
            elif some and way < 8:
                some.insert(rng.randrange(len(some) + 1), rng.choice(some))
            elif some and inner in (4, 5, 6):
                some[rng.randrange(len(some))] = rng.choice(NUMBERS)
            else:
                some = []
            fields[field] = (kind, (inner, some))
        elif kind == 12 and rng.random() < 0.5:
            fields[field] = (kind, {rng.randrange(1, 18): (12, {})})
    footer = packed_struct(whole)
    return data[: len(data) - 8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def mutated(rng, kind, data):
    """As `changed`; a Parquet file's footer is half the time changed in what it says."""
    if kind == ".parquet" and rng.random() < 0.5:
        data = changed_footer(rng, data)
        if rng.random() < 0.8:
            return data
    return changed(rng, kind, data)


def changed(rng, kind, data):
    """Some bytes flipped, set, counted up, cut out, doubled; a Parquet file's footer keeps its length."""
    out, footed = bytearray(data), kind == ".parquet" and rng.random() < 0.9
    length = struct.unpack("<I", data[-8:-4])[0] if footed else 0
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = min(place(rng, kind, data), len(out) - 1)
        way = rng.randrange(8)
        before = len(out)
        if way <= 1:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 2:
            out[at] = rng.choice(EDGES)
        elif way == 3:
            out[at] = rng.randrange(256)
        elif way == 4:
            out[at] = (out[at] + rng.choice([1, 2, 255, 254])) % 256
        elif way == 5:
            del out[at : at + rng.randint(1, 8)]
        elif way == 6:
            out[at:at] = out[at : at + rng.randint(1, 12)]
        else:
            size = rng.choice([4, 8])
            out[at : at + size] = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]).to_bytes(size, "little")
        if footed and at >= before - 8 - length:
            length += len(out) - before
    if footed and length > 0 and len(out) > 12:
        out[-8:] = struct.pack("<I", length) + b"PAR1"
    return bytes(out)


def case(files, kind, seed, number):
    """(suffix, bytes) of a mutation, which its seed and number tell."""
    rng = random.Random(f"{kind} {seed} {number}")
    suffix, data = files[rng.randrange(len(files))]
    return suffix, mutated(rng, suffix, data)


def used(path):
    """Everything that is read of a table; raises what a reader raises."""
    notes_of(path)
    schema_of(path)
    for batch in read_batches(path):
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise AssertionError(f"read, and not sound: {error}") from None


def try_one(path):
    """What a mutation comes to: "read", "refused", or the fault."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            used(path)
        return "read"
    except DiaboloError as error:
        return "refused" if str(error).strip() and "\n" not in str(error) else f"says {str(error)!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def work(files, kind, seed, numbers, folder, out):
    """Try mutations in this process, one line of the pipe each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    # Enough to see that too much was asked for, and not so much that the machine ends others for it.
    room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 4 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        suffix, data = case(files, kind, seed, number)
        os.write(out, f"{number} begun\n".encode())
        path = Path(folder, f"m{suffix}")
        path.write_bytes(data)
        begun = time.process_time()
        # Ends a process that takes so many CPU seconds, whatever else the machine does.
        signal.setitimer(signal.ITIMER_PROF, 4 * MOST_SECONDS)
        told = try_one(path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - begun
        taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if taken > MOST_BYTES:
            told = f"{taken:,} bytes of memory; {told}"
        if seconds > MOST_SECONDS:
            told = f"{seconds:.1f} s; {told}"
        os.write(out, f"{number} {told[:300]!r} {seconds:.3f}\n".encode())
        if taken > MOST_BYTES:
            os._exit(0)


def forked(files, kind, seed, numbers, folder):
    """{number: (what it came to, seconds)} of mutations tried in one forked process, as far as it came."""
    came, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(came)
        try:
            work(files, kind, seed, numbers, folder, out)
        except BaseException as error:
            os.write(out, f"0 {type(error).__name__} {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(out)
    found, begun, rest, hung = {}, None, b"", False
    while True:
        ready = select.select([came], [], [], MOST_WAIT)[0]
        if not ready:
            hung = True
            os.kill(child, signal.SIGKILL)
        data = os.read(came, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            number, _, told = line.decode().partition(" ")
            if told == "begun":
                begun = int(number)
            else:
                words, _, seconds = told.rpartition(" ")
                found[int(number)] = (words[1:-1], float(seconds))
    os.close(came)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"mutation after {begun}: the fuzzer's own fault: {rest!r} {found}")
    if begun is not None and begun not in found:
        ended = f"no end in {MOST_WAIT} s" if hung else f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
        found[begun] = (ended if os.WIFSIGNALED(status) else f"exit {status}", 0.0)
    return found


def fuzz(kind, mutations, seed, folder, until=None, on_fault=None):
    """Counts of mutations tried, read, refused, and the faults: {number: what}."""
    files, tally, at = FILES[kind](), {"tried": 0, "read": 0, "refused": 0, "slowest": 0.0}, 0
    faults = {}
    while at < mutations and (until is None or time.monotonic() < until):
        numbers = range(at, min(at + TOGETHER, mutations))
        for number, (told, seconds) in forked(files, kind, seed, numbers, folder).items():
            tally["tried"] += 1
            tally["slowest"] = max(tally["slowest"], seconds)
            if told in ("read", "refused"):
                tally[told] += 1
            else:
                faults[number] = told
                if on_fault:
                    on_fault(number, told, case(files, kind, seed, number))
            at = number + 1
    return {**tally, "faults": faults}


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--mutations", type=int, default=2_000)
    options.add_argument("--only", choices=FILES, help="one format")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, help="a folder for files that are faults")
    said = options.parse_args()

    bad = 0
    for kind in [said.only] if said.only else FILES:

        def keep(number, told, found, kind=kind):
            sys.stdout.write(f"  {kind} seed {said.seed}, mutation {number}: {told}\n")
            sys.stdout.flush()
            if said.keep:
                said.keep.mkdir(exist_ok=True)
                (said.keep / f"{kind}{said.seed}_{number}{found[0]}").write_bytes(found[1])

        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            told = fuzz(kind, said.mutations, said.seed, folder, on_fault=keep)
        bad += len(told["faults"])
        sys.stdout.write(f"{kind}: {json.dumps({**told, 'faults': len(told['faults'])})} ")
        sys.stdout.write(f"{time.monotonic() - begun:.0f} s\n")
        sys.stdout.flush()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
