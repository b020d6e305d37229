import numpy as np
import pytest

from services.ranking.catalogue import Catalogue
from shared.contracts.common import ItemFilter

COLORS = ("red", "blue", True, 1.0, "1")


@pytest.fixture
def catalogue():
    ids = [f"i{row}" for row in range(50)]
    catalogue = Catalogue(ids, np.full(50, 3), np.arange(50) % 7)
    for row, item_id in enumerate(ids):
        catalogue.describe(
            item_id, [f"c{row % 4}", f"d{row % 3}"], {"color": COLORS[row % 5], "size": row % 2}
        )
    return catalogue


def rows(mask):
    return np.flatnonzero(mask).tolist()


def test_a_filter_that_says_nothing_is_none(catalogue):
    assert catalogue.allowed(ItemFilter()) is None


def test_conditions_hold_together_and_values_are_alternatives(catalogue):
    wanted = ItemFilter(
        categories=["c1", "d2"],
        attributes={"color": ["red", 1.0], "size": 1},
        deny=["i33", "nobody"],
    )
    assert rows(catalogue.allowed(wanted)) == [
        row
        for row in range(50)
        if (row % 4 == 1 or row % 3 == 2) and row % 5 in (0, 3) and row % 2 == 1 and row != 33
    ]


@pytest.mark.parametrize(("value", "place"), [(True, 2), (1.0, 3), (1, 3), ("1", 4)])
def test_values_of_other_types_are_other_values(catalogue, value, place):
    mask = catalogue.allowed(ItemFilter(attributes={"color": value}))
    assert rows(mask) == list(range(place, 50, 5))


def test_an_item_described_anew_loses_what_it_was(catalogue):
    catalogue.describe("i8", ["new"], {})
    assert rows(catalogue.allowed(ItemFilter(categories=["new"]))) == [8]
    assert 8 not in rows(catalogue.allowed(ItemFilter(categories=["c0"])))
    assert 8 not in rows(catalogue.allowed(ItemFilter(attributes={"size": 0})))


def test_a_reserved_item_is_seen_only_when_published(catalogue):
    row = catalogue.reserve("late")
    assert row == catalogue.reserve("late") == 50
    assert catalogue.known(["late"])[1] == ["late"]
    assert row not in catalogue.popular(1000, None)[0]
    catalogue.publish("late", 1, ["c0"], {})
    assert catalogue.known(["late"])[0].tolist() == [50]
    assert catalogue.popular(1000, None)[0].tolist()[-1] == 50
    assert 50 in rows(catalogue.allowed(ItemFilter(categories=["c0"])))
    assert len(catalogue) == 51


def test_popular_items_come_by_frequency_then_row(catalogue):
    found, frequencies = catalogue.popular(9, None)
    expected = sorted(range(50), key=lambda row: (-(row % 7), row))[:9]
    assert found.tolist() == expected
    assert frequencies.tolist() == [row % 7 for row in expected]


def test_versions_only_go_forward(catalogue):
    assert catalogue.is_news("i4", 3)
    assert not catalogue.is_news("i4", 2)
    assert catalogue.remove("i4", 2) is None
    assert catalogue.remove("i4", 4) == 4
    assert not catalogue.is_news("i4", 4)
    assert catalogue.is_news("i4", 5)
    assert catalogue.remove("nobody", 7) is None
    assert not catalogue.is_news("nobody", 7)


def test_visible_rows_are_a_copy_without_hidden_ones_and_those_later_than_the_filter(catalogue):
    allowed = catalogue.allowed(ItemFilter(deny=["i1"]))
    catalogue.reserve("later")
    catalogue.publish("later", 1, [], {})
    catalogue.remove("i2", 9)

    assert rows(~catalogue.visible(None)) == [2]
    assert rows(~catalogue.visible(allowed)) == [1, 2, 50]
    catalogue.visible(None)[:] = False
    assert len(catalogue) == 50
