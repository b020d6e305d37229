"""Samples a second of the models that are trained, by the settings that a run has by default."""

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.ranking_parts.made_up_bundle import SMALL_PROFILE, popularity
from benchmarks.training_parts.clustered import clustered
from benchmarks.training_parts.rate import Rate
from services.training.configs import configs_of
from shared.contracts.admin import TrainingCreate
from shared.modeling.mm_rq_vae import train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress
from shared.modeling.quantizer import Quantizer
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec import train_sasrec
from shared.modeling.sequences import ItemRows, Split, leave_one_out
from shared.run_configs import RunConfigs
from shared.settings import TrainingSettings

EPOCHS = 2
FEWEST, MOST = 5, 20


def default_configs() -> RunConfigs:
    """On the CPU."""
    return configs_of(TrainingCreate(), TrainingSettings(device="cpu"))


def made_up_sequences(items: int, users: int) -> list[ItemRows]:
    """Of five to twenty items, drawn by a long-tailed popularity."""
    random = np.random.default_rng(0)
    lengths = random.integers(FEWEST, MOST + 1, size=users)
    drawn = random.choice(items, size=int(lengths.sum()), p=popularity(items)).astype(np.int64)
    return np.split(drawn, np.cumsum(lengths)[:-1])


def some_users(sequences: list[ItemRows], users: int) -> Split:
    """So many of them, drawn, as a training splits them."""
    chosen = np.random.default_rng(0).permutation(len(sequences))[:users]
    return leave_one_out([sequences[user] for user in chosen])


def measure_tokenizer(items: int, steps: int) -> list[Rate]:
    """MM-RQ-VAE: so many steps of training, then the semantic IDs of all items. A sample is an item
    with its three vectors."""
    config = default_configs().quantizer
    assert isinstance(config, MMRQVAEConfig)
    embeddings = clustered(items, SMALL_PROFILE)
    watch = _Stopwatch()
    epochs = -(-steps * config.batch_size // items) + 1
    model = train_mm_rq_vae(
        embeddings, replace(config, epochs=epochs, max_steps=steps + 1), watch.step
    )
    samples = round(steps * items / -(-items // config.batch_size))
    return [
        Rate("MM-RQ-VAE in training", "samples", samples, watch.seconds),
        _tokenizing(model, embeddings, items),
    ]


def _tokenizing(model: Quantizer, embeddings: dict[Modality, Tensor], items: int) -> Rate:
    started = time.perf_counter()
    model.codes(embeddings)
    return Rate("semantic IDs", "items", items, time.perf_counter() - started)


def measure_training(split: Split, items: int) -> list[Rate]:
    """The second of two epochs of each, without its validation. Every item of a user's training
    part but the first is a target."""
    configs = default_configs()
    targets = sum(max(0, len(train) - 1) for train in split.train)
    embeddings = clustered(items, SMALL_PROFILE)
    users = f"{len(split.train)} users"
    watch = _Stopwatch()
    sasrec = replace(configs.collaborative, start="random", epochs=EPOCHS, patience=EPOCHS)
    train_sasrec(split, items, sasrec, watch.step)
    rates = [Rate("SASRec", "targets", targets, watch.seconds, users)]
    quantizer = configs.quantizer
    generator = torch.Generator().manual_seed(0)
    levels, size = quantizer.levels, 256
    watch = _Stopwatch()
    train_ranker(
        split,
        items,
        embeddings,
        {j: torch.randint(size, (items, levels), generator=generator) for j in embeddings},
        {
            j: torch.randn(levels, size, quantizer.dimension, generator=generator)
            for j in embeddings
        },
        configs.base,
        replace(configs.ranker, epochs=EPOCHS, patience=EPOCHS, sequence_weights=()),
        watch.step,
    )
    return [*rates, Rate("ranker", "targets", targets, watch.seconds, users)]


class _Stopwatch:
    """seconds: from the first step, or from the last validation but one, to the last step."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._last = 0.0
        self._epoch = 0.0

    def step(self, progress: Progress) -> None:
        now = time.perf_counter()
        is_validation = any(name.endswith("ndcg@10") for name in progress.metrics)
        if self._begun is None:
            self._begun = now
        elif is_validation:
            self._epoch = self._last - self._begun
            self._begun = now
        self._last = now

    @property
    def seconds(self) -> float:
        assert self._begun is not None
        return self._epoch or self._last - self._begun
