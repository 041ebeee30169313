"""Rows of sessions, their evidence and the decisions given out on it."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from vivavoce.audio.arrays import Samples
from vivavoce.errors import NotFound
from vivavoce.ids import is_generated
from vivavoce.scoring.spoofing import SpoofEvidence
from vivavoce.store import places, tables
from vivavoce.store.lookup import LookUp
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import Evidence, Result, ResultKind, Session, StreamingStatus
from vivavoce.store.sealing import DomainSealer, Sealers

# Half a megabyte a session that only an enrolment needs.
_WITHOUT_SPEECH = [c for c in tables.sessions.c if c.name != "sealed_speech"]
_IN_DOMAIN = tables.sessions.c.domain_id == bindparam("domain_id")
_BY_ID = LookUp(
    select(*_WITHOUT_SPEECH).where(_IN_DOMAIN, tables.sessions.c.session_id == bindparam("named"))
)
_BY_NAME = LookUp(
    select(*_WITHOUT_SPEECH).where(_IN_DOMAIN, tables.sessions.c.name == bindparam("named"))
)

_EVIDENCE = LookUp(
    select(tables.evidence).where(
        tables.evidence.c.session_id == bindparam("session_id"),
        tables.evidence.c.stream_number == bindparam("stream_number"),
    )
)
_RESULT = LookUp(
    select(tables.results).where(
        tables.results.c.session_id == bindparam("session_id"),
        tables.results.c.kind == bindparam("kind"),
    )
)


class Sessions:
    """The sessions, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers, quotas: Quotas) -> None:
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas

    def require_room(self, domain_id: str, *, now_ms: int) -> None:
        """Make sure that one more session may be active.

        Raises:
            QuotaExceeded: the domain has as many as it may.
        """
        if self._quotas.sessions is None:
            return
        there = self._connection.execute(
            select(func.count()).where(
                tables.sessions.c.domain_id == domain_id, is_active_session(now_ms)
            )
        ).scalar_one()
        require_room(self._quotas.sessions, there, "active sessions in a domain")

    def add(self, session: Session) -> None:
        """Add a session."""
        self._connection.execute(insert(tables.sessions).values(self._seal(session)))

    def find(self, domain_id: str, name_or_id: str) -> Session | None:
        """One session by id or name, or None."""
        sealer = self._sealers.of(domain_id)
        query = _BY_ID if is_generated(name_or_id) else _BY_NAME
        row = query.one(self._connection, domain_id=domain_id, named=name_or_id)
        return None if row is None else _open(row, sealer)

    def get(self, domain_id: str, name_or_id: str) -> Session:
        """One session by id or name.

        Raises:
            NotFound: there is none (or no such domain).
        """
        session = self.find(domain_id, name_or_id)
        if session is None:
            raise NotFound("SESSION")
        return session

    def get_by_id(self, session_id: str) -> Session:
        """One session by its id alone, whatever its domain.

        Raises:
            NotFound: there is none.
        """
        query = select(tables.sessions.c.domain_id).where(
            tables.sessions.c.session_id == session_id
        )
        domain_id = self._connection.execute(query).scalar_one_or_none()
        if domain_id is None:
            raise NotFound("SESSION")
        return self.get(domain_id, session_id)

    def id_of(self, name: str) -> str:
        """The id of the session that has a name, whatever its domain.

        Raises:
            NotFound: there is none, or several domains have one.
        """
        query = select(tables.sessions.c.session_id).where(tables.sessions.c.name == name).limit(2)
        found = list(self._connection.execute(query).scalars())
        if len(found) != 1:
            raise NotFound("SESSION")
        return found[0]

    def page(
        self, domain_id: str, *, status: StreamingStatus | None, now_ms: int, after: int, size: int
    ) -> list[tuple[int, Session]]:
        """Up to `size` sessions whose sequence number is above `after`, each with its own.

        A stream that nobody opened in time counts as ended, whatever its row says.
        """
        sessions = tables.sessions
        query = (
            select(*_WITHOUT_SPEECH)
            .where(sessions.c.domain_id == domain_id, sessions.c.sequence > after)
            .order_by(sessions.c.sequence)
            .limit(size)
        )
        if status is not None:
            query = query.where(_status_is(status, now_ms))
        sealer = self._sealers.of(domain_id)
        return [(row.sequence, _open(row, sealer)) for row in self._connection.execute(query).all()]

    def update(self, session: Session, **changes: Any) -> Session:  # noqa: ANN401 - of many types
        """Change a session; gives it as it is now.

        The caller read `session` in this same transaction, so nothing is overwritten unseen.
        """
        changed = replace(session, **changes)
        values = dict(changes)
        if "customer_id" in values:
            values["sealed_customer_id"] = self._seal_customer_id(changed)
            del values["customer_id"]
        self._connection.execute(
            update(tables.sessions)
            .where(tables.sessions.c.session_id == session.session_id)
            .values(values)
        )
        return changed

    def end_interrupted(self, *, now_ms: int) -> list[str]:
        """End the streams that were running when the process died; gives their sessions' ids."""
        sessions = tables.sessions
        ongoing = sessions.c.streaming_status == "ONGOING"
        interrupted = list(
            self._connection.execute(select(sessions.c.session_id).where(ongoing)).scalars()
        )
        self._connection.execute(
            update(sessions)
            .where(ongoing)
            .values(streaming_status="ENDED", ended_ms=now_ms, updated_ms=now_ms)
        )
        return interrupted

    def ongoing(self) -> list[tuple[str, int, int]]:
        """The ongoing streams of all domains: session id, stream number, when it began."""
        sessions = tables.sessions
        query = select(
            sessions.c.session_id, sessions.c.stream_number, sessions.c.stream_started_ms
        ).where(sessions.c.streaming_status == "ONGOING")
        return [
            (row.session_id, row.stream_number, row.stream_started_ms or 0)
            for row in self._connection.execute(query)
        ]

    def end_stream(self, session_id: str, stream_number: int, *, now_ms: int) -> None:
        """End a stream, if it is ongoing; needs no key, as none may be usable."""
        sessions = tables.sessions
        self._connection.execute(
            update(sessions)
            .where(
                sessions.c.session_id == session_id,
                sessions.c.stream_number == stream_number,
                sessions.c.streaming_status == "ONGOING",
            )
            .values(streaming_status="ENDED", ended_ms=now_ms, updated_ms=now_ms)
        )

    def awaiting_enrollment(self, *, speech_s: float) -> list[str]:
        """Ids of the sessions whose enrolment had begun, or could have, of all domains.

        Args:
            speech_s: net speech, in seconds, with which a requested enrolment can begin.
        """
        sessions = tables.sessions
        query = (
            select(sessions.c.session_id)
            .join(tables.domains, tables.domains.c.domain_id == sessions.c.domain_id)
            .where(
                sessions.c.enrollment_status.in_(("NOT_ENOUGH_SPEECH", "IN_PROGRESS")),
                sessions.c.speech_s >= speech_s,
                tables.domains.c.deleted_ms.is_(None),
            )
        )
        return list(self._connection.execute(query).scalars())

    def put_speech(self, session: Session, speech: Samples, *, seconds: float) -> Session:
        """Keep net speech for an enrolment or a registration from this session."""
        sealer = self._sealers.of(session.domain_id)
        self._connection.execute(
            update(tables.sessions)
            .where(tables.sessions.c.session_id == session.session_id)
            .values(
                sealed_speech=sealer.seal_speech(speech, places.session_speech(session.session_id))
            )
        )
        return self.update(session, speech_s=seconds)

    def speech(self, session: Session) -> Samples | None:
        """The net speech that is kept, shape (n,), or None."""
        query = select(tables.sessions.c.sealed_speech).where(
            tables.sessions.c.session_id == session.session_id
        )
        sealed = self._connection.execute(query).scalar_one_or_none()
        if sealed is None:
            return None
        return self._sealers.of(session.domain_id).open_speech(
            sealed, places.session_speech(session.session_id)
        )

    def forget_speech_of(self, speaker_id: str) -> None:
        """Drop speech and voice from every session of a speaker.

        That there was evidence stays, so that decisions given out on it stand.
        """
        sessions, evidence = tables.sessions, tables.evidence
        of_speaker = sessions.c.speaker_id == speaker_id
        self._connection.execute(
            update(sessions).where(of_speaker).values(sealed_speech=None, speech_s=0.0)
        )
        self._connection.execute(
            update(evidence)
            .where(evidence.c.session_id.in_(select(sessions.c.session_id).where(of_speaker)))
            .values(sealed_vector=None)
        )

    def ended_before(
        self, instant_ms: int, *, with_speech: bool, after: int, size: int
    ) -> list[int]:
        """Sequence numbers of sessions whose stream ended before an instant.

        Args:
            instant_ms: the instant.
            with_speech: only those whose speech is kept.
            after: a sequence number.
            size: the most to give.
        """
        sessions = tables.sessions
        query = select(sessions.c.sequence).where(
            _ended_before(instant_ms), sessions.c.sequence > after
        )
        if with_speech:
            query = query.where(sessions.c.sealed_speech.is_not(None))
        query = query.order_by(sessions.c.sequence).limit(size)
        return list(self._connection.execute(query).scalars())

    def forget_speech(self, sequences: Sequence[int], *, ended_before_ms: int) -> int:
        """Drop the speech of sessions, but for those with a new stream; gives of how many."""
        sessions = tables.sessions
        done = self._connection.execute(
            update(sessions)
            .where(sessions.c.sequence.in_(sequences), _ended_before(ended_before_ms))
            .values(sealed_speech=None, speech_s=0.0)
        )
        return done.rowcount

    def remove(self, sequences: Sequence[int], *, ended_before_ms: int) -> int:
        """Delete sessions, but for those with a new stream, with all that hangs on them.

        Gives how many.
        """
        sessions = tables.sessions
        done = self._connection.execute(
            delete(sessions).where(
                sessions.c.sequence.in_(sequences), _ended_before(ended_before_ms)
            )
        )
        return done.rowcount

    def _seal(self, session: Session) -> dict[str, Any]:
        values = asdict(session)
        del values["customer_id"]
        return values | {"sealed_customer_id": self._seal_customer_id(session)}

    def _seal_customer_id(self, session: Session) -> bytes | None:
        if session.customer_id is None:
            return None
        return self._sealers.of(session.domain_id).seal_text(
            session.customer_id, places.session_customer_id(session.session_id)
        )


