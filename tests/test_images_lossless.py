"""Images in `*.dbl` files: bits back, exact networks, lengths that are −ELBO, and damage that is named."""

import dataclasses
import hashlib
import json
import lzma
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from scipy import special, stats

import diabolo
from diabolo.compress import images as coding
from diabolo.compress import learning_images
from diabolo.compress.bitsback import Empty, Stack
from diabolo.compress.bytesio import BytesReader, BytesWriter, pack
from diabolo.compress.coder import TOTAL
from diabolo.compress.container import Header
from diabolo.compress.curves import CELL, LATENTS, Curve, logistic, middle, mixing, normal, steepness
from diabolo.compress.frames import as_arrow
from diabolo.compress.image_model import ImageModel, Sizes
from diabolo.compress.images import decode_images, encode_images
from diabolo.compress.layers import Layer, through
from diabolo.compress.learning_images import Training, sizes_of
from diabolo.compress.pixels import coded_pixels, image_schema
from diabolo.compress.report import report_lines
from diabolo.compress.rivals import verdict
from diabolo.compress.stream import opened
from diabolo.data.formats import write_batches
from diabolo.errors import CompressedFileError, ConfigError
from diabolo.estimators.compressor import Compressor, decompress

GOLDEN = "8375d943fb8697a39a0139ea593f32f9"


