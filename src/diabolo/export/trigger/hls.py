"""A trigger for hls4ml: a `torch.nn.Sequential` of its weights, a precision for each layer, and the project they make.

hls4ml multiplies fixed-point numbers exactly where its sums are as wide as the proof of `integers` asks for. A sum is
cut down where the units' type says so: `ap_ufixed<10, 5, AP_TRN, AP_SAT>` is ⌊·⌋ within 10 bits.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diabolo.errors import ConfigError, MissingExtraError
from diabolo.export.trigger.integers import IntegerLayer, Trigger

__all__ = ["configuration", "emulated", "precisions", "project", "sequential"]

#: FPGA that a project is for, until someone names another: that of CMS's global trigger.
PART = "xcvu13p-flga2577-2-e"


def sequential(trigger: Trigger) -> torch.nn.Sequential:
    """Linear maps and ReLUs of the trigger's weights, as the real numbers that its integers stand for."""
    modules: list[torch.nn.Module] = []
    before = trigger.inputs.fraction
    for k, layer in enumerate(trigger.layers):
        linear = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
        bias = layer.bias * 2.0 ** -(layer.weight_fraction + before)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer.weight * 2.0**-layer.weight_fraction))
            linear.bias.copy_(torch.from_numpy(bias))
        if not np.array_equal(linear.bias.detach().numpy().astype(np.float64), bias):
            raise ConfigError(f"layer {k}: a bias takes more than the 24 bits of single precision that hls4ml reads")
        modules.append(linear)
        if layer.low == 0:
            modules.append(torch.nn.ReLU())
        before = layer.fraction
    return torch.nn.Sequential(*modules).eval()


def precisions(trigger: Trigger) -> dict[str, dict[str, str]]:
    """By hls4ml's name of each module of `sequential`, the types of its numbers."""
    inputs = trigger.inputs
    out = {"input_1": {"result": _fixed(inputs.bits, inputs.fraction)}}
    before, module = inputs.fraction, 0
    for layer in trigger.layers:
        step, wide = layer.weight_fraction + before, _signed_bits(layer.worst)
        sums, result = _fixed(wide, step), _result(layer)
        biased = _fixed(_signed_bits(int(np.abs(layer.bias).max(initial=0))), step)
        weight = _fixed(_signed_bits(int(np.abs(layer.weight).max(initial=0))), layer.weight_fraction)
        rectified = layer.low == 0
        out[f"_{module}"] = {"weight": weight, "bias": biased, "accum": sums, "result": sums if rectified else result}
        if rectified:
            out[f"_{module + 1}"] = {"result": result}
        before, module = layer.fraction, module + 1 + rectified
    return out


def _signed_bits(largest: int) -> int:
    return max(2, largest.bit_length() + 1)


def _fixed(bits: int, fraction: int) -> str:
    return f"ap_fixed<{bits},{bits - fraction}>"


def _result(layer: IntegerLayer) -> str:
    bits = layer.high.bit_length() + (layer.low < 0)
    return f"ap_{'u' if layer.low == 0 else ''}fixed<{bits},{bits - layer.fraction},AP_TRN,AP_SAT>"


def configuration(trigger: Trigger) -> dict[str, Any]:
    """hls4ml's configuration: its defaults, with the types of `precisions`."""
    hls4ml = _hls4ml()
    with contextlib.redirect_stdout(io.StringIO()):
        config: dict[str, Any] = _configured(hls4ml, trigger)
    for name, types in precisions(trigger).items():
        config["LayerName"][name]["Precision"] |= types
    return config


def _configured(hls4ml: Any, trigger: Trigger) -> Any:
    return hls4ml.utils.config_from_pytorch_model(
        sequential(trigger),
        (len(trigger.names),),
        granularity="name",
        backend="Vitis",
        default_precision=_fixed(32, 16),
        # The pass that turns channels also turns the weights of plain layers, and "off" leaves them sideways.
        channels_last_conversion="full",
    )


def project(trigger: Trigger, folder: str | Path) -> Any:
    """hls4ml's model of the trigger, whose project lies in a folder once it is written or compiled.

    Raises:
        MissingExtraError: hls4ml is not installed.
        ConfigError: hls4ml has read other weights than it was given.
    """
    hls4ml = _hls4ml()
    with contextlib.redirect_stdout(io.StringIO()):
        found = hls4ml.converters.convert_from_pytorch_model(
            sequential(trigger),
            hls_config=configuration(trigger),
            output_dir=str(folder),
            project_name="trigger",
            backend="Vitis",
            io_type="io_parallel",
            part=PART,
        )
    dense = [node for node in found.get_layers() if node.class_name == "Dense"]
    for node, layer in zip(dense, trigger.layers, strict=True):
        read = np.asarray(node.get_weights("weight").data, np.float64)
        # [inputs, outputs], as its code takes them.
        if not np.array_equal(read, layer.weight.T * 2.0**-layer.weight_fraction):
            raise ConfigError(f"hls4ml {hls4ml.__version__} reads layer {node.name} wrongly; take the version 1.3.0")
    return found


def emulated(compiled: Any, trigger: Trigger, words: np.ndarray) -> np.ndarray:
    """Outputs of a compiled project for integers [n, C], as integers [n, outputs] int64."""
    inputs = trigger.inputs.inputs(words) * 2.0**-trigger.inputs.fraction
    outputs = compiled.predict(np.ascontiguousarray(inputs, np.float32)).reshape(len(words), -1)
    return np.asarray(np.round(outputs.astype(np.float64) * 2.0**trigger.fraction), np.int64)


def _hls4ml() -> Any:
    try:
        import hls4ml
    except ImportError:
        raise MissingExtraError("hls4ml", "fpga", "a project for hls4ml") from None
    return hls4ml
