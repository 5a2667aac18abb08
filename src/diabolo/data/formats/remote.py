"""Tables at a URL: copied to this machine before they are read, and back after they are written."""

from __future__ import annotations

import functools
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from diabolo.data.formats.base import one_line
from diabolo.errors import DataError, MissingExtraError, OutputError

__all__ = ["as_local", "check_url", "fetch", "is_url", "upload"]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def is_url(text: str) -> bool:
    return URL.match(text) is not None


def as_local(text: str) -> str:
    """The path that a file:// URL names; other text as it is."""
    return text[len("file://") :] if text.startswith("file://") else text


@functools.cache
def _copies() -> tuple[tempfile.TemporaryDirectory[str], dict[Path, str]]:
    """A folder that goes when the program ends, and what each copy in it is a copy of."""
    return tempfile.TemporaryDirectory(prefix="diabolo-"), {}


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("fsspec", "remote", url) from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url}: needs a package that is not installed: {one_line(error)} (with pip)") from None
    except Exception as error:
        raise DataError(f"{url}: cannot be opened: {one_line(error)}") from error
    return system, path


def fetch(url: str) -> tuple[Path, list[tuple[Path, str]]]:
    """Copy what a URL names: a file, the files that a pattern matches, or all below a folder.

    Returns:
        The copy of the file or folder, and for each file its copy and its URL.

    Raises:
        DataError: nothing there, or it cannot be read.
    """
    system, path = _system(url)
    base = Path(_copies()[0].name) / hashlib.sha256(url.encode()).hexdigest()[:16]
    web = url.lower().startswith(("http://", "https://"))
    try:
        if not web and any(c in path for c in "*?["):
            found, root = sorted(system.glob(path)), re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        elif not web and system.isdir(path):
            found, root = sorted(system.find(path)), path.rstrip("/")
        else:
            found, root = [path], path.rpartition("/")[0]
            base_file = base / _name(path)
            return base_file, [(_copy(system, path, base_file, url), url)]
        if not found:
            raise DataError(f"{url}: no such file")
        copies = []
        for one in found:
            local = base / one[len(root) :].lstrip("/")
            copies.append((_copy(system, one, local, url), str(system.unstrip_protocol(one))))
        return base, copies
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{url}: no such file") from None
    except Exception as error:
        raise DataError(f"{url}: cannot be fetched: {one_line(error) or type(error).__name__}") from error


def _name(path: str) -> str:
    return path.split("?")[0].rstrip("/").rpartition("/")[2] or "data"


def _copy(system: Any, path: str, local: Path, url: str) -> Path:
    """A copy of one remote file, made anew only if the remote one has changed."""
    known = _copies()[1]
    state = str(system.ukey(path))
    if known.get(local) != state or not local.exists():
        local.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(path, str(local))
        known[local] = state
    return local


def check_url(url: str) -> None:
    """Fail early where the package that writes to such a URL is missing.

    Raises:
        OutputError: says what to install.
    """
    try:
        _system(url)
    except DataError as error:
        raise OutputError(f"cannot write {error}") from None


def upload(local: Path, url: str) -> None:
    """Send a finished file to its URL.

    Raises:
        OutputError: it did not arrive.
    """
    system, path = _system(url)
    try:
        system.put_file(str(local), path)
    except Exception as error:
        raise OutputError(f"cannot write {url}: {one_line(error) or type(error).__name__}") from error
