"""The suite's slowest tests by CPU seconds, which a busy machine stretches far less than seconds on the wall.

`make slowest` runs the suite with this file as a pytest plugin (`-p tests.slowest`) and prints the list
(docs/suite.md).
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest

SHOWN = 50
LAST = pytest.StashKey[float]()


def spent() -> float:
    """CPU seconds of this process, of the children that it has waited for, and of theirs that have ended."""
    stem = sys.modules.get("stem")
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both) + (stem.Stem.seconds if stem else 0.0)


def pytest_addoption(parser):
    parser.addoption("--seconds-to", metavar="FILE", help="write the CPU seconds of every test to a file of JSON lines")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Seconds(config.getoption("--seconds-to")), "seconds")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.stash[LAST] = spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report, now = (yield), spent()
    report.cpu, item.stash[LAST] = now - item.stash[LAST], now
    return report


class Seconds:
    """CPU seconds of every test: set-up of what it shares with others, call, teardown."""

    def __init__(self, to):
        self.to = to and Path(to)
        self.parts, self.outcome = {}, {}

    def pytest_runtest_logreport(self, report):
        parts = self.parts.setdefault(report.nodeid, {})
        parts[report.when] = report.cpu
        if self.to and report.when == "teardown":
            with self.to.open("a") as file:
                file.write(json.dumps({"test": report.nodeid, **parts}) + "\n")

    def pytest_terminal_summary(self, terminalreporter):
        total = {test: sum(parts.values()) for test, parts in self.parts.items()}
        say = terminalreporter.write_line
        terminalreporter.section(f"slowest {SHOWN} of {len(total):,} tests; CPU seconds, all {sum(total.values()):.0f}")
        for test in sorted(total, key=total.get, reverse=True)[:SHOWN]:
            setup = self.parts[test].get("setup", 0)
            say(f"{total[test]:8.2f}  {test}" + (f"  ({setup:.2f} to set up)" if setup > 0.1 * total[test] else ""))
