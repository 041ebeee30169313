"""Enrolments from calls, and the speech that sessions keep for them.

Speech towards an enrolment may come from several streams of a session, before or after the
enrolment is requested. The store keeps what ended streams gave, up to 30 s; what the live call has
beyond that is in its machine. `LiveCall.kept_samples` is the seam between the two.

Source: voice-id-behaviour.md, section 9.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np

from vivavoce.audio.arrays import Floats, Samples
from vivavoce.call.calls import Calls
from vivavoce.call.machine import ENROLLMENT_S, ENROLLMENT_SAMPLES, samples_to_s
from vivavoce.call.runner import LiveCall
from vivavoce.clock import Clock
from vivavoce.errors import Conflict, NotFound, TwoVoices, VivavoceError
from vivavoce.scoring.spoofing import SpoofEvidence, SpoofReference
from vivavoce.scoring.voices import VoicesFound
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import EnrollmentData, EnrollmentOutcome
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.evaluation import hour_of
from vivavoce.sessions.locks import Locks
from vivavoce.sessions.speakers import find_or_add, must_be_forgotten
from vivavoce.store.records import Fraudster, Session, Speaker, Voiceprint
from vivavoce.store.store import Store, Transaction

_OPEN = ("NOT_ENOUGH_SPEECH", "IN_PROGRESS")
_NOTHING = np.zeros(0, np.int16)

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """Makes voiceprints, and judges the speech that they are made from."""

    @property
    def model(self) -> str:
        """Name and version; vectors of different models do not compare."""
        ...

    @property
    def spoof_model(self) -> str:
        """Name and version of the spoof detector beside it."""
        ...

    async def embed(self, speech: Samples) -> Floats:
        """The voice as a vector, shape (dimension,), unit length."""
        ...

    async def judge(
        self, speech: Samples
    ) -> tuple[Floats, SpoofEvidence | None, VoicesFound | None]:
        """The voice, shape (dimension,); what the speech says of spoofing, and of two voices."""
        ...


class Enrolments:
    """The enrolments of all sessions of this process."""

    def __init__(
        self,
        *,
        store: Store,
        calls: Calls,
        encoder: Encoder,
        clock: Clock,
        announcer: Announcer,
        decide: Callable[[Transaction, Session], None],
    ) -> None:
        """Put together.

        Args:
            store: the state.
            calls: the live calls.
            encoder: makes voiceprints.
            clock: the time.
            announcer: tells of enrolments.
            decide: gives out the decision on a session, before its speaker's voiceprint changes.
        """
        self._store = store
        self._calls = calls
        self._encoder = encoder
        self._clock = clock
        self._announcer = announcer
        self._decide = decide
        self._locks = Locks()

    async def request(self, domain_id: str, name_or_id: str) -> Session:
        """Note that the session's speaker is to be enrolled, and do it if there is enough speech.

        Raises:
            NotFound: no such domain or session.
            Conflict: no speaker, opted out, or an enrolment was requested before.
        """
        session = await self._store.write(lambda tx: self._request(tx, domain_id, name_or_id))
        return await self.complete_if_ready(session.session_id)

    async def complete_if_ready(self, session_id: str) -> Session:
        """Complete a requested enrolment if there is enough speech; gives the session as it is."""
        async with self._locks.of(session_id):
            return await self._complete_if_ready(session_id)

    async def keep_speech(self, call: LiveCall) -> None:
        """Store the call's speech behind that of earlier streams."""
        session_id = call.identity.session_id
        async with self._locks.of(session_id):
            session = await self._store.read(lambda tx: tx.sessions.get_by_id(session_id))
            speech, live_samples = await self._pool(session)
            if live_samples == call.kept_samples:
                return

            def keep(tx: Transaction) -> None:
                current = tx.sessions.get_by_id(session_id)
                if not must_be_forgotten(tx, current):
                    last = speech[-ENROLLMENT_SAMPLES:]
                    tx.sessions.put_speech(current, last, seconds=samples_to_s(len(last)))

            await self._store.write(keep)
            call.kept_samples = live_samples

    async def speech_of(self, session: Session) -> Samples:
        """The session's net speech, shape (n,): of earlier streams, and of the live call."""
        async with self._locks.of(session.session_id):
            speech, _ = await self._pool(session)
            return speech

    async def recover(self) -> None:
        """After a crash: finish the enrolments that had their speech."""
        ready = await self._store.read(
            lambda tx: tx.sessions.awaiting_enrollment(speech_s=ENROLLMENT_S)
        )
        for session_id in ready:
            try:
                await self.complete_if_ready(session_id)
            except Exception:  # noqa: BLE001 - one broken session must not keep a server from starting
                _log.exception("the enrolment of session %s is not finished", session_id)

    def voiceprint(
        self,
        owner: Speaker | Fraudster,
        vector: Floats,
        reference: SpoofReference | None = None,
    ) -> Voiceprint:
        """The voiceprint of a speaker or fraudster; only a speaker's call is held against one."""
        return Voiceprint(
            owner_id=owner.speaker_id if isinstance(owner, Speaker) else owner.fraudster_id,
            domain_id=owner.domain_id,
            model=self._encoder.model,
            vector=vector,
            created_ms=self._clock.now_ms(),
            reference=reference,
        )

    def _request(self, tx: Transaction, domain_id: str, name_or_id: str) -> Session:
        domain = tx.domains.get_active(domain_id)
        session = tx.sessions.get(domain_id, name_or_id)
        if session.customer_id is None:
            raise Conflict(
                "SPEAKER_NOT_SET", "You must set the speaker ID before requesting an enrollment."
            )
        if session.enrollment_status is not None:
            raise Conflict(
                "ENROLLMENT_ALREADY_EXISTS", "There is already an enrollment for this session."
            )
        now_ms = self._clock.now_ms()
        # A speaker deleted since (as agents do after an opt-out) is known again from here on.
        speaker = find_or_add(tx, domain_id, session.customer_id, status="PENDING", now_ms=now_ms)
        if speaker.status == "OPTED_OUT":
            raise Conflict(
                "SPEAKER_OPTED_OUT",
                "You cannot request an enrollment for an opted out speaker.",
            )
        requested = tx.sessions.update(
            session,
            speaker_id=speaker.speaker_id,
            enrollment_status="NOT_ENOUGH_SPEECH",
            updated_ms=now_ms,
        )
        self._announcer.announce(
            tx,
            lambda: announcements.session_enrollment(domain.arn, requested, now_ms=now_ms),
        )
        return requested

    async def _complete_if_ready(self, session_id: str) -> Session:
        session = await self._store.read(lambda tx: tx.sessions.get_by_id(session_id))
        if session.enrollment_status not in _OPEN:
            return session
        pooled, live_samples = await self._pool(session)
        speech = pooled[:ENROLLMENT_SAMPLES]
        if len(speech) < ENROLLMENT_SAMPLES:
            return session
        session = await self._store.write(lambda tx: self._begin(tx, session_id, speech))
        if session.enrollment_status not in _OPEN:
            return session
        call = self._calls.find(session_id)
        if call is not None:
            call.kept_samples = live_samples
        try:
            vector, spoof, voices = await self._encoder.judge(speech)
        except Exception as error:  # noqa: BLE001 - whoever polls must learn that it failed
            _log.exception("the voiceprint of session %s could not be made", session_id)
            failure = error  # Python forgets `error` at the end of this block
            return await self._store.write(
                lambda tx: self._fail(tx, tx.sessions.get_by_id(session_id), failure)
            )
        if voices is not None and voices.are_two:
            # Of two people's speech either could be the speaker's; which one is not asked here.
            return await self._store.write(
                lambda tx: self._fail(tx, tx.sessions.get_by_id(session_id), TwoVoices())
            )
        reference = (
            SpoofReference.of(spoof, model=self._encoder.spoof_model)
            if spoof is not None and spoof.certainty > 0
            else None
        )
        return await self._store.write(
            lambda tx: self._finish(tx, session_id, vector, reference, speech)
        )

    def _begin(self, tx: Transaction, session_id: str, speech: Samples) -> Session:
        session = tx.sessions.get_by_id(session_id)
        if must_be_forgotten(tx, session):
            return self._refuse(tx, session)
        # The speech is kept with the state, so that a crash from here on loses neither.
        session = tx.sessions.update(session, enrollment_status="IN_PROGRESS")
        return tx.sessions.put_speech(session, speech, seconds=samples_to_s(len(speech)))

    def _finish(
        self,
        tx: Transaction,
        session_id: str,
        vector: Floats,
        reference: SpoofReference | None,
        speech: Samples,
    ) -> Session:
        now_ms = self._clock.now_ms()
        session = tx.sessions.get_by_id(session_id)
        if must_be_forgotten(tx, session):
            return self._refuse(tx, session)
        speaker = tx.speakers.get(session.domain_id, session.speaker_id or "")
        is_new = speaker.status != "ENROLLED"
        if not is_new:
            # Whoever enrols over somebody else must not be accepted by their own voice: what the
            # voiceprint before says of this stream is decided now and stays.
            self._decide(tx, session)
            session = tx.sessions.update(session, enrolled_stream=session.stream_number)
        tx.voiceprints.put(self.voiceprint(speaker, vector, reference), speech=speech)
        tx.speakers.set_status(speaker.speaker_id, "ENROLLED", now_ms=now_ms)
        tx.speakers.touch(speaker.speaker_id, now_ms=hour_of(now_ms))
        self._announce(tx, session, "NEW_ENROLLMENT" if is_new else "ENROLLMENT_OVERWRITE")
        return tx.sessions.update(session, enrollment_status="COMPLETED", updated_ms=now_ms)

    def _refuse(self, tx: Transaction, session: Session) -> Session:
        known = tx.speakers.find(session.domain_id, session.speaker_id or "") is not None
        refusal = (
            Conflict(
                "SPEAKER_OPTED_OUT", "You cannot request an enrollment for an opted out speaker."
            )
            if known
            else NotFound("SPEAKER")
        )
        return self._fail(tx, session, refusal)

    def _fail(self, tx: Transaction, session: Session, error: Exception) -> Session:
        self._announce(tx, session, None, error)
        return tx.sessions.update(
            session,
            enrollment_status="FAILED",
            # What was not raised on purpose may say anything: it stays inside.
            enrollment_message=str(error)
            if isinstance(error, VivavoceError)
            else "Internal Server Error",
            updated_ms=self._clock.now_ms(),
        )

    def _announce(
        self,
        tx: Transaction,
        session: Session,
        status: EnrollmentOutcome | None,
        error: Exception | None = None,
    ) -> None:
        speaker_id = session.speaker_id
        if error is not None and speaker_id is not None:
            # Of a new enrolment that failed nobody is shown.
            known = tx.speakers.status(session.domain_id, speaker_id) in {"ENROLLED", "EXPIRED"}
            speaker_id = speaker_id if known else None
        self._announcer.announce(
            tx,
            lambda: announcements.speaker(
                tx.domains.arn(session.domain_id, deleted_too=True) or "",
                "ENROLL_SPEAKER",
                speaker_id=speaker_id,
                now_ms=self._clock.now_ms(),
                data=EnrollmentData(
                    source="SESSION_ENROLLMENT", source_id=session.session_id, status=status
                ),
                error=error,
            ),
        )

    async def _pool(self, session: Session) -> tuple[Samples, int]:
        """What is kept and what the live call has beyond it; and how much the call has in all."""
        kept = await self._store.read(lambda tx: tx.sessions.speech(session))
        call = self._calls.find(session.session_id)
        live = _NOTHING if call is None else call.speech()
        beyond = live[call.kept_samples :] if call is not None else live
        return np.concatenate([_NOTHING if kept is None else kept, beyond]), len(live)
