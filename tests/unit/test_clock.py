from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.clock import iso_utc


@pytest.mark.parametrize(
    ("instant_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_268_800_007, "2026-01-01T12:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_written_in_utc_with_milliseconds(instant_ms, text):
    assert iso_utc(instant_ms) == text


@given(st.integers(0, 4_102_444_800_000))
def test_no_millisecond_is_lost_in_writing(instant_ms):
    assert round(datetime.fromisoformat(iso_utc(instant_ms)).timestamp() * 1000) == instant_ms
