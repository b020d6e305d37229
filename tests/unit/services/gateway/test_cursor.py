import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cursor import decode_cursor, encode_cursor
from shared.errors import InvalidInputError


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_cursor_leads_back_to_its_place(ordinal):
    assert decode_cursor(encode_cursor(ordinal)) == ordinal


@pytest.mark.parametrize("text", ["", "after:5", "YWZ0ZXI6", "YWZ0ZXI6LTE", "YWZ0ZXI6NSA"])
def test_what_only_looks_like_a_cursor_is_refused(text):
    with pytest.raises(InvalidInputError):
        decode_cursor(text)
