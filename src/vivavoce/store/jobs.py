"""Rows of batch jobs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, insert, select, update

from vivavoce.errors import NotFound, concurrent_changes
from vivavoce.store import places, tables
from vivavoce.store.quotas import Quotas, require_room
from vivavoce.store.records import ACTIVE_JOB_STATUSES, Job, JobEntry, JobKind, JobStatus
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
                entries=job.entries,
                entries_done=job.entries_done,
                entries_failed=job.entries_failed,
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

    def active(self) -> list[tuple[str, str, JobKind]]:
        """Domain, id and kind of all jobs that have not ended, the oldest first.

        Those of deleted domains are none of them, though their rows may still be there.
        """
        jobs, domains = tables.jobs, tables.domains
        rows = self._connection.execute(
            select(jobs.c.domain_id, jobs.c.job_id, jobs.c.kind)
            .join(domains, domains.c.domain_id == jobs.c.domain_id)
            .where(jobs.c.status.in_(ACTIVE_JOB_STATUSES), domains.c.deleted_ms.is_(None))
            .order_by(jobs.c.sequence)
        )
        return [(row.domain_id, row.job_id, row.kind) for row in rows.all()]

    def entries_done(self, job_id: str) -> int:
        """How far a job has come, whether or not its domain's key can be used."""
        jobs = tables.jobs
        query = select(jobs.c.entries_done).where(jobs.c.job_id == job_id)
        return self._connection.execute(query).scalar_one_or_none() or 0

    def put_entries(self, job: Job, requests: Sequence[str], *, first: int) -> None:
        """Write down what entries ask for.

        Args:
            job: the job.
            requests: what each asks for.
            first: number of the first of them.
        """
        sealer = self._sealers.of(job.domain_id)
        rows: list[dict[str, Any]] = []
        for number, request in enumerate(requests, start=first):
            entry_id = _entry_id(job, number)
            rows.append(
                {
                    "entry_id": entry_id,
                    "job_id": job.job_id,
                    "domain_id": job.domain_id,
                    "number": number,
                    "is_done": False,
                    "is_failed": False,
                    "sealed_request": sealer.seal_text(request, places.job_entry_request(entry_id)),
                }
            )
        self._connection.execute(insert(tables.job_entries), rows)

    def remove_some_entries(self, job_id: str, *, size: int) -> bool:
        """Forget up to `size` of a job's entries; whether there may be more."""
        entries = tables.job_entries
        some = select(entries.c.entry_id).where(entries.c.job_id == job_id).limit(size)
        removed = self._connection.execute(delete(entries).where(entries.c.entry_id.in_(some)))
        return removed.rowcount == size

    def ended_with_entries(self) -> list[str]:
        """Ids of jobs that have ended and whose entries are still there."""
        jobs, entries = tables.jobs, tables.job_entries
        query = select(jobs.c.job_id).where(
            jobs.c.status.not_in(ACTIVE_JOB_STATUSES),
            exists().where(entries.c.job_id == jobs.c.job_id),
        )
        return list(self._connection.execute(query).scalars())

    def find_nameless(self, job_id: str) -> Job | None:
        """A job without its name, which alone needs the domain's key; None if it is gone."""
        query = select(tables.jobs).where(tables.jobs.c.job_id == job_id)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _open(row, None)

    def entries(self, job: Job, *, is_done: bool | None, after: int, size: int) -> list[JobEntry]:
        """Up to `size` entries behind a number, in their order.

        Args:
            job: the job.
            is_done: only those that are done, or are not; None: all.
            after: a number; -1 begins with the first.
            size: the most to give.
        """
        sealer = self._sealers.of(job.domain_id)
        entries = tables.job_entries
        query = (
            select(entries)
            .where(entries.c.job_id == job.job_id, entries.c.number > after)
            .order_by(entries.c.number)
            .limit(size)
        )
        if is_done is not None:
            query = query.where(entries.c.is_done == is_done)
        return [_open_entry(row, sealer) for row in self._connection.execute(query).all()]

    def conclude(self, job: Job, number: int, outcome: str, *, is_failed: bool) -> Job:
        """Write down what came of an entry; gives the job as it is then.

        Raises:
            Conflict: somebody else has done so already.
        """
        sealer, entry_id = self._sealers.of(job.domain_id), _entry_id(job, number)
        entries = tables.job_entries
        concluded = self._connection.execute(
            update(entries)
            .where(entries.c.entry_id == entry_id, entries.c.is_done.is_(False))
            .values(
                is_done=True,
                is_failed=is_failed,
                sealed_outcome=sealer.seal_text(outcome, places.job_entry_outcome(entry_id)),
            )
        )
        if not concluded.rowcount:
            raise concurrent_changes()
        done = job.entries_done + 1
        return self.update(
            job,
            entries_done=done,
            entries_failed=job.entries_failed + is_failed,
            percent_complete=100 * done // job.entries,
        )

    def update(self, job: Job, **changes: Any) -> Job:  # noqa: ANN401 - columns of any type
        """Change members of a job; gives it as it is then."""
        self._connection.execute(
            update(tables.jobs).where(tables.jobs.c.job_id == job.job_id).values(**changes)
        )
        return replace(job, **changes)


def _entry_id(job: Job, number: int) -> str:
    return f"{job.job_id}/{number}"


def _open_entry(row: Row[Any], sealer: DomainSealer) -> JobEntry:
    outcome = row.sealed_outcome
    return JobEntry(
        number=row.number,
        request=sealer.open_text(row.sealed_request, places.job_entry_request(row.entry_id)),
        outcome=None
        if outcome is None
        else sealer.open_text(outcome, places.job_entry_outcome(row.entry_id)),
        is_failed=row.is_failed,
    )


def _of_kind(domain_id: str, kind: JobKind) -> ColumnElement[bool]:
    return (tables.jobs.c.domain_id == domain_id) & (tables.jobs.c.kind == kind)


def _open(row: Row[Any], sealer: DomainSealer | None) -> Job:
    return Job(
        job_id=row.job_id,
        domain_id=row.domain_id,
        kind=row.kind,
        name=None
        if row.sealed_name is None or sealer is None
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
        entries=row.entries,
        entries_done=row.entries_done,
        entries_failed=row.entries_failed,
    )
