"""One cell of a table, a method with a seed: train it, evaluate it, keep what came out."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.ingredients import TRAINING_VERSION, Ingredients, Timed
from experiments.method import Method
from experiments.methods.letter import train_letter
from experiments.methods.motor import MotorConfig, train_motor
from experiments.methods.tiger import train_tiger
from shared.errors import InvalidInputError
from shared.modeling.analysis import INPUT, Analysis, analyse, code_use
from shared.modeling.evaluation import Scorer, evaluate, popularity_scorer
from shared.modeling.item_encoder import random_code_embeddings
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress
from shared.modeling.quantizer import Quantizer
from shared.modeling.quantizer_config import MMRQVAEConfig, quantizer_config
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec import SASRec
from shared.modeling.spectrum import spectrum_of
from shared.overriding import overridden

RESULT_FILE = "result.json"
RANKS_FILE = "ranks.npz"
TABLE_STD = 0.02

# What of the settings a model depends on, where it is not all: other changes leave its cells as
# they are.
SETTINGS_OF: Mapping[str, Sequence[str]] = {
    "popularity": (),
    "sasrec": ("encoders", "collaborative"),
    "motor": ("encoders", "collaborative", "quantizer"),
    "ranker": ("encoders", "collaborative", "quantizer", "base", "ranker"),
}


@dataclass(frozen=True)
class Cell:
    """result: the figures as JSON has them. ranks: [U] ranks of the users' test targets, with the
    history masked, the users in the same order for every method."""

    method: Method
    seed: int
    result: Mapping[str, Any]
    ranks: NDArray[np.float64]


@dataclass(frozen=True)
class _Trained:
    """sequence_weight: of SASRec's scores beside an LLM's. analysis: as far as the model has input
    embeddings, target embeddings or semantic IDs."""

    score: Scorer
    seconds: Mapping[str, float]
    trained_share: float | None = None
    sequence_weight: float | None = None
    analysis: Analysis = field(default_factory=Analysis)


def compute_cell(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> Cell:
    """A cell that was finished before, with the same settings and data, is read and not computed.

    Raises InvalidInputError when the data has none of the method's modalities.
    """
    fingerprint = _fingerprint(method, seed, ingredients)
    folder = ingredients.work / "cells" / f"{_slug(method.name)}-{seed}-{fingerprint}"
    if not (folder / RESULT_FILE).is_file():
        trained = _train(method, seed, ingredients, on_progress)
        _write(folder, method, seed, trained, ingredients)
    with np.load(folder / RANKS_FILE) as arrays:
        ranks = arrays["masked"]
    return Cell(method, seed, json.loads((folder / RESULT_FILE).read_text()), ranks)


def present(method: Method, ingredients: Ingredients) -> tuple[Modality, ...]:
    """Those of the method's modalities that the data has; E_c it always has."""
    available = {Modality.COLLABORATIVE, *ingredients.content.embeddings}
    return tuple(modality for modality in method.modalities if modality in available)


