import asyncio
import json
from typing import Any, cast

import pytest

from tests.fakes import StillClock
from vivavoce.api.access import Guard, questions
from vivavoce.api.description import load_service_model
from vivavoce.api.keys import AccessKey
from vivavoce.api.policy import Policy
from vivavoce.api.sigv4 import Caller
from vivavoce.errors import AccessDenied, NotFound

ACCOUNT = "123456789012"
DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
ARN = f"arn:aws:voiceid:eu-west-2:{ACCOUNT}:domain/{DOMAIN_ID}"
NEW_ARN = f"arn:aws:voiceid:eu-west-2:{ACCOUNT}:domain/*"
TAGGED_ARN = f"arn:aws:voiceid:us-east-1:{ACCOUNT}:domain/b1c2d3e4f5g6h7i8j9k0lm"

ON_A_DOMAIN = [
    "AssociateFraudster",
    "CreateWatchlist",
    "DeleteDomain",
    "DeleteFraudster",
    "DeleteSpeaker",
    "DeleteWatchlist",
    "DescribeDomain",
    "DescribeFraudster",
    "DescribeFraudsterRegistrationJob",
    "DescribeSpeaker",
    "DescribeSpeakerEnrollmentJob",
    "DescribeWatchlist",
    "DisassociateFraudster",
    "EvaluateSession",
    "ListFraudsterRegistrationJobs",
    "ListFraudsters",
    "ListSpeakerEnrollmentJobs",
    "ListSpeakers",
    "ListWatchlists",
    "OptOutSpeaker",
    "StartFraudsterRegistrationJob",
    "StartSpeakerEnrollmentJob",
    "UpdateDomain",
    "UpdateWatchlist",
    "StartSession",
    "DescribeSession",
    "UpdateSession",
    "EnrollBySession",
    "RegisterFraudsterBySession",
    "EndSession",
    "ListSessions",
]
RESOURCES = {
    "CreateDomain": "*",
    "ListDomains": "*",
    "TagResource": TAGGED_ARN,
    "UntagResource": TAGGED_ARN,
    "ListTagsForResource": TAGGED_ARN,
} | dict.fromkeys(ON_A_DOMAIN, ARN)


class Tags:
    """Domains' tags by ARN; counts how often it is asked."""

    def __init__(self, tags=None):
        self.tags = tags or {}
        self.asked = []

    async def tags_of(self, arn):
        self.asked.append(arn)
        if arn not in self.tags:
            raise NotFound("DOMAIN")
        return self.tags[arn]


def members_of(operation):
    """What an operation is asked with; it has both, where one of them must not count."""
    return {
        "DomainId": DOMAIN_ID,
        "ResourceArn": TAGGED_ARN,
        "TagKeys": ["team"],
        "Name": operation,
    }


def caller(*statements, name="ann"):
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    key = AccessKey(access_key_id="VVX", name=name, secret="s", policy=Policy.parse(text))
    return Caller(access_key_id="VVX", region="eu-west-2", key=key)


def allow(action: str | list[str] = "voiceid:*", resource: str = "*", **elements: Any):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | elements


def check(who, operation, members=None, *, tags=None, **transport):
    guard = Guard(account_id=ACCOUNT, tags=tags or Tags(), clock=StillClock())
    members = members_of(operation) if members is None else members
    transport.setdefault("source_ip", "10.1.2.3")
    asyncio.run(guard.check(who, operation, members, **transport))


def denied(who, operation, members=None, **options):
    with pytest.raises(AccessDenied) as caught:
        check(who, operation, members, **options)
    return str(caught.value)


def test_the_table_names_every_operation_there_is():
    operations = cast("list[str]", load_service_model().operation_names)
    assert sorted(RESOURCES) == sorted(operations)
    assert len(RESOURCES) == 29 + 7


@pytest.mark.parametrize("operation", RESOURCES)
def test_every_operation_asks_for_its_own_action_on_its_own_resource(operation):
    asked = questions(operation, members_of(operation), region="eu-west-2", account_id=ACCOUNT)
    assert asked == [(f"voiceid:{operation}", RESOURCES[operation])]


@pytest.mark.parametrize("operation", RESOURCES)
def test_one_action_on_one_resource_allows_that_and_nothing_else(operation):
    resource = RESOURCES[operation]
    who = caller(allow(f"voiceid:{operation}", resource))
    check(who, operation)
    for other in RESOURCES.keys() - {operation}:
        denied(who, other)
    if resource != "*":
        elsewhere = resource.replace(ACCOUNT, "999999999999")
        denied(caller(allow(f"voiceid:{operation}", elsewhere)), operation)


def test_the_region_is_the_one_that_the_caller_signed_for():
    who = caller(allow(resource=f"arn:aws:voiceid:us-east-1:{ACCOUNT}:domain/*"))
    assert "arn:aws:voiceid:eu-west-2" in denied(who, "DescribeDomain")


