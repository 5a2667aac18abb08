"""Networks as operations of ONNX: one emitter for each operation of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diabolo.errors import ConfigError
from diabolo.export.onnx.graph import Graph, ints
from diabolo.model.autoencoder import Model
from diabolo.model.latent.gaussian import LOG_VAR_LIMIT
from diabolo.model.networks import (
    Affine,
    Convolution,
    ImageToRow,
    Operation,
    Rectify,
    RowToImage,
    TransposedConvolution,
)
from diabolo.model.networks.residual import Block

__all__ = ["OPERATIONS", "code", "decoded", "posterior"]

Weights = Mapping[str, np.ndarray]


def affine(g: Graph, x: str, operation: Any, w: Weights) -> str:
    return g.op("Gemm", x, w["weight"], w["bias"], transB=1)


def rectify(g: Graph, x: str, operation: Any, w: Weights) -> str:
    return g.op("LeakyRelu", x, alpha=operation.slope) if operation.slope else g.op("Relu", x)


def row_to_image(g: Graph, x: str, operation: Any, w: Weights) -> str:
    image = g.op("Reshape", x, ints(-1, operation.height, operation.width, operation.channels))
    return g.op("Transpose", image, perm=[0, 3, 1, 2])


def convolution(g: Graph, x: str, operation: Any, w: Weights) -> str:
    pads, strides = [operation.padding] * 4, [operation.stride] * 2
    return g.op("Conv", x, w["weight"], w["bias"], pads=pads, strides=strides, kernel_shape=[operation.kernel] * 2)


def transposed(g: Graph, x: str, operation: Any, w: Weights) -> str:
    o = operation
    lacking = [
        target - ((side - 1) * o.stride - 2 * o.padding + o.kernel)
        for side, target in zip(o.size, o.output_size, strict=True)
    ]
    return g.op(
        "ConvTranspose",
        x,
        w["weight"],
        w["bias"],
        pads=[o.padding] * 4,
        strides=[o.stride] * 2,
        kernel_shape=[o.kernel] * 2,
        output_padding=lacking,
    )


def image_to_row(g: Graph, x: str, operation: Any, w: Weights) -> str:
    # Zero keeps a side as it is: the number of rows; the pixels come last.
    shape = g.op("Shape", x)
    height, width = (g.op("Slice", shape, ints(k), ints(k + 1)) for k in (2, 3))
    apart = g.op("Concat", ints(0, operation.parts, -1), height, width, axis=0)
    pixels = g.op("Transpose", g.op("Reshape", x, apart), perm=[0, 1, 3, 4, 2])
    return g.op("Flatten", pixels)


def block(g: Graph, x: str, operation: Any, w: Weights) -> str:
    square = g.op("ReduceMean", g.op("Mul", x, x), ints(1), keepdims=1)
    h = g.op("Div", x, g.op("Sqrt", g.op("Add", square, 1e-6)))
    h = g.op("Gemm", h, w["weight"], w["bias"], transB=1)
    h = g.op("Mul", h, g.op("Sigmoid", h))
    return g.op("Add", x, g.op("Gemm", h, w["out_weight"], w["out_bias"], transB=1))


#: One emitter for each operation that a network of the registry is made of.
OPERATIONS: dict[type[Any], Callable[[Graph, str, Any, Weights], str]] = {
    Affine: affine,
    Rectify: rectify,
    RowToImage: row_to_image,
    Convolution: convolution,
    TransposedConvolution: transposed,
    ImageToRow: image_to_row,
    Block: block,
}


def _run(g: Graph, model: Model, prefix: str, operations: Sequence[Operation], x: str) -> str:
    if model.lead:
        raise ConfigError("an ensemble's members have no form in ONNX; export one of them")
    if model.masking is not None:
        raise ConfigError(
            "the network of a masked autoencoder is told which cells it sees, and has no form in ONNX; its default "
            "score, auto, reads no network and has one"
        )
    for i, operation in enumerate(operations):
        if type(operation) not in OPERATIONS:
            raise ConfigError(
                f"the {prefix}'s operation {i}, {type(operation).__name__}, has no form in ONNX: a network of your own "
                "is code; take network='mlp', or the score auto, which reads no network"
            )
        weights = {name: model.store.views[f"{prefix}.{i}.{name}"].numpy() for name in operation.shapes()}
        x = OPERATIONS[type(operation)](g, x, operation, weights)
    return x


def posterior(g: Graph, model: Model, x: str, clipped: bool = False) -> tuple[str, str | None]:
    """The mean [n, K] of q(z|x), and its log σ²; None of a point."""
    clip = float(model.encoding.clip)
    h = _run(g, model, "encoder", model.encoder, x if clipped else g.op("Clip", x, -clip, clip))
    return LATENTS[model.latent.name](g, model, h)


def code(g: Graph, model: Model, x: str, clipped: bool = False) -> str:
    """The mean of q(z|x), [n, K]."""
    return posterior(g, model, x, clipped)[0]


def decoded(g: Graph, model: Model, z: str) -> str:
    """The decoder's numbers [n, width] of codes."""
    return _run(g, model, "decoder", model.decoder, z)


def _point(g: Graph, model: Model, h: str) -> tuple[str, str | None]:
    return h, None


def _gaussian(g: Graph, model: Model, h: str) -> tuple[str, str | None]:
    k = model.latent_dim
    log_var = g.op("Clip", g.columns(h, range(k, 2 * k)), -LOG_VAR_LIMIT, LOG_VAR_LIMIT)
    return g.columns(h, range(k)), log_var


def _top_k(g: Graph, model: Model, h: str) -> tuple[str, str | None]:
    k = getattr(model.latent, "k", None) or -(-model.latent_dim // 4)
    if k >= model.latent_dim:
        return h, None
    size = g.op("Abs", h)
    most = g.several("TopK", 2, size, ints(k), axis=1, largest=1, sorted=0)[0]
    least = g.op("ReduceMin", most, ints(1), keepdims=1)
    return g.op("Where", g.op("GreaterOrEqual", size, least), h, 0.0), None


#: One emitter for each latent.
LATENTS: dict[str, Callable[[Graph, Model, str], tuple[str, str | None]]] = {
    "point": _point,
    "gaussian": _gaussian,
    "topk": _top_k,
}
