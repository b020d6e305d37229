"""A process that ends with the one that started it, however that ended."""

import os
import signal
import threading
import time

LOOK_EVERY_S = 0.5


def end_with(parent: int) -> None:
    """Kill this process once its parent, the process with this id, is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
