import numpy as np
import pytest
import torch

from shared.errors import UnavailableError
from shared.modeling.base_model import load_base
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import Ranker, load_for_serving, load_item_side
from shared.modeling.ranker_config import LoraSpec

ITEMS, DIMENSION = 12, 16
TINY = TinyLlama(hidden_size=DIMENSION, intermediate_size=24, layers=2, heads=2)
FILES = ("item_encoder.safetensors", "fusion_head.safetensors")


@pytest.fixture
def ranker(tmp_path):
    torch.manual_seed(0)
    source = BaseSource(tiny=TINY)
    base = load_base(source)
    encoder = ItemEncoder(
        {m: torch.randn(ITEMS, 5) for m in Modality},
        {m: torch.randint(3, (ITEMS, 2)) for m in Modality},
        {m: torch.randn(2, 3, DIMENSION) for m in Modality},
    )
    prompt = PromptTemplate.from_tokenizer(
        base.tokenizer, vocabulary_size=base.model.config.vocab_size, max_history=5
    )
    head = FusionHead(torch.arange(ITEMS), encoder.modalities, DIMENSION, temperature=0.5)
    ranker = Ranker(base, encoder, head, prompt, source, lora=LoraSpec(), train_base=True).eval()
    ranker.save(tmp_path)
    return ranker


def test_it_is_that_of_the_saved_ranker(ranker, tmp_path):
    encoder, head = load_item_side(tmp_path)
    assert encoder.number_of_items == ITEMS
    assert torch.equal(encoder.table(), ranker.input_table())
    assert torch.equal(head.fused_matrix(encoder), ranker.fused_matrix())
    for ours, saved in ((encoder, ranker.item_encoder), (head, ranker.fusion_head)):
        state = ours.state_dict()
        assert state.keys() == saved.state_dict().keys()
        assert all(torch.equal(state[name], t) for name, t in saved.state_dict().items())
        assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_what_is_written_to_its_tables_leaves_the_files_as_they_are(ranker, tmp_path):
    before = [(tmp_path / name).read_bytes() for name in FILES]
    encoder, head = load_item_side(tmp_path)
    with torch.no_grad():
        encoder.embeddings(Modality.TEXT).zero_()
        head.target_table.zero_()
    assert [(tmp_path / name).read_bytes() for name in FILES] == before
    assert torch.equal(load_item_side(tmp_path)[1].target_table, ranker.fusion_head.target_table)


def test_a_ranker_for_serving_scores_with_it(ranker, tmp_path):
    histories = [np.array([3, 1, 4]), np.array([5])]
    served = load_for_serving(tmp_path)
    torch.testing.assert_close(served.score(histories), ranker.score(histories))


def test_a_missing_file_is_named(ranker, tmp_path):
    (tmp_path / FILES[0]).unlink()
    with pytest.raises(UnavailableError, match="item_encoder"):
        load_item_side(tmp_path)
    assert ranker.item_encoder is not None
