"""Memory of a process and all its descendants, shared pages counted once."""

import os
from pathlib import Path


def family_pss_bytes(pid: int | None = None) -> int:
    """The proportional set size of a process (this one by default) and its descendants.

    Raises OSError where the kernel does not tell (smaps_rollup is Linux's, since 4.14).
    """
    own = os.getpid() if pid is None else pid
    return _pss_bytes(own) + sum(_pss_or_gone(child) for child in descendants(own))


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue  # the thread ended since
        for child in children:
            found += [child, *descendants(child)]
    return found


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/{pid}/smaps_rollup has no line Pss")


def _pss_or_gone(pid: int) -> int:
    try:
        return _pss_bytes(pid)
    except OSError:
        return 0
