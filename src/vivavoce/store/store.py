"""The store: transactions, one after the other for writers, side by side for readers."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine

from vivavoce.errors import KeyServiceDown, StoreError, VaultError, concurrent_changes
from vivavoce.store.access_keys import AccessKeyRows
from vivavoce.store.audit import AuditRows
from vivavoce.store.connectors import ConnectorRows
from vivavoce.store.counts import Counts
from vivavoce.store.database import Mode, is_serialization_failure, open_database
from vivavoce.store.domains import Domains
from vivavoce.store.fraudster_changes import FraudsterChanges
from vivavoce.store.fraudsters import Fraudsters, Watchlists
from vivavoce.store.galleries import Galleries, Wanted
from vivavoce.store.jobs import Jobs
from vivavoce.store.outbox import OutboxRows
from vivavoce.store.quotas import NO_QUOTAS, Quotas
from vivavoce.store.reencryption import Reencryption
from vivavoce.store.sealing import Found, KeyNotAtHand, Keys, Sealers, SealingKey
from vivavoce.store.sessions import EvidenceRows, Results, Sessions
from vivavoce.store.speakers import Speakers
from vivavoce.store.tokens import IdempotencyTokens
from vivavoce.store.voiceprints import Voiceprints

T = TypeVar("T")

_log = logging.getLogger(__name__)

_READERS = 4
_OPENERS = 4
"""Threads that wait for key services."""

_MOST_KEYS = 256
"""Keys that one piece of work may have to wait for: a page of domains needs one each."""

_SLICE_PAGES = 1000
"""Pages given back in one go: writers wait behind it for some milliseconds."""

_SCRUB_MS = 500
"""Scrubbing waits for readers no longer: writers wait behind it, and a backup reads for long."""

_BATCH = 64
"""Works committed together at most: one fsync serves them all, and none waits long for it."""


class Transaction:
    """What one transaction may touch, by kind of row.

    Rows are fetched whole before one is opened: what is raised half-way, such as that a key is not
    at hand, would leave the statement unfinished, and with it the connection in its old snapshot.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        quotas: Quotas,
        galleries: Galleries,
        *,
        found: Found | None = None,
    ) -> None:
        self.connection = connection
        self._galleries = galleries
        self._found = found
        self._keys = keys
        self._quotas = quotas
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, act: Callable[[], None]) -> None:
        """Do something once what was written is there for others; if it fails, that is logged."""
        self._after_commit.append(act)

    def savepoint(self) -> AbstractContextManager[object]:
        """What is written within this context is undone if it raises; what was before stands."""
        return self.connection.begin_nested()

    def committed(self) -> None:
        """Do what was to be done after the commit."""
        for act in self._after_commit:
            try:
                act()
            except Exception:  # noqa: BLE001 - what was written stands, and others wait to hear so
                _log.exception("what was to be done after a commit failed")

    @cached_property
    def sealers(self) -> Sealers:
        """The sealers of domains."""
        return Sealers(self.connection, self._keys, found=self._found)

    @cached_property
    def domains(self) -> Domains:
        """Domains."""
        return Domains(self.connection, self.sealers, self._quotas)

    @cached_property
    def watchlists(self) -> Watchlists:
        """Watchlists."""
        return Watchlists(self.connection, self.sealers, self._quotas)

    @cached_property
    def speakers(self) -> Speakers:
        """Speakers."""
        return Speakers(self.connection, self.sealers, self._quotas)

    @cached_property
    def fraudsters(self) -> Fraudsters:
        """Fraudsters."""
        return Fraudsters(
            self.connection, self.sealers, self._quotas, changes=self._fraudster_changes
        )

    @cached_property
    def wanted(self) -> Wanted:
        """The voices of fraudsters, to search."""
        return Wanted(self._galleries, self._fraudster_changes, self.fraudsters, self.voiceprints)

    @cached_property
    def _fraudster_changes(self) -> FraudsterChanges:
        return FraudsterChanges(self.connection, on_removal=self._forget_fraudster)

    def _forget_fraudster(self, domain_id: str, fraudster_id: str) -> None:
        self.after_commit(lambda: self._galleries.forget(domain_id, fraudster_id))

    @cached_property
    def voiceprints(self) -> Voiceprints:
        """Voiceprints of speakers and fraudsters."""
        return Voiceprints(self.connection, self.sealers, changes=self._fraudster_changes)

    @cached_property
    def sessions(self) -> Sessions:
        """Sessions."""
        return Sessions(self.connection, self.sealers, self._quotas)

    @cached_property
    def evidence(self) -> EvidenceRows:
        """Evidence of sessions."""
        return EvidenceRows(self.connection, self.sealers)

    @cached_property
    def results(self) -> Results:
        """Decisions given out."""
        return Results(self.connection)

    @cached_property
    def jobs(self) -> Jobs:
        """Batch jobs."""
        return Jobs(self.connection, self.sealers, self._quotas)

    @cached_property
    def reencryption(self) -> Reencryption:
        """Sealing a domain's rows anew."""
        return Reencryption(self.connection, self.sealers)

    @cached_property
    def counts(self) -> Counts:
        """How much there is."""
        return Counts(self.connection)

    @cached_property
    def tokens(self) -> IdempotencyTokens:
        """Idempotency tokens."""
        return IdempotencyTokens(self.connection, self._keys)

    @cached_property
    def access_keys(self) -> AccessKeyRows:
        """Access keys."""
        return AccessKeyRows(self.connection, self._keys)

    @cached_property
    def connectors(self) -> ConnectorRows:
        """Connectors."""
        return ConnectorRows(self.connection, self._keys)

    @cached_property
    def outbox(self) -> OutboxRows:
        """Events that wait for delivery."""
        return OutboxRows(self.connection)

    @cached_property
    def audit(self) -> AuditRows:
        """The audit log."""
        return AuditRows(self.connection, self._keys)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A piece of work that waits for the writer."""

    work: Callable[[Transaction], Any]
    found: Found
    done: Future[Any]


class Store:
    """Runs transactions. A transaction is a function: all of it happens, or nothing.

    SQLite has one writer; a single thread in front of it turns its lock into a queue. What waits in
    that queue is committed together, each piece of work behind a savepoint of its own: commits cost
    an fsync, and under load many share one. Readers see the last committed state and never wait for
    the writer (WAL).

    No transaction waits for a key service: work that needs a key which is not at hand is undone,
    the key is opened in a thread of its own, and the work runs again. So work must have no effect
    beyond its transaction; what it is to do besides goes into `after_commit`.
    """

    def __init__(self, engine: Engine, keys: Keys, quotas: Quotas = NO_QUOTAS) -> None:
        self._engine = engine
        self._keys = keys
        self._quotas = quotas
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._openers = ThreadPoolExecutor(_OPENERS, thread_name_prefix="store-opener")
        self._waiting: deque[_Waiting] = deque()
        self._writing = threading.Lock()
        self._looking: Connection | None = None
        self.galleries = Galleries()

    @property
    def waiting_writes(self) -> int:
        """Pieces of work that wait for the writer."""
        return len(self._waiting)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that may write; committed when this returns.

        Raises:
            Conflict: another process changed the same rows at the same time.
        """

        async def attempt(found: Found) -> T:
            waiting = _Waiting(work, found, Future())
            self._waiting.append(waiting)
            self._writer.submit(self._write_waiting)
            return await asyncio.wrap_future(waiting.done)

        return await self._until_keys_are_found(attempt)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that only reads."""
        loop = asyncio.get_running_loop()
        return await self._until_keys_are_found(
            lambda found: loop.run_in_executor(self._readers, self._read, work, found)
        )

    async def _until_keys_are_found(self, attempt: Callable[[Found], Awaitable[T]]) -> T:
        """Run work again for each key that it needs and that is not at hand."""
        found: Found = {}
        for _ in range(_MOST_KEYS):
            try:
                return await attempt(found)
            except KeyNotAtHand as missing:
                loop = asyncio.get_running_loop()
                found[missing.name] = await loop.run_in_executor(self._openers, self._find, missing)
        raise KeyServiceDown(f"{_MOST_KEYS} keys were opened, and still there was one to open")

    def _find(self, missing: KeyNotAtHand) -> SealingKey | VaultError:
        try:
            return self._keys.domain_key(*missing.name, domain_arn=missing.domain_arn)
        except VaultError as error:
            return error

    async def open_gallery(self, domain_id: str, model: str) -> None:
        """Have a domain's fraudsters opened before a write that searches them.

        A hundred thousand of them take some seconds, once, and a write keeps others from writing.

        Raises:
            NotFound: there is no such domain.
        """
        if not self.galleries.has(domain_id, model):
            await self.read(lambda tx: tx.wanted.open(domain_id, model))

    async def look_up(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that reads a few rows by their keys.

        In SQLite that takes less time than to hand it to another thread and back, so it runs right
        here, in the event loop, on a connection of its own.
        """
        if self._engine.dialect.name != "sqlite":
            return await self.read(work)

        async def attempt(found: Found) -> T:
            return self._look_up(work, found)

        return await self._until_keys_are_found(attempt)

    def _look_up(self, work: Callable[[Transaction], T], found: Found) -> T:
        if self._looking is None:
            self._looking = self._engine.connect().execution_options(vivavoce_reading=True)
        connection = self._looking
        driver = cast("SQLiteConnection", connection.connection.driver_connection)
        driver.execute("BEGIN")
        try:
            return work(
                Transaction(connection, self._keys, self._quotas, self.galleries, found=found)
            )
        finally:
            # SQLAlchemy's own transaction, where the work asked for more than look-ups.
            connection.rollback()
            driver.rollback()

    def write_now(self, work: Callable[[Transaction], T]) -> T:
        """The same as `write`, in the calling thread: for commands, and before others run."""
        with self._writing, self._engine.begin() as connection:
            transaction = Transaction(connection, self._keys, self._quotas, self.galleries)
            result = work(transaction)
        transaction.committed()
        return result

    def read_now(self, work: Callable[[Transaction], T]) -> T:
        """The same as `read`, in the calling thread: for commands."""
        return self._read(work)

    def _write_waiting(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
        batch = [one for one in batch if one.done.set_running_or_notify_cancel()]
        if not batch:
            return  # an earlier turn has taken them along
        try:
            with self._writing, self._engine.begin() as connection:
                alone = len(batch) == 1
                outcomes = [self._attempt(one, connection, alone=alone) for one in batch]
        except BaseException as error:  # noqa: BLE001 - whoever waits must learn of it
            refusal = _as_conflict(error)
            outcomes = [_failing(one.done, refusal) for one in batch]
        for announce in outcomes:
            announce()

    def _attempt(self, one: _Waiting, connection: Connection, *, alone: bool) -> Callable[[], None]:
        """Run one piece of work; gives what tells the outcome, for after the commit.

        What is raised undoes the whole transaction, and with it the work of others.
        """
        transaction = Transaction(
            connection, self._keys, self._quotas, self.galleries, found=one.found
        )
        savepoint = None if alone else connection.begin_nested()
        try:
            result = one.work(transaction)
        except Exception as error:
            if savepoint is None:
                raise
            # Raises where the savepoint is gone: on a full disk SQLite undoes everything on its
            # own, and what others have written before is lost too.
            savepoint.rollback()
            return _failing(one.done, _as_conflict(error))
        if savepoint is not None:
            savepoint.commit()

        def announce() -> None:
            transaction.committed()
            one.done.set_result(result)

        return announce

    def _read(self, work: Callable[[Transaction], T], found: Found | None = None) -> T:
        with self._engine.connect() as connection:
            reading = connection.execution_options(vivavoce_reading=True)
            # Begun by hand: look-ups speak to the driver, which SQLAlchemy does not notice.
            with reading.begin():
                return work(
                    Transaction(reading, self._keys, self._quotas, self.galleries, found=found)
                )

    async def scrub(self) -> None:
        """Overwrite what was deleted where it still stands: in SQLite's write-ahead log."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._scrub)

    def _scrub(self) -> None:
        if self._engine.dialect.name != "sqlite":
            return
        # Outside a transaction, as a checkpoint must be.
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            (patience_ms,) = cast("tuple[int]", cursor.execute("PRAGMA busy_timeout").fetchone())
            cursor.execute(f"PRAGMA busy_timeout = {_SCRUB_MS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute(f"PRAGMA busy_timeout = {patience_ms}")
        finally:
            connection.close()

    async def give_back(self) -> None:
        """Give pages that hold nothing any more back to the file system; in slices, for writers."""
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(self._writer, self._give_back_some):
            pass

    def _give_back_some(self) -> bool:
        """Give some pages back; tells whether there are more."""
        if self._engine.dialect.name != "sqlite":
            return False
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            (before,) = cast("tuple[int]", cursor.execute("PRAGMA freelist_count").fetchone())
            cursor.execute(f"PRAGMA incremental_vacuum({_SLICE_PAGES})").fetchall()
            (after,) = cast("tuple[int]", cursor.execute("PRAGMA freelist_count").fetchone())
        finally:
            connection.close()
        return 0 < after < before

    def back_up(self, file: Path) -> None:
        """Copy the database as it stands now into a new file, which needs no other beside it.

        Others write meanwhile. It is copied in one go: in slices, each of their writes would have
        it begin anew.

        Raises:
            StoreError: it cannot be copied.
        """
        if self._engine.dialect.name != "sqlite":
            raise StoreError("this database is not a file: back it up with pg_dump")
        connection = self._engine.raw_connection()
        try:
            with contextlib.closing(sqlite3.connect(file)) as copy:
                cast("SQLiteConnection", connection.driver_connection).backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise StoreError(f"the database cannot be copied to {file}: {error}") from error
        finally:
            connection.close()

    def close(self) -> None:
        """Finish what runs and close the database."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._openers.shutdown()
        if self._looking is not None:
            self._looking.close()
        self._engine.dispose()


def _failing(done: Future[Any], error: BaseException) -> Callable[[], None]:
    return lambda: done.set_exception(error)


def _as_conflict(error: BaseException) -> BaseException:
    if not is_serialization_failure(error):
        return error
    return concurrent_changes()


def open_store(url: str, keys: Keys, quotas: Quotas = NO_QUOTAS, *, mode: Mode = "create") -> Store:
    """Open a database, bring it to this version's shape unless it is only read, and serve it.

    Raises:
        StoreError: it cannot be opened, is not ours, or a later version wrote it.
        SealBroken: it was sealed under another root key.
    """
    return Store(open_database(url, keys, mode), keys, quotas)
