"""Rows of domains and their keys."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from vivavoce.errors import Conflict, KeyDenied, KeyServiceDown, NotFound, concurrent_changes
from vivavoce.store import places, tables
from vivavoce.store.lookup import LookUp
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import Domain, EncryptionStatus
from vivavoce.store.sealing import DomainSealer, Sealers

_FIRST_KEY = 1

_SLICE_ROWS = 200
"""Rows erased in a transaction: writers of calls wait behind it for some milliseconds."""

_SLICE_SPEECHES = 20
"""The same where a row holds speech, half a megabyte."""

# In an order in which little hangs on the rows of each; the rest of that goes with them.
_CHILDREN = (
    (tables.domain_keys.c.domain_id, _SLICE_ROWS),
    (tables.voiceprints.c.owner_id, _SLICE_SPEECHES),
    (tables.sessions.c.sequence, _SLICE_SPEECHES),
    (tables.speakers.c.sequence, _SLICE_ROWS),
    (tables.fraudsters.c.sequence, _SLICE_ROWS),
    (tables.watchlists.c.sequence, _SLICE_ROWS),
    (tables.job_entries.c.entry_id, _SLICE_ROWS),
    (tables.jobs.c.sequence, _SLICE_ROWS),
)

_ONE = LookUp(
    select(tables.domains).where(
        tables.domains.c.domain_id == bindparam("domain_id"), tables.domains.c.deleted_ms.is_(None)
    )
)


class Domains:
    """The domains, within one transaction. A deleted domain does not exist here."""

    def __init__(self, connection: Connection, sealers: Sealers, quotas: Quotas) -> None:
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas

    def add(self, domain: Domain, *, wrapped_key: bytes, tags: Mapping[str, str]) -> None:
        """Add a domain.

        Args:
            domain: the domain; its name is set.
            wrapped_key: its data key, wrapped by the customer's key that the domain names.
            tags: values by key.

        Raises:
            QuotaExceeded: the region has as many as it may.
        """
        self.require_room(domain.region)
        sealer = DomainSealer(
            self._sealers.keys,
            domain_id=domain.domain_id,
            arn=domain.arn,
            status=domain.status,
            wrapped={_FIRST_KEY: (domain.kms_key_id, wrapped_key)},
            sealed_index_key=None,
        )
        self._connection.execute(
            insert(tables.domains).values(
                domain_id=domain.domain_id,
                arn=domain.arn,
                region=domain.region,
                sealed_index_key=sealer.sealed_index_key,
                sealed_tags=self._seal_tags(domain.domain_id, tags),
                status=domain.status,
                default_watchlist_id=domain.default_watchlist_id,
                kms_key_id=domain.kms_key_id,
                version=domain.version,
                created_ms=domain.created_ms,
                updated_ms=domain.updated_ms,
                **_sealed_texts(domain, sealer),
            )
        )
        self._add_key(domain, _FIRST_KEY, wrapped_key)

    def require_room(self, region: str) -> None:
        """Make sure that a region can have one domain more.

        Raises:
            QuotaExceeded: it has as many as it may.
        """
        if self._quotas.domains is not None:
            live = tables.domains.c.deleted_ms.is_(None)
            there = self._connection.execute(
                select(func.count()).where(live, _in_region(region))
            ).scalar_one()
            require_room(self._quotas.domains, there, "domains")

    def get(self, domain_id: str) -> Domain:
        """One domain.

        Raises:
            NotFound: there is none of that id.
            KeyDenied: the customer's key cannot be used.
        """
        row = _ONE.one(self._connection, domain_id=domain_id)
        if row is None:
            raise NotFound("DOMAIN")
        return self._open(row)

    def get_active(self, domain_id: str) -> Domain:
        """One domain, for what only an active one allows.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is not active.
        """
        self.require_active(domain_id)
        return self.get(domain_id)

    def require_active(self, domain_id: str) -> None:
        """Make sure that a domain is active.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is not active.
        """
        if self._sealers.of(domain_id).status != "ACTIVE":
            raise Conflict("DOMAIN_NOT_ACTIVE", "The domain is not active.")

    def arn(self, domain_id: str, *, deleted_too: bool = False) -> str | None:
        """A domain's ARN, which never changes; None where there is no such domain."""
        domains = tables.domains
        query = select(domains.c.arn).where(domains.c.domain_id == domain_id)
        if not deleted_too:
            query = query.where(domains.c.deleted_ms.is_(None))
        return self._connection.execute(query).scalar_one_or_none()

    def exist(self) -> bool:
        """Whether there are any rows of domains, deleted ones among them."""
        return (
            self._connection.execute(select(tables.domains.c.domain_id).limit(1)).first()
            is not None
        )

    def page(self, region: str | None, *, after: int, size: int) -> list[tuple[int, Domain]]:
        """Up to `size` domains whose sequence number is above `after`, each with its own.

        Args:
            region: only those of this region; None for all.
            after: a sequence number.
            size: the most to give.
        """
        domains = tables.domains
        query = (
            select(domains)
            .where(domains.c.sequence > after, domains.c.deleted_ms.is_(None))
            .order_by(domains.c.sequence)
            .limit(size)
        )
        if region is not None:
            query = query.where(_in_region(region))
        return [(row.sequence, self._listed(row)) for row in self._connection.execute(query).all()]

    def update(self, domain: Domain) -> None:
        """Write a domain's texts and encryption state anew.

        Args:
            domain: as it is to be; its version is the one that was read.

        Raises:
            Conflict: another request has changed it since.
        """
        domains = tables.domains
        done = self._connection.execute(
            update(domains)
            .where(domains.c.domain_id == domain.domain_id, domains.c.version == domain.version)
            .values(
                kms_key_id=domain.kms_key_id,
                old_kms_key_id=domain.old_kms_key_id,
                encryption_status=domain.encryption_status,
                encryption_message=domain.encryption_message,
                version=domain.version + 1,
                updated_ms=domain.updated_ms,
                **_sealed_texts(domain, self._sealers.of(domain.domain_id)),
            )
        )
        if done.rowcount == 0:
            raise concurrent_changes()

    def change_key(self, domain: Domain, *, wrapped_key: bytes) -> None:
        """Give a domain a new data key; new data is sealed under it from here on.

        Args:
            domain: as it is to be, naming the new customer's key.
            wrapped_key: the data key, wrapped by that.

        Raises:
            Conflict: another request has changed the domain since.
            KeyDenied: the old customer's key cannot be used.
        """
        # The row is locked first: of two processes in PostgreSQL that change a key at once, the
        # later one is to fail as a conflict, not because there is a key of its number.
        lock = select(tables.domains.c.version).with_for_update()
        self._connection.execute(lock.where(tables.domains.c.domain_id == domain.domain_id))
        before = self._sealers.of(domain.domain_id)
        index_key = before.open(before.sealed_index_key, places.DOMAIN_INDEX_KEY)
        self._add_key(domain, before.number + 1, wrapped_key)
        self._sealers.forget(domain.domain_id)
        self.update(domain)
        # At once, so that customer ids are found even if the old key is denied half-way.
        sealed = self._sealers.of(domain.domain_id).seal(index_key, places.DOMAIN_INDEX_KEY)
        self._connection.execute(
            update(tables.domains)
            .where(tables.domains.c.domain_id == domain.domain_id)
            .values(sealed_index_key=sealed)
        )
        self._sealers.forget(domain.domain_id)

    def set_encryption(
        self, domain_id: str, status: EncryptionStatus, message: str | None, *, now_ms: int
    ) -> None:
        """Note how far a change of keys is; needs no key, as none may be usable."""
        domains = tables.domains
        self._connection.execute(
            update(domains)
            .where(domains.c.domain_id == domain_id)
            .values(
                encryption_status=status,
                encryption_message=message,
                version=domains.c.version + 1,
                updated_ms=now_ms,
            )
        )

    def drop_old_keys(self, domain_id: str) -> None:
        """Destroy all data keys of a domain but the one in use."""
        keys = tables.domain_keys
        self._connection.execute(
            delete(keys).where(
                keys.c.domain_id == domain_id, keys.c.number < self._sealers.of(domain_id).number
            )
        )
        self._sealers.forget(domain_id)

    def being_reencrypted(self) -> list[str]:
        """Ids of the domains whose change of keys is not finished."""
        domains = tables.domains
        query = select(domains.c.domain_id).where(
            domains.c.encryption_status == "IN_PROGRESS", domains.c.deleted_ms.is_(None)
        )
        return list(self._connection.execute(query).scalars())

    def mark_deleted(self, domain_id: str, *, now_ms: int) -> None:
        """Make a domain cease to exist; its rows go later."""
        self._connection.execute(
            update(tables.domains)
            .where(tables.domains.c.domain_id == domain_id)
            .values(deleted_ms=now_ms)
        )

    def deleted_before(self, instant_ms: int) -> list[str]:
        """Ids of the domains that were deleted before an instant and still have rows."""
        domains = tables.domains
        query = select(domains.c.domain_id).where(domains.c.deleted_ms < instant_ms)
        return list(self._connection.execute(query.order_by(domains.c.sequence)).scalars())

    def erase_some(self, domain_id: str) -> bool:
        """Remove a slice of a deleted domain's rows; gives whether there may be more.

        Its keys go first, for nothing opens without them; its own row goes last, so that whoever is
        broken off can be followed by another. Rows of a domain that was not deleted stay.
        """
        domains = tables.domains
        is_deleted = (domains.c.domain_id == domain_id) & domains.c.deleted_ms.is_not(None)
        deleted = select(domains.c.domain_id).where(is_deleted)
        for row_id, slice_rows in _CHILDREN:
            table = row_id.table
            some = select(row_id).where(table.c.domain_id.in_(deleted)).limit(slice_rows)
            if self._connection.execute(delete(table).where(row_id.in_(some))).rowcount:
                return True
        self._connection.execute(delete(domains).where(is_deleted))
        return False

    def tags(self, domain_id: str) -> dict[str, str]:
        """A domain's tags.

        Raises:
            NotFound: there is no such domain.
        """
        row = _ONE.one(self._connection, domain_id=domain_id)
        if row is None:
            raise NotFound("DOMAIN")
        opened = self._sealers.keys.root.unseal(row.sealed_tags, place=places.tags(domain_id))
        return json.loads(opened)

    def set_tags(self, domain_id: str, tags: Mapping[str, str]) -> None:
        """Replace a domain's tags."""
        self._connection.execute(
            update(tables.domains)
            .where(tables.domains.c.domain_id == domain_id)
            .values(sealed_tags=self._seal_tags(domain_id, tags))
        )

    def _add_key(self, domain: Domain, number: int, wrapped_key: bytes) -> None:
        self._connection.execute(
            insert(tables.domain_keys).values(
                domain_id=domain.domain_id,
                number=number,
                kms_key_id=domain.kms_key_id,
                wrapped_key=wrapped_key,
            )
        )

    def _seal_tags(self, domain_id: str, tags: Mapping[str, str]) -> bytes:
        # Under the root key: who may do what is asked before a customer's key is.
        text = json.dumps(dict(tags), sort_keys=True)
        return self._sealers.keys.root.seal(text.encode(), place=places.tags(domain_id))

    def _listed(self, row: Row[Any]) -> Domain:
        """A domain as lists show it: one whose key is denied must not hide the others."""
        try:
            return self._open(row)
        except (KeyDenied, KeyServiceDown):
            return _domain(row, name=None, description=None, status="SUSPENDED")

    def _open(self, row: Row[Any]) -> Domain:
        sealer = self._sealers.of(row.domain_id)
        return _domain(
            row,
            name=sealer.open_text(row.sealed_name, places.DOMAIN_NAME),
            description=None
            if row.sealed_description is None
            else sealer.open_text(row.sealed_description, places.DOMAIN_DESCRIPTION),
        )


def _in_region(region: str) -> ColumnElement[bool]:
    return tables.domains.c.region == region


def _sealed_texts(domain: Domain, sealer: DomainSealer) -> dict[str, Any]:
    description = domain.description
    return {
        "sealed_name": sealer.seal_text(domain.name or "", places.DOMAIN_NAME),
        "sealed_description": None
        if description is None
        else sealer.seal_text(description, places.DOMAIN_DESCRIPTION),
    }


def _domain(row: Row[Any], **opened: Any) -> Domain:  # noqa: ANN401 - of many types
    plain = {
        "domain_id": row.domain_id,
        "arn": row.arn,
        "region": row.region,
        "kms_key_id": row.kms_key_id,
        "old_kms_key_id": row.old_kms_key_id,
        "encryption_status": row.encryption_status,
        "encryption_message": row.encryption_message,
        "status": row.status,
        "default_watchlist_id": row.default_watchlist_id,
        "version": row.version,
        "created_ms": row.created_ms,
        "updated_ms": row.updated_ms,
    }
    return Domain(**(plain | opened))
