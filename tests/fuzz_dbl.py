"""Mutations of small `*.dbl` files: whatever comes, a reader answers with the rows or with one clear refusal.

Some are damage, which a checksum refuses. The others have right checksums around hostile content: entries of the header
and of the codec's card, the schema, the codec section, payloads, what a packed piece holds, numbers of frames, summary.
`make fuzz` runs a million: python tests/fuzz_dbl.py --mutations 1000000
"""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import hashlib
import io
import json
import math
import random
import struct
import sys
import time
import zlib
from functools import partial

import numpy as np
import pyarrow as pa
from fuzz_cards import NUMBERS, changed_card
from fuzz_judge import MOST_WAIT, judged, wanted

from diabolo.compress import autoregressive, chunk, columns, image_model, integers, pixels, report
from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.container import FRAME, Reader
from diabolo.compress.image_model import ImageModel, Sizes
from diabolo.compress.planning import make_plan
from diabolo.compress.stream import decompressed, opened, report_of, write_file
from diabolo.data.formats.base import shape_metadata
from diabolo.errors import CompressedFileError
from diabolo.estimators.compressor import Compressor

INTERESTING = [0, 1, 127, 128, 255]


def slotted(n, seed=0):
    """Two objects of length and angle, the second often absent and back to back with the first."""
    rng = np.random.default_rng(seed)
    pt, phi = np.round(20 + rng.exponential(20, n), 2), rng.uniform(-3.14, 3.14, n)
    other = rng.random(n) < 0.4
    back = np.mod(phi + 2 * np.pi + rng.normal(0, 0.05, n), 2 * np.pi) - np.pi
    cells_of = {"j1_pt": pt, "j1_phi": np.round(phi, 3)}
    cells_of |= {"j2_pt": np.where(other, np.round(0.9 * pt, 2), 0), "j2_phi": np.where(other, np.round(back, 3), 0)}
    cells_of = {k: v.astype("f4") for k, v in cells_of.items()}
    for cells in cells_of.values():
        cells[::50] = 0
    return pa.table(cells_of)


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


def blobs(n, seed=0):
    """Images of 3 × 2 pixels as columns."""
    rng = np.random.default_rng(seed)
    cells = np.clip(128 + 60 * rng.normal(size=(n, 1)) + 20 * rng.normal(size=(n, 6)), 0, 255).astype(np.uint8)
    made = pa.table({f"x{i}": c for i, c in enumerate(cells.T)})
    return made.replace_schema_metadata(shape_metadata([3, 2]))


def image_codec():
    """Networks of images that have learnt nothing."""
    sizes, rng = Sizes(3, 2, 1, 1, 2, 2, 2, 4, 4, 4, 4, 2), np.random.default_rng(0)
    weights = {k: rng.integers(-12, 13, s).astype(np.int64) for k, s in sizes.shapes.items()}
    weights["levels"] = rng.integers(20, 100, 256)
    weights["head_b"][2:4], weights["head_b"][4:] = (0, 8 << 10), 5 << 10
    return ImageModel(sizes, weights)


def written(table, plan):
    out = io.BytesIO()
    write_file(out, table.to_batches(), plan, {"container": "arrow"}, rows=3)
    return out.getvalue()


def corpus():
    """(file, its rows) of an autoregressive network's, of every simple way's, and of images; some chunks each."""
    plan = Compressor(max_error=1e-3, column_error={"j1_pt": "0.1%", "j2_pt": "0.1%"}).fit(slotted(2_000)).plan_
    files = [written(slotted(6, seed=1), plan)]
    table = mixed(6)
    batch = table.combine_chunks().to_batches()[0]
    files.append(written(table, make_plan(batch, Compressor(max_error=None).fit(table).plan_.bounds)))
    table = blobs(4)
    plan = make_plan(table.to_batches()[0], [None] * 6)
    plan.images = image_codec()
    # Such networks code worse than packing does, and are to be tried all the same.
    before, pixels.CLEARLY, chunk.NEAR = (pixels.CLEARLY, chunk.NEAR), math.inf, math.inf
    files.append(written(table, plan))
    pixels.CLEARLY, chunk.NEAR = before
    return [(f, rows_of(f)) for f in files]


def rows_of(data):
    """What a file holds, as something that can be compared bit by bit."""
    reader = opened(data)
    found = told(list(decompressed(reader)))
    report_of(reader)
    return found


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
    for number, (one, payload) in enumerate(chunks):
        entries += struct.pack("<QIQ", len(out), one.rows, len(payload))
        frame = FRAME.pack(b"\x89chunk\r\n", number, rows, one.rows, len(payload))
        out += frame + struct.pack("<I", zlib.crc32(payload, zlib.crc32(frame))) + payload
        rows += one.rows
    at, index = len(out), b"\x89index\r\n" + struct.pack("<I", len(chunks)) + entries + summary
    out += index + struct.pack("<I", zlib.crc32(index))
    footer = struct.pack("<QQQ", at, len(index) + 4, rows)
    return bytes(out + footer + struct.pack("<I", zlib.crc32(footer)) + b"\x89end\r\n\x1a\n")


def with_codec(header, codec):
    """The header of a file with such a codec section."""
    card = json.loads(header)
    card["codec"] = hashlib.sha256(codec).hexdigest()
    return json.dumps(card, sort_keys=True, separators=(",", ":")).encode()


