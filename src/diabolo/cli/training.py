"""Where the rows of `diabolo fit` come from: memory, or a cache on disk for a dataset that is larger."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diabolo.cli.console import Progress
from diabolo.errors import ColumnsError, ConfigError, DataError
from diabolo.world import ALONE, World

if TYPE_CHECKING:
    from diabolo.config import Config
    from diabolo.data.formats import Data
    from diabolo.data.stream import Stream
    from diabolo.detect.calibrated import Calibrated
    from diabolo.detect.calibrating import Choice
    from diabolo.fitted.keep import Keep
    from diabolo.fitted.record import Fitted

__all__ = ["Fit", "byte_count", "naming", "train"]

#: Powers of a thousand, or of 1,024 with an i.
UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def byte_count(text: str, flag: str) -> int:
    """Read a number of bytes.

    >>> byte_count("1GiB", "--memory"), byte_count("2.5 MB", "--memory"), byte_count("0", "--memory")
    (1073741824, 2500000, 0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{flag} {text}: expected a number of bytes, like 500MB or 1GiB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** UNITS[unit.lower()])


@dataclasses.dataclass(frozen=True)
class Fit:
    """The fit that was asked for: settings of the autoencoder, and of its detector if there is to be one."""

    config: Config
    detector: Choice | None
    quiet: bool
    group: str | None  #: column that --group names, or "content"
    time: str | None  #: column that --time names
    keep: Keep | None
    world: World = ALONE  #: the processes that fit together


@contextlib.contextmanager
def naming(data: Data) -> Iterator[None]:
    """Put the dataset's name before an error of its rows, and the remedy behind one of its columns."""
    from diabolo.data.row_list import renumbered
    from diabolo.data.usable import faults_of

    try:
        with renumbered(data):
            yield
    except ColumnsError as error:
        raise faults_of(error, data) from error
    except DataError as error:
        named = str(error).startswith(str(data))
        raise error if named else DataError(f"{data}: {error}") from error


def train(
    data: Data, out: Path, names: list[str], weight: str | None, fit: Fit, memory: int, cache: Path | None
) -> tuple[Fitted, Calibrated | None, int]:
    """Fit an autoencoder, and perhaps its detector, to a dataset; its number of rows comes last.

    Args:
        data: the dataset.
        out: the model file; a cache is named after it.
        names: columns to see.
        weight: column of weights.
        memory: values of more bytes than this stay on disk.
        cache: folder for the cache; None for that of `out`.
    """
    import numpy as np

    from diabolo.data.reading import read_column, read_table
    from diabolo.data.split import CONTENT, Split, split_of
    from diabolo.data.table import check_weights
    from diabolo.detect.calibrating import fit_detector, share_to_calibrate
    from diabolo.fitted.table import fit_table
    from diabolo.train.progress import print_epoch

    stream = _larger(data, names, weight, memory, fit.world)
    by = fit.group or fit.time
    if stream is not None and by is not None:
        flag, need = "--time" if fit.group is None else "--group", -(-stream.size // (1 << 20))
        raise ConfigError(f"{flag} {by}: needs the table in memory, {_size(stream.size)}: give --memory {need}MiB")
    if stream is not None:
        return *_train_larger(stream, data, out, fit, memory, cache), stream.rows
    report = None if fit.quiet or not fit.world.leads else print_epoch
    table, column = read_table(data, names, weight)
    weights = check_weights(column, len(table))
    cells = by if by in (None, CONTENT) and fit.time is None else read_column(data, str(by))
    groups, times = (cells, None) if fit.time is None else (None, cells)
    split = split_of(table.values, groups, times, (fit.group or "", fit.time or ""))
    choice, world = fit.detector, fit.world
    if choice is not None and world.leads:
        found = fit_detector(table, weights, fit.config, choice, report, fit.keep, split, world)
        return found.fitted, found, len(table)
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    share = 0.0 if choice is None else share_to_calibrate(len(used), choice, (split or Split()).among(used))
    seed = None if choice is None else choice.seed
    return fit_table(table, weights, fit.config, share, report, seed, fit.keep, split, world), None, len(table)


def _train_larger(
    stream: Stream, data: Data, out: Path, fit: Fit, memory: int, cache: Path | None
) -> tuple[Fitted, Calibrated | None]:
    """Train from a cache on disk."""
    from diabolo.data.cache import Buckets, cache_folder
    from diabolo.data.split import Split
    from diabolo.detect.calibrating import fit_detector_stream, share_to_calibrate
    from diabolo.fitted.stream import fit_stream
    from diabolo.train.progress import print_epoch

    world, choice = fit.world, fit.detector
    quiet = fit.quiet or not world.leads
    report = None if quiet else print_epoch
    place, head = out.parent if cache is None else cache, stream.head
    need = Buckets.size(stream.used, len(head.names), head.values.dtype, stream.weighted) // world.size
    # Processes of one machine have a folder each, beside one another.
    named = out if world.size == 1 else out.with_name(f"{out.name}.{world.rank}")
    with cache_folder(place, named, need) as folder:
        if not quiet:
            _tell(
                f"{data}: {stream.rows:,} rows take {_size(stream.size)}, more than --memory {_size(memory)}: "
                f"training from a cache of at most {_size(need)} in {place}"
            )
        mine = world.share(stream.rows)
        progress = Progress("caching", mine.stop - mine.start)

        def cached(rows: int) -> None:
            if not world.leads:
                return
            progress.add(rows)
            if progress.done == progress.total:
                progress.end()
                seconds = time.perf_counter() - progress.begun
                if not quiet:
                    _tell(f"cached in {seconds:.1f} s, {stream.rows / max(seconds, 1e-9):,.0f} rows/s")

        if choice is not None and world.leads:
            found = fit_detector_stream(stream, folder, fit.config, choice, report, fit.keep, cached, world)
            return found.fitted, found
        share = 0.0 if choice is None else share_to_calibrate(stream.used, choice, Split())
        seed = None if choice is None else choice.seed
        return fit_stream(stream, folder, fit.config, share, report, seed, fit.keep, cached, world)[0], None


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _larger(data: Data, names: list[str], weight: str | None, memory: int, world: World) -> Stream | None:
    """The dataset as a stream if its values take more than `memory` bytes."""
    from diabolo.data.row_list import rows_left_out
    from diabolo.data.stream import open_stream, size_in_memory

    size = size_in_memory(data, names)
    if size is not None and size <= memory:
        return None
    without = rows_left_out(data)
    if without is not None and world.size > 1:
        raise ConfigError(
            f"--exclude-rows {without.shown}: processes that share a table number its rows anew in each file; give a "
            "--memory that holds the table, or leave --engine out"
        )
    progress = Progress("counting", None)
    stream = open_stream(data, names, weight, progress.add if world.leads else None, world)
    progress.end()
    return stream if stream.size > memory else None


def _size(count: int) -> str:
    """Bytes in words: 1.50 GiB."""
    power = min(4, max(0, (max(count, 1).bit_length() - 1) // 10))
    return f"{count / 1024**power:.{0 if power == 0 else 2}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
