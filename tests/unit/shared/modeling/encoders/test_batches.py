"""Batches of inputs by length."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.modeling.encoders.batches import encode_by_length, encode_in_chunks, length_batches


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_each_input_is_in_one_batch_and_padding_counts_against_the_limit(lengths, max_tokens):
    batches = list(length_batches(lengths, max_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= max_tokens or len(batch) == 1


def test_vectors_come_back_in_the_order_of_the_inputs():
    lengths = [3, 9, 1, 9, 4]
    vectors = encode_by_length(
        lengths,
        lambda batch: torch.tensor([[lengths[index], index] for index in batch]),
        dimension=2,
        max_tokens=10,
    )
    assert vectors.tolist() == [[3, 0], [9, 1], [1, 2], [9, 3], [4, 4]]


def test_chunks_are_of_at_most_the_size_asked_for():
    sizes = []

    def encode(chunk):
        sizes.append(len(chunk))
        return chunk[:, :, 0, 0]

    pixels = [torch.full((3, 2, 2), float(index)) for index in range(7)]
    vectors = encode_in_chunks(pixels, encode, dimension=3, size=3)
    assert sizes == [3, 3, 1]
    assert vectors[:, 0].tolist() == list(range(7))
