from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
import torch

from services.training.configs import configs_of
from services.training.context import StageContext
from services.training.stages import collaborative, embed, quantize
from services.training.warm_start import Start, save_start
from services.training.work_folder import WorkFolder
from shared.artifacts.bundle import MANIFEST, bundle_path
from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import StageProgress, TrainingCreate
from shared.modeling.item_tables import ItemTables, save_item_tables
from shared.modeling.mm_rq_vae import MMRQVAE
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.rq_kmeans import RQKMeans, train_rq_kmeans
from shared.settings import ArtifactSettings, TrainingSettings

C, T = Modality.COLLABORATIVE, Modality.TEXT
ITEMS, HIDDEN = 40, 16


COLD = Start(
    parent=None,
    stages=dict.fromkeys(("collaborative", "sequence", "quantize", "finetune"), "cold"),
    reason="a test",
)
KEPT = COLD.model_copy(update={"parent": "b0", "stages": {**COLD.stages, "quantize": "kept"}})


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(ArtifactSettings(url=str(tmp_path / "store"), cache=tmp_path / "cache"))


@pytest.fixture
def start():
    return COLD


@pytest.fixture
def work(store, start):
    """A run whose stages before are done."""
    work = WorkFolder(store, "shop", uuid4())
    random = np.random.default_rng(0)
    tables = {
        j: random.normal(size=(ITEMS, size)).astype(np.float32) for j, size in ((C, 5), (T, 7))
    }
    for stage, j in ((embed.NAME, T), (collaborative.NAME, C)):
        imputed = {j: np.zeros(ITEMS, dtype=bool)}
        folder = work.begin(stage)
        save_item_tables(ItemTables({j: tables[j]}, imputed), folder)
        save_start(start, folder)
        work.complete(stage, StageProgress(stage=stage, done=1, total=1))
    return work


def context_of(work, store, quantizer, seen):
    request = TrainingCreate(
        quantizer=quantizer,
        ranker={"tiny": {"hidden_size": HIDDEN, "intermediate_size": 16, "layers": 1, "heads": 1}},
    )
    return StageContext(
        catalog_id="shop",
        run_id=uuid4(),
        version="b1",
        request=request,
        configs=configs_of(request, TrainingSettings(device="cpu")),
        resources=SimpleNamespace(store=store),
        lease=None,
        work=work,
        report=seen.append,
    )


@pytest.mark.parametrize(
    ("quantizer", "kind", "steps"),
    [
        ({"hidden": 8, "epochs": 3}, MMRQVAE, 3),
        ({"kind": "rq_kmeans", "levels": 3}, RQKMeans, 6),
    ],
)
async def test_items_get_the_codes_of_the_quantizer_that_was_asked_for(
    work, store, quantizer, kind, steps
):
    seen = []
    context = context_of(work, store, quantizer, seen)
    folder = work.begin(quantize.NAME)
    await quantize.run(context, folder)
    model = load_quantizer(folder)
    assert isinstance(model, kind)
    assert model.code_embeddings(T).shape == (model.levels, model.codebook_size, HIDDEN)
    codes = quantize.load_codes(folder)
    embeddings = collaborative.load_tables(work).embeddings
    for j in (C, T):
        again = model.codes({j: torch.from_numpy(embeddings[j])})[j]
        assert torch.equal(codes[j], again)
        assert codes[j].shape == (ITEMS, model.levels)
    assert [(step.stage, step.done, step.total) for step in seen] == [
        ("quantize", done, steps) for done in range(1, steps + 1)
    ]


@pytest.mark.parametrize("start", [KEPT])
async def test_a_tokenizer_that_is_kept_is_not_trained_and_gives_all_items_their_codes(work, store):
    other_items = {
        j: torch.randn(30, size, generator=torch.Generator().manual_seed(1))
        for j, size in ((C, 5), (T, 7))
    }
    former = train_rq_kmeans(other_items, RQKMeansConfig(dimension=HIDDEN, codebook_size=4))
    parent = store.writable_folder(bundle_path("shop", "b0"))
    former.save(parent / "tokenizer")
    (parent / MANIFEST).touch()

    seen = []
    folder = work.begin(quantize.NAME)
    await quantize.run(context_of(work, store, {"kind": "rq_kmeans"}, seen), folder)

    model = load_quantizer(folder)
    for j in (C, T):
        assert torch.equal(model.code_embeddings(j), former.code_embeddings(j))
    embeddings = collaborative.load_tables(work).tensors()
    codes = quantize.load_codes(folder)
    assert all(torch.equal(codes[j], rows) for j, rows in former.codes(embeddings).items())
    assert [(step.done, step.total) for step in seen] == [(1, 1)]
