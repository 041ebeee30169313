"""The audit log: records that are only ever added, each sealed to the one before it.

A record's MAC covers the MAC before it, its number, its time and its text, under a key derived from
the root key: whoever cannot use the root key cannot change, move, insert or take out a record
without breaking the chain. One more row, the head, says under seal where the log ends; without it a
shortened log would look whole. A decision is recorded in the transaction that gives it out; a call
in one of its own, after its change was committed and before it is answered.

Not detected from within: a copy of the whole database that was put back, or an old head together
with a log cut to match it. An `Anchor` noted elsewhere detects those up to the record it names.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, Protocol, Self, cast

from sqlalchemy import (
    Connection,
    Executable,
    MetaData,
    Table,
    bindparam,
    event,
    func,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.types import NULLTYPE

from vivavoce.clock import to_datetime
from vivavoce.errors import AuditBroken
from vivavoce.store import tables

_MAC_BYTES = 32
_NO_MAC = bytes(_MAC_BYTES)  # stands before the first record
_HEAD_NUMBER = 1
_SLICE_ROWS = 500
_LEAST = -(2**63)  # of a 64-bit number: a record below 1 is found as well
_KNOWN_HEAD = "vivavoce.audit_head"

# What every decision waits for is plain SQL: building it by expressions took twice the time.
_MARKS = {"sqlite": "?", "postgresql": "%s"}
_ADD = {
    dialect: f"INSERT INTO audit (sequence, at_ms, record, mac) VALUES ({', '.join([mark] * 4)})"  # noqa: S608
    for dialect, mark in _MARKS.items()
}
_MOVE_HEAD = {
    dialect: (
        f"UPDATE audit_head SET sequence = {mark}, mac = {mark}, seal = {mark}"  # noqa: S608
        f" WHERE number = {_HEAD_NUMBER} AND sequence = {mark} AND mac = {mark}"
    )
    for dialect, mark in _MARKS.items()
}

_audit, _head = tables.audit, tables.audit_head
# Columns are read as the database has them: a value of a wrong type is a finding, not a failure.
_FIND_HEAD = select(
    *(type_coerce(column, NULLTYPE) for column in (_head.c.sequence, _head.c.mac, _head.c.seal))
).where(_head.c.number == _HEAD_NUMBER)
_LOCK_HEAD = (
    _FIND_HEAD.with_for_update()
)  # one after the other in PostgreSQL; SQLite does so anyway
_FROM = (
    select(
        *(
            type_coerce(column, NULLTYPE)
            for column in (_audit.c.sequence, _audit.c.at_ms, _audit.c.record, _audit.c.mac)
        )
    )
    .where(_audit.c.sequence >= bindparam("start"))
    .order_by(_audit.c.sequence)
    .limit(bindparam("size"))
)


class Signer(Protocol):
    """Makes the log's MACs."""

    def sign(self, message: bytes) -> bytes:
        """32 bytes that only the holder of the key can make."""
        ...


class RootKey(Protocol):
    """Holds the key that is over everything of an installation."""

    @property
    def root(self) -> Signer:
        """The key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A place in the log, to be noted where nobody who could change the log can change it.

    Attributes:
        sequence: number of a record; 0 before the first.
        mac: 32 bytes, over that record and all before it.
    """

    sequence: int
    mac: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.mac.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """An anchor from its text.

        Raises:
            ValueError: the text is none.
        """
        sequence, _, mac = text.strip().partition(":")
        anchor = cls(sequence=int(sequence), mac=bytes.fromhex(mac))
        if anchor.sequence < 0 or len(anchor.mac) != _MAC_BYTES:
            raise ValueError("an anchor is a number, a colon and 64 hexadecimal digits")
        return anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One record of the log.

    Attributes:
        sequence: 1 for the first, one more each.
        record: as it was added.
    """

    sequence: int
    at_ms: int
    record: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How far a log is what was written.

    Attributes:
        head: the last record verified; its sequence is their number.
        first_ms: time of the first record; None if there is none.
        last_ms: time of the last record verified.
        total: how many records the log held when this was found.
        is_whole: that was all of it.
    """

    head: Anchor = Anchor(sequence=0, mac=_NO_MAC)
    first_ms: int | None = None
    last_ms: int | None = None
    total: int = 0
    is_whole: bool = False


_NOTHING = Verified()


