"""One seed of an experiment: the stages of Sec. 4 by the training service's functions."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.settings import Settings
from shared.modeling.evaluation import Evaluation, Scorer, evaluate, popularity_scorer
from shared.modeling.item_encoder import random_code_embeddings
from shared.modeling.item_tables import ItemTables, impute_collaborative
from shared.modeling.mm_rq_vae import train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec import SASRec, train_sasrec
from shared.modeling.sequences import Split, item_frequency

MODELS = ("popularity", "SASRec", "mmesid")


@dataclass(frozen=True)
class SeedResult:
    """validation and test: model -> metrics. seconds: stage -> wall time."""

    validation: Mapping[str, Evaluation]
    test: Mapping[str, Evaluation]
    seconds: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "validation": {name: result.as_dict() for name, result in self.validation.items()},
            "test": {name: result.as_dict() for name, result in self.test.items()},
            "seconds": dict(self.seconds),
        }


def run_seed(
    split: Split,
    number_of_items: int,
    content: ItemTables,
    settings: Settings,
    on_progress: OnProgress = ignore_progress,
) -> SeedResult:
    """Collaborative -> quantize -> finetune -> evaluate, with the seed that the settings hold."""
    seconds: dict[str, float] = {}
    with _timed("collaborative", seconds):
        sasrec = train_sasrec(split, number_of_items, settings.collaborative, on_progress)
    embeddings = _embeddings(sasrec, item_frequency(split, number_of_items), content)
    with _timed("quantize", seconds):
        quantizer = train_mm_rq_vae(embeddings, settings.quantizer, on_progress)
    code_embeddings = {j: quantizer.code_embeddings(j) for j in quantizer.modalities}
    if settings.random_codes:
        code_embeddings = random_code_embeddings(code_embeddings, seed=settings.ranker.seed)
    with _timed("finetune", seconds):
        ranker = train_ranker(
            split,
            number_of_items,
            embeddings,
            quantizer.codes(embeddings),
            code_embeddings,
            settings.base,
            settings.ranker,
            on_progress,
        )
    with _timed("evaluate", seconds):
        scorers = _scorers(split, number_of_items, sasrec, ranker)
        validation = _validate(scorers, split)
        test = _test(scorers, split, number_of_items)
    return SeedResult(validation, test, seconds)


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


def _embeddings(
    sasrec: SASRec, frequency: NDArray[np.int64], content: ItemTables
) -> dict[Modality, torch.Tensor]:
    """E_c, with the rows of items nobody met estimated from their content, beside E_t and E_v."""
    collaborative = sasrec.collaborative_embeddings().numpy()
    if content.embeddings:
        collaborative = impute_collaborative(collaborative, frequency == 0, content)
    tables = {Modality.COLLABORATIVE: collaborative, **content.embeddings}
    return {modality: torch.from_numpy(table) for modality, table in tables.items()}


def _scorers(
    split: Split, number_of_items: int, sasrec: SASRec, ranker: Ranker
) -> dict[str, Scorer]:
    popularity = popularity_scorer(item_frequency(split, number_of_items))
    return dict(zip(MODELS, (popularity, sasrec.score, ranker.scorer()), strict=True))


def _validate(scorers: Mapping[str, Scorer], split: Split) -> dict[str, Evaluation]:
    return {
        name: evaluate(score, split.validation_histories(), split.validation_target)
        for name, score in scorers.items()
    }


def _test(
    scorers: Mapping[str, Scorer], split: Split, number_of_items: int
) -> dict[str, Evaluation]:
    frequency = item_frequency(split, number_of_items)
    return {
        name: evaluate(score, split.test_histories(), split.test_target, frequency=frequency)
        for name, score in scorers.items()
    }
