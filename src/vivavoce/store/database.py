"""Opening the database: the engine, its pragmas, its migrations."""

from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from vivavoce.errors import StoreError
from vivavoce.store.sealing import Keys

_MIGRATIONS = Path(__file__).with_name("migrations")
_INCREMENTAL = 2  # as SQLite tells its way of vacuuming
_REPEATABLE_READ = {"isolation_level": "REPEATABLE READ"}


def open_database(url: str, keys: Keys) -> Engine:
    """Open a database and bring it to this version's shape.

    Args:
        url: an SQLAlchemy URL, such as `sqlite:////var/lib/vivavoce/vivavoce.db`.
        keys: what migrations seal with.

    Raises:
        StoreError: it cannot be opened, is not ours, or a later version wrote it.
    """
    where = make_url(url).render_as_string(hide_password=True)
    try:
        engine = create_engine(url, hide_parameters=True, **_isolation(url))
        _bring_up(engine, keys)
    except CommandError as error:
        raise StoreError(
            f"{where} was written by another version of vivavoce: a later one (install that), or a "
            "development version before the first release (start with a new data folder)"
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where} cannot be opened: {error.args[0]}") from error
    return engine


def is_serialization_failure(error: BaseException) -> bool:
    """Whether a transaction lost against another one that changed the same rows.

    Source: PostgreSQL's documentation, appendix A, SQLSTATE 40001 and 40P01. SQLite has one writer.
    """
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in {
        "40001",
        "40P01",
    }


def _isolation(url: str) -> dict[str, Any]:
    # PostgreSQL's default lets two writers overwrite each other unseen; this level refuses one.
    return {} if make_url(url).get_backend_name() == "sqlite" else _REPEATABLE_READ


def _bring_up(engine: Engine, keys: Keys) -> None:
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        with engine.begin() as connection:
            _migrate(connection, keys)
    except BaseException:
        engine.dispose()  # a database that is refused is let go of
        raise


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _configure(connection: SQLiteConnection, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # sqlite3's own implicit transactions begin too late for a read that leads to a write.
        connection.isolation_level = None
        # Heeded before the first table is made; to ask for it again would wait for the writer.
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # what was acknowledged survives a power cut
            "foreign_keys = ON",
            "secure_delete = ON",  # a deleted voiceprint is overwritten, not unlinked
            "busy_timeout = 5000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        driver = cast("SQLiteConnection", connection.connection.driver_connection)
        if driver.in_transaction:
            return  # begun by hand, for look-ups
        reading = connection.get_execution_options().get("vivavoce_reading", False)
        driver.execute("BEGIN" if reading else "BEGIN IMMEDIATE")


def _migrate(connection: Connection, keys: Keys) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["keys"] = keys
    # A database of a later version names a revision that this version's scripts do not hold.
    ScriptDirectory.from_config(config)
    command.upgrade(config, "head")
