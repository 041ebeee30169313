"""Opening the database: the engine, its pragmas, its migrations."""

import sqlite3
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from vivavoce.errors import AuditBroken, StoreError
from vivavoce.store import tables
from vivavoce.store.access_keys import AccessKeyRows
from vivavoce.store.audit import AuditRows
from vivavoce.store.sealing import Keys

Mode: TypeAlias = Literal["create", "write", "read"]
"""What may be done to a database: `create` makes what is missing, `write` wants one that is there,
`read` leaves not even a trace in it."""

_MIGRATIONS = Path(__file__).with_name("migrations")
_INCREMENTAL = 2  # as SQLite tells its way of vacuuming
_PATIENCE = "PRAGMA busy_timeout = 5000"
_NOTHING_BESIDE = ("SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY")
"""How SQLite says that it can make no file beside a database: on a read-only medium, in a folder
that may not be written."""

_REPEATABLE_READ = {"isolation_level": "REPEATABLE READ"}


def open_database(url: str, keys: Keys, mode: Mode = "create") -> Engine:
    """Open a database and, unless it is only read, bring it to this version's shape.

    Args:
        url: an SQLAlchemy URL, such as `sqlite:////var/lib/vivavoce/vivavoce.db`.
        keys: what migrations seal with.
        mode: what may be done to it.

    Raises:
        StoreError: it cannot be opened, is not ours, or a later version wrote it.
        SealBroken: it was sealed under another root key.
    """
    where = _where(url)
    try:
        engine = create_engine(url, hide_parameters=True, **_options(url, mode))
        try:
            _bring_up(engine, keys, mode, where)
        except BaseException:
            engine.dispose()  # a database that is refused is let go of
            raise
    except CommandError as error:
        raise StoreError(
            f"{where} was written by another version of vivavoce: a later one (install that), or a "
            "development version before the first release (start with a new data folder)"
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where} cannot be opened: {error.args[0]}") from error
    return engine


def _where(url: str) -> str:
    """A database as a message names it."""
    parts = make_url(url)
    is_file = parts.get_backend_name() == "sqlite" and parts.database
    return parts.database or "" if is_file else parts.render_as_string(hide_password=True)


def is_serialization_failure(error: BaseException) -> bool:
    """Whether a transaction lost against another one that changed the same rows.

    Source: PostgreSQL's documentation, appendix A, SQLSTATE 40001 and 40P01. SQLite has one writer.
    """
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in {
        "40001",
        "40P01",
    }


def may_pass(error: BaseException) -> bool:
    """Whether an error says nothing but that the database could not be used just now.

    Such as one that is locked for long, or has no room on its disk.
    """
    return isinstance(error, OperationalError | sqlite3.OperationalError)


def _options(url: str, mode: Mode) -> dict[str, Any]:
    where = make_url(url)
    if where.get_backend_name() != "sqlite":
        # PostgreSQL's default lets two writers overwrite each other unseen; this refuses one.
        return _REPEATABLE_READ
    file = Path(where.database or "")
    return {"creator": lambda: _connect_to_read(file)} if mode == "read" else {}


def _connect_to_read(file: Path) -> SQLiteConnection:
    """Open an SQLite database that may lie where nothing can be written."""
    try:
        return _connect(file, "mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname not in _NOTHING_BESIDE or not file.exists():
            raise
        log = file.with_name(f"{file.name}-wal")
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{file} cannot be read where it is: what was written last is in {log.name}, and "
                "to read that, a file has to be made beside it; copy the folder to where you may "
                "write"
            ) from error
        # Not in general: beside a writer, this would read what is half written. But a writer has
        # a log.
        return _connect(file, "immutable=1")


def _connect(file: Path, how: str) -> SQLiteConnection:
    # SQLAlchemy hands connections from thread to thread, one at a time.
    connection = sqlite3.connect(
        f"file:{quote(str(file))}?{how}", uri=True, check_same_thread=False
    )
    try:
        connection.execute("SELECT name FROM sqlite_master").fetchone()  # opens the file
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up(engine: Engine, keys: Keys, mode: Mode, where: str) -> None:
    if mode != "create":
        _require_ours(engine, where)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, mode)
    reading = {"vivavoce_reading": mode == "read"}
    with engine.connect().execution_options(**reading) as connection, connection.begin():
        if mode != "create":
            _require_root_key(connection, keys)
        config = _alembic(connection, keys)
        # A database of a later version names a revision that this version's scripts do not hold.
        newest = ScriptDirectory.from_config(config).get_current_head()
        if mode != "read":
            command.upgrade(config, "head")
        elif MigrationContext.configure(connection).get_current_revision() != newest:
            raise CommandError("it has another shape")


def _require_ours(engine: Engine, where: str) -> None:
    """Make sure that there is something to lose, before anything is written."""
    with engine.connect() as connection:
        is_ours = inspect(connection).has_table(tables.audit_head.name)
    engine.dispose()  # what comes now is set up otherwise
    if not is_ours:
        raise StoreError(f"{where} is no vivavoce database; restore it from your backup")


def _require_root_key(connection: Connection, keys: Keys) -> None:
    """Make sure that the root key is this database's, as far as that can be told.

    Raises:
        SealBroken: nothing opens.
    """
    try:
        AuditRows(connection, keys).head()
    except AuditBroken:
        # A log that was tampered with looks the same; but then the access keys open.
        AccessKeyRows(connection, keys).all()


def _prepare_sqlite(engine: Engine, mode: Mode) -> None:
    @event.listens_for(engine, "connect")
    def _configure(connection: SQLiteConnection, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # sqlite3's own implicit transactions begin too late for a read that leads to a write.
        connection.isolation_level = None
        if mode == "read":
            connection.execute(_PATIENCE)
            return
        # Heeded before the first table is made; to ask for it again would wait for the writer.
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",  # what was acknowledged survives a power cut
            "PRAGMA foreign_keys = ON",
            "PRAGMA secure_delete = ON",  # a deleted voiceprint is overwritten, not unlinked
            _PATIENCE,
        ):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        driver = cast("SQLiteConnection", connection.connection.driver_connection)
        if driver.in_transaction:
            return  # begun by hand, for look-ups
        reading = connection.get_execution_options().get("vivavoce_reading", False)
        driver.execute("BEGIN" if reading else "BEGIN IMMEDIATE")


def _alembic(connection: Connection, keys: Keys) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["keys"] = keys
    return config
