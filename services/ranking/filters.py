"""Exact filters: for each category and attribute value, the rows that have it.

A request is answered by a few operations on bitmaps, whatever the number of rows.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.ranking.growing import GrowingArray
from services.ranking.row_set import RowSet
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
    """Term -> rows. A row's terms are replaced as a whole.

    A term is known by a number. The numbers of all rows lie one after the other, as runs of
    [room, how many, numbers...]; a run that gets too long for its room moves to the end.
    """

    def __init__(self) -> None:
        self._numbers: dict[Term, int] = {}
        self._sets: list[RowSet] = []
        self._runs = array("i")
        self._starts = GrowingArray(np.zeros(0, dtype=np.int64))

    @property
    def bytes(self) -> int:
        """Memory that the rows take; the terms themselves are not counted."""
        runs = self._runs.itemsize * len(self._runs) + self._starts.values.nbytes
        return runs + sum(rows.bytes for rows in self._sets)

    def put(
        self, row: int, categories: Sequence[str], attributes: Mapping[str, AttributeValue]
    ) -> None:
        terms = {category_term(category) for category in categories}
        terms |= {attribute_term(name, value) for name, value in attributes.items()}
        before, now = self._terms_of(row), {self._number(term) for term in terms}
        for number in before - now:
            self._sets[number].discard(row)
        for number in now - before:
            self._sets[number].add(row)
        if before != now:
            self._write_run(row, now)

    def having_any(self, terms: Iterable[Term], size: int) -> NDArray[np.bool_]:
        """[size] bool: the rows that have at least one of the terms."""
        mask = np.zeros(size, dtype=np.bool_)
        for term in terms:
            number = self._numbers.get(term)
            if number is not None:
                self._sets[number].write_to(mask)
        return mask

    def _number(self, term: Term) -> int:
        number = self._numbers.setdefault(term, len(self._sets))
        if number == len(self._sets):
            self._sets.append(RowSet())
        return number

    def _terms_of(self, row: int) -> set[int]:
        start = self._start(row)
        if start < 0:
            return set()
        return set(self._runs[start + 2 : start + 2 + self._runs[start + 1]])

    def _write_run(self, row: int, numbers: set[int]) -> None:
        start = self._start(row)
        if start < 0 or len(numbers) > self._runs[start]:
            while row >= len(self._starts):
                self._starts.append(np.int64(-1))
            self._starts.values[row] = len(self._runs)
            self._runs.extend([len(numbers), len(numbers), *numbers])
            return
        self._runs[start + 1 : start + 2 + len(numbers)] = array("i", [len(numbers), *numbers])

    def _start(self, row: int) -> int:
        return int(self._starts.values[row]) if row < len(self._starts) else -1
