"""Bytes of MNIST's and Fashion-MNIST's test images without loss: diabolo beside xz, bz2, zstd, PNG, WebP and JPEG XL.

The autoencoder is `Compressor`'s own, fitted on the 60,000 training images; the 10,000 test images become a `*.dbl`
file, which a clean process decodes and compares bit by bit. Bits per pixel are those of the file's bytes; there are no
random initial bits. With `--plain` a plain variational autoencoder, whose pixels see no others, is fitted instead and
coded by the same coder. A picture format gets every image by itself, and all as one mosaic. `--cache` keeps a training,
which goes on where `--minutes` ended it.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import lzma
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import torch

from diabolo.compress import learning_images, pixels
from diabolo.compress.bytesio import BytesReader
from diabolo.compress.frames import as_arrow
from diabolo.compress.image_model import Sizes
from diabolo.compress.images import encode_images
from diabolo.compress.stream import write_file
from diabolo.estimators.compressor import Compressor

FASHION = "/usr/share/datasets/fashion-mnist"
#: A plain variational autoencoder: 40 latents, and features of each pixel by itself.
PLAIN = Sizes(28, 28, 0, 0, 40, 1, 6, 200, 100, 24, 16, 4)
#: Published, bits per pixel of MNIST: Townsend et al. 2019 (arXiv:1901.04866), Kingma et al. 2019 (arXiv:1905.06845).
PUBLISHED = {"mnist": {"BB-ANS": 1.41, "Bit-Swap": 1.27}, "fashion": {}}
BARS = {"mnist": (1.36, 1.27), "fashion": (3.4, 3.0)}
CLEAN = """
import hashlib, sys, time, numpy as np, diabolo
begun = time.process_time()
x = diabolo.decompress(open(sys.argv[1], "rb").read())
print(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.dtype, x.shape, time.process_time() - begun)
"""


def load(name, part, folder):
    if name == "mnist":
        return np.load(common.data_path("mnist", "mnist.npz"))[f"x_{part}"]
    path = Path(folder, f"{'train' if part == 'train' else 't10k'}-images-idx3-ubyte.gz")
    if not path.exists():
        sys.exit(f"{path}: no such file; apt install dataset-fashion-mnist, or name its folder with --fashion")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


def pictures(images, kind, **settings):
    from PIL import Image

    total = 0
    for image in images:
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, kind, **settings)
        back = np.asarray(Image.open(io.BytesIO(sink.getvalue())).convert("L"))
        assert (back == image).all(), kind
        total += len(sink.getvalue())
    return total


def mosaic(images):
    side = math.isqrt(len(images))
    return images[: side * side].reshape(side, side, 28, 28).swapaxes(1, 2).reshape(1, 28 * side, 28 * side)


def rivals(images):
    """(name, bytes); each is decoded and compared."""
    import zstandard
    from PIL import features

    raw = images.tobytes()

    def packed(pack, unpack):
        data = pack(raw)
        assert unpack(data) == raw
        return len(data)

    yield "xz -9", packed(lambda b: lzma.compress(b, preset=9), lzma.decompress)
    yield "bz2 -9", packed(lambda b: bz2.compress(b, 9), bz2.decompress)
    yield (
        "zstd -19",
        packed(zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress),
    )
    yield "PNG", pictures(images, "PNG", optimize=True)
    yield "PNG, mosaic", pictures(mosaic(images), "PNG", optimize=True)
    if features.check("webp"):
        yield "WebP, lossless", pictures(images, "WEBP", lossless=True, quality=100)
        yield "WebP, lossless, mosaic", pictures(mosaic(images), "WEBP", lossless=True, quality=100)
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        print("JPEG XL: Pillow has no plugin for it here (pip install pillow-jxl-plugin)")
    else:
        yield "JPEG XL, lossless, mosaic", pictures(mosaic(images), "JXL", lossless=True, effort=9)


def trained(training, cache, minutes):
    """Train, or go on; None where the time did not do."""
    begun = time.monotonic()
    if cache and cache.exists():
        training.resume(torch.load(cache, weights_only=True))
    while training.step < training.steps and time.monotonic() - begun < 60 * minutes:
        training.run(until=training.step + 20)
        if cache and training.step % 100 == 0:
            torch.save(training.state(), cache)
    if cache:
        torch.save(training.state(), cache)
    print(f"step {training.step:,} of {training.steps:,}", flush=True)
    return training.model() if training.step >= training.steps else None


def ours(name, model, test, found):
    compressor = Compressor().fit(test[:100])  # too few for networks: only the plan
    compressor.plan_.images = model
    accounts, encode = [], pixels.encode_images

    def counted(*words):
        piece, account = encode(*words)
        accounts.append((len(piece), BytesReader(piece).number(), account))
        return piece, account

    pixels.encode_images = counted
    table, given = as_arrow(test)
    sink = io.BytesIO()
    with common.Clock() as writing:  # the clean process verifies
        report = write_file(sink, table.to_batches(), compressor.plan_, given, verified=False)
    pixels.encode_images = encode
    data, (piece, lanes, account) = sink.getvalue(), accounts[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.dbl")
        path.write_bytes(data)
        said = subprocess.run([sys.executable, "-c", CLEAN, path], capture_output=True, text=True, check=True).stdout
    digest, kind, *_, seconds = said.split()
    assert (digest, kind) == (hashlib.sha256(test.tobytes()).hexdigest(), "uint8"), said
    cells, size = test.size, report.bytes_model
    net, whole = 8 * (len(data) - size) / cells, 8 * len(data) / cells
    bits = {k: v / cells for k, v in dataclasses.asdict(account).items()}
    found["diabolo"] = {"bytes": len(data), "model": size, "net": net, "whole": whole, **bits}
    print(f"| **diabolo**, without its codec section | {len(data) - size:,} | {net:.3f} |")
    print(f"| **diabolo**, the whole file | {len(data):,} | {whole:.3f} |")
    print(
        f"codec section {size:,} bytes; images' piece {piece:,}, of which {8 * lanes:,} are states; it is "
        f"{8 * piece / account.total:.4f} of −ELBO"
    )
    print(
        f"−ELBO {account.total / cells:.4f} bits per pixel = pixels {bits['pixels']:.4f} + prior {bits['prior']:.4f} − "
        f"back {bits['back']:.4f}; latents coded in full would make it {bits['pixels'] + bits['prior']:.4f}"
    )
    print(
        "decoded in a clean process, bit by bit the same; by processor time write "
        f"{cells / 1e6 / writing.cpu:.2f} MB/s, read {cells / 1e6 / float(seconds):.2f} MB/s"
    )
    bar, moonshot = BARS[name]
    best = min(v["bytes"] for k, v in found.items() if k != "diabolo")
    print(
        f"bar ≤ {bar}: {'reached' if net <= bar else 'missed'}; moonshot {moonshot}: "
        f"{'reached' if net <= moonshot else 'missed'}; best rival / ours = {best / (len(data) - size):.3f}, with the "
        f"codec section {best / len(data):.3f}",
        flush=True,
    )


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", choices=["mnist", "fashion"], default="mnist")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's idx files (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="passes over the training images (default: Compressor's)")
    parser.add_argument("--cache", help="folder that keeps the training")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of training in this run")
    parser.add_argument("--plain", action="store_true", help="a plain variational autoencoder, and nothing else")
    options = parser.parse_args()
    train, test = (load(options.data, part, options.fashion) for part in ("train", "test"))
    if options.quick:
        train, test = train[:2_000], test[:400]
    print(common.machine_line())
    flat = train.reshape(len(train), -1)
    training, _ = learning_images.prepared(flat, (28, 28), 0, options.epochs)
    if options.plain:
        training = learning_images.Training(PLAIN, training.images, training.steps, 0)
    label = f"{options.data}{'-plain' if options.plain else ''}-{training.steps}"
    with common.Clock() as clock:
        model = trained(training, options.cache and Path(options.cache, f"{label}.pt"), options.minutes)
    if model is None:
        return print("run again to go on")
    print(f"{training.steps:,} steps, {clock.wall:.0f} s in this run, {clock.cpu:.0f} s of the processor")
    found = {}
    if options.plain:
        piece, account = encode_images(model, test.reshape(len(test), -1))
        found["plain"] = {"bytes": len(piece), **dataclasses.asdict(account)}
        print(
            f"plain variational autoencoder: {len(piece):,} bytes, {8 * len(piece) / test.size:.3f} bits per pixel; "
            f"−ELBO {account.total / test.size:.4f}, latents in full {(account.pixels + account.prior) / test.size:.4f}"
        )
    else:
        print(f"\n| {options.data}, {len(test):,} test images | bytes | bits per pixel |\n|---|---|---|", flush=True)
        for name, size in rivals(test):
            found[name] = {"bytes": size}
            print(f"| {name} | {size:,} | {8 * size / test.size:.3f} |", flush=True)
        for name, bits in PUBLISHED[options.data].items():
            print(f"| {name}, published | | {bits} |")
        ours(options.data, model, test, found)
    common.write_json(options.json, "images_lossless", options, found)


if __name__ == "__main__":
    main()
