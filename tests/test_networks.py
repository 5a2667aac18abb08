"""What convolutional networks promise, and what a user's own network may do and when it is imported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder, load
from diabolo.data.sources import Rows
from diabolo.errors import ConfigError
from diabolo.memory import Memory
from diabolo.model.networks import (
    Convolution,
    ImageToRow,
    ParameterStore,
    RowToImage,
    TransposedConvolution,
    networks,
    parameter_shapes,
    run,
)
from diabolo.train.loop import fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stored(operations, seed=0, lead=()):
    store = ParameterStore(parameter_shapes("n", operations), lead)
    store.initialise("n", operations, seed)
    return list(store.views.values())


# ── layouts and convolutions ──────────────────────────────────────────────────────────────────────


def test_rows_are_images_in_c_order():
    pixels = np.arange(4 * 3 * 2, dtype=np.float32).reshape(1, 4, 3, 2)
    image = RowToImage(4, 3, 2)(torch.from_numpy(pixels.reshape(1, -1)), iter(()))
    assert np.array_equal(image.numpy(), pixels.transpose(0, 3, 1, 2))
    assert np.array_equal(ImageToRow()(image, iter(())).numpy(), pixels.reshape(1, -1))
    # Two numbers per pixel: all first ones, then all second ones.
    both = torch.cat([image, 100 + image], dim=1)
    row = ImageToRow(2)(both, iter(())).numpy()[0]
    assert np.array_equal(row, np.concatenate([pixels.ravel(), 100 + pixels.ravel()]))


def test_convolution_is_the_sum_that_it_says():
    x, operation = torch.randn(1, 2, 5, 4, generator=generator()), Convolution(2, 3, (5, 4), 3, stride=2, padding=1)
    weight, bias = torch.randn(3, 2, 3, 3, generator=generator(1)), torch.randn(3, generator=generator(2))
    y = operation(x, iter((weight, bias)))
    assert y.shape[2:] == operation.output_size == (3, 2)
    padded = functional.pad(x, (1, 1, 1, 1))
    for o in range(3):
        for i in range(3):
            for j in range(2):
                window = padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                assert float(y[0, o, i, j]) == pytest.approx(float((window * weight[o]).sum() + bias[o]), abs=1e-5)


@pytest.mark.parametrize("kernel", range(3, 8))
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (28, 28), (33, 16)])
def test_transposed_convolution_is_the_transpose(size, kernel):
    """⟨C x, y⟩ = ⟨x, Cᵀ y⟩ with the same weights, for even and odd sizes."""
    down = Convolution(2, 3, size, kernel, 2, (kernel - 1) // 2)
    up = TransposedConvolution(3, 2, down.output_size, size, kernel, 2, (kernel - 1) // 2)
    weight = torch.randn(3, 2, kernel, kernel, generator=generator(), dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.float64)
    x = torch.randn(1, 2, *size, generator=generator(1), dtype=torch.float64)
    y = torch.randn(1, 3, *down.output_size, generator=generator(2), dtype=torch.float64)
    there, back = down(x, iter((weight, zeros))), up(y, iter((weight, zeros[:2])))
    assert back.shape == x.shape
    assert float((there * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-9)


SHAPES = [(8, 8, 1), (9, 8, 3), (13, 28, 1), (28, 28, 1), (65, 33, 2), (65, 65, 1)]


@pytest.mark.parametrize("kernel", [3, 4, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_conv_takes_images_of_any_size(shape, kernel):
    conv, pixels = networks.create({"name": "conv", "kernel": kernel, "dense": 5, "slope": 0.1}), int(np.prod(shape))
    most = int(np.log2(min(shape[:2])))
    for hidden in (conv.default_hidden(pixels, shape), (4,), (3,) * most):
        encoder = conv.encoder(pixels, hidden, 6, shape)
        decoder = conv.decoder(3, hidden[::-1], 2 * pixels, shape)
        x = torch.randn(2, pixels, generator=generator(), requires_grad=True)
        code = run(encoder, stored(encoder), x)
        assert code.shape == (2, 6)
        # Every pixel is seen, and every pixel is drawn.
        assert (torch.autograd.grad(code.sum(), x, retain_graph=True)[0] != 0).all()
        theta = run(decoder, stored(decoder), code[:, :3])
        assert theta.shape == (2, 2 * pixels)
        assert (theta != 0).all()


@pytest.mark.parametrize(
    ("shape", "hidden", "message"),
    [
        (None, (8,), "these rows have no such shape: give the images themselves, or take network='mlp'"),
        ((7, 28, 1), (8,), "at least 8 × 8 pixels, got 7 × 28"),
        ((8, 8, 1), (), "8 × 8 pixels take 1 to 3 stages; got hidden = ()"),
        ((8, 8, 1), (8, 8, 8, 8), "8 × 8 pixels take 1 to 3 stages"),
        ((8, 8, 2), (8,), "one input for each of 8 × 8 × 2 pixels, got 64"),
    ],
)
def test_conv_says_what_it_cannot_take(shape, hidden, message):
    with pytest.raises(ConfigError) as failure:
        networks.create("conv").encoder(64, hidden, 4, shape)
    assert message in str(failure.value)


def test_conv_refuses_unequal_likelihoods_of_pixels():
    with pytest.raises(ConfigError, match="give all pixels one likelihood"):
        networks.create("conv").decoder(4, (8,), 64 + 3, (8, 8, 1))


def features(kernel, hidden, size):
    """The encoder's list up to its map, and parameters."""
    operations = networks.create({"name": "conv", "kernel": kernel}).encoder(size * size, hidden, 4, (size, size, 1))
    operations = operations[: next(i for i, o in enumerate(operations) if isinstance(o, ImageToRow))]
    return operations, stored(operations)


