"""What a reader may take of one mutation, and what it may answer: what all the fuzzers share."""

from __future__ import annotations

import argparse
import resource
import time

#: A mutation that takes more of either is a fault.
MOST_BYTES, MOST_SECONDS = 1 << 30, 5.0
#: Seconds of the clock after which a process is ended that tries mutations itself.
MOST_WAIT = 600


def judged(use, refusal, good, name, tally):
    """Call `use`, count it as `good` or refused, and say how many CPU seconds it took.

    Args:
        use: reads a mutation.
        refusal: the class of errors that refuse it; they have to say why in one line.
        good: what the tally calls a mutation that is not refused.
        name: of the mutation.
        tally: counts by name.

    Raises:
        AssertionError: another error, a refusal of no line or of several, too many seconds, too much memory.
    """
    before, begun = memory(), time.process_time()
    try:
        use()
        tally[good] += 1
    except refusal as error:
        tally["refused"] += 1
        if not str(error).strip() or "\n" in str(error):
            raise AssertionError(f"{name}: says {str(error)!r}") from error
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    seconds, taken = time.process_time() - begun, memory() - before
    if seconds > MOST_SECONDS or taken > MOST_BYTES:
        raise AssertionError(f"{name}: {seconds:.1f} s, {taken:,} bytes of memory")
    return seconds


def memory():
    """The most bytes that this process has taken so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def wanted(about, mutations):
    """The options of a fuzzer: number of mutations, seed, minutes and the time of the clock at which they are over."""
    options = argparse.ArgumentParser(description=about.partition("\n")[0])
    options.add_argument("--mutations", type=int, default=mutations)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, help="end then, whatever the number")
    said = options.parse_args()
    said.begun = time.monotonic()
    said.until = None if said.minutes is None else said.begun + 60 * said.minutes
    return said
