"""Rows of domains and watchlists, and the tokens that make creation idempotent."""

import json
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from vivavoce.errors import Conflict, InvalidRequest, NotFound
from vivavoce.store import tables
from vivavoce.store.records import Domain
from vivavoce.store.sealing import DomainSealer, Keys, domain_sealer


class Domains:
    """The domains, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def add(self, domain: Domain) -> None:
        """Add a domain and its default watchlist, with a data key of its own."""
        sealed_key = self._keys.new_domain_key(domain.domain_id)
        sealer = DomainSealer(self._keys.domain_key(domain.domain_id, sealed_key), domain.domain_id)
        self._connection.execute(
            insert(tables.domains).values(
                domain_id=domain.domain_id,
                arn=domain.arn,
                sealed_key=sealed_key,
                sealed_name=sealer.seal_text(domain.name, "name"),
                sealed_description=None
                if domain.description is None
                else sealer.seal_text(domain.description, "description"),
                kms_key_id=domain.kms_key_id,
                status=domain.status,
                default_watchlist_id=domain.default_watchlist_id,
                created_ms=domain.created_ms,
                updated_ms=domain.updated_ms,
            )
        )
        self._connection.execute(
            insert(tables.watchlists).values(
                watchlist_id=domain.default_watchlist_id,
                domain_id=domain.domain_id,
                is_default=True,
                created_ms=domain.created_ms,
                updated_ms=domain.created_ms,
            )
        )

    def get(self, domain_id: str) -> Domain:
        """One domain.

        Raises:
            NotFound: there is none of that id.
        """
        query = select(tables.domains).where(tables.domains.c.domain_id == domain_id)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("DOMAIN")
        return self._open(row)

    def get_active(self, domain_id: str) -> Domain:
        """One domain, for what only an active one allows.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is not active.
        """
        domain = self.get(domain_id)
        if domain.status != "ACTIVE":
            raise Conflict("DOMAIN_NOT_ACTIVE", "The domain is not active.")
        return domain

    def page(self, *, after: int, size: int) -> list[tuple[int, Domain]]:
        """Up to `size` domains whose sequence number is above `after`, each with its own."""
        query = (
            select(tables.domains)
            .where(tables.domains.c.sequence > after)
            .order_by(tables.domains.c.sequence)
            .limit(size)
        )
        return [(row.sequence, self._open(row)) for row in self._connection.execute(query)]

    def require_watchlist(self, domain_id: str, watchlist_id: str) -> None:
        """Make sure that the domain has this watchlist.

        Raises:
            NotFound: it has not.
        """
        watchlists = tables.watchlists
        query = select(watchlists.c.sequence).where(
            watchlists.c.domain_id == domain_id, watchlists.c.watchlist_id == watchlist_id
        )
        if self._connection.execute(query).one_or_none() is None:
            raise NotFound("WATCHLIST")

    def sealer(self, domain_id: str) -> DomainSealer:
        """The domain's sealer.

        Raises:
            NotFound: there is no such domain.
        """
        return domain_sealer(self._connection, self._keys, domain_id)

    def _open(self, row: Row[Any]) -> Domain:
        sealer = DomainSealer(self._keys.domain_key(row.domain_id, row.sealed_key), row.domain_id)
        return Domain(
            domain_id=row.domain_id,
            arn=row.arn,
            name=sealer.open_text(row.sealed_name, "name"),
            description=None
            if row.sealed_description is None
            else sealer.open_text(row.sealed_description, "description"),
            kms_key_id=row.kms_key_id,
            status=row.status,
            default_watchlist_id=row.default_watchlist_id,
            created_ms=row.created_ms,
            updated_ms=row.updated_ms,
        )


class IdempotencyTokens:
    """What was made under which client token, within one transaction."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def find(self, operation: str, token: str, facts: object) -> str | None:
        """The id of what a token made, or None if it is new.

        Args:
            operation: the operation it was given to.
            token: the client's token.
            facts: everything else in the request, as JSON has it.

        Raises:
            InvalidRequest: the token was used with other facts before.
        """
        tokens = tables.idempotency_tokens
        query = select(tokens.c.fingerprint, tokens.c.resource_id).where(
            tokens.c.operation == operation, tokens.c.token == token
        )
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.fingerprint != self._fingerprint(facts):
            raise InvalidRequest("The client token was used with other parameters before")
        return row.resource_id

    def add(
        self, operation: str, token: str, facts: object, *, resource_id: str, now_ms: int
    ) -> None:
        """Note what was made."""
        self._connection.execute(
            insert(tables.idempotency_tokens).values(
                operation=operation,
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