def mapped(operations, parameters, x):
    remaining = iter(parameters)
    for operation in operations:
        x = operation(x, remaining)
    return x


def test_a_shifted_image_gives_a_shifted_map():
    """By 4 pixels after two stages by one cell, except where the edge is seen."""
    operations, parameters = features(4, (6, 8), 32)
    image = torch.zeros(32, 32)
    image[6:20, 8:18] = torch.randn(14, 10, generator=generator())
    shifted = image.roll((4, 8), (0, 1))
    before, after = (mapped(operations, parameters, i.reshape(1, -1)) for i in (image, shifted))
    torch.testing.assert_close(after[:, :, 2:7, 3:7], before[:, :, 1:6, 1:5])
    assert (before[:, :, 1:6, 1:5] != 0).any()
    assert not torch.allclose(after[:, :, 2:7, 3:7], before[:, :, 2:7, 3:7])


def test_two_stages_of_kernel_three_see_seven_by_seven_pixels():
    operations, parameters = features(3, (6, 8), 28)
    x = torch.randn(1, 28 * 28, generator=generator(), requires_grad=True)
    out = mapped(operations, parameters, x)
    assert out.shape == (1, 8, 7, 7)
    seen = torch.autograd.grad(out[0, :, 3, 3].sum(), x)[0].reshape(28, 28) != 0
    rows, columns = seen.nonzero().T
    # Cell 3 of the map is centred on pixel 4 · 3.
    assert (int(rows.min()), int(rows.max())) == (9, 15)
    assert (int(columns.min()), int(columns.max())) == (9, 15)


