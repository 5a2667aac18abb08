"""Mutations of small `*.dbl` files: whatever comes, a reader answers with the rows or with one clear refusal.

`make fuzz` runs a million: python tests/fuzz_dbl.py --mutations 1000000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import random
import struct
import sys
import time
import zlib

import numpy as np
import pyarrow as pa

from diabolo.compress.container import FRAME, Reader
from diabolo.compress.planning import make_plan
from diabolo.compress.stream import decompressed, opened, write_file
from diabolo.errors import CompressedFileError
from diabolo.estimators.compressor import Compressor

INTERESTING = [0, 1, 127, 128, 255]


def slotted(n, seed=0):
    """Two objects of length and angle, the second often absent and back to back with the first."""
    rng = np.random.default_rng(seed)
    pt, phi = np.round(20 + rng.exponential(20, n), 2), rng.uniform(-3.14, 3.14, n)
    other = rng.random(n) < 0.4
    back = np.mod(phi + 2 * np.pi + rng.normal(0, 0.05, n), 2 * np.pi) - np.pi
    columns = {"j1_pt": pt, "j1_phi": np.round(phi, 3)}
    columns |= {"j2_pt": np.where(other, np.round(0.9 * pt, 2), 0), "j2_phi": np.where(other, np.round(back, 3), 0)}
    columns = {k: v.astype("f4") for k, v in columns.items()}
    for cells in columns.values():
        cells[::50] = 0
    return pa.table(columns)


def mixed(n, seed=0):
    rng = np.random.default_rng(seed)
    mask, words = rng.random(n) < 0.2, [["a", "bc", "ü"][i] for i in rng.integers(0, 3, n)]
    odd = rng.normal(size=n)
    odd[:4] = [np.nan, np.inf, -0.0, 5e-324]
    return pa.table(
        {
            "odd": odd,
            "near": rng.normal(size=n).astype("f4"),
            "holes": pa.array(rng.normal(size=n), mask=mask),
            "wide": pa.array(rng.integers(-(2**63), 2**63 - 1, n)),
            "few": pa.array(rng.integers(0, 5, n) * 1000, mask=mask),
            "flag": rng.random(n) < 0.5,
            "text": pa.array(words, mask=mask),
            "kind": pa.array(words).dictionary_encode(),
            "list": pa.array([[1, 2], None] * (n // 2)),
            "struct": pa.array([{"u": 1.5, "v": [1, 2]}, None] * (n // 2)),
            "objects": pa.array([[{"pt": 1.0, "q": 1}] * (i % 3) for i in range(n)]),
            "array": pa.array([[1.0, 2.0], None] * (n // 2), pa.list_(pa.float64(), 2)),
        }
    )


def corpus():
    """(file, its rows) of an autoregressive network's, and of every simple way's; some chunks each."""
    table, out = slotted(12, seed=1), io.BytesIO()
    plan = Compressor(max_error=1e-3, column_error={"j1_pt": "0.1%", "j2_pt": "0.1%"}).fit(slotted(2_000)).plan_
    write_file(out, table.to_batches(), plan, {"container": "arrow"}, rows=6)
    files = [out.getvalue()]
    table = mixed(12)
    batch = table.combine_chunks().to_batches()[0]
    plan = make_plan(batch, Compressor(max_error=None).fit(table).plan_.bounds)
    out = io.BytesIO()
    write_file(out, table.to_batches(), plan, {"container": "arrow"}, rows=6)
    return [(f, rows_of(f)) for f in (*files, out.getvalue())]


def rows_of(data):
    """What a file holds, as something that can be compared bit by bit."""
    reader = opened(data)
    return told(list(decompressed(reader)))


def told(batches):
    sink = io.BytesIO()
    if batches:
        with pa.ipc.new_stream(sink, batches[0].schema) as stream:
            for batch in batches:
                stream.write_batch(batch)
    return sink.getvalue()


# ── mutations ─────────────────────────────────────────────────────────────────────────────────────


def mutated(rng, data, most=4):
    """Some bytes flipped, set, cut out, doubled, put in; or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not out:
            break
        at, kind = rng.randrange(len(out)), rng.randrange(7)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice(INTERESTING)
        elif kind == 2:
            out[at] = rng.randrange(256)
        elif kind == 3:
            del out[at : at + rng.randint(1, 16)]
        elif kind == 4:
            out[at:at] = out[at : at + rng.randint(1, 16)]
        elif kind == 5:
            out[at : at + 8] = struct.pack(
                "<Q", rng.choice([0, 1, 2**31, 2**32, 2**63, 2**64 - 1, rng.getrandbits(40)])
            )
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def parts(data):
    """(header as JSON text, codec section, [chunk's payload with its frame's numbers], what follows)."""
    reader = Reader(io.BytesIO(data), len(data))
    length = struct.unpack("<I", data[12:16])[0]
    header = zlib.decompress(data[20 : 20 + length])
    chunks = [(c, reader.payload(c)) for c in reader.chunks]
    end = chunks[-1][0].offset + FRAME.size + 4 + chunks[-1][0].size
    return header, reader.codec, chunks, reader.summary, data[end:]


