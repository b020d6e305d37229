import numpy as np
import pytest
import torch

from experiments.methods.trie import Trie

SIZE = 5


@pytest.fixture
def codes():
    # 60 of 125 possible IDs: some items share one.
    return np.random.default_rng(0).integers(SIZE, size=(60, 3))


@pytest.fixture
def trie(codes):
    return Trie(codes, SIZE, torch.device("cpu"))


def prefixes(codes, length):
    return sorted({tuple(row) for row in codes[:, :length].tolist()})


@pytest.mark.parametrize("level", [0, 1, 2])
def test_children_are_the_codes_that_continue_to_an_existing_item(trie, codes, level):
    nodes, longer = prefixes(codes, level), prefixes(codes, level + 1)
    expected = [
        [longer.index((*node, code)) if (*node, code) in longer else -1 for code in range(SIZE)]
        for node in nodes
    ]
    assert trie.children(level, torch.arange(len(nodes))).tolist() == expected


def test_children_of_repeated_nodes_in_any_order(trie):
    once = trie.children(1, torch.arange(4))
    assert torch.equal(trie.children(1, torch.tensor([2, 0, 2, 3])), once[[2, 0, 2, 3]])


def test_a_leaf_holds_the_items_of_its_id(trie, codes):
    for leaf, own in enumerate(prefixes(codes, 3)):
        same = np.flatnonzero((codes == own).all(axis=1))
        assert sorted(trie.rows(leaf).tolist()) == same.tolist()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_node_is_used_up_when_all_of_its_items_are_seen(trie, codes, level):
    nodes = prefixes(codes, level + 1)
    node = next(n for n, own in enumerate(nodes) if (codes[:, : level + 1] == own).all(1).sum() > 1)
    items = np.flatnonzero((codes[:, : level + 1] == nodes[node]).all(axis=1))
    assert trie.used_up(level, items).tolist() == [node]
    assert trie.used_up(level, items[:-1]).tolist() == []
