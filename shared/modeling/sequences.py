"""User sequences, split by leave-one-out (Sec. 5.1), and how often each item occurs in training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidInputError

ItemRows = NDArray[np.int64]

NOT_EVALUATED = -1
SHORTEST_EVALUATED = 3


@dataclass(frozen=True)
class Split:
    """Leave-one-out: the last item of a user is test, the second last validation, the rest train.

    train: one array of item rows a user, oldest first.
    validation_target, test_target: [U] item rows, or `NOT_EVALUATED` for users too short to split.
    """

    train: list[ItemRows]
    validation_target: ItemRows
    test_target: ItemRows

    def validation_history(self, user: int) -> ItemRows:
        """What is known when the validation target is to be predicted."""
        return self.train[user]

    def test_history(self, user: int) -> ItemRows:
        """What is known when the test target is to be predicted: train, then validation."""
        if self.validation_target[user] == NOT_EVALUATED:
            return self.train[user]
        return np.append(self.train[user], self.validation_target[user])

    def validation_histories(self) -> list[ItemRows]:
        return [self.validation_history(user) for user in range(len(self.train))]

    def test_histories(self) -> list[ItemRows]:
        return [self.test_history(user) for user in range(len(self.train))]


def leave_one_out(sequences: Sequence[NDArray[np.integer]]) -> Split:
    """Split every user's sequence of item rows (oldest first).

    A user with fewer than three interactions stays whole in train and is not evaluated.

    Raises InvalidInputError when a sequence is not a one-dimensional array of rows >= 0.
    """
    train: list[ItemRows] = []
    validation_target = np.full(len(sequences), NOT_EVALUATED, dtype=np.int64)
    test_target = np.full(len(sequences), NOT_EVALUATED, dtype=np.int64)
    for user, sequence in enumerate(sequences):
        items = _item_rows(sequence, f"sequences.{user}")
        if len(items) < SHORTEST_EVALUATED:
            train.append(items)
            continue
        train.append(items[:-2])
        validation_target[user], test_target[user] = items[-2:]
    return Split(train, validation_target, test_target)


def require_targets(split: Split) -> None:
    """Raises InvalidInputError when there is nothing to learn from, or nothing to validate on."""
    if not any(len(items) > 1 for items in split.train):
        raise InvalidInputError.of("split.train", "has no user with two items to learn from")
    if not bool((split.validation_target != NOT_EVALUATED).any()):
        raise InvalidInputError.of("split.validation_target", "names no item")


def item_frequency(split: Split, number_of_items: int) -> NDArray[np.int64]:
    """q of Sec. 4.3: [I] occurrences of each item in the training part.

    Raises InvalidInputError when the training part names a row beyond the catalogue.
    """
    if not split.train:
        return np.zeros(number_of_items, dtype=np.int64)
    items = np.concatenate(split.train)
    if items.size and items.max() >= number_of_items:
        raise InvalidInputError.of(
            "number_of_items", f"is {number_of_items}, but the sequences name row {items.max()}"
        )
    return np.bincount(items, minlength=number_of_items).astype(np.int64)


def _item_rows(sequence: NDArray[np.integer], field: str) -> ItemRows:
    items = np.asarray(sequence)
    if items.ndim != 1 or (items.size and not np.issubdtype(items.dtype, np.integer)):
        raise InvalidInputError.of(field, "must be a one-dimensional array of item rows")
    if items.size and items.min() < 0:
        raise InvalidInputError.of(field, f"holds the negative item row {items.min()}")
    return items.astype(np.int64)
