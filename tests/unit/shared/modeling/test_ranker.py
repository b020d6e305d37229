import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.errors import UnavailableError
from shared.modeling.base_model import load_base, write_tiny_llama
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import EQUATION_16, ItemEncoder, ItemForm
from shared.modeling.modality import Modality
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import Ranker, load_for_serving
from shared.modeling.ranker_config import LoraSpec
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart

ITEMS, DIMENSION = 12, 16
TINY = TinyLlama(hidden_size=DIMENSION, intermediate_size=24, layers=2, heads=2)
HISTORIES = [np.array([3, 1, 4]), np.array([5]), np.array([9, 2, 6, 5, 3, 5, 8]), np.array([], int)]


def _ranker(source, *, train_base, modalities=tuple(Modality), form=EQUATION_16, fused=True):
    torch.manual_seed(0)
    encoder = ItemEncoder(
        {m: torch.randn(ITEMS, 5) for m in modalities},
        {m: torch.randint(3, (ITEMS, 2)) for m in modalities},
        {m: torch.randn(2, 3, DIMENSION) for m in modalities},
        form,
    ).initialise()
    base = load_base(source)
    prompt = PromptTemplate.from_tokenizer(
        base.tokenizer, vocabulary_size=base.model.config.vocab_size, max_history=5
    )
    modalities = encoder.modalities if fused else ()
    head = FusionHead(torch.arange(ITEMS), modalities, DIMENSION, temperature=0.5)
    ranker = Ranker(
        base, encoder, head, prompt, source, lora=LoraSpec(), train_base=train_base
    ).eval()
    with torch.no_grad():
        for parameter in [*ranker.base_parameters(), *ranker.new_parameters()]:
            parameter.add_(0.05 * torch.randn_like(parameter))
    return ranker


@pytest.fixture(params=["tiny", "checkpoint"])
def ranker(request, tmp_path):
    """With the base's own weights trained, and with LoRA alone over a checkpoint in a folder."""
    if request.param == "tiny":
        return _ranker(BaseSource(tiny=TINY), train_base=True)
    write_tiny_llama(tmp_path / "checkpoint", TINY)
    source = BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path / "checkpoint"))
    return _ranker(source, train_base=False)


def test_a_history_in_a_batch_scores_as_it_does_alone(ranker):
    together = ranker.score(HISTORIES)
    assert together.shape == (len(HISTORIES), ITEMS)
    for row, history in enumerate(HISTORIES):
        torch.testing.assert_close(together[row], ranker.score([history])[0], rtol=1e-4, atol=1e-5)


def test_the_state_is_that_of_the_prompts_last_token(ranker):
    """Against a table of vocabulary and items in one, which is how an engine looks ids up."""
    history = HISTORIES[2]
    ids = torch.tensor(ranker.prompt.token_ids(history))
    table = torch.cat([ranker.decoder.embed_tokens.weight, ranker.input_table()])
    states = ranker.decoder(inputs_embeds=table[ids].unsqueeze(0)).last_hidden_state
    torch.testing.assert_close(ranker.hidden_states([history])[0], states[0, -1])


def test_only_the_latest_items_count(ranker):
    long, short = np.array([7, 7, 1, 2, 3, 4, 5]), np.array([1, 2, 3, 4, 5])
    assert torch.equal(ranker.hidden_states([long]), ranker.hidden_states([short]))


def test_the_state_after_each_prefix_is_that_of_the_prefix_alone(ranker):
    rows = torch.tensor([[3, 1, 4, 1]])
    states = ranker.prefix_states(ranker.item_encoder(rows))
    alone = ranker.hidden_states([rows[0, :end].numpy() for end in range(1, 5)])
    torch.testing.assert_close(states[0], alone, rtol=1e-4, atol=1e-5)


def test_the_scorer_of_many_batches_gives_the_scores(ranker):
    expected = ranker.score(HISTORIES)
    torch.testing.assert_close(ranker.scorer()(HISTORIES), expected, rtol=1e-4, atol=1e-4)


