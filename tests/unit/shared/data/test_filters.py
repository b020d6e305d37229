from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.data.filters import k_core, with_rating_of_at_least
from shared.data.records import InteractionRecord

WHEN = datetime(2020, 1, 1, tzinfo=UTC)


def met(user: object, item: object, rating: float | None = None) -> InteractionRecord:
    return InteractionRecord(str(user), str(item), WHEN, rating)


def test_low_ratings_are_left_out_and_missing_ones_stay() -> None:
    rows = [met(1, 1, 2.0), met(1, 2, 4.0), met(1, 3), met(1, 4, 5.0)]
    assert [row.item_id for row in with_rating_of_at_least(rows, 4.0)] == ["2", "3", "4"]


def test_dropping_an_item_may_drop_a_user() -> None:
    core = [met(user, item) for user in "ab" for item in "xy"]
    assert k_core([*core, met("c", "x"), met("c", "z")], 2) == core


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40), st.integers(1, 4))
def test_the_core_is_a_core_and_nothing_was_dropped_too_much(
    pairs: list[tuple[int, int]], k: int
) -> None:
    rows = [met(*pair) for pair in pairs]
    core = k_core(rows, k)
    for field in ("user_id", "item_id"):
        assert all(count >= k for count in Counter(getattr(row, field) for row in core).values())
    # Dropping one offending user or item at a time must end in the same core.
    left = list(rows)
    while bad := [
        (field, name)
        for field in ("item_id", "user_id")
        for name, count in Counter(getattr(row, field) for row in left).items()
        if count < k
    ]:
        field, name = bad[0]
        left = [row for row in left if getattr(row, field) != name]
    assert core == left
