"""What a request asks a caller's policy, and the refusal where the policy does not allow it.

Source: AWS's service authorization reference for Voice ID (actions, resources, condition keys,
dependent actions). The session operations that AWS kept private are actions of the same kind.
`iam:PassRole` is not asked for: there are no roles here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from vivavoce.api.keys import AccessKey
from vivavoce.api.policy import SERVICE, Decision, Question
from vivavoce.api.sigv4 import Caller
from vivavoce.clock import Clock, to_datetime
from vivavoce.errors import AccessDenied, NotFound
from vivavoce.ids import domain_arn

_ANY = "*"
_WITHOUT_RESOURCE = frozenset({"CreateDomain", "ListDomains"})
_BY_ARN = frozenset({"ListTagsForResource", "TagResource", "UntagResource"})
_WITH_TAGS = frozenset({"CreateDomain", "TagResource"})
_TAG_KEYS = "aws:TagKeys"


class ResourceTags(Protocol):
    """Knows the tags of domains."""

    async def tags_of(self, arn: str) -> Mapping[str, str]:
        """The tags of the domain with exactly this ARN; raises `NotFound` if there is none."""
        ...


class Guard:
    """Lets a request pass if its caller's policy allows it.

    Args:
        account_id: twelve digits; part of ARNs.
        tags: of domains; asked only where a policy asks for them.
        clock: for `aws:CurrentTime`.
    """

    def __init__(self, *, account_id: str, tags: ResourceTags, clock: Clock) -> None:
        self._account_id = account_id
        self._tags = tags
        self._clock = clock

    async def check(
        self,
        caller: Caller,
        operation: str,
        members: Mapping[str, Any],
        *,
        source_ip: str | None,
        is_secure: bool = False,
    ) -> None:
        """Make sure that a caller may do something.

        Args:
            caller: whose signature was verified.
            operation: its name, such as `DescribeDomain`.
            members: its input, decoded and validated.
            source_ip: address of the peer; None where the server does not know it.
            is_secure: whether the request came through TLS.

        Raises:
            AccessDenied: the caller may not; in AWS's words.
        """
        key = caller.key
        if key is None:
            raise AccessDenied("The request is not signed, so nothing allows it")
        for action, resource in questions(
            operation, members, region=caller.region, account_id=self._account_id
        ):
            # Facts are gathered for a policy that asks; most ask for nothing.
            facts: dict[str, tuple[str, ...]] = {}
            if key.policy.condition_keys:
                facts |= self._facts(key, caller.region, source_ip, is_secure=is_secure)
                facts |= _request_tags(operation, members)
            if key.policy.needs_resource_tags and resource != _ANY:
                facts |= await self._resource_tags(resource)
            question = Question(action=action, resource=resource, facts=facts)
            decision = key.policy.decide(question)
            if decision is not Decision.ALLOWED:
                raise AccessDenied(self._refusal(key, question, decision))

    def _facts(
        self, key: AccessKey, region: str, source_ip: str | None, *, is_secure: bool
    ) -> dict[str, tuple[str, ...]]:
        now_ms = self._clock.now_ms()
        facts = {
            "aws:CurrentTime": (to_datetime(now_ms).isoformat(),),
            "aws:EpochTime": (str(now_ms // 1000),),
            "aws:PrincipalAccount": (self._account_id,),
            "aws:PrincipalArn": (self._arn_of(key),),
            "aws:RequestedRegion": (region,),
            "aws:SecureTransport": (str(is_secure).lower(),),
            "aws:username": (key.name,),
        }
        return facts if source_ip is None else facts | {"aws:SourceIp": (source_ip,)}

    async def _resource_tags(self, arn: str) -> dict[str, tuple[str, ...]]:
        try:
            tags = await self._tags.tags_of(arn)
        except NotFound:
            # A policy that wants a tag denies; one that does not lets the operation say so.
            return {}
        return {f"aws:ResourceTag/{key}": (value,) for key, value in tags.items()}

    def _refusal(self, key: AccessKey, question: Question, decision: Decision) -> str:
        why = (
            "with an explicit deny in an identity-based policy"
            if decision is Decision.EXPLICITLY_DENIED
            else f"because no identity-based policy allows the {question.action} action"
        )
        return (
            f"User: {self._arn_of(key)} is not authorized to perform: {question.action} "
            f"on resource: {question.resource} {why}"
        )

    def _arn_of(self, key: AccessKey) -> str:
        return f"arn:aws:iam::{self._account_id}:user/{key.name}"


def questions(
    operation: str, members: Mapping[str, Any], *, region: str, account_id: str
) -> list[tuple[str, str]]:
    """What has to be allowed for a request: actions, each with the resource that it is done to."""

    def domain(domain_id: str) -> str:
        return domain_arn(domain_id, region=region, account_id=account_id)

    asked = [(f"{SERVICE}:{operation}", _resource(operation, members, domain))]
    if operation == "CreateDomain" and members.get("Tags"):
        # The domain has no id yet.
        asked.append((f"{SERVICE}:TagResource", domain(_ANY)))
    return asked


def _resource(operation: str, members: Mapping[str, Any], domain: Callable[[str], str]) -> str:
    if operation in _WITHOUT_RESOURCE:
        return _ANY
    if operation in _BY_ARN:
        return cast("str", members["ResourceArn"])
    return domain(members["DomainId"])


def _request_tags(operation: str, members: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The tags that a request names; a request without any has none of these keys."""
    if operation == "UntagResource":
        keys = tuple(cast("list[str]", members["TagKeys"]))
        return {_TAG_KEYS: keys} if keys else {}
    if operation not in _WITH_TAGS or not members.get("Tags"):
        return {}
    tags = cast("list[dict[str, str]]", members["Tags"])
    facts: dict[str, tuple[str, ...]] = {_TAG_KEYS: tuple(tag["Key"] for tag in tags)}
    for tag in tags:
        # A key that is named twice keeps both values here; the operation refuses it afterwards.
        name = f"aws:RequestTag/{tag['Key']}"
        facts[name] = (*facts.get(name, ()), tag["Value"])
    return facts