def test_a_refusal_is_worded_as_by_aws():
    who = caller(allow("voiceid:List*"))
    assert denied(who, "DescribeDomain") == (
        f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: "
        f"voiceid:DescribeDomain on resource: {ARN} because no identity-based policy allows the "
        "voiceid:DescribeDomain action"
    )
    who = caller(allow(), allow("voiceid:Delete*", Effect="Deny"))
    assert denied(who, "DeleteDomain") == (
        f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: "
        f"voiceid:DeleteDomain on resource: {ARN} with an explicit deny in an identity-based policy"
    )


def test_a_caller_without_a_verified_key_may_do_nothing():
    denied(Caller(access_key_id="VVX", region="eu-west-2"), "ListDomains")


TAGGED = {"Name": "bank", "Tags": [{"Key": "team", "Value": "blue"}, {"Key": "n", "Value": ""}]}


def test_making_a_domain_with_tags_needs_leave_to_tag():
    who = caller(allow("voiceid:CreateDomain"))
    check(who, "CreateDomain", {"Name": "bank"})
    check(who, "CreateDomain", {"Name": "bank", "Tags": []})
    refusal = denied(who, "CreateDomain", TAGGED)
    assert f"voiceid:TagResource on resource: {NEW_ARN} " in refusal
    check(caller(allow(["voiceid:CreateDomain", "voiceid:TagResource"])), "CreateDomain", TAGGED)
    check(
        caller(allow("voiceid:CreateDomain"), allow("voiceid:TagResource", NEW_ARN)),
        "CreateDomain",
        TAGGED,
    )


@pytest.mark.parametrize("operation", ["CreateDomain", "TagResource"])
def test_a_policy_can_ask_for_the_tags_of_a_request(operation):
    members = {"ResourceArn": TAGGED_ARN} | TAGGED
    in_team = allow(Condition={"StringEquals": {"aws:RequestTag/team": "blue"}})
    check(caller(in_team), operation, members)
    denied(caller(in_team), operation, members | {"Tags": [{"Key": "team", "Value": "red"}]})
    denied(caller(in_team), operation, members | {"Tags": []})
    limited = allow(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})
    denied(caller(limited), operation, members)
    check(caller(limited), operation, members | {"Tags": members["Tags"][:1]})


def test_a_tag_that_a_request_names_twice_cannot_slip_past():
    twice = [{"Key": "team", "Value": "blue"}, {"Key": "team", "Value": "red"}]
    in_team = allow(Condition={"StringEquals": {"aws:RequestTag/team": "blue"}})
    denied(caller(in_team), "TagResource", {"ResourceArn": TAGGED_ARN, "Tags": twice})


def test_a_policy_can_ask_for_the_tags_that_go():
    keeps = allow(Condition={"ForAnyValue:StringEquals": {"aws:TagKeys": "team"}}, Effect="Deny")
    who = caller(allow(), keeps)
    denied(who, "UntagResource", {"ResourceArn": TAGGED_ARN, "TagKeys": ["n", "team"]})
    check(who, "UntagResource", {"ResourceArn": TAGGED_ARN, "TagKeys": ["n"]})
    check(who, "UntagResource", {"ResourceArn": TAGGED_ARN, "TagKeys": []})


@pytest.mark.parametrize(
    ("operation", "arn"), [("EvaluateSession", ARN), ("TagResource", TAGGED_ARN)]
)
def test_a_policy_can_ask_for_the_tags_of_the_domain(operation, arn):
    who = caller(allow(Condition={"StringEquals": {"aws:ResourceTag/team": "blue"}}))
    members = members_of(operation) | {"Tags": []}
    check(who, operation, members, tags=Tags({arn: {"team": "blue"}}))
    denied(who, operation, members, tags=Tags({arn: {"team": "red"}}))
    denied(who, operation, members, tags=Tags({arn: {}}))
    denied(who, operation, members, tags=Tags({}))


def test_tags_are_read_only_for_a_policy_that_asks_and_a_resource_that_is_one():
    tags = Tags()
    check(caller(allow(Condition={"Null": {"aws:RequestTag/x": "true"}})), "EndSession", tags=tags)
    asking = caller(allow(Condition={"Null": {"aws:ResourceTag/x": "true"}}))
    check(asking, "ListDomains", tags=tags)
    assert tags.asked == []
    check(asking, "EndSession", tags=tags)
    assert tags.asked == [ARN]


@pytest.mark.parametrize(
    ("condition", "transport", "passes"),
    [
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"source_ip": "10.9.9.9"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"source_ip": "192.0.2.1"}, False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, {"source_ip": None}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"is_secure": True}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, {}, False),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-2"}}, {}, True),
        ({"StringEquals": {"aws:username": "ann"}}, {}, True),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, {}, True),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/a*"}}, {}, True),
        ({"DateLessThan": {"aws:CurrentTime": "1970-02-11T16:20:34Z"}}, {}, False),
        ({"DateLessThan": {"aws:CurrentTime": "1970-02-11T16:20:35Z"}}, {}, True),
        ({"NumericEquals": {"aws:EpochTime": 3_601_234}}, {}, True),
    ],
)
def test_a_policy_can_ask_how_and_when_a_request_came(condition, transport, passes):
    who = caller(allow(Condition=condition))
    if passes:
        check(who, "DescribeDomain", **transport)
    else:
        denied(who, "DescribeDomain", **transport)
