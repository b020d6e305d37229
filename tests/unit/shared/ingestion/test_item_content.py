import pytest

from shared.ingestion.item_content import item_content

MUG = {
    "title": "Mug",
    "description": "Blue",
    "categories": ["Kitchen", "Mugs"],
    "brand": "Nordlys",
    "attributes": {"colour": "blue", "price": 14.0},
    "image_sha256": "ab" * 32,
}


def test_equal_content_has_equal_hashes_whatever_the_order_and_kind_of_numbers():
    same = {**MUG, "attributes": {"price": 14, "colour": "blue"}}

    assert item_content(**same) == item_content(**MUG)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Cup"},
        {"description": ""},
        {"categories": ["Mugs", "Kitchen"]},
        {"brand": None},
        {"attributes": {"colour": "blue", "price": 15.0}},
        {"attributes": {"colour": "blue", "price": True}},
        {"attributes": {"colour": "blue"}},
        {"image_sha256": None},
    ],
)
def test_every_field_is_part_of_the_hash(change):
    assert item_content(**{**MUG, **change}).content_hash != item_content(**MUG).content_hash
