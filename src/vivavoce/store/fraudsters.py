"""Rows of watchlists and of the fraudsters on them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from vivavoce.errors import Conflict, NotFound
from vivavoce.store import places, tables
from vivavoce.store.fraudster_changes import FraudsterChanges
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import Fraudster, Watchlist
from vivavoce.store.sealing import DomainSealer, Sealers

_SHOWN = (
    tables.fraudsters.c.sequence,
    tables.fraudsters.c.fraudster_id,
    tables.fraudsters.c.created_ms,
)


class Watchlists:
    """The watchlists, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers, quotas: Quotas) -> None:
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas

    def add(self, watchlist: Watchlist) -> None:
        """Add a watchlist.

        Raises:
            QuotaExceeded: the domain has as many as it may.
        """
        watchlists = tables.watchlists
        if self._quotas.watchlists is not None:
            there = self._connection.execute(
                select(func.count()).where(watchlists.c.domain_id == watchlist.domain_id)
            ).scalar_one()
            require_room(self._quotas.watchlists, there, "watchlists in a domain")
        self._connection.execute(
            insert(watchlists).values(
                watchlist_id=watchlist.watchlist_id,
                domain_id=watchlist.domain_id,
                is_default=watchlist.is_default,
                created_ms=watchlist.created_ms,
                updated_ms=watchlist.updated_ms,
                **self._sealed_texts(watchlist),
            )
        )

    def get(self, domain_id: str, watchlist_id: str) -> Watchlist:
        """One watchlist.

        Raises:
            NotFound: there is no such domain or watchlist.
        """
        sealer = self._sealers.of(domain_id)
        watchlists = tables.watchlists
        query = select(watchlists).where(
            watchlists.c.domain_id == domain_id, watchlists.c.watchlist_id == watchlist_id
        )
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("WATCHLIST")
        return _open_watchlist(row, sealer)

    def page(self, domain_id: str, *, after: int, size: int) -> list[tuple[int, Watchlist]]:
        """Up to `size` watchlists whose sequence number is above `after`, each with its own.

        Raises:
            NotFound: there is no such domain.
        """
        sealer = self._sealers.of(domain_id)
        watchlists = tables.watchlists
        query = (
            select(watchlists)
            .where(watchlists.c.domain_id == domain_id, watchlists.c.sequence > after)
            .order_by(watchlists.c.sequence)
            .limit(size)
        )
        rows = self._connection.execute(query).all()
        return [(row.sequence, _open_watchlist(row, sealer)) for row in rows]

    def update(self, watchlist: Watchlist) -> None:
        """Write a watchlist's texts anew."""
        watchlists = tables.watchlists
        self._connection.execute(
            update(watchlists)
            .where(watchlists.c.watchlist_id == watchlist.watchlist_id)
            .values(updated_ms=watchlist.updated_ms, **self._sealed_texts(watchlist))
        )

    def remove(self, watchlist_id: str) -> None:
        """Delete a watchlist.

        Raises:
            Conflict: there are fraudsters on it.
        """
        members = tables.watchlist_members
        query = select(members.c.fraudster_id).where(members.c.watchlist_id == watchlist_id)
        if self._connection.execute(query.limit(1)).first() is not None:
            raise Conflict(
                "CANNOT_DELETE_NON_EMPTY_WATCHLIST",
                "You cannot delete a watchlist that has fraudsters.",
            )
        self._connection.execute(
            delete(tables.watchlists).where(tables.watchlists.c.watchlist_id == watchlist_id)
        )

    def _sealed_texts(self, watchlist: Watchlist) -> dict[str, Any]:
        sealer = self._sealers.of(watchlist.domain_id)
        watchlist_id, description = watchlist.watchlist_id, watchlist.description
        return {
            "sealed_name": sealer.seal_text(watchlist.name, places.watchlist_name(watchlist_id)),
            "sealed_description": None
            if description is None
            else sealer.seal_text(description, places.watchlist_description(watchlist_id)),
        }


