"""The text of an item."""

from shared.modeling.encoders.item_text import item_text


def test_facts_come_one_a_line_the_title_first():
    text = item_text(
        "Acne  Wash",
        "A gentle\n cleanser.",
        ["Beauty", "Skin Care"],
        "Neutrogena",
        {"volume_ml": 177.0, "refill": False, "scent": "grapefruit"},
    )
    assert text.splitlines() == [
        "Acne Wash",
        "Brand: Neutrogena",
        "Categories: Beauty, Skin Care",
        "refill: no",
        "scent: grapefruit",
        "volume_ml: 177",
        "A gentle cleanser.",
    ]


def test_the_order_of_attributes_does_not_matter():
    assert item_text("a", attributes={"x": 1.5, "b": "c"}) == item_text(
        "a", attributes={"b": "c", "x": 1.5}
    )


def test_what_is_missing_or_blank_leaves_no_trace():
    assert item_text("Lamp", " ", ["", " "], "\n") == "Lamp"
    assert item_text() == ""
