"""One lock a session or domain, for as long as somebody holds it."""

import asyncio
from weakref import WeakValueDictionary


class Locks:
    """Locks by id; what nobody holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, identifier: str) -> asyncio.Lock:
        """The lock of a session or a domain."""
        lock = self._locks.get(identifier)
        if lock is None:
            lock = self._locks[identifier] = asyncio.Lock()
        return lock