class EvidenceRows:
    """The latest evidence of each session, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers) -> None:
        self._connection = connection
        self._sealers = sealers

    def put(self, evidence: Evidence, *, domain_id: str) -> None:
        """Store evidence in place of what the session had."""
        self.remove(evidence.session_id)
        sealer = self._sealers.of(domain_id)
        self._connection.execute(
            insert(tables.evidence).values(
                session_id=evidence.session_id,
                stream_number=evidence.stream_number,
                number=evidence.number,
                net_speech_s=evidence.net_speech_s,
                started_ms=evidence.started_ms,
                ended_ms=evidence.ended_ms,
                model=evidence.model,
                sealed_vector=None
                if evidence.vector is None
                else sealer.seal_vector(
                    evidence.vector, places.evidence_vector(evidence.session_id)
                ),
                spoof_windows=None if evidence.spoof is None else evidence.spoof.to_bytes(),
            )
        )

    def find(self, session: Session) -> Evidence | None:
        """The evidence of the session's current stream, or None."""
        row = _EVIDENCE.one(
            self._connection,
            session_id=session.session_id,
            stream_number=session.stream_number,
        )
        if row is None:
            return None
        sealer = self._sealers.of(session.domain_id)
        return Evidence(
            session_id=row.session_id,
            stream_number=row.stream_number,
            number=row.number,
            net_speech_s=row.net_speech_s,
            started_ms=row.started_ms,
            ended_ms=row.ended_ms,
            model=row.model,
            vector=None
            if row.sealed_vector is None
            else sealer.open_vector(row.sealed_vector, places.evidence_vector(row.session_id)),
            spoof=None
            if row.spoof_windows is None
            else SpoofEvidence.from_bytes(row.spoof_windows),
        )

    def remove(self, session_id: str) -> None:
        """Delete a session's evidence, if there is any."""
        self._connection.execute(
            delete(tables.evidence).where(tables.evidence.c.session_id == session_id)
        )


