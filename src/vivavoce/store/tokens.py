"""Idempotency tokens: what was made under which client token."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from vivavoce.errors import InvalidRequest
from vivavoce.store import tables
from vivavoce.store.sealing import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientToken:
    """What makes a request that creates something idempotent.

    Attributes:
        scope: where the token counts: the operation it was given to, and the domain or region.
        text: the client's token; None: none was given, and the request always creates.
        facts: everything else in the request, as JSON has it.
    """

    scope: str
    text: str | None
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, request: Mapping[str, Any], *, scope: str) -> "ClientToken":
        """The token of a request that has a member of this name."""
        facts = {name: value for name, value in request.items() if name != "ClientToken"}
        return cls(scope=scope, text=request.get("ClientToken"), facts=facts)


class IdempotencyTokens:
    """The tokens, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def find(self, token: ClientToken) -> str | None:
        """The id of what a token made, or None if it is new.

        Raises:
            InvalidRequest: the token was used with other facts before.
        """
        if token.text is None:
            return None
        tokens = tables.idempotency_tokens
        query = select(tokens.c.fingerprint, tokens.c.resource_id).where(
            tokens.c.scope == token.scope, tokens.c.token == token.text
        )
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.fingerprint != self._fingerprint(token):
            raise InvalidRequest("The client token was used with other parameters before")
        return row.resource_id

    def add(self, token: ClientToken, *, resource_id: str, now_ms: int) -> None:
        """Note what was made."""
        if token.text is None:
            return
        self._connection.execute(
            insert(tables.idempotency_tokens).values(
                scope=token.scope,
                token=token.text,
                fingerprint=self._fingerprint(token),
                resource_id=resource_id,
                created_ms=now_ms,
            )
        )

    def forget_before(self, instant_ms: int) -> None:
        """Forget tokens older than an instant."""
        tokens = tables.idempotency_tokens
        self._connection.execute(delete(tokens).where(tokens.c.created_ms < instant_ms))

    def _fingerprint(self, token: ClientToken) -> bytes:
        # Keyed: requests name customers, and a plain hash of a customer id can be guessed.
        return self._keys.root.blind_index(json.dumps(token.facts, sort_keys=True))
