"""What the database knows of the past: whether the clock can be believed is told by it."""

from sqlalchemy import Connection, func, select

from vivavoce.store import tables


def last_written_before(connection: Connection, instant_ms: int) -> int | None:
    """When the last audit record that is older than an instant was written.

    The audit log, as every change is recorded in it and none of it is ever removed.

    Args:
        connection: a transaction's.
        instant_ms: the instant.

    Returns:
        Milliseconds since the epoch; None if all records are younger, or there are none.
    """
    at_ms = tables.audit.c.at_ms
    query = select(func.max(at_ms)).where(at_ms < instant_ms)
    return connection.execute(query).scalar_one()
