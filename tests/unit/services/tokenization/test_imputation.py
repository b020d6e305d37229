import numpy as np
import pytest

from services.tokenization.imputation import similarity_weights, weighted_mean


def test_weights_are_in_proportion_to_the_similarities():
    assert similarity_weights([0.6, 0.3, 0.1]) == pytest.approx([0.6, 0.3, 0.1])
    assert similarity_weights([0.3, 0.1]) == pytest.approx([0.75, 0.25])


def test_an_opposite_neighbour_has_no_say():
    assert similarity_weights([0.5, -0.9]) == pytest.approx([1.0, 0.0])


def test_neighbours_count_alike_where_none_is_similar():
    assert similarity_weights([-0.1, 0.0, -0.4]) == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_the_mean_is_weighted():
    vectors = [np.array([1, 2], np.float32), np.array([3, -2], np.float32)]
    mean = weighted_mean(np.array([0.75, 0.25]), vectors)
    assert mean.tolist() == [1.5, 1.0]
    assert mean.dtype == np.float32


def test_the_mean_is_what_the_database_would_give_back():
    mean = weighted_mean(np.array([1.0]), [np.array([0.1, 1 / 3], np.float32)])
    assert np.array_equal(mean, mean.astype(np.float16).astype(np.float32))
