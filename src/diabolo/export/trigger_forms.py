"""The forms of a network in whole numbers: a C header, a project for hls4ml, an emulator of CMSSW."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from safetensors.torch import save_file

from diabolo.data.formats.writing import atomic
from diabolo.export.folder import new_folder
from diabolo.export.targets import Target, targets
from diabolo.export.trigger.c import header
from diabolo.export.trigger.cmssw import emulator, makefile
from diabolo.export.trigger.hls import configuration, project, sequential
from diabolo.export.trigger.integers import Trigger, trigger_of
from diabolo.file.model_file import ModelFile

__all__ = ["WholeNumbers"]


@dataclasses.dataclass(frozen=True)
class WholeNumbers(Target):
    """A form of a network in whole numbers."""

    #: Score, which has to be the one that the network was fitted for; None for that one.
    score: str | None = None
    #: False-alarm rate behind the threshold; None for the detector's.
    rate: Annotated[float, Gt(0), Lt(1)] | None = None

    def read(self, file: ModelFile) -> tuple[Trigger, np.ndarray]:
        """The trigger of a model file, and golden integers for it."""
        detector = file.detector
        trigger = trigger_of(detector, self.score, self.rate)
        stored = detector.reference.stored
        rows = stored.values if stored is not None else np.empty((0, len(trigger.names)))
        return trigger, trigger.golden(rows)


@targets.register("c")
class CHeader(WholeNumbers):
    """One header of C99 and C++ with integers alone, and golden events beside it."""

    suffixes: ClassVar[tuple[str, ...]] = (".h", ".hpp")

    def write(self, file: ModelFile, out: str) -> list[str]:
        trigger, golden = self.read(file)
        beside = Path(out).with_suffix(".golden.csv")
        with atomic(out) as part, atomic(beside) as other:
            part.write_text(header(trigger))
            other.write_text(_golden(trigger, golden))
        return [f"{out}: {_said(trigger)}", f"  {beside}: {len(golden):,} events with their scores"]


@targets.register("hls4ml")
class Hls4ml(WholeNumbers):
    """A folder with a project of hls4ml, its network and types, the input map, and golden events."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        trigger, golden = self.read(file)
        with new_folder(out) as part:
            project(trigger, part / "project").write()
            save_file(dict(sequential(trigger).state_dict()), part / "network.safetensors")
            types = {name: layer["Precision"] for name, layer in configuration(trigger)["LayerName"].items()}
            (part / "precision.json").write_text(json.dumps(types, indent=1) + "\n")
            (part / "inputs.csv").write_text(_inputs(trigger))
            (part / "golden.csv").write_text(_golden(trigger, golden))
        return [
            f"{out}: {_said(trigger)}",
            f"  project/ is hls4ml's; the network gives {len(trigger.layers[-1].bias)} numbers, and the score is "
            + ("the sum of their squares" if trigger.score == "mu_norm" else "their squared distance to the inputs"),
            f"  golden.csv: {len(golden):,} events with their scores",
        ]


@targets.register("cmssw")
class Cmssw(WholeNumbers):
    """A folder with an emulator class of CMSSW, named like the folder, around the C header."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        trigger, golden = self.read(file)
        name = Path(out).name
        texts = {f"{name}.cc": emulator(trigger, name), "Makefile": makefile(name), "model.h": header(trigger)}
        with new_folder(out) as part:
            for file_name, text in {**texts, "golden.csv": _golden(trigger, golden)}.items():
                (part / file_name).write_text(text)
        return [f"{out}: {_said(trigger)}", f"  class {name}: hls4mlEmulator::Model, in {name}.cc"]


def _said(trigger: Trigger) -> str:
    sizes = [trigger.layers[0].weight.shape[1], *(len(layer.bias) for layer in trigger.layers)]
    return (
        f"{'-'.join(map(str, sizes))} in whole numbers, {trigger.multiplications:,} multiplications, "
        f"{trigger.score} above {trigger.threshold:,} is an anomaly (rate {trigger.rate:.3g})"
    )


def _golden(trigger: Trigger, words: np.ndarray) -> str:
    scores = trigger.scores(words)
    return _table(
        [*trigger.names, "score", "is_anomaly"],
        [[*row, s, int(s > trigger.threshold)] for row, s in zip(words.tolist(), scores.tolist(), strict=True)],
    )


def _inputs(trigger: Trigger) -> str:
    found = trigger.inputs
    columns = (trigger.names, found.unit.tolist(), found.offset.tolist(), found.shift.tolist())
    return _table(["name", "unit", "offset", "shift"], [list(row) for row in zip(*columns, strict=True)])


def _table(names: list[str], rows: list[list[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()
