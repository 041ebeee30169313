"""The desk: everything that can be asked of a session.

It is where a live call, its speaker and its watchlist meet. The API's handlers and the gateway ask
here; the store holds the truth, the live call only what is not decided yet.
"""

import logging
import uuid
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Floats, Samples
from vivavoce.call.calls import Calls
from vivavoce.call.machine import Configure, EvidenceReady, Plan, Progress
from vivavoce.call.runner import CallIdentity, LiveCall
from vivavoce.clock import Clock
from vivavoce.errors import (
    AlreadyStreaming,
    AtCapacity,
    Conflict,
    NotEnoughSpeech,
    NotFound,
    StreamTokenRejected,
    VivavoceError,
)
from vivavoce.ids import generated_id, is_generated
from vivavoce.scoring.judge import Judge
from vivavoce.sessions.documents import ENROLLMENT_MINIMUM_S
from vivavoce.sessions.evaluation import (
    FRAUD_MINIMUM_S,
    Draft,
    Evaluation,
    draft_evaluation,
    give_out,
    hour_of,
)
from vivavoce.sessions.tokens import Signer, StreamTicket, issue_token, read_token
from vivavoce.store.records import (
    Domain,
    Evidence,
    Fraudster,
    Session,
    Speaker,
    StreamingStatus,
    Voiceprint,
)
from vivavoce.store.store import Store, Transaction

ACCEPTANCE_THRESHOLD = 90
RISK_THRESHOLD = 50
AUTHENTICATION_MINIMUM_S = 10
"""Defaults of a session. Source: voice-id.md section 7.3."""

_TOKEN_LIFETIME_MS = 24 * 3_600_000
"""Client tokens are kept for a day. Source: voice-id.md section 2.7 (a choice there)."""

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """Makes voiceprints."""

    @property
    def model(self) -> str:
        """Name and version; vectors of different models do not compare."""
        ...

    async def embed(self, speech: Samples) -> Floats:
        """The voice as a vector, shape (dimension,), unit length."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long after its end something of a session is kept, in seconds.

    Attributes:
        speech_s: its speech.
        session_s: the session itself, with the voice vector and the decisions.
    """

    speech_s: float
    session_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What a request may set of a session; None leaves it as it is (or at its default)."""

    speaker_id: str | None = None
    acceptance_threshold: int | None = None
    risk_threshold: int | None = None
    watchlist_id: str | None = None
    authentication_minimum_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What starts a session, or the next stream of an ended one."""

    domain_id: str
    name: str | None
    options: SessionOptions
    authentication_enabled: bool | None
    fraud_detection_enabled: bool | None
    client_token: str | None

    def facts(self) -> list[object]:
        """Everything but the client token, as JSON has it."""
        return [
            self.domain_id,
            self.name,
            self.authentication_enabled,
            self.fraud_detection_enabled,
            *(getattr(self.options, name) for name in SessionOptions.__slots__),
        ]


