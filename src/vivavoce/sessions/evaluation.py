"""Decisions on a session, given out so that the same question gets the same answer.

A decision rests on its *basis*: the evidence, the speaker's state, the thresholds. As long as the
basis stays the same, the decision that was given out is given out again, with the same id; a new
threshold re-decides the same evidence, a new speaker re-scores it, each under a new id.

Until there is enough speech for a fraud decision there may be an early risk of spoofing. It is no
decision: it is worked out each time, and nothing is kept of it.

Source: voice-id-behaviour.md section 8.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from vivavoce.audio.arrays import Floats
from vivavoce.call.machine import FRAUD_S
from vivavoce.errors import NotFound
from vivavoce.ids import unique_id
from vivavoce.scoring.decide import (
    authentication_decision,
    fraud_outcome,
    speaker_decision,
)
from vivavoce.scoring.gallery import are_comparable
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import JUDGED_S, SpoofEvidence
from vivavoce.store.records import (
    Evidence,
    Result,
    ResultKind,
    Session,
    SpeakerStatus,
    Voiceprint,
    VoiceprintOrigin,
)
from vivavoce.store.store import Transaction

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationOutcome:
    """The answer to: is the caller who they claim to be? Times in ms since the epoch."""

    result_id: str
    decision: str
    acceptance_threshold: int
    score: int | None = None
    speaker_id: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoofingGiven:
    """What is said of spoofing.

    Attributes:
        risk: 0..100, synthetic speech and playback together.
        certainty: how far the evidence was believed, 0..1; None where there was none.
        llr: log-likelihood ratio of both together; None where the speech could not be judged.
        verdicts: of each verdict its risk and its log-likelihood ratio; likewise.
        windows: start and end in seconds of net speech, the raw score of each verdict, and the
            distance.
        reference: the voiceprint whose reference was used, by a name of its own; None where none
            was.
    """

    risk: int
    certainty: float | None = None
    llr: float | None = None
    verdicts: Mapping[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    windows: tuple[tuple[float, ...], ...] = ()
    reference: str | None = None

    @property
    def reference_used(self) -> bool | None:
        """Whether the caller's own voice was a reference; None where there was no evidence."""
        return None if self.certainty is None else self.reference is not None

    @classmethod
    def of(
        cls,
        evidence: SpoofEvidence | None,
        judge: Judge,
        *,
        seconds: float,
        own: Voiceprint | None = None,
    ) -> Self:
        """What evidence from so many seconds of net speech means; no risk where there is none.

        Args:
            evidence: the windows.
            judge: what scores mean.
            seconds: net speech behind them.
            own: the voiceprint whose reference to hold them against.
        """
        if evidence is None:
            return cls(risk=0)
        verdict = judge.spoof(evidence, seconds=seconds, reference=own and own.reference)
        judged = verdict.certainty > 0
        return cls(
            risk=verdict.risk,
            certainty=round(verdict.certainty, 3),
            llr=round(verdict.llr, 4) if judged else None,
            verdicts={
                name: (verdict.risk_of(name), round(calibrated.llr, 4))
                for name, calibrated in verdict.by_verdict.items()
                if judged
            },
            windows=tuple(tuple(round(float(x), 3) for x in window) for window in evidence.windows),
            reference=own and _name_of(own),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudOutcomeGiven:
    """The answer to: is the caller a fraud? Times in ms since the epoch."""

    result_id: str
    decision: str
    risk_threshold: int
    watchlist_id: str
    reasons: tuple[str, ...] = ()
    known_fraudster_risk: int | None = None
    fraudster_id: str | None = None
    spoofing: SpoofingGiven | None = None
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything there is to say about a session.

    Attributes:
        session: as it is.
        authentication: the decision; None where it is switched off or the stream is not open yet.
        fraud: likewise.
        early_spoofing: the risk so far, while there is too little speech for a fraud decision.
    """

    session: Session
    authentication: AuthenticationOutcome | None
    fraud: FraudOutcomeGiven | None
    early_spoofing: SpoofingGiven | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An evaluation, with those of its results that nobody was given yet."""

    evaluation: Evaluation
    new_results: tuple[Result, ...]


class NotGiven(Exception):
    """Something of an evaluation was not given out before, and has to be worked out."""


def draft_evaluation(
    tx: Transaction,
    session: Session,
    judge: Judge,
    *,
    model: str,
    spoof_model: str,
    now_ms: int,
    given_only: bool = False,
) -> Draft:
    """Evaluate a session on what the store holds of it; writes nothing.

    Args:
        tx: a transaction; may be one that only reads.
        session: the session, read in this transaction.
        judge: what scores mean.
        model: name and version of the encoder in use; vectors of others do not compare.
        spoof_model: name and version of the spoof detector in use; neither do references of others.
        now_ms: the time.
        given_only: take only what was given out before; working out the rest takes a while.

    Raises:
        NotGiven: `given_only`, and there is something new.
    """
    desk = _Drafting(
        tx=tx,
        session=session,
        judge=judge,
        model=model,
        spoof_model=spoof_model,
        now_ms=now_ms,
        given_only=given_only,
    )
    if session.streaming_status == "PENDING_CONFIGURATION":
        return Draft(
            evaluation=Evaluation(session=session, authentication=None, fraud=None), new_results=()
        )
    evidence = tx.evidence.find(session)
    if evidence is not None and evidence.model != model:
        evidence = None  # from before the encoder was changed: compares with nothing any more
    new: list[Result] = []
    authentication = desk.authentication(evidence, new) if session.authentication_enabled else None
    fraud = desk.fraud(evidence, new) if session.fraud_detection_enabled else None
    early_spoofing = desk.early_spoofing(evidence) if session.fraud_detection_enabled else None
    return Draft(
        evaluation=Evaluation(
            session=session,
            authentication=authentication,
            fraud=fraud,
            early_spoofing=early_spoofing,
        ),
        new_results=tuple(new),
    )


def give_out(tx: Transaction, draft: Draft, *, now_ms: int) -> None:
    """Note a draft's new results as given out, and that an accepted speaker was here."""
    for result in draft.new_results:
        tx.results.put(result)
    outcome = draft.evaluation.authentication
    fresh = any(result.kind == "authentication" for result in draft.new_results)
    if fresh and outcome and outcome.decision == "ACCEPT" and outcome.speaker_id:
        tx.speakers.touch(outcome.speaker_id, now_ms=hour_of(now_ms))


def hour_of(instant_ms: int) -> int:
    """The full hour; `LastAccessedAt` is no more exact than that.

    Source: voice-id-behaviour.md, section 6.6.
    """
    return instant_ms - instant_ms % _HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drafting:
    tx: Transaction
    session: Session
    judge: Judge
    model: str
    spoof_model: str
    now_ms: int
    given_only: bool

    def authentication(self, evidence: Evidence | None, new: list[Result]) -> AuthenticationOutcome:
        session = self.session
        status, origin = self._speaker()
        decided = speaker_decision(claimed=session.customer_id is not None, status=status)
        voice = None if evidence is None else evidence.vector
        enough = evidence is not None and evidence.net_speech_s >= session.authentication_minimum_s
        if decided is None and not (enough and voice is not None):
            decided = "NOT_ENOUGH_SPEECH"
        basis = _fingerprint(
            session.stream_number,
            session.acceptance_threshold,
            session.speaker_id,
            # What was decided without the evidence does not change with it.
            decided or [evidence.number if evidence else 0, self.model],
            origin.created_ms if origin and decided is None else None,
        )
        if (given := self._given("authentication", basis)) is not None:
            return AuthenticationOutcome(**given)
        outcome = AuthenticationOutcome(
            result_id=unique_id(),
            decision=decided or "",
            acceptance_threshold=session.acceptance_threshold,
            speaker_id=session.speaker_id,
        )
        if decided is None and evidence is not None and voice is not None:
            score = self._score(voice, evidence)
            outcome = replace(
                outcome,
                decision=authentication_decision(score, threshold=session.acceptance_threshold),
                score=score,
                started_ms=evidence.started_ms,
                ended_ms=evidence.ended_ms,
            )
        new.append(self._result("authentication", outcome.result_id, basis, asdict(outcome)))
        return outcome

    def _score(self, voice: Floats, evidence: Evidence) -> int:
        if self.session.enrolled_stream == self.session.stream_number:
            # The voiceprint was made from this very stream: the score against the one before it
            # was given out when it was replaced, and 0 if there was none to give.
            given = self.tx.results.find(self.session.session_id, "authentication")
            return (json.loads(given.body)["score"] or 0) if given is not None else 0
        session = self.session
        voiceprint = self.tx.voiceprints.find(session.domain_id, session.speaker_id or "")
        if voiceprint is None:
            raise NotFound("SPEAKER")  # gone since it was looked for, in this same transaction
        return self.judge.compare(voice, voiceprint.vector, seconds=evidence.net_speech_s).score

    def fraud(self, evidence: Evidence | None, new: list[Result]) -> FraudOutcomeGiven:
        session = self.session
        heard = evidence if evidence is not None and evidence.net_speech_s >= FRAUD_S else None
        # Whose voice was the reference is none of it: another claim is no new streaming activity.
        basis = _fingerprint(
            session.stream_number,
            session.risk_threshold,
            session.watchlist_id,
            [heard.number, self.model] if heard else None,
        )
        if (given := self._given("fraud", basis)) is not None:
            return _fraud_from(given)
        outcome = FraudOutcomeGiven(
            result_id=unique_id(),
            decision="NOT_ENOUGH_SPEECH",
            risk_threshold=session.risk_threshold,
            watchlist_id=session.watchlist_id,
        )
        if heard is not None and heard.vector is not None:
            outcome = self._judge_fraud(heard, heard.vector, outcome)
        new.append(self._result("fraud", outcome.result_id, basis, asdict(outcome)))
        return outcome

    def early_spoofing(self, evidence: Evidence | None) -> SpoofingGiven | None:
        """The risk of spoofing so far; None where it cannot be judged yet, or is decided on."""
        if evidence is None or evidence.spoof is None:
            return None
        if not JUDGED_S <= evidence.net_speech_s < FRAUD_S:
            return None
        return self._spoofing(evidence)

    def _spoofing(self, evidence: Evidence) -> SpoofingGiven:
        own = self._own_voiceprint(evidence)
        return SpoofingGiven.of(evidence.spoof, self.judge, seconds=evidence.net_speech_s, own=own)

    def _own_voiceprint(self, evidence: Evidence | None) -> Voiceprint | None:
        """The claimed speaker's voiceprint, if its reference helps to judge this call.

        It does if it was made by the detector in use, from another call, and of this voice: what is
        usual for a speaker says nothing of somebody else, and a call is no reference for itself.
        """
        session = self.session
        if evidence is None or evidence.vector is None or evidence.spoof is None:
            return None
        takes_reference = self.judge.takes_reference(seconds=evidence.net_speech_s)
        if not takes_reference or session.speaker_id is None:
            return None
        own = self.tx.voiceprints.find(session.domain_id, session.speaker_id)
        if own is None or own.reference is None or own.reference.model != self.spoof_model:
            return None
        if not are_comparable(own.model, self.model) or self._is_of_this_stream(own):
            return None
        match = self.judge.compare(evidence.vector, own.vector, seconds=evidence.net_speech_s)
        return own if match.calibrated.llr > 0 else None

    def _is_of_this_stream(self, voiceprint: Voiceprint) -> bool:
        """Whether this session has made the voiceprint since its stream began.

        `enrolled_stream` does not tell it of a speaker's first enrolment.
        """
        session = self.session
        began_ms = session.stream_started_ms or 0
        return session.enrollment_status == "COMPLETED" and voiceprint.created_ms >= began_ms

    def _judge_fraud(
        self,
        evidence: Evidence,
        voice: Floats,
        outcome: FraudOutcomeGiven,
    ) -> FraudOutcomeGiven:
        session = self.session
        with self.tx.wanted.gallery(session.domain_id, self.model) as gallery:
            closest = self.judge.search(
                voice, gallery, list_id=session.watchlist_id, seconds=evidence.net_speech_s
            )
        spoofing = self._spoofing(evidence)
        decided = fraud_outcome(
            known_fraudster=closest.risk, spoofing=spoofing.risk, threshold=session.risk_threshold
        )
        return replace(
            outcome,
            decision=decided.decision,
            reasons=decided.reasons,
            known_fraudster_risk=closest.risk,
            fraudster_id=closest.owner_id,
            spoofing=spoofing,
            started_ms=evidence.started_ms,
            ended_ms=evidence.ended_ms,
        )

    def _speaker(self) -> tuple[SpeakerStatus | None, VoiceprintOrigin | None]:
        """The claimed speaker's status, and the voiceprint to compare with."""
        session = self.session
        if session.speaker_id is None:
            return None, None
        status = self.tx.speakers.status(session.domain_id, session.speaker_id)
        origin = self.tx.voiceprints.origin(session.domain_id, session.speaker_id)
        if origin is not None and not are_comparable(origin.model, self.model):
            origin = None
        if status == "ENROLLED" and origin is None:
            status = "PENDING"
        return status, origin

    def _given(self, kind: ResultKind, basis: bytes) -> dict[str, Any] | None:
        result = self.tx.results.find(self.session.session_id, kind)
        if result is None or result.basis != basis:
            if self.given_only:
                raise NotGiven
            return None
        return json.loads(result.body)

    def _result(
        self, kind: ResultKind, result_id: str, basis: bytes, body: dict[str, Any]
    ) -> Result:
        return Result(
            session_id=self.session.session_id,
            kind=kind,
            result_id=result_id,
            basis=basis,
            body=json.dumps(body),
            created_ms=self.now_ms,
        )


def _fraud_from(given: dict[str, Any]) -> FraudOutcomeGiven:
    """What was written as JSON, which knows no tuples."""
    spoofing = given["spoofing"]
    return replace(
        FraudOutcomeGiven(**given),
        reasons=tuple(given["reasons"]),
        spoofing=spoofing
        and replace(
            SpoofingGiven(**spoofing),
            verdicts={name: (risk, llr) for name, (risk, llr) in spoofing["verdicts"].items()},
            windows=tuple(tuple(window) for window in spoofing["windows"]),
        ),
    )


def _name_of(voiceprint: Voiceprint) -> str:
    """Tells a voiceprint from any other one, and from the one before it."""
    return f"{voiceprint.owner_id} {voiceprint.created_ms}"


def _fingerprint(*facts: object) -> bytes:
    return hashlib.sha256(json.dumps(facts).encode()).digest()
