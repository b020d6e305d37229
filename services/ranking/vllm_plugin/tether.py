"""vLLM's process ends with the service that started it, however that ended."""

import os
import signal
import threading
import time

LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Kill this process once its parent is gone: nobody would ever ask it again."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