def blobs(n, side=8, seed=0):
    """Images of a bright spot somewhere, with a little noise where it is bright."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    at, size = rng.uniform(1, side - 2, (2, n, 1, 1)), rng.uniform(1, 2, (n, 1, 1))
    bright = 250 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * size**2))
    return np.clip(bright + rng.normal(0, 3, bright.shape) * (bright > 20), 0, 255).astype(np.uint8)


def random_model(sizes, seed=0):
    rng = np.random.default_rng(seed)
    scale = {"e1": 12, "e2": 8, "d1": 40, "d2": 30, "p1": 12, "p2": 12, "head": 60}
    weights = {k: np.rint(rng.normal(size=s) * scale.get(k, 8)).astype(np.int64) for k, s in sizes.shapes.items()}
    weights["levels"] = rng.integers(20, 100, 256)
    weights["head_b"][sizes.mixture : 2 * sizes.mixture] = np.linspace(0, 8 * 1024, sizes.mixture)
    weights["head_b"][2 * sizes.mixture :] = 5 * 1024
    return ImageModel(sizes, weights)


SMALL = Sizes(6, 5, 2, 2, 3, 2, 4, 9, 8, 10, 11, 3)


@pytest.fixture(scope="module")
def small():
    return random_model(SMALL)


@pytest.fixture(scope="module")
def plain():
    """A plain variational autoencoder of 8 × 8 images (no pixel sees another), and held-out images."""
    x = blobs(2_400, 6).reshape(-1, 36)
    training = Training(Sizes(6, 6, 0, 0, 3, 1, 4, 24, 24, 16, 16, 3), x[:900], 250, 0)
    training.run()
    return training.model(), x[900:]


# ── the stack and the curves ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("lanes", "n"), [(1, 50), (7, 50), (64, 1_000)])
def test_popping_and_pushing_undo_each_other(lanes, n, rng):
    curve = Curve(
        normal, LATENTS, rng.integers(-2_000, 2_000, (1, n)), steepness(rng.integers(0, 310, (1, n)), 310), 10
    )
    stack = Stack(lanes)
    stack.push(*curve.intervals(rng.integers(0, 1_024, n)))
    before = stack.to_bytes()
    other = Curve(normal, LATENTS, np.zeros((1, n // 2), np.int64), np.full((1, n // 2), 1 << 17), 10)
    values, starts, widths = stack.pop(n // 2, other.find)
    assert (np.stack(other.intervals(values)) == [starts, widths]).all()
    stack.push(starts, widths)
    assert stack.to_bytes() == before
    again = Stack.from_bytes(before, lanes)
    again.pop(n, curve.find)
    again.finish()
    with pytest.raises(Empty):
        again.pop(100 * n, lambda slots, part: (slots, slots, np.ones_like(slots)))


def test_curves_are_those_of_the_books():
    x = np.arange(-512, 513) / 32
    for table, exact in ((logistic(), special.expit(x)), (normal(), special.ndtr(x))):
        assert np.abs(table[1:-2] / 2**24 - exact[1:-1]).max() <= 0.51 / 2**24
        assert (np.diff(table) >= 0).all()
        assert (table[0], table[-2], table[-1]) == (0, 1 << 24, 1 << 24)


def test_intervals_of_a_mixture_cover_everything_and_are_found(rng):
    edges = np.concatenate([[0], np.cumsum(rng.integers(1, 200, 256))])
    m, n = 3, 90
    logits = rng.integers(-300, 300, (m, n))
    curve = Curve(
        logistic,
        edges,
        rng.integers(-2_000, 20_000, (m, n)),
        steepness(rng.integers(-50, 700, (m, n)), 640),
        9,
        mixing(logits),
    )
    starts, widths = zip(*(curve.intervals(np.full(n, v)) for v in range(256)), strict=True)
    starts, widths = np.array(starts), np.array(widths)
    assert (starts[0] == 0).all()
    assert (starts[1:] == (starts + widths)[:-1]).all()
    assert ((starts + widths)[-1] == TOTAL).all()
    assert widths.min() >= 16
    for lanes in (None, 1_000, 16):  # a search by fourths, that looks at the second value first, by sixteenths
        if lanes:
            curve.ready(lanes)
        for slots in (rng.integers(0, TOTAL, n), starts[100], starts[101] - 1, starts[1] - 1):
            v, s, w = curve.find(slots, slice(0, n))
            assert ((s <= slots) & (slots < s + w)).all()
            assert (np.stack(curve.intervals(v)) == [s, w]).all()


def test_a_latent_has_the_mass_of_its_normal_distribution(rng):
    mu, t = rng.integers(-700, 700, (1, 200)), rng.integers(60, 230, (1, 200))
    curve = Curve(normal, LATENTS, mu, steepness(t, 310), 10)
    cells = np.clip((mu[0] + rng.normal(0, 60, 200).astype(int) - LATENTS[0]) // CELL, 0, 1_023)
    sigma = np.exp(t[0] / 64) * 8
    exact = special.ndtr((LATENTS[cells + 1] - mu[0]) / sigma) - special.ndtr((LATENTS[cells] - mu[0]) / sigma)
    found = curve.intervals(cells)[1] / TOTAL
    usual = exact > 1e-4
    assert usual.sum() > 50
    assert np.abs(found / exact - 1)[usual].max() < 0.05


def test_layers_are_exact_in_either_precision(rng):
    for scale in (20, 2_000_000):
        w, b, x = rng.integers(-scale, scale, (7, 30)), rng.integers(-scale, scale, 7), rng.integers(-511, 512, (30, 9))
        layer = Layer(w, b, 5, np.full(30, 511.0), last=True)
        assert layer.dtype == (np.float32 if scale == 20 else np.float64)
        assert (layer(x) == (w @ x + b[:, None]) // 32).all()
    with pytest.raises(CompressedFileError, match="too large to be exact"):
        Layer(np.full((1, 30), 1 << 39), np.zeros(1, np.int64), 5, np.full(30, 1024.0))


# ── lengths ───────────────────────────────────────────────────────────────────────────────────────


def test_every_bit_of_a_piece_is_accounted_for(small):
    x = np.random.default_rng(1).integers(0, 256, (150, 30)).astype(np.uint8)
    piece, account = encode_images(small, x)
    assert account.back > 0
    states = piece[0]
    # A state that began at 2³² ends below 2⁶⁴, and is written in 64 bits.
    assert account.total <= 8 * len(piece) <= account.total + 64 * states + 8 * 16


def test_a_file_is_as_long_as_the_negative_evidence_lower_bound(plain):
    """−ELBO from its definition in double precision: KL in closed form, latents drawn by another generator."""
    model, x = plain
    s, pixels = model.sizes, np.ascontiguousarray(x.T)
    q = model.posterior(pixels)
    n, rng = len(x), np.random.default_rng(5)
    mu, sigma = q.center[0] / 256, np.exp2(20) / q.steep[0] / 32
    kl = (0.5 * (mu**2 + sigma**2 - 1) - np.log(sigma)).sum()
    nats = 0.0
    for _ in range(2):
        z = np.rint(256 * (mu + sigma * rng.normal(size=mu.shape))).reshape(s.latents, n)
        features = through(model.decoder, z).reshape(s.pixels, s.features, n)
        for i in range(s.pixels):
            c = model.given(i, model.seen(n), features)
            scale = (1 << 22) / c.steep.astype(float)
            upper = special.expit((model.edges[pixels[i] + 1] - c.center) / scale)
            lower = special.expit((model.edges[pixels[i]] - c.center) / scale)
            upper, lower = np.where(pixels[i] == 255, 1.0, upper), np.where(pixels[i] == 0, 0.0, lower)
            p = (c.weight / c.weight.sum(axis=0) * (upper - lower)).sum(axis=0)
            nats -= np.log(p * (1 - 2.0**-16) + 2.0**-24).sum() / 2
    piece, account = encode_images(model, x)
    bound = (nats + kl) / math.log(2)
    assert 8 * len(piece) == pytest.approx(bound, rel=0.01)
    assert account.back > 0.05 * bound, "latents that are not used prove nothing"
    # Latents in full, with no bits back, would be far from it.
    assert account.pixels + account.prior > 1.05 * bound


def test_training_learns(plain):
    model, x = plain
    piece, _ = encode_images(model, x)
    counts = np.bincount(x.reshape(-1), minlength=256)
    order_0 = stats.entropy(counts, base=2) * x.size
    assert 8 * len(piece) < 0.9 * order_0
    assert (decode_images(model, encode_images(model, x[:40])[0], 40) == x[:40]).all()


# ── exactness ─────────────────────────────────────────────────────────────────────────────────────


def test_what_the_image_coder_writes_is_fixed(small):
    x = np.random.default_rng(2).integers(0, 256, (90, 30)).astype(np.uint8)
    assert hashlib.sha256(encode_images(small, x)[0] + small.to_bytes()).hexdigest()[:32] == GOLDEN


@pytest.mark.parametrize("together", [1, 37])
def test_the_number_of_images_at_once_changes_nothing(small, monkeypatch, together):
    x = np.random.default_rng(3).integers(0, 256, (60, 30)).astype(np.uint8)
    before = encode_images(small, x)[0]
    monkeypatch.setattr(coding, "TOGETHER", together)
    assert encode_images(small, x)[0] == before
    assert (decode_images(small, before, 60) == x).all()


@pytest.mark.parametrize("n", [0, 1, 2, 60])
@pytest.mark.parametrize("latents", [0, 3])
def test_round_trip_of_any_number(n, latents):
    model = ImageModel.from_bytes(random_model(Sizes(5, 7, 1, 3, latents, 3, 4, 9, 8, 10, 11, 2), seed=n).to_bytes())
    x = np.random.default_rng(n).integers(0, 256, (n, 35)).astype(np.uint8)
    assert (decode_images(model, encode_images(model, x)[0], n) == x).all()


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


def test_damaged_pieces_are_refused_or_other_images(small):
    x = np.random.default_rng(4).integers(0, 256, (40, 30)).astype(np.uint8)
    piece, rng = encode_images(small, x)[0], np.random.default_rng(5)
    for cut in (0, 1, 5, len(piece) // 2, len(piece) - 4, len(piece) - 1):
        with pytest.raises(CompressedFileError):
            decode_images(small, piece[:cut], 40)
    refused = 0
    for at in rng.integers(0, len(piece), 8):
        damaged = bytearray(piece)
        damaged[at] ^= 1 << rng.integers(0, 8)
        try:
            decode_images(small, bytes(damaged), 40)
        except CompressedFileError:
            refused += 1
    assert refused >= 7
    with pytest.raises(CompressedFileError, match="do not add up"):
        decode_images(small, piece, 41)


@pytest.mark.parametrize("shape", [[], [3], [0, 5], [-1, 5], [1 << 20, 1 << 20], ["a", 2], [2, 2, 2, 2], [None, 1]])
def test_impossible_shapes_are_refused(shape):
    card = json.loads(Header(image_schema((2, 3)), [None] * 6, [None] * 6, [], {}).to_bytes())
    assert Header.from_bytes(json.dumps(card).encode()).schema.equals(image_schema((2, 3)), check_metadata=True)
    with pytest.raises(CompressedFileError, match="header is damaged"):
        Header.from_bytes(json.dumps(card | {"schema": shape}).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": 0}, "impossible size"),
        ({"hidden": 1 << 20}, "impossible size"),
        ({"inward": 0}, "impossible size"),
        ({"cell": -1}, "impossible size"),
        ({"rows": 4_000, "columns": 4_000, "cell": 1}, "impossible size"),
    ],
)
def test_impossible_networks_are_refused(small, change, said):
    reader, out = BytesReader(small.to_bytes()), BytesWriter()
    out.number(reader.number())
    reader.piece()
    out.piece(pack(json.dumps(dataclasses.asdict(SMALL) | change).encode()))
    with pytest.raises(CompressedFileError, match=said):
        ImageModel.from_bytes(bytes(out.data) + reader.data[reader.at :])


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def compressor():
    images = blobs(3_100, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_images, "MOST_STEPS", 120)
        patch.setattr(learning_images, "sizes_of", lambda shape, n: Sizes(*shape, 2, 2, 2, 3, 4, 12, 12, 16, 16, 3))
        return Compressor().fit(images[:3_000]), images[3_000:]


def test_images_come_back_and_are_smaller_than_packed(compressor):
    fitted, images = compressor
    data = fitted.compress(images)
    back = decompress(data)
    assert back.dtype == np.uint8
    assert (back == images).all()
    assert fitted.report_.tally.by_model.all()
    lines = report_lines("x.dbl", fitted.report_)
    assert len(lines) == 2
    assert re.match(r"  images of 6×6: \d\.\d{3} bits per pixel, exact, by the codec's network", lines[1])
    # The header tells images by their shape: 36 columns cost nothing.
    assert opened(data).start - fitted.report_.bytes_model < 300
    said = verdict(fitted.plan_, as_arrow(images)[0].combine_chunks().to_batches()[0], 0)
    assert said.rivals["xz"] <= len(lzma.compress(images.tobytes(), preset=6))
    packed = coded_pixels(None, images.reshape(len(images), -1))[0]
    assert fitted.report_.tally.bits.sum() < 0.9 * 8 * len(packed)


def test_images_unlike_the_training_ones_are_packed_or_coded_by_column(compressor):
    fitted, images = compressor
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 6, 6)).astype(np.uint8)
    columns = np.broadcast_to(rng.integers(0, 256, (6, 6)), (200, 6, 6)).astype(np.uint8)
    steps = (rng.geometric(0.5, (800, 6, 6)) * 40 + rng.integers(0, 2, (1, 6, 6)) * 60).astype(np.uint8)
    for odd, most in ((noise, noise.nbytes), (columns, 100), (steps, None), (images[:0], 0), (images[:1], 200)):
        data = fitted.compress(odd)
        assert (decompress(data) == odd).all()
        if most is not None:
            assert len(data) - fitted.report_.bytes_model < 1.01 * most + 2_500


def test_other_sides_and_colors(rng):
    color = np.repeat(blobs(300, 5)[..., None], 3, axis=3) // np.array([1, 2, 3], np.uint8)
    model = Training(sizes_of((5, 5, 3), 300), color.reshape(300, -1), 3, 0).model()
    assert model.sizes.columns == 15
    x = color.reshape(300, -1)[:20]
    assert (decode_images(model, encode_images(model, x)[0], 20) == x).all()


def test_few_images_have_no_networks(rng):
    fitted = Compressor().fit(blobs(100, 6))
    assert fitted.plan_.codec == b""
    assert (decompress(fitted.compress(blobs(30, 6))) == blobs(30, 6)).all()
    with pytest.raises(ConfigError, match=r"epochs = 0; allowed are None and whole numbers from 1"):
        Compressor(epochs=0).fit(blobs(100, 6))


def test_damaged_files_name_the_chunk(compressor):
    fitted, images = compressor
    data = bytearray(fitted.compress(images))
    data[-500] ^= 4
    with pytest.raises(CompressedFileError, match=r"chunk 0 \(rows 0 .*\) is damaged"):
        decompress(bytes(data))


def test_missing_pixels_are_coded_column_by_column(compressor):
    fitted, images = compressor
    table, _ = as_arrow(images[:50])
    cells = [None, *table["x3"].to_pylist()[1:]]
    table = table.set_column(3, table.schema.field(3), pa.array(cells, pa.uint8()))
    assert decompress(fitted.compress(table)).equals(table)


def test_files_of_images(compressor, tmp_path):
    """IDX to `*.dbl` and back by the program, with a codec section put into the model file."""
    from program import done

    _, images = compressor
    table, _ = as_arrow(images)
    write_batches(str(tmp_path / "x.idx"), table.schema, iter(table.to_batches()))
    done("fit", tmp_path / "x.idx", "-o", tmp_path / "m.diabolo", "--method", "linear", "--only", "main")
    done("compress", tmp_path / "m.diabolo", tmp_path / "x.idx", "-o", tmp_path / "x.dbl")
    done("decompress", tmp_path / "x.dbl", "-o", tmp_path / "y.idx")
    assert (tmp_path / "y.idx").read_bytes() == (tmp_path / "x.idx").read_bytes()
    assert diabolo.decompress((tmp_path / "x.dbl").read_bytes()).num_rows == 100
    assert middle(np.array([0, 1_023])).tolist() == [-2_046, 2_046]
