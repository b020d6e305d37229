from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from benchmarks.ranking_parts.backbone import Backbone
from benchmarks.ranking_parts.made_up_bundle import write_made_up_bundle
from benchmarks.ranking_parts.shapes import shape_of, with_checkpoint
from shared.errors import InvalidInputError


def test_a_random_checkpoint_is_written_and_used_in_its_dtype(tmp_path):
    small = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    shape = with_checkpoint(replace(shape_of("llama3-8b"), config=small), tmp_path / "checkpoint")
    made = write_made_up_bundle(tmp_path / "bundle", shape, 70)
    backbone = Backbone.open(made.bundle, torch.device("cpu"))
    assert backbone.decoder.norm.weight.dtype == backbone.inputs.dtype == torch.bfloat16
    assert backbone.inputs.shape == (70, 32)


def test_the_big_shape_is_llama_3_8b():
    config = shape_of("llama3-8b").config
    per_layer = 2 * config.hidden_size**2 * (1 + config.num_key_value_heads / 32)
    per_layer += 3 * config.hidden_size * config.intermediate_size
    embeddings = 2 * config.vocab_size * config.hidden_size
    assert config.num_hidden_layers * per_layer + embeddings == pytest.approx(8.03e9, rel=1e-3)


def test_an_unknown_shape_is_named():
    with pytest.raises(InvalidInputError, match="huge"):
        shape_of("huge")
