"""The semantic IDs that exist, as a trie: which codes may follow a prefix.

Nodes of a level are numbered in the order of their prefixes, so the children of a node are a range
of the next level's nodes; the leaves are the distinct IDs.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Trie:
    def __init__(self, codes: NDArray[np.int64], size: int, device: torch.device) -> None:
        """codes: semantic IDs [I, L], each code below `size`."""
        items, self.levels = codes.shape
        self.size = size
        order = np.lexsort(codes.T[::-1])
        ordered = codes[order]
        node = np.zeros(items, dtype=np.int64)  # of each item, at the level above
        self._first_child: list[Tensor] = []
        self._code: list[Tensor] = []
        self._node_of: list[NDArray[np.int64]] = []  # of each item, and how many items a node has
        self._items_of: list[NDArray[np.int64]] = []
        is_new = np.zeros(items, dtype=np.bool_)
        is_new[0] = True
        for level in range(self.levels):
            is_new[1:] |= ordered[1:, level] != ordered[:-1, level]
            firsts = np.flatnonzero(is_new)
            parents = node[firsts]
            bounds = np.searchsorted(parents, np.arange(node[-1] + 2))
            self._first_child.append(torch.from_numpy(bounds).to(device))
            self._code.append(torch.from_numpy(ordered[firsts, level]).to(device))
            node = np.cumsum(is_new) - 1
            node_of = np.empty(items, dtype=np.int64)
            node_of[order] = node
            self._node_of.append(node_of)
            self._items_of.append(np.bincount(node))
        self._rows = order
        self._first_row = np.append(firsts, items)

    def children(self, level: int, nodes: Tensor) -> Tensor:
        """nodes: [n] of a level, 0 for the root's. [n, size]: the child by each code, or -1."""
        first = self._first_child[level][nodes]
        counts = self._first_child[level][nodes + 1] - first
        owner = torch.repeat_interleave(counts)
        begin = counts.cumsum(0) - counts
        child = first[owner] + torch.arange(len(owner), device=nodes.device) - begin[owner]
        found = torch.full((len(nodes), self.size), -1, dtype=torch.int64, device=nodes.device)
        found[owner, self._code[level][child]] = child
        return found

    def rows(self, leaf: int) -> NDArray[np.int64]:
        """The items that have this semantic ID, mostly one."""
        found: NDArray[np.int64] = self._rows[self._first_row[leaf] : self._first_row[leaf + 1]]
        return found

    def first_rows(self, leaves: Tensor) -> Tensor:
        """One item of each semantic ID, the only one where all IDs are different; any shape."""
        rows = torch.from_numpy(self._rows[self._first_row[:-1]]).to(leaves.device)
        return rows[leaves]

    def used_up(self, level: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The children [n] of a level's nodes all of whose items are among these different rows."""
        nodes, counts = np.unique(self._node_of[level][rows], return_counts=True)
        used: NDArray[np.int64] = nodes[counts == self._items_of[level][nodes]]
        return used