class AuditRows:
    """The audit log, within one transaction."""

    def __init__(self, connection: Connection, keys: RootKey) -> None:
        self._connection = connection
        self._key = keys.root
        self._dialect = connection.dialect.name

    def begin(self) -> None:
        """Write the head of an empty log: once, when its tables are made.

        A log whose head is gone is not begun anew by anybody: that is how it is noticed.
        """
        seal = self._key.sign(_seal(0, _NO_MAC))
        self._connection.execute(
            insert(_head).values(number=_HEAD_NUMBER, sequence=0, mac=_NO_MAC, seal=seal)
        )

    def add(self, record: Mapping[str, object], at_ms: int) -> int:
        """Add a record; returns its number.

        Args:
            record: what JSON can hold; nothing in it is hidden or shortened here.
            at_ms: when it happened.

        Raises:
            AuditBroken: the head is not what was written, so there is nothing to add to.
            ValueError: the record holds what JSON cannot.
        """
        # ASCII: PostgreSQL's texts hold no NUL, and half a surrogate pair has no UTF-8.
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        # Mostly the head is where this connection has left it; the update itself makes sure.
        known = self._connection.info
        before: Anchor = known.get(_KNOWN_HEAD) or self._read_head(_LOCK_HEAD)
        after = self._after(before, at_ms, text)
        if not self._move_head(before, after):
            before = self._read_head(_LOCK_HEAD)  # moved by others, or back by a rollback
            after = self._after(before, at_ms, text)
            if not self._move_head(before, after):
                raise AuditBroken(after.sequence, "the log's head cannot be moved to it")
        known[_KNOWN_HEAD] = after
        row = (after.sequence, at_ms, text, after.mac)
        self._connection.exec_driver_sql(_ADD[self._dialect], row)
        return after.sequence

    def head(self) -> Anchor:
        """Where the log ends.

        Raises:
            AuditBroken: the head is missing or was changed.
        """
        return self._read_head(_FIND_HEAD)

    def page(self, *, after: int, size: int) -> list[AuditRecord]:
        """Up to `size` records behind a number, in order; not verified.

        Raises:
            AuditBroken: a record cannot be read.
        """
        rows = self._connection.execute(_FROM, {"start": after + 1, "size": size}).all()
        return [_opened(*row) for row in rows]

    def first_since(self, at_ms: int) -> int | None:
        """Number of the first record that is not older than an instant."""
        query = select(func.min(_audit.c.sequence)).where(_audit.c.at_ms >= at_ms)
        return self._connection.execute(query).scalar_one()

    def verify_slice(
        self, so_far: Verified = _NOTHING, *, expected: Anchor | None = None
    ) -> Verified:
        """Recompute the MACs of the records that come next; gives how far the log is verified now.

        Only a result that says `is_whole` speaks of the log; see `verify_log`.

        Args:
            so_far: what the slice before gave.
            expected: an anchor noted earlier, which the log must still hold.

        Raises:
            AuditBroken: a record was changed, moved, inserted or taken out.
        """
        last, first_ms, last_ms = so_far.head, so_far.first_ms, so_far.last_ms
        _compare(last, expected)
        rows, is_last = self._slice(last.sequence + 1 if last.sequence else _LEAST)
        for sequence, at_ms, text, mac in rows:
            self._check(last, sequence, at_ms, text, mac)
            last, last_ms = Anchor(sequence=sequence, mac=mac), at_ms
            first_ms = at_ms if first_ms is None else first_ms
            _compare(last, expected)
        head = self.head()
        if head.sequence < last.sequence:
            raise AuditBroken(head.sequence + 1, "it is behind the end of the log")
        if head.sequence == last.sequence and head != last:
            raise AuditBroken(last.sequence, "the log does not end with it, but with another one")
        if is_last and head != last:
            _cut_off(last.sequence, head.sequence)
        if is_last and expected is not None and expected.sequence > last.sequence:
            _cut_off(last.sequence, expected.sequence)
        return Verified(
            head=last, first_ms=first_ms, last_ms=last_ms, total=head.sequence, is_whole=is_last
        )

    def _slice(self, start: int) -> tuple[list[tuple[int, Any, Any, Any]], bool]:
        """The rows that come next, and whether none comes after them."""
        size = _SLICE_ROWS
        while True:
            try:
                rows = self._connection.execute(_FROM, {"start": start, "size": size}).all()
            except DatabaseError as error:
                # The database itself may choke on a changed row: find out on which one.
                if size == 1:
                    _unreadable(max(start, 1), str(error.orig))
                size = 1
            else:
                return cast("list[tuple[int, Any, Any, Any]]", rows), len(rows) < size

    def _check(self, last: Anchor, sequence: int, at_ms: object, text: object, mac: object) -> None:
        if sequence < 1:
            raise AuditBroken(sequence, "it was inserted: the first record is 1")
        if sequence != last.sequence + 1:
            raise AuditBroken(last.sequence + 1, "it is missing")
        if not (
            isinstance(at_ms, int)
            and isinstance(text, str)
            and isinstance(mac, bytes)
            and hmac.compare_digest(mac, self._key.sign(_message(last.mac, sequence, at_ms, text)))
        ):
            raise AuditBroken(
                sequence, "it is not what was written, or was written under another root key"
            )

    def _read_head(self, query: Executable) -> Anchor:
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise AuditBroken(1, "the log's head is missing, so where it ends is not known")
        sequence, mac, seal = cast("tuple[object, object, object]", row)
        if not (
            isinstance(sequence, int)
            and isinstance(mac, bytes)
            and isinstance(seal, bytes)
            and hmac.compare_digest(seal, self._key.sign(_seal(sequence, mac)))
        ):
            raise AuditBroken(1, "the log's head was changed, or written under another root key")
        return Anchor(sequence=sequence, mac=mac)

    def _after(self, before: Anchor, at_ms: int, text: str) -> Anchor:
        sequence = before.sequence + 1
        mac = self._key.sign(_message(before.mac, sequence, at_ms, text))
        return Anchor(sequence=sequence, mac=mac)

    def _move_head(self, before: Anchor, after: Anchor) -> bool:
        seal = self._key.sign(_seal(after.sequence, after.mac))
        row = (after.sequence, after.mac, seal, before.sequence, before.mac)
        return self._connection.exec_driver_sql(_MOVE_HEAD[self._dialect], row).rowcount == 1


