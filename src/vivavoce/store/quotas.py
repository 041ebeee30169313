"""How much a domain or the account may hold. Off by default.

Source: voice-id-behaviour.md, section 15.
"""

from dataclasses import dataclass

from vivavoce.errors import QuotaExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The most of each; None: no limit.

    Attributes:
        domains: in a region.
        watchlists: in a domain, with the default one.
        fraudsters: on a watchlist.
        speakers: in a domain.
        sessions: pending or ongoing at a time, in a domain.
        enrollment_jobs: not ended at a time, in a domain.
        registration_jobs: not ended at a time, in a domain.
        enrollment_entries: speakers in a job.
        registration_entries: fraudsters in a job.
    """

    domains: int | None = None
    watchlists: int | None = None
    fraudsters: int | None = None
    speakers: int | None = None
    sessions: int | None = None
    enrollment_jobs: int | None = None
    registration_jobs: int | None = None
    enrollment_entries: int | None = None
    registration_entries: int | None = None


NO_QUOTAS = Quotas()

AWS_QUOTAS = Quotas(
    domains=3,
    watchlists=3,
    fraudsters=500,
    speakers=100_000,
    sessions=50,
    enrollment_jobs=1,
    registration_jobs=1,
    enrollment_entries=10_000,
    registration_entries=500,
)
"""What Amazon's service allowed an account that asked for nothing."""


def require_room(quota: int | None, present: int, what: str) -> None:
    """Make sure that one more fits.

    Raises:
        QuotaExceeded: it does not.
    """
    if quota is not None and present >= quota:
        raise QuotaExceeded(f"The quota of {quota} {what} is used up")
