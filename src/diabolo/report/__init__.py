"""One page on a fitted model: its training, its verdict on rows, and its possible faults."""

from diabolo.report.write import write_report

__all__ = ["write_report"]
