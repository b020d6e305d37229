import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
CHILD = """
import os, time
from shared.tether import end_with
end_with({parent})
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {child!r}.format(parent=os.getpid())])
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_ends_with_its_parent_even_if_that_was_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=CHILD)], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.send_signal(signal.SIGKILL)
    # The child inherited the pipe: it ends where the child does.
    assert parent.stdout.read() == b""
    parent.wait()
    while is_running(child):  # until whoever adopted it has seen that it ended
        time.sleep(0.01)
