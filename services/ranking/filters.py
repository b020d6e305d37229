"""Exact filters: for each category and attribute value, the rows that have it."""

from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.contracts.common import AttributeValue

Term = tuple[str, ...] | tuple[str, str, str, AttributeValue]


def category_term(category: str) -> Term:
    return ("category", category)


def attribute_term(name: str, value: AttributeValue) -> Term:
    """True, 1 and "1" are three values; 1 and 1.0 are one."""
    if isinstance(value, bool):
        return ("attribute", name, "bool", value)
    if isinstance(value, int | float):
        return ("attribute", name, "number", float(value))
    return ("attribute", name, "text", value)


class FilterIndex:
    """Term -> rows. A row's terms are replaced as a whole."""

    def __init__(self) -> None:
        self._rows: dict[Term, array[int]] = {}
        self._terms: dict[int, tuple[Term, ...]] = {}

    def put(
        self, row: int, categories: Sequence[str], attributes: Mapping[str, AttributeValue]
    ) -> None:
        self._discard(row)
        terms = {category_term(category) for category in categories}
        terms |= {attribute_term(name, value) for name, value in attributes.items()}
        if terms:
            self._terms[row] = tuple(terms)
        for term in terms:
            self._rows.setdefault(term, array("q")).append(row)

    def having_any(self, terms: Iterable[Term], size: int) -> NDArray[np.bool_]:
        """[size] bool: the rows that have at least one of the terms."""
        mask = np.zeros(size, dtype=np.bool_)
        for term in terms:
            rows = self._rows.get(term)
            if rows:
                mask[np.frombuffer(rows, dtype=np.int64)] = True
        return mask

    def _discard(self, row: int) -> None:
        for term in self._terms.pop(row, ()):
            rows = np.frombuffer(self._rows[term], dtype=np.int64)
            left = array("q", rows[rows != row].tobytes())
            if left:
                self._rows[term] = left
            else:
                del self._rows[term]
