"""A data set as the models take it: item rows, user sequences, E_t and E_v."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.published_split import read_published_split
from experiments.settings import DataSettings, EncoderSettings
from shared.data.dataset import Dataset
from shared.data.filters import k_core, with_rating_of_at_least
from shared.data.opening import open_dataset
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.sequences import build_sequences
from shared.errors import InvalidInputError
from shared.images import ImageLimits, decode_image
from shared.modeling.encoders.item_text import item_text
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder
from shared.modeling.item_tables import ItemTables, impute_content
from shared.modeling.modality import Modality

IMAGES_AT_ONCE = 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class Catalogue:
    """items: row -> record. sequences: a user's item rows, oldest first."""

    name: str
    items: Sequence[ItemRecord]
    sequences: Sequence[NDArray[np.int64]]


@dataclass(frozen=True)
class Interactions:
    """The interactions that count, in the order of the file, and the items: all of them with
    core 1, else those in the k-core."""

    name: str
    items: Sequence[ItemRecord]
    interactions: Sequence[InteractionRecord]


def read_catalogue(path: Path, settings: DataSettings, say: Say) -> Catalogue:
    """Items in the order of the file, sequences in that of time.

    Raises InvalidInputError when no usable interaction is left.
    """
    if settings.sequences is not None:
        return _published(path, settings, say)
    read = read_interactions(path, settings, say)
    row_of = {item.item_id: row for row, item in enumerate(read.items)}
    sequences = [
        np.array([row_of[item_id] for item_id in ids], dtype=np.int64)
        for ids in build_sequences(read.interactions).values()
    ]
    return Catalogue(read.name, read.items, sequences)


def read_interactions(path: Path, settings: DataSettings, say: Say) -> Interactions:
    """By `minimum_rating` and `core` of the settings.

    Rows that cannot be read, and interactions with unknown items, are left out and counted aloud.

    Raises InvalidInputError when no usable interaction is left.
    """
    dataset = open_dataset(path)
    items, bad_items = _read_items(dataset)
    known = {item.item_id for item in items}
    interactions = [row for row in dataset.interactions() if isinstance(row, InteractionRecord)]
    usable = [row for row in interactions if row.item_id in known]
    if settings.minimum_rating is not None:
        usable = list(with_rating_of_at_least(usable, settings.minimum_rating))
    if settings.core > 1:
        usable = k_core(usable, settings.core)
        kept = {row.item_id for row in usable}
        items = [item for item in items if item.item_id in kept]
    if not usable:
        raise InvalidInputError.of("data", f"{path} holds no usable interaction")
    users = len({row.user_id for row in usable})
    say(
        f"{dataset.name}: {users} users, {len(items)} items, {len(usable)} interactions"
        f" ({bad_items} items unreadable, {len(interactions) - len(usable)} interactions left out)"
    )
    return Interactions(dataset.name, items, usable)


def encode_content(catalogue: Catalogue, settings: EncoderSettings, say: Say) -> ItemTables:
    """E_t and E_v; rows without text or picture are estimated as in the training service."""
    tables: dict[Modality, NDArray[np.float32]] = {}
    missing: dict[Modality, NDArray[np.bool_]] = {}
    if settings.text is not None:
        tables[Modality.TEXT], missing[Modality.TEXT] = _texts(catalogue, settings.text)
    if settings.image is not None and any(item.has_image for item in catalogue.items):
        tables[Modality.VISUAL], missing[Modality.VISUAL] = _images(catalogue, settings.image)
    for modality, mask in missing.items():
        say(f"{modality.value}: {tables[modality].shape[1]}-d, {mask.sum()} items without")
    return impute_content(ItemTables(tables, missing))


def _published(path: Path, settings: DataSettings, say: Say) -> Catalogue:
    """The items that a published split names, in the order of the data set, and its sequences."""
    assert settings.sequences is not None
    dataset = open_dataset(path)
    items, _ = _read_items(dataset)
    item_map = None if settings.item_map is None else path / settings.item_map
    users = read_published_split(path / settings.sequences, item_map)
    named = {item_id for ids in users for item_id in ids}
    kept = [item for item in items if item.item_id in named]
    row_of = {item.item_id: row for row, item in enumerate(kept)}
    unknown = sorted(named - set(row_of))
    if unknown or not users:
        raise InvalidInputError.of(
            "data.sequences", f"{settings.sequences} names no item, or unknown ones: {unknown[:5]}"
        )
    sequences = [np.array([row_of[item_id] for item_id in ids], dtype=np.int64) for ids in users]
    interactions = sum(map(len, users))
    say(f"{dataset.name}: {len(users)} users, {len(kept)} items, {interactions} interactions")
    return Catalogue(dataset.name, kept, sequences)


def _read_items(dataset: Dataset) -> tuple[list[ItemRecord], int]:
    items: list[ItemRecord] = []
    unreadable = 0
    for record in dataset.items():
        if isinstance(record, ItemRecord):
            items.append(record)
        elif isinstance(record, RowError) and record.skipped:
            unreadable += 1
    return items, unreadable


def _texts(catalogue: Catalogue, source: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    texts = [
        item_text(item.title, item.description, item.categories, item.brand, item.attributes)
        for item in catalogue.items
    ]
    missing = np.array([not text for text in texts])
    return load_text_encoder(source).encode(texts).numpy(), missing


def _images(catalogue: Catalogue, source: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    encoder = load_image_encoder(source)
    table = np.zeros((len(catalogue.items), encoder.dimension), dtype=np.float32)
    rows = [row for row, item in enumerate(catalogue.items) if item.has_image]
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        some = rows[start : start + IMAGES_AT_ONCE]
        pictures = [
            decode_image(catalogue.items[row].read_image() or b"", limits=ImageLimits())
            for row in some
        ]
        table[some] = encoder.encode(pictures).numpy()
    missing = np.ones(len(table), dtype=np.bool_)
    missing[rows] = False
    return table, missing
