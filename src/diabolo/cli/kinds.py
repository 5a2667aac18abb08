"""What kind of file each word of the command line names: one in the wrong place is answered with the right command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.errors import ConfigError

__all__ = ["MODEL", "ONNX", "TAKES_GRAPHS", "check_kinds", "kind_of"]

MODEL, PACKED, TABLE, PICTURE, ONNX = "a model file", "a compressed table", "a table", "a picture", "a network in ONNX"
#: How files of a kind begin.
HEADS = {
    b"\x89DBL\r\n": PACKED,
    b"PAR1": TABLE,
    b"ARROW1": TABLE,
    b"\x89HDF": TABLE,
    b"root": TABLE,
    b"\x93NUMPY": TABLE,
    b"\x89PNG": PICTURE,
    b"\xff\xd8\xff": PICTURE,
    b"GIF8": PICTURE,
}
#: Behind its length, the header of a model file has one of its entries first: their order is no fixed one.
OURS = tuple(b'{"__metadata__":{"' + key for key in (b'format":"diabolo"', b'version":"', b'manifest":"'))
#: And how their names end, where the first bytes do not tell.
SUFFIXES = {
    ".dbl": PACKED,
    ".diabolo": MODEL,
    ".onnx": ONNX,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"), PICTURE),
    **dict.fromkeys((".csv", ".tsv", ".txt", ".npz", ".parquet", ".feather", ".arrow", ".h5", ".root"), TABLE),
}
#: The words of a verb's parameters: what it wants, and how it is called.
WANTED = {"model": (MODEL, "MODEL"), "file": (PACKED, "FILE"), "data": (TABLE, "DATA"), "against": (TABLE, "--against")}

#: Verbs whose MODEL may be an exported graph.
TAKES_GRAPHS = ("score", "serve")


def kind_of(path: str | Path) -> str | None:
    """The kind of a file by its first bytes, or else by the end of its name; None of what is not there or unknown."""
    try:
        # A pipe would be waited for, and a folder is a table of its files.
        if not Path(path).is_file():
            return None
        with open(path, "rb") as file:
            head = file.read(80)
    except (OSError, ValueError):
        return None
    if head[8:].startswith(OURS):
        return MODEL
    found = next((kind for start, kind in HEADS.items() if head.startswith(start)), None)
    return found or SUFFIXES.get(Path(path).suffix.lower())


def check_kinds(verb: str, given: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuse files that stand where those of another kind belong.

    Args:
        verb: its name.
        given: its parameters by name.
        words: the command line behind the verb's name.

    Raises:
        ConfigError: says what the file is, what belongs there, and a command that does what was probably meant.
    """
    named = {name: str(given[name]) for name in WANTED if given.get(name) is not None}
    kinds = {name: kind_of(path) for name, path in named.items()}
    if kinds.get("model") == TABLE and kinds.get("data") == MODEL:
        model, data = named["model"], named["data"]
        swapped = [{model: data, data: model}.get(word, word) for word in words]
        raise ConfigError(
            f"{model} is a table and {data} a model file; MODEL comes first: diabolo {verb} {shlex.join(swapped)}"
        )
    for name, path in named.items():
        wanted, called = WANTED[name]
        kind = kinds[name]
        # A folder of pictures is a table, so that one picture is one too.
        fits = (kind, wanted) == (PICTURE, TABLE) or ((kind, wanted) == (ONNX, MODEL) and verb in TAKES_GRAPHS)
        if kind not in (None, wanted) and not fits:
            raise ConfigError(f"{path} is {kind}; {called} is {wanted}{_remedy(verb, str(kind), wanted, path, words)}")


def _remedy(verb: str, kind: str, wanted: str, path: str, words: Sequence[str]) -> str:
    """The command that was probably meant, or that gives what belongs there."""
    quoted = shlex.quote(path)
    if kind == PACKED and wanted == TABLE:
        table = shlex.quote(str(Path(path).with_suffix(".parquet")))
        return f": diabolo decompress {quoted} -o {table} gives its table back"
    if kind == MODEL and wanted == TABLE:
        return f": diabolo info {quoted} says what the file holds"
    if kind == TABLE and wanted == MODEL:
        return f", which diabolo fit {quoted} -o my.diabolo makes"
    if kind == ONNX and wanted == MODEL:
        return " (*.diabolo): take the one that this was exported from"
    if wanted == MODEL:
        return " (*.diabolo), which diabolo fit makes"
    if wanted == PACKED:
        return " (*.dbl), which diabolo compress makes"
    return ": " + "Parquet, CSV, ROOT, HDF5 and others (diabolo docs data)"
