"""The outbox as delivery sees it: each look and each note a transaction of its own."""

from collections.abc import Sequence

from vivavoce.store.outbox import Delivery
from vivavoce.store.store import Store


class StoredOutbox:
    """The store's outbox."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def due(self, sink: str, *, now_ms: int, limit: int) -> Sequence[Delivery]:
        """What can be delivered now: of each resource the oldest event that waits."""
        return await self._store.read(lambda tx: tx.outbox.due(sink, now_ms=now_ms, limit=limit))

    async def delivered(self, sequence: int) -> Delivery | None:
        """Take out what was delivered; gives the next event of the same resource."""
        return await self._store.write(lambda tx: tx.outbox.delivered(sequence))

    async def failed(self, sequence: int, error: str, *, next_attempt_ms: int) -> None:
        """Note a failed attempt."""
        await self._store.write(
            lambda tx: tx.outbox.failed(sequence, error, next_attempt_ms=next_attempt_ms)
        )

    async def bury(self, sequence: int, error: str) -> None:
        """Give an event up; it stays visible."""
        await self._store.write(lambda tx: tx.outbox.bury(sequence, error))
