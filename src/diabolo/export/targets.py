"""The registry of forms in which `diabolo export` writes a model for other programs."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from diabolo.errors import ConfigError
from diabolo.file.model_file import ModelFile
from diabolo.registry import Entry, Registry

__all__ = ["Target", "target_of", "targets"]


class Target(Entry, abc.ABC):
    """A form for other programs; its settings are the options of `diabolo export` that it takes."""

    #: Endings of a file that mean this form, and one of which its file has; empty for one that is only named.
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: Whether it is a folder.
    folder: ClassVar[bool] = False

    @abc.abstractmethod
    def write(self, file: ModelFile, out: str) -> list[str]:
        """Write the model to a file or folder, whole or not at all; lines for the person.

        Raises:
            ConfigError: a part of the model has no such form; it is named.
        """


targets: Registry[Target] = Registry("export target", __package__)


def target_of(out: str, name: str | None, settings: dict[str, Any]) -> Target:
    """The form of a name, or else of a file's suffix.

    Raises:
        ConfigError: neither tells a form, the form has no such setting, or its file has another ending.
    """
    by_suffix = {suffix: n for n in targets for suffix in targets.get(n).suffixes}
    if name is None:
        name = next((n for suffix, n in by_suffix.items() if out.lower().endswith(suffix)), None)
    if name is None:
        known = ", ".join(f"{n} ({', '.join(targets.get(n).suffixes) or 'by --to'})" for n in targets)
        raise ConfigError(f"{out}: its suffix names no form to export to; allowed: {known}")
    found = targets.create({"name": name, **{k: v for k, v in settings.items() if v is not None}})
    if found.suffixes and not out.lower().endswith(found.suffixes):
        ends = " or ".join(found.suffixes)
        raise ConfigError(f"{out}: {name} is a file whose name ends in {ends}, by which it is read; name it so")
    return found
