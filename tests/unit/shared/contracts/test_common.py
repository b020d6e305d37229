import pytest
from pydantic import TypeAdapter, ValidationError

from shared.contracts.common import ItemId

item_id = TypeAdapter(ItemId)


@pytest.mark.parametrize("value", ["a", "mug-0042", "två mugg", "a/b?c=d", "商品 1", "x" * 200])
def test_printable_ids_are_accepted(value):
    assert item_id.validate_python(value) == value


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\x00b", "\t", "x" * 201])
def test_ids_that_cannot_stand_in_a_url_or_a_log_line_are_refused(value):
    with pytest.raises(ValidationError):
        item_id.validate_python(value)
