"""Domains."""

from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.paging import PageRequest, read_page
from vivavoce.api.services import Request
from vivavoce.ids import unique_id
from vivavoce.sessions.documents import present, seconds
from vivavoce.store.records import Domain
from vivavoce.store.store import Transaction

_PAGE_SIZE = 10


async def create_domain(
    context: Request, request: shapes.CreateDomainRequest
) -> shapes.CreateDomainResponse:
    """Make a domain and its default watchlist; the same client token makes it once."""
    now_ms = context.services.clock.now_ms()
    domain_id = unique_id()
    domain = Domain(
        domain_id=domain_id,
        arn=f"arn:aws:voiceid:{context.region}:{context.account_id}:domain/{domain_id}",
        name=request["Name"],
        description=request.get("Description"),
        kms_key_id=_key_arn(context, request["ServerSideEncryptionConfiguration"]["KmsKeyId"]),
        status="ACTIVE",
        default_watchlist_id=unique_id(),
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    token = request.get("ClientToken")
    facts = {**request, "ClientToken": None, "Region": context.region}

    def work(tx: Transaction) -> Domain:
        if token is not None:
            made = tx.tokens.find("CreateDomain", token, facts)
            if made is not None:
                return tx.domains.get(made)
            tx.tokens.add("CreateDomain", token, facts, resource_id=domain_id, now_ms=now_ms)
        tx.domains.add(domain)
        return domain

    return {"Domain": cast("shapes.Domain", _document(await context.services.store.write(work)))}


async def describe_domain(
    context: Request, request: shapes.DescribeDomainRequest
) -> shapes.DescribeDomainResponse:
    """Show a domain."""
    domain = await context.services.store.read(lambda tx: tx.domains.get(request["DomainId"]))
    return {"Domain": cast("shapes.Domain", _document(domain))}


async def list_domains(
    context: Request, request: shapes.ListDomainsRequest
) -> shapes.ListDomainsResponse:
    """Show a page of domains, in the order they were made."""
    services = context.services
    wanted = PageRequest(
        query=["ListDomains"],
        token=request.get("NextToken"),
        size=request.get("MaxResults", _PAGE_SIZE),
    )
    page, token = await read_page(
        wanted,
        lambda after, size: services.store.read(lambda tx: tx.domains.page(after=after, size=size)),
        signer=services.signer,
        now_ms=services.clock.now_ms(),
    )
    response: dict[str, Any] = {
        "DomainSummaries": [_document(domain) for domain in page],
        "NextToken": token,
    }
    return cast("shapes.ListDomainsResponse", response)


def _document(domain: Domain) -> dict[str, Any]:
    document = {
        "DomainId": domain.domain_id,
        "Arn": domain.arn,
        "Name": domain.name,
        "Description": domain.description,
        "DomainStatus": domain.status,
        "ServerSideEncryptionConfiguration": {"KmsKeyId": domain.kms_key_id},
        "WatchlistDetails": {"DefaultWatchlistId": domain.default_watchlist_id},
        "CreatedAt": seconds(domain.created_ms),
        "UpdatedAt": seconds(domain.updated_ms),
    }
    return present(document)


def _key_arn(context: Request, key_id: str) -> str:
    """The key's ARN, as AWS showed it; ids and aliases are completed.

    Source: voice-id-behaviour.md, section 6.2.
    """
    if key_id.startswith("arn:"):
        return key_id
    kind = "" if key_id.startswith("alias/") else "key/"
    return f"arn:aws:kms:{context.region}:{context.account_id}:{kind}{key_id}"
