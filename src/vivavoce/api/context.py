"""What a handler is given beside its request."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from vivavoce.ids import domain_arn

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(Generic[S]):
    """One request's surroundings.

    Attributes:
        request_id: a UUID; the answer carries it as `x-amzn-RequestId`.
        account_id: twelve digits; part of ARNs.
        region: the one the caller signed for; part of ARNs.
        access_key_id: who signed; empty in a sandbox without authentication.
        host: the `Host` header as the client sent it, for URLs that lead back here.
        services: what handlers work with; made by the composition root.
    """

    request_id: str
    account_id: str
    region: str
    access_key_id: str
    host: str
    services: S

    def domain_arn(self, domain_id: str) -> str:
        """The ARN of a domain where the caller signed for, whether or not it exists."""
        return domain_arn(domain_id, region=self.region, account_id=self.account_id)


# A handler takes and returns the generated types of its operation (`vivavoce.api.shapes`), or
# returns None where the operation has no output.
Handler: TypeAlias = Callable[[Context[S], Any], Awaitable[Mapping[str, object] | None]]
