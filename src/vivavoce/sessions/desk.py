"""The desk: everything that can be asked of a session.

It is where a live call, its speaker and its watchlist meet. The API's handlers and the gateway ask
here; the store holds the truth, the live call only what is not decided yet.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.calls import Calls
from vivavoce.call.machine import (
    FRAUD_S,
    FRAUD_SAMPLES,
    Configure,
    EvidenceReady,
    Plan,
    Progress,
    samples_to_s,
)
from vivavoce.call.runner import CallIdentity, LiveCall
from vivavoce.clock import Clock
from vivavoce.errors import (
    AlreadyStreaming,
    AtCapacity,
    Conflict,
    NotEnoughSpeech,
    StreamTokenRejected,
    VivavoceError,
)
from vivavoce.ids import generated_id, is_generated
from vivavoce.scoring.judge import Judge
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import Announcement, RegistrationData, StreamStatus
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.decisions import decision_records
from vivavoce.sessions.enrolment import Encoder, Enrolments
from vivavoce.sessions.evaluation import (
    Draft,
    Evaluation,
    NotGiven,
    draft_evaluation,
    give_out,
)
from vivavoce.sessions.locks import Locks
from vivavoce.sessions.speakers import find_or_add, must_be_forgotten
from vivavoce.sessions.tokens import Signer, StreamTicket, issue_token, read_token
from vivavoce.store.records import (
    Domain,
    Evidence,
    Fraudster,
    Session,
    StreamingStatus,
)
from vivavoce.store.store import Store, Transaction
from vivavoce.store.tokens import ClientToken

ACCEPTANCE_THRESHOLD = 90
RISK_THRESHOLD = 50
AUTHENTICATION_MINIMUM_S = 10
"""Defaults of a session. Source: voice-id-behaviour.md section 7.3."""

_BEGINNING_MS = 60_000

_log = logging.getLogger(__name__)


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
    token: ClientToken


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
        announcer: Announcer,
        on_decision: Callable[[str, str, Sequence[str]], None],
        token_lifetime_s: float,
    ) -> None:
        """Put together.

        Args:
            store: the state.
            calls: the live calls.
            encoder: makes voiceprints, and judges the speech that they are made from.
            judge: what scores mean.
            signer: signs stream tokens.
            clock: the time.
            announcer: tells the world what happened.
            on_decision: told of each new decision once it is written: kind, decision, reasons; from
                any thread.
            token_lifetime_s: how long a stream's token may be used to open it, in seconds.
        """
        self._store = store
        self._calls = calls
        self._encoder = encoder
        self._judge = judge
        self._signer = signer
        self._clock = clock
        self._token_lifetime_ms = round(token_lifetime_s * 1000)
        self._announcer = announcer
        self._on_decision = on_decision
        self._enrolments = Enrolments(
            store=store,
            calls=calls,
            encoder=encoder,
            clock=clock,
            announcer=announcer,
            decide=self._decide_on,
        )
        self._doors = Locks()  # a stream is opened and ended one step after the other

    # --- what the API asks

    async def start(self, request: StartRequest) -> tuple[Session, str]:
        """Start a session, or a new stream of an ended one; gives it and its stream's token.

        Raises:
            NotFound: no such domain, watchlist or generated speaker id.
            Conflict: the session has a stream that has not ended, or its speaker is fixed.
            InvalidRequest: the client token was used for another request.
            AtCapacity: no further call can be admitted.
            QuotaExceeded: the domain has as many active sessions as it may.
        """
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
            tx.domains.require_active(domain_id)
            session = self._apply(tx, tx.sessions.get(domain_id, name_or_id), options)
            self._announcer.announce(
                tx,
                lambda: announcements.update_session(
                    _arn(tx, session), session, now_ms=self._clock.now_ms()
                ),
            )
            return session

        session = await self._store.write(work)
        call = self._calls.find(session.session_id)
        if call is not None and not call.inbox.closed and options.authentication_minimum_s:
            samples = options.authentication_minimum_s * CALL_RATE_HZ
            call.inbox.put_other(Configure(authentication_samples=samples))
        self._tell(session)
        return self._current(session), self._progress(session)

    async def evaluate(
        self, domain_id: str, name_or_id: str, *, announce_always: bool = False
    ) -> tuple[Evaluation, Progress | None]:
        """Decide on a session, or give out again what was decided.

        Args:
            domain_id: the domain.
            name_or_id: the session.
            announce_always: tell of this evaluation even if it gives out nothing new.

        Raises:
            NotFound: no such domain or session.
            Conflict: the domain is not active.
        """
        try:
            # Most ask for what was decided before; only what is new has to be worked out.
            draft = await self._store.look_up(
                lambda tx: self._draft(tx, domain_id, name_or_id, given_only=True)
            )
            evaluation = draft.evaluation
        except NotGiven:
            evaluation = None
        if evaluation is None or (announce_always and self._announcer.is_heard):
            await self._store.open_gallery(domain_id, self._encoder.model)
            evaluation = await self._store.write(
                lambda tx: self._decide(tx, domain_id, name_or_id, announce_always=announce_always)
            )
        return evaluation, self._progress(evaluation.session)

    async def enroll(self, domain_id: str, name_or_id: str) -> tuple[Session, Progress | None]:
        """Enrol the session's speaker from its call: now, or as soon as there is enough speech.

        Raises:
            NotFound: no such domain or session.
            Conflict: no speaker, opted out, or an enrolment was requested before.
        """
        session = await self._enrolments.request(domain_id, name_or_id)
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
            tx.watchlists.get(domain_id, wanted)
            return tx.sessions.get(domain_id, name_or_id), wanted

        session, wanted = await self._store.read(check)
        speech = await self._enrolments.speech_of(session)
        if len(speech) < FRAUD_SAMPLES:
            raise NotEnoughSpeech(needed_s=FRAUD_S, got_s=samples_to_s(len(speech)))
        vector = await self._encoder.embed(speech)
        fraudster = Fraudster(
            fraudster_id=generated_id(),
            domain_id=domain_id,
            watchlist_ids=(wanted,),
            created_ms=self._clock.now_ms(),
        )

        def work(tx: Transaction) -> None:
            tx.watchlists.get(domain_id, wanted)
            tx.fraudsters.add(fraudster)
            tx.voiceprints.put(self._enrolments.voiceprint(fraudster, vector), speech=speech)
            self._announcer.announce(tx, lambda: _registered(tx, session, fraudster))

        await self._store.write(work)
        return fraudster

    async def end(self, domain_id: str, name_or_id: str) -> tuple[Session, Progress | None]:
        """End a session's stream; everything that was heard is decided on first.

        Raises:
            NotFound: no such domain or session.
        """
        session = await self._store.read(lambda tx: tx.sessions.get(domain_id, name_or_id))
        async with self._doors.of(session.session_id):
            call = self._calls.find(session.session_id)
            if call is not None:
                await call.end()
            session = await self._store.write(
                lambda tx: self._note_end(tx, tx.sessions.get(domain_id, name_or_id))
            )
        return session, None

    async def end_calls(self, domain_id: str) -> None:
        """End the live calls of a domain that is being deleted."""
        await asyncio.gather(*(call.end() for call in self._calls.of_domain(domain_id)))

    # --- what the gateway asks

    @property
    def is_closing(self) -> bool:
        """Whether the server is shutting down."""
        return self._calls.draining

    def check_admission(self) -> None:
        """Make sure that one more call may begin.

        Raises:
            AtCapacity: all places are taken, or the server is shutting down.
        """
        self._calls.check_admission()

    async def open_stream(self, session_id: str, token: str) -> LiveCall:
        """Take up a session's stream: begin its call, or go on with it after a lost connection.

        Raises:
            NotFound: no such session.
            StreamTokenRejected: wrong, expired, for another session or an earlier stream.
            AlreadyStreaming: another connection feeds the call.
            AtCapacity: no further call can be admitted.
        """
        async with self._doors.of(session_id):
            session = await self._store.read(lambda tx: tx.sessions.get_by_id(session_id))
            self._check_token(token, session)
            return await self._take_up(session)

    async def open_named_stream(self, name: str) -> LiveCall:
        """The same for a peer that can say no more than the session's name, which is its token.

        Raises:
            NotFound: no session of that name, or several domains have one.
            StreamTokenRejected: the stream was to be opened earlier, or has ended.
            AlreadyStreaming: another connection feeds the call.
            AtCapacity: no further call can be admitted.
        """
        session_id = await self._store.read(lambda tx: tx.sessions.id_of(name))
        async with self._doors.of(session_id):
            session = await self._store.read(lambda tx: tx.sessions.get_by_id(session_id))
            return await self._take_up(session)

    async def open_call(
        self, request: StartRequest, *, note: Callable[[Transaction, Session], None]
    ) -> LiveCall:
        """Start a session and its call in one, or go on with the call after a lost connection.

        Args:
            request: what starts the session, which must be named.
            note: writes down whatever else a start is worth.

        Raises:
            NotFound: no such domain or watchlist.
            Conflict: the domain is not active, or the session's speaker is fixed.
            AlreadyStreaming: another connection feeds the session's call.
            AtCapacity: no further call can be admitted.
            QuotaExceeded: the domain has as many active sessions as it may.
        """
        async with self._doors.of(f"{request.domain_id}/{request.name}"):
            call = await self._call_of(request)
            if call is not None:
                if call.attached:
                    raise AlreadyStreaming("Another connection already feeds this call")
                call.attach()
                return call

            def work(tx: Transaction) -> Session:
                session = self._start(tx, request)
                note(tx, session)
                return session

            session = await self._store.write(work)
            async with self._doors.of(session.session_id):
                return await self._take_up(session)

    async def _call_of(self, request: StartRequest) -> LiveCall | None:
        """The live call of a session of this name, if it goes on."""
        session = await self._store.read(
            lambda tx: tx.sessions.find(request.domain_id, request.name or "")
        )
        call = None if session is None else self._calls.find(session.session_id)
        return None if call is None or call.inbox.closed else call

    async def give_up_stream(
        self, session_id: str, stream_number: int, error: VivavoceError
    ) -> None:
        """End a stream that nobody opened, and never will, and tell why.

        Args:
            session_id: the session.
            stream_number: which stream of it; nothing is done if that one has begun or ended.
            error: why.

        Raises:
            NotFound: no such session.
        """

        def work(tx: Transaction) -> None:
            session = self._current(tx.sessions.get_by_id(session_id))
            pending = session.streaming_status == "PENDING_CONFIGURATION"
            if not pending or session.stream_number != stream_number:
                return
            now_ms = self._clock.now_ms()
            failed = tx.sessions.update(
                session, streaming_status="ENDED", ended_ms=now_ms, updated_ms=now_ms
            )
            self._announce_stream(tx, failed, "STREAMING_FAILED", error)

        async with self._doors.of(session_id):
            await self._store.write(work)

    async def _take_up(self, session: Session) -> LiveCall:
        call = self._calls.find(session.session_id)
        if call is None or call.inbox.closed or _stream_of(call) != session.stream_number:
            call = await self._begin(session, before=call)
        if call.attached:
            raise AlreadyStreaming("Another connection already feeds this stream")
        call.attach()
        return call

    def _check_token(self, token: str, session: Session) -> None:
        ticket = read_token(token, self._signer)
        if ticket.session_id != session.session_id:
            raise StreamTokenRejected("The stream token was made for another session")
        if ticket.stream_number != session.stream_number:
            raise StreamTokenRejected("The stream token was made for an earlier stream")

    async def _begin(self, session: Session, *, before: LiveCall | None) -> LiveCall:
        if before is not None:
            # The stream before this one has all its speech, but its connection is still open.
            await before.end()
        started_ms = self._clock.now_ms()
        opened_before = session.streaming_status != "PENDING_CONFIGURATION"
        if opened_before or session.stream_expires_ms <= started_ms:
            raise StreamTokenRejected("The stream token has expired")
        try:
            self._calls.check_admission()
        except AtCapacity as error:
            await self._refuse_stream(session, error)
            raise

        def note(tx: Transaction) -> Session:
            started = tx.sessions.update(
                tx.sessions.get_by_id(session.session_id),
                streaming_status="ONGOING",
                stream_started_ms=started_ms,
                updated_ms=started_ms,
            )
            self._announce_stream(tx, started, "STREAMING_STARTED")
            return started

        session = await self._store.write(note)
        identity = CallIdentity(
            session_id=session.session_id,
            domain_id=session.domain_id,
            stream_number=session.stream_number,
            started_ms=started_ms,
        )
        plan = Plan(authentication_samples=session.authentication_minimum_s * CALL_RATE_HZ)
        try:
            return self._calls.begin(identity, plan=plan, listener=self)
        except Exception as error:
            # Another call may have taken the last place meanwhile; the same URL may be tried again.
            await self._refuse_stream(session, error)
            raise

    async def _refuse_stream(self, session: Session, error: Exception) -> None:
        def work(tx: Transaction) -> None:
            pending = tx.sessions.update(
                tx.sessions.get_by_id(session.session_id), streaming_status="PENDING_CONFIGURATION"
            )
            self._announce_stream(tx, pending, "STREAMING_FAILED", error)

        await self._store.write(work)

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
            spoof=evidence.spoof,
        )

        def work(tx: Transaction) -> None:
            session = tx.sessions.get_by_id(record.session_id)
            # With the evidence, so that after a crash progress and decisions agree.
            session = tx.sessions.update(session, **_heard(call))
            if _serves(tx, session):
                tx.evidence.put(record, domain_id=session.domain_id)

        await self._store.write(work)
        await self._enrolments.complete_if_ready(record.session_id)

    async def on_speech_complete(self, call: LiveCall) -> None:
        """Keep the speech and end the stream: nothing more is collected, though audio may come."""
        await self._note_stream_end(call)

    async def on_end(self, call: LiveCall) -> None:
        """Keep the speech and end the stream."""
        await self._note_stream_end(call)

    async def _note_stream_end(self, call: LiveCall) -> None:
        identity = call.identity
        try:
            await self._enrolments.keep_speech(call)
            await self._store.write(lambda tx: self._close_stream(tx, call))
        except Exception:
            # Whatever could not be kept, such as for want of a key: the stream has ended.
            now_ms = self._clock.now_ms()
            await self._store.write(
                lambda tx: tx.sessions.end_stream(
                    identity.session_id, identity.stream_number, now_ms=now_ms
                )
            )
            raise
        await self._enrolments.complete_if_ready(identity.session_id)

    # --- start-up

    async def end_lost(self) -> None:
        """End the streams that have no call: what ended them could not be noted."""
        now_ms = self._clock.now_ms()
        ongoing = await self._store.read(lambda tx: tx.sessions.ongoing())
        for session_id, stream_number, started_ms in ongoing:
            # A stream is noted as ongoing a moment before its call begins.
            is_new = now_ms - started_ms < _BEGINNING_MS
            if not is_new and self._calls.find(session_id) is None:
                _log.error("session %s was ongoing without a call; it is ended", session_id)
                await self._end_lost(session_id, stream_number, now_ms)

    async def _end_lost(self, session_id: str, stream_number: int, now_ms: int) -> None:
        await self._store.write(
            lambda tx: tx.sessions.end_stream(session_id, stream_number, now_ms=now_ms)
        )

    async def recover(self) -> None:
        """After a crash: end the streams that were running, finish enrolments that were ready."""
        interrupted = await self._store.write(self._end_interrupted)
        if interrupted:
            _log.warning("%d streams were interrupted by the last stop", interrupted)
        await self._enrolments.recover()

    # --- steps

    def _start(self, tx: Transaction, request: StartRequest) -> Session:
        now_ms = self._clock.now_ms()
        domain = tx.domains.get_active(request.domain_id)
        made = tx.tokens.find(request.token)
        if made is not None:
            return self._current(tx.sessions.get(request.domain_id, made))
        self._require_children(tx, request)
        self._calls.check_admission()
        name = request.name or str(uuid.uuid4())
        session = tx.sessions.find(request.domain_id, name)
        if session is None or self._current(session).streaming_status == "ENDED":
            tx.sessions.require_room(request.domain_id, now_ms=now_ms)
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
        tx.tokens.add(request.token, resource_id=session.session_id, now_ms=now_ms)
        return session

    def _require_children(self, tx: Transaction, request: StartRequest) -> None:
        """What a request names is looked for before any state is: that is how errors are ranked."""
        options = request.options
        if options.watchlist_id is not None:
            tx.watchlists.get(request.domain_id, options.watchlist_id)
        if options.speaker_id is not None and is_generated(options.speaker_id):
            tx.speakers.get(request.domain_id, options.speaker_id)

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
            enrolled_stream=None,
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
            tx.watchlists.get(session.domain_id, options.watchlist_id)
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
            speaker = find_or_add(
                tx,
                session.domain_id,
                options.speaker_id,
                status="PENDING",
                now_ms=self._clock.now_ms(),
            )
            if session.enrollment_status is not None and speaker.speaker_id != session.speaker_id:
                raise Conflict(
                    "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT",
                    "You cannot change the speaker ID after an enrollment has been requested.",
                )
            changes |= {"speaker_id": speaker.speaker_id, "customer_id": speaker.customer_id}
        if not changes:
            return session
        return tx.sessions.update(session, **changes, updated_ms=self._clock.now_ms())

    def _close_stream(self, tx: Transaction, call: LiveCall) -> Session:
        session = tx.sessions.get_by_id(call.identity.session_id)
        if session.stream_number != _stream_of(call):
            return session  # the next stream has begun; this one ended when its speech was complete
        session = tx.sessions.update(session, **_heard(call))
        return self._note_end(tx, session)

    def _note_end(self, tx: Transaction, session: Session) -> Session:
        if session.streaming_status == "ENDED":
            return session
        now_ms = self._clock.now_ms()
        ended = tx.sessions.update(
            session, streaming_status="ENDED", ended_ms=now_ms, updated_ms=now_ms
        )
        self._announce_stream(tx, ended, "STREAMING_ENDED")
        return ended

    def _end_interrupted(self, tx: Transaction) -> int:
        interrupted = tx.sessions.end_interrupted(now_ms=self._clock.now_ms())
        if self._announcer.is_heard:
            for session_id in interrupted:
                try:
                    session = tx.sessions.get_by_id(session_id)
                    self._announce_stream(tx, session, "STREAMING_FAILED")
                except VivavoceError as error:  # it must not keep a server from starting
                    _log.warning("the end of session %s is not told: %s", session_id, error)
        return len(interrupted)

    def _announce_stream(
        self,
        tx: Transaction,
        session: Session,
        status: StreamStatus,
        error: Exception | None = None,
    ) -> None:
        self._announcer.announce(
            tx,
            lambda: announcements.start_session(
                _arn(tx, session),
                session,
                status=status,
                now_ms=self._clock.now_ms(),
                evidence=tx.evidence.find(session),
                error=error,
            ),
        )

    def _draft(
        self, tx: Transaction, domain_id: str, name_or_id: str, *, given_only: bool = False
    ) -> Draft:
        tx.domains.require_active(domain_id)
        session = self._current(tx.sessions.get(domain_id, name_or_id))
        return draft_evaluation(
            tx,
            session,
            self._judge,
            model=self._encoder.model,
            spoof_model=self._encoder.spoof_model,
            now_ms=self._clock.now_ms(),
            given_only=given_only,
        )

    def _decide(
        self, tx: Transaction, domain_id: str, name_or_id: str, *, announce_always: bool = False
    ) -> Evaluation:
        draft = self._draft(tx, domain_id, name_or_id)
        evaluation = draft.evaluation
        self._give_out(tx, draft)
        if draft.new_results or announce_always:
            self._announcer.announce(
                tx,
                lambda: announcements.evaluate_session(
                    _arn(tx, evaluation.session), evaluation, now_ms=self._clock.now_ms()
                ),
            )
        return evaluation

    def _give_out(self, tx: Transaction, draft: Draft) -> None:
        if not draft.new_results:
            return
        now_ms = self._clock.now_ms()
        give_out(tx, draft, now_ms=now_ms)
        for record in decision_records(
            draft,
            tx.evidence.find(draft.evaluation.session),
            speaker_model=self._encoder.model,
            spoof_model=self._encoder.spoof_model,
            now_ms=now_ms,
        ):
            tx.audit.add(record, now_ms)
        tx.after_commit(lambda: self._count(draft))

    def _count(self, draft: Draft) -> None:
        authentication, fraud = draft.evaluation.authentication, draft.evaluation.fraud
        for result in draft.new_results:
            if result.kind == "authentication" and authentication is not None:
                self._on_decision(result.kind, authentication.decision, ())
            elif fraud is not None:
                self._on_decision(result.kind, fraud.decision, fraud.reasons)

    def _decide_on(self, tx: Transaction, session: Session) -> None:
        self._decide(tx, session.domain_id, session.session_id)

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


def _serves(tx: Transaction, session: Session) -> bool:
    """Whether evidence on this caller is for anything that the session is to decide."""
    if session.fraud_detection_enabled:
        return True
    # Of a voice that must be forgotten, evidence could serve only the search for fraudsters.
    return session.authentication_enabled and not must_be_forgotten(tx, session)


def _registered(tx: Transaction, session: Session, fraudster: Fraudster) -> Announcement:
    return announcements.fraudster(
        _arn(tx, session),
        "REGISTER_FRAUDSTER",
        fraudster_id=fraudster.fraudster_id,
        watchlist_ids=fraudster.watchlist_ids,
        now_ms=fraudster.created_ms,
        data=RegistrationData(
            source="SESSION_REGISTRATION",
            source_id=session.session_id,
            status="NEW_REGISTRATION",
        ),
    )


def _arn(tx: Transaction, session: Session) -> str:
    # Also of a domain that is being deleted: the end of its streams is told.
    return tx.domains.arn(session.domain_id, deleted_too=True) or ""


def _heard(call: LiveCall) -> dict[str, Any]:
    """A live call's progress, as members of its session."""
    progress = call.progress
    return {
        "received_s": samples_to_s(progress.received_samples),
        "net_speech_s": samples_to_s(progress.net_speech_samples),
        "lost_s": samples_to_s(progress.lost_samples),
        "quality": progress.quality,
    }


def _stream_of(call: LiveCall) -> int:
    return call.identity.stream_number
