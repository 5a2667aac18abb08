"""An exported ONNX file with the columns as diabolo knows them: every reader of tables works with it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from diabolo.data.dialect.record import Dialect
from diabolo.data.schema import Schema
from diabolo.errors import DAMAGE, DataError, DiaboloError, MissingExtraError, ModelFileError
from diabolo.registry import validated
from diabolo.runtime import Scorer, ScorerError

__all__ = ["graph_of"]


def graph_of(path: Path) -> tuple[Scorer, Schema, Callable[[], AbstractContextManager[Any]]]:
    """The scorer of an exported file, its columns, and what turns the scorer's errors into diabolo's.

    Raises:
        ModelFileError: no file that diabolo has exported.
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        scorer = Scorer(path)
        schema = Schema.from_json(scorer.metadata["schema"])
        said = scorer.metadata["dialect"]
        if said is not None:
            dialect = validated(Dialect, said, f"{path}: how text is read")
            dialect.check()
            schema = dataclasses.replace(schema, dialect=dialect)
    except ScorerError as error:
        raise ModelFileError(str(error)) from None
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "onnx", "scoring by an ONNX graph") from None
    except DiaboloError:
        raise
    except DAMAGE as error:
        raise ModelFileError(f"{path}: its metadata is damaged ({str(error)[:120]}); export it again") from None
    return scorer, schema, _errors


@contextlib.contextmanager
def _errors() -> Any:
    try:
        yield
    except ScorerError as error:
        raise DataError(str(error)) from None
