"""Idempotency tokens: what was made under which client token."""

import json

from sqlalchemy import Connection, delete, insert, select

from vivavoce.errors import InvalidRequest
from vivavoce.store import tables
from vivavoce.store.sealing import Keys


class IdempotencyTokens:
    """The tokens, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def find(self, scope: str, token: str, facts: object) -> str | None:
        """The id of what a token made, or None if it is new.

        Args:
            scope: where the token counts: the operation it was given to, and the domain or region.
            token: the client's token.
            facts: everything else in the request, as JSON has it.

        Raises:
            InvalidRequest: the token was used with other facts before.
        """
        tokens = tables.idempotency_tokens
        query = select(tokens.c.fingerprint, tokens.c.resource_id).where(
            tokens.c.scope == scope, tokens.c.token == token
        )
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.fingerprint != self._fingerprint(facts):
            raise InvalidRequest("The client token was used with other parameters before")
        return row.resource_id

    def add(self, scope: str, token: str, facts: object, *, resource_id: str, now_ms: int) -> None:
        """Note what was made."""
        self._connection.execute(
            insert(tables.idempotency_tokens).values(
                scope=scope,
                token=token,
                fingerprint=self._fingerprint(facts),
                resource_id=resource_id,
                created_ms=now_ms,
            )
        )

    def forget_before(self, instant_ms: int) -> None:
        """Forget tokens older than an instant."""
        tokens = tables.idempotency_tokens
        self._connection.execute(delete(tokens).where(tokens.c.created_ms < instant_ms))

    def _fingerprint(self, facts: object) -> bytes:
        # Keyed: requests name customers, and a plain hash of a customer id can be guessed.
        return self._keys.root.blind_index(json.dumps(facts, sort_keys=True))
