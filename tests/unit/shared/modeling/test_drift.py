import pytest
import torch

from shared.modeling.drift import mean_cosine, share_of_kept_codes


def test_an_item_is_kept_when_all_its_codes_are():
    before = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])
    now = torch.tensor([[0, 1], [2, 9], [9, 9], [6, 7]])
    assert share_of_kept_codes(before, now) == 0.5
    assert share_of_kept_codes(before[:0], now[:0]) == 1.0


def test_the_cosine_is_the_mean_over_the_items_whatever_their_lengths():
    before = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    now = torch.tensor([[5.0, 0.0], [3.0, 0.0]])
    assert mean_cosine(before, now) == pytest.approx(0.5)
