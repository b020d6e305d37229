"""Fine-tuning in several processes of this machine, one a GPU, watched by the one that starts them.

The processes say in files how far they are and why they cannot go on. They do not outlive the one
that watches them: it kills them when the run must stop, and they end by themselves when it is gone.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from services.training.finetune_job import FinetuneJob
from shared.errors import MmesidError, from_problem
from shared.modeling.progress import OnProgress, Progress

LOOK_EVERY_S = 0.2


def finetune_together(
    job: FinetuneJob,
    number: int,
    report: OnProgress,
    *,
    check: Callable[[], None],
    threads: int | None = None,
) -> None:
    """`finetune` in `number` processes: returns when the ranker is written.

    check: called all the while; what it raises, or `report`, ends the processes and passes through.
    threads: of each process on the CPU; by default the cores are shared out.

    Raises what `train_ranker` does, and MmesidError when a process ended for another reason.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        job_file, progress_file, problem_file = (
            folder / file for file in ("job.json", "progress.jsonl", "problem.json")
        )
        job.write(job_file)
        progress_file.touch()
        command = [
            *(sys.executable, "-m", "services.training.finetune_process", str(job_file)),
            *("--progress", str(progress_file), "--problem", str(problem_file)),
            *("--parent", str(os.getpid())),
        ]
        processes = _start(command, number, threads)
        try:
            with progress_file.open() as lines:
                _watch(processes, lines, problem_file, report, check)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def _start(
    command: Sequence[str], number: int, threads: int | None
) -> list[subprocess.Popen[bytes]]:
    if threads is None:
        threads = max(1, (os.cpu_count() or 1) // number)
    together = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "OMP_NUM_THREADS": str(threads),
    }
    return [
        subprocess.Popen(command, env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(number)
    ]


def _watch(
    processes: Sequence[subprocess.Popen[bytes]],
    lines: TextIO,
    problem_file: Path,
    report: OnProgress,
    check: Callable[[], None],
) -> None:
    while True:
        # Asked first: what a process wrote before its end is then read below.
        codes = [process.poll() for process in processes]
        for progress in _new(lines):
            report(progress)
        check()
        if problem_file.exists():
            raise from_problem(json.loads(problem_file.read_text()))
        failed = [code for code in codes if code]
        if failed:
            raise MmesidError(f"a training process ended with {failed[0]}: its log says more")
        if None not in codes:
            return
        time.sleep(LOOK_EVERY_S)


def _new(lines: TextIO) -> Iterator[Progress]:
    """What was written since the last time; a line that is half written is left for the next."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return
        yield Progress(**json.loads(line))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
