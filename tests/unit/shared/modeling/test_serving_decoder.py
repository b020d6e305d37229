"""The decoder that spares what serving can: against transformers' own forward pass."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaModel

from shared.modeling.packed_linear import pack_linears
from shared.modeling.prompt import PromptTemplate
from shared.modeling.serving_decoder import ServingDecoder

ITEMS, WORDS, DIMENSION = 9, 7, 24
PROMPT = PromptTemplate(prefix=(1, 2, 3), suffix=(4, 5), vocabulary_size=WORDS, max_history=6)
SHAPES = {
    "as many key heads as query heads": {},
    "fewer key heads": {"num_key_value_heads": 1},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "heads of another width": {"head_dim": 10},
    "one layer": {"num_hidden_layers": 1},
    "stretched positions": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
}


def decoder_of(**changes):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=DIMENSION,
        intermediate_size=40,
        **{"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, **changes},
    )
    decoder = LlamaModel(config).eval().requires_grad_(False)
    for parameter in decoder.parameters():  # biases, too, and norms other than one
        parameter.add_(0.3 * torch.randn_like(parameter))
    return decoder


def expected_states(decoder, histories, table):
    """One prompt at a time, every token of it, through transformers."""
    words = decoder.embed_tokens.weight
    every = torch.cat([words, table.to(words.dtype)])
    return torch.stack(
        [
            decoder(inputs_embeds=every[torch.tensor(PROMPT.token_ids(own))][None], use_cache=False)
            .last_hidden_state[0, -1]
            .to(table.dtype)
            for own in histories
        ]
    )


@pytest.fixture(scope="module")
def table():
    return torch.randn(ITEMS, DIMENSION, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=SHAPES)
def decoder(request):
    return decoder_of(**SHAPES[request.param])


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_the_states_are_those_of_each_prompt_alone(decoder, table, lengths, seed):
    random = np.random.default_rng(seed)
    histories = [random.integers(ITEMS, size=length) for length in lengths]
    states = ServingDecoder(decoder, PROMPT).states(histories, table)
    expected = expected_states(decoder, histories, table)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_a_call_changes_nothing_for_the_next(decoder, table):
    serving = ServingDecoder(decoder, PROMPT)
    histories = [np.array([1, 2, 3]), np.array([4])]
    first = serving.states(histories, table)
    serving.states([np.array([5, 6])], table)
    assert torch.equal(serving.states(histories, table), first)


def test_weights_in_half_precision_give_states_in_the_tables(table):
    decoder, histories = decoder_of().to(torch.bfloat16), [np.array([1, 2, 3]), np.array([4])]
    states = ServingDecoder(decoder, PROMPT).states(histories, table)
    assert states.dtype == table.dtype
    expected = expected_states(decoder, histories, table)
    torch.testing.assert_close(states, expected, rtol=0.1, atol=0.1)


@settings(max_examples=15, deadline=None)
@given(
    visits=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=4),
        min_size=2,
        max_size=5,
    ),
    cache_bytes=st.sampled_from([2**20, 20_000]),
)
def test_users_who_come_back_get_the_states_of_their_whole_history(
    decoder, table, visits, cache_bytes
):
    """Users come back with more items or as many, in any company; their histories may outgrow."""
    random = np.random.default_rng(0)
    whole = random.integers(ITEMS, size=(4, 50))
    lengths = [0] * len(whole)
    serving = ServingDecoder(decoder, PROMPT, cache_bytes=cache_bytes)
    for visit in visits:
        histories = []
        for user, more in visit:
            lengths[user] += more
            histories.append(whole[user, : lengths[user]])
        states = serving.states(histories, table)
        expected = expected_states(decoder, histories, table)
        torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_known_items_are_not_computed_again(table):
    decoder = decoder_of()
    seen = []
    decoder.layers[0].input_layernorm.register_forward_pre_hook(
        lambda _, arguments: seen.append(len(arguments[0]))
    )
    serving = ServingDecoder(decoder, PROMPT, cache_bytes=2**20)
    seen.clear()
    serving.states([np.array([1, 2, 3])], table)
    serving.states([np.array([1, 2, 3, 4])], table)
    serving.states([np.array([1, 2, 3, 4])], table)
    assert seen == [3 + 2, 1 + 2, 2]


def test_after_an_item_changed_its_users_are_computed_anew(table):
    decoder, history = decoder_of(), [np.array([1, 2, 3])]
    serving = ServingDecoder(decoder, PROMPT, cache_bytes=2**20)
    serving.states(history, table)
    changed = table.clone()
    changed[2] += 1
    serving.forget_histories()
    expected = expected_states(decoder, history, changed)
    torch.testing.assert_close(serving.states(history, changed), expected, rtol=1e-4, atol=1e-5)


def test_packed_layers_give_the_same_states(table):
    decoder = decoder_of(attention_bias=True)
    histories = [np.array([1, 2, 3]), np.array([4])]
    expected = expected_states(decoder, histories, table)
    pack_linears(decoder)
    states = ServingDecoder(decoder, PROMPT).states(histories, table)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
