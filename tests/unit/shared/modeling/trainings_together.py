"""A program of two processes for test_training_processes.py: one small ranker, trained each way.

    trainings_together.py FOLDER train     alone, with replicated and with sharded weights; then
                                           once more, sharded: the first process dies in the middle
    trainings_together.py FOLDER resume    goes on from the checkpoint that this one left

Every process writes the weights that it ends with.
"""

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.modality import Modality
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sequences import leave_one_out
from shared.modeling.training_processes import TrainingProcesses
from shared.tether import end_with

ITEMS, DIMENSION, USERS = 20, 16, 25
SOURCE = BaseSource(tiny=TinyLlama(hidden_size=DIMENSION, intermediate_size=24, layers=2, heads=2))
# Batches of 8, 8, 8 and 1 windows, each dealt out in four parts.
CONFIG = RankerConfig(
    epochs=2, batch_size=8, max_history=12, warm_up_steps=2, checkpoint_every=3, alignment=0.1,
    learning_rate_base=0.003, learning_rate_new=0.003,
)  # fmt: skip
PARTS = 4
DIES_AFTER = 6


def main(folder: Path, act: str) -> None:
    end_with(os.getppid())
    processes = TrainingProcesses.launched("cpu")
    together = replace(CONFIG, gradient_accumulation=PARTS // processes.number)
    sharded = replace(together, sharded=True, gradient_checkpointing=True)
    checkpoints = folder / "checkpoints"

    def run(name, config, **options):
        reports = []
        options = {"on_progress": reports.append, **options}
        ranker = train_ranker(split(), ITEMS, *inputs(), SOURCE, config, **options)
        result = {"weights": dict(ranker.named_parameters()), "reports": len(reports)}
        torch.save(result, folder / f"{name}.{processes.index}.pt")

    if act == "train":
        run("alone", replace(CONFIG, gradient_accumulation=PARTS))
        run("replicated", together, processes=processes)
        run("sharded", sharded, processes=processes)
        run(
            "killed", sharded, processes=processes, checkpoint_folder=checkpoints,
            on_progress=dying_after(DIES_AFTER),
        )  # fmt: skip
    else:
        left = shutil.copytree(checkpoints, folder / f"left.{processes.index}")
        run("resumed", sharded, processes=processes, checkpoint_folder=checkpoints)
        run("resumed-alone", replace(CONFIG, gradient_accumulation=PARTS), checkpoint_folder=left)
    processes.leave()


def split():
    generator = np.random.default_rng(0)
    starts, lengths = generator.integers(ITEMS, size=USERS), generator.integers(4, 9, size=USERS)
    return leave_one_out(
        [(start + np.arange(length)) % ITEMS for start, length in zip(starts, lengths, strict=True)]
    )


def inputs():
    generator = torch.Generator().manual_seed(0)
    modalities = (Modality.COLLABORATIVE, Modality.TEXT)
    return (
        {m: torch.randn(ITEMS, 6, generator=generator) for m in modalities},
        {m: torch.randint(4, (ITEMS, 2), generator=generator) for m in modalities},
        {m: torch.randn(2, 4, DIMENSION, generator=generator) for m in modalities},
    )


def dying_after(reports):
    left = iter(range(reports))

    def report(_):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return report


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
