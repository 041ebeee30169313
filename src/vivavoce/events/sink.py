"""What a sink is: a place that events are delivered to."""

from typing import Protocol

from vivavoce.errors import DeliveryFailed


class SinkBusy(DeliveryFailed):
    """The sink takes nothing at all for now; that is not the event's fault.

    Attributes:
        after_s: when the sink wants to be asked again, in seconds; None if it does not say.
    """

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


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
