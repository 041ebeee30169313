"""Time, as something that can be handed in."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests hand in one that stands still."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000_000


def to_datetime(instant_ms: int) -> datetime:
    """Milliseconds since the epoch as an aware UTC datetime."""
    return datetime.fromtimestamp(instant_ms / 1000, tz=UTC)


def iso_utc(instant_ms: int) -> str:
    """Milliseconds since the epoch as text, such as `2026-01-31T08:00:00.000Z`."""
    return to_datetime(instant_ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