def changed_schema(rng, header):
    """A header whose schema's own bytes are others."""
    card = json.loads(header)
    if isinstance(card["schema"], list):
        card["schema"] = changed_card(rng, card["schema"])
    else:
        card["schema"] = base64.b64encode(mutated(rng, base64.b64decode(card["schema"]), 2)).decode()
    return json.dumps(card, sort_keys=True, separators=(",", ":")).encode()


def changed_codec(rng, codec):
    """A codec section with another entry in its card, or other bytes after it."""
    reader, out = BytesReader(codec), BytesWriter()
    if codec[0] == 0:
        out.number(reader.number())
    card = json.loads(unpack(reader.piece(), 1 << 20))
    out.piece(pack(json.dumps(changed_card(rng, card)).encode(), thorough=False))
    return bytes(out.data) + codec[reader.at :]


def renumbered(rng, chunks):
    """Chunks that say to have another number of rows."""
    out = [(Chunk(c.rows), p) for c, p in chunks]
    one = rng.choice(out)[0]
    one.rows = rng.choice([one.rows + rng.choice([-1, 1]), *(n for n in NUMBERS if type(n) is int)]) % 2**32
    return out


class Chunk:
    def __init__(self, rows):
        self.rows = rows


def hostile(rng, whole):
    """A file whose checksums are right and whose header, codec section, frames, summary or payload are not."""
    header, codec, chunks, summary, _ = whole
    which = rng.randrange(12)
    if which == 0:
        header = mutated(rng, header, 2)
    elif which == 1:
        header = json.dumps(changed_card(rng, json.loads(header)), sort_keys=True, separators=(",", ":")).encode()
    elif which == 2:
        header = changed_schema(rng, header)
    elif which == 3:
        chunks = renumbered(rng, chunks)
    elif which == 4 and rng.random() < 0.3:
        summary = mutated(rng, summary, 2)
    elif which <= 7 and codec:
        codec = mutated(rng, codec, 2) if which == 5 else changed_codec(rng, codec)
        header = with_codec(header, codec)
    else:
        at = rng.randrange(len(chunks))
        chunks = [(c, mutated(rng, p) if i == at else p) for i, (c, p) in enumerate(chunks)]
    return framed(header, codec, chunks, summary)


PACKED = (autoregressive, columns, image_model, integers, pixels, report)


@contextlib.contextmanager
def hostile_pieces(rng):
    """Meanwhile one of the packed pieces of a file holds other bytes, of which its own checksum says nothing."""
    left = rng.randrange(12)

    def given(data, most):
        nonlocal left
        out, left = unpack(data, most), left - 1
        return out if left != -1 else unpack(b"\0" + mutated(rng, out), most)

    for module in PACKED:
        module.unpack = given
    try:
        yield
    finally:
        for module in PACKED:
            module.unpack = unpack


def fuzz(files, mutations, seed, hostile_share=0.25, until=None):
    """Number of mutations tried, refused, and read all the same; raises what is neither refusal nor the rows."""
    rng = random.Random(seed)
    tally = {"tried": 0, "hostile": 0, "refused": 0, "read": 0, "salvaged": 0, "slowest": 0.0}
    wholes = [parts(f) for f, _ in files]
    for number in range(mutations):
        if number % 256 == 0:
            if until is not None and time.monotonic() > until:
                break
            faulthandler.dump_traceback_later(MOST_WAIT, exit=True)
        # Images take four times as long as the others.
        which = min(rng.randrange(5) // 2, len(files) - 1)
        data, rows = files[which]
        with_sums, pieces = rng.random() < hostile_share, rng.random() < 0.25
        around = hostile_pieces(rng) if with_sums and pieces else contextlib.nullcontext()
        bad = data if with_sums and pieces else hostile(rng, wholes[which]) if with_sums else mutated(rng, data)
        tally["tried"] += 1
        tally["hostile"] += with_sums
        name = f"seed {seed}, mutation {number}"
        use = partial(checked, bad, None if with_sums else rows)
        with around:
            tally["slowest"] = max(tally["slowest"], judged(use, CompressedFileError, "read", name, tally))
        if number % 32 == 0:
            tally["salvaged"] += salvaged(bad)
    faulthandler.cancel_dump_traceback_later()
    return tally


def checked(bad, rows):
    """Read a file; `rows` are what it has to hold if it is read at all."""
    found = read(bad, rows)
    if rows is not None and found != rows:
        raise AssertionError("damage without a checksum's notice")


def read(bad, rows):
    """The rows, unless a checksum refuses them before any chunk is decoded: damage ends there, and soon."""
    if rows is not None:
        reader = opened(bad)
        for one in reader.chunks:
            reader.payload(one)
    return rows_of(bad)


def salvaged(bad):
    """Whether `--salvage` gets rows of it."""
    try:
        reader = opened(bad, salvage=True)
        return bool(list(decompressed(reader, lost=[])))
    except CompressedFileError:
        return False


def main():
    said = wanted(__doc__, 1_000_000)
    files, done, totals = corpus(), 0, {}
    while done < said.mutations and (said.until is None or time.monotonic() < said.until):
        part = fuzz(files, min(10_000, said.mutations - done), said.seed + done, until=said.until)
        done += part["tried"]
        slowest = max(totals.get("slowest", 0), part["slowest"])
        totals = {k: totals.get(k, 0) + v for k, v in part.items()} | {"slowest": slowest}
        counts = ", ".join(f"{v:,} {k}" for k, v in totals.items() if k != "slowest")
        sys.stdout.write(f"{counts}; slowest {slowest:.2f} s; {time.monotonic() - said.begun:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
