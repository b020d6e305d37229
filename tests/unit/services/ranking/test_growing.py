import numpy as np
import torch

from services.ranking.growing import GrowingArray, GrowingTable


def test_a_table_keeps_its_rows_while_it_grows():
    expected = torch.randn(500, 3)
    table = GrowingTable(expected[:5].clone())
    for row in range(5, 500):
        table.put(torch.tensor([row]), expected[row : row + 1])
    assert torch.equal(table.rows, expected)


def test_known_rows_are_overwritten_in_place():
    table = GrowingTable(torch.zeros(4, 2))
    view = table.rows
    table.put(torch.tensor([2, 0]), torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    assert view.tolist() == [[2, 2], [0, 0], [1, 1], [0, 0]]


def test_appending_copies_rarely():
    table = GrowingTable(torch.zeros(10, 2))
    places = set()
    for row in range(10, 5000):
        table.put(torch.tensor([row]), torch.ones(1, 2))
        places.add(table.rows.data_ptr())
    assert len(places) < 20


def test_an_array_keeps_its_values_while_it_grows():
    array = GrowingArray(np.arange(3))
    for value in range(3, 1000):
        array.append(np.int64(value))
    array.values[5] = -1
    expected = np.arange(1000)
    expected[5] = -1
    assert np.array_equal(array.values, expected)
