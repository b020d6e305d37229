"""What a process and its descendants have computed: it depends little on what else runs here."""

import os
from pathlib import Path

from benchmarks.ranking_parts.memory import descendants

TICKS = os.sysconf("SC_CLK_TCK")
# utime, stime, and those of children that have ended, in /proc/<pid>/stat after the name.
FIELDS = slice(11, 15)


def family_cpu_seconds() -> float:
    """Of this process and all below it, those that have ended too."""
    own = os.getpid()
    return sum(_cpu_seconds(pid) for pid in (own, *descendants(own)))


def _cpu_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[FIELDS]) / TICKS
