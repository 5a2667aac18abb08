"""One piece on a worker: its part by atomic rename, and a note of what the part was made of, by which it is resumed.

The notes lie in the folder `_diabolo` beside the parts, which readers of datasets pass over. A part counts as done if
its note names this very work (model, options, version of diabolo), the bytes of this input and the bytes of the part.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diabolo.data.formats import Piece, atomic
from diabolo.distributed.model import sha256_of
from diabolo.distributed.work import Work
from diabolo.errors import DiaboloError, ModelFileError, OutputError

__all__ = ["NOTES", "Job", "Outcome", "TryAgainError", "attempted", "part_name"]

#: Folder of the notes.
NOTES = "_diabolo"


@dataclasses.dataclass(frozen=True)
class Job:
    """A piece and where its part goes.

    Attributes:
        name: of the piece.
        piece: what `Work.part` takes: a file, a number, or a file and a number.
        files: whose bytes the piece is.
        rows: of the piece, if known.
    """

    name: str
    piece: Any
    files: Sequence[Path] = ()
    rows: int | None = None

    @staticmethod
    def of(piece: Piece) -> Job:
        """A file of a dataset."""
        return Job(piece.name, piece.data, piece.files, piece.rows)


@dataclasses.dataclass
class Outcome:
    """What became of a piece."""

    name: str
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: It was done before.
    kept: bool = False
    #: Why there is no part; empty where there is one.
    failed: str = ""
    #: Nothing else can be done either.
    fatal: bool = False
    host: str = ""
    #: Processor time of this piece.
    seconds: float = 0.0


class TryAgainError(RuntimeError):
    """A piece failed in a way that another attempt may mend."""


def attempted(work: Work, job: Job, out: str, resume: bool) -> Outcome:
    """Do a piece; what its data or the model are to blame for is told as an outcome, since it would fail again.

    Raises:
        TryAgainError: anything else.
    """
    start, host = time.process_time(), socket.gethostname()
    try:
        counts, kept = _done(work, job, Path(out), resume)
    except ModelFileError as error:
        return Outcome(job.name, failed=str(error), fatal=True, host=host)
    except OSError as error:  # a disk that is full or away, with OutputError
        raise TryAgainError(f"{error} (host {host})") from None
    except DiaboloError as error:
        return Outcome(job.name, failed=str(error), host=host)
    except Exception as error:
        raise TryAgainError(f"{type(error).__name__}: {error} (host {host})") from None
    return Outcome(job.name, counts, kept, host=host, seconds=time.process_time() - start)


def _done(work: Work, job: Job, out: Path, resume: bool) -> tuple[dict[str, Any], bool]:
    """The counts of a piece, and whether its part was there."""
    part, note = out / part_name(work, job), out / NOTES / f"{job.name}.json"
    made = {
        "work": work.identity,
        "read": _reading(job.piece),
        "input": sha256_of(*job.files) if job.files else job.name,
    }
    if resume:
        known = _note(note)
        if known is not None and {n: known.get(n) for n in made} == made and known.get("part") == _bytes(work, part):
            return known["counts"], True
    # Several workers may make a folder at the same time.
    for path in (part, note):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    counts = work.part(job.piece, str(part))
    with atomic(note) as written:
        written.write_text(json.dumps({**made, "part": _bytes(work, part), "counts": counts}))
    return counts, False


def part_name(work: Work, job: Job) -> str:
    """The name of a piece's part: that of the piece, with its own ending where that is another."""
    return job.name if job.name.endswith(work.suffix) else f"{job.name}{work.suffix}"


def _reading(piece: Any) -> str:
    """How a piece is read, beside its bytes."""
    if isinstance(piece, tuple):
        return "; ".join(map(_reading, piece))
    if isinstance(piece, int):
        return str(piece)
    agreed = None if piece.agreed is None else str(piece.agreed)
    return repr((sorted(piece.take.items()), piece.reading, agreed))


def _bytes(work: Work, part: Path) -> str | None:
    """SHA-256 of a part; None where there is none."""
    if not work.suffix:
        return ""
    return sha256_of(part) if os.path.isfile(part) else None


def _note(path: Path) -> dict[str, Any] | None:
    """A note; None if there is none that can be read."""
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("counts"), dict) else None
