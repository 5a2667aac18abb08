"""Pictures as PNG data URIs: grey or RGB bytes, eight bits, no package needed."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from diabolo.report.html import Html, tag

__all__ = ["as_bytes", "picture", "png", "sheet"]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels [h, w] or [h, w, 3] uint8 (ISO 15948), each row predicted from the one above."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, np.uint8).reshape(height, -1)
    above = np.zeros_like(rows)
    above[1:] = rows[:-1]
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)
    color = 2 if pixels.ndim == 3 else 0
    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def as_bytes(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Images [n, h, w, c] as grey [n, h, w] (of other than three channels their mean) or RGB [n, h, w, 3] uint8."""
    span = high - low if high > low else 1.0
    with np.errstate(invalid="ignore"):
        scaled = np.nan_to_num((np.asarray(images, np.float64) - low) / span).clip(0, 1)
    if scaled.shape[-1] != 3:
        scaled = scaled.mean(axis=-1)
    return np.asarray(np.round(255 * scaled), np.uint8)


def sheet(images: np.ndarray, across: int, gap: int = 0) -> np.ndarray:
    """Images [n, h, w(, 3)] uint8 side by side in rows of `across`, in one picture."""
    n, h, w = images.shape[:3]
    down = -(-n // across)
    out = np.full((down * (h + gap) - gap, across * (w + gap) - gap, *images.shape[3:]), 128, np.uint8)
    for i, image in enumerate(images):
        y, x = (i // across) * (h + gap), (i % across) * (w + gap)
        out[y : y + h, x : x + w] = image
    return out


def uri(pixels: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def picture(pixels: np.ndarray, said: str, class_: str = "pixels") -> Html:
    """An <img> of pixels, with a description in words."""
    h, w = pixels.shape[:2]
    return tag("img", src=uri(pixels), alt=said, width=w, height=h, class_=class_)
