"""One lock a session, for as long as somebody holds it."""

import asyncio
from weakref import WeakValueDictionary


class SessionLocks:
    """Locks by session id; what nobody holds or waits for takes no memory."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, session_id: str) -> asyncio.Lock:
        """The lock of a session."""
        lock = self._locks.get(session_id)
        if lock is None:
            lock = self._locks[session_id] = asyncio.Lock()
        return lock
