"""What a request did wrong, with the HTTP status that says so."""

from __future__ import annotations

from typing import Any

from diabolo.errors import DataError

__all__ = ["Fault"]


class Fault(DataError):
    """A request that cannot be answered.

    Attributes:
        status: of the answer, 400 to 429.
        said: the answer's JSON: `error`, and where they are known `column`, `row` and `allowed`.
    """

    def __init__(
        self, error: str, status: int = 422, column: str | None = None, row: int | None = None, allowed: Any = None
    ) -> None:
        super().__init__(error)
        self.status = status
        known = {"column": column, "row": row, "allowed": allowed}
        self.said: dict[str, Any] = {"error": error, **{k: v for k, v in known.items() if v is not None}}
