"""Fraudsters."""

from collections.abc import Sequence
from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import Announcement
from vivavoce.sessions.documents import fraudster_document
from vivavoce.store.records import Fraudster
from vivavoce.store.store import Transaction

_PAGE_SIZE = 100


async def describe_fraudster(
    context: Request, request: shapes.DescribeFraudsterRequest
) -> shapes.DescribeFraudsterResponse:
    """Show a fraudster."""
    fraudster = await context.services.store.read(
        lambda tx: tx.fraudsters.get(request["DomainId"], request["FraudsterId"])
    )
    return {"Fraudster": cast("shapes.Fraudster", fraudster_document(fraudster))}


async def list_fraudsters(
    context: Request, request: shapes.ListFraudstersRequest
) -> shapes.ListFraudstersResponse:
    """Show a page of a domain's or a watchlist's fraudsters, in the order they were registered."""
    services, domain_id = context.services, request["DomainId"]
    watchlist_id = request.get("WatchlistId")

    def read(tx: Transaction, after: int, size: int) -> list[tuple[int, Fraudster]]:
        if watchlist_id is not None:
            tx.watchlists.get(domain_id, watchlist_id)
        return tx.fraudsters.page(domain_id, watchlist_id=watchlist_id, after=after, size=size)

    page, token = await services.pager.read(
        request,
        lambda after, size: services.store.read(lambda tx: read(tx, after, size)),
        query=["ListFraudsters", domain_id, watchlist_id],
        default_size=_PAGE_SIZE,
    )
    response: dict[str, Any] = {
        "FraudsterSummaries": [fraudster_document(fraudster) for fraudster in page],
        "NextToken": token,
    }
    return cast("shapes.ListFraudstersResponse", response)


async def associate_fraudster(
    context: Request, request: shapes.AssociateFraudsterRequest
) -> shapes.AssociateFraudsterResponse:
    """Put a fraudster on one more watchlist of its domain."""
    domain_id, watchlist_id = request["DomainId"], request["WatchlistId"]

    def work(tx: Transaction) -> Fraudster:
        tx.domains.require_active(domain_id)
        fraudster = tx.fraudsters.get(domain_id, request["FraudsterId"])
        tx.watchlists.get(domain_id, watchlist_id)
        tx.fraudsters.associate(fraudster, watchlist_id)
        return tx.fraudsters.get(domain_id, fraudster.fraudster_id)

    fraudster = await context.services.store.write(work)
    return {"Fraudster": cast("shapes.Fraudster", fraudster_document(fraudster))}


async def disassociate_fraudster(
    context: Request, request: shapes.DisassociateFraudsterRequest
) -> shapes.DisassociateFraudsterResponse:
    """Take a fraudster off a watchlist, unless it is the last one."""
    domain_id, watchlist_id = request["DomainId"], request["WatchlistId"]

    def work(tx: Transaction) -> Fraudster:
        tx.domains.require_active(domain_id)
        fraudster = tx.fraudsters.get(domain_id, request["FraudsterId"])
        tx.watchlists.get(domain_id, watchlist_id)
        tx.fraudsters.disassociate(fraudster, watchlist_id)
        return tx.fraudsters.get(domain_id, fraudster.fraudster_id)

    fraudster = await context.services.store.write(work)
    return {"Fraudster": cast("shapes.Fraudster", fraudster_document(fraudster))}


async def delete_fraudster(context: Request, request: shapes.DeleteFraudsterRequest) -> None:
    """Forget a fraudster: voiceprint, speech, and the place on every watchlist."""
    services, domain_id = context.services, request["DomainId"]

    def work(tx: Transaction) -> None:
        domain = tx.domains.get_active(domain_id)
        fraudster = tx.fraudsters.get(domain_id, request["FraudsterId"])
        tx.fraudsters.remove(fraudster.domain_id, fraudster.fraudster_id)
        services.announcer.announce(tx, lambda: announcement(domain.arn, fraudster.watchlist_ids))

    def announcement(
        arn: str, watchlist_ids: Sequence[str] | None, error: Exception | None = None
    ) -> Announcement:
        return announcements.fraudster(
            arn,
            "DELETE_FRAUDSTER",
            fraudster_id=request["FraudsterId"],
            watchlist_ids=watchlist_ids,
            now_ms=services.clock.now_ms(),
            error=error,
        )

    async with services.announcer.on_failure(
        lambda error: announcement(context.domain_arn(domain_id), None, error)
    ):
        await services.store.write(work)
    await services.store.scrub()
