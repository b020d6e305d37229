"""The items of one served bundle by row: ids, versions, filters, popularity.

Rows 0..I-1 are the bundle's, later items follow in the order of their arrival. A removed item keeps
its row, hidden: the histories of its buyers still say something.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.ranking.filters import FilterIndex, attribute_term, category_term
from services.ranking.growing import GrowingArray
from shared.contracts.common import AttributeValue, ItemFilter

NOT_PUBLISHED = np.iinfo(np.int64).min
POPULAR_AT_ONCE = 1024


class Catalogue:
    """Used by the event loop alone."""

    def __init__(
        self,
        item_ids: Sequence[str],
        versions: NDArray[np.int64],
        frequency: NDArray[np.int64],
    ) -> None:
        """versions: [I], those the bundle was made from. frequency: q [I]."""
        self._ids = list(item_ids)
        self._reserved = {item_id: row for row, item_id in enumerate(item_ids)}
        # By row; NOT_PUBLISHED for those that are reserved alone.
        self._versions = GrowingArray(versions.astype(np.int64))
        self._removed: dict[str, int] = {}
        self._frequency = GrowingArray(frequency.astype(np.int64))
        self._visible = GrowingArray(np.ones(len(item_ids), dtype=np.bool_))
        # Later items have q = 0 and higher rows: they follow in order.
        self._most_popular = np.argsort(-frequency, kind="stable").astype(np.int64)
        self._filters = FilterIndex()

    def __len__(self) -> int:
        """Items that can be recommended."""
        return int(self._visible.values.sum())

    @property
    def size(self) -> int:
        """Rows, hidden ones too."""
        return len(self._ids)

    def item_id(self, row: int) -> str:
        return self._ids[row]

    def known(self, item_ids: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
        """The rows [n] of the items that are known, in their order, and the others, each once."""
        rows = [(item_id, self._row(item_id)) for item_id in item_ids]
        unknown = dict.fromkeys(item_id for item_id, row in rows if row is None)
        known = [row for _, row in rows if row is not None]
        return np.asarray(known, dtype=np.int64), list(unknown)

    def version_of(self, item_id: str) -> int:
        """-1 for an item that is not known."""
        row = self._row(item_id)
        return -1 if row is None else int(self._versions.values[row])

    def is_news(self, item_id: str, version: int) -> bool:
        """Whether this version of an item is not older than what is known, and was not removed."""
        return version > self._removed.get(item_id, -1) and version >= self.version_of(item_id)

    def reserve(self, item_id: str) -> int:
        """The item's row, a new one if it has none. Nothing sees a new row before `publish`."""
        if item_id not in self._reserved:
            self._reserved[item_id] = len(self._ids)
            self._ids.append(item_id)
            self._versions.append(np.int64(NOT_PUBLISHED))
            self._frequency.append(np.int64(0))
            self._visible.append(np.bool_(False))
        return self._reserved[item_id]

    def publish(
        self,
        item_id: str,
        version: int,
        categories: Sequence[str],
        attributes: Mapping[str, AttributeValue],
    ) -> None:
        """Let a reserved item be known and recommended as this version."""
        row = self._reserved[item_id]
        self._versions.values[row] = version
        self._visible.values[row] = True
        self._filters.put(row, categories, attributes)

    def describe(
        self, item_id: str, categories: Sequence[str], attributes: Mapping[str, AttributeValue]
    ) -> None:
        """What filters know of an item of the bundle."""
        self._filters.put(self._reserved[item_id], categories, attributes)

    def remove(self, item_id: str, version: int) -> int | None:
        """Hide an item, given the version of its removal: its row, or None if there is nothing to
        hide (it is newer, or not known)."""
        self._removed[item_id] = max(version, self._removed.get(item_id, -1))
        row = self._row(item_id)
        if row is None or self.version_of(item_id) > version:
            return None
        self._visible.values[row] = False
        return row

    def allowed(self, wanted: ItemFilter) -> NDArray[np.bool_] | None:
        """[rows] bool: the rows that a filter leaves; None where it says nothing."""
        masks: list[NDArray[np.bool_]] = []
        if wanted.categories:
            terms = [category_term(category) for category in wanted.categories]
            masks.append(self._filters.having_any(terms, self.size))
        for name, value in wanted.attributes.items():
            values = value if isinstance(value, list) else [value]
            terms = [attribute_term(name, each) for each in values]
            masks.append(self._filters.having_any(terms, self.size))
        if wanted.allow is not None:
            masks.append(self._among(wanted.allow))
        if wanted.deny:
            masks.append(~self._among(wanted.deny))
        return np.logical_and.reduce(masks) if masks else None

    def visible(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """[rows] bool, a copy: the rows that can be recommended now, of those that are allowed.

        allowed: made by `allowed`, maybe a while ago; rows that came since are left out.
        """
        mask = self._visible.values.copy()
        if allowed is not None:
            mask[: len(allowed)] &= allowed
            mask[len(allowed) :] = False
        return mask

    def popular(
        self, k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and frequencies q of the `k` most frequent items; ties in the order of the rows."""
        mask = self._visible.values if allowed is None else self._visible.values & allowed
        later = np.arange(len(self._most_popular), self.size, dtype=np.int64)
        rows = np.zeros(0, dtype=np.int64)
        for order in (self._most_popular, later):
            start, width = 0, max(k, POPULAR_AT_ONCE)
            while start < len(order) and len(rows) < k:
                part = order[start : start + width]
                rows = np.concatenate([rows, part[mask[part]]])
                start, width = start + width, 2 * width
        rows = rows[:k]
        return rows, self._frequency.values[rows]

    def _among(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.known(item_ids)[0]] = True
        return mask

    def _row(self, item_id: str) -> int | None:
        """The row of an item that was published."""
        row = self._reserved.get(item_id)
        if row is None or self._versions.values[row] == NOT_PUBLISHED:
            return None
        return row