class Fraudsters:
    """The fraudsters and the watchlists they are on, within one transaction."""

    def __init__(
        self,
        connection: Connection,
        sealers: Sealers,
        quotas: Quotas,
        *,
        changes: FraudsterChanges,
    ) -> None:
        """Within a transaction.

        Args:
            connection: of the transaction.
            sealers: its sealers.
            quotas: how many there may be.
            changes: where it is noted what changed.
        """
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas
        self._changes = changes

    def add(self, fraudster: Fraudster) -> None:
        """Add a fraudster to its watchlists, with a key of its own.

        Raises:
            QuotaExceeded: a watchlist has as many as it may.
        """
        sealer = self._sealers.of(fraudster.domain_id)
        _, sealed_key = sealer.new_owner(fraudster.fraudster_id)
        self._connection.execute(
            insert(tables.fraudsters).values(
                fraudster_id=fraudster.fraudster_id,
                domain_id=fraudster.domain_id,
                sealed_key=sealed_key,
                created_ms=fraudster.created_ms,
            )
        )
        for watchlist_id in fraudster.watchlist_ids:
            self._add_member(watchlist_id, fraudster.fraudster_id)
        self._changes.note(fraudster.domain_id, fraudster.fraudster_id)

    def get(self, domain_id: str, fraudster_id: str) -> Fraudster:
        """One fraudster.

        Raises:
            NotFound: there is no such domain or fraudster.
        """
        self._sealers.of(domain_id)  # the domain comes first
        fraudsters = tables.fraudsters
        found = self._read(fraudsters.c.fraudster_id == fraudster_id, domain_id, size=1)
        if not found:
            raise NotFound("FRAUDSTER")
        return found[0][1]

    def page(
        self, domain_id: str, *, watchlist_id: str | None, after: int, size: int
    ) -> list[tuple[int, Fraudster]]:
        """Up to `size` fraudsters whose sequence number is above `after`, each with its own.

        Args:
            domain_id: the domain.
            watchlist_id: only those on this watchlist; None for all.
            after: a sequence number.
            size: the most to give.

        Raises:
            NotFound: there is no such domain.
        """
        self._sealers.of(domain_id)
        fraudsters, members = tables.fraudsters, tables.watchlist_members
        wanted = fraudsters.c.sequence > after
        if watchlist_id is not None:
            on_list = select(members.c.fraudster_id).where(members.c.watchlist_id == watchlist_id)
            wanted &= fraudsters.c.fraudster_id.in_(on_list)
        return self._read(wanted, domain_id, size=size)

    def of_ids(self, domain_id: str, fraudster_ids: Sequence[str]) -> list[Fraudster]:
        """Those fraudsters of some ids that there are.

        Raises:
            NotFound: there is no such domain.
        """
        self._sealers.of(domain_id)
        fraudsters = tables.fraudsters
        # By id alone: with the domain among the conditions SQLite goes through all of it.
        rows = self._connection.execute(
            select(*_SHOWN, fraudsters.c.domain_id)
            .where(fraudsters.c.fraudster_id.in_(fraudster_ids))
            .order_by(fraudsters.c.sequence)
        ).all()
        found = self._with_lists([row for row in rows if row.domain_id == domain_id], domain_id)
        return [fraudster for _, fraudster in found]

    def associate(self, fraudster: Fraudster, watchlist_id: str) -> None:
        """Put a fraudster on one more watchlist; nothing happens if it is on it.

        Raises:
            QuotaExceeded: the watchlist has as many as it may.
        """
        if watchlist_id not in fraudster.watchlist_ids:
            self._add_member(watchlist_id, fraudster.fraudster_id)
            self._changes.note(fraudster.domain_id, fraudster.fraudster_id)

    def disassociate(self, fraudster: Fraudster, watchlist_id: str) -> None:
        """Take a fraudster off a watchlist; nothing happens if it is not on it.

        Raises:
            Conflict: it is on no other one.
        """
        if fraudster.watchlist_ids == (watchlist_id,):
            raise Conflict(
                "FRAUDSTER_MUST_BELONG_TO_AT_LEAST_ONE_WATCHLIST",
                "A fraudster must belong to at least one watchlist.",
            )
        members = tables.watchlist_members
        self._connection.execute(
            delete(members).where(
                members.c.watchlist_id == watchlist_id,
                members.c.fraudster_id == fraudster.fraudster_id,
            )
        )
        self._changes.note(fraudster.domain_id, fraudster.fraudster_id)

    def remove(self, domain_id: str, fraudster_id: str) -> None:
        """Delete a fraudster, the voiceprint, and the key that opens it."""
        self._connection.execute(
            delete(tables.voiceprints).where(tables.voiceprints.c.owner_id == fraudster_id)
        )
        self._connection.execute(
            delete(tables.fraudsters).where(tables.fraudsters.c.fraudster_id == fraudster_id)
        )
        self._changes.note_removal(domain_id, fraudster_id)

    def _add_member(self, watchlist_id: str, fraudster_id: str) -> None:
        members = tables.watchlist_members
        if self._quotas.fraudsters is not None:
            there = self._connection.execute(
                select(func.count()).where(members.c.watchlist_id == watchlist_id)
            ).scalar_one()
            require_room(self._quotas.fraudsters, there, "fraudsters on a watchlist")
        self._connection.execute(
            insert(members).values(watchlist_id=watchlist_id, fraudster_id=fraudster_id)
        )

    def _read(
        self, wanted: ColumnElement[bool], domain_id: str, *, size: int
    ) -> list[tuple[int, Fraudster]]:
        fraudsters = tables.fraudsters
        rows = self._connection.execute(
            select(*_SHOWN)
            .where(fraudsters.c.domain_id == domain_id, wanted)
            .order_by(fraudsters.c.sequence)
            .limit(size)
        ).all()
        return self._with_lists(rows, domain_id)

    def _with_lists(
        self, rows: Sequence[Row[*tuple[Any, ...]]], domain_id: str
    ) -> list[tuple[int, Fraudster]]:
        members, watchlists = tables.watchlist_members, tables.watchlists
        lists: dict[str, list[str]] = {row.fraudster_id: [] for row in rows}
        for member in self._connection.execute(
            select(members.c.fraudster_id, members.c.watchlist_id)
            .join(watchlists, watchlists.c.watchlist_id == members.c.watchlist_id)
            .where(members.c.fraudster_id.in_(lists))
            .order_by(watchlists.c.sequence)
        ):
            lists[member.fraudster_id].append(member.watchlist_id)
        return [
            (
                row.sequence,
                Fraudster(
                    fraudster_id=row.fraudster_id,
                    domain_id=domain_id,
                    watchlist_ids=tuple(lists[row.fraudster_id]),
                    created_ms=row.created_ms,
                ),
            )
            for row in rows
        ]


def _open_watchlist(row: Row[Any], sealer: DomainSealer) -> Watchlist:
    return Watchlist(
        watchlist_id=row.watchlist_id,
        domain_id=row.domain_id,
        name=sealer.open_text(row.sealed_name, places.watchlist_name(row.watchlist_id)),
        description=None
        if row.sealed_description is None
        else sealer.open_text(
            row.sealed_description, places.watchlist_description(row.watchlist_id)
        ),
        is_default=row.is_default,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