def test_a_saved_ranker_scores_the_same_when_loaded(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker")
    assert torch.equal(loaded.hidden_states(HISTORIES), ranker.hidden_states(HISTORIES))
    assert torch.equal(loaded.score(HISTORIES), ranker.score(HISTORIES))
    assert [p.shape for p in loaded.base_parameters()] == [
        p.shape for p in ranker.base_parameters()
    ]
    assert loaded.prompt == ranker.prompt
    assert loaded.source == ranker.source


def test_the_adapter_for_serving_is_merged_and_scores_the_same(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    served = load_for_serving(tmp_path / "ranker")
    assert not any("lora" in name for name, _ in served.named_parameters())
    assert not any(parameter.requires_grad for parameter in served.parameters())
    torch.testing.assert_close(
        served.score(HISTORIES), ranker.score(HISTORIES), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("load", [Ranker.load, load_for_serving])
@pytest.mark.parametrize(
    "form", [ItemForm(coded=False), ItemForm(joined="sum"), ItemForm(projected=False)]
)
def test_a_ranker_of_another_form_and_without_fusion_scores_the_same_when_loaded(
    load, form, tmp_path
):
    ranker = _ranker(BaseSource(tiny=TINY), train_base=True, form=form, fused=False)
    ranker.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.fusion_head.part_names == ("target",)
    torch.testing.assert_close(loaded.score(HISTORIES), ranker.score(HISTORIES))


def test_a_ranker_saved_before_there_were_forms_is_of_equation_16(ranker, tmp_path):
    ranker.save(tmp_path)
    document = json.loads((tmp_path / "ranker.json").read_text())
    del document["form"], document["fused"]
    (tmp_path / "ranker.json").write_text(json.dumps(document))
    loaded = Ranker.load(tmp_path)
    torch.testing.assert_close(loaded.score(HISTORIES), ranker.score(HISTORIES))


def test_a_merged_ranker_cannot_be_saved(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    with pytest.raises(UnavailableError, match="adapter"):
        load_for_serving(tmp_path / "ranker").save(tmp_path / "again")


def test_the_adapter_is_in_peft_format_and_the_base_only_where_it_is_needed(ranker, tmp_path):
    folder = tmp_path / "ranker"
    ranker.save(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (8, 16, 0.05)
    assert sorted(config["target_modules"]) == ["down_proj", "gate_proj", "up_proj"]
    layer = "base_model.model.model.layers.0.mlp.up_proj"
    assert f"{layer}.lora_A.weight" in load_file(folder / "adapter_model.safetensors")
    assert (folder / "base").is_dir() == ranker.train_base
    assert config["base_model_name_or_path"] == (
        "base" if ranker.train_base else ranker.source.name
    )


def test_without_a_modality_everything_still_fits(tmp_path):
    ranker = _ranker(
        BaseSource(tiny=TINY), train_base=True, modalities=(Modality.COLLABORATIVE, Modality.TEXT)
    )
    ranker.save(tmp_path)
    assert torch.equal(Ranker.load(tmp_path).score(HISTORIES), ranker.score(HISTORIES))


def test_a_new_item_is_encoded_like_one_of_the_catalogue(ranker):
    modalities = ranker.item_encoder.modalities
    embeddings = {m: ranker.item_encoder.embeddings(m)[:2] for m in modalities}
    codes = {m: ranker.item_encoder.codes(m)[:2] for m in modalities}
    torch.testing.assert_close(ranker.encode_items(embeddings, codes), ranker.input_table()[:2])


def test_with_lora_alone_a_small_share_of_the_base_is_trained(tmp_path):
    write_tiny_llama(tmp_path, TINY)
    source = BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path))
    ranker = _ranker(source, train_base=False)
    adapter = 2 * 3 * 8 * (16 + 24)
    total = sum(p.numel() for p in ranker.language_model.parameters())
    assert ranker.trainable_share() == adapter / total


def test_a_missing_file_is_named(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    (tmp_path / "ranker" / "fusion_head.safetensors").unlink()
    with pytest.raises(UnavailableError, match="fusion_head"):
        Ranker.load(tmp_path / "ranker")
    with pytest.raises(UnavailableError, match=r"ranker\.json"):
        Ranker.load(tmp_path)


def test_the_ranker_takes_a_base_in_half_precision(tmp_path):
    write_tiny_llama(tmp_path, TINY)
    source = BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path), dtype="bfloat16")
    scores = _ranker(source, train_base=False).score(HISTORIES)
    assert scores.dtype == torch.float32
    assert bool(torch.isfinite(scores).all())


def test_the_tokenizer_goes_with_the_ranker(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    loaded = load_for_serving(tmp_path / "ranker")
    template = PromptTemplate.from_tokenizer(
        loaded.tokenizer, vocabulary_size=ranker.prompt.vocabulary_size, max_history=5
    )
    assert template == loaded.prompt


@pytest.fixture
def sasrec():
    torch.manual_seed(1)
    return SASRec(ITEMS, SASRecConfig(dimension=6, feedforward=8)).eval()


def test_sasrecs_scores_are_added_to_the_llms(ranker, sasrec):
    alone, others = ranker.score(HISTORIES), sasrec.score(HISTORIES)
    ranker.sequence_part = SequencePart.of(sasrec, sasrec.collaborative_embeddings(), 0.5)
    torch.testing.assert_close(ranker.score(HISTORIES), alone + 0.5 * others)
    torch.testing.assert_close(ranker.scorer()(HISTORIES), alone + 0.5 * others)


def test_a_ranker_with_a_sequence_part_is_saved_with_it(ranker, sasrec, tmp_path):
    ranker.sequence_part = SequencePart.of(sasrec, sasrec.collaborative_embeddings(), 0.5)
    ranker.save(tmp_path / "ranker")
    for read in (Ranker.load, load_for_serving):
        loaded = read(tmp_path / "ranker")
        torch.testing.assert_close(loaded.score(HISTORIES), ranker.score(HISTORIES))
