"""How much memory this process may use: what is asked of it is refused before the system refuses it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["memory_limit"]

#: Where Linux's control groups say a container's limit, of version 2 and 1.
GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit() -> int | None:
    """Bytes of memory of this machine, of its container, or of this process' own limit, the least; None if unknown.

    >>> memory_limit() is None or memory_limit() > 1 << 20
    True
    """
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for group in GROUPS:
        with contextlib.suppress(ValueError, OSError):
            found.append(int(Path(group).read_text()))
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    return min((n for n in found if n > 0), default=None)
