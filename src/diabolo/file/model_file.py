"""`ModelFile`: a model file that is opened and verified once; a section is loaded when it is first asked for."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from diabolo.artifact import MODEL, SECTIONS, Content, Section, read_content, stamp_of, write_sections
from diabolo.cluster.clusters import Clusters
from diabolo.data.schema import Schema
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.dataset import ALL, RowScores
from diabolo.device import CPU, choose_device
from diabolo.errors import ConfigError, DiaboloError, ModelFileError
from diabolo.file.clusters import clusters_of
from diabolo.file.codec import Codec, codec_of
from diabolo.file.detector import calibrated_of
from diabolo.file.generator import sampler_of
from diabolo.file.main import EstimatorCard, fitted_of, main_schema
from diabolo.file.rows import HOLDERS, packed, unpacked
from diabolo.fitted.record import Fitted
from diabolo.generate.methods import Sampler

__all__ = ["ModelFile", "save_sections"]

MAIN = MODEL.sections[0]
#: How a missing section comes into a file.
REMEDIES = {
    "detector": "give it one: diabolo calibrate {path} DATA",
    "clusters": "find some: diabolo cluster {path} DATA -o LABELS.parquet",
    "codec": "diabolo compress {path} DATA --external-model puts one there",
}


class ModelFile:
    """A model file: `.autoencoder`, `.detector`, `.clusterer`, `.codec` and `.generator`, as records.

    Args:
        path: the file.
        own_network: import the user's own network that the file names; without, such a file is refused.
        device: where rows are scored: "cpu", "cuda", or "auto"; None, like "auto", for the device that the detector is
            calibrated on. Without a detector "auto" takes a card where there is one, and None the processor.

    Attributes:
        saved: name of the class that was saved.
        version: of the file's format.
        hashes: SHA-256 of each section as it lies in the file.
        rows: number of different rows that the file keeps.
        sizes: bytes of each section as it was read. Rows of the training table count as "rows", wherever they lie; the
            rest of the header, which repeats no section, as "header". They add up to the file.

    Raises:
        ModelFileError: the first fault of the file, in one line; nothing in it is ever run. A section's contents are
            checked when it is first asked for.
    """

    def __init__(self, path: str | Path, own_network: bool = False, device: str | None = None) -> None:
        self.path, self._own_network = Path(path), own_network
        self._device = device if device in (None, "auto") else choose_device(str(device))
        content = read_content(path)
        self.version, self.hashes, self._stamp = content.version, content.hashes, content.stamp
        store = content.sections.get("rows")
        self.sizes = _sizes(content)
        self._sections: Mapping[str, Section] = unpacked(path, content.sections)
        self.saved = content.saved or self._saved_of_old()
        kept = [len(s.tensors[HOLDERS[n]]) for n, s in self._sections.items() if HOLDERS.get(n) in s.tensors]
        self.rows = sum(kept) if store is None else int(store.card["rows"])

    def _saved_of_old(self) -> str:
        """Version 1 named no class; `diabolo fit` and `AnomalyDetector.save` wrote a detector."""
        return "AnomalyDetector" if "detector" in self._sections else self.estimator.type

    def __contains__(self, section: str) -> bool:
        return section in self._sections

    @property
    def names(self) -> list[str]:
        """Names of the sections, in the order of docs/format.md."""
        return [name for name in SECTIONS if name in self._sections]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._stamp[-1]

    def rows_of(self, section: str) -> int:
        """Rows that a section holds."""
        return len(self._sections[section].tensors.get(HOLDERS[section], ())) if section in self._sections else 0

    def section(self, name: str) -> Section:
        """A section as it is in the file.

        Raises:
            ModelFileError: the file has no such section; says which ones it has, and how one comes into it.
        """
        if name not in self._sections:
            what = {"main": "autoencoder", "codec": "codec section"}.get(name, name)
            remedy = f"; {REMEDIES[name].format(path=self.path)}" if name in REMEDIES else ""
            holds = f"it was saved by {self.saved} and holds {', '.join(self.names)}"
            raise ModelFileError(f"{self.path}: holds no {what}: {holds}{remedy}")
        return self._sections[name]

    # ── sections ──────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def _main(self) -> tuple[Fitted, EstimatorCard]:
        return fitted_of(self.path, self.section(MAIN), self._own_network)

    @property
    def autoencoder(self) -> Fitted:
        """The main autoencoder."""
        return self._main[0]

    @property
    def estimator(self) -> EstimatorCard:
        """Class and parameters of the main autoencoder."""
        return self._main[1]

    @functools.cached_property
    def schema(self) -> Schema:
        """Columns of the main autoencoder; no network is built for them."""
        return main_schema(self.path, self.section(MAIN))

    @functools.cached_property
    def detector(self) -> Calibrated:
        """The calibrated detector."""
        found = calibrated_of(self.path, self.section("detector"), self.autoencoder)
        return found if self._device in (None, "auto") else found.on(str(self._device))

    def row_scores(
        self, score: str | None = None, false_alarm_rate: float | None = None, explain: bool = False
    ) -> RowScores:
        """What it says of rows.

        Args:
            score: name of a score, `diabolo.detect.dataset.ALL`, or None for the detector's.
            false_alarm_rate: None for the detector's.
            explain: name the first columns of every anomaly.

        Raises:
            ConfigError: a rate or explanations, and there is no detector.
        """
        if "detector" in self:
            detector = self.detector.choosing(None if score == ALL else score, false_alarm_rate)
            return RowScores(self.autoencoder.model, detector, score, explain)
        if explain or false_alarm_rate is not None:
            raise ConfigError(
                f"{self.path} has no detector, so no false-alarm rate and no anomaly; fit without --only main"
            )
        return RowScores(self.autoencoder.model, None, score, device=choose_device(self._device or CPU))

    @functools.cached_property
    def clusterer(self) -> Clusters:
        """The clusters."""
        return clusters_of(self.path, self.section("clusters"), self.autoencoder)

    @functools.cached_property
    def codec(self) -> Codec:
        """The codec."""
        return codec_of(self.path, self.section("codec"))

    @functools.cached_property
    def generator(self) -> Sampler:
        """The sampler of new rows; where the file keeps no rows, it has the prior alone."""
        if "generator" not in self._sections:
            return Sampler(self.autoencoder.model, None)
        return sampler_of(self.path, self._sections["generator"], self.autoencoder)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    def update(self, sections: Mapping[str, Section], target: str | Path | None = None) -> None:
        """Put sections into the file, or into a copy of it; its other sections stay as they are, hash for hash.

        A file that has these very sections is left as it is, byte for byte.

        A file that another command has written to meanwhile is read again. Sections that it has added or changed are
        taken over.

        Args:
            sections: new sections by name.
            target: file to write, by atomic rename; None for this one.

        Raises:
            ModelFileError: the file is another model's now, or one of `sections` was changed meanwhile.
            OutputError: the folder cannot be written to.
        """
        same = all(_alike(section, self._sections.get(name)) for name, section in sections.items())
        if target is None and same and stamp_of(self.path) == self._stamp:
            return
        with locked(self.path if target is None else Path(target)):
            now, saved = self._now(sections)
            write_sections(target or self.path, packed({**now, **sections}), saved=saved)
        if target is None:
            self._sections, self._stamp = {**now, **sections}, stamp_of(self.path)

    def _now(self, sections: Mapping[str, Section]) -> tuple[Mapping[str, Section], str]:
        """The file's sections and saved class as they are now."""
        if stamp_of(self.path) == self._stamp:
            return self._sections, self.saved
        content = read_content(self.path)
        now = unpacked(self.path, content.sections)
        for name in dict.fromkeys((MAIN, *sections)):
            if not _alike(self._sections.get(name), now.get(name)):
                another = f"another command has changed its section {name!r} meanwhile"
                if name == MAIN:
                    another = f"holds another section {name!r} than when it was read"
                raise ModelFileError(f"{self.path}: {another}; run this command again")
        return now, content.saved or self.saved


