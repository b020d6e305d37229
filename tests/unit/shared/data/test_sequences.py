from datetime import UTC, datetime, timedelta

import pytest

from shared.data.records import InteractionRecord
from shared.data.sequences import build_sequences


def met(user: str, item: str, second: int) -> InteractionRecord:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return InteractionRecord(user, item, start + timedelta(seconds=second))


def test_items_stand_in_the_order_of_time_and_ties_in_the_order_of_input() -> None:
    rows = [
        met("v", "a", 5),
        met("u", "c", 9),
        met("u", "b", 1),
        met("u", "z", 9),
        met("u", "a", 9),
    ]
    sequences = build_sequences(rows)
    assert sequences == {"v": ["a"], "u": ["b", "c", "z", "a"]}
    assert list(sequences) == ["v", "u"]


def test_repeats_are_kept() -> None:
    assert build_sequences([met("u", "a", n) for n in range(3)]) == {"u": ["a", "a", "a"]}


def test_the_latest_remain_under_a_limit() -> None:
    rows = [met("u", str(n), n) for n in range(10)]
    assert build_sequences(rows, max_length=3) == {"u": ["7", "8", "9"]}


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_length"):
        build_sequences([], max_length=0)
