"""What the store gives and takes: plain values, opened; sealing happens inside the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vivavoce.audio.arrays import Floats
from vivavoce.scoring.spoofing import SpoofEvidence, SpoofReference

DomainStatus = Literal["ACTIVE", "PENDING", "SUSPENDED"]
SpeakerStatus = Literal["ENROLLED", "EXPIRED", "OPTED_OUT", "PENDING"]
StreamingStatus = Literal["PENDING_CONFIGURATION", "ONGOING", "ENDED"]
EnrollmentStatus = Literal["NOT_ENOUGH_SPEECH", "IN_PROGRESS", "COMPLETED", "FAILED"]
ResultKind = Literal["authentication", "fraud"]
EncryptionStatus = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]
JobKind = Literal["speaker-enrollment", "fraudster-registration"]
JobStatus = Literal["SUBMITTED", "IN_PROGRESS", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"]
ACTIVE_JOB_STATUSES: tuple[JobStatus, ...] = ("SUBMITTED", "IN_PROGRESS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain: the walls between one customer's speakers and another's.

    Attributes:
        name: None where the customer's key denies it (the status is SUSPENDED then).
        kms_key_id: ARN of the customer's key that new data is sealed under.
        old_kms_key_id: ARN of the one before, once it was changed.
        encryption_status: how far the change of keys is; None if the key was never changed.
        encryption_message: why it failed.
        version: counts changes.
    """

    domain_id: str
    arn: str
    region: str
    name: str | None = field(repr=False)
    description: str | None = field(repr=False)
    kms_key_id: str
    old_kms_key_id: str | None
    encryption_status: EncryptionStatus | None
    encryption_message: str | None
    status: DomainStatus
    default_watchlist_id: str
    version: int
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCounts:
    """How much a domain holds."""

    domain_id: str
    speakers: int
    fraudsters: int
    active_sessions: int
    active_enrollment_jobs: int
    active_registration_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """A list of fraudsters that callers are compared with."""

    watchlist_id: str
    domain_id: str
    name: str = field(repr=False)
    description: str | None = field(repr=False)
    is_default: bool
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job.

    Attributes:
        options: the enrolment or registration configuration as the API has it, defaults filled in.
        entries: of its manifest; 0 until that was read.
        entries_done: of them.
        entries_failed: of those.
        failure_code: of the job as a whole, like an HTTP status.
    """

    job_id: str
    domain_id: str
    kind: JobKind
    name: str | None = field(repr=False)
    status: JobStatus
    role_arn: str
    input_uri: str
    output_uri: str
    output_kms_key_id: str | None
    options: Mapping[str, Any]
    percent_complete: int
    failure_code: int | None
    failure_message: str | None
    created_ms: int
    ended_ms: int | None
    entries: int = 0
    entries_done: int = 0
    entries_failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """What a job's manifest asks for, and what came of it.

    Attributes:
        number: in the manifest, from 0.
        request: what is asked for, written down.
        outcome: what came of it, likewise; None until it is done.
        is_failed: whether that is a failure.
    """

    number: int
    request: str = field(repr=False)
    outcome: str | None = field(default=None, repr=False)
    is_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A caller that the domain knows by id; enrolled or not."""

    speaker_id: str
    domain_id: str
    customer_id: str = field(repr=False)
    status: SpeakerStatus
    created_ms: int
    updated_ms: int
    last_accessed_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraudster:
    """A voice on one or more watchlists."""

    fraudster_id: str
    domain_id: str
    watchlist_ids: tuple[str, ...]
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Voiceprint:
    """A voice as a vector.

    Attributes:
        owner_id: the speaker or fraudster.
        model: name and version of the encoder; vectors of different models do not compare.
        vector: shape (dimension,), unit length.
        reference: what the spoof detector makes of the same speech; None for a fraudster, and where
            it could not be judged.
    """

    owner_id: str
    domain_id: str
    model: str
    vector: Floats = field(repr=False)
    created_ms: int
    reference: SpoofReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceprintOrigin:
    """Where a voiceprint comes from: what tells it from the one before."""

    model: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session: the AWS face of one call, or of several streams of one call.

    Attributes:
        name: the client's name, in Connect the contact id.
        speaker_id: generated id of the claimed speaker, or None.
        customer_id: the claimed speaker's id as the client gave it.
        stream_number: 1 for the first stream, one more at each restart.
        stream_expires_ms: until when the stream may be opened by its URL.
        enrolled_stream: number of the stream in which an enrolled speaker was enrolled anew.
        speech_s: net speech in seconds that is kept for an enrolment in this session.
    """

    session_id: str
    domain_id: str
    name: str
    speaker_id: str | None
    customer_id: str | None = field(repr=False)
    authentication_enabled: bool
    fraud_detection_enabled: bool
    acceptance_threshold: int
    risk_threshold: int
    watchlist_id: str
    authentication_minimum_s: int
    stream_number: int
    streaming_status: StreamingStatus
    stream_expires_ms: int
    stream_started_ms: int | None
    ended_ms: int | None
    received_s: float
    net_speech_s: float
    lost_s: float
    quality: str
    enrollment_status: EnrollmentStatus | None
    enrollment_message: str | None
    enrolled_stream: int | None
    speech_s: float
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a stream has shown so far, ready to be decided on.

    Attributes:
        number: counts up within a stream.
        net_speech_s: net speech the evidence rests on, in seconds.
        started_ms: when its first speech was said.
        ended_ms: when its last speech was said.
        model: name and version of the encoder.
        vector: the caller's voice, shape (dimension,), unit length; None once it was forgotten.
        spoof: what the speech says of spoofing; None where it could not be judged.
    """

    session_id: str
    stream_number: int
    number: int
    net_speech_s: float
    started_ms: int
    ended_ms: int
    model: str
    vector: Floats | None = field(repr=False)
    spoof: SpoofEvidence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A decision that was given out, kept so that the same question gets the same answer.

    Attributes:
        basis: fingerprint of everything the decision rests on.
        body: the decision as JSON, without anything personal.
    """

    session_id: str
    kind: ResultKind
    result_id: str
    basis: bytes
    body: str
    created_ms: int