def framed(header, codec, chunks, summary):
    """A file with valid checksums around whatever its parts are."""
    packed = zlib.compress(header, 1)
    version = 3 if b'"version":3' in header else 2
    out = bytearray(b"\x89DBL\r\n\x1a\n" + struct.pack("<III", version, len(packed), len(codec)) + packed + codec)
    out += struct.pack("<I", zlib.crc32(packed + codec))
    entries = b""
    rows = 0
    for number, (chunk, payload) in enumerate(chunks):
        entries += struct.pack("<QIQ", len(out), chunk.rows, len(payload))
        frame = FRAME.pack(b"\x89chunk\r\n", number, rows, chunk.rows, len(payload))
        out += frame + struct.pack("<I", zlib.crc32(payload, zlib.crc32(frame))) + payload
        rows += chunk.rows
    at, index = len(out), b"\x89index\r\n" + struct.pack("<I", len(chunks)) + entries + summary
    out += index + struct.pack("<I", zlib.crc32(index))
    footer = struct.pack("<QQQ", at, len(index) + 4, rows)
    return bytes(out + footer + struct.pack("<I", zlib.crc32(footer)) + b"\x89end\r\n\x1a\n")


def hostile(rng, whole):
    """A file whose checksums are right and whose header, codec section or payload is not."""
    header, codec, chunks, summary, _ = whole
    which = rng.randrange(6)
    if which == 0:
        header = mutated(rng, header, 2)
    elif which <= 2 and codec:
        codec = mutated(rng, codec, 2)
        card = json.loads(header)
        card["codec"] = hashlib.sha256(codec).hexdigest()
        header = json.dumps(card, sort_keys=True, separators=(",", ":")).encode()
    else:
        # Of the others nothing would be learned.
        chunk, payload = rng.choice(chunks)
        chunks = [(chunk, mutated(rng, payload))]
    return framed(header, codec, chunks, summary)


def fuzz(files, mutations, seed, hostile_share=0.06, until=None):
    """Number of mutations tried, refused, and read all the same; raises what is neither refusal nor the rows."""
    rng, tally = random.Random(seed), {"tried": 0, "refused": 0, "read": 0, "salvaged": 0}
    wholes = [parts(f) for f, _ in files]
    slowest = 0.0
    for number in range(mutations):
        if until is not None and number % 256 == 0 and time.monotonic() > until:
            break
        which = rng.randrange(len(files))
        data, rows = files[which]
        with_sums = rng.random() < hostile_share
        bad = hostile(rng, wholes[which]) if with_sums else mutated(rng, data)
        tally["tried"] += 1
        begun = time.monotonic()
        try:
            found = read(bad, with_sums)
            tally["read"] += 1
            if not with_sums and found != rows:
                raise AssertionError(f"seed {seed}, mutation {number}: damage without a checksum's notice")
        except CompressedFileError as error:
            tally["refused"] += 1
            if not str(error).strip() or "\n" in str(error):
                raise AssertionError(f"seed {seed}, mutation {number}: says {str(error)!r}") from error
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number}: {type(error).__name__}: {error}") from error
        if time.monotonic() - begun > slowest:
            slowest = max(slowest, seconds_of(bad, with_sums))
        if number % 32 == 0:
            tally["salvaged"] += salvaged(bad)
    return {**tally, "slowest": slowest}


def read(bad, with_sums):
    """The rows, unless a checksum refuses them before any chunk is decoded: most mutations end there, and soon."""
    if not with_sums:
        reader = opened(bad)
        for chunk in reader.chunks:
            reader.payload(chunk)
    return rows_of(bad)


def seconds_of(bad, with_sums):
    """CPU seconds of one more try; asked only of what took long by the clock, as each question takes long itself."""
    begun = time.process_time()
    with contextlib.suppress(CompressedFileError):
        read(bad, with_sums)
    return time.process_time() - begun


def salvaged(bad):
    """Whether `--salvage` gets rows of it."""
    try:
        reader = opened(bad, salvage=True)
        return bool(list(decompressed(reader, lost=[])))
    except CompressedFileError:
        return False


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--mutations", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, help="end then, whatever the number")
    said = options.parse_args()
    begun = time.monotonic()
    until = None if said.minutes is None else begun + 60 * said.minutes
    files, done, totals = corpus(), 0, {}
    while done < said.mutations and (until is None or time.monotonic() < until):
        part = fuzz(files, min(10_000, said.mutations - done), said.seed + done, until=until)
        done += part["tried"]
        slowest = max(totals.get("slowest", 0), part["slowest"])
        totals = {k: totals.get(k, 0) + v for k, v in part.items()} | {"slowest": slowest}
        counts = ", ".join(f"{v:,} {k}" for k, v in totals.items() if k != "slowest")
        sys.stdout.write(f"{counts}; slowest {slowest:.2f} s; {time.monotonic() - begun:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
