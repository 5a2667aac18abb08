"""One process of a fit by several, as the driver starts it: rank 0 talks to the person, failures go to the driver."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from diabolo.cli.app import interrupt, main, one_line
from diabolo.screen import spell_out

__all__ = ["run"]


def run() -> None:
    """Run the words of the command line as one rank."""
    signal.signal(signal.SIGTERM, interrupt)
    if os.environ.get("RANK") != "0" and "--debug" not in sys.argv:
        silent = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
        sys.stdout = sys.stderr = silent
    spell_out(sys.stdout, sys.stderr)
    main(sys.argv[1:], _told)


def _told(message: str, status: int = 2) -> NoReturn:
    """Leave the line where the launcher looks for it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another rank's end must not cut this one's word
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place is not None and status != 130:  # ended by the driver, which knows why
        told = {"message": one_line(message), "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(place).write_text(json.dumps({"message": told}))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # At once: a rank that is slow to leave is killed by the launcher, and would pass for the one that failed.
    os._exit(status)


if __name__ == "__main__":
    run()