class Results:
    """The decisions last given out for each session, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, session_id: str, kind: ResultKind) -> Result | None:
        """The decision last given out, or None."""
        row = _RESULT.one(self._connection, session_id=session_id, kind=kind)
        return (
            None
            if row is None
            else Result(
                session_id=row.session_id,
                kind=row.kind,
                result_id=row.result_id,
                basis=row.basis,
                body=row.body,
                created_ms=row.created_ms,
            )
        )

    def put(self, result: Result) -> None:
        """Store a decision in place of the one before."""
        results = tables.results
        self._connection.execute(
            delete(results).where(
                results.c.session_id == result.session_id, results.c.kind == result.kind
            )
        )
        self._connection.execute(insert(results).values(asdict(result)))


def _ended_before(instant_ms: int) -> ColumnElement[bool]:
    sessions = tables.sessions
    return or_(
        and_(sessions.c.streaming_status == "ENDED", sessions.c.ended_ms < instant_ms),
        # Nobody opened the stream in time.
        and_(
            sessions.c.streaming_status == "PENDING_CONFIGURATION",
            sessions.c.stream_expires_ms < instant_ms,
        ),
    )


_PLAIN_FIELDS = [field.name for field in fields(Session) if field.name != "customer_id"]


def _open(row: Row[Any], sealer: DomainSealer) -> Session:
    plain = {name: getattr(row, name) for name in _PLAIN_FIELDS}
    customer_id = (
        None
        if row.sealed_customer_id is None
        else sealer.open_text(row.sealed_customer_id, places.session_customer_id(row.session_id))
    )
    return Session(customer_id=customer_id, **plain)


def is_active_session(now_ms: int) -> ColumnElement[bool]:
    """Whether a session's stream is ongoing, or may still be opened."""
    sessions = tables.sessions
    return or_(
        sessions.c.streaming_status == "ONGOING",
        and_(
            sessions.c.streaming_status == "PENDING_CONFIGURATION",
            sessions.c.stream_expires_ms > now_ms,
        ),
    )


def _status_is(status: StreamingStatus, now_ms: int) -> ColumnElement[bool]:
    sessions = tables.sessions
    expired = and_(
        sessions.c.streaming_status == "PENDING_CONFIGURATION",
        sessions.c.stream_expires_ms <= now_ms,
    )
    written = sessions.c.streaming_status == status
    return or_(written, expired) if status == "ENDED" else and_(written, ~expired)
