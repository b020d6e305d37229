"""Training SASRec: ours beside RecBole's, on one split, in one run, with one thread each.

    python -m venv FOLDER
    FOLDER/bin/pip install torch==2.13.0 recbole==1.2.1 "numpy<2" "pandas<3"
    python -m benchmarks.sasrec_training --data FOLDER --recbole-python FOLDER/bin/python

RecBole wants older libraries than ours, so it has an environment of its own and runs as a process
that trains an epoch when asked: ours and its take turns, and whatever else the machine does hits
both. Both train with cross-entropy over the whole catalogue, on the same targets (every item of a
user's training part but the first), with the same width, depth, dropout and learning rate; the
architecture is each one's own (RecBole normalises after a block, ours before it).

A batch is not the same thing. Ours is so many sequences, and every item of them is a target.
RecBole makes a sample of every target, with its own history padded to 50 items, and a batch is so
many of these. It is measured with as many samples as ours has sequences, and with as many targets
a step as ours has on average. --share and --peer-share shorten the turns of both: ours trains on
that share of the users, RecBole on that share of its samples, over the same catalogue.

RecBole is helped where its results stay the same: its process keeps the memory that it frees, and
torch's anomaly detection, which an import of its switches on for every model, is switched off.

--quality trains both to early stopping by validation nDCG@10, with the same patience, and scores
both by our evaluation, with the history left out of the ranking and with it in. RecBole's own
evaluation never leaves out the history of a sequential model (its `FullSortEvalDataLoader` hands
none on), so its figures are those with it in.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.ranking_parts.machine import machine_line
from benchmarks.sasrec_training_parts.clock import Epoch, alternate
from benchmarks.sasrec_training_parts.fitting import fit_ours, fit_recbole
from benchmarks.sasrec_training_parts.recbole_files import recbole_settings, write_recbole_files
from benchmarks.sasrec_training_parts.recbole_peer import RecBolePeer, open_recbole
from benchmarks.sasrec_training_parts.report import quality_table, speed_table
from experiments.catalogue import Catalogue, read_catalogue
from experiments.settings import read_settings
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import Split, leave_one_out

SETTINGS = Path("experiments/beauty.yaml")


def targets_a_step(split: Split, batch_size: int) -> int:
    """The mean of ours: sequences of a batch times targets of a sequence."""
    return round(batch_size * _targets(split) / sum(len(items) > 1 for items in split.train))


def some_users(split: Split, share: float, seed: int) -> Split:
    """That share of the users, drawn by the seed."""
    number = len(split.train)
    chosen = np.random.default_rng(seed).permutation(number)[: max(1, round(share * number))]
    return Split(
        [split.train[user] for user in chosen],
        split.validation_target[chosen],
        split.test_target[chosen],
    )


def open_peers(
    stack: ExitStack,
    python: Path,
    catalogue: Catalogue,
    config: SASRecConfig,
    batch_sizes: Mapping[str, int],
) -> dict[str, RecBolePeer]:
    """A process of RecBole for each size of batch."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    peers: dict[str, RecBolePeer] = {}
    for name, batch_size in batch_sizes.items():
        own = folder / str(batch_size)
        write_recbole_files(own, catalogue.sequences)
        settings = recbole_settings(own, config, batch_size)
        peers[name] = stack.enter_context(open_recbole(python, settings, own))
    return peers


def main(
    data: Annotated[Path, typer.Option(help="A folder of data.")],
    recbole_python: Annotated[Path, typer.Option(help="The Python that has RecBole.")],
    settings: Annotated[Path, typer.Option(help="A YAML file of experiments/.")] = SETTINGS,
    turns: Annotated[int, typer.Option(min=0, help="Of each, for the times; 0: no times.")] = 5,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Of our epoch, a turn.")] = 1.0,
    peer_share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Of RecBole's epoch, a turn.")
    ] = 1.0,
    quality: Annotated[bool, typer.Option(help="Train both to early stopping.")] = False,
    peer_targets: Annotated[
        int | None,
        typer.Option(min=1, help="RecBole's targets a step for --quality; ours' mean by default."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Print seconds an epoch of both, their ratio, and how well both rank."""
    torch.set_num_threads(1)
    chosen = read_settings(settings)
    catalogue = read_catalogue(data, chosen.data, print)
    config = replace(chosen.collaborative, loss="full", seed=seed)
    split = leave_one_out(catalogue.sequences)
    items = len(catalogue.items)
    same_targets = targets_a_step(split, config.batch_size)
    batch_sizes = {
        f"RecBole, {config.batch_size} targets a step": config.batch_size,
        f"RecBole, {same_targets} targets a step": same_targets,
    }
    print(f"\n{machine_line(1)}\n", flush=True)
    if turns:
        with ExitStack() as stack:
            peers = open_peers(stack, recbole_python, catalogue, config, batch_sizes)
            trainings = {name: partial(peer.epoch, peer_share) for name, peer in peers.items()}
            part = some_users(split, share, seed)
            found = alternate(part, items, config, turns, trainings, _say)
            print("\n".join(speed_table(found, _targets(split))), flush=True)
    if quality:
        models = [fit_ours("ours", split, items, config)]
        print("\n", *quality_table(models), sep="\n", flush=True)
        with ExitStack() as stack:
            size = peer_targets or same_targets
            name = f"RecBole, {size} targets a step"
            peers = open_peers(stack, recbole_python, catalogue, config, {name: size})
            out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "factors.npz"
            models.append(fit_recbole(name, split, peers[name], out))
        print("\n", *quality_table(models), sep="\n", flush=True)


def _targets(split: Split) -> int:
    return sum(max(0, len(items) - 1) for items in split.train)


def _say(name: str, epoch: Epoch) -> None:
    """Not part of the report: what is known if the run ends early."""
    print(f"{name}: {epoch}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
