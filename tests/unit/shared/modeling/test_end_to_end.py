"""Sequences laid end to end, and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.modeling.end_to_end import EndToEnd

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(lengths=LENGTHS)
def test_each_sequence_gets_its_own_row_with_zeros_on_the_right(lengths):
    tokens = torch.arange(1, sum(lengths) + 1)
    square = EndToEnd(lengths, CPU).squared(tokens)
    assert square.shape == (len(lengths), max(lengths))
    for row, own in zip(square, tokens.split(lengths), strict=True):
        assert row.tolist() == own.tolist() + [0] * (max(lengths) - len(own))


@given(lengths=LENGTHS)
def test_the_way_back_gives_the_tokens(lengths):
    tokens = torch.randn(sum(lengths), 2, 3)
    layout = EndToEnd(lengths, CPU)
    assert torch.equal(layout.unsquared(layout.squared(tokens)), tokens)


@pytest.mark.parametrize("lengths", [[2, 1, 3], [2, 2, 2], [1]])
def test_positions_and_ends(lengths):
    layout = EndToEnd(lengths, CPU)
    assert layout.positions.tolist() == [place for own in lengths for place in range(own)]
    assert layout.ends.tolist() == [sum(lengths[: place + 1]) - 1 for place in range(len(lengths))]


def test_each_token_gets_its_sequences_value():
    assert EndToEnd([2, 1], CPU).each(torch.tensor([7, 8])).tolist() == [7, 7, 8]
