import pytest

from services.gateway.storable import require_storable
from shared.contracts.public import Event, EventBatch, ItemCreate
from shared.errors import InvalidInputError


def test_every_wrong_place_is_named():
    item = ItemCreate(
        title="a\x00",
        categories=["fine", "b\x00"],
        attributes={"price": float("inf"), "n\x00": "x", "fine": True},
    )

    with pytest.raises(InvalidInputError) as caught:
        require_storable(item)

    assert [problem.field for problem in caught.value.fields] == [
        "title",
        "categories.1",
        "attributes",
        "attributes.price",
    ]


def test_places_in_lists_of_models_are_named():
    batch = EventBatch(events=[Event(user_id="u", item_id="a", rating=float("nan"))])

    with pytest.raises(InvalidInputError) as caught:
        require_storable(batch)

    assert caught.value.fields[0].field == "events.0.rating"


def test_ordinary_text_of_any_script_is_fine():
    require_storable(ItemCreate(title="Teekanne 茶壺 🫖", attributes={"price": -1e300}))
    require_storable("plain", field="item_id")
