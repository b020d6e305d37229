import pytest
import torch

from shared.modeling.isometry import centred_isometry, rms_norm


def table(items=50, dimension=6):
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(items, dimension, generator=generator, dtype=torch.float64) + 5


def moved(rows, dimension, norm=2.0):
    weight, bias = centred_isometry(rows, dimension, norm, torch.Generator().manual_seed(1))
    return rows @ weight.T + bias


@pytest.mark.parametrize("dimension", [6, 10])
def test_distances_keep_their_ratios_where_there_is_room_for_all_directions(dimension):
    rows = table()
    ratio = torch.pdist(moved(rows, dimension)) / torch.pdist(rows)
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))


def test_what_comes_out_is_centred_and_has_the_norm_asked_for():
    rows = moved(table(), 10, norm=7.0)
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(10, dtype=torch.float64))
    assert rms_norm(rows) == pytest.approx(7.0)


def test_a_smaller_space_keeps_the_directions_with_most_variance():
    rows = table()
    rows[:, 0] *= 100
    rows[:, 3] *= 30
    original = torch.linalg.svdvals(rows - rows.mean(dim=0))
    kept = torch.linalg.svdvals(moved(rows, 2))
    torch.testing.assert_close(kept / kept[0], original[:2] / original[0])
