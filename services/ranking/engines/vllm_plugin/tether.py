"""vLLM's processes end with the one that started them, however that ended."""

import multiprocessing

from shared.tether import end_with


def end_with_parent() -> None:
    """Kill this process once the one that started it is gone: nobody would ever ask it again.

    In a process that was not started by another Python process nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with(parent.pid)
