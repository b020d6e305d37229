import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from shared.errors import InvalidInputError, UnavailableError
from shared.modeling.base_model import load_base, load_checkpoint, write_tiny_llama
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama
from shared.modeling.prompt import PromptTemplate

SMALL = TinyLlama(hidden_size=16, intermediate_size=24, layers=2, heads=2, seed=4)


def test_a_tiny_base_has_the_size_asked_for_and_its_seed_decides_its_weights():
    first = load_base(BaseSource(tiny=SMALL)).model
    again = load_base(BaseSource(tiny=SMALL)).model
    other = load_base(BaseSource(tiny=TinyLlama(16, 24, 2, 2, seed=5))).model
    assert (first.config.hidden_size, first.config.num_hidden_layers) == (16, 2)
    weight = first.model.layers[0].mlp.up_proj.weight
    assert torch.equal(weight, again.model.layers[0].mlp.up_proj.weight)
    assert not torch.equal(weight, other.model.layers[0].mlp.up_proj.weight)


def test_a_tiny_base_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_base(BaseSource(tiny=SMALL))
    assert torch.equal(torch.rand(3), expected)


def test_the_tiny_tokenizer_knows_every_word_of_the_prompt():
    base = load_base(BaseSource(tiny=SMALL))
    template = PromptTemplate.from_tokenizer(base.tokenizer, vocabulary_size=len(base.tokenizer))
    assert base.tokenizer.unk_token_id not in template.prefix
    assert template.suffix == (base.tokenizer.convert_tokens_to_ids("<|assistant|>"),)


def test_a_checkpoint_folder_is_loaded_in_the_dtype_asked_for(tmp_path):
    write_tiny_llama(tmp_path, SMALL)
    source = BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path), dtype="bfloat16")
    base = load_base(source)
    assert base.model.dtype == torch.bfloat16
    assert base.tokenizer.chat_template


def test_checkpoints_loaded_at_the_same_time_are_all_whole(tmp_path):
    write_tiny_llama(tmp_path, SMALL)
    expected = load_checkpoint(str(tmp_path)).model.state_dict()
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load_checkpoint, [str(tmp_path)] * 40))
    for base in loaded:
        weights = base.model.state_dict()
        assert {name: tensor.device.type for name, tensor in weights.items()} == dict.fromkeys(
            expected, "cpu"
        )
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(UnavailableError, match=tmp_path.name):
        load_checkpoint(str(tmp_path))


def test_a_hub_id_out_of_reach_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="nobody/nothing"):
        load_checkpoint("nobody/nothing")


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InvalidInputError, match="gpt2"):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"kind": BaseKind.CHECKPOINT}, "base.name"), ({"dtype": "int8"}, "base.dtype")],
)
def test_an_incomplete_source_names_its_field(settings, field):
    with pytest.raises(InvalidInputError, match=field):
        BaseSource(**settings)


def test_a_source_survives_its_document():
    source = BaseSource(tiny=SMALL, dtype="float16")
    assert BaseSource.from_dict(json.loads(json.dumps(source.as_dict()))) == source


def test_what_a_tiny_base_says_at_first_depends_on_what_it_read():
    """Not so with small random weights everywhere: there it is the last token's own embedding."""
    decoder = load_base(BaseSource(tiny=TinyLlama())).model.model.eval()
    tokens = torch.randn(2, 5, decoder.config.hidden_size)
    tokens[1, 4] = tokens[0, 4]
    with torch.inference_mode():
        one, other = decoder(inputs_embeds=tokens).last_hidden_state[:, 4]
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.9
