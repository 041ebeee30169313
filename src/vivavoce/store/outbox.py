"""Rows of the outbox: events that wait for delivery, one row a sink.

What is delivered is taken out. What was given up is *dead*: it stays, visible, until an operator
revives or discards it, and does not hold up the events behind it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from vivavoce.store import tables

LONGEST_PAUSE_MS = 3_600_000
"""What is put off further than this was noted before the clock was set back: it is due."""

_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event on its way to one sink.

    Attributes:
        resource: what it is about; events of one resource keep their order.
        body: the whole envelope as JSON.
        attempts: how often delivery was tried.
        next_attempt_ms: not to be tried before; 0 before the first attempt.
        last_error: why the last attempt failed.
    """

    sequence: int
    sink: str
    resource: str
    event_id: str
    body: str = field(repr=False)
    created_ms: int
    attempts: int
    next_attempt_ms: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much of a sink's events is not delivered.

    Attributes:
        oldest_created_ms: when the oldest waiting one was made; None if none waits.
    """

    waiting: int
    dead: int
    oldest_created_ms: int | None


class OutboxRows:
    """The outbox, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, sinks: Sequence[str], *, resource: str, body: Mapping[str, Any], now_ms: int
    ) -> None:
        """Put an event in the outbox, for each of these sinks; without sinks, nothing.

        Args:
            sinks: names of those in use.
            resource: what the event is about.
            body: the whole envelope; its `id` is the event's.
            now_ms: the time; the event is due whatever becomes of the clock.
        """
        if not sinks:
            return
        row = {
            "resource": resource,
            "event_id": body["id"],
            "body": json.dumps(body, separators=(",", ":")),
            "created_ms": now_ms,
            "attempts": 0,
            "next_attempt_ms": 0,
            "is_dead": False,
        }
        self._connection.execute(insert(tables.outbox), [{"sink": sink, **row} for sink in sinks])

    def due(self, sink: str, *, now_ms: int, limit: int) -> list[Delivery]:
        """What can be delivered now, oldest first: of each resource the oldest event that waits."""
        row = tables.outbox
        before = tables.outbox.alias("before")
        is_behind = exists().where(
            before.c.sink == row.c.sink,
            before.c.resource == row.c.resource,
            before.c.sequence < row.c.sequence,
            _waits(before.c.is_dead),
        )
        query = (
            select(row)
            .where(
                row.c.sink == sink,
                row.c.is_dead == false(),
                or_(
                    row.c.next_attempt_ms <= now_ms,
                    row.c.next_attempt_ms > now_ms + LONGEST_PAUSE_MS,
                ),
                ~is_behind,
            )
            .order_by(row.c.sequence)
            .limit(limit)
        )
        return [_delivery(found) for found in self._connection.execute(query).all()]

    def delivered(self, sequence: int) -> Delivery | None:
        """Take an event out; gives the next one of its resource to the same sink, if one waits."""
        row = tables.outbox
        gone = self._connection.execute(
            delete(row).where(row.c.sequence == sequence).returning(row.c.sink, row.c.resource)
        ).one_or_none()
        if gone is None:
            return None
        query = (
            select(row)
            .where(
                row.c.sink == gone.sink,
                row.c.resource == gone.resource,
                _waits(row.c.is_dead),
            )
            .order_by(row.c.sequence)
            .limit(1)
        )
        following = self._connection.execute(query).one_or_none()
        return None if following is None else _delivery(following)

    def failed(self, sequence: int, error: str, *, next_attempt_ms: int) -> None:
        """Note a failed attempt, and when the next one is due."""
        row = tables.outbox
        self._connection.execute(
            update(row)
            .where(row.c.sequence == sequence)
            .values(
                attempts=row.c.attempts + 1,
                next_attempt_ms=next_attempt_ms,
                last_error=error[:_LONGEST_ERROR],
            )
        )

    def bury(self, sequence: int, error: str) -> None:
        """Give an event up after a last failed attempt."""
        row = tables.outbox
        self._connection.execute(
            update(row)
            .where(row.c.sequence == sequence)
            .values(attempts=row.c.attempts + 1, last_error=error[:_LONGEST_ERROR], is_dead=True)
        )

    def dead(self, sink: str | None = None, *, after: int, size: int) -> list[Delivery]:
        """Up to `size` dead events whose sequence number is above `after`.

        Args:
            sink: of this sink only; None for all.
            after: sequence number of the last one of the page before; 0 for the first page.
            size: of the page.
        """
        row = tables.outbox
        query = (
            select(row)
            .where(row.c.is_dead == true(), row.c.sequence > after)
            .order_by(row.c.sequence)
            .limit(size)
        )
        if sink is not None:
            query = query.where(row.c.sink == sink)
        return [_delivery(found) for found in self._connection.execute(query).all()]

    def bury_strangers(self, sinks: Sequence[str]) -> int:
        """Give up what waits for any other sink than these; gives how many events that were.

        A sink that was taken out of the settings takes nothing any more.
        """
        row = tables.outbox
        why = literal("the sink ") + row.c.sink + literal(" is not configured any more")
        statement = (
            update(row)
            .where(row.c.is_dead == false(), row.c.sink.not_in(sinks))
            .values(is_dead=True, last_error=why)
        )
        return self._connection.execute(statement).rowcount

    def revive(self, sequence: int | None = None) -> int:
        """Let a dead event (None: all of them) be tried again; gives how many there were."""
        row = tables.outbox
        statement = (
            update(row)
            .where(row.c.is_dead == true())
            .values(is_dead=False, attempts=0, next_attempt_ms=0)
        )
        if sequence is not None:
            statement = statement.where(row.c.sequence == sequence)
        return self._connection.execute(statement).rowcount

    def discard(self, sequence: int | None = None) -> int:
        """Drop a dead event (None: all of them) for good; gives how many there were."""
        row = tables.outbox
        statement = delete(row).where(row.c.is_dead == true())
        if sequence is not None:
            statement = statement.where(row.c.sequence == sequence)
        return self._connection.execute(statement).rowcount

    def discard_dead_before(self, instant_ms: int) -> int:
        """Drop the dead events that were made before an instant; gives how many there were."""
        row = tables.outbox
        statement = delete(row).where(row.c.is_dead == true(), row.c.created_ms < instant_ms)
        return self._connection.execute(statement).rowcount

    def depth(self, sink: str) -> Depth:
        """How much of a sink's events is not delivered."""
        row = tables.outbox
        counted = select(func.count()).select_from(row).where(row.c.sink == sink)
        waiting = counted.where(row.c.is_dead == false())
        dead = counted.where(row.c.is_dead == true())
        oldest = (
            select(row.c.created_ms)
            .where(row.c.sink == sink, row.c.is_dead == false())
            .order_by(row.c.sequence)
            .limit(1)
        )
        return Depth(
            waiting=self._connection.execute(waiting).scalar_one(),
            dead=self._connection.execute(dead).scalar_one(),
            oldest_created_ms=self._connection.execute(oldest).scalar_one_or_none(),
        )


def _waits(is_dead: ColumnElement[bool]) -> ColumnElement[bool]:
    """Not dead; wrapped, or SQLite may walk all that wait in search of those of one resource."""
    return func.coalesce(is_dead, true()) == false()


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        sequence=row.sequence,
        sink=row.sink,
        resource=row.resource,
        event_id=row.event_id,
        body=row.body,
        created_ms=row.created_ms,
        attempts=row.attempts,
        next_attempt_ms=row.next_attempt_ms,
        last_error=row.last_error,
    )
