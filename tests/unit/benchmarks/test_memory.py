import subprocess
import sys

from benchmarks.ranking_parts.memory import family_pss_bytes

HOLD = "data = b'x' * {size}; print(flush=True); input()"


def test_memory_of_children_and_grandchildren_counts():
    size = 64 * 2**20
    grandchild = HOLD.format(size=size)
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    before = family_pss_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        during = family_pss_bytes()
        process.stdin.write(b"\n")
    assert during - before >= size
    assert family_pss_bytes() - before < size / 2
