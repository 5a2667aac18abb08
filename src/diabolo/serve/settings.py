"""How an endpoint runs: every setting with its range."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

from diabolo.errors import ConfigError
from diabolo.serve.backends import Choice

__all__ = ["Settings", "is_loopback", "token_of"]

#: Characters of a token, at least.
SHORTEST = 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an endpoint runs.

    Attributes:
        path: a model file, or a folder of them.
        choice: the score and the rate of every model; None for each model's own.
        token: what callers have to send, as `Authorization: Bearer TOKEN`; None for anybody.
        window: rows whose drift is judged.
        level: probability of an alarm of a verdict on drift where nothing has changed, at most.
        every: seconds between verdicts that nobody asked for.
        max_rows, max_body: rows and bytes of a request.
        queue: requests that may wait to be scored.
        slow_queue: explanations and reports that may wait.
        neighbors: normal training rows that an explanation may show; they are rows of the training table.
        watch: seconds between looks at the files.
        hosts: names by which callers may address the endpoint; empty for any.
    """

    path: Path
    choice: Choice = dataclasses.field(default_factory=Choice)
    token: str | None = None
    window: int = 10_000
    level: float = 0.01
    every: float = 60.0
    max_rows: int = 65_536
    max_body: int = 64 << 20
    queue: int = 1_024
    slow_queue: int = 8
    neighbors: int = 0
    watch: float = 1.0
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        least = {"window": 100, "max_rows": 1, "max_body": 1_000, "queue": 1, "slow_queue": 1, "neighbors": 0}
        wrong = [
            f"{name} = {getattr(self, name)}: allowed are whole numbers from {low:,} up"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        wrong += [f"level = {self.level}: allowed are numbers above 0 and below 1"] * (not 0 < self.level < 1)
        timed = [n for n in ("every", "watch") if not getattr(self, n) > 0]
        wrong += [f"{n} = {getattr(self, n)}: allowed are seconds above 0" for n in timed]
        if wrong:
            raise ConfigError("; ".join(wrong))


def token_of(path: Path) -> str:
    """The token in a file: its one line.

    Raises:
        ConfigError: the file cannot be read, or holds no token.
    """
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds more than ASCII"
        raise ConfigError(f"--token-file {path}: {why}") from None
    if len(words) != 1 or len(words[0]) < SHORTEST:
        raise ConfigError(
            f"--token-file {path}: allowed is one word of {SHORTEST} characters or more, as "
            f"`openssl rand -hex 32 > {path}` makes it"
        )
    return words[0]


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
