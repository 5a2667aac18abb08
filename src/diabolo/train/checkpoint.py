"""A fit on disk, written by atomic rename while it runs, so that a killed fit can go on where it was.

docs/format.md specifies the file; docs/reproducibility.md has the guarantees for a resumed fit.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge

from diabolo.artifact import FileKind, Section, read_sections, write_sections
from diabolo.errors import CheckpointError, ConfigError, OutputError
from diabolo.registry import validated
from diabolo.train.state import Epoch, State

__all__ = ["CHECKPOINT", "Checkpoint", "seconds_between"]

CHECKPOINT = FileKind("diabolo-checkpoint", "1", ("fit",), "checkpoint", CheckpointError)
#: Seconds before the first checkpoint, and between two.
FIRST, EVERY = 1.0, 10.0
#: A checkpoint waits until training has taken this many times as long as the last one took to write.
PATIENCE = 50


@dataclasses.dataclass
class Card:
    """The JSON of a checkpoint's one section."""

    identity: dict[str, Any]
    epoch: Annotated[int, Ge(0)]
    piece: Annotated[int, Ge(0)]
    step: Annotated[int, Ge(0)]
    spent: Annotated[float, Ge(0)]
    order: str
    noise: str


def seconds_between() -> float:
    """Seconds between two checkpoints: DIABOLO_CHECKPOINT_SECONDS, or `EVERY`.

    Raises:
        ConfigError: the variable is not a number of seconds.
    """
    text = os.environ.get("DIABOLO_CHECKPOINT_SECONDS", str(EVERY))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"DIABOLO_CHECKPOINT_SECONDS = {text!r}; allowed are seconds from 0 up")
    return seconds


class Checkpoint:
    """Where one fit keeps its state, and when.

    Args:
        path: the file.
        identity: the facts that tell this fit from others: settings, columns, fingerprints, versions; plain JSON.
        resume: continue from the file, if there is one.
        every: seconds between two writes, 0 for one after each piece of rows; None for the default.
        writes: whether this process is the one that reads and writes it.
    """

    def __init__(
        self,
        path: str | Path,
        identity: Mapping[str, Any],
        resume: bool = False,
        every: float | None = None,
        writes: bool = True,
    ) -> None:
        self.path, self.resume, self.writes = Path(path), resume, writes
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.every = seconds_between() if every is None else every
        self.pause = PATIENCE if self.every > 0 else 0
        self.due = time.perf_counter() + min(FIRST, self.every)
        #: Seconds of training that the file brought along.
        self.brought = 0.0

    def restore(self, state: State) -> bool:
        """Bring a fresh state to where the file is; False if there is nothing to resume.

        Raises:
            CheckpointError: damaged, or written by another fit; the line names the differences.
        """
        if not self.writes or not self.resume or not self.path.exists():
            return False
        try:
            self._restore(state, read_sections(self.path, CHECKPOINT)["fit"])
        except CheckpointError as error:
            raise CheckpointError(f"{error}; without resume, the fit starts afresh") from None
        self.due, self.brought = time.perf_counter() + self.every, state.spent
        return True

    def _restore(self, state: State, section: Section) -> None:
        try:
            card = validated(Card, section.card, "its card")
        except ConfigError as error:
            raise CheckpointError(f"{self.path}: damaged: {str(error)[:300]}") from None
        differing = list(_differences(card.identity, self._identity(state)))
        if differing:
            more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
            raise CheckpointError(f"{self.path}: another fit's checkpoint: {', '.join(differing[:3])}{more}")
        found = dict(section.tensors)
        history = found.pop("history", np.empty(0))
        fields = dataclasses.fields(Epoch)
        if history.shape != (card.epoch, len(fields)):
            raise CheckpointError(f"{self.path}: damaged: {card.epoch} epochs, but a history of {list(history.shape)}")
        wanted = state.tensors()
        if set(found) != set(wanted):
            raise CheckpointError(f"{self.path}: damaged: tensors {sorted(set(found) ^ set(wanted))} do not belong")
        loaded = {name: torch.from_numpy(np.array(array)) for name, array in found.items()}
        for name, tensor in wanted.items():
            if loaded[name].shape != tensor.shape or loaded[name].dtype != tensor.dtype:
                raise CheckpointError(f"{self.path}: damaged: tensor {name!r} has another shape or type than this fit")
        try:
            state.order.set_state(_unhex(card.order))
            state.noise.set_state(_unhex(card.noise))
        except (ValueError, RuntimeError, TypeError):
            raise CheckpointError(f"{self.path}: damaged: a generator's state is none") from None
        for name, tensor in wanted.items():
            tensor.copy_(loaded[name])
        state.histories = history
        state.epoch, state.piece, state.step, state.spent = card.epoch, card.piece, card.step, card.spent

    def offer(self, state: State) -> None:
        """Write the state if it is time to; called after each piece of rows."""
        began = time.perf_counter()
        if began < self.due or not self.writes:
            return
        try:
            self.write(state)
        except OutputError as error:
            # A full disk must not end the training; the last whole checkpoint stays.
            warnings.warn(f"no checkpoint: {error}", RuntimeWarning, stacklevel=2)
        ended = time.perf_counter()
        self.due = ended + max(self.every, self.pause * (ended - began))

    def write(self, state: State) -> None:
        """Write the state by atomic rename.

        Raises:
            OutputError: the disk is full or the folder gone.
        """
        card = Card(
            self._identity(state),
            state.epoch,
            state.piece,
            state.step,
            state.spent,
            bytes(state.order_began.tolist()).hex(),
            bytes(state.noise.get_state().tolist()).hex(),
        )
        tensors = {name: tensor.cpu().numpy() for name, tensor in state.tensors().items()}
        tensors["history"] = state.histories
        write_sections(self.path, {"fit": Section(dataclasses.asdict(card), tensors)}, CHECKPOINT)

    def _identity(self, state: State) -> dict[str, Any]:
        # Sums over rows are split by threads: another number of them gives other last bits.
        return {**self.identity, "device": state.model.device, "threads": torch.get_num_threads()}


def _unhex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """`beta = 1.0 there, 4.0 here` for each entry that differs, at any depth."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif isinstance(there, list) and isinstance(here, list) and there != here:
        gone = ", ".join(str(v) for v in there if v not in here)[:80] or "nothing more"
        new = ", ".join(str(v) for v in here if v not in there)[:80] or "nothing more"
        yield f"{name}: in another order or number" if gone == new else f"{name}: {gone} there, {new} here"
    elif there != here:
        yield f"{name} = {there} there, {here} here"
