"""The access keys in force, in memory: every request is checked against one.

The database is the truth, and `vivavoce keys` changes it while the server runs. So the directory is
read anew from time to time, and when a key is presented that it does not know.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vivavoce.api.policy import Policy
from vivavoce.clock import Clock
from vivavoce.errors import PolicyInvalid
from vivavoce.store.access_keys import AccessKeyRecord

LOOK_AGAIN_MS = 1000
"""Unknown keys make the directory read the database at most this often: anybody can send them."""

_NOTHING = Policy(())

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key that requests are signed with.

    Attributes:
        access_key_id: by which a request names it.
        name: who holds it; part of the caller's ARN.
        secret: what requests are signed with.
        session_token: of a temporary key, which every request has to carry.
        policy: what it may do.
        expires_ms: from when on it is refused; None for never.
    """

    access_key_id: str
    name: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    policy: Policy
    expires_ms: int | None = None


class KeyDirectory:
    """The access keys by id.

    Args:
        load: reads all keys from the database.
        clock: paces the reading for unknown keys.
    """

    def __init__(self, load: Callable[[], Awaitable[list[AccessKeyRecord]]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: dict[str, tuple[AccessKeyRecord, AccessKey]] = {}
        self._looked_ms: int | None = None

    def find(self, access_key_id: str) -> AccessKey | None:
        """A key as it was when the directory was last read; None where it is unknown or revoked."""
        entry = self._keys.get(access_key_id)
        return None if entry is None else entry[1]

    async def find_anew(self, access_key_id: str) -> AccessKey | None:
        """The same, after another look at the database unless there was one a moment ago."""
        # Whoever waited here for another's look need not look once more.
        async with self._lock:
            now_ms = self._clock.now_ms()
            is_due = self._looked_ms is None or abs(now_ms - self._looked_ms) >= LOOK_AGAIN_MS
            if is_due and self.find(access_key_id) is None:
                # Also where reading fails: a broken database is not asked for every request.
                self._looked_ms = now_ms
                await self._read()
        return self.find(access_key_id)

    async def refresh(self) -> None:
        """Read all keys anew; what was known stays in force if that fails."""
        async with self._lock:
            await self._read()

    async def _read(self) -> None:
        # A record that did not change keeps its key: policies are not parsed every time.
        known = self._keys
        self._keys = {
            record.access_key_id: entry
            if (entry := known.get(record.access_key_id)) is not None and entry[0] == record
            else (record, _key_of(record))
            for record in await self._load()
        }


def _key_of(record: AccessKeyRecord) -> AccessKey:
    try:
        policy = Policy.parse(record.policy)
    except PolicyInvalid as error:
        # The other keys go on; this one may do nothing.
        _LOG.error("access key %s may do nothing: %s", record.access_key_id, error)
        policy = _NOTHING
    return AccessKey(
        access_key_id=record.access_key_id,
        name=record.name,
        secret=record.secret,
        session_token=record.session_token,
        policy=policy,
        expires_ms=record.expires_ms,
    )
