"""One registry per concept: a name, a frozen dataclass of settings, one file to write.

A new part is one decorated class in a new file of its concept's folder. The CLI's choices, the checks of settings, the
documentation table and the contract tests all read the registry.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from diabolo.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Entry", "Registry", "Spec", "spec_of", "validated"]

AnyPart = TypeVar("AnyPart")
AnyClass = TypeVar("AnyClass", bound=type[Any])


class PartInstance(Protocol):
    """A part that was built already."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


#: How a user names a part: "gaussian", {"name": "gaussian", "std": 0.2}, or the part itself.
Spec = str | Mapping[str, Any] | PartInstance


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def validated(cls: type[AnyPart], settings: Mapping[str, Any], where: str) -> AnyPart:
    """Build a settings dataclass, or name every wrong setting at once.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type, a value out of range.
    """
    from pydantic import ValidationError  # 0.1 s that `--help` does not pay

    allowed = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    problems = [
        f"{where} has no setting {key!r} ({nearest(key, allowed) if allowed else 'it takes none'})"
        for key in settings
        if key not in allowed
    ]
    try:
        known = {k: v for k, v in settings.items() if k in allowed}
        built: AnyPart = _adapter(cls).validate_python(known)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong: dict[str, list[str]] = {}  # a setting of several types has a complaint for each
        for item in error.errors():
            place = _path(item["loc"], known)
            if item["type"] == "missing":  # its name is no place in the settings; the location ends with it
                place = ".".join(p for p in (place, str(item["loc"][-1])) if p)
            said = wrong.setdefault(f"{where}: {place} = {item['input']!r}", [])
            said.extend([m] if (m := item["msg"].lower()) not in said else [])
        problems.extend(f"{setting}: {', or '.join(said)}" for setting, said in wrong.items())
    if problems:
        raise ConfigError("; ".join(problems))
    return built


def _path(location: tuple[int | str, ...], settings: Any) -> str:
    """The place in the settings of pydantic's location, without the types that pydantic names in it."""
    path = []
    for step in location:
        key = isinstance(settings, Mapping) and step in settings
        if key or (isinstance(settings, list | tuple) and isinstance(step, int) and step < len(settings)):
            settings = settings[step]
            path.append(str(step))
    return ".".join(path)


def spec_of(part: Any) -> dict[str, Any]:
    """Return the name and settings of a part as plain JSON, the inverse of `Registry.create`."""
    return {"name": part.name, **dataclasses.asdict(part)}


@dataclasses.dataclass(frozen=True)
class Entry:
    """The base of every part: a concept's class derives from it, and the concept's parts from that class."""

    name: ClassVar[str]  #: set by `Registry.register`
    #: Position in lists, rising; parts of one position follow their names.
    place: ClassVar[int] = 0


class Registry(Generic[AnyPart]):
    """The named choices of one concept.

    Args:
        concept: its name in messages.
        folder: the package whose modules register the parts; they are imported when the first question comes.
        called: other names that people have for a part, in small letters, and what to write instead.
    """

    def __init__(self, concept: str, folder: str | None = None, called: Mapping[str, str] | None = None) -> None:
        self.concept, self.folder, self.called = concept, folder, called or {}
        self._entries: dict[str, type[Any]] = {}
        self._complete = folder is None

    def register(self, name: str) -> Callable[[type[AnyPart]], type[AnyPart]]:
        """Make a class the part of that name, and a frozen dataclass of its settings."""

        def add(cls: type[Any]) -> type[Any]:
            if self.folder is not None and not cls.__module__.startswith(f"{self.folder}."):
                self._found()  # built-in parts come first, so a user's own part is the one refused a name in use
            if name in self._entries:
                raise ConfigError(f"the {self.concept} {name!r} is registered twice")
            # A class without settings of its own is the dataclass that it inherits: making one takes a millisecond.
            if vars(cls).get("__annotations__"):
                dataclasses.dataclass(frozen=True)(cls)
            cls.name = name
            entries = {**self._entries, name: cls}
            self._entries = dict(sorted(entries.items(), key=lambda entry: (entry[1].place, entry[0])))
            return cls

        return add

    def _found(self) -> dict[str, type[Any]]:
        """The parts by name, in their order."""
        if not self._complete and self.folder is not None:
            for module in pkgutil.iter_modules(importlib.import_module(self.folder).__path__):
                importlib.import_module(f"{self.folder}.{module.name}")
            self._complete = True
        return self._entries

    def names(self) -> list[str]:
        return list(self._found())

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def get(self, name: str) -> type[AnyPart]:
        if name not in self._found():
            said = self.called.get(name.lower())
            other = f"what it is called here is {said}" if said else nearest(name, self._entries)
            raise ConfigError(f"unknown {self.concept} {name!r}: {other}")
        return self._entries[name]

    def create(self, spec: Spec) -> AnyPart:
        """Build a part from its name, a mapping with `name` and settings, or itself.

        Raises:
            ConfigError: an unknown name or setting, with the nearest known one.
        """
        if dataclasses.is_dataclass(spec) and type(spec) in self._found().values():
            return spec  # type: ignore[return-value]
        if isinstance(spec, str):
            spec = {"name": spec}
        if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
            raise ConfigError(
                f"{self.concept} = {spec!r}: allowed are a name ({', '.join(self)}) "
                "or a mapping with 'name' and its settings"
            )
        settings = {k: v for k, v in spec.items() if k != "name"}
        return validated(self.get(spec["name"]), settings, f"{self.concept} {spec['name']!r}")

    def describe(self) -> list[tuple[str, str]]:
        """Name and first docstring sentence of every entry, for tables and help."""
        return [(n, (c.__doc__ or "").strip().split("\n")[0]) for n, c in self._found().items()]
