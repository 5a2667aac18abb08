"""The view of images: blind to brightness and contrast, and to how simple a picture is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diabolo.config import build_config
from diabolo.data.encoding import Encoding
from diabolo.data.scaling import fit_encoding
from diabolo.data.schema import infer_schema
from diabolo.detect.pictures import Pictures, normalized

SIDE = 12


def images(n: int, seed: int, kind: str) -> np.ndarray:
    """Bars: upright ("simple", one; "complex", three) or lying ("strange", one), of random place and brightness."""
    rng = np.random.default_rng(seed)
    out = np.zeros((n, SIDE, SIDE))
    for picture in out:
        for _ in range(3 if kind == "complex" else 1):
            at, start, light = rng.integers(SIDE), rng.integers(4), rng.uniform(0.5, 1)
            if kind == "strange":
                picture[at, start : start + 8] = light
            else:
                picture[start : start + 8, at] = light
    return (out + 0.02 * rng.normal(size=out.shape)).reshape(n, -1).astype(np.float32)


def encoding_of(values: np.ndarray) -> Encoding:
    config = build_config({}, "vae")
    names = [f"p{i}" for i in range(values.shape[1])]
    schema = infer_schema(values, names, ["float32"] * len(names), config, shape=(SIDE, SIDE))
    return fit_encoding(values, schema, None, config)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    x = np.concatenate([images(200, 0, "simple"), images(200, 1, "complex")])
    return x[np.random.default_rng(2).permutation(len(x))]


def view(train: np.ndarray, rows: np.ndarray, own: torch.Tensor | None = None) -> np.ndarray:
    encoding = encoding_of(train)
    pictures = Pictures(encoding, train)
    return pictures.measure(encoding.encode(torch.from_numpy(rows)), own)[0].numpy()


def auroc(normal: np.ndarray, strange: np.ndarray) -> float:
    return float((strange[:, None] > normal[None]).mean())


def test_brightness_and_contrast_do_not_count() -> None:
    x = torch.from_numpy(images(5, 3, "complex"))
    torch.testing.assert_close(
        normalized(3 * x + 7, (SIDE, SIDE, 1)), normalized(x, (SIDE, SIDE, 1)), atol=1e-4, rtol=0
    )
    assert not torch.allclose(normalized(-x, (SIDE, SIDE, 1)), normalized(x, (SIDE, SIDE, 1)), atol=0.1)


def test_smoothed_zero_mean_unit_length_by_hand() -> None:
    x = torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    # Means over what is there of each 3 x 3 window, the border's windows cut.
    smooth = torch.tensor([9 / 4, 9 / 6, 0, 9 / 6, 1, 0, 0, 0, 0])
    expected = (smooth - smooth.mean()) / (smooth - smooth.mean()).norm()
    torch.testing.assert_close(normalized(x, (3, 3, 1))[0], expected)


def test_a_uniform_image_is_no_picture_and_is_finite(train: np.ndarray) -> None:
    flat = np.full((1, SIDE * SIDE), 0.7, np.float32)
    assert normalized(torch.from_numpy(flat), (SIDE, SIDE, 1)).abs().max() == 0
    assert np.isfinite(view(train, flat)).all()


def test_channels_stay_apart() -> None:
    x = torch.zeros(1, 4 * 4 * 2)
    x.view(1, 4, 4, 2)[..., 1] = torch.arange(16.0).view(1, 4, 4)
    out = normalized(x, (4, 4, 2)).view(2, 4, 4)
    assert out[0].std() < 1e-6
    assert out[1].std() > 0


def test_a_simple_anomaly_stands_out_where_the_distance_of_pixels_misses_it(train: np.ndarray) -> None:
    normal, strange = np.concatenate([images(100, 4, "simple"), images(100, 5, "complex")]), images(200, 6, "strange")

    def raw(rows: np.ndarray) -> np.ndarray:
        return np.sort(np.linalg.norm(rows[:, None] - train[None], axis=-1), axis=1)[:, :5].mean(axis=1)

    assert auroc(view(train, normal), view(train, strange)) > 0.9
    assert auroc(raw(normal), raw(strange)) < 0.8


def test_a_stored_row_does_not_count_itself(train: np.ndarray) -> None:
    with_itself = view(train, train[:50])
    without = view(train, train[:50], torch.arange(50))
    assert (without > with_itself).all()
    alone = view(train[1:], train[:1])
    np.testing.assert_allclose(without[:1], alone, rtol=0.05)


def test_by_the_formula(train: np.ndarray) -> None:
    rows = images(6, 7, "complex")
    encoding = encoding_of(train)
    a, b = (normalized(encoding.encode(torch.from_numpy(x)).x, (SIDE, SIDE, 1)).double() for x in (train, rows))
    own = torch.cdist(a, a)
    own.fill_diagonal_(torch.inf)
    usual = own.sort(dim=1).values[:, :5].mean(1)
    usual = usual + 1e-3 * usual.median() + 1e-6
    there = torch.cdist(b, a).sort(dim=1)
    expected = there.values[:, :5].mean(1) / usual[there.indices[:, :20]].mean(1).sqrt()
    np.testing.assert_allclose(view(train, rows), expected.numpy(), rtol=2e-3)


def test_the_same_to_the_bit_in_any_order(train: np.ndarray) -> None:
    rows = images(40, 8, "complex")
    np.testing.assert_array_equal(view(train, rows), view(train, rows[::-1].copy())[::-1])


def test_tables_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    config = build_config({}, "vae")
    encoding = fit_encoding(x, infer_schema(x, ["a", "b", "c"], ["float32"] * 3, config), None, config)
    with pytest.raises(ValueError, match="no images"):
        Pictures(encoding, x)
