"""Full trainings of ours and of RecBole's SASRec, and one evaluation of both."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.sasrec_training_parts.recbole_peer import RecBolePeer
from benchmarks.sasrec_training_parts.report import Quality
from shared.modeling.evaluation import Evaluation, Scorer, evaluate
from shared.modeling.progress import Progress
from shared.modeling.sasrec import train_sasrec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import ItemRows, Split


def fit_ours(name: str, split: Split, number_of_items: int, config: SASRecConfig) -> Quality:
    validations: list[float] = []

    def on_progress(progress: Progress) -> None:
        if "validation_ndcg@10" in progress.metrics:
            validations.append(progress.metrics["validation_ndcg@10"])

    started, computed = time.perf_counter(), time.process_time()
    model = train_sasrec(split, number_of_items, config, on_progress)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - computed
    found = _on_test(model.score, split)
    return Quality(
        name=name,
        epochs=len(validations),
        best_epoch=int(np.argmax(validations)) + 1,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        validation_ndcg=max(validations),
        masked=found.masked,
        unmasked=found.unmasked,
    )


def fit_recbole(name: str, split: Split, peer: RecBolePeer, out: Path) -> Quality:
    fitted = peer.fit(out)
    factors = np.load(out)
    score = scorer_of(
        split, torch.from_numpy(factors["states"]), torch.from_numpy(factors["table"])
    )
    found = _on_test(score, split)
    return Quality(name=name, masked=found.masked, unmasked=found.unmasked, **asdict(fitted))


def scorer_of(split: Split, states: Tensor, table: Tensor) -> Scorer:
    """Scores of test histories from a state a user: [U, D], [I, D] -> [B, U's rows] by history.

    Users with equal histories have equal states, so a history says which state is meant.
    """
    place: Mapping[bytes, int] = {
        history.tobytes(): user for user, history in enumerate(split.test_histories())
    }

    def score(histories: list[ItemRows]) -> Tensor:
        return states[[place[history.tobytes()] for history in histories]] @ table.T

    return score


def _on_test(score: Scorer, split: Split) -> Evaluation:
    return evaluate(score, split.test_histories(), split.test_target)