class SessionDesk:
    """All sessions of this process."""

    def __init__(
        self,
        *,
        store: Store,
        calls: Calls,
        encoder: Encoder,
        judge: Judge,
        signer: Signer,
        clock: Clock,
        token_lifetime_s: float,
    ) -> None:
        self._store = store
        self._calls = calls
        self._encoder = encoder
        self._judge = judge
        self._signer = signer
        self._clock = clock
        self._token_lifetime_ms = round(token_lifetime_s * 1000)

    # --- what the API asks

    async def start(self, request: StartRequest) -> tuple[Session, str]:
        """Start a session, or a new stream of an ended one; gives it and its stream's token.

        Raises:
            NotFound: no such domain, watchlist or generated speaker id.
            Conflict: the session has a stream that has not ended, or its speaker is fixed.
            InvalidRequest: the client token was used for another request.
            AtCapacity: no further call can be admitted.
        """
        self._calls.check_admission()
        session = await self._store.write(lambda tx: self._start(tx, request))
        ticket = StreamTicket(
            session_id=session.session_id,
            stream_number=session.stream_number,
            expires_ms=session.stream_expires_ms,
        )
        return session, issue_token(ticket, self._signer)

    async def describe(self, domain_id: str, name_or_id: str) -> tuple[Session, Progress | None]:
        """A session, and the progress of its call if that is live.

        Raises:
            NotFound: no such domain or session.
        """
        session = await self._store.read(
            lambda tx: self._current(tx.sessions.get(domain_id, name_or_id))
        )
        return session, self._progress(session)

    async def list_sessions(
        self, domain_id: str, *, status: StreamingStatus | None, after: int, size: int
    ) -> list[tuple[int, Session]]:
        """Up to `size` sessions after a sequence number, each with its own.

        Raises:
            NotFound: no such domain.
        """
        now_ms = self._clock.now_ms()
        return await self._store.read(
            lambda tx: [
                (sequence, self._current(session))
                for sequence, session in tx.sessions.page(
                    domain_id, status=status, now_ms=now_ms, after=after, size=size
                )
            ]
        )

    async def update(
        self, domain_id: str, name_or_id: str, options: SessionOptions
    ) -> tuple[Session, Progress | None]:
        """Change a session's speaker or configuration.

        Raises:
            NotFound: no such domain, session, watchlist or generated speaker id.
            Conflict: the speaker is fixed by an enrolment, or the domain is not active.
        """

        def work(tx: Transaction) -> Session:
            tx.domains.get_active(domain_id)
            session = tx.sessions.get(domain_id, name_or_id)
            return self._apply(tx, session, options)

        session = await self._store.write(work)
        call = self._calls.find(session.session_id)
        if call is not None and not call.inbox.closed and options.authentication_minimum_s:
            samples = options.authentication_minimum_s * CALL_RATE_HZ
            call.inbox.put_other(Configure(authentication_samples=samples))
        self._tell(session)
        return self._current(session), self._progress(session)

    async def evaluate(self, domain_id: str, name_or_id: str) -> tuple[Evaluation, Progress | None]:
        """Decide on a session, or give out again what was decided.

        Raises:
            NotFound: no such domain or session.
            Conflict: the domain is not active.
        """
        draft = await self._store.read(lambda tx: self._draft(tx, domain_id, name_or_id))
        evaluation = draft.evaluation
        if draft.new_results:
            evaluation = await self._store.write(lambda tx: self._decide(tx, domain_id, name_or_id))
        return evaluation, self._progress(evaluation.session)

    async def enroll(self, domain_id: str, name_or_id: str) -> tuple[Session, Progress | None]:
        """Enrol the session's speaker from its call: now, or as soon as there is enough speech.

        Raises:
            NotFound: no such domain or session.
            Conflict: no speaker, opted out, or an enrolment was requested before.
        """
        session = await self._store.write(
            lambda tx: self._request_enrollment(tx, domain_id, name_or_id)
        )
        session = await self._enroll_if_ready(session)
        self._tell(session)
        return self._current(session), self._progress(session)

    async def register_fraudster(
        self, domain_id: str, name_or_id: str, watchlist_id: str | None
    ) -> Fraudster:
        """Put the session's caller on a watchlist (by default the domain's own).

        Raises:
            NotFound: no such domain, session or watchlist.
            NotEnoughSpeech: too little was heard of the caller.
            Conflict: the domain is not active.
        """

        def check(tx: Transaction) -> tuple[Session, str]:
            domain = tx.domains.get_active(domain_id)
            wanted = watchlist_id or domain.default_watchlist_id
            tx.domains.require_watchlist(domain_id, wanted)
            return tx.sessions.get(domain_id, name_or_id), wanted

        session, wanted = await self._store.read(check)
        speech = await self._speech(session)
        if len(speech) < FRAUD_MINIMUM_S * CALL_RATE_HZ:
            raise NotEnoughSpeech(needed_s=FRAUD_MINIMUM_S, got_s=len(speech) / CALL_RATE_HZ)
        vector = await self._encoder.embed(speech)
        fraudster = Fraudster(
            fraudster_id=generated_id(),
            domain_id=domain_id,
            watchlist_ids=(wanted,),
            created_ms=self._clock.now_ms(),
        )

        def work(tx: Transaction) -> None:
            tx.domains.require_watchlist(domain_id, wanted)
            tx.fraudsters.add(fraudster)
            tx.voiceprints.put(self._voiceprint(fraudster, vector), speech=speech)

        await self._store.write(work)
        return fraudster

    async def end(self, domain_id: str, name_or_id: str) -> tuple[Session, Progress | None]:
        """End a session's stream; everything that was heard is decided on first.

        Raises:
            NotFound: no such domain or session.
        """
        session = await self._store.read(lambda tx: tx.sessions.get(domain_id, name_or_id))
        call = self._calls.find(session.session_id)
        if call is not None:
            await call.end()
        session = await self._store.write(
            lambda tx: self._note_end(tx, tx.sessions.get(domain_id, name_or_id))
        )
        return session, None

    # --- what the gateway asks

    async def open_stream(self, session_id: str, token: str) -> LiveCall:
        """Take up a session's stream: begin its call, or go on with it after a lost connection.

        Raises:
            NotFound: no such session.
            StreamTokenRejected: wrong, expired, for another session or an earlier stream.
            AlreadyStreaming: another connection feeds the call.
            AtCapacity: no further call can be admitted.
        """
        session = await self._store.read(lambda tx: tx.sessions.get_by_id(session_id))
        ticket = read_token(token, self._signer)
        if ticket.session_id != session_id:
            raise StreamTokenRejected("The stream token was made for another session")
        if ticket.stream_number != session.stream_number:
            raise StreamTokenRejected("The stream token was made for an earlier stream")
        call = self._calls.find(session_id)
        if call is None or call.inbox.closed or _stream_of(call) != session.stream_number:
            call = await self._begin(session, before=call)
        if call.attached:
            raise AlreadyStreaming("Another connection already feeds this stream")
        call.attach()
        return call

    async def _begin(self, session: Session, *, before: LiveCall | None) -> LiveCall:
        if before is not None:
            # The stream before this one has all its speech, but its connection is still open.
            await before.end()
        if self._current(session).streaming_status != "PENDING_CONFIGURATION":
            raise StreamTokenRejected("The stream token has expired")
        self._calls.check_admission()
        started_ms = self._clock.now_ms()

        def work(tx: Transaction) -> Session:
            current = tx.sessions.get_by_id(session.session_id)
            if current.streaming_status != "PENDING_CONFIGURATION":
                raise AlreadyStreaming("Another connection already feeds this stream")
            return tx.sessions.update(
                current,
                streaming_status="ONGOING",
                stream_started_ms=started_ms,
                updated_ms=started_ms,
            )

        session = await self._store.write(work)
        identity = CallIdentity(
            session_id=session.session_id,
            domain_id=session.domain_id,
            stream_number=session.stream_number,
            started_ms=started_ms,
        )
        plan = Plan(authentication_samples=session.authentication_minimum_s * CALL_RATE_HZ)
        try:
            return self._calls.begin(identity, plan=plan, listener=self)
        except AtCapacity:
            # Another call took the last place meanwhile; the same URL may be tried again.
            await self._store.write(
                lambda tx: tx.sessions.update(
                    tx.sessions.get_by_id(session.session_id),
                    streaming_status="PENDING_CONFIGURATION",
                )
            )
            raise

    # --- what a live call tells

    async def on_evidence(self, call: LiveCall, evidence: EvidenceReady) -> None:
        """Store new evidence; it is what decisions are made on from here on."""
        now_ms = self._clock.now_ms()
        record = Evidence(
            session_id=call.identity.session_id,
            stream_number=call.identity.stream_number,
            number=evidence.number,
            net_speech_s=evidence.net_speech_samples / CALL_RATE_HZ,
            started_ms=call.at_ms(evidence.start, now_ms=now_ms),
            ended_ms=call.at_ms(evidence.end, now_ms=now_ms),
            model=self._encoder.model,
            vector=evidence.vector,
            spoof_raw=evidence.spoof_raw,
        )

        def work(tx: Transaction) -> Session:
            session = tx.sessions.get_by_id(record.session_id)
            # Of a voice that must be forgotten, evidence serves only the search for fraudsters.
            if session.fraud_detection_enabled or not _must_forget(tx, session):
                tx.evidence.put(record, domain_id=session.domain_id)
            return session

        await self._enroll_if_ready(await self._store.write(work))

    async def on_speech_complete(self, call: LiveCall) -> None:
        """Keep the speech and end the stream: nothing more is collected, though audio may come."""
        await self._keep_speech(call)
        session = await self._store.write(lambda tx: self._close_stream(tx, call))
        await self._enroll_if_ready(session)

    async def on_end(self, call: LiveCall) -> None:
        """Keep the speech and end the stream."""
        await self._keep_speech(call)
        session = await self._store.write(lambda tx: self._close_stream(tx, call))
        await self._enroll_if_ready(session)

    # --- start-up and upkeep

    async def recover(self) -> None:
        """After a crash: end the streams that were running, finish enrolments that were ready."""
        now_ms = self._clock.now_ms()
        interrupted = await self._store.write(lambda tx: tx.sessions.end_interrupted(now_ms=now_ms))
        if interrupted:
            _log.warning("%d streams were interrupted by the last stop", interrupted)
        ready = await self._store.read(
            lambda tx: tx.sessions.awaiting_enrollment(speech_s=ENROLLMENT_MINIMUM_S)
        )
        for session in ready:
            try:
                await self._enroll_if_ready(session)
            except VivavoceError:
                # One broken session must not keep the server from starting.
                _log.exception("the enrolment of session %s is not finished", session.session_id)

    async def forget_old(self, retention: Retention) -> None:
        """Drop what is older than it may become."""
        now_ms = self._clock.now_ms()

        def work(tx: Transaction) -> None:
            tx.sessions.forget_speech_before(now_ms - round(retention.speech_s * 1000))
            tx.sessions.remove_before(now_ms - round(retention.session_s * 1000))
            tx.tokens.forget_before(now_ms - _TOKEN_LIFETIME_MS)

        await self._store.write(work)

    # --- steps

    def _start(self, tx: Transaction, request: StartRequest) -> Session:
        now_ms = self._clock.now_ms()
        domain = tx.domains.get_active(request.domain_id)
        if request.client_token is not None:
            made = tx.tokens.find("StartSession", request.client_token, request.facts())
            if made is not None:
                return self._current(tx.sessions.get(request.domain_id, made))
        name = request.name or str(uuid.uuid4())
        session = tx.sessions.find(request.domain_id, name)
        session = (
            self._add_session(tx, domain, name, now_ms)
            if session is None
            else self._next_stream(tx, self._current(session), now_ms)
        )
        switches = {
            "authentication_enabled": request.authentication_enabled,
            "fraud_detection_enabled": request.fraud_detection_enabled,
        }
        chosen = {switch: value for switch, value in switches.items() if value is not None}
        if chosen:
            session = tx.sessions.update(session, **chosen)
        session = self._apply(tx, session, request.options)
        if request.client_token is not None:
            tx.tokens.add(
                "StartSession",
                request.client_token,
                request.facts(),
                resource_id=session.session_id,
                now_ms=now_ms,
            )
        return session

    def _add_session(self, tx: Transaction, domain: Domain, name: str, now_ms: int) -> Session:
        session = Session(
            session_id=generated_id(),
            domain_id=domain.domain_id,
            name=name,
            speaker_id=None,
            customer_id=None,
            authentication_enabled=True,
            fraud_detection_enabled=True,
            acceptance_threshold=ACCEPTANCE_THRESHOLD,
            risk_threshold=RISK_THRESHOLD,
            watchlist_id=domain.default_watchlist_id,
            authentication_minimum_s=AUTHENTICATION_MINIMUM_S,
            stream_number=1,
            streaming_status="PENDING_CONFIGURATION",
            stream_expires_ms=now_ms + self._token_lifetime_ms,
            stream_started_ms=None,
            ended_ms=None,
            received_s=0.0,
            net_speech_s=0.0,
            lost_s=0.0,
            quality="UNKNOWN",
            enrollment_status=None,
            enrollment_message=None,
            speech_s=0.0,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        tx.sessions.add(session)
        return session

    def _next_stream(self, tx: Transaction, session: Session, now_ms: int) -> Session:
        if session.streaming_status != "ENDED":
            raise Conflict(
                "ANOTHER_ACTIVE_STREAM", "The session already has a stream that has not ended."
            )
        tx.evidence.remove(session.session_id)
        return tx.sessions.update(
            session,
            stream_number=session.stream_number + 1,
            streaming_status="PENDING_CONFIGURATION",
            stream_expires_ms=now_ms + self._token_lifetime_ms,
            stream_started_ms=None,
            ended_ms=None,
            received_s=0.0,
            net_speech_s=0.0,
            lost_s=0.0,
            quality="UNKNOWN",
            updated_ms=now_ms,
        )

    def _apply(self, tx: Transaction, session: Session, options: SessionOptions) -> Session:
        if options.watchlist_id is not None:
            tx.domains.require_watchlist(session.domain_id, options.watchlist_id)
        wanted = {
            "acceptance_threshold": options.acceptance_threshold,
            "risk_threshold": options.risk_threshold,
            "watchlist_id": options.watchlist_id,
            "authentication_minimum_s": options.authentication_minimum_s,
        }
        changes: dict[str, object] = {
            name: value for name, value in wanted.items() if value is not None
        }
        if options.speaker_id is not None:
            speaker = self._speaker(tx, session.domain_id, options.speaker_id)
            if session.enrollment_status is not None and speaker.speaker_id != session.speaker_id:
                raise Conflict(
                    "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT",
                    "You cannot change the speaker ID after an enrollment has been requested.",
                )
            changes |= {"speaker_id": speaker.speaker_id, "customer_id": speaker.customer_id}
        if not changes:
            return session
        return tx.sessions.update(session, **changes, updated_ms=self._clock.now_ms())

    def _speaker(self, tx: Transaction, domain_id: str, speaker_id: str) -> Speaker:
        """The claimed speaker; an unknown customer id becomes a pending speaker."""
        speaker = tx.speakers.find(domain_id, speaker_id)
        if speaker is not None:
            return speaker
        if is_generated(speaker_id):
            raise NotFound("SPEAKER")
        now_ms = self._clock.now_ms()
        speaker = Speaker(
            speaker_id=generated_id(),
            domain_id=domain_id,
            customer_id=speaker_id,
            status="PENDING",
            created_ms=now_ms,
            updated_ms=now_ms,
            last_accessed_ms=None,
        )
        tx.speakers.add(speaker)
        return speaker

    def _request_enrollment(self, tx: Transaction, domain_id: str, name_or_id: str) -> Session:
        tx.domains.get_active(domain_id)
        session = tx.sessions.get(domain_id, name_or_id)
        if session.customer_id is None:
            raise Conflict(
                "SPEAKER_NOT_SET", "You must set the speaker ID before requesting an enrollment."
            )
        if session.enrollment_status is not None:
            raise Conflict(
                "ENROLLMENT_ALREADY_EXISTS", "There is already an enrollment for this session."
            )
        # A speaker deleted since (as agents do after an opt-out) is known again from here on.
        speaker = self._speaker(tx, domain_id, session.customer_id)
        if speaker.status == "OPTED_OUT":
            raise Conflict(
                "SPEAKER_OPTED_OUT",
                "You cannot request an enrollment for an opted out speaker.",
            )
        return tx.sessions.update(
            session,
            speaker_id=speaker.speaker_id,
            enrollment_status="NOT_ENOUGH_SPEECH",
            updated_ms=self._clock.now_ms(),
        )

    async def _enroll_if_ready(self, session: Session) -> Session:
        """Complete a requested enrolment if there is enough speech; gives the session as it is."""
        if session.enrollment_status not in _OPEN_ENROLLMENTS:
            return session
        speech = (await self._speech(session))[: ENROLLMENT_MINIMUM_S * CALL_RATE_HZ]
        if len(speech) < ENROLLMENT_MINIMUM_S * CALL_RATE_HZ:
            return session

        def begin(tx: Transaction) -> Session:
            current = tx.sessions.get_by_id(session.session_id)
            if current.enrollment_status not in _OPEN_ENROLLMENTS:
                return current  # completed meanwhile, by a request or by the call
            # The speech is kept with the state, so that a crash from here on loses neither.
            current = tx.sessions.update(current, enrollment_status="IN_PROGRESS")
            return tx.sessions.put_speech(current, speech, seconds=len(speech) / CALL_RATE_HZ)

        session = await self._store.write(begin)
        if session.enrollment_status not in _OPEN_ENROLLMENTS:
            return session
        vector = await self._encoder.embed(speech)
        return await self._store.write(
            lambda tx: self._complete_enrollment(tx, session.session_id, vector, speech)
        )

    def _complete_enrollment(
        self, tx: Transaction, session_id: str, vector: Floats, speech: Samples
    ) -> Session:
        now_ms = self._clock.now_ms()
        session = tx.sessions.get_by_id(session_id)
        if session.enrollment_status == "COMPLETED":
            return session
        speaker = tx.speakers.find(session.domain_id, session.speaker_id or "")
        if speaker is None or speaker.status == "OPTED_OUT":
            reason = (
                "The requested speaker does not exist"
                if speaker is None
                else "You cannot request an enrollment for an opted out speaker."
            )
            return tx.sessions.update(
                session, enrollment_status="FAILED", enrollment_message=reason, updated_ms=now_ms
            )
        tx.voiceprints.put(self._voiceprint(speaker, vector), speech=speech)
        tx.speakers.set_status(speaker.speaker_id, "ENROLLED", now_ms=now_ms)
        tx.speakers.touch(speaker.speaker_id, now_ms=hour_of(now_ms))
        return tx.sessions.update(session, enrollment_status="COMPLETED", updated_ms=now_ms)

    def _voiceprint(self, owner: Speaker | Fraudster, vector: Floats) -> Voiceprint:
        return Voiceprint(
            owner_id=owner.speaker_id if isinstance(owner, Speaker) else owner.fraudster_id,
            domain_id=owner.domain_id,
            model=self._encoder.model,
            vector=vector,
            created_ms=self._clock.now_ms(),
        )

    async def _speech(self, session: Session) -> Samples:
        """The session's net speech: of earlier streams, and of the live call."""
        kept = await self._store.read(lambda tx: tx.sessions.speech(session))
        call = self._calls.find(session.session_id)
        live = None if call is None or call.speech_kept else call.speech()
        return np.concatenate([part for part in (kept, live, _NOTHING) if part is not None])

    async def _keep_speech(self, call: LiveCall) -> None:
        """Store the call's speech behind that of earlier streams, once."""
        if call.speech_kept:
            return
        session = await self._store.read(lambda tx: tx.sessions.get_by_id(call.identity.session_id))
        limit = ENROLLMENT_MINIMUM_S * CALL_RATE_HZ
        speech = (await self._speech(session))[-limit:]
        if len(speech) and not await self._store.read(lambda tx: _must_forget(tx, session)):
            await self._store.write(
                lambda tx: tx.sessions.put_speech(
                    tx.sessions.get_by_id(session.session_id),
                    speech,
                    seconds=len(speech) / CALL_RATE_HZ,
                )
            )
        call.speech_kept = True

    def _close_stream(self, tx: Transaction, call: LiveCall) -> Session:
        session = tx.sessions.get_by_id(call.identity.session_id)
        if session.stream_number != _stream_of(call):
            return session  # the next stream has begun; this one ended when its speech was complete
        progress = call.progress
        session = tx.sessions.update(
            session,
            received_s=progress.received_samples / CALL_RATE_HZ,
            net_speech_s=progress.net_speech_samples / CALL_RATE_HZ,
            lost_s=progress.lost_samples / CALL_RATE_HZ,
            quality=progress.quality,
        )
        return self._note_end(tx, session)

    def _note_end(self, tx: Transaction, session: Session) -> Session:
        if session.streaming_status == "ENDED":
            return session
        now_ms = self._clock.now_ms()
        return tx.sessions.update(
            session, streaming_status="ENDED", ended_ms=now_ms, updated_ms=now_ms
        )

    def _draft(self, tx: Transaction, domain_id: str, name_or_id: str) -> Draft:
        tx.domains.get_active(domain_id)
        session = self._current(tx.sessions.get(domain_id, name_or_id))
        return draft_evaluation(
            tx, session, self._judge, model=self._encoder.model, now_ms=self._clock.now_ms()
        )

    def _decide(self, tx: Transaction, domain_id: str, name_or_id: str) -> Evaluation:
        draft = self._draft(tx, domain_id, name_or_id)
        give_out(tx, draft, now_ms=self._clock.now_ms())
        return draft.evaluation

    def _current(self, session: Session) -> Session:
        """The session as of now: a stream that nobody opened in time has ended."""
        expired = (
            session.streaming_status == "PENDING_CONFIGURATION"
            and session.stream_expires_ms <= self._clock.now_ms()
        )
        if not expired:
            return session
        return replace(session, streaming_status="ENDED", ended_ms=session.stream_expires_ms)

    def _progress(self, session: Session) -> Progress | None:
        call = self._calls.find(session.session_id)
        if call is None or _stream_of(call) != session.stream_number:
            return None
        return call.progress

    def _tell(self, session: Session) -> None:
        """Whoever shows the live call shall look again."""
        call = self._calls.find(session.session_id)
        if call is not None:
            call.news.tell()


_NOTHING = np.zeros(0, np.int16)
_OPEN_ENROLLMENTS = ("NOT_ENOUGH_SPEECH", "IN_PROGRESS")


def _must_forget(tx: Transaction, session: Session) -> bool:
    """Whether the claimed speaker has opted out or was deleted, in this call or before."""
    if session.speaker_id is None:
        return False
    speaker = tx.speakers.find(session.domain_id, session.speaker_id)
    return speaker is None or speaker.status == "OPTED_OUT"


def _stream_of(call: LiveCall) -> int:
    return call.identity.stream_number
