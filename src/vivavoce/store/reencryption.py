"""Sealing a domain's rows anew, under its newest key.

A walk goes through every value that a domain's key seals, a slice a transaction. It can be broken
off anywhere and begun again: a value that is under the newest key is left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, select, update

from vivavoce.store import places, tables
from vivavoce.store.sealing import DomainSealer, Sealers, number_of

_SLICE_ROWS = 200
"""Rows in a transaction: writers of calls wait behind it for some milliseconds."""

_SLICE_SPEECHES = 4
"""The same where a value is speech: half a megabyte, opened and sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """A column under domain keys.

    Attributes:
        owner: the column whose value names the place.
        place: the place, by that name.
        is_speech: whether each value is half a megabyte.
    """

    column: Column[Any]
    owner: Column[Any]
    place: Callable[[str], str]
    is_speech: bool = False

    @property
    def slice_rows(self) -> int:
        """Values to seal anew in a transaction."""
        return _SLICE_SPEECHES if self.is_speech else _SLICE_ROWS


_COLUMNS = (
    _Sealed(
        column=tables.watchlists.c.sealed_name,
        owner=tables.watchlists.c.watchlist_id,
        place=places.watchlist_name,
    ),
    _Sealed(
        column=tables.watchlists.c.sealed_description,
        owner=tables.watchlists.c.watchlist_id,
        place=places.watchlist_description,
    ),
    _Sealed(
        column=tables.speakers.c.sealed_key,
        owner=tables.speakers.c.speaker_id,
        place=places.owner_key,
    ),
    _Sealed(
        column=tables.fraudsters.c.sealed_key,
        owner=tables.fraudsters.c.fraudster_id,
        place=places.owner_key,
    ),
    _Sealed(
        column=tables.sessions.c.sealed_customer_id,
        owner=tables.sessions.c.session_id,
        place=places.session_customer_id,
    ),
    _Sealed(
        column=tables.sessions.c.sealed_speech,
        owner=tables.sessions.c.session_id,
        place=places.session_speech,
        is_speech=True,
    ),
    _Sealed(
        column=tables.evidence.c.sealed_vector,
        owner=tables.evidence.c.session_id,
        place=places.evidence_vector,
    ),
    _Sealed(
        column=tables.jobs.c.sealed_name,
        owner=tables.jobs.c.job_id,
        place=places.job_name,
    ),
    _Sealed(
        column=tables.job_entries.c.sealed_request,
        owner=tables.job_entries.c.entry_id,
        place=places.job_entry_request,
    ),
    _Sealed(
        column=tables.job_entries.c.sealed_outcome,
        owner=tables.job_entries.c.entry_id,
        place=places.job_entry_outcome,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a walk is: which column, and after which owner."""

    column: int = 0
    after: str = ""


class Reencryption:
    """A domain's walk, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers) -> None:
        self._connection = connection
        self._sealers = sealers

    def step(self, domain_id: str, position: Position) -> Position | None:
        """Seal the next slice anew; gives where to go on, or None at the end.

        Raises:
            NotFound: there is no such domain.
            KeyDenied: a customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
        """
        if position.column == len(_COLUMNS):
            return None
        sealed = _COLUMNS[position.column]
        sealer = self._sealers.of(domain_id)
        rows = self._connection.execute(
            select(sealed.owner, sealed.column)
            .where(
                _in_domain(sealed, domain_id),
                sealed.column.is_not(None),
                sealed.owner > position.after,
            )
            .order_by(sealed.owner)
            .limit(sealed.slice_rows)
        ).all()
        for owner, value in rows:
            if number_of(value) != sealer.number:
                self._reseal(sealed, owner, value, sealer)
        if len(rows) < sealed.slice_rows:
            return Position(column=position.column + 1)
        return Position(column=position.column, after=rows[-1][0])

    def remains(self, domain_id: str) -> bool:
        """Whether anything is still under an older key, as another process may have written."""
        newest = self._sealers.of(domain_id).number.to_bytes(2, "big")
        return any(
            self._connection.execute(
                select(sealed.owner)
                .where(
                    _in_domain(sealed, domain_id),
                    sealed.column.is_not(None),
                    func.substr(sealed.column, 1, 2) != newest,
                )
                .limit(1)
            ).first()
            is not None
            for sealed in _COLUMNS
        )

    def _reseal(self, sealed: _Sealed, owner: str, value: bytes, sealer: DomainSealer) -> None:
        place = sealed.place(owner)
        self._connection.execute(
            update(sealed.column.table)
            .where(sealed.owner == owner)
            .values({sealed.column.name: sealer.seal(sealer.open(value, place), place)})
        )


def _in_domain(sealed: _Sealed, domain_id: str) -> ColumnElement[bool]:
    table = sealed.column.table
    if "domain_id" in table.c:
        return table.c.domain_id == domain_id
    sessions = tables.sessions
    of_domain = select(sessions.c.session_id).where(sessions.c.domain_id == domain_id)
    return sealed.owner.in_(of_domain)
