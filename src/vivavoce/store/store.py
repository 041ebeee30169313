"""The store: transactions, one after the other for writers, side by side for readers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine, insert, select

from vivavoce.store import tables
from vivavoce.store.database import open_database
from vivavoce.store.domains import Domains, IdempotencyTokens
from vivavoce.store.sealing import Keys
from vivavoce.store.sessions import EvidenceRows, Results, Sessions
from vivavoce.store.voices import Fraudsters, Speakers, Voiceprints

T = TypeVar("T")

_READERS = 4


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one transaction may touch, by kind of row."""

    connection: Connection
    keys: Keys

    @property
    def domains(self) -> Domains:
        """Domains and watchlists."""
        return Domains(self.connection, self.keys)

    @property
    def tokens(self) -> IdempotencyTokens:
        """Idempotency tokens."""
        return IdempotencyTokens(self.connection, self.keys)

    @property
    def speakers(self) -> Speakers:
        """Speakers."""
        return Speakers(self.connection, self.keys)

    @property
    def fraudsters(self) -> Fraudsters:
        """Fraudsters."""
        return Fraudsters(self.connection)

    @property
    def voiceprints(self) -> Voiceprints:
        """Voiceprints of speakers and fraudsters."""
        return Voiceprints(self.connection, self.keys)

    @property
    def sessions(self) -> Sessions:
        """Sessions."""
        return Sessions(self.connection, self.keys)

    @property
    def evidence(self) -> EvidenceRows:
        """Evidence of sessions."""
        return EvidenceRows(self.connection, self.keys)

    @property
    def results(self) -> Results:
        """Decisions given out."""
        return Results(self.connection)


class Store:
    """Runs transactions. A transaction is a function: all of it happens, or nothing.

    SQLite has one writer; a single thread in front of it turns its lock into a queue. Readers see
    the last committed state and never wait for the writer (WAL).
    """

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that may write; committed when this returns."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self.write_now, work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def write_now(self, work: Callable[[Transaction], T]) -> T:
        """The same as `write`, in the calling thread: for start-up, before there are others."""
        with self._engine.begin() as connection:
            return work(Transaction(connection, self._keys))

    def _read(self, work: Callable[[Transaction], T]) -> T:
        with self._engine.connect() as connection:
            reading = connection.execution_options(vivavoce_reading=True)
            return work(Transaction(reading, self._keys))

    async def scrub(self) -> None:
        """Overwrite what was deleted where it still stands: in SQLite's write-ahead log."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._scrub)

    def _scrub(self) -> None:
        if self._engine.dialect.name != "sqlite":
            return
        # Outside a transaction, as a checkpoint must be.
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def access_keys(self) -> dict[str, str]:
        """All access keys: secret by access key id."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(tables.access_keys)).all()
        return {
            row.access_key_id: self._keys.root.unseal(
                row.sealed_secret, place=_secret_place(row.access_key_id)
            ).decode()
            for row in rows
        }

    def add_access_key(self, access_key_id: str, secret: str, *, now_ms: int) -> None:
        """Add an access key; its secret is sealed under the root key."""
        sealed = self._keys.root.seal(secret.encode(), place=_secret_place(access_key_id))
        with self._engine.begin() as connection:
            connection.execute(
                insert(tables.access_keys).values(
                    access_key_id=access_key_id, sealed_secret=sealed, created_ms=now_ms
                )
            )

    def close(self) -> None:
        """Finish what runs and close the database."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


def open_store(url: str, keys: Keys) -> Store:
    """Open a database, bring it to this version's shape, and serve it.

    Raises:
        StoreError: it cannot be opened, or a later version wrote it.
    """
    return Store(open_database(url), keys)


def _secret_place(access_key_id: str) -> str:
    return f"access-key/{access_key_id}/secret"
