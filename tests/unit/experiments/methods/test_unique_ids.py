import pytest
import torch

from experiments.methods.unique_ids import unique_ids
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality

COLLABORATIVE, TEXT = Modality.COLLABORATIVE, Modality.TEXT


def test_different_codes_are_joined_in_the_order_of_the_modalities():
    codes = {
        TEXT: torch.tensor([[0, 1], [0, 2], [0, 1]]),
        COLLABORATIVE: torch.tensor([[5], [5], [6]]),
    }
    assert unique_ids(codes).tolist() == [[5, 0, 1], [5, 0, 2], [6, 0, 1]]


def test_items_that_share_all_codes_are_counted_by_one_code_more():
    codes = {TEXT: torch.tensor([[2, 1], [0, 3], [2, 1], [1, 1], [2, 1], [0, 3]])}
    assert unique_ids(codes).tolist() == [
        [2, 1, 0],
        [0, 3, 0],
        [2, 1, 1],
        [1, 1, 0],
        [2, 1, 2],
        [0, 3, 1],
    ]


def test_a_catalogue_of_one_id_is_only_counted():
    ids = unique_ids({TEXT: torch.zeros(300, 2, dtype=torch.int64)})
    assert ids[:, 2].tolist() == list(range(300))


@pytest.mark.parametrize(
    ("field", "codes"),
    [
        ("codes", {}),
        ("codes", {TEXT: torch.zeros(0, 2, dtype=torch.int64)}),
        ("codes", {TEXT: torch.tensor([[1]]), COLLABORATIVE: torch.tensor([[1], [2]])}),
        ("codes.text", {TEXT: torch.tensor([[1], [-1]])}),
        ("codes.text", {TEXT: torch.tensor([1, 2])}),
        ("codes.text", {TEXT: torch.zeros(3, 0, dtype=torch.int64)}),
    ],
)
def test_codes_that_make_no_id_are_named(field, codes):
    with pytest.raises(InvalidInputError) as caught:
        unique_ids(codes)
    assert caught.value.fields[0].field == field
