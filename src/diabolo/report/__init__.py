"""One page on a fitted model: its training, its verdict on rows, and its possible faults."""

import sys
import types

from diabolo.report.shown import Report
from diabolo.report.write import report, write_report

__all__ = ["Report", "report", "write_report"]


class _Package(types.ModuleType):
    """The package, which `diabolo.report(model, X)` calls: the function has its name."""

    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Package
