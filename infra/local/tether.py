"""Tie a command to the life of its parent, then become it.

    python tether.py PARENT_PID DEATH_SIGNAL NICE -- COMMAND...

The kernel sends DEATH_SIGNAL to the command when the process PARENT_PID is gone, however it ended.
The process id does not change. Run as a file, without the package: it must start in no time, and
must work under a user that can read little else.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tethered(
    command: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    nice: int = 0,
    prefix: Sequence[str] = (),
) -> list[str]:
    """The command line that runs `command` tied to the process that calls this.

    `prefix` is a command that becomes another one, such as `setpriv ... --`; it runs first because
    a change of user would undo the tie.
    """
    return [
        *prefix,
        *(sys.executable, "-I", "-S", str(Path(__file__).resolve())),
        *(str(os.getpid()), str(int(death_signal)), str(nice), "--"),
        *command,
    ]


def main(arguments: Sequence[str]) -> None:
    parent, death_signal, nice = (int(value) for value in arguments[:3])
    command = list(arguments[4:])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the tie was made
        sys.exit(1)
    if nice:
        os.nice(nice)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
