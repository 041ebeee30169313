"""How much there is."""

from sqlalchemy import ColumnElement, Connection, Table, func, select

from vivavoce.store import tables
from vivavoce.store.records import ACTIVE_JOB_STATUSES, DomainCounts, JobKind
from vivavoce.store.sessions import is_active_session


class Counts:
    """Counts rows, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_domains(self, *, now_ms: int) -> list[DomainCounts]:
        """How much each domain holds."""
        domains = tables.domains
        ids = self._connection.execute(
            select(domains.c.domain_id)
            .where(domains.c.deleted_ms.is_(None))
            .order_by(domains.c.sequence)
        ).scalars()
        speakers = self._by_domain(tables.speakers)
        fraudsters = self._by_domain(tables.fraudsters)
        sessions = self._by_domain(tables.sessions, is_active_session(now_ms))
        enrolling = self._by_domain(tables.jobs, _active("speaker-enrollment"))
        registering = self._by_domain(tables.jobs, _active("fraudster-registration"))
        return [
            DomainCounts(
                domain_id=domain_id,
                speakers=speakers.get(domain_id, 0),
                fraudsters=fraudsters.get(domain_id, 0),
                active_sessions=sessions.get(domain_id, 0),
                active_enrollment_jobs=enrolling.get(domain_id, 0),
                active_registration_jobs=registering.get(domain_id, 0),
            )
            for domain_id in ids
        ]

    def _by_domain(self, table: Table, *where: ColumnElement[bool]) -> dict[str, int]:
        query = select(table.c.domain_id, func.count()).where(*where).group_by(table.c.domain_id)
        return {row[0]: row[1] for row in self._connection.execute(query)}


def _active(kind: JobKind) -> ColumnElement[bool]:
    return (tables.jobs.c.kind == kind) & tables.jobs.c.status.in_(ACTIVE_JOB_STATUSES)