def _sizes(content: Content) -> dict[str, int]:
    out = {name: content.sections[name].size for name in SECTIONS if name in content.sections}
    # Older files have rows in the sections that use them.
    for name, tensor in HOLDERS.items():
        held = content.sections[name].tensors.get(tensor) if name in content.sections else None
        if held is not None:
            out[name] -= held.nbytes
            out["rows"] = out.get("rows", 0) + held.nbytes
    return {**out, "header": content.stamp[-1] - sum(out.values())}


def save_sections(path: str | Path, saved: str, sections: Mapping[str, Section]) -> None:
    """Write a model file; if the path has a file of this very autoencoder, its other sections stay.

    Args:
        saved: name of the class that is saved.
        sections: all that it holds.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with locked(Path(path)):
        try:
            content = read_content(path)
            old = unpacked(path, content.sections)
        except DiaboloError:
            old = {}
        if not _alike(old.get(MAIN), sections.get(MAIN)):
            old = {}
        write_sections(path, packed({**old, **sections}), saved=saved)


def _alike(one: Section | None, other: Section | None) -> bool:
    return other is None if one is None else one.equals(other)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time write to a file that exists; do nothing on a file system without locks.

    A writer replaces the file. A lock on the replaced file holds nobody off, so a new one is taken.
    """
    with contextlib.ExitStack() as held:
        handle = _lock(path)
        while handle is not None and not _is_at(handle, path):
            os.close(handle)
            handle = _lock(path)
        if handle is not None:
            held.callback(os.close, handle)
        yield


def _lock(path: Path) -> int | None:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _is_at(handle: int, path: Path) -> bool:
    """Whether the file that is open is the one at the path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return True