def verify_log(
    read: Callable[[Callable[[AuditRows], Verified]], Verified],
    *,
    expected: Anchor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Walk the whole log, each slice in a transaction of its own, so that nobody waits for it.

    What is added meanwhile is verified as well: the walk ends at the head that stands in the
    transaction of the last slice.

    Args:
        read: runs a piece of work on the log in a transaction of its own.
        expected: an anchor noted earlier, which the log must still hold.
        progress: is told how many records were verified, and how many there are.

    Raises:
        AuditBroken: a record was changed, moved, inserted or taken out.
    """
    verified = _NOTHING
    while not verified.is_whole:
        verified = read(partial(_slice_after, verified, expected))
        if progress:
            progress(verified.head.sequence, verified.total)
    return verified


def _slice_after(so_far: Verified, expected: Anchor | None, rows: AuditRows) -> Verified:
    return rows.verify_slice(so_far, expected=expected)


def guard_statements(dialect: str) -> tuple[str, ...]:
    """SQL that makes the database refuse changes to the log.

    It keeps out mistakes; whoever may write the file can take it away, which is what the chain is
    for. A migration that builds these tables (anew) must run it.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    return _GUARDS[dialect]


def _sqlite_guard(name: str, change: str) -> str:
    refusal = "the audit log is only ever added to"
    return (
        f"CREATE TRIGGER audit_{name} BEFORE {change} BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
    )


def _postgres_guard(name: str, change: str) -> str:
    return f"CREATE TRIGGER audit_{name} BEFORE {change} EXECUTE FUNCTION audit_refuse()"


_POSTGRES_REFUSAL = """
    CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the audit log is only ever added to'; END $$
"""
# INSERT OR REPLACE of SQLite deletes without telling a trigger on DELETE.
_SAME_RECORD = "EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence)"
_GUARDS = {
    "sqlite": (
        _sqlite_guard("update", "UPDATE ON audit"),
        _sqlite_guard("delete", "DELETE ON audit"),
        _sqlite_guard("replace", f"INSERT ON audit WHEN {_SAME_RECORD}"),
        _sqlite_guard("head_update", "UPDATE ON audit_head WHEN NEW.sequence <> OLD.sequence + 1"),
        _sqlite_guard("head_delete", "DELETE ON audit_head"),
        _sqlite_guard(
            "head_replace", "INSERT ON audit_head WHEN EXISTS (SELECT 1 FROM audit_head)"
        ),
    ),
    "postgresql": (
        _POSTGRES_REFUSAL,
        _postgres_guard("change", "UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT"),
        _postgres_guard("head_delete", "DELETE OR TRUNCATE ON audit_head FOR EACH STATEMENT"),
        _postgres_guard(
            "head_update",
            "UPDATE ON audit_head FOR EACH ROW WHEN (NEW.sequence <> OLD.sequence + 1)",
        ),
    ),
}


@event.listens_for(tables.metadata, "after_create")
def _guard(  # pyright: ignore[reportUnusedFunction]
    _: MetaData, connection: Connection, *, tables: list[Table], **__: object
) -> None:
    if _audit in tables:
        for statement in guard_statements(connection.dialect.name):
            connection.exec_driver_sql(statement)


def _message(before: bytes, sequence: int, at_ms: int, text: str) -> bytes:
    """What a record's MAC covers: fixed lengths first, so that nothing can be read two ways."""
    numbers = sequence.to_bytes(8, "big", signed=True) + at_ms.to_bytes(8, "big", signed=True)
    return b"audit record v1\n" + before + numbers + text.encode()


def _seal(sequence: int, mac: bytes) -> bytes:
    return b"audit head v1\n" + sequence.to_bytes(8, "big", signed=True) + mac


def _compare(here: Anchor, expected: Anchor | None) -> None:
    if expected is not None and here.sequence == expected.sequence and here != expected:
        raise AuditBroken(
            here.sequence, "it is not the one that was expected: the log was replaced by another"
        )


def _cut_off(last: int, expected: int) -> NoReturn:
    raise AuditBroken(last + 1, f"it is missing: the log was cut off here, and reached {expected}")


def _unreadable(sequence: int, reason: str) -> NoReturn:
    raise AuditBroken(sequence, f"it cannot be read ({reason})")


def _opened(sequence: int, at_ms: int, text: str, mac: bytes) -> AuditRecord:
    del mac
    try:
        to_datetime(at_ms)  # of a changed record, time and text may be anything
        record = json.loads(text)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        _unreadable(sequence, str(error))
    if not isinstance(record, dict):
        _unreadable(sequence, "it is no object")
    return AuditRecord(sequence=sequence, at_ms=at_ms, record=cast("dict[str, Any]", record))
