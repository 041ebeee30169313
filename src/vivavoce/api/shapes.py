"""Types of every request, response and structure of the service.

Generated from the service description by `python -m vivavoce.api.description.generate`; changes
made here are lost. Members are named as on the wire. Timestamps are aware datetimes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NotRequired, TypeAlias, TypedDict

AuthenticationDecision: TypeAlias = Literal[
    "ACCEPT",
    "REJECT",
    "NOT_ENOUGH_SPEECH",
    "SPEAKER_NOT_ENROLLED",
    "SPEAKER_OPTED_OUT",
    "SPEAKER_ID_NOT_PROVIDED",
    "SPEAKER_EXPIRED",
]
ConflictType: TypeAlias = Literal[
    "ANOTHER_ACTIVE_STREAM",
    "DOMAIN_NOT_ACTIVE",
    "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT",
    "ENROLLMENT_ALREADY_EXISTS",
    "SPEAKER_NOT_SET",
    "SPEAKER_OPTED_OUT",
    "CONCURRENT_CHANGES",
    "DOMAIN_LOCKED_FROM_ENCRYPTION_UPDATES",
    "CANNOT_DELETE_NON_EMPTY_WATCHLIST",
    "FRAUDSTER_MUST_BELONG_TO_AT_LEAST_ONE_WATCHLIST",
]
DomainStatus: TypeAlias = Literal[
    "ACTIVE",
    "PENDING",
    "SUSPENDED",
]
DuplicateRegistrationAction: TypeAlias = Literal[
    "SKIP",
    "REGISTER_AS_NEW",
]
EnrollmentRequestStatus: TypeAlias = Literal[
    "NOT_ENOUGH_SPEECH",
    "IN_PROGRESS",
    "COMPLETED",
    "FAILED",
]
ExistingEnrollmentAction: TypeAlias = Literal[
    "SKIP",
    "OVERWRITE",
]
FraudDetectionAction: TypeAlias = Literal[
    "IGNORE",
    "FAIL",
]
FraudDetectionDecision: TypeAlias = Literal[
    "HIGH_RISK",
    "LOW_RISK",
    "NOT_ENOUGH_SPEECH",
]
FraudDetectionReason: TypeAlias = Literal[
    "KNOWN_FRAUDSTER",
    "VOICE_SPOOFING",
]
FraudsterRegistrationJobStatus: TypeAlias = Literal[
    "SUBMITTED",
    "IN_PROGRESS",
    "COMPLETED",
    "COMPLETED_WITH_ERRORS",
    "FAILED",
]
ResourceType: TypeAlias = Literal[
    "BATCH_JOB",
    "COMPLIANCE_CONSENT",
    "DOMAIN",
    "FRAUDSTER",
    "SESSION",
    "SPEAKER",
    "WATCHLIST",
]
ServerSideEncryptionUpdateStatus: TypeAlias = Literal[
    "IN_PROGRESS",
    "COMPLETED",
    "FAILED",
]
SpeakerEnrollmentJobStatus: TypeAlias = Literal[
    "SUBMITTED",
    "IN_PROGRESS",
    "COMPLETED",
    "COMPLETED_WITH_ERRORS",
    "FAILED",
]
SpeakerStatus: TypeAlias = Literal[
    "ENROLLED",
    "EXPIRED",
    "OPTED_OUT",
    "PENDING",
]
StreamingStatus: TypeAlias = Literal[
    "PENDING_CONFIGURATION",
    "ONGOING",
    "ENDED",
]

class AssociateFraudsterRequest(TypedDict):
    DomainId: str
    FraudsterId: str
    WatchlistId: str


class AssociateFraudsterResponse(TypedDict):
    Fraudster: NotRequired[Fraudster]


class AudioProgress(TypedDict):
    ReceivedSeconds: NotRequired[float]
    NetSpeechSeconds: NotRequired[float]
    AuthenticationSpeechSecondsNeeded: NotRequired[float]
    FraudSpeechSecondsNeeded: NotRequired[float]
    EnrollmentSpeechSecondsNeeded: NotRequired[float]
    LostSeconds: NotRequired[float]
    Quality: NotRequired[str]


class AuthenticationConfiguration(TypedDict):
    AcceptanceThreshold: int


class AuthenticationResult(TypedDict):
    AudioAggregationEndedAt: NotRequired[datetime]
    AudioAggregationStartedAt: NotRequired[datetime]
    AuthenticationResultId: NotRequired[str]
    Configuration: NotRequired[AuthenticationConfiguration]
    CustomerSpeakerId: NotRequired[str]
    Decision: NotRequired[AuthenticationDecision]
    GeneratedSpeakerId: NotRequired[str]
    Score: NotRequired[int]


class CreateDomainRequest(TypedDict):
    ClientToken: NotRequired[str]
    Description: NotRequired[str]
    Name: str
    ServerSideEncryptionConfiguration: ServerSideEncryptionConfiguration
    Tags: NotRequired[list[Tag]]


class CreateDomainResponse(TypedDict):
    Domain: NotRequired[Domain]


class CreateWatchlistRequest(TypedDict):
    ClientToken: NotRequired[str]
    Description: NotRequired[str]
    DomainId: str
    Name: str


class CreateWatchlistResponse(TypedDict):
    Watchlist: NotRequired[Watchlist]


class DeleteDomainRequest(TypedDict):
    DomainId: str


class DeleteFraudsterRequest(TypedDict):
    DomainId: str
    FraudsterId: str


class DeleteSpeakerRequest(TypedDict):
    DomainId: str
    SpeakerId: str


class DeleteWatchlistRequest(TypedDict):
    DomainId: str
    WatchlistId: str


class DescribeDomainRequest(TypedDict):
    DomainId: str


class DescribeDomainResponse(TypedDict):
    Domain: NotRequired[Domain]


class DescribeFraudsterRegistrationJobRequest(TypedDict):
    DomainId: str
    JobId: str


class DescribeFraudsterRegistrationJobResponse(TypedDict):
    Job: NotRequired[FraudsterRegistrationJob]


class DescribeFraudsterRequest(TypedDict):
    DomainId: str
    FraudsterId: str


class DescribeFraudsterResponse(TypedDict):
    Fraudster: NotRequired[Fraudster]


class DescribeSessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str


class DescribeSessionResponse(TypedDict):
    Session: NotRequired[Session]


class DescribeSpeakerEnrollmentJobRequest(TypedDict):
    DomainId: str
    JobId: str


class DescribeSpeakerEnrollmentJobResponse(TypedDict):
    Job: NotRequired[SpeakerEnrollmentJob]


class DescribeSpeakerRequest(TypedDict):
    DomainId: str
    SpeakerId: str


class DescribeSpeakerResponse(TypedDict):
    Speaker: NotRequired[Speaker]


class DescribeWatchlistRequest(TypedDict):
    DomainId: str
    WatchlistId: str


class DescribeWatchlistResponse(TypedDict):
    Watchlist: NotRequired[Watchlist]


class DisassociateFraudsterRequest(TypedDict):
    DomainId: str
    FraudsterId: str
    WatchlistId: str


class DisassociateFraudsterResponse(TypedDict):
    Fraudster: NotRequired[Fraudster]


class Domain(TypedDict):
    Arn: NotRequired[str]
    CreatedAt: NotRequired[datetime]
    Description: NotRequired[str]
    DomainId: NotRequired[str]
    DomainStatus: NotRequired[DomainStatus]
    Name: NotRequired[str]
    ServerSideEncryptionConfiguration: NotRequired[ServerSideEncryptionConfiguration]
    ServerSideEncryptionUpdateDetails: NotRequired[ServerSideEncryptionUpdateDetails]
    UpdatedAt: NotRequired[datetime]
    WatchlistDetails: NotRequired[WatchlistDetails]


class DomainSummary(TypedDict):
    Arn: NotRequired[str]
    CreatedAt: NotRequired[datetime]
    Description: NotRequired[str]
    DomainId: NotRequired[str]
    DomainStatus: NotRequired[DomainStatus]
    Name: NotRequired[str]
    ServerSideEncryptionConfiguration: NotRequired[ServerSideEncryptionConfiguration]
    ServerSideEncryptionUpdateDetails: NotRequired[ServerSideEncryptionUpdateDetails]
    UpdatedAt: NotRequired[datetime]
    WatchlistDetails: NotRequired[WatchlistDetails]


class EndSessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str


class EndSessionResponse(TypedDict):
    Session: NotRequired[Session]


class EnrollBySessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str


class EnrollBySessionResponse(TypedDict):
    Session: NotRequired[Session]


class EnrollmentConfig(TypedDict):
    ExistingEnrollmentAction: NotRequired[ExistingEnrollmentAction]
    FraudDetectionConfig: NotRequired[EnrollmentJobFraudDetectionConfig]


class EnrollmentJobFraudDetectionConfig(TypedDict):
    FraudDetectionAction: NotRequired[FraudDetectionAction]
    RiskThreshold: NotRequired[int]
    WatchlistIds: NotRequired[list[str]]


class EnrollmentRequestDetails(TypedDict):
    Status: NotRequired[EnrollmentRequestStatus]
    Message: NotRequired[str]


class EvaluateSessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str


class EvaluateSessionResponse(TypedDict):
    AuthenticationResult: NotRequired[AuthenticationResult]
    DomainId: NotRequired[str]
    FraudDetectionResult: NotRequired[FraudDetectionResult]
    SessionId: NotRequired[str]
    SessionName: NotRequired[str]
    StreamingStatus: NotRequired[StreamingStatus]
    AudioProgress: NotRequired[AudioProgress]


class FailureDetails(TypedDict):
    Message: NotRequired[str]
    StatusCode: NotRequired[int]


class FraudDetectionConfiguration(TypedDict):
    RiskThreshold: NotRequired[int]
    WatchlistId: NotRequired[str]


class FraudDetectionResult(TypedDict):
    AudioAggregationEndedAt: NotRequired[datetime]
    AudioAggregationStartedAt: NotRequired[datetime]
    Configuration: NotRequired[FraudDetectionConfiguration]
    Decision: NotRequired[FraudDetectionDecision]
    FraudDetectionResultId: NotRequired[str]
    Reasons: NotRequired[list[FraudDetectionReason]]
    RiskDetails: NotRequired[FraudRiskDetails]
    EarlyVoiceSpoofingRisk: NotRequired[VoiceSpoofingRisk]


class FraudRiskDetails(TypedDict):
    KnownFraudsterRisk: KnownFraudsterRisk
    VoiceSpoofingRisk: VoiceSpoofingRisk


class Fraudster(TypedDict):
    CreatedAt: NotRequired[datetime]
    DomainId: NotRequired[str]
    GeneratedFraudsterId: NotRequired[str]
    WatchlistIds: NotRequired[list[str]]


class FraudsterRegistrationJob(TypedDict):
    CreatedAt: NotRequired[datetime]
    DataAccessRoleArn: NotRequired[str]
    DomainId: NotRequired[str]
    EndedAt: NotRequired[datetime]
    FailureDetails: NotRequired[FailureDetails]
    InputDataConfig: NotRequired[InputDataConfig]
    JobId: NotRequired[str]
    JobName: NotRequired[str]
    JobProgress: NotRequired[JobProgress]
    JobStatus: NotRequired[FraudsterRegistrationJobStatus]
    OutputDataConfig: NotRequired[OutputDataConfig]
    RegistrationConfig: NotRequired[RegistrationConfig]


class FraudsterRegistrationJobSummary(TypedDict):
    CreatedAt: NotRequired[datetime]
    DomainId: NotRequired[str]
    EndedAt: NotRequired[datetime]
    FailureDetails: NotRequired[FailureDetails]
    JobId: NotRequired[str]
    JobName: NotRequired[str]
    JobProgress: NotRequired[JobProgress]
    JobStatus: NotRequired[FraudsterRegistrationJobStatus]


class FraudsterSummary(TypedDict):
    CreatedAt: NotRequired[datetime]
    DomainId: NotRequired[str]
    GeneratedFraudsterId: NotRequired[str]
    WatchlistIds: NotRequired[list[str]]


class InputDataConfig(TypedDict):
    S3Uri: str


class JobProgress(TypedDict):
    PercentComplete: NotRequired[int]


class KnownFraudsterRisk(TypedDict):
    GeneratedFraudsterId: NotRequired[str]
    RiskScore: int


class ListDomainsRequest(TypedDict):
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListDomainsResponse(TypedDict):
    DomainSummaries: NotRequired[list[DomainSummary]]
    NextToken: NotRequired[str]


class ListFraudsterRegistrationJobsRequest(TypedDict):
    DomainId: str
    JobStatus: NotRequired[FraudsterRegistrationJobStatus]
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListFraudsterRegistrationJobsResponse(TypedDict):
    JobSummaries: NotRequired[list[FraudsterRegistrationJobSummary]]
    NextToken: NotRequired[str]


class ListFraudstersRequest(TypedDict):
    DomainId: str
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]
    WatchlistId: NotRequired[str]


class ListFraudstersResponse(TypedDict):
    FraudsterSummaries: NotRequired[list[FraudsterSummary]]
    NextToken: NotRequired[str]


class ListSessionsRequest(TypedDict):
    DomainId: str
    StreamingStatus: NotRequired[StreamingStatus]
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListSessionsResponse(TypedDict):
    SessionSummaries: NotRequired[list[SessionSummary]]
    NextToken: NotRequired[str]


class ListSpeakerEnrollmentJobsRequest(TypedDict):
    DomainId: str
    JobStatus: NotRequired[SpeakerEnrollmentJobStatus]
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListSpeakerEnrollmentJobsResponse(TypedDict):
    JobSummaries: NotRequired[list[SpeakerEnrollmentJobSummary]]
    NextToken: NotRequired[str]


class ListSpeakersRequest(TypedDict):
    DomainId: str
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListSpeakersResponse(TypedDict):
    NextToken: NotRequired[str]
    SpeakerSummaries: NotRequired[list[SpeakerSummary]]


class ListTagsForResourceRequest(TypedDict):
    ResourceArn: str


class ListTagsForResourceResponse(TypedDict):
    Tags: NotRequired[list[Tag]]


class ListWatchlistsRequest(TypedDict):
    DomainId: str
    MaxResults: NotRequired[int]
    NextToken: NotRequired[str]


class ListWatchlistsResponse(TypedDict):
    NextToken: NotRequired[str]
    WatchlistSummaries: NotRequired[list[WatchlistSummary]]


class OptOutSpeakerRequest(TypedDict):
    DomainId: str
    SpeakerId: str


class OptOutSpeakerResponse(TypedDict):
    Speaker: NotRequired[Speaker]


class OutputDataConfig(TypedDict):
    KmsKeyId: NotRequired[str]
    S3Uri: str


class RegisterFraudsterBySessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str
    WatchlistIds: NotRequired[list[str]]


class RegisterFraudsterBySessionResponse(TypedDict):
    Fraudster: NotRequired[Fraudster]


class RegistrationConfig(TypedDict):
    DuplicateRegistrationAction: NotRequired[DuplicateRegistrationAction]
    FraudsterSimilarityThreshold: NotRequired[int]
    WatchlistIds: NotRequired[list[str]]


class ServerSideEncryptionConfiguration(TypedDict):
    KmsKeyId: str


class ServerSideEncryptionUpdateDetails(TypedDict):
    Message: NotRequired[str]
    OldKmsKeyId: NotRequired[str]
    UpdateStatus: NotRequired[ServerSideEncryptionUpdateStatus]


class Session(TypedDict):
    SessionId: NotRequired[str]
    SessionName: NotRequired[str]
    DomainId: NotRequired[str]
    StreamingStatus: NotRequired[StreamingStatus]
    CustomerSpeakerId: NotRequired[str]
    GeneratedSpeakerId: NotRequired[str]
    AuthenticationConfiguration: NotRequired[AuthenticationConfiguration]
    FraudDetectionConfiguration: NotRequired[FraudDetectionConfiguration]
    StreamingConfiguration: NotRequired[StreamingConfiguration]
    EnrollmentRequestDetails: NotRequired[EnrollmentRequestDetails]
    AudioProgress: NotRequired[AudioProgress]
    CreatedAt: NotRequired[datetime]
    UpdatedAt: NotRequired[datetime]
    EndedAt: NotRequired[datetime]


class SessionSummary(TypedDict):
    SessionId: NotRequired[str]
    SessionName: NotRequired[str]
    DomainId: NotRequired[str]
    StreamingStatus: NotRequired[StreamingStatus]
    CustomerSpeakerId: NotRequired[str]
    GeneratedSpeakerId: NotRequired[str]
    CreatedAt: NotRequired[datetime]
    UpdatedAt: NotRequired[datetime]
    EndedAt: NotRequired[datetime]


class Speaker(TypedDict):
    CreatedAt: NotRequired[datetime]
    CustomerSpeakerId: NotRequired[str]
    DomainId: NotRequired[str]
    GeneratedSpeakerId: NotRequired[str]
    LastAccessedAt: NotRequired[datetime]
    Status: NotRequired[SpeakerStatus]
    UpdatedAt: NotRequired[datetime]


class SpeakerEnrollmentJob(TypedDict):
    CreatedAt: NotRequired[datetime]
    DataAccessRoleArn: NotRequired[str]
    DomainId: NotRequired[str]
    EndedAt: NotRequired[datetime]
    EnrollmentConfig: NotRequired[EnrollmentConfig]
    FailureDetails: NotRequired[FailureDetails]
    InputDataConfig: NotRequired[InputDataConfig]
    JobId: NotRequired[str]
    JobName: NotRequired[str]
    JobProgress: NotRequired[JobProgress]
    JobStatus: NotRequired[SpeakerEnrollmentJobStatus]
    OutputDataConfig: NotRequired[OutputDataConfig]


class SpeakerEnrollmentJobSummary(TypedDict):
    CreatedAt: NotRequired[datetime]
    DomainId: NotRequired[str]
    EndedAt: NotRequired[datetime]
    FailureDetails: NotRequired[FailureDetails]
    JobId: NotRequired[str]
    JobName: NotRequired[str]
    JobProgress: NotRequired[JobProgress]
    JobStatus: NotRequired[SpeakerEnrollmentJobStatus]


class SpeakerSummary(TypedDict):
    CreatedAt: NotRequired[datetime]
    CustomerSpeakerId: NotRequired[str]
    DomainId: NotRequired[str]
    GeneratedSpeakerId: NotRequired[str]
    LastAccessedAt: NotRequired[datetime]
    Status: NotRequired[SpeakerStatus]
    UpdatedAt: NotRequired[datetime]


class SpoofVerdict(TypedDict):
    RiskScore: NotRequired[int]
    LogLikelihoodRatio: NotRequired[float]


class SpoofWindow(TypedDict):
    StartSeconds: NotRequired[float]
    EndSeconds: NotRequired[float]
    SyntheticSpeech: NotRequired[float]
    Playback: NotRequired[float]
    Distance: NotRequired[float]


class StartFraudsterRegistrationJobRequest(TypedDict):
    ClientToken: NotRequired[str]
    DataAccessRoleArn: str
    DomainId: str
    InputDataConfig: InputDataConfig
    JobName: NotRequired[str]
    OutputDataConfig: OutputDataConfig
    RegistrationConfig: NotRequired[RegistrationConfig]


class StartFraudsterRegistrationJobResponse(TypedDict):
    Job: NotRequired[FraudsterRegistrationJob]


class StartSessionRequest(TypedDict):
    DomainId: str
    SessionName: NotRequired[str]
    SpeakerId: NotRequired[str]
    AuthenticationEnabled: NotRequired[bool]
    FraudDetectionEnabled: NotRequired[bool]
    AuthenticationConfiguration: NotRequired[AuthenticationConfiguration]
    FraudDetectionConfiguration: NotRequired[FraudDetectionConfiguration]
    StreamingConfiguration: NotRequired[StreamingConfiguration]
    AudioSource: NotRequired[str]
    StartFragmentNumber: NotRequired[str]
    ClientToken: NotRequired[str]


class StartSessionResponse(TypedDict):
    Session: NotRequired[Session]
    StreamUrl: NotRequired[str]


class StartSpeakerEnrollmentJobRequest(TypedDict):
    ClientToken: NotRequired[str]
    DataAccessRoleArn: str
    DomainId: str
    EnrollmentConfig: NotRequired[EnrollmentConfig]
    InputDataConfig: InputDataConfig
    JobName: NotRequired[str]
    OutputDataConfig: OutputDataConfig


class StartSpeakerEnrollmentJobResponse(TypedDict):
    Job: NotRequired[SpeakerEnrollmentJob]


class StreamingConfiguration(TypedDict):
    AuthenticationMinimumSpeechInSeconds: NotRequired[int]


class Tag(TypedDict):
    Key: str
    Value: str


class TagResourceRequest(TypedDict):
    ResourceArn: str
    Tags: list[Tag]


class TagResourceResponse(TypedDict):
    pass


class UntagResourceRequest(TypedDict):
    ResourceArn: str
    TagKeys: list[str]


class UntagResourceResponse(TypedDict):
    pass


class UpdateDomainRequest(TypedDict):
    Description: NotRequired[str]
    DomainId: str
    Name: str
    ServerSideEncryptionConfiguration: ServerSideEncryptionConfiguration


class UpdateDomainResponse(TypedDict):
    Domain: NotRequired[Domain]


class UpdateSessionRequest(TypedDict):
    DomainId: str
    SessionNameOrId: str
    SpeakerId: NotRequired[str]
    AuthenticationConfiguration: NotRequired[AuthenticationConfiguration]
    FraudDetectionConfiguration: NotRequired[FraudDetectionConfiguration]
    StreamingConfiguration: NotRequired[StreamingConfiguration]


class UpdateSessionResponse(TypedDict):
    Session: NotRequired[Session]


class UpdateWatchlistRequest(TypedDict):
    Description: NotRequired[str]
    DomainId: str
    Name: NotRequired[str]
    WatchlistId: str


class UpdateWatchlistResponse(TypedDict):
    Watchlist: NotRequired[Watchlist]


class VoiceSpoofingRisk(TypedDict):
    RiskScore: int
    Certainty: NotRequired[float]
    ReferenceUsed: NotRequired[bool]
    LogLikelihoodRatio: NotRequired[float]
    SyntheticSpeech: NotRequired[SpoofVerdict]
    Playback: NotRequired[SpoofVerdict]
    Windows: NotRequired[list[SpoofWindow]]


class Watchlist(TypedDict):
    CreatedAt: NotRequired[datetime]
    DefaultWatchlist: NotRequired[bool]
    Description: NotRequired[str]
    DomainId: NotRequired[str]
    Name: NotRequired[str]
    UpdatedAt: NotRequired[datetime]
    WatchlistId: NotRequired[str]


class WatchlistDetails(TypedDict):
    DefaultWatchlistId: str


class WatchlistSummary(TypedDict):
    CreatedAt: NotRequired[datetime]
    DefaultWatchlist: NotRequired[bool]
    Description: NotRequired[str]
    DomainId: NotRequired[str]
    Name: NotRequired[str]
    UpdatedAt: NotRequired[datetime]
    WatchlistId: NotRequired[str]
