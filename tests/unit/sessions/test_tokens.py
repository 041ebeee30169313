import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import StreamTokenRejected
from vivavoce.sessions.tokens import StreamTicket, issue_token, read_token
from vivavoce.vault.seal import SealingKey

SIGNER = SealingKey(bytes(range(32)))
TICKET = StreamTicket(session_id="id#CJA4lSzpzo5HFfP5L2h5lS", stream_number=2, expires_ms=1234)
TOKEN = issue_token(TICKET, SIGNER)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_token_says_what_its_ticket_said():
    assert read_token(TOKEN, SIGNER) == TICKET
    assert set(TOKEN) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(position=st.integers(0, len(TOKEN) - 1), character=st.characters())
def test_a_changed_character_never_makes_another_ticket(position, character):
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]
    try:
        # Base 64 has spare bits at its end, so that some changes change nothing.
        assert read_token(changed, SIGNER) == TICKET
    except StreamTokenRejected:
        assert changed != TOKEN


@given(length=st.integers(0, len(TOKEN) - 1))
def test_a_truncated_token_is_refused(length):
    with pytest.raises(StreamTokenRejected):
        read_token(TOKEN[:length], SIGNER)


@pytest.mark.parametrize("facts", [["id#other", 2, 1234], [TICKET.session_id, 3, 1234], {}, 5])
def test_a_forged_payload_is_refused(facts):
    signature = TOKEN.split(".")[1]
    with pytest.raises(StreamTokenRejected):
        read_token(f"{encoded(json.dumps(facts).encode())}.{signature}", SIGNER)


def test_a_token_of_another_installation_is_refused():
    with pytest.raises(StreamTokenRejected):
        read_token(issue_token(TICKET, SealingKey(bytes(32))), SIGNER)


def test_a_signature_for_another_purpose_is_refused():
    payload = TOKEN.split(".")[0]
    for message in (payload.encode(), b"page token\n" + payload.encode()):
        with pytest.raises(StreamTokenRejected):
            read_token(f"{payload}.{encoded(SIGNER.sign(message))}", SIGNER)


@given(token=st.text())
def test_nonsense_is_refused(token):
    with pytest.raises(StreamTokenRejected):
        read_token(token, SIGNER)


def test_strange_tokens_are_refused_too():
    for token in ("", ".", "..", "." * 500, "\ud800.x", TOKEN + "." + TOKEN, "a" * 10_000_000):
        with pytest.raises(StreamTokenRejected):
            read_token(token, SIGNER)
