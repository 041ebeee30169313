"""Pages: opaque tokens that say where the next page begins.

A token is signed and bound to its query, so that it can be neither made up nor used elsewhere; it
is valid for 24 hours (voice-id-behaviour.md section 2.6).
"""

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from vivavoce.clock import Clock
from vivavoce.errors import InvalidRequest

LIFETIME_MS = 24 * 3_600_000

T = TypeVar("T")


class Signer(Protocol):
    """Signs a message with a key that only this installation has."""

    def sign(self, message: bytes) -> bytes:
        """32 bytes."""
        ...


class Pager:
    """Turns the pages of every list operation.

    Args:
        signer: signs tokens.
        clock: the time.
    """

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock

    async def read(
        self,
        request: Mapping[str, Any],
        fetch: Callable[[int, int], Awaitable[list[tuple[int, T]]]],
        *,
        query: list[Any],
        default_size: int,
    ) -> tuple[list[T], str | None]:
        """A page of rows, and the token of the next one if there are more.

        Args:
            request: of a list operation; its NextToken and MaxResults say which page.
            fetch: gives up to so many rows (second argument) after a sequence number (first), each
                with its own.
            query: everything that must be the same when the next page is asked for, beside the
                size.
            default_size: rows in a page where the request does not say.

        Raises:
            InvalidRequest: the token is not ours, has expired, or belongs to another query.
        """
        now_ms = self._clock.now_ms()
        size = request.get("MaxResults", default_size)
        query = [*query, size]
        after = page_start(self._signer, query, request.get("NextToken"), now_ms=now_ms)
        rows = await fetch(after, size + 1)
        return cut_page(
            rows, size, lambda last: page_token(self._signer, query, after=last, now_ms=now_ms)
        )


def page_token(signer: Signer, query: list[Any], *, after: int, now_ms: int) -> str:
    """The token of the page that begins after a sequence number.

    Args:
        signer: signs it.
        query: everything that must be the same when the token is used.
        after: sequence number of the last row of the page before.
        now_ms: the time.
    """
    return _signed(signer, query, json.dumps([after, now_ms + LIFETIME_MS]))


def page_start(signer: Signer, query: list[Any], token: str | None, *, now_ms: int) -> int:
    """After which sequence number the wanted page begins; 0 without a token.

    Raises:
        InvalidRequest: the token is not ours, has expired, or belongs to another query.
    """
    if not token:
        return 0
    refused = InvalidRequest(
        "The NextToken is not valid: it has expired, or it belongs to another request"
    )
    try:
        content, _ = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        # The whole token is compared: base64 reads the same from more than one text.
        genuine = hmac.compare_digest(token, _signed(signer, query, content))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise refused from None
    if not genuine:
        raise refused
    after, expires_ms = json.loads(content)  # ours, so it is sound
    if expires_ms < now_ms:
        raise refused
    return after


def cut_page(
    rows: list[tuple[int, T]], size: int, next_token: Callable[[int], str]
) -> tuple[list[T], str | None]:
    """A page and the token of the next one, from one row more than the page holds."""
    page = rows[:size]
    token = next_token(page[-1][0]) if len(rows) > size else None
    return [row for _, row in page], token


def _signed(signer: Signer, query: list[Any], content: str) -> str:
    signature = signer.sign(f"page token\n{json.dumps(query)}\n{content}".encode())
    packed = json.dumps([content, base64.b64encode(signature).decode()])
    return base64.urlsafe_b64encode(packed.encode()).decode()
