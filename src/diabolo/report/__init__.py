"""One page on a fitted model: what it was trained on, what it says of rows, and what may be wrong with it."""

from diabolo.report.write import write_report

__all__ = ["write_report"]
