"""Domains."""

from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.api.tags import checked_tags
from vivavoce.errors import NotFound
from vivavoce.sessions.documents import present, seconds
from vivavoce.sessions.domains import NewDomain, Place
from vivavoce.store.records import Domain
from vivavoce.store.tokens import ClientToken

_PAGE_SIZE = 10


async def create_domain(
    context: Request, request: shapes.CreateDomainRequest
) -> shapes.CreateDomainResponse:
    """Make a domain and its default watchlist; the same client token makes it once."""
    if not context.services.consent_given:
        raise NotFound("COMPLIANCE_CONSENT")
    new = NewDomain(
        name=request["Name"],
        description=request.get("Description"),
        key_id=request["ServerSideEncryptionConfiguration"]["KmsKeyId"],
        tags=checked_tags({}, request.get("Tags", [])),
        token=ClientToken.of(request, scope=f"CreateDomain/{context.region}"),
    )
    domain = await context.services.domains.create(new, _place(context))
    return {"Domain": cast("shapes.Domain", _document(domain))}


async def describe_domain(
    context: Request, request: shapes.DescribeDomainRequest
) -> shapes.DescribeDomainResponse:
    """Show a domain."""
    domain = await context.services.store.look_up(lambda tx: tx.domains.get(request["DomainId"]))
    return {"Domain": cast("shapes.Domain", _document(domain))}


async def update_domain(
    context: Request, request: shapes.UpdateDomainRequest
) -> shapes.UpdateDomainResponse:
    """Replace a domain's name, description and key; an omitted description is removed."""
    domain = await context.services.domains.update(
        request["DomainId"],
        _place(context),
        name=request["Name"],
        description=request.get("Description"),
        key_id=request["ServerSideEncryptionConfiguration"]["KmsKeyId"],
    )
    return {"Domain": cast("shapes.Domain", _document(domain))}


async def delete_domain(context: Request, request: shapes.DeleteDomainRequest) -> None:
    """Make a domain cease to exist; a domain that was deleted before stays deleted."""
    await context.services.domains.delete(request["DomainId"])


async def list_domains(
    context: Request, request: shapes.ListDomainsRequest
) -> shapes.ListDomainsResponse:
    """Show a page of the region's domains, in the order they were made."""
    services, region = context.services, context.region
    page, token = await services.pager.read(
        request,
        lambda after, size: services.store.read(
            lambda tx: tx.domains.page(region, after=after, size=size)
        ),
        query=["ListDomains", region],
        default_size=_PAGE_SIZE,
    )
    response: dict[str, Any] = {
        "DomainSummaries": [_document(domain) for domain in page],
        "NextToken": token,
    }
    return cast("shapes.ListDomainsResponse", response)


def _place(context: Request) -> Place:
    return Place(region=context.region, account_id=context.account_id)


def _document(domain: Domain) -> dict[str, Any]:
    update = None
    if domain.encryption_status is not None:
        update = present(
            {
                "OldKmsKeyId": domain.old_kms_key_id,
                "UpdateStatus": domain.encryption_status,
                "Message": domain.encryption_message,
            }
        )
    document = {
        "DomainId": domain.domain_id,
        "Arn": domain.arn,
        "Name": domain.name,
        "Description": domain.description,
        "DomainStatus": domain.status,
        "ServerSideEncryptionConfiguration": {"KmsKeyId": domain.kms_key_id},
        "ServerSideEncryptionUpdateDetails": update,
        "WatchlistDetails": {"DefaultWatchlistId": domain.default_watchlist_id},
        "CreatedAt": seconds(domain.created_ms),
        "UpdatedAt": seconds(domain.updated_ms),
    }
    return present(document)