def _train(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> _Trained:
    if method.model == "popularity":
        return _Trained(popularity_scorer(ingredients.frequency), {})
    if method.model == "sasrec":
        model = ingredients.sasrec(method.collaborative, seed, on_progress)
        spectrum = spectrum_of(model.thing.collaborative_embeddings())
        seconds, analysis = {"train": model.seconds}, Analysis({INPUT: spectrum})
        return _Trained(model.thing.score, seconds, 1.0, analysis=analysis)
    if method.model == "motor":
        return _motor(method, seed, ingredients, on_progress)
    if method.model in ("tiger", "letter"):
        return _generative(method, seed, ingredients, on_progress)
    return _ranker(method, seed, ingredients, on_progress)


def _motor(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> _Trained:
    embeddings = _embeddings(method, seed, ingredients, on_progress)
    kept = ingredients.quantizer(embeddings, method.quantizer, seed, on_progress)
    codes = kept.thing.codes(embeddings)
    tables = {j: kept.thing.code_embeddings(j) for j in embeddings}
    # Trained as the collaborative model is, so that the two rows differ by the items alone.
    collaborative = asdict(replace(ingredients.settings.collaborative, seed=seed, loss="full"))
    started = time.monotonic()
    model = train_motor(
        ingredients.split,
        codes,
        tables,
        MotorConfig(**collaborative),
        on_progress,
        device=ingredients.device,
    )
    seconds = {"quantize": kept.seconds, "train": time.monotonic() - started}
    spectra = {INPUT: spectrum_of(model.item_embeddings())}
    analysis = Analysis(spectra, code_use(codes, tables))
    return _Trained(model.score, seconds, 1.0, analysis=analysis)


def _generative(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> _Trained:
    """TIGER; LETTER is one that generates semantic IDs of another quantizer."""
    embeddings = _embeddings(method, seed, ingredients, on_progress)
    if method.model == "letter":
        kept = _letter_quantizer(method, seed, embeddings, ingredients, on_progress)
    else:
        kept = ingredients.quantizer(embeddings, method.quantizer, seed, on_progress)
    codes = kept.thing.codes(embeddings)
    tables = {j: kept.thing.code_embeddings(j) for j in embeddings}
    config = replace(ingredients.settings.tiger, seed=seed)
    started = time.monotonic()
    model = train_tiger(ingredients.split, codes, config, on_progress, device=ingredients.device)
    seconds = {"quantize": kept.seconds, "train": time.monotonic() - started}
    analysis = Analysis(codes=code_use(codes, tables))
    return _Trained(model.score, seconds, 1.0, analysis=analysis)


def _letter_quantizer(
    method: Method,
    seed: int,
    embeddings: Mapping[Modality, Tensor],
    ingredients: Ingredients,
    on_progress: OnProgress,
) -> Timed[Quantizer]:
    regulariser = ingredients.embeddings(
        (Modality.COLLABORATIVE,), method.collaborative, seed, on_progress
    )
    settings = ingredients.settings
    config = quantizer_config(settings.quantizer, method.quantizer, "quantizer")
    assert isinstance(config, MMRQVAEConfig)
    started = time.monotonic()
    quantizer = train_letter(
        embeddings[Modality.TEXT],
        regulariser[Modality.COLLABORATIVE],
        replace(config, seed=seed),
        settings.letter,
        on_progress,
        device=ingredients.device,
    ).cpu()
    return Timed(quantizer, time.monotonic() - started)


def _embeddings(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> dict[Modality, Tensor]:
    embeddings = ingredients.embeddings(
        present(method, ingredients), method.collaborative, seed, on_progress
    )
    if not embeddings:
        raise InvalidInputError.of("data", f"has none of the modalities of {method.name}")
    return embeddings


def _ranker(
    method: Method, seed: int, ingredients: Ingredients, on_progress: OnProgress
) -> _Trained:
    embeddings = _embeddings(method, seed, ingredients, on_progress)
    seconds: dict[str, float] = {}
    settings = ingredients.settings
    items = ingredients.number_of_items
    if method.codes in ("quantized", "random"):
        kept = ingredients.quantizer(embeddings, method.quantizer, seed, on_progress)
        seconds["quantize"] = kept.seconds
        codes = kept.thing.codes(embeddings)
        tables = {j: kept.thing.code_embeddings(j) for j in embeddings}
        if method.codes == "random":
            tables = random_code_embeddings(tables, seed=seed)
    else:
        codes, tables = _without_codes(
            embeddings, items, settings.quantizer.dimension, method.codes == "table", seed
        )
    config: RankerConfig = overridden(settings.ranker, method.ranker, "ranker")
    started = time.monotonic()
    ranker = train_ranker(
        ingredients.split,
        items,
        embeddings,
        codes,
        tables,
        settings.base,
        replace(config, seed=seed, device=ingredients.device),
        on_progress,
        form=method.input,
        fused=method.fused,
        sequence=_sequence(config, method, seed, ingredients, on_progress),
    )
    seconds["train"] = time.monotonic() - started
    split = ingredients.split
    analysis = analyse(
        ranker.item_encoder,
        ranker.fusion_head,
        tables,
        split.validation_histories(),
        split.validation_target,
    )
    if method.codes == "table":  # a code an item is no semantic ID
        analysis = replace(analysis, codes={})
    part = ranker.sequence_part
    return _Trained(
        ranker.scorer(),
        seconds,
        ranker.trainable_share(),
        sequence_weight=None if part is None else part.weight,
        analysis=analysis,
    )


def _sequence(
    config: RankerConfig,
    method: Method,
    seed: int,
    ingredients: Ingredients,
    on_progress: OnProgress,
) -> SASRec | None:
    if not config.sequence_weights:
        return None
    return ingredients.sasrec(method.sequence, seed, on_progress).thing


def _without_codes(
    embeddings: Mapping[Modality, Tensor], items: int, dimension: int, table: bool, seed: int
) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    """No levels; or, for a table, one level with a random code embedding an item."""
    levels, size = (1, items) if table else (0, 1)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.arange(items).unsqueeze(1)[:, :levels]
    return (
        dict.fromkeys(embeddings, codes),
        {
            j: torch.randn(levels, size, dimension, generator=generator) * TABLE_STD
            for j in embeddings
        },
    )


def _write(
    folder: Path, method: Method, seed: int, trained: _Trained, ingredients: Ingredients
) -> None:
    split = ingredients.split
    started = time.monotonic()
    validation = evaluate(trained.score, split.validation_histories(), split.validation_target)
    test = evaluate(
        trained.score,
        split.test_histories(),
        split.test_target,
        frequency=ingredients.frequency,
    )
    used = present(method, ingredients)
    result = {
        "method": method.name,
        "seed": seed,
        "data": ingredients.catalogue.name,
        "modalities": [modality.value for modality in used],
        "device": ingredients.device,
        "missing": [j.value for j in method.modalities if j not in used],
        "validation": validation.as_dict(),
        "test": test.as_dict(),
        "seconds": {**trained.seconds, "evaluate": time.monotonic() - started},
        "trained_share": trained.trained_share,
        "sequence_weight": trained.sequence_weight,
        **trained.analysis.as_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / RANKS_FILE,
        users=test.users,
        masked=test.masked_ranks.numpy(),
        unmasked=test.unmasked_ranks.numpy(),
    )
    # Last, and in one step: its presence means that the cell is finished.
    unfinished = folder / f"{RESULT_FILE}.unfinished"
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    unfinished.replace(folder / RESULT_FILE)


def _fingerprint(method: Method, seed: int, ingredients: Ingredients) -> str:
    settings = ingredients.settings.as_dict()
    used = {name: settings[name] for name in SETTINGS_OF.get(method.model, settings)}
    document = [TRAINING_VERSION, asdict(method), seed, used, ingredients.data_fingerprint]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).lower()
