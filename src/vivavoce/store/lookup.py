"""Look-ups: the statements on the way of every request, compiled once.

SQLAlchemy takes about 50 µs to execute a prepared statement and SQLite 5 µs to run it, and an
evaluation is decided on what six of them find. So these run on SQLite's own connection, within the
same transaction; every other database is asked through SQLAlchemy. Figures: bench/api.py.
"""

from collections.abc import Sequence
from sqlite3 import Connection as SQLiteConnection
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Boolean, Connection, Row, Select
from sqlalchemy.dialects import sqlite


class LookUp:
    """A statement with named parameters that finds few rows.

    Args:
        statement: selects columns whose values need no conversion but that of booleans.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._sql = str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))
        columns = list(statement.selected_columns)
        self._names = [column.name for column in columns]
        # SQLite has no booleans of its own.
        self._booleans = [column.name for column in columns if isinstance(column.type, Boolean)]

    def one(self, connection: Connection, **parameters: object) -> Row[Any] | None:
        """The row that is found, or None."""
        rows = self.all(connection, **parameters)
        return rows[0] if rows else None

    def all(self, connection: Connection, **parameters: object) -> Sequence[Row[Any]]:
        """All rows that are found."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, parameters).all()
        driver = cast("SQLiteConnection", connection.connection.driver_connection)
        return [self._row(values) for values in driver.execute(self._sql, parameters)]

    def _row(self, values: tuple[Any, ...]) -> Row[Any]:
        row = SimpleNamespace(**dict(zip(self._names, values, strict=True)))
        for name in self._booleans:
            setattr(row, name, bool(getattr(row, name)))
        return cast("Row[Any]", row)  # it is read like one: columns by name
