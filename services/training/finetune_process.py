"""One of the processes that fine-tune a ranker; `torchrun` and `accelerate launch` start N of them.

    python -m services.training.finetune_process JOB
    torchrun --nproc_per_node 8 -m services.training.finetune_process JOB

JOB is a file that `FinetuneJob.read` understands. The main process writes a JSON line for each step
to the standard output; the options are for `finetune_together`, which starts the processes itself.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from services.training.finetune_job import FinetuneJob, finetune
from shared.errors import MmesidError
from shared.modeling.progress import OnProgress, Progress
from shared.modeling.training_processes import TrainingProcesses
from shared.tether import end_with


def main() -> None:
    parser = argparse.ArgumentParser(prog="services.training.finetune_process", description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--progress", type=Path, help="a file for the lines about the steps")
    parser.add_argument("--problem", type=Path, help="a file for what the job cannot be done for")
    parser.add_argument("--parent", type=int, help="the process that this one does not outlive")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with(arguments.parent)
    try:
        job = FinetuneJob.read(arguments.job)
        processes = TrainingProcesses.launched(job.ranker.device)
        if arguments.progress is None:
            finetune(job, _writer(sys.stdout), processes)
        else:
            with arguments.progress.open("a") as lines:
                finetune(job, _writer(lines), processes)
    except MmesidError as error:
        if arguments.problem is not None:
            unfinished = arguments.problem.with_suffix(f".{os.getpid()}.part")
            unfinished.write_text(json.dumps(error.problem()))
            unfinished.replace(arguments.problem)
        raise
    processes.leave()


def _writer(lines: TextIO) -> OnProgress:
    def write(progress: Progress) -> None:
        print(json.dumps(asdict(progress)), file=lines, flush=True)

    return write


if __name__ == "__main__":
    main()