# ── conv in a model ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("threads", [1, 2])
def test_conv_training_repeats(threads, images, build_model, encoded):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = []
        for _ in range(2):
            model = build_model(images, network="conv", latent="gaussian", regularizer="kl", epochs=2, batch_size=64)
            rows = encoded(model, images).clipped(8.0)
            fit(model, Rows(rows.rows(slice(0, 180)), None), Rows(rows.rows(slice(180, None)), None))
            results.append(model.store.flat.clone())
        assert torch.equal(*results)
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def blobs():
    """[900, 11, 14]: a bright spot somewhere, with noise."""
    rng = np.random.default_rng(8)
    y, x = (rng.uniform(3, side - 3, (900, 1, 1)) for side in (11, 14))
    square = (np.arange(11)[:, None] - y) ** 2 + (np.arange(14) - x) ** 2
    return np.exp(-square / 6) + 0.02 * rng.normal(size=(900, 11, 14))


@pytest.fixture(scope="module")
def eyes(blobs):
    """A convolutional autoencoder and a detector around a variational one, on the first 800 blobs."""
    settings = {"network": "conv", "latent_dim": 4, "hidden": (8, 16), "batch_size": 64, "learning_rate": 1e-2}
    ae = Autoencoder(epochs=15, **settings).fit(blobs[:800])
    return {"ae": ae, "vae": AnomalyDetector(VariationalAutoencoder(epochs=15, **settings)).fit(blobs[:800])}


def test_conv_autoencoders_learn_images(eyes, blobs):
    """Held-out images come out far nearer than the mean image, and new draws look like images."""
    held = blobs[800:]
    mean_image = np.square(held - blobs[:800].mean(0)).mean()
    for ae in (eyes["ae"], eyes["vae"].autoencoder_):
        back = ae.reconstruct(held)
        assert back.shape == held.shape
        assert np.square(back - held).mean() < 0.25 * mean_image
        assert ae.sample(5).shape == (5, 11, 14)
        assert ae.model_.encoding.shape == (11, 14, 1)


def test_conv_detects_what_is_no_such_image(eyes, blobs):
    two = blobs[800:] + blobs[800:, ::-1, ::-1]
    detector = eyes["vae"]
    assert np.median(detector.p_values(two)) < 0.1 < np.median(detector.p_values(blobs[800:]))


def test_conv_scores_of_a_batch_are_those_of_its_rows(eyes, blobs):
    for scorer in (eyes["ae"], eyes["vae"]):
        whole = scorer.anomaly_score(np.concatenate([blobs, blobs[::-1]] * 3))
        assert np.array_equal(whole[:900], whole[900:1800][::-1])
        for row in (0, 877):
            assert scorer.anomaly_score(blobs[row : row + 1])[0] == whole[row]


def test_conv_comes_back_from_its_file(eyes, blobs, tmp_path):
    for name, kind in (("ae", Autoencoder), ("vae", AnomalyDetector)):
        eyes[name].save(tmp_path / "m.diabolo")
        again = load(tmp_path / "m.diabolo") if kind is Autoencoder else AnomalyDetector.load(tmp_path / "m.diabolo")
        assert np.array_equal(again.anomaly_score(blobs), eyes[name].anomaly_score(blobs))
    assert Autoencoder.load(tmp_path / "m.diabolo").model_.config.network == "conv"


@pytest.mark.parametrize("kind", ["8-bit", "binary", "colour"])
def test_conv_takes_every_kind_of_pixel(kind, blobs):
    """A likelihood may ask for two numbers per pixel."""
    X = {
        "8-bit": (255 * blobs.clip(0, 1)).astype(np.uint8),
        "binary": blobs > 0.5,
        "colour": np.stack([blobs, blobs[:, ::-1], blobs**2], axis=-1),
    }[kind]
    vae = VariationalAutoencoder(network="conv", latent_dim=4, hidden=(8,), epochs=6, batch_size=64).fit(X[:800])
    back = np.asarray(vae.reconstruct(X[800:]), float)
    assert back.shape == X[800:].shape
    mean_image = X[:800].astype(float).mean(0)
    assert np.square(back - X[800:]).mean() < 0.8 * np.square(mean_image - X[800:]).mean()


