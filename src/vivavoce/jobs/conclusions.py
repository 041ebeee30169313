"""What follows from an entry that was heard, within one transaction.

The voice is written, the event announced and the entry's outcome noted together: after a crash an
entry is either done or was never begun, as far as anybody outside can see.

Source: voice-id-behaviour.md, sections 11.3 and 11.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vivavoce.clock import Clock
from vivavoce.errors import (
    Conflict,
    EntryFailed,
    KeyDenied,
    KeyServiceDown,
    ModelError,
    ModelInvalid,
    NotFound,
    ObjectsDown,
    RoleRefused,
    StoreError,
    VivavoceError,
)
from vivavoce.ids import generated_id
from vivavoce.jobs.hearing import Heard
from vivavoce.jobs.manifest import Entry
from vivavoce.scoring.decide import fraud_outcome
from vivavoce.scoring.judge import Judge
from vivavoce.scoring.spoofing import SpoofReference
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import (
    EnrollmentData,
    EnrollmentOutcome,
    RegistrationData,
    RegistrationOutcome,
)
from vivavoce.sessions.announcer import Announcer
from vivavoce.sessions.evaluation import hour_of
from vivavoce.sessions.speakers import find_or_add
from vivavoce.store.records import Domain, Fraudster, Job, JobKind, Speaker, Voiceprint
from vivavoce.store.store import Transaction

Outcome: TypeAlias = Mapping[str, Any]
"""What the output file says of an entry."""

HOLDING_UP = (KeyDenied, KeyServiceDown, StoreError, ModelError, ObjectsDown, RoleRefused)
"""What says nothing of an entry, and may pass."""

_FLAGGED: Mapping[str, str] = {
    "KNOWN_FRAUDSTER": "the voice is that of a known fraudster",
    "VOICE_SPOOFING": "the voice is played back or synthetic",
}


_BATCHES: Mapping[JobKind, announcements.Batch] = {
    "speaker-enrollment": "enrollment",
    "fraudster-registration": "registration",
}


class NotHeard(Exception):
    """The recordings have to be heard after all: what spoke against it has changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluder:
    """Concludes entries.

    Attributes:
        judge: what scores mean.
        model: name and version of the encoder in use.
        spoof_model: names and versions of the spoof detectors in use.
        clock: the time.
        announcer: tells of enrolments and registrations.
    """

    judge: Judge
    model: str
    spoof_model: str
    clock: Clock
    announcer: Announcer

    def needs_hearing(self, tx: Transaction, job: Job, entry: Entry) -> bool:
        """Whether what is known already leaves open what will come of an entry."""
        if entry.refusal is not None:
            return False
        if job.kind == "fraudster-registration":
            return True
        try:
            return self._known_speaker(tx, job, entry) is None
        except Conflict:
            return False  # the speaker has opted out

    def searches(self, job: Job) -> bool:
        """Whether conclusions of a job look through fraudsters."""
        if job.kind == "speaker-enrollment":
            return job.options["FraudDetectionConfig"]["FraudDetectionAction"] == "FAIL"
        return job.options["DuplicateRegistrationAction"] == "SKIP"

    def conclude(
        self, tx: Transaction, job: Job, entry: Entry, heard: Heard | Exception | None
    ) -> tuple[Outcome, bool]:
        """Do what an entry asks for; gives what the output says of it, and whether it failed.

        Args:
            tx: of the conclusion; nothing else is written in it but that.
            job: as it is in this transaction.
            entry: what is asked.
            heard: what was heard, or why it could not be; None where that was not needed.

        Raises:
            NotHeard: it is needed now.
            NotFound: the domain is deleted.
            Conflict: the domain is not active.
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the key service does not answer.
            ModelInvalid: other models have heard than those of this server.
        """
        domain = tx.domains.get_active(job.domain_id)
        act = self._enrol if job.kind == "speaker-enrollment" else self._register
        try:
            with tx.savepoint():
                if entry.refusal is not None:
                    raise EntryFailed(entry.refusal)  # noqa: TRY301 - one place handles refusals
                outcome = act(tx, domain, job, entry, heard)
        except Exception as error:
            is_refusal = isinstance(error, VivavoceError) and not isinstance(error, HOLDING_UP)
            if not is_refusal and error is not heard:
                raise
            return self._fail(tx, domain, job, entry, error), True
        return {"RequestId": entry.request_id, **outcome}, False

    def _enrol(
        self,
        tx: Transaction,
        domain: Domain,
        job: Job,
        entry: Entry,
        heard: Heard | Exception | None,
    ) -> Outcome:
        known = self._known_speaker(tx, job, entry)
        if known is not None:
            return self._enrolled(tx, domain, job, known, "DUPLICATE_SKIPPED")
        heard = self._require(heard)
        if heard.weakness is not None:
            raise EntryFailed(heard.weakness)
        check = job.options["FraudDetectionConfig"]
        if check["FraudDetectionAction"] == "FAIL":
            self._check_fraud(tx, domain, heard, check)
        now_ms = self.clock.now_ms()
        speaker = find_or_add(
            tx, job.domain_id, entry.speaker_id or "", status="PENDING", now_ms=now_ms
        )
        status = "ENROLLMENT_OVERWRITE" if self._is_enrolled(tx, speaker) else "NEW_ENROLLMENT"
        tx.voiceprints.put(
            self._voiceprint(job, speaker.speaker_id, heard, has_reference=True),
            speech=heard.speech,
        )
        tx.speakers.set_status(speaker.speaker_id, "ENROLLED", now_ms=now_ms)
        tx.speakers.touch(speaker.speaker_id, now_ms=hour_of(now_ms))
        return self._enrolled(tx, domain, job, speaker, status)

    def _require(self, heard: Heard | Exception | None) -> Heard:
        if heard is None:
            raise NotHeard
        if isinstance(heard, Exception):
            raise heard
        if (heard.model, heard.spoof_model) != (self.model, self.spoof_model):
            # Loaded anew for the job; the server still has those from before.
            raise ModelInvalid(
                f"the models on the disk are now {heard.model} and {heard.spoof_model}; start the"
                " server anew"
            )
        return heard

    def _known_speaker(self, tx: Transaction, job: Job, entry: Entry) -> Speaker | None:
        """The speaker, where the entry is to be skipped since there is a voiceprint.

        Raises:
            Conflict: the speaker has opted out.
        """
        speaker = tx.speakers.find(job.domain_id, entry.speaker_id or "")
        if speaker is None:
            return None
        if speaker.status == "OPTED_OUT":
            raise Conflict(
                "SPEAKER_OPTED_OUT", "You cannot request an enrollment for an opted out speaker"
            )
        skips = job.options["ExistingEnrollmentAction"] == "SKIP"
        return speaker if skips and self._is_enrolled(tx, speaker) else None

    def _is_enrolled(self, tx: Transaction, speaker: Speaker) -> bool:
        """Whether there is a voiceprint that calls can be compared with."""
        origin = tx.voiceprints.origin(speaker.domain_id, speaker.speaker_id)
        return speaker.status == "ENROLLED" and origin is not None and origin.model == self.model

    def _check_fraud(
        self, tx: Transaction, domain: Domain, heard: Heard, check: Mapping[str, Any]
    ) -> None:
        watchlist_id = _watchlist(tx, domain, check)
        with tx.wanted.gallery(domain.domain_id, self.model) as gallery:
            closest = self.judge.search(
                heard.vector, gallery, list_id=watchlist_id, seconds=heard.seconds
            )
        spoofing = (
            0 if heard.spoof is None else self.judge.spoof(heard.spoof, seconds=heard.seconds).risk
        )
        threshold = check["RiskThreshold"]
        decided = fraud_outcome(
            known_fraudster=closest.risk, spoofing=spoofing, threshold=threshold
        )
        if decided.decision == "HIGH_RISK":
            risks = {"KNOWN_FRAUDSTER": closest.risk, "VOICE_SPOOFING": spoofing}
            reasons = " and ".join(
                f"{_FLAGGED[reason]} (risk {risks[reason]})" for reason in decided.reasons
            )
            raise EntryFailed(f"The fraud check failed at threshold {threshold}: {reasons}.")

    def _enrolled(
        self,
        tx: Transaction,
        domain: Domain,
        job: Job,
        speaker: Speaker,
        status: EnrollmentOutcome,
    ) -> Outcome:
        self.announcer.announce(
            tx,
            lambda: announcements.speaker(
                domain.arn,
                "ENROLL_SPEAKER",
                speaker_id=speaker.speaker_id,
                now_ms=self.clock.now_ms(),
                data=EnrollmentData(source="BATCH_ENROLLMENT", source_id=job.job_id, status=status),
            ),
        )
        return {
            "GeneratedSpeakerId": speaker.speaker_id,
            "CustomerSpeakerId": speaker.customer_id,
            "EnrollmentStatus": status,
        }

    def _register(
        self,
        tx: Transaction,
        domain: Domain,
        job: Job,
        entry: Entry,  # noqa: ARG002 - an entry names nobody
        heard: Heard | Exception | None,
    ) -> Outcome:
        heard = self._require(heard)
        watchlist_id = _watchlist(tx, domain, job.options)
        if job.options["DuplicateRegistrationAction"] == "SKIP":
            with tx.wanted.gallery(domain.domain_id, self.model) as gallery:
                nearest = gallery.nearest(heard.vector)
            if nearest is not None:
                score = self.judge.similarity(nearest.cosine, seconds=heard.seconds)
                if score >= job.options["FraudsterSimilarityThreshold"]:
                    there = tx.fraudsters.get(domain.domain_id, nearest.owner_id)
                    outcome = self._registered(tx, domain, job, there, "DUPLICATE_SKIPPED")
                    return {**outcome, "FraudsterSimilarityScore": score}
        fraudster = Fraudster(
            fraudster_id=generated_id(),
            domain_id=domain.domain_id,
            watchlist_ids=(watchlist_id,),
            created_ms=self.clock.now_ms(),
        )
        tx.fraudsters.add(fraudster)
        tx.voiceprints.put(
            self._voiceprint(job, fraudster.fraudster_id, heard, has_reference=False),
            speech=heard.speech,
        )
        return self._registered(tx, domain, job, fraudster, "NEW_REGISTRATION")

    def _registered(
        self,
        tx: Transaction,
        domain: Domain,
        job: Job,
        fraudster: Fraudster,
        status: RegistrationOutcome,
    ) -> Outcome:
        self.announcer.announce(
            tx,
            lambda: announcements.fraudster(
                domain.arn,
                "REGISTER_FRAUDSTER",
                fraudster_id=fraudster.fraudster_id,
                watchlist_ids=fraudster.watchlist_ids,
                now_ms=self.clock.now_ms(),
                data=RegistrationData(
                    source="BATCH_REGISTRATION", source_id=job.job_id, status=status
                ),
            ),
        )
        return {"GeneratedFraudsterId": fraudster.fraudster_id, "RegistrationStatus": status}

    def _voiceprint(
        self, job: Job, owner_id: str, heard: Heard, *, has_reference: bool
    ) -> Voiceprint:
        judged = has_reference and heard.spoof is not None and heard.spoof.certainty > 0
        return Voiceprint(
            owner_id=owner_id,
            domain_id=job.domain_id,
            model=self.model,
            vector=heard.vector,
            created_ms=self.clock.now_ms(),
            reference=SpoofReference.of(heard.spoof, model=self.spoof_model)
            if judged and heard.spoof is not None
            else None,
        )

    def _fail(
        self, tx: Transaction, domain: Domain, job: Job, entry: Entry, error: Exception
    ) -> Outcome:
        now_ms = self.clock.now_ms()
        if job.kind == "speaker-enrollment":
            # Of a new enrolment that failed nobody is shown.
            speaker = entry.speaker_id and tx.speakers.find(job.domain_id, entry.speaker_id)
            is_old = speaker and speaker.status != "PENDING"
            speaker_id = speaker.speaker_id if speaker and is_old else None
            self.announcer.announce(
                tx,
                lambda: announcements.speaker(
                    domain.arn,
                    "ENROLL_SPEAKER",
                    speaker_id=speaker_id,
                    now_ms=now_ms,
                    data=EnrollmentData(
                        source="BATCH_ENROLLMENT", source_id=job.job_id, status=None
                    ),
                    error=error,
                ),
            )
        else:
            self.announcer.announce(
                tx,
                lambda: announcements.fraudster(
                    domain.arn,
                    "REGISTER_FRAUDSTER",
                    fraudster_id=None,
                    watchlist_ids=job.options["WatchlistIds"] or [domain.default_watchlist_id],
                    now_ms=now_ms,
                    data=RegistrationData(
                        source="BATCH_REGISTRATION", source_id=job.job_id, status=None
                    ),
                    error=error,
                ),
            )
        info = announcements.error_info(error, batch=_BATCHES[job.kind])
        return {
            "RequestId": entry.request_id,
            "ErrorCode": info["errorCode"],
            "ErrorMessage": info["errorMessage"],
        }


def _watchlist(tx: Transaction, domain: Domain, options: Mapping[str, Any]) -> str:
    (watchlist_id,) = options["WatchlistIds"] or [domain.default_watchlist_id]
    try:
        tx.watchlists.get(domain.domain_id, watchlist_id)
    except NotFound as error:
        raise EntryFailed("The job's watchlist was deleted.") from error
    return watchlist_id
