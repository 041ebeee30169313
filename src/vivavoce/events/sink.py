"""What a sink is: a place that events are delivered to."""

from typing import Protocol


class Sink(Protocol):
    """A place that events are delivered to."""

    @property
    def name(self) -> str:
        """Under which events wait for it in the outbox."""
        ...

    async def deliver(self, event_id: str, body: str) -> None:
        """Deliver one event; it has arrived when this returns.

        Args:
            event_id: stays the same however often it is tried.
            body: the whole envelope as JSON, on one line.

        Raises:
            DeliveryFailed: it has not, or nobody knows.
            SinkBusy: neither would any other event.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
