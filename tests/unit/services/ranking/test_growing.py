import numpy as np
import torch

from services.ranking.growing import GrowingArray, GrowingTable, LayeredTable


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


def test_a_layered_table_is_one_table():
    base = torch.randn(10, 3)
    table, expected = LayeredTable(base.clone()), base.clone()
    for rows in ([4, 2], [9, 12, 3], [15], list(range(16, 200))):
        values = torch.randn(len(rows), 3)
        size = max(len(expected), max(rows) + 1)
        expected = torch.cat([expected, torch.zeros(size - len(expected), 3)])
        expected[rows] = values
        table.put(torch.tensor(rows), values)
        assert len(table) == size
        assert torch.equal(table[torch.arange(size)], expected)
        assert torch.equal(table[torch.tensor(rows)], values)
    assert torch.equal(torch.cat(table.layers), expected)


def test_the_base_of_a_layered_table_never_moves():
    base = torch.zeros(10, 2)
    table = LayeredTable(base)
    table.put(torch.arange(5, 500), torch.ones(495, 2))
    assert table.layers[0] is base
    assert base[5:].eq(1).all()
