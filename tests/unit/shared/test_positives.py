import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.positives import EVENT_TYPES, Positives, is_positive
from shared.settings import EventSettings, EventWeights, Settings

DEFAULT = EventSettings()

events = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(EVENT_TYPES),
        st.none() | st.floats(min_value=0, max_value=5),
    )
)


def positives_of(happened, rule=DEFAULT) -> Positives:
    positives = Positives(rule)
    for event in happened:
        positives.add(*event)
    return positives


def test_every_kind_of_event_has_a_weight():
    assert set(EventWeights.model_fields) == set(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_by_default_every_kind_counts_unless_its_rating_is_low(event_type):
    assert is_positive(event_type, None, DEFAULT)
    assert is_positive(event_type, 3.5, DEFAULT)
    assert not is_positive(event_type, 3.0, DEFAULT)
    assert not is_positive(event_type, -1.0, DEFAULT)


@pytest.mark.parametrize(
    ("minimum", "left"),
    [
        (2, {"click", "cart", "purchase", "interaction", "rating"}),
        (3, {"cart", "purchase", "interaction", "rating"}),
        (4, {"purchase", "interaction", "rating"}),
        (5, set()),
    ],
)
def test_the_minimum_weight_leaves_the_weaker_kinds_out(minimum, left):
    rule = EventSettings(minimum_weight=minimum)
    assert {kind for kind in EVENT_TYPES if is_positive(kind, None, rule)} == left


def test_the_scale_of_ratings_may_be_another():
    of_ten = EventSettings(positive_above=6)
    assert not is_positive("rating", 5.0, of_ten)
    assert is_positive("rating", 7.0, of_ten)


def test_the_rule_is_set_by_environment_variables(monkeypatch):
    monkeypatch.setenv("MMESID_EVENTS__WEIGHTS__VIEW", "0")
    monkeypatch.setenv("MMESID_EVENTS__POSITIVE_ABOVE", "0.5")
    rule = Settings().events
    assert not is_positive("view", None, rule)
    assert is_positive("click", 1.0, rule)


def test_successive_positives_with_one_item_are_one_position():
    positives = positives_of(
        [("a", "view", None), ("a", "purchase", None), ("b", "view", None), ("a", "view", None)]
    )
    assert positives.item_ids == ["a", "b", "a"]
    assert (positives.non_positive, positives.repeated) == (0, 1)


def test_what_is_no_positive_does_not_come_between_two_that_are_one():
    positives = positives_of([("a", "view", None), ("b", "rating", 1.0), ("a", "cart", None)])
    assert positives.item_ids == ["a"]
    assert (positives.non_positive, positives.repeated) == (1, 1)


@given(events)
def test_the_positions_are_the_same_from_the_newest_event_backwards(happened):
    assert positives_of(happened[::-1]).item_ids == positives_of(happened).item_ids[::-1]


@given(events)
def test_no_event_is_lost_count_of_and_no_item_follows_itself(happened):
    positives = positives_of(happened)
    counted = len(positives.item_ids) + positives.non_positive + positives.repeated
    assert counted == len(happened)
    pairs = zip(positives.item_ids, positives.item_ids[1:], strict=False)
    assert all(item != following for item, following in pairs)
