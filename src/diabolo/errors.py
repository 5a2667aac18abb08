"""Every failure that diabolo raises on purpose.

DiaboloError
├── ConfigError        a setting is unknown, of the wrong type or out of range   (also ValueError)
│   └── SettingError   a keyword that a constructor does not have                (also TypeError)
├── DataError          the rows or columns that came cannot be used              (also ValueError)
│   └── ColumnsError   columns that cannot be fitted, with why each
├── ModelFileError     a `*.diabolo` file is damaged, foreign or too new         (also ValueError)
├── CompressedFileError  a `*.dbl` file is damaged, foreign or too new         (also ValueError)
├── CheckpointError    a checkpoint that is damaged, or of another fit          (also ValueError)
├── CalibrationError   a rate that the calibration rows cannot guarantee         (also ValueError)
├── TrainingError      a fit that diverged                                       (also RuntimeError)
├── PieceError         pieces of a table failed, and the others are done         (also RuntimeError)
├── WorkerError        a process of a fit by several has ended                   (also RuntimeError)
├── OutputError        a result that could not be written                        (also OSError)
├── ExportError        a form for other programs that says something else        (also RuntimeError)
└── MissingExtraError  an optional package is not installed                      (also ImportError)

PromiseWarning       a rate or drawn rows that may not hold what they promise (a UserWarning)

A message says what came, what is allowed and what to do, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "ColumnsError",
    "CompressedFileError",
    "ConfigError",
    "DataError",
    "DAMAGE",
    "DiaboloError",
    "ExportError",
    "MissingExtraError",
    "ModelFileError",
    "OutputError",
    "PieceError",
    "PromiseWarning",
    "SettingError",
    "TrainingError",
    "WorkerError",
    "nearest",
]


class DiaboloError(Exception):
    """Base of every failure raised on purpose."""


class ConfigError(DiaboloError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class SettingError(ConfigError, TypeError):
    """A keyword that a constructor does not have."""


class DataError(DiaboloError, ValueError):
    """The rows or columns that came cannot be used."""


class ColumnsError(DataError):
    """Columns that cannot be fitted, all of them.

    Attributes:
        faults: name of a column → why, as a sentence without its subject.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"column {name!r} {why}" for name, why in faults.items()))
        self.faults = dict(faults)


class ModelFileError(DiaboloError, ValueError):
    """A model file is damaged, foreign or of an unknown version."""


class CompressedFileError(DiaboloError, ValueError):
    """A compressed file is damaged, foreign or of an unknown version."""


class CheckpointError(DiaboloError, ValueError):
    """A checkpoint that is damaged, or that another fit has written."""


class CalibrationError(DiaboloError, ValueError):
    """A false-alarm rate that the calibration rows cannot guarantee.

    Attributes:
        needed: how many calibration rows or groups it needs; None where more of them would not help.
        unit: "rows" or "groups".
    """

    def __init__(self, message: str, needed: int | None = None, unit: str = "rows") -> None:
        super().__init__(message)
        self.needed, self.unit = needed, unit


class TrainingError(DiaboloError, RuntimeError):
    """A fit diverged."""


class PieceError(DiaboloError, RuntimeError):
    """Pieces of a table failed; the parts of the others are there."""


class WorkerError(DiaboloError, RuntimeError):
    """A process of a fit by several ended before the fit did."""


class OutputError(DiaboloError, OSError):
    """A result could not be written."""


class ExportError(DiaboloError, RuntimeError):
    """A model in a form for other programs says something else than the model."""


#: What reading damaged or hostile content raises before anybody has said what is wrong with it. Arrow's errors that are
#: none of Python's come beside them where Arrow reads, and RuntimeError is PyTorch's word for a shape or an allocation.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


class MissingExtraError(DiaboloError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'diabolo[{extra}]'"
        )


class PromiseWarning(UserWarning):
    """A false-alarm rate may not hold or is larger than the default; drawn rows may not be what was asked for."""


def nearest(word: object, names: Iterable[str], said: str = "allowed:") -> str:
    """Name the allowed words, or those there are, and the one that was probably meant.

    >>> nearest("gausian", ["gaussian", "mask"])
    "did you mean 'gaussian'? Allowed: gaussian, mask"
    >>> nearest("energy", ["pt", "eta"], "it has")
    'it has pt, eta'
    >>> nearest("b", ["a", "B"])
    "did you mean 'B'? Allowed: a, B"
    """
    names = list(names)
    # Upper and lower case first: one letter has no other likeness.
    close = [name for name in names if str(name).casefold() == str(word).casefold()]
    close = close or difflib.get_close_matches(str(word), names, n=1)
    if close:
        said = f"did you mean {close[0]!r}? {said[0].upper()}{said[1:]}"
    return f"{said} {', '.join(names)}"
