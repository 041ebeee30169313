"""Batch jobs: they are checked, stored and shown here."""

from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.ids import unique_id
from vivavoce.sessions import announcements
from vivavoce.sessions.documents import present, seconds
from vivavoce.store.records import Job, JobKind
from vivavoce.store.store import Transaction
from vivavoce.store.tokens import ClientToken

_PAGE_SIZE = 100

_ANNOUNCEMENTS = {
    "speaker-enrollment": announcements.speaker_enrollment_job,
    "fraudster-registration": announcements.fraudster_registration_job,
}

_RISK_THRESHOLD = 50
_SIMILARITY_THRESHOLD = 90
"""Not documented; chosen there: voice-id-behaviour.md, sections 11.3 and 11.4."""


async def start_speaker_enrollment_job(
    context: Request, request: shapes.StartSpeakerEnrollmentJobRequest
) -> shapes.StartSpeakerEnrollmentJobResponse:
    """Take in a job that enrols speakers from recordings."""
    given = request.get("EnrollmentConfig", {})
    fraud = given.get("FraudDetectionConfig", {})
    options = {
        "ExistingEnrollmentAction": given.get("ExistingEnrollmentAction", "SKIP"),
        "FraudDetectionConfig": {
            "FraudDetectionAction": fraud.get("FraudDetectionAction", "FAIL"),
            "RiskThreshold": fraud.get("RiskThreshold", _RISK_THRESHOLD),
            "WatchlistIds": fraud.get("WatchlistIds"),
        },
    }
    job = await _start(context, request, "speaker-enrollment", options)
    return {"Job": cast("shapes.SpeakerEnrollmentJob", _document(job))}


async def start_fraudster_registration_job(
    context: Request, request: shapes.StartFraudsterRegistrationJobRequest
) -> shapes.StartFraudsterRegistrationJobResponse:
    """Take in a job that registers fraudsters from recordings."""
    given = request.get("RegistrationConfig", {})
    options = {
        "DuplicateRegistrationAction": given.get("DuplicateRegistrationAction", "SKIP"),
        "FraudsterSimilarityThreshold": given.get(
            "FraudsterSimilarityThreshold", _SIMILARITY_THRESHOLD
        ),
        "WatchlistIds": given.get("WatchlistIds"),
    }
    job = await _start(context, request, "fraudster-registration", options)
    return {"Job": cast("shapes.FraudsterRegistrationJob", _document(job))}


async def describe_speaker_enrollment_job(
    context: Request, request: shapes.DescribeSpeakerEnrollmentJobRequest
) -> shapes.DescribeSpeakerEnrollmentJobResponse:
    """Show a job that enrols speakers."""
    job = await _get(context, request["DomainId"], request["JobId"], "speaker-enrollment")
    return {"Job": cast("shapes.SpeakerEnrollmentJob", _document(job))}


async def describe_fraudster_registration_job(
    context: Request, request: shapes.DescribeFraudsterRegistrationJobRequest
) -> shapes.DescribeFraudsterRegistrationJobResponse:
    """Show a job that registers fraudsters."""
    job = await _get(context, request["DomainId"], request["JobId"], "fraudster-registration")
    return {"Job": cast("shapes.FraudsterRegistrationJob", _document(job))}


async def list_speaker_enrollment_jobs(
    context: Request, request: shapes.ListSpeakerEnrollmentJobsRequest
) -> shapes.ListSpeakerEnrollmentJobsResponse:
    """Show a page of the jobs that enrol speakers, the newest first."""
    response = await _list(context, request, "speaker-enrollment")
    return cast("shapes.ListSpeakerEnrollmentJobsResponse", response)


async def list_fraudster_registration_jobs(
    context: Request, request: shapes.ListFraudsterRegistrationJobsRequest
) -> shapes.ListFraudsterRegistrationJobsResponse:
    """Show a page of the jobs that register fraudsters, the newest first."""
    response = await _list(context, request, "fraudster-registration")
    return cast("shapes.ListFraudsterRegistrationJobsResponse", response)


async def _start(
    context: Request,
    request: (
        shapes.StartSpeakerEnrollmentJobRequest | shapes.StartFraudsterRegistrationJobRequest
    ),
    kind: JobKind,
    options: dict[str, Any],
) -> Job:
    services, domain_id = context.services, request["DomainId"]
    job = Job(
        job_id=unique_id(),
        domain_id=domain_id,
        kind=kind,
        name=request.get("JobName"),
        status="SUBMITTED",
        role_arn=request["DataAccessRoleArn"],
        input_uri=request["InputDataConfig"]["S3Uri"],
        output_uri=request["OutputDataConfig"]["S3Uri"],
        output_kms_key_id=request["OutputDataConfig"].get("KmsKeyId"),
        options=options,
        percent_complete=0,
        failure_code=None,
        failure_message=None,
        created_ms=services.clock.now_ms(),
        ended_ms=None,
    )
    token = ClientToken.of(request, scope=f"{kind}/{domain_id}")

    def work(tx: Transaction) -> Job:
        domain = tx.domains.get_active(domain_id)
        made = tx.tokens.find(token)
        if made is not None:
            return tx.jobs.get(domain_id, made, kind)
        for watchlist_id in _watchlist_ids(job):
            tx.watchlists.get(domain_id, watchlist_id)
        tx.jobs.add(job)
        tx.after_commit(services.on_job)
        tx.tokens.add(token, resource_id=job.job_id, now_ms=job.created_ms)
        services.announcer.announce(
            tx, lambda: _ANNOUNCEMENTS[kind](domain.arn, job, now_ms=job.created_ms)
        )
        return job

    return await services.store.write(work)


async def _get(context: Request, domain_id: str, job_id: str, kind: JobKind) -> Job:
    return await context.services.store.read(lambda tx: tx.jobs.get(domain_id, job_id, kind))


async def _list(
    context: Request,
    request: (
        shapes.ListSpeakerEnrollmentJobsRequest | shapes.ListFraudsterRegistrationJobsRequest
    ),
    kind: JobKind,
) -> dict[str, Any]:
    services, domain_id = context.services, request["DomainId"]
    status = request.get("JobStatus")
    page, token = await services.pager.read(
        request,
        lambda before, size: services.store.read(
            lambda tx: tx.jobs.page(domain_id, kind, status=status, before=before, size=size)
        ),
        query=[kind, domain_id, status],
        default_size=_PAGE_SIZE,
    )
    return {"JobSummaries": [_summary(job) for job in page], "NextToken": token}


def _watchlist_ids(job: Job) -> list[str]:
    options = job.options.get("FraudDetectionConfig", job.options)
    return options["WatchlistIds"] or []


def _summary(job: Job) -> dict[str, Any]:
    failure = None
    if job.failure_code is not None:
        failure = {"StatusCode": job.failure_code, "Message": job.failure_message}
    summary = {
        "DomainId": job.domain_id,
        "JobId": job.job_id,
        "JobName": job.name,
        "JobStatus": job.status,
        "JobProgress": {"PercentComplete": job.percent_complete},
        "FailureDetails": failure,
        "CreatedAt": seconds(job.created_ms),
        "EndedAt": seconds(job.ended_ms),
    }
    return present(summary)


def _document(job: Job) -> dict[str, Any]:
    config = "EnrollmentConfig" if job.kind == "speaker-enrollment" else "RegistrationConfig"
    output = {"S3Uri": job.output_uri, "KmsKeyId": job.output_kms_key_id}
    return {
        **_summary(job),
        "DataAccessRoleArn": job.role_arn,
        "InputDataConfig": {"S3Uri": job.input_uri},
        "OutputDataConfig": present(output),
        config: job.options,
    }
