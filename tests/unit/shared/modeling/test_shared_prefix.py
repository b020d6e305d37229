"""Shared-prefix training equals training every prefix as its own sequence, in float64."""

import pytest
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from shared.modeling.shared_prefix import positions, shared_prefix_states, visible


@pytest.fixture
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaForCausalLM(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    # Llama's own norm computes in float32 whatever the model's dtype.
    for layer in model.model.layers:
        layer.input_layernorm = _float64_norm(layer.input_layernorm)
        layer.post_attention_layernorm = _float64_norm(layer.post_attention_layernorm)
    model.model.norm = _float64_norm(model.model.norm)
    return model


def _float64_norm(norm):
    exact = torch.nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon).double()
    exact.weight = norm.weight
    return exact


def _inputs(lengths, response):
    torch.manual_seed(1)
    prefix = torch.randn(3, 16, dtype=torch.float64)
    suffix = torch.randn(response, 16, dtype=torch.float64)
    items = torch.randn(len(lengths), max(lengths), 16, dtype=torch.float64, requires_grad=True)
    return prefix, items, suffix


def _one_by_one(model, prefix, items, suffix, lengths):
    """The last hidden state of every prefix, each run through the decoder as a batch of one."""
    states = []
    for row, length in enumerate(lengths):
        for end in range(1, length + 1):
            prompt = torch.cat([prefix, items[row, :end], suffix]).unsqueeze(0)
            states.append(
                model.model(inputs_embeds=prompt, use_cache=False).last_hidden_state[0, -1]
            )
    return torch.stack(states)


@pytest.mark.parametrize("response", [1, 3])
def test_hidden_states_loss_and_gradients_equal_those_of_every_prefix_alone(llama, response):
    lengths = [5, 2, 4]
    prefix, items, suffix = _inputs(lengths, response)
    head = torch.randn(16, 7, dtype=torch.float64)
    targets = torch.randint(7, (sum(lengths),))
    valid = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)

    shared = shared_prefix_states(llama.model, prefix, items, suffix)[valid]
    shared_loss = F.cross_entropy(shared @ head, targets)
    shared_gradients = torch.autograd.grad(
        shared_loss, [items, *llama.model.layers.parameters(), *llama.model.norm.parameters()]
    )

    alone = _one_by_one(llama, prefix, items, suffix, lengths)
    alone_loss = F.cross_entropy(alone @ head, targets)
    alone_gradients = torch.autograd.grad(
        alone_loss, [items, *llama.model.layers.parameters(), *llama.model.norm.parameters()]
    )

    torch.testing.assert_close(shared, alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(shared_loss, alone_loss, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(shared_gradients, alone_gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


def test_the_mask_serves_eager_attention_too(llama):
    prefix, items, suffix = _inputs([4, 2], 2)
    fused = shared_prefix_states(llama.model, prefix, items, suffix)
    llama.set_attn_implementation("eager")
    # Eager attention takes its softmax in float32.
    torch.testing.assert_close(
        fused, shared_prefix_states(llama.model, prefix, items, suffix), rtol=1e-4, atol=1e-5
    )


def test_what_pads_a_short_sequence_changes_nothing(llama):
    prefix, items, suffix = _inputs([4, 2], 2)
    other = items.detach().clone()
    other[1, 2:] = 50.0
    first = shared_prefix_states(llama.model, prefix, items, suffix)
    second = shared_prefix_states(llama.model, prefix, other, suffix)
    torch.testing.assert_close(first[1, :2], second[1, :2], rtol=0, atol=0)


def test_a_block_sees_its_own_prefix_and_itself_and_nobody_sees_a_block():
    mask = visible(prefix=1, number=2, response=2).int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 1, 1],
    ]
    assert positions(prefix=1, number=2, response=2).tolist() == [[0, 1, 2, 2, 3, 3, 4]]
