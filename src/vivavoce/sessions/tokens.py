"""Tokens that open one stream of one session, and nothing else.

A token is `base64url(payload) . base64url(HMAC-SHA256)`; the payload names the session, the number
of the stream and the end of its validity.
"""

import base64
import hmac
import json
from dataclasses import dataclass
from typing import Protocol

from vivavoce.errors import StreamTokenRejected

_MAX_LENGTH = 512


class Signer(Protocol):
    """Signs a message with a key that only this installation has."""

    def sign(self, message: bytes) -> bytes:
        """32 bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTicket:
    """What a token says: which stream it opens, and until when."""

    session_id: str
    stream_number: int
    expires_ms: int


def issue_token(ticket: StreamTicket, signer: Signer) -> str:
    """The token of a ticket."""
    payload = json.dumps([ticket.session_id, ticket.stream_number, ticket.expires_ms]).encode()
    return f"{_encode(payload)}.{_encode(signer.sign(_message(payload)))}"


def read_token(token: str, signer: Signer) -> StreamTicket:
    """What a token says, if it is genuine. Whether it has expired is for the caller to judge.

    Raises:
        StreamTokenRejected: it is not one of ours.
    """
    refused = StreamTokenRejected("The stream token is not valid")
    if len(token) > _MAX_LENGTH:
        raise refused
    try:
        payload, signature = (_decode(part) for part in token.encode("ascii").split(b"."))
    except ValueError:
        raise refused from None
    if not hmac.compare_digest(signature, signer.sign(_message(payload))):
        raise refused
    session_id, stream_number, expires_ms = json.loads(payload)  # ours, so it is sound
    return StreamTicket(session_id=session_id, stream_number=stream_number, expires_ms=expires_ms)


def _message(payload: bytes) -> bytes:
    return b"stream token\n" + payload


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
