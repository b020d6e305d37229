import numpy as np

from services.ranking.row_set import LIST_AT_MOST, RowSet


def rows_in(rows, size):
    mask = np.zeros(size, dtype=bool)
    rows.write_to(mask)
    return np.flatnonzero(mask).tolist()


def test_it_holds_what_was_added_and_not_discarded():
    random = np.random.default_rng(0)
    for share in (0.001, 0.05, 0.9):
        rows, expected = RowSet(), set()
        for row in np.flatnonzero(random.random(20_000) < share).tolist():
            rows.add(row)
            expected.add(row)
        for row in sorted(expected)[::3]:
            rows.discard(row)
            expected.discard(row)
        assert len(rows) == len(expected)
        assert rows_in(rows, 20_000) == sorted(expected)
        assert rows_in(rows, 5001) == sorted(row for row in expected if row < 5001)
        assert rows_in(rows, 40_000) == sorted(expected)


def test_what_was_in_the_mask_stays():
    rows = RowSet()
    for row in range(LIST_AT_MOST + 10):
        rows.add(row)
    mask = np.zeros(2 * LIST_AT_MOST, dtype=bool)
    mask[-1] = True
    rows.write_to(mask)
    assert mask.sum() == LIST_AT_MOST + 11


def test_it_takes_no_more_than_a_bitmap_and_few_rows_far_less():
    common, rare = RowSet(), RowSet()
    for row in range(100_000):
        common.add(row)
        if row % 1000 == 0:
            rare.add(row)
    assert common.bytes <= 2 * 100_000 / 8
    assert rare.bytes <= 4 * 100
