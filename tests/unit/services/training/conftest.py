"""A fine-tuning small enough to be done in processes of its own."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from services.training.finetune_job import FOLDERS, FinetuneJob
from services.training.stages.quantize import CODES_FILE
from services.training.stages.snapshot import Snapshot, SnapshotItem, save_snapshot
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.item_tables import ItemTables, save_item_tables
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.rq_kmeans import train_rq_kmeans

ITEMS, USERS, DIMENSION = 12, 9, 16


@pytest.fixture
def finetune_job(tmp_path) -> FinetuneJob:
    """What the stages before it would have written, of 9 users that walk round a circle."""
    folders = {name: tmp_path / name for name in FOLDERS}
    for folder in folders.values():
        folder.mkdir()
    items = [SnapshotItem(f"item-{n}", 1, f"hash-{n}", f"Item {n}", None) for n in range(ITEMS)]
    walks = [(start + np.arange(4 + start % 3)) % ITEMS for start in range(USERS)]
    save_snapshot(Snapshot(items, walks, 0, 0, 0, 0), folders["snapshot"])
    table = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32)
    imputed = np.zeros(ITEMS, dtype=np.bool_)
    save_item_tables(ItemTables({Modality.TEXT: table}, {Modality.TEXT: imputed}), folders["embed"])
    save_item_tables(ItemTables({}, {}), folders["collaborative"])
    embeddings = {Modality.TEXT: torch.from_numpy(table)}
    quantizer = train_rq_kmeans(
        embeddings, RQKMeansConfig(dimension=DIMENSION, levels=2, codebook_size=4)
    )
    quantizer.save(folders["quantize"])
    codes = {j.value: rows for j, rows in quantizer.codes(embeddings).items()}
    save_file(codes, folders["quantize"] / CODES_FILE)
    sizes = TinyLlama(hidden_size=DIMENSION, intermediate_size=16, layers=1, heads=1)
    return FinetuneJob(
        **folders,
        base=BaseSource(tiny=sizes),
        ranker=RankerConfig(epochs=2, batch_size=8, warm_up_steps=2, gradient_accumulation=2),
    )
