"""Rows of batch jobs."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select

from vivavoce.errors import NotFound
from vivavoce.store import places, tables
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import ACTIVE_JOB_STATUSES, Job, JobKind, JobStatus
from vivavoce.store.sealing import DomainSealer, Sealers


class Jobs:
    """The batch jobs, within one transaction."""

    def __init__(self, connection: Connection, sealers: Sealers, quotas: Quotas) -> None:
        self._connection = connection
        self._sealers = sealers
        self._quotas = quotas

    def add(self, job: Job) -> None:
        """Add a job.

        Raises:
            QuotaExceeded: the domain has as many active jobs of this kind as it may.
        """
        quota, what = {
            "speaker-enrollment": (self._quotas.enrollment_jobs, "active speaker enrollment jobs"),
            "fraudster-registration": (
                self._quotas.registration_jobs,
                "active fraudster registration jobs",
            ),
        }[job.kind]
        if quota is not None:
            active = tables.jobs.c.status.in_(ACTIVE_JOB_STATUSES)
            there = self._connection.execute(
                select(func.count()).where(_of_kind(job.domain_id, job.kind), active)
            ).scalar_one()
            require_room(quota, there, what)
        sealer = self._sealers.of(job.domain_id)
        self._connection.execute(
            insert(tables.jobs).values(
                job_id=job.job_id,
                domain_id=job.domain_id,
                kind=job.kind,
                sealed_name=None
                if job.name is None
                else sealer.seal_text(job.name, places.job_name(job.job_id)),
                status=job.status,
                role_arn=job.role_arn,
                input_uri=job.input_uri,
                output_uri=job.output_uri,
                output_kms_key_id=job.output_kms_key_id,
                options=json.dumps(dict(job.options)),
                percent_complete=job.percent_complete,
                failure_code=job.failure_code,
                failure_message=job.failure_message,
                created_ms=job.created_ms,
                ended_ms=job.ended_ms,
            )
        )

    def get(self, domain_id: str, job_id: str, kind: JobKind) -> Job:
        """One job.

        Raises:
            NotFound: there is no such domain, or no job of this kind.
        """
        sealer = self._sealers.of(domain_id)
        query = select(tables.jobs).where(_of_kind(domain_id, kind), tables.jobs.c.job_id == job_id)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("BATCH_JOB")
        return _open(row, sealer)

    def page(
        self, domain_id: str, kind: JobKind, *, status: JobStatus | None, before: int, size: int
    ) -> list[tuple[int, Job]]:
        """Up to `size` jobs, the newest first, whose sequence number is below `before`.

        Args:
            domain_id: the domain.
            kind: of which kind.
            status: only those in this state; None for all.
            before: a sequence number; 0 begins with the newest.
            size: the most to give.

        Raises:
            NotFound: there is no such domain.
        """
        sealer = self._sealers.of(domain_id)
        jobs = tables.jobs
        query = (
            select(jobs)
            .where(_of_kind(domain_id, kind))
            .order_by(jobs.c.sequence.desc())
            .limit(size)
        )
        if before:
            query = query.where(jobs.c.sequence < before)
        if status is not None:
            query = query.where(jobs.c.status == status)
        return [(row.sequence, _open(row, sealer)) for row in self._connection.execute(query).all()]


def _of_kind(domain_id: str, kind: JobKind) -> ColumnElement[bool]:
    return (tables.jobs.c.domain_id == domain_id) & (tables.jobs.c.kind == kind)


def _open(row: Row[Any], sealer: DomainSealer) -> Job:
    return Job(
        job_id=row.job_id,
        domain_id=row.domain_id,
        kind=row.kind,
        name=None
        if row.sealed_name is None
        else sealer.open_text(row.sealed_name, places.job_name(row.job_id)),
        status=row.status,
        role_arn=row.role_arn,
        input_uri=row.input_uri,
        output_uri=row.output_uri,
        output_kms_key_id=row.output_kms_key_id,
        options=json.loads(row.options),
        percent_complete=row.percent_complete,
        failure_code=row.failure_code,
        failure_message=row.failure_message,
        created_ms=row.created_ms,
        ended_ms=row.ended_ms,
    )