def test_two_numbers_per_pixel_lie_as_the_likelihood_reads_them(blobs):
    X = (255 * blobs.clip(0, 1)).astype(np.uint8)
    likelihood = {"name": "discretized_logistic", "scale": "decoded"}
    vae = VariationalAutoencoder(network="conv", likelihood=likelihood, latent_dim=4, hidden=(8,), epochs=6)
    vae.fit(X[:800])
    assert vae.model_.heads[-1].stop == 2 * 11 * 14
    mean_image = X[:800].astype(float).mean(0)
    back = np.asarray(vae.reconstruct(X[800:]), float)
    assert np.square(back - X[800:]).mean() < 0.5 * np.square(mean_image - X[800:]).mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.reshape(len(X), -1), "give the images themselves"),
        (lambda X: np.where(np.arange(X.size).reshape(X.shape) == 5, np.nan, X), "without missing pixels"),
        (lambda X: X[:, :7], "at least 8 × 8 pixels, got 7 × 14"),
    ],
)
def test_conv_refuses_what_is_no_whole_image(change, message, blobs):
    with pytest.raises(ConfigError, match=message):
        Autoencoder(network="conv", epochs=1).fit(change(blobs))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 13, 3)], ids=str)
def test_a_row_does_not_depend_on_its_company(shape, threads):
    """Bit for bit, in the parts that a network without gradients runs in."""
    conv, pixels = networks.create({"name": "conv", "dense": 20}), int(np.prod(shape))
    hidden = conv.default_hidden(pixels, shape)
    lists = [conv.encoder(pixels, hidden, 6, shape), conv.decoder(6, hidden[::-1], pixels, shape)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for operations in lists:
                parameters, width = stored(operations), 6 if operations is lists[1] else pixels
                x = torch.randn(512, width, generator=generator())
                whole = run(operations, parameters, x)
                order = torch.randperm(512, generator=generator(1))
                assert torch.equal(run(operations, parameters, x[order]), whole[order])
                alone = run(operations, parameters, x[300:301].expand(512, -1).contiguous())
                assert torch.equal(alone, whole[300:301].expand(512, -1))
    finally:
        torch.set_num_threads(before)


# ── one node for many layers and members ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("shared", [True, False])
def test_the_fused_list_is_the_list(lead, shared, slope):
    """Value and every gradient, in memory that another run has used; members see the same rows or their own."""
    operations = networks.create({"name": "mlp", "slope": slope}).encoder(5, (7, 4), 6)
    parameters = [p.detach().requires_grad_() for p in stored(operations, lead=lead)]
    memory = Memory()
    for seed in (1, 2):
        shape = (11, 5) if shared else (*lead, 11, 5)
        x = torch.randn(shape, generator=generator(seed), requires_grad=True)
        weight = torch.randn(*lead, 11, 6, generator=generator(seed + 9))
        plain, fused = run(operations, parameters, x), run(operations, parameters, x, memory, "n")
        torch.testing.assert_close(fused, plain)
        exact = torch.autograd.grad((plain * weight).sum(), [x, *parameters])
        for got, wanted in zip(torch.autograd.grad((fused * weight).sum(), [x, *parameters]), exact, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_a_network_that_runs_twice_in_a_pass_gets_both_gradients(lead):
    """The first run writes into its targets; the second comes back beside them."""
    operations = networks.create("mlp").encoder(5, (7,), 2)
    parameters = [p.detach().requires_grad_() for p in stored(operations, lead=lead)]
    targets = [torch.full_like(p, torch.nan) for p in parameters]
    memory = Memory({"n": targets})
    xs = [torch.randn(*lead, rows, 5, generator=generator(rows)) for rows in (4, 6)]
    sum(run(operations, parameters, x, memory, "n").square().sum() for x in xs).backward()
    exact = torch.autograd.grad(sum(run(operations, parameters, x).square().sum() for x in xs), parameters)
    for parameter, target, wanted in zip(parameters, targets, exact, strict=True):
        torch.testing.assert_close(target + parameter.grad, wanted, rtol=1e-4, atol=1e-5)
