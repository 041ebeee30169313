"""Notes of what changed about fraudsters; `vivavoce.store.galleries` tells what they are for."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from vivavoce.store import tables
from vivavoce.store.lookup import LookUp

_KEPT_CHANGES = 10_000
"""Notes kept of a domain; who has seen none of these opens everything anew."""

_MARK_BITS = 63

_changes = tables.fraudster_changes

_LATEST = LookUp(
    select(_changes.c.number, _changes.c.mark).where(
        _changes.c.domain_id == bindparam("domain_id"),
        _changes.c.number
        == select(func.max(_changes.c.number))
        .where(_changes.c.domain_id == bindparam("domain_id"))
        .scalar_subquery(),
    )
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A state of a domain's fraudsters: the number and the mark of the latest change."""

    number: int = 0
    mark: int = 0


class FraudsterChanges:
    """Notes of what changed about fraudsters, within one transaction."""

    def __init__(self, connection: Connection, *, on_removal: Callable[[str, str], None]) -> None:
        """Within a transaction.

        Args:
            connection: of the transaction.
            on_removal: told the domain and the id of each fraudster that is deleted.
        """
        self._connection = connection
        self._on_removal = on_removal

    def note_removal(self, domain_id: str, fraudster_id: str) -> None:
        """Note that a fraudster is deleted."""
        self.note(domain_id, fraudster_id)
        self._on_removal(domain_id, fraudster_id)

    def note(self, domain_id: str, fraudster_id: str) -> None:
        """Note that a fraudster, its voice or its watchlists changed."""
        number = self.latest(domain_id).number + 1
        self._connection.execute(
            insert(_changes).values(
                domain_id=domain_id,
                number=number,
                mark=secrets.randbits(_MARK_BITS),
                fraudster_id=fraudster_id,
            )
        )
        self._connection.execute(
            delete(_changes).where(
                _changes.c.domain_id == domain_id, _changes.c.number <= number - _KEPT_CHANGES
            )
        )

    def latest(self, domain_id: str) -> Moment:
        """The latest change."""
        row = _LATEST.one(self._connection, domain_id=domain_id)
        return Moment() if row is None else Moment(row.number, row.mark)

    def since(self, domain_id: str, moment: Moment) -> list[str] | None:
        """Who changed since then, each once; None where that is not known any more."""
        rows = self._connection.execute(
            select(_changes.c.number, _changes.c.mark, _changes.c.fraudster_id)
            .where(_changes.c.domain_id == domain_id, _changes.c.number >= moment.number)
            .order_by(_changes.c.number)
        ).all()
        if not rows or Moment(rows[0].number, rows[0].mark) != moment:
            return None
        return list({row.fraudster_id: None for row in rows[1:]})
