"""The sections of a report: a file of this folder that registers one is all that a new one needs."""

from diabolo.report.sections.base import Missing, Part, Section, sections

__all__ = ["Missing", "Part", "Section", "sections"]
