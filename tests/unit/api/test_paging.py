import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api.paging import LIFETIME_MS, cut_page, page_start, page_token
from vivavoce.errors import InvalidRequest
from vivavoce.vault.seal import SealingKey

SIGNER = SealingKey(bytes(range(32)))
QUERY = ["ListSpeakers", "domain", 10]
TOKEN = page_token(SIGNER, QUERY, after=41, now_ms=1000)


def start(token, query=QUERY, now_ms=1000):
    return page_start(SIGNER, query, token, now_ms=now_ms)


def packed(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@given(rows=st.lists(st.integers(1, 1000), unique=True).map(sorted), size=st.integers(1, 7))
def test_pages_visit_each_row_once(rows, size):
    seen, token = [], None
    while True:
        after = start(token)
        found = [(row, row) for row in rows if row > after][: size + 1]
        page, token = cut_page(
            found, size, lambda last: page_token(SIGNER, QUERY, after=last, now_ms=1000)
        )
        assert len(page) <= size
        seen += page
        if token is None:
            break
    assert seen == rows


def test_without_a_token_the_first_page_begins():
    assert start(None) == start("") == 0


def test_a_token_is_good_for_a_day():
    assert start(TOKEN, now_ms=1000 + LIFETIME_MS) == 41
    with pytest.raises(InvalidRequest):
        start(TOKEN, now_ms=1001 + LIFETIME_MS)


@pytest.mark.parametrize("query", [["ListSpeakers", "other", 10], ["ListSpeakers", "domain", 11]])
def test_a_token_is_good_for_its_query_only(query):
    with pytest.raises(InvalidRequest):
        start(TOKEN, query)


@given(position=st.integers(0, len(TOKEN) - 1), character=st.characters())
def test_a_changed_character_never_leads_elsewhere(position, character):
    with contextlib.suppress(InvalidRequest):
        assert start(TOKEN[:position] + character + TOKEN[position + 1 :]) == 41


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "\ud800",
        packed([]),
        packed({"a": 1, "b": 2}),
        packed(["[41, 99999999999999]", ""]),
        packed(["no JSON", base64.b64encode(bytes(32)).decode()]),
        packed(["[1]", base64.b64encode(bytes(32)).decode()]),
        packed([["a"], base64.b64encode(bytes(32)).decode()]),
        packed([None, None]),
        base64.urlsafe_b64encode(b"[" * 6000).decode(),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token):
    with pytest.raises(InvalidRequest):
        start(token)


@given(token=st.text(min_size=1))
def test_nonsense_is_refused(token):
    with pytest.raises(InvalidRequest):
        start(token)
