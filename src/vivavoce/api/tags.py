"""Tags of domains, the only resource that has an ARN.

Source: voice-id-behaviour.md, section 6.4.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from vivavoce.api import shapes
from vivavoce.api.services import Request
from vivavoce.errors import InvalidRequest, NotFound
from vivavoce.store.store import Transaction

_MOST_TAGS = 50
_RESERVED_PREFIX = "aws:"


async def tag_resource(
    context: Request, request: shapes.TagResourceRequest
) -> shapes.TagResourceResponse:
    """Set tags; one of the same key is overwritten."""

    def work(tx: Transaction) -> None:
        domain_id = _domain_of(context, tx, request["ResourceArn"])
        tx.domains.require_active(domain_id)
        tx.domains.set_tags(domain_id, checked_tags(tx.domains.tags(domain_id), request["Tags"]))

    await context.services.store.write(work)
    return {}


async def untag_resource(
    context: Request, request: shapes.UntagResourceRequest
) -> shapes.UntagResourceResponse:
    """Remove tags; an absent one is no error."""
    gone = set(request["TagKeys"])

    def work(tx: Transaction) -> None:
        domain_id = _domain_of(context, tx, request["ResourceArn"])
        tx.domains.require_active(domain_id)
        tags = tx.domains.tags(domain_id)
        tx.domains.set_tags(
            domain_id, {key: value for key, value in tags.items() if key not in gone}
        )

    await context.services.store.write(work)
    return {}


async def list_tags_for_resource(
    context: Request, request: shapes.ListTagsForResourceRequest
) -> shapes.ListTagsForResourceResponse:
    """Show a domain's tags."""
    tags = await context.services.store.read(
        lambda tx: tx.domains.tags(_domain_of(context, tx, request["ResourceArn"]))
    )
    response: dict[str, Any] = {
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]
    }
    return cast("shapes.ListTagsForResourceResponse", response)


def checked_tags(present: Mapping[str, str], given: Iterable[shapes.Tag]) -> dict[str, str]:
    """A domain's tags, with more of them given.

    Raises:
        InvalidRequest: a key is given twice, or reserved; there would be too many.
    """
    added: dict[str, str] = {}
    for tag in given:
        key = tag["Key"]
        if key in added:
            raise InvalidRequest("A tag key must not be given twice")
        if key.lower().startswith(_RESERVED_PREFIX):
            raise InvalidRequest(f"Tag keys that begin with {_RESERVED_PREFIX} are reserved")
        added[key] = tag["Value"]
    tags = {**present, **added}
    if len(tags) > _MOST_TAGS:
        raise InvalidRequest(f"A resource has at most {_MOST_TAGS} tags")
    return tags


def _domain_of(context: Request, tx: Transaction, arn: str) -> str:
    domain_id = arn.rpartition("/")[2]
    is_here = arn == context.domain_arn(domain_id)
    if not is_here or tx.domains.arn(domain_id) != arn:
        raise NotFound("DOMAIN")
    return domain_id
