"""The class of all checks, and their findings."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Literal

from diabolo.registry import Entry, Registry
from diabolo.report.evidence import Evidence

__all__ = ["Alarm", "Finding", "Status", "alarms", "findings"]

Status = Literal["alarm", "note", "sound", "skipped"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check."""

    title: str
    status: Status
    measured: str
    advice: str = ""


class Alarm(Entry, abc.ABC):
    """One check; `place` is its position on the page."""

    title: ClassVar[str]

    @abc.abstractmethod
    def __call__(self, e: Evidence) -> Finding: ...

    def found(self, status: Status, measured: str, advice: str = "") -> Finding:
        return Finding(self.title, status, measured, advice)


alarms: Registry[Alarm] = Registry("alarm", __package__)


def findings(e: Evidence) -> dict[str, Finding]:
    """Every check's finding by name, in the order of the registry."""
    return {name: alarms.create(name)(e) for name in alarms}
