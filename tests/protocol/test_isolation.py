"""Walls: between domains, between keys, between regions. Nothing is seen or changed across them."""

import dataclasses
import json

import pytest

from tests.protocol.clients import (
    KEY,
    REGION,
    Caller,
    arn_of,
    code_of,
    furnish,
    make_keys,
    policy,
    refusal_of,
    requests_in,
)
from tests.server import wait_for

OTHER_REGION = "eu-west-1"
SECRETS = {"a": "anna-of-a", "b": "ben-of-b"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tenant:
    """One of those who share a server: a domain, and a key for it alone."""

    place: object
    caller: Caller
    key: object


@pytest.fixture(scope="module")
def events_file(tmp_path_factory):
    return tmp_path_factory.mktemp("events") / "events.jsonl"


@pytest.fixture(scope="module")
def server(launch, events_file):
    return launch(events_file=events_file)


@pytest.fixture(scope="module")
def owner(server, connect):
    return connect(server)


@pytest.fixture(scope="module")
def tenants(server, owner):
    places = [furnish(server, owner, customer_id) for customer_id in SECRETS.values()]
    keys = make_keys(
        server, *(policy("voiceid:*", resource=arn_of(place.domain_id)) for place in places)
    )
    return [
        Tenant(place=place, key=key, caller=Caller(server, key))
        for place, key in zip(places, keys, strict=True)
    ]


def picture(caller, place):
    """Everything that can be seen of a place."""
    requests = requests_in(place)
    reading = [
        name for name in requests if name.startswith(("Describe", "List")) and name != "ListDomains"
    ]
    answers = {name: caller.send(name, requests[name]) for name in reading}
    assert {answer.code for answer in answers.values()} == {"OK"}
    return {name: answer.document for name, answer in answers.items()}


def mixtures(here, there):
    """Requests to a place that name what is in another one, by operation.

    One for each id that is not the domain's own: the rest of it is right.
    """
    foreign = requests_in(there)
    for operation, members in requests_in(here).items():
        for name, value in foreign[operation].items():
            if name in ("DomainId", "ResourceArn", "SessionName") or value == members[name]:
                continue
            # A customer's id means somebody else in each domain; the generated one is unique.
            is_customer_id = value == there.customer_id
            yield operation, {**members, name: there.speaker_id if is_customer_id else value}
    session = {"DomainId": here.domain_id, "SessionNameOrId": here.session_id}
    other_list = {"FraudDetectionConfiguration": {"WatchlistId": there.watchlist_id}}
    yield "UpdateSession", {**session, **other_list}
    yield "UpdateSession", {**session, "SpeakerId": there.speaker_id}
    yield "EvaluateSession", {**session, "SessionNameOrId": there.session_name}
    yield "StartSession", {"DomainId": here.domain_id, **other_list}
    yield "StartSession", {"DomainId": here.domain_id, "SpeakerId": there.speaker_id}
    job = requests_in(here)["StartSpeakerEnrollmentJob"]
    lists = {"WatchlistIds": [there.watchlist_id]}
    yield (
        "StartSpeakerEnrollmentJob",
        {**job, "EnrollmentConfig": {"FraudDetectionConfig": lists}},
    )
    yield "StartFraudsterRegistrationJob", {**job, "RegistrationConfig": lists}


def test_what_is_in_one_domain_does_not_exist_in_another(tenants, server):
    for here, there in (tenants, tenants[::-1]):
        before = picture(there.caller, there.place), picture(here.caller, here.place)
        tried = set()
        for operation, members in mixtures(here.place, there.place):
            # Even the server's owner, who may do everything, finds nothing there.
            for caller in (here.caller, Caller(server)):
                answer = caller.send(operation, members)
                assert answer.code == "ResourceNotFoundException", (operation, members)
                assert answer.document["ResourceType"] != "DOMAIN", (operation, members)
            tried.add(operation)
        assert (picture(there.caller, there.place), picture(here.caller, here.place)) == before
        without_child = {
            *("CreateDomain", "CreateWatchlist", "DeleteDomain", "DescribeDomain", "ListDomains"),
            *("ListFraudsterRegistrationJobs", "ListSessions", "ListSpeakerEnrollmentJobs"),
            *("ListSpeakers", "ListTagsForResource", "ListWatchlists", "TagResource"),
            *("UntagResource", "UpdateDomain"),
        }
        assert tried == requests_in(here.place).keys() - without_child


def test_a_key_of_one_domain_does_nothing_in_another(tenants):
    for here, there in (tenants, tenants[::-1]):
        before = picture(there.caller, there.place)
        for operation, members in requests_in(there.place).items():
            answer = here.caller.send(operation, members)
            assert answer.code == "AccessDeniedException", operation
            assert SECRETS["a"] not in json.dumps(answer.document)
            assert SECRETS["b"] not in json.dumps(answer.document)
        assert picture(there.caller, there.place) == before


def test_the_list_of_domains_is_not_for_a_key_of_one(tenants, server, connect):
    client = connect(server, tenants[0].key)
    refused = refusal_of(client.list_domains)
    assert refused["Error"]["Code"] == "AccessDeniedException"
    assert tenants[1].place.domain_id not in json.dumps(refused)


def test_another_region_sees_nothing(tenants, server, connect):
    place = tenants[0].place
    before = picture(tenants[0].caller, place)
    elsewhere = Caller(server, region=OTHER_REGION)
    for operation, members in requests_in(place).items():
        if operation in ("CreateDomain", "ListDomains"):
            continue
        arn = {"ResourceArn": place.arn.replace(REGION, OTHER_REGION)}
        answer = elsewhere.send(operation, members | (arn if "ResourceArn" in members else {}))
        assert answer.code == "ResourceNotFoundException", operation
        assert answer.document["ResourceType"] == "DOMAIN", operation
    client = connect(server, region=OTHER_REGION)
    assert client.list_domains()["DomainSummaries"] == []
    made = client.create_domain(Name="here", ServerSideEncryptionConfiguration=KEY)["Domain"]
    assert made["Arn"] == arn_of(made["DomainId"], OTHER_REGION)
    assert [one["DomainId"] for one in client.list_domains()["DomainSummaries"]] == [
        made["DomainId"]
    ]
    assert made["DomainId"] not in json.dumps(connect(server).list_domains(), default=str)
    client.delete_domain(DomainId=made["DomainId"])
    # A key that is confined to the domain is so in its own region only.
    bound = Caller(server, tenants[0].key, region=OTHER_REGION)
    assert bound.code_of("DescribeDomain", {"DomainId": place.domain_id}) == "AccessDeniedException"
    assert picture(tenants[0].caller, place) == before


def test_the_arn_of_another_region_does_not_exist_in_this_one(tenants, server):
    # An ARN says itself where its domain is, and still the one who asks has to be there.
    arn = {"ResourceArn": tenants[0].place.arn}
    tags = [{"Key": "team", "Value": "blue"}]
    before = Caller(server).send("ListTagsForResource", arn).document
    for caller, code in (
        (Caller(server, region=OTHER_REGION), "ResourceNotFoundException"),
        (Caller(server, tenants[1].key, region=OTHER_REGION), "AccessDeniedException"),
    ):
        assert caller.code_of("ListTagsForResource", arn) == code
        assert caller.code_of("TagResource", {**arn, "Tags": tags}) == code
        assert caller.code_of("UntagResource", {**arn, "TagKeys": ["team"]}) == code
    assert Caller(server).send("ListTagsForResource", arn).document == before


@pytest.mark.parametrize("where", ["domain", "region"])
def test_a_client_token_of_one_place_means_nothing_in_another(tenants, server, connect, where):
    token = {"ClientToken": f"same-in-every-{where}"}
    if where == "region":
        wanted = {"Name": "n", "ServerSideEncryptionConfiguration": KEY, **token}
        made = [
            connect(server, region=region).create_domain(**wanted)["Domain"]["DomainId"]
            for region in (REGION, OTHER_REGION)
        ]
        assert made[0] != made[1]
        for domain_id, region in zip(made, (REGION, OTHER_REGION), strict=True):
            connect(server, region=region).delete_domain(DomainId=domain_id)
        return
    for operation, identify in (
        ("CreateWatchlist", lambda answer: answer["Watchlist"]["WatchlistId"]),
        ("StartSession", lambda answer: answer["Session"]["SessionId"]),
        ("StartSpeakerEnrollmentJob", lambda answer: answer["Job"]["JobId"]),
        ("StartFraudsterRegistrationJob", lambda answer: answer["Job"]["JobId"]),
    ):
        answers = [
            tenant.caller.send(
                operation,
                {**requests_in(tenant.place)[operation], **token}
                if operation != "StartSession"
                else {"DomainId": tenant.place.domain_id, **token},
            )
            for tenant in tenants
        ]
        assert [answer.code for answer in answers] == ["OK", "OK"], operation
        first, second = (identify(answer.document) for answer in answers)
        assert first != second


def test_customer_ids_and_session_names_belong_to_their_domain(tenants):
    for operation, members in (
        ("OptOutSpeaker", {"SpeakerId": "the-same-person"}),
        ("StartSession", {"SessionName": "the-same-name"}),
    ):
        answers = [
            tenant.caller.send(operation, {"DomainId": tenant.place.domain_id, **members})
            for tenant in tenants
        ]
        assert [answer.code for answer in answers] == ["OK", "OK"]
        first, second = (answer.document for answer in answers)
        if operation == "OptOutSpeaker":
            first, second = first["Speaker"], second["Speaker"]
            assert first["GeneratedSpeakerId"] != second["GeneratedSpeakerId"]
            tenants[0].caller.send(
                "DeleteSpeaker", {"DomainId": tenants[0].place.domain_id, **members}
            )
            still = {"DomainId": tenants[1].place.domain_id, **members}
            assert tenants[1].caller.send("DescribeSpeaker", still).document["Speaker"] == second
        else:
            assert first["Session"]["SessionId"] != second["Session"]["SessionId"]
            ending = {"DomainId": tenants[0].place.domain_id, "SessionNameOrId": "the-same-name"}
            tenants[0].caller.send("EndSession", ending)
            still = {"DomainId": tenants[1].place.domain_id, "SessionNameOrId": "the-same-name"}
            shown = tenants[1].caller.send("DescribeSession", still).document["Session"]
            assert shown["StreamingStatus"] == "PENDING_CONFIGURATION"


def test_a_page_token_turns_the_pages_of_its_own_domain_only(tenants, server):
    token_of = {}
    for tenant in tenants:
        domain = {"DomainId": tenant.place.domain_id}
        for name in ("one", "two"):
            tenant.caller.send("OptOutSpeaker", {**domain, "SpeakerId": f"paged-{name}"})
        page = tenant.caller.send("ListSpeakers", {**domain, "MaxResults": 1})
        token_of[tenant.place.domain_id] = page.document["NextToken"]
    (first, second) = (tenant.place.domain_id for tenant in tenants)
    owner = Caller(server)
    for domain_id, foreign in ((first, second), (second, first)):
        members = {"DomainId": domain_id, "MaxResults": 1, "NextToken": token_of[foreign]}
        assert owner.code_of("ListSpeakers", members) == "ValidationException"
        own = {**members, "NextToken": token_of[domain_id]}
        assert owner.code_of("ListSpeakers", own) == "OK"
        # Nor those of another list of the same domain.
        for other in ("ListSessions", "ListFraudsters", "ListWatchlists"):
            assert owner.code_of(other, own) == "ValidationException"


def test_every_event_names_its_own_domain_only(tenants, events_file):
    domains = [tenant.place.domain_id for tenant in tenants]
    for tenant in tenants:
        tenant.caller.send("EvaluateSession", requests_in(tenant.place)["EvaluateSession"])

    def events():
        return [json.loads(line) for line in events_file.read_text("utf-8").splitlines()]

    wait_for(lambda: set(domains) <= {event["detail"]["domainId"] for event in events()})
    for event in events():
        domain_id = event["detail"]["domainId"]
        assert event["resources"] == [arn_of(domain_id, event["region"])]
        foreign = [other for other in domains if other != domain_id]
        if domain_id in domains:
            assert not any(other in json.dumps(event) for other in foreign)


def test_one_key_cannot_take_the_name_of_another(tenants, server, connect):
    stolen = dataclasses.replace(tenants[1].key, secret=tenants[0].key.secret)
    client = connect(server, stolen)
    domain_id = tenants[1].place.domain_id
    assert code_of(client.describe_domain, DomainId=domain_id) == "InvalidSignatureException"
