"""Building the graphs of an embedded collection, in a process of its own.

    python -m shared.vectors.edge_optimizing FOLDER PARENT

The engine lets no other thread of its process run while it builds, which takes minutes for a large
collection. The caller has closed the collection before, and opens it again afterwards.
"""

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from shared.errors import UnavailableError

PR_SET_PDEATHSIG = 1


async def optimize_apart(folder: Path) -> None:
    """Optimise the closed collection in a folder. Cancelling kills the process.

    Raises UnavailableError where it fails.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(folder), str(os.getpid())),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        cause = said.decode(errors="replace").strip().splitlines()[-1:]
        raise UnavailableError(f"the graphs of {folder} were not built: {' '.join(cause)}")


def main(folder: str, parent: str) -> None:
    _end_with(int(parent))
    import qdrant_edge

    engine = qdrant_edge.EdgeShard.load(folder)
    engine.optimize()
    engine.flush()
    engine.close()


def _end_with(parent: int) -> None:
    """The kernel has to see to it: no thread of ours could, while the engine builds."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that wanted this is gone")


if __name__ == "__main__":
    main(*sys.argv[1:])
