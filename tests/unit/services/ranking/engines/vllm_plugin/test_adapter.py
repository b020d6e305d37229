"""Merging LoRA while a checkpoint is read, against PEFT's own merge."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from services.ranking.engines.vllm_plugin.adapter import Adapter

CONFIG = LlamaConfig(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
)


@pytest.fixture
def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG)


@pytest.fixture
def checkpoint(base):
    return {name: tensor.clone() for name, tensor in base.state_dict().items()}


@pytest.fixture
def adapted(base, checkpoint, tmp_path):
    """The PEFT model, its adapter saved into `tmp_path`."""
    targets = ["gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    return model


def test_merged_weights_are_those_of_peft(adapted, checkpoint, tmp_path):
    merged = dict(Adapter.read(tmp_path).merge(checkpoint.items()))

    expected = adapted.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(merged[name], weight)
    changed = [name for name in merged if not torch.equal(merged[name], checkpoint[name])]
    assert len(changed) == 6


def test_weights_keep_their_dtype(adapted, checkpoint, tmp_path):
    half = ((name, tensor.bfloat16()) for name, tensor in checkpoint.items())

    assert {w.dtype for _, w in Adapter.read(tmp_path).merge(half)} == {torch.bfloat16}


def test_an_adapter_of_another_model_is_refused(adapted, checkpoint, tmp_path):
    one_layer = {name: w for name, w in checkpoint.items() if "layers.1." not in name}

    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.gate_proj"):
        dict(Adapter.read(tmp_path).merge(one_layer.items()))
