import numpy as np
import pytest
import torch

from benchmarks.ranking_parts.made_up_bundle import SMALL_PROFILE, widths_of
from shared.modeling.ranker import Ranker, load_for_serving


def test_it_is_what_the_ranker_makes_of_it(bundle):
    ranker = load_for_serving(bundle.ranker)
    catalogue = bundle.catalogue
    np.testing.assert_allclose(catalogue.input_table, ranker.input_table(), atol=1e-5)
    np.testing.assert_allclose(catalogue.fused, ranker.fused_matrix(), atol=1e-5)
    assert catalogue.frequency.min() > 0
    codes = bundle.sids()
    for modality in ranker.item_encoder.modalities:
        assert torch.equal(ranker.item_encoder.codes(modality), torch.tensor(codes[modality]))
        assert catalogue.embeddings[modality].shape[1] == SMALL_PROFILE[modality]


@torch.inference_mode()
def test_its_adapter_changes_the_model(bundle):
    ranker = Ranker.load(bundle.ranker)
    history = [np.array([1, 2, 3])]
    adapted = ranker.hidden_states(history)
    with ranker.language_model.disable_adapter():
        plain = ranker.hidden_states(history)
    assert not torch.allclose(adapted, plain, atol=1e-4)


def test_its_sizes_are_those_of_the_weights_and_tables(made_up):
    ranker = load_for_serving(made_up.bundle.ranker)
    parameters = {id(p): p for p in ranker.language_model.parameters()}.values()
    assert made_up.llm_bytes == sum(p.numel() * p.element_size() for p in parameters)
    assert made_up.table_bytes == made_up.bundle.catalogue.fused.nbytes


@pytest.mark.parametrize(("items", "floats"), [(12_086, 1728), (1_000_000, 224)])
def test_a_huge_catalogue_has_narrower_embeddings(items, floats):
    assert sum(widths_of(items).values()) == floats
