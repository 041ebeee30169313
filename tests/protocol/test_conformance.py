"""What a client that worked with Amazon's service may rely on, through unmodified boto3."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ParamValidationError

from tests.protocol.clients import (
    ACCOUNT_ID,
    ANNA,
    CARLO,
    JOB_PLACES,
    KEY,
    NOBODY,
    NOTHING,
    ROLE,
    Caller,
    add_fraudster,
    add_session,
    add_speaker,
    code_of,
    end_of_job,
    furnish,
    refusal_of,
    requests_in,
)
from tests.server import new_domain
from vivavoce.api.handlers import HANDLERS
from vivavoce.foundation import open_data

ARN = re.compile(r"arn:aws:voiceid:us-east-1:000000000000:domain/[a-zA-Z0-9]{22}")
MOST_TAGS = 50
OTHER_KEY = {"KmsKeyId": "alias/other"}


@pytest.fixture
def place(server, client):
    return furnish(server, client)


@pytest.fixture
def beside(server):
    """Writes to the data folder of the running server."""

    def write(work):
        with open_data(server.data_dir) as store:
            return store.write_now(work)

    return write


def not_found(operation, **members):
    answer = refusal_of(operation, **members)
    assert answer["Error"]["Code"] == "ResourceNotFoundException"
    return answer["ResourceType"]


def conflict(operation, **members):
    answer = refusal_of(operation, **members)
    assert answer["Error"]["Code"] == "ConflictException"
    return answer["ConflictType"]


def is_recent(instant):
    return instant.tzinfo is not None and abs(datetime.now(UTC) - instant) < timedelta(minutes=2)


def test_every_operation_there_is_succeeds_where_there_is_one_of_everything(server, place):
    requests = requests_in(place)
    assert requests.keys() == HANDLERS.keys()
    caller = Caller(server)
    for operation, members in requests.items():
        answer = caller.send(operation, members)
        assert answer.code == "OK", (operation, answer.document)
        assert answer.headers["content-type"] == "application/x-amz-json-1.0"


# --- domains


def test_a_new_domain_is_active_and_complete(server, client):
    domain = client.create_domain(
        Name="contact-centre", Description="Zürich", ServerSideEncryptionConfiguration=KEY
    )["Domain"]
    assert domain["DomainStatus"] == "ACTIVE"
    assert re.fullmatch("[a-zA-Z0-9]{22}", domain["DomainId"])
    assert ARN.fullmatch(domain["Arn"])
    assert domain["Arn"].endswith(f":domain/{domain['DomainId']}")
    assert domain["ServerSideEncryptionConfiguration"]["KmsKeyId"].startswith(
        f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/"
    )
    assert re.fullmatch("[a-zA-Z0-9]{22}", domain["WatchlistDetails"]["DefaultWatchlistId"])
    assert is_recent(domain["CreatedAt"])
    assert domain["UpdatedAt"] == domain["CreatedAt"]
    assert "ServerSideEncryptionUpdateDetails" not in domain
    described = client.describe_domain(DomainId=domain["DomainId"])["Domain"]
    assert described == domain
    pages = client.get_paginator("list_domains").paginate()
    listed = [one for page in pages for one in page["DomainSummaries"]]
    assert domain in listed


def test_instants_are_numbers_with_milliseconds_on_the_wire(server, place):
    document = Caller(server).send("DescribeDomain", {"DomainId": place.domain_id}).document
    created = document["Domain"]["CreatedAt"]
    assert isinstance(created, int | float)
    assert created == round(created, 3)


def test_the_same_client_token_makes_one_domain(server, client):
    wanted = {"Name": "once", "ServerSideEncryptionConfiguration": KEY, "ClientToken": "t-domain-1"}
    first, second = (client.create_domain(**wanted)["Domain"] for _ in range(2))
    assert first == second
    other = {**wanted, "Name": "twice"}
    assert code_of(client.create_domain, **other) == "ValidationException"


def test_an_update_without_a_description_removes_it(server, client):
    domain_id = client.create_domain(
        Name="before", Description="gone soon", ServerSideEncryptionConfiguration=KEY
    )["Domain"]["DomainId"]
    updated = client.update_domain(
        DomainId=domain_id, Name="after", ServerSideEncryptionConfiguration=KEY
    )["Domain"]
    assert updated["Name"] == "after"
    assert "Description" not in updated
    assert "ServerSideEncryptionUpdateDetails" not in updated
    assert client.describe_domain(DomainId=domain_id)["Domain"] == updated


def test_a_deleted_domain_is_gone_at_once_and_can_be_deleted_again(server, client, place):
    domain = {"DomainId": place.domain_id}
    assert client.delete_domain(**domain).keys() == {"ResponseMetadata"}
    client.delete_domain(**domain)
    caller = Caller(server)
    needs_no_domain = {"CreateDomain", "ListDomains", "DeleteDomain"}
    for operation, members in requests_in(place).items():
        if operation not in needs_no_domain:
            answer = caller.send(operation, members)
            assert answer.code == "ResourceNotFoundException", operation
            assert answer.document["ResourceType"] == "DOMAIN", operation
    listed = client.get_paginator("list_domains").paginate().build_full_result()
    assert place.domain_id not in {one["DomainId"] for one in listed["DomainSummaries"]}


def test_a_domain_that_never_was_cannot_be_deleted(server, client):
    assert not_found(client.delete_domain, DomainId=NOTHING) == "DOMAIN"


@pytest.mark.parametrize("size", [1, 10, 11, 100])
def test_pages_of_domains_hold_up_to_a_hundred(server, client, domain_id, size):
    assert 1 <= len(client.list_domains(MaxResults=size)["DomainSummaries"]) <= size


def test_more_than_a_hundred_domains_a_page_are_refused(server, client):
    assert code_of(client.list_domains, MaxResults=101) == "ValidationException"


def test_a_page_of_domains_holds_ten_unless_told_otherwise(server, client):
    for number in range(11):
        new_domain(client, f"one-of-many-{number}")
    assert len(client.list_domains()["DomainSummaries"]) == 10


# --- tags


def tags_of(client, arn):
    return {
        tag["Key"]: tag["Value"] for tag in client.list_tags_for_resource(ResourceArn=arn)["Tags"]
    }


def as_tags(**tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def test_tags_round_trip(server, client):
    arn = client.create_domain(
        Name="tagged",
        ServerSideEncryptionConfiguration=KEY,
        Tags=as_tags(team="blue", empty=""),
    )["Domain"]["Arn"]
    assert tags_of(client, arn) == {"team": "blue", "empty": ""}
    client.tag_resource(ResourceArn=arn, Tags=as_tags(team="red", Team="other"))
    assert tags_of(client, arn) == {"team": "red", "empty": "", "Team": "other"}
    client.untag_resource(ResourceArn=arn, TagKeys=["empty", "never-set"])
    assert tags_of(client, arn) == {"team": "red", "Team": "other"}


def test_a_resource_has_fifty_tags_at_most(server, client, place):
    fifty = [{"Key": f"key-{number}", "Value": ""} for number in range(MOST_TAGS)]
    arn = place.arn
    client.tag_resource(ResourceArn=arn, Tags=fifty)
    assert len(tags_of(client, arn)) == MOST_TAGS
    client.tag_resource(ResourceArn=arn, Tags=fifty)  # none more
    one_more = as_tags(last="straw")
    assert code_of(client.tag_resource, ResourceArn=arn, Tags=one_more) == "ValidationException"
    assert len(tags_of(client, arn)) == MOST_TAGS
    many = [{"Key": f"key-{number}", "Value": ""} for number in range(MOST_TAGS + 1)]
    wanted = {"Name": "n", "ServerSideEncryptionConfiguration": KEY, "Tags": many}
    assert code_of(client.create_domain, **wanted) == "ValidationException"


@pytest.mark.parametrize(
    "tags",
    [
        as_tags(**{"aws:team": "blue"}),
        as_tags(**{"AWS:team": "blue"}),
        [*as_tags(team="blue"), *as_tags(team="red")],
        as_tags(**{"k" * 129: ""}),
        as_tags(key="v" * 257),
        as_tags(**{"no;semicolon": ""}),
        as_tags(**{f"key-{number}": "" for number in range(201)}),
    ],
    ids=["reserved", "RESERVED", "twice", "long-key", "long-value", "letters", "201"],
)
def test_tags_that_break_the_rules_are_refused(server, client, place, tags):
    refused = code_of(client.tag_resource, ResourceArn=place.arn, Tags=tags)
    assert refused == "ValidationException"
    assert tags_of(client, place.arn) == {}


def test_tags_belong_to_the_whole_arn(server, client, place):
    for arn in (
        place.arn.replace("us-east-1", "eu-west-1"),
        place.arn.replace(ACCOUNT_ID, "999999999999"),
        f"{place.arn[:-22]}{NOTHING}",
    ):
        assert not_found(client.list_tags_for_resource, ResourceArn=arn) == "DOMAIN"
        assert not_found(client.untag_resource, ResourceArn=arn, TagKeys=["a"]) == "DOMAIN"
        tags = as_tags(a="b")
        assert not_found(client.tag_resource, ResourceArn=arn, Tags=tags) == "DOMAIN"


# --- watchlists and fraudsters


def test_a_new_domain_has_its_default_watchlist(server, client, domain_id):
    (watchlist,) = client.list_watchlists(DomainId=domain_id)["WatchlistSummaries"]
    domain = client.describe_domain(DomainId=domain_id)["Domain"]
    assert watchlist["DefaultWatchlist"] is True
    assert watchlist["WatchlistId"] == domain["WatchlistDetails"]["DefaultWatchlistId"]
    assert re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_-]{0,255}", watchlist["Name"])
    assert watchlist["DomainId"] == domain_id
    assert is_recent(watchlist["CreatedAt"])


def test_a_watchlist_is_made_once_a_token_changed_and_deleted(server, client, domain_id):
    wanted = {"DomainId": domain_id, "Name": "vip", "Description": "d", "ClientToken": "t-list-1"}
    made, again = (client.create_watchlist(**wanted)["Watchlist"] for _ in range(2))
    assert made == again
    assert made["DefaultWatchlist"] is False
    other = {**wanted, "Name": "other"}
    assert code_of(client.create_watchlist, **other) == "ValidationException"
    named = {"DomainId": domain_id, "WatchlistId": made["WatchlistId"]}
    renamed = client.update_watchlist(**named, Name="renamed")["Watchlist"]
    assert (renamed["Name"], renamed["Description"]) == ("renamed", "d")
    described = client.update_watchlist(**named, Description="e")["Watchlist"]
    assert (described["Name"], described["Description"]) == ("renamed", "e")
    assert client.describe_watchlist(**named)["Watchlist"] == described
    assert client.delete_watchlist(**named).keys() == {"ResponseMetadata"}
    assert not_found(client.describe_watchlist, **named) == "WATCHLIST"
    assert not_found(client.delete_watchlist, **named) == "WATCHLIST"


def test_the_default_watchlist_stays_as_it_is(server, client, place):
    named = {"DomainId": place.domain_id, "WatchlistId": place.default_watchlist_id}
    before = client.describe_watchlist(**named)["Watchlist"]
    assert code_of(client.delete_watchlist, **named) == "ValidationException"
    assert code_of(client.update_watchlist, **named, Name="mine") == "ValidationException"
    assert client.describe_watchlist(**named)["Watchlist"] == before


def test_a_fraudster_is_put_on_watchlists_and_taken_off_all_but_the_last(server, client, place):
    fraudster = {"DomainId": place.domain_id, "FraudsterId": place.fraudster_id}
    custom = {**fraudster, "WatchlistId": place.watchlist_id}
    default = {**fraudster, "WatchlistId": place.default_watchlist_id}
    both = {place.watchlist_id, place.default_watchlist_id}

    def listed(watchlist_id):
        page = client.list_fraudsters(DomainId=place.domain_id, WatchlistId=watchlist_id)
        return [one["GeneratedFraudsterId"] for one in page["FraudsterSummaries"]]

    assert client.describe_fraudster(**fraudster)["Fraudster"]["WatchlistIds"] == [
        place.default_watchlist_id
    ]
    assert listed(place.watchlist_id) == []
    for _ in range(2):  # the second time changes nothing
        answer = client.associate_fraudster(**custom)["Fraudster"]
        assert set(answer["WatchlistIds"]) == both
        assert len(answer["WatchlistIds"]) == 2
    assert listed(place.watchlist_id) == [place.fraudster_id]
    nonempty = {"DomainId": place.domain_id, "WatchlistId": place.watchlist_id}
    assert conflict(client.delete_watchlist, **nonempty) == "CANNOT_DELETE_NON_EMPTY_WATCHLIST"
    answer = client.disassociate_fraudster(**default)["Fraudster"]
    assert answer["WatchlistIds"] == [place.watchlist_id]
    last = "FRAUDSTER_MUST_BELONG_TO_AT_LEAST_ONE_WATCHLIST"
    assert conflict(client.disassociate_fraudster, **custom) == last
    assert client.disassociate_fraudster(**default)["Fraudster"] == answer  # is off it already
    assert client.delete_fraudster(**fraudster).keys() == {"ResponseMetadata"}
    assert not_found(client.describe_fraudster, **fraudster) == "FRAUDSTER"
    assert not_found(client.delete_fraudster, **fraudster) == "FRAUDSTER"
    client.delete_watchlist(**nonempty)


def test_fraudsters_of_the_domain_are_listed_with_their_watchlists(server, client, place, beside):
    second = beside(
        lambda tx: add_fraudster(
            tx, place.domain_id, place.default_watchlist_id, place.watchlist_id
        )
    )
    page = client.list_fraudsters(DomainId=place.domain_id)["FraudsterSummaries"]
    assert {one["GeneratedFraudsterId"]: len(one["WatchlistIds"]) for one in page} == {
        place.fraudster_id: 1,
        second: 2,
    }
    assert all(is_recent(one["CreatedAt"]) for one in page)
    assert all(one["DomainId"] == place.domain_id for one in page)


# --- speakers


def test_an_unknown_speaker_is_a_typed_exception(server, client, domain_id):
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.describe_speaker(DomainId=domain_id, SpeakerId="nobody")
    answer = caught.value.response
    assert answer["ResourceType"] == "SPEAKER"
    assert answer["Message"] == answer["Error"]["Message"] == "The requested speaker does not exist"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["ResponseMetadata"]["RequestId"]


def test_an_unknown_customer_opts_out_and_is_known_from_then_on(server, client, domain_id):
    first = client.opt_out_speaker(DomainId=domain_id, SpeakerId="caller-1")["Speaker"]
    assert first["Status"] == "OPTED_OUT"
    assert first["CustomerSpeakerId"] == "caller-1"
    assert re.fullmatch("id#[a-zA-Z0-9]{22}", first["GeneratedSpeakerId"])
    assert "LastAccessedAt" not in first
    for speaker_id in (first["GeneratedSpeakerId"], "caller-1"):
        named = {"DomainId": domain_id, "SpeakerId": speaker_id}
        assert client.opt_out_speaker(**named)["Speaker"] == first
        assert client.describe_speaker(**named)["Speaker"] == first


def test_an_unknown_generated_id_cannot_opt_out(server, client, domain_id):
    assert not_found(client.opt_out_speaker, DomainId=domain_id, SpeakerId=NOBODY) == "SPEAKER"


@pytest.mark.parametrize("status", ["PENDING", "ENROLLED", "EXPIRED"])
def test_opting_out_overrides_every_state_and_only_deletion_ends_it(
    server, client, domain_id, beside, status
):
    speaker_id = beside(lambda tx: add_speaker(tx, domain_id, "caller", status=status))
    named = {"DomainId": domain_id, "SpeakerId": speaker_id}
    assert client.describe_speaker(**named)["Speaker"]["Status"] == status
    assert client.opt_out_speaker(**named)["Speaker"]["Status"] == "OPTED_OUT"
    (listed,) = client.list_speakers(DomainId=domain_id)["SpeakerSummaries"]
    assert listed == client.describe_speaker(**named)["Speaker"]
    assert client.delete_speaker(**named).keys() == {"ResponseMetadata"}
    for either in (speaker_id, "caller"):
        gone = {"DomainId": domain_id, "SpeakerId": either}
        assert not_found(client.describe_speaker, **gone) == "SPEAKER"
        assert not_found(client.delete_speaker, **gone) == "SPEAKER"
    again = client.start_session(DomainId=domain_id, SpeakerId="caller")["Session"]
    assert again["GeneratedSpeakerId"] != speaker_id
    status = client.describe_speaker(DomainId=domain_id, SpeakerId="caller")["Speaker"]["Status"]
    assert status == "PENDING"


def test_speakers_are_listed_a_page_at_a_time(server, client, domain_id):
    for number in range(3):
        client.opt_out_speaker(DomainId=domain_id, SpeakerId=f"caller-{number}")
    pages = list(
        client.get_paginator("list_speakers").paginate(
            DomainId=domain_id, PaginationConfig={"PageSize": 1}
        )
    )
    assert [page["SpeakerSummaries"][0]["CustomerSpeakerId"] for page in pages] == [
        "caller-0",
        "caller-1",
        "caller-2",
    ]
    assert "NextToken" not in pages[-1]


# --- sessions


def test_an_unknown_session_is_a_typed_exception(server, client, domain_id):
    for unknown in ("call-1", NOBODY):
        named = {"DomainId": domain_id, "SessionNameOrId": unknown}
        assert not_found(client.evaluate_session, **named) == "SESSION"


def test_speakers_who_cannot_be_judged_get_no_score(server, client, place, beside):
    domain_id, watchlist_id = place.domain_id, place.default_watchlist_id

    def decided(name, speaker_id=None, customer_id=None):
        beside(
            lambda tx: add_session(
                tx,
                domain_id,
                name,
                watchlist_id=watchlist_id,
                speaker_id=speaker_id,
                customer_id=customer_id,
            )
        )
        named = {"DomainId": domain_id, "SessionNameOrId": name}
        result = client.evaluate_session(**named)["AuthenticationResult"]
        assert "Score" not in result
        assert re.fullmatch("[a-zA-Z0-9]{22}", result["AuthenticationResultId"])
        return result["Decision"]

    def made(status):
        return beside(lambda tx: add_speaker(tx, domain_id, status.lower(), status=status))

    assert decided("nobody") == "SPEAKER_ID_NOT_PROVIDED"
    assert decided("pending", made("PENDING"), "pending") == "SPEAKER_NOT_ENROLLED"
    assert decided("out", made("OPTED_OUT"), "opted_out") == "SPEAKER_OPTED_OUT"
    assert decided("expired", made("EXPIRED"), "expired") == "SPEAKER_EXPIRED"


def test_a_decision_is_given_out_again_until_its_basis_changes(server, client, place):
    named = {"DomainId": place.domain_id, "SessionNameOrId": place.session_id}
    first = client.evaluate_session(**named)
    assert (first["SessionId"], first["SessionName"]) == (place.session_id, place.session_name)
    assert first["StreamingStatus"] == "ENDED"
    result = first["AuthenticationResult"]
    assert result["Decision"] == "ACCEPT"
    assert result["Score"] >= 90
    assert result["CustomerSpeakerId"] == place.customer_id
    assert result["GeneratedSpeakerId"] == place.speaker_id
    assert result["Configuration"] == {"AcceptanceThreshold": 90}
    assert result["AudioAggregationStartedAt"] < result["AudioAggregationEndedAt"]
    fraud = first["FraudDetectionResult"]
    assert fraud["Decision"] == "LOW_RISK"
    assert "Reasons" not in fraud
    again = client.evaluate_session(**{**named, "SessionNameOrId": place.session_name})
    assert again["AuthenticationResult"] == result
    assert again["FraudDetectionResult"] == fraud
    client.update_session(**named, AuthenticationConfiguration={"AcceptanceThreshold": 91})
    changed = client.evaluate_session(**named)
    assert (
        changed["AuthenticationResult"]["AuthenticationResultId"]
        != result["AuthenticationResultId"]
    )
    assert changed["FraudDetectionResult"] == fraud


def test_too_little_speech_and_strange_voices_are_told_apart(server, client, place, beside):
    def outcome(name, **wanted):
        beside(
            lambda tx: add_session(
                tx,
                place.domain_id,
                name,
                watchlist_id=place.default_watchlist_id,
                speaker_id=place.speaker_id,
                customer_id=place.customer_id,
                **wanted,
            )
        )
        answer = client.evaluate_session(DomainId=place.domain_id, SessionNameOrId=name)
        return answer["AuthenticationResult"], answer["FraudDetectionResult"]

    authentication, fraud = outcome("short", heard_s=4)
    assert authentication["Decision"] == fraud["Decision"] == "NOT_ENOUGH_SPEECH"
    assert not {"Score", "AudioAggregationStartedAt"} & authentication.keys()
    assert not {"RiskDetails", "Reasons"} & fraud.keys()
    early = fraud["EarlyVoiceSpoofingRisk"]
    assert early["RiskScore"] < 50
    assert early["LogLikelihoodRatio"] < 0
    authentication, fraud = outcome("fraud", person=CARLO)
    assert "EarlyVoiceSpoofingRisk" not in fraud
    assert authentication["Decision"] == "REJECT"
    assert authentication["Score"] < 90
    assert fraud["Decision"] == "HIGH_RISK"
    assert fraud["Reasons"] == ["KNOWN_FRAUDSTER"]
    risk = fraud["RiskDetails"]["KnownFraudsterRisk"]
    assert risk["GeneratedFraudsterId"] == place.fraudster_id
    assert risk["RiskScore"] >= 50
    spoofing = fraud["RiskDetails"]["VoiceSpoofingRisk"]
    assert spoofing["RiskScore"] < 50
    assert spoofing["LogLikelihoodRatio"] < 0
    for verdict in ("SyntheticSpeech", "Playback"):
        assert spoofing[verdict]["RiskScore"] < 50
        assert spoofing[verdict]["LogLikelihoodRatio"] < 0
    assert (spoofing["Certainty"], spoofing["ReferenceUsed"]) == (1.0, False)
    assert spoofing["Windows"] == [
        {
            "StartSeconds": 0.0,
            "EndSeconds": 4.0,
            "SyntheticSpeech": -20.0,
            "Playback": -20.0,
            "Distance": 0.0,
        }
    ]
    authentication, _ = outcome("right", person=ANNA)
    assert authentication["Decision"] == "ACCEPT"


def test_what_is_switched_off_has_no_result(server, client, domain_id, beside):
    def evaluated(name, **switches):
        client.start_session(DomainId=domain_id, SessionName=name, **switches)
        client.end_session(DomainId=domain_id, SessionNameOrId=name)
        return client.evaluate_session(DomainId=domain_id, SessionNameOrId=name)

    both = {"AuthenticationResult", "FraudDetectionResult"}
    assert evaluated("neither").keys() >= both
    shown = evaluated("fraud-only", AuthenticationEnabled=False).keys() & both
    assert shown == {"FraudDetectionResult"}
    shown = evaluated("authentication-only", FraudDetectionEnabled=False).keys() & both
    assert shown == {"AuthenticationResult"}


def test_a_session_that_nobody_has_opened_has_no_results_yet(server, client, domain_id):
    client.start_session(DomainId=domain_id, SessionName="call-1")
    answer = client.evaluate_session(DomainId=domain_id, SessionNameOrId="call-1")
    assert answer["StreamingStatus"] == "PENDING_CONFIGURATION"
    assert not {"AuthenticationResult", "FraudDetectionResult"} & answer.keys()


def test_conflicts_of_sessions_have_their_types(server, client, place):
    named = {"DomainId": place.domain_id, "SessionNameOrId": "call-1"}
    started = {"DomainId": place.domain_id, "SessionName": "call-1"}
    client.start_session(**started)
    assert conflict(client.start_session, **started) == "ANOTHER_ACTIVE_STREAM"
    assert conflict(client.enroll_by_session, **named) == "SPEAKER_NOT_SET"
    client.opt_out_speaker(DomainId=place.domain_id, SpeakerId="left")
    client.update_session(**named, SpeakerId="left")
    assert conflict(client.enroll_by_session, **named) == "SPEAKER_OPTED_OUT"
    client.update_session(**named, SpeakerId="caller")
    client.enroll_by_session(**named)
    assert conflict(client.enroll_by_session, **named) == "ENROLLMENT_ALREADY_EXISTS"
    fixed = "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT"
    assert conflict(client.update_session, **named, SpeakerId="left") == fixed
    client.update_session(**named, SpeakerId="caller")  # the same one is no change


# --- batch jobs


@pytest.mark.parametrize(
    ("kind", "member", "given", "defaults"),
    [
        (
            "speaker_enrollment",
            "EnrollmentConfig",
            {
                "ExistingEnrollmentAction": "OVERWRITE",
                "FraudDetectionConfig": {"FraudDetectionAction": "IGNORE", "RiskThreshold": 70},
            },
            {
                "ExistingEnrollmentAction": "SKIP",
                "FraudDetectionConfig": {"FraudDetectionAction": "FAIL", "RiskThreshold": 50},
            },
        ),
        (
            "fraudster_registration",
            "RegistrationConfig",
            {
                "DuplicateRegistrationAction": "REGISTER_AS_NEW",
                "FraudsterSimilarityThreshold": 0,
            },
            {"DuplicateRegistrationAction": "SKIP", "FraudsterSimilarityThreshold": 90},
        ),
    ],
)
def test_a_job_is_taken_in_and_shown_as_it_was_asked_for(
    server, client, domain_id, kind, member, given, defaults
):
    start = getattr(client, f"start_{kind}_job")
    describe = getattr(client, f"describe_{kind}_job")  # of what is not there
    listing = getattr(client, f"list_{kind}_jobs")
    wanted = {
        "DomainId": domain_id,
        "DataAccessRoleArn": ROLE,
        "InputDataConfig": {"S3Uri": "s3://bucket-in/manifest.json"},
        "OutputDataConfig": {"S3Uri": "s3://bucket-out/folder", "KmsKeyId": "alias/out"},
        "ClientToken": f"t-{kind}",
    }
    first = start(**wanted, JobName="nightly", **{member: given})["Job"]
    assert re.fullmatch("[a-zA-Z0-9]{22}", first["JobId"])
    assert first["JobStatus"] == "SUBMITTED"
    assert first["JobProgress"] == {"PercentComplete": 0}
    assert is_recent(first["CreatedAt"])
    assert not {"EndedAt", "FailureDetails"} & first.keys()
    assert first["JobName"] == "nightly"
    assert first[member] == given
    assert {name: first[name] for name in wanted if name != "ClientToken"} == {
        name: value for name, value in wanted.items() if name != "ClientToken"
    }
    again = start(**wanted, JobName="nightly", **{member: given})["Job"]
    assert again["JobId"] == first["JobId"]
    assert code_of(start, **wanted, JobName="other") == "ValidationException"
    shown = end_of_job(client, domain_id, first["JobId"], kind=kind)
    ended_at, failure = shown.pop("EndedAt"), shown.pop("FailureDetails")
    assert is_recent(ended_at)
    assert failure == {
        "StatusCode": 400,
        "Message": "The manifest cannot be read: s3://bucket-in/manifest.json does not exist",
    }
    assert shown == {**first, "JobStatus": "FAILED"}
    second = start(DomainId=domain_id, DataAccessRoleArn=ROLE, **JOB_PLACES)["Job"]
    end_of_job(client, domain_id, second["JobId"], kind=kind)
    assert second[member] == defaults
    assert "JobName" not in second
    newest_first = [second["JobId"], first["JobId"]]
    summaries = listing(DomainId=domain_id)["JobSummaries"]
    assert [job["JobId"] for job in summaries] == newest_first
    hidden = {"DataAccessRoleArn", "InputDataConfig", "OutputDataConfig", member}
    assert all(not hidden & job.keys() for job in summaries)
    failed = listing(DomainId=domain_id, JobStatus="FAILED")["JobSummaries"]
    assert failed == summaries
    assert listing(DomainId=domain_id, JobStatus="COMPLETED")["JobSummaries"] == []
    assert not_found(describe, DomainId=domain_id, JobId=NOTHING) == "BATCH_JOB"


def test_a_job_of_one_kind_is_none_of_the_other(server, client, place):
    enrollment = {"DomainId": place.domain_id, "JobId": place.enrollment_job_id}
    registration = {"DomainId": place.domain_id, "JobId": place.registration_job_id}
    assert not_found(client.describe_fraudster_registration_job, **enrollment) == "BATCH_JOB"
    assert not_found(client.describe_speaker_enrollment_job, **registration) == "BATCH_JOB"


def test_a_job_may_name_a_watchlist_of_its_domain(server, client, place):
    job = {"DomainId": place.domain_id, "DataAccessRoleArn": ROLE, **JOB_PLACES}
    for watchlist_id, taken in ((place.watchlist_id, True), (NOTHING, False)):
        lists = {"WatchlistIds": [watchlist_id]}
        for start, config in (
            (
                client.start_speaker_enrollment_job,
                {"EnrollmentConfig": {"FraudDetectionConfig": lists}},
            ),
            (client.start_fraudster_registration_job, {"RegistrationConfig": lists}),
        ):
            if taken:
                assert start(**job, **config)["Job"]["JobStatus"] == "SUBMITTED"
            else:
                assert not_found(start, **job, **config) == "WATCHLIST"


# --- limits that the client does not check


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("describe_speaker", {"SpeakerId": "b@d"}),
        ("describe_speaker", {"SpeakerId": "id#tooshort"}),
        ("describe_speaker", {"SpeakerId": "s" * 257}),
        ("list_speakers", {"MaxResults": 101}),
        ("list_sessions", {"StreamingStatus": "SLEEPING"}),
        ("list_speaker_enrollment_jobs", {"JobStatus": "BOGUS"}),
        ("create_watchlist", {"Name": "no spaces"}),
        ("create_watchlist", {"Name": "n", "Description": "semi;colon"}),
        ("create_watchlist", {"Name": "n", "ClientToken": "sp ace"}),
        ("evaluate_session", {"SessionNameOrId": "s" * 37}),
        ("update_domain", {"Name": "n", "ServerSideEncryptionConfiguration": {"KmsKeyId": "x y"}}),
    ],
)
def test_what_breaks_the_description_is_refused(server, client, domain_id, operation, members):
    refused = code_of(getattr(client, operation), DomainId=domain_id, **members)
    assert refused == "ValidationException"


@pytest.mark.parametrize(
    "change",
    [
        {"EnrollmentConfig": {"FraudDetectionConfig": {"RiskThreshold": 101}}},
        {"EnrollmentConfig": {"ExistingEnrollmentAction": "BOGUS"}},
        {"EnrollmentConfig": {"FraudDetectionConfig": {"WatchlistIds": [NOTHING, NOTHING]}}},
        {"DataAccessRoleArn": "arn:aws:iam::12:role/x-role-of-nobody"},
        {"InputDataConfig": {"S3Uri": "http://bucket/manifest.json"}},
    ],
)
def test_a_job_that_breaks_the_description_is_refused(server, client, domain_id, change):
    job = {"DomainId": domain_id, "DataAccessRoleArn": ROLE, **JOB_PLACES, **change}
    assert code_of(client.start_speaker_enrollment_job, **job) == "ValidationException"
    listed = client.list_speaker_enrollment_jobs(DomainId=domain_id)
    assert listed["JobSummaries"] == []


def test_a_domain_id_of_thirty_letters_is_refused(server, client):
    assert code_of(client.describe_domain, DomainId="a" * 30) == "ValidationException"
    with pytest.raises(ParamValidationError):
        client.describe_domain(DomainId="short")


def test_tag_operations_want_an_arn_of_a_domain(server, client):
    for arn in ("domain", f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/k"):
        assert code_of(client.list_tags_for_resource, ResourceArn=arn) == "ValidationException"
