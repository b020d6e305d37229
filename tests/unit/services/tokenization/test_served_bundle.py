from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from services.tokenization.served_bundle import ServedBundle
from shared.artifacts.bundle import Catalogue
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import MMRQVAEConfig, RQKMeansConfig
from shared.modeling.quantizer_kinds import load_quantizer, train_quantizer

C, T = Modality.COLLABORATIVE, Modality.TEXT
DIMENSIONS = {C: 5, T: 7}
ITEMS = 40
CONFIGS = {
    "mm_rq_vae": MMRQVAEConfig(dimension=8, levels=3, codebook_size=4, hidden=8, epochs=2),
    "rq_kmeans": RQKMeansConfig(dimension=8, levels=3, codebook_size=4),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def bundle(request, tmp_path_factory):
    """What the service reads of a bundle, with a quantizer of either kind."""
    random = np.random.default_rng(0)
    embeddings = {
        j: random.normal(size=(ITEMS, size)).astype(np.float32) for j, size in DIMENSIONS.items()
    }
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    tensors = {j: torch.from_numpy(table) for j, table in embeddings.items()}
    train_quantizer(tensors, CONFIGS[request.param]).save(tokenizer)
    catalogue = Catalogue(
        item_ids=[f"item-{row}" for row in range(ITEMS)],
        item_versions=np.ones(ITEMS, dtype=np.int64),
        frequency=np.ones(ITEMS, dtype=np.int64),
        input_table=np.zeros((ITEMS, 8), dtype=np.float32),
        fused=np.zeros((ITEMS, 8), dtype=np.float32),
        embeddings=embeddings,
        imputed={j: np.zeros(ITEMS, dtype=bool) for j in DIMENSIONS},
    )
    return SimpleNamespace(
        tokenizer=tokenizer, catalogue=catalogue, manifest=SimpleNamespace(version="b1")
    )


@pytest.fixture
def served(bundle):
    return ServedBundle.open(bundle, index=None)


def test_estimates_lie_around_the_mean_of_the_items_that_have_a_vector(bundle):
    imputed = {**bundle.catalogue.imputed, C: np.arange(ITEMS) % 4 == 0}
    catalogue = replace(bundle.catalogue, imputed=imputed)
    opened = ServedBundle.open(
        SimpleNamespace(tokenizer=bundle.tokenizer, catalogue=catalogue, manifest=bundle.manifest),
        index=None,
    )
    tables = bundle.catalogue.embeddings
    np.testing.assert_allclose(opened.means[C], tables[C][~imputed[C]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(opened.means[T], tables[T].mean(axis=0), atol=1e-6)


async def test_items_get_the_codes_of_the_bundles_quantizer(served, bundle):
    tables = bundle.catalogue.embeddings
    items = [{j: tables[j][row] for j in DIMENSIONS} for row in range(ITEMS)]
    together = await served.codes(items)
    expected = load_quantizer(bundle.tokenizer).codes(
        {j: torch.from_numpy(table) for j, table in tables.items()}
    )
    for row, codes in enumerate(together):
        assert codes == {j: expected[j][row].tolist() for j in DIMENSIONS}
    assert await served.codes(items[7:8]) == [together[7]]
    assert await served.codes([]) == []


def test_vectors_are_of_the_bundles_dimensions(served):
    assert served.dimensions == DIMENSIONS
    own = served.own_vectors("items.0", "new", {T: [0.5] * 7})
    assert own[T].tolist() == [0.5] * 7
    with pytest.raises(InvalidInputError, match=r"^items\.0\.vectors\.text: has 6 dimensions"):
        served.own_vectors("items.0", "new", {T: [0.5] * 6})


@pytest.mark.parametrize("codes", [[0, 1], [0, 1, 4], [0, -1, 2]])
def test_codes_of_another_shape_are_named(served, codes):
    served.check_codes("items.0", {T: [0, 1, 3]})
    with pytest.raises(InvalidInputError, match=r"^items\.0\.codes\.text: must be 3 codes from 0"):
        served.check_codes("items.0", {T: codes})
