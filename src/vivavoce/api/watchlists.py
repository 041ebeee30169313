"""Watchlists."""

from dataclasses import replace
from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.errors import InvalidRequest
from vivavoce.ids import unique_id
from vivavoce.sessions.documents import present, seconds
from vivavoce.store.records import Watchlist
from vivavoce.store.store import Transaction
from vivavoce.store.tokens import ClientToken

_PAGE_SIZE = 100


async def create_watchlist(
    context: Request, request: shapes.CreateWatchlistRequest
) -> shapes.CreateWatchlistResponse:
    """Make a watchlist; the same client token makes it once."""
    now_ms = context.services.clock.now_ms()
    watchlist = Watchlist(
        watchlist_id=unique_id(),
        domain_id=request["DomainId"],
        name=request["Name"],
        description=request.get("Description"),
        is_default=False,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    token = ClientToken.of(request, scope=f"CreateWatchlist/{watchlist.domain_id}")

    def work(tx: Transaction) -> Watchlist:
        tx.domains.require_active(watchlist.domain_id)
        made = tx.tokens.find(token)
        if made is not None:
            return tx.watchlists.get(watchlist.domain_id, made)
        tx.watchlists.add(watchlist)
        tx.tokens.add(token, resource_id=watchlist.watchlist_id, now_ms=now_ms)
        return watchlist

    made = await context.services.store.write(work)
    return {"Watchlist": cast("shapes.Watchlist", _document(made))}


async def describe_watchlist(
    context: Request, request: shapes.DescribeWatchlistRequest
) -> shapes.DescribeWatchlistResponse:
    """Show a watchlist."""
    watchlist = await context.services.store.read(
        lambda tx: tx.watchlists.get(request["DomainId"], request["WatchlistId"])
    )
    return {"Watchlist": cast("shapes.Watchlist", _document(watchlist))}


async def list_watchlists(
    context: Request, request: shapes.ListWatchlistsRequest
) -> shapes.ListWatchlistsResponse:
    """Show a page of a domain's watchlists, the default one first."""
    services, domain_id = context.services, request["DomainId"]
    page, token = await services.pager.read(
        request,
        lambda after, size: services.store.read(
            lambda tx: tx.watchlists.page(domain_id, after=after, size=size)
        ),
        query=["ListWatchlists", domain_id],
        default_size=_PAGE_SIZE,
    )
    response: dict[str, Any] = {
        "WatchlistSummaries": [_document(watchlist) for watchlist in page],
        "NextToken": token,
    }
    return cast("shapes.ListWatchlistsResponse", response)


async def update_watchlist(
    context: Request, request: shapes.UpdateWatchlistRequest
) -> shapes.UpdateWatchlistResponse:
    """Change a watchlist's name or description; what is omitted stays."""
    now_ms = context.services.clock.now_ms()

    def work(tx: Transaction) -> Watchlist:
        watchlist = _custom(tx, request["DomainId"], request["WatchlistId"], "updated")
        changed = replace(
            watchlist,
            name=request.get("Name", watchlist.name),
            description=request.get("Description", watchlist.description),
            updated_ms=now_ms,
        )
        tx.watchlists.update(changed)
        return changed

    changed = await context.services.store.write(work)
    return {"Watchlist": cast("shapes.Watchlist", _document(changed))}


async def delete_watchlist(context: Request, request: shapes.DeleteWatchlistRequest) -> None:
    """Delete an empty watchlist."""

    def work(tx: Transaction) -> None:
        watchlist = _custom(tx, request["DomainId"], request["WatchlistId"], "deleted")
        tx.watchlists.remove(watchlist.watchlist_id)

    await context.services.store.write(work)


def _custom(tx: Transaction, domain_id: str, watchlist_id: str, done_to_it: str) -> Watchlist:
    """A watchlist that is not the domain's default one.

    Source: voice-id-behaviour.md, section 6.5: no conflict type exists for the default one.
    """
    tx.domains.require_active(domain_id)
    watchlist = tx.watchlists.get(domain_id, watchlist_id)
    if watchlist.is_default:
        raise InvalidRequest(f"The default watchlist cannot be {done_to_it}")
    return watchlist


def _document(watchlist: Watchlist) -> dict[str, Any]:
    document = {
        "DomainId": watchlist.domain_id,
        "WatchlistId": watchlist.watchlist_id,
        "Name": watchlist.name,
        "Description": watchlist.description,
        "DefaultWatchlist": watchlist.is_default,
        "CreatedAt": seconds(watchlist.created_ms),
        "UpdatedAt": seconds(watchlist.updated_ms),
    }
    return present(document)
