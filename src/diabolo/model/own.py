"""A user's own part of a model, named by import path: "mypackage.mymodule:MyLikelihood".

Networks, likelihoods and regularizers may be a user's own. A model file holds the path and the SHA-256 of the module's
source, never code. Only a fit, or a load that asks for it, imports the module.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from diabolo.errors import ConfigError, nearest
from diabolo.registry import Registry, Spec, validated

__all__ = ["OwnParts", "imported", "is_own", "said", "source_of"]

AnyPart = TypeVar("AnyPart")


class OwnParts(Registry[AnyPart]):
    """The parts of a concept that are built in, and a user's own subclasses of `base` by import path.

    Args:
        base: what a user's own class derives from.
        trial: called with a new part of the user's own and where it stands; raises what is wrong with it.
    """

    def __init__(
        self, concept: str, folder: str, called: Mapping[str, str], base: type[Any], trial: Callable[[Any, str], None]
    ) -> None:
        super().__init__(concept, folder, called)
        self.base, self.trial = base, trial

    def create(self, spec: Spec) -> AnyPart:
        """Build a part; a name like "mypackage.mymodule:MyPart" imports that class."""
        if isinstance(spec, self.base) and is_own(spec.name):
            return spec  # type: ignore[return-value,no-any-return]
        if not is_own(spec):
            return super().create(spec)
        named: Mapping[str, Any] = {"name": spec} if isinstance(spec, str) else spec  # type: ignore[assignment]
        cls, where = self._class(named["name"]), f"{self.concept} {named['name']!r}"
        part = validated(cls, {k: v for k, v in named.items() if k != "name"}, where)
        try:
            self.trial(part, where)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{where}: its trial on three rows raised {said(error)}") from error
        return part  # type: ignore[no-any-return]

    def _class(self, name: str) -> type[Any]:
        found, path, digest = imported(name, self.concept)
        base = f"{self.base.__module__.rpartition('.')[0]}.{self.base.__name__}"
        if not isinstance(found, type) or not issubclass(found, self.base):
            raise ConfigError(f"{self.concept} {name!r}: {path} has another thing there; it must derive from {base}")
        cls: Any = found
        lacks = sorted(getattr(cls, "__abstractmethods__", ()))
        lacks += ["kinds"] * ("kinds" in self.base.__annotations__ and not hasattr(cls, "kinds"))
        if lacks:
            raise ConfigError(f"{self.concept} {name!r} lacks {', '.join(lacks)}; {base} says what each gives")
        if vars(cls).get("__annotations__") and "__dataclass_fields__" not in vars(cls):
            dataclasses.dataclass(frozen=True)(cls)
        cls.name = name
        if "sha256" not in vars(cls):  # of the source that was imported, whatever stands there later
            cls.sha256 = digest
        return found


def imported(name: str, concept: str) -> tuple[Any, Path, str]:
    """What an import path names, the file of its module and the SHA-256 of that.

    Raises:
        ConfigError: no such module or attribute, or what importing it raised.
    """
    module, _, attribute = name.partition(":")
    path, digest = source_of(name, concept)
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ConfigError(f"{concept} {name!r}: importing {path} raised {said(error)}") from error
    if not hasattr(found, attribute):
        public = [n for n, v in vars(found).items() if isinstance(v, type) and v.__module__ == module]
        raise ConfigError(f"{concept} {name!r}: {path} has no {attribute!r}; {nearest(attribute, public)}")
    return getattr(found, attribute), path, digest


def is_own(spec: Spec | Any) -> bool:
    """Whether a part is named by import path."""
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    return isinstance(name, str) and ":" in name


def source_of(name: str, concept: str = "network") -> tuple[Path, str]:
    """The file of a part's module and its SHA-256, found without running anything.

    Raises:
        ConfigError: there is no such module, or no file of it.
    """
    module, _, attribute = name.partition(":")
    parts = module.split(".")
    if not all(p.isidentifier() for p in parts) or not attribute.isidentifier():
        raise ConfigError(f"{concept} {name!r}: an import path is 'package.module:Class'")
    if module == "__main__":
        raise ConfigError(f"{concept} {name!r}: a script cannot be imported again; move the class into a module")
    # importlib.util.find_spec would import the packages on the way.
    places: Any = None
    origin = ""
    for i in range(1, len(parts) + 1):
        inner = ".".join(parts[:i])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        found = next((s for s in (find(inner, places) for find in finders if find) if s is not None), None)
        if found is None or (found.submodule_search_locations is None and i < len(parts)):
            raise ConfigError(
                f"{concept} {name!r}: there is no module {module!r} on the import path; install it, or name its folder "
                "in PYTHONPATH"
            )
        places, origin = found.submodule_search_locations, found.origin or ""
    try:
        return Path(origin), hashlib.sha256(Path(origin).read_bytes()).hexdigest()
    except OSError:
        raise ConfigError(f"{concept} {name!r}: the module {module!r} is not a file that can be read") from None


def said(error: Exception) -> str:
    """An error of somebody's code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
