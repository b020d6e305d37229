from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cursor import decode_cursor, decode_moment, encode_cursor, encode_moment
from shared.errors import InvalidInputError


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_cursor_leads_back_to_its_place(ordinal):
    assert decode_cursor(encode_cursor(ordinal)) == ordinal


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones()),
    st.integers(min_value=0, max_value=10**18 - 1),
)
def test_a_cursor_by_time_leads_back_to_its_place(moment, id_):
    # In UTC: an hour that a zone has twice never equals one of another zone.
    assert decode_moment(encode_moment(moment, id_)) == (moment.astimezone(UTC), id_)


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param(encode_cursor(1), id="of another list"),
        pytest.param("YmVmb3JlOjk5OTk5OTk5OTk5OTk5OTk5OTox", id="a time that no calendar has"),
    ],
)
def test_a_cursor_that_leads_to_no_time_is_refused(cursor):
    with pytest.raises(InvalidInputError):
        decode_moment(cursor)


@pytest.mark.parametrize("text", ["", "after:5", "YWZ0ZXI6", "YWZ0ZXI6LTE", "YWZ0ZXI6NSA"])
def test_what_only_looks_like_a_cursor_is_refused(text):
    with pytest.raises(InvalidInputError):
        decode_cursor(text)
