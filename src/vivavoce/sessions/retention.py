"""Retention: what is older than it may become is forgotten.

Everything goes in slices, a transaction each: between two of them whoever else writes gets their
turn, and a slice that fails loses nothing of those before it.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from vivavoce.clock import Clock
from vivavoce.store.acts import service_record
from vivavoce.store.past import last_written_before
from vivavoce.store.store import Store, Transaction

_SLICE_SPEECHES = 20
"""Rows with speech, half a megabyte each, in a transaction: writers of calls wait behind it."""

_TOKEN_LIFETIME_MS = 24 * 3_600_000
"""Client tokens are kept for a day. Source: voice-id-behaviour.md section 2.7 (a choice there)."""

_DAY_MS = 24 * 3_600_000

_GAP_MS = 8 * _DAY_MS
"""Nothing written for so long, up to a day ago, and the clock may have jumped ahead. Chosen: longer
than a quiet week, shorter than anybody sets the expiry of speakers."""

_PROOF_S = 86_400.0
"""For so long a doubted clock must go on as it should before it is believed."""

_DRIFT_S = 3600.0
"""More than this in between, and the clock was set again."""

_UNUSED_S = 600.0
"""Fraudsters' voices are held in memory for so long after the last search."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long things are kept, in seconds.

    Attributes:
        speech_s: a session's speech, after its end.
        session_s: a session itself, with the voice vector and the decisions, after its end.
        speaker_s: the voiceprint of a speaker of whom nothing was heard.
        domain_s: the rows of a deleted domain.
    """

    speech_s: float
    session_s: float
    speaker_s: float
    domain_s: float


class Sweeper:
    """Forgets what is old, and gives back the room it took."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        retention: Retention,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one.

        Args:
            store: what is swept.
            clock: tells how old something is.
            retention: how old it may become.
            monotonic_s: seconds that pass whatever the clock is set to.
        """
        self._store = store
        self._clock = clock
        self._retention = retention
        self._doubt = _Doubt(monotonic_s)

    async def sweep(self) -> None:
        """Forget what is too old by now; what fails is logged, and keeps nothing else from going.

        Speakers do not expire and domains are not erased while the clock may have jumped ahead.
        """
        now_ms = self._clock.now_ms()
        done: Counter[str] = Counter()
        await _attempt("forgetting speech", lambda: self._forget_speech(now_ms, done))
        await _attempt("removing sessions", lambda: self._remove_sessions(now_ms, done))
        await _attempt("forgetting client tokens", lambda: self._forget_tokens(now_ms))
        await _attempt("expiring and erasing", lambda: self._destroy(now_ms, done))
        self._store.galleries.tidy(unused_s=_UNUSED_S)
        await _attempt("giving room back", self._store.give_back)
        await _attempt("scrubbing", self._store.scrub)
        if forgotten := [f"{what}: {count}" for what, count in done.items() if count]:
            _log.info("forgotten: %s", ", ".join(forgotten))

    async def _forget_speech(self, now_ms: int, done: Counter[str]) -> None:
        before_ms = now_ms - round(self._retention.speech_s * 1000)

        def find(after: int, tx: Transaction) -> list[int]:
            return tx.sessions.ended_before(
                before_ms, with_speech=True, after=after, size=_SLICE_SPEECHES
            )

        def forget(found: Sequence[int], tx: Transaction) -> int:
            return tx.sessions.forget_speech(found, ended_before_ms=before_ms)

        await self._in_slices("speech of sessions", find, forget, done)

    async def _remove_sessions(self, now_ms: int, done: Counter[str]) -> None:
        before_ms = now_ms - round(self._retention.session_s * 1000)

        def find(after: int, tx: Transaction) -> list[int]:
            return tx.sessions.ended_before(
                before_ms, with_speech=False, after=after, size=_SLICE_SPEECHES
            )

        def remove(found: Sequence[int], tx: Transaction) -> int:
            return tx.sessions.remove(found, ended_before_ms=before_ms)

        await self._in_slices("sessions", find, remove, done)

    async def _forget_tokens(self, now_ms: int) -> None:
        await self._store.write(lambda tx: tx.tokens.forget_before(now_ms - _TOKEN_LIFETIME_MS))

    async def _destroy(self, now_ms: int, done: Counter[str]) -> None:
        """Do what a wrong clock must not do: nobody can bring it back."""
        written_ms = await self._store.read(
            lambda tx: last_written_before(tx.connection, now_ms - _DAY_MS)
        )
        if self._doubt.persists(now_ms, written_ms):
            return
        await _attempt("expiring speakers", lambda: self._expire_speakers(now_ms, done))
        await _attempt("erasing domains", lambda: self._erase_domains(now_ms, done))

    async def _expire_speakers(self, now_ms: int, done: Counter[str]) -> None:
        since_ms = now_ms - round(self._retention.speaker_s * 1000)

        def find(after: int, tx: Transaction) -> list[int]:
            return tx.speakers.unheard_since(since_ms, after=after, size=_SLICE_SPEECHES)

        def expire(found: Sequence[int], tx: Transaction) -> int:
            gone = tx.speakers.expire(found, unheard_since_ms=since_ms, now_ms=now_ms)
            for domain_id, speaker_id in gone:
                what = {"domainId": domain_id, "generatedSpeakerId": speaker_id}
                record = service_record("ExpireSpeaker", at_ms=now_ms, serviceEventDetails=what)
                tx.audit.add(record, now_ms)
            return len(gone)

        await self._in_slices("voiceprints of expired speakers", find, expire, done)

    async def _erase_domains(self, now_ms: int, done: Counter[str]) -> None:
        before_ms = now_ms - round(self._retention.domain_s * 1000)
        for domain_id in await self._store.read(lambda tx: tx.domains.deleted_before(before_ms)):
            erase = partial(self._erase, domain_id, now_ms, done)
            await _attempt(f"erasing domain {domain_id}", erase)

    async def _erase(self, domain_id: str, now_ms: int, done: Counter[str]) -> None:
        def work(tx: Transaction) -> bool:
            is_more = tx.domains.erase_some(domain_id)
            if not is_more:
                what = {"domainId": domain_id}
                record = service_record("EraseDomain", at_ms=now_ms, serviceEventDetails=what)
                tx.audit.add(record, now_ms)
            return is_more

        while await self._store.write(work):
            pass
        done["deleted domains"] += 1

    async def _in_slices(
        self,
        what: str,
        find: Callable[[int, Transaction], list[int]],
        drop: Callable[[Sequence[int], Transaction], int],
        done: Counter[str],
    ) -> None:
        """Find rows as a reader, drop them as a writer, and go on behind them."""
        found = await self._store.read(partial(find, 0))
        while found:
            done[what] += await self._store.write(partial(drop, found))
            found = await self._store.read(partial(find, found[-1]))


class _Doubt:
    """Whether the clock may have jumped ahead.

    A clock that has gone well for long has left records that are some days old. One that has jumped
    has not, however much was written since. Where nobody has written anything for long, it is
    believed once it has gone on for a day as it should.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._since: tuple[int, float] | None = None

    def persists(self, now_ms: int, written_ms: int | None) -> bool:
        """Whether the clock is not to be believed yet.

        Args:
            now_ms: what it says.
            written_ms: when the last record older than a day was written; None if none is.
        """
        if written_ms is None or now_ms - written_ms <= _GAP_MS:
            self._since = None
            return False
        now_s = self._monotonic_s()
        if self._since is not None:
            then_ms, then_s = self._since
            passed_s = now_s - then_s
            if abs((now_ms - then_ms) / 1000 - passed_s) <= _DRIFT_S:
                return passed_s < _PROOF_S
        self._since = (now_ms, now_s)
        _log.error(
            "the clock may have jumped ahead: it is %d days past what was written last before "
            "today; no speaker expires and no domain is erased until it has run on for a day",
            (now_ms - written_ms) // _DAY_MS,
        )
        return True


async def _attempt(what: str, do: Callable[[], Awaitable[None]]) -> None:
    try:
        await do()
    except Exception:  # noqa: BLE001 - it is tried again by the next sweep, and the rest goes on
        _log.exception("%s failed; trying again later", what)
