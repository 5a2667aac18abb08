"""The sections of a report: a file of this folder that registers one is all that a new one needs."""

from diabolo.report.sections.base import Missing, PageSection, Shown, sections

__all__ = ["Missing", "Shown", "PageSection", "sections"]
