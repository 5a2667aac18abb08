"""A device that is none: PyTorch takes it for an accelerator, its memory and its arithmetic are the processor's.

A tensor on it meets one on the processor as on a card: with an error, unless it is a scalar. What a card would wait for
(a number taken back, a copy to or from the processor, a result whose shape its values decide) is written down.
"""

from __future__ import annotations

import contextlib
import sys
import traceback

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from diabolo.device import choose_device, generator

__all__ = ["NAME", "Mixed", "Shadow", "Watch", "raw", "there"]

NAME = "shadow"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)

#: Results that a card has to hand to the processor before it can go on.
WAITS = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::bincount",
    "aten::linalg_eigh",
    "aten::_linalg_eigh",
    "aten::linalg_cholesky",
    "aten::linalg_inv",
    "aten::linalg_qr",
    "aten::linalg_solve",
}
#: Operations that take positions on the processor, and copy them.
INDEXED = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}
COPIES = {"aten::_to_copy", "aten::copy_"}


class Mixed(Exception):
    """Tensors of two devices in one operation."""


class Shadow(torch.Tensor):
    """A tensor on the device; `raw` is its contents."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=DEVICE
        )
        made.raw = raw
        return made

    def __repr__(self):
        return f"Shadow({self.raw!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {}, None)


class Watch(TorchDispatchMode):
    """Makes tensors on the device while it is entered; `events` are (what, operation, where)."""

    def __init__(self):
        super().__init__()
        self.events = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {}, self)

    def said(self, *kinds):
        return [e for e in self.events if not kinds or e[0] in kinds]


def raw(tensor):
    """The contents of a tensor, wherever it is."""
    return tensor.raw if isinstance(tensor, Shadow) else tensor


def run(func, args, kwargs, watch):
    name = func.name().split(".")[0]
    flat, spec = pytree.tree_flatten((args, kwargs))
    mine = [t for t in flat if isinstance(t, Shadow)]
    asked = kwargs.get("device")
    target = torch.device(asked) if asked is not None else None
    here = bool(mine) if target is None else target.type == NAME
    if not mine and not here:
        return func(*args, **kwargs)
    others = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, Shadow)]
    note(name, func, args, mine, others, target, here, watch)
    by_raw = {id(t.raw): t for t in mine}
    plain = pytree.tree_unflatten([t.raw if isinstance(t, Shadow) else t for t in flat], spec)
    given = dict(plain[1])
    if target is not None:
        given["device"] = torch.device("cpu")
    given.pop("pin_memory", None)
    out = func(*plain[0], **given)
    if name == "aten::copy_":
        return args[0]
    if not here:
        return out.clone() if isinstance(out, torch.Tensor) else out

    def wrapped(t):
        return by_raw.get(id(t)) if id(t) in by_raw else Shadow(t)

    return pytree.tree_map_only(torch.Tensor, wrapped, out)


def note(name, func, args, mine, others, target, here, watch):
    """Write down what a card would wait for, and refuse what it would refuse."""
    say = (lambda *_: None) if watch is None else (lambda kind: watch.events.append((kind, name, place())))
    if name in COPIES:
        if name == "aten::copy_":
            here = isinstance(args[0], Shadow)
        if bool(mine) != here or any(isinstance(t, torch.Tensor) for t in others):
            say("up" if here else "down")
        return
    if name in WAITS:
        say("wait")
    if name in INDEXED:
        at = [t for t in (args[1] or ()) if t is not None]
        if any(t.dtype == torch.bool for t in at):
            say("wait")
        if any(not isinstance(t, Shadow) for t in at):
            say("up")
        others = [t for t in others if not any(t is a for a in at)]
    wrong = [t for t in others if t.dim()]
    if mine and wrong:
        raise Mixed(f"{func}: {[tuple(t.shape) for t in wrong]} on the processor at {place()}")


def place():
    """The line of the package that is running."""
    frames = [f for f in traceback.extract_stack() if "/diabolo/" in f.filename or "/bench/" in f.filename]
    return f"{frames[-1].filename.rpartition('/diabolo/')[2]}:{frames[-1].lineno}" if frames else "?"


@contextlib.contextmanager
def there(monkeypatch):
    """The device as PyTorch's own would be: the package finds it, has generators on it, and makes tensors on it."""
    known, plain = choose_device, generator

    def choose(wanted):
        return NAME if wanted == NAME else known(wanted)

    def made(device, seed, kind=torch.Generator):
        if torch.device(device).type != NAME:
            return plain(device, seed, kind)
        # The processor's generator, which says that it is the device's.
        found = type("OfDevice", (kind,), {"device": DEVICE})()
        found.manual_seed(seed)
        return found

    def inference(mode=True):
        return torch.no_grad() if mode else contextlib.nullcontext()

    for name, module in list(sys.modules.items()):
        if name.startswith("diabolo"):
            for what, put in (("choose_device", choose), ("generator", made)):
                if getattr(module, what, None) in (known, plain):
                    monkeypatch.setattr(module, what, put)
    # Wrappers made in inference mode have no version counter.
    monkeypatch.setattr(torch, "inference_mode", inference)
    with Watch() as watch:
        yield watch
