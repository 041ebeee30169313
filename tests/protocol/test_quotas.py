"""Quotas and rates: as an operator sets them, and off unless they are set."""

import time

import pytest

from tests.protocol.clients import (
    JOB_PLACES,
    KEY,
    NOBODY,
    NOTHING,
    ROLE,
    Caller,
    add_fraudster,
    code_of,
    furnish,
    refusal_of,
)
from tests.server import new_domain
from vivavoce.foundation import open_data

QUOTA = "ServiceQuotaExceededException"
FULL_AGAIN_S = 1.1
"""What other tests have used up of a rate is there again after this."""


@pytest.fixture(scope="module")
def server(launch):
    return launch(
        quotas="aws",
        quota_domains=4,
        quota_fraudsters=2,
        quota_speakers=3,
        quota_sessions=2,
        throttle_tps='{"ListSpeakers": 0.5, "DescribeSpeaker": 3}',
    )


@pytest.fixture(scope="module")
def owner(server, connect):
    return connect(server)


@pytest.fixture
def domain(owner):
    """A domain while a test needs it: there cannot be many."""
    domain_id = new_domain(owner)
    yield {"DomainId": domain_id}
    owner.delete_domain(DomainId=domain_id)


def test_one_domain_too_many_is_refused_and_a_deleted_one_makes_room(owner):
    made = [new_domain(owner, f"domain-{number}") for number in range(4)]
    wanted = {"Name": "fifth", "ServerSideEncryptionConfiguration": KEY}
    with pytest.raises(owner.exceptions.ServiceQuotaExceededException) as caught:
        owner.create_domain(**wanted)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "4 domains" in caught.value.response["Message"]
    assert len(owner.list_domains()["DomainSummaries"]) == 4
    owner.delete_domain(DomainId=made.pop())
    made.append(owner.create_domain(**wanted)["Domain"]["DomainId"])
    for domain_id in made:
        owner.delete_domain(DomainId=domain_id)


def test_another_region_has_a_quota_of_its_own(server, owner, connect, domain):
    elsewhere = connect(server, region="eu-west-1")
    made = [new_domain(elsewhere) for _ in range(4)]
    assert (
        code_of(elsewhere.create_domain, Name="n", ServerSideEncryptionConfiguration=KEY) == QUOTA
    )
    owner.describe_domain(**domain)
    for domain_id in made:
        elsewhere.delete_domain(DomainId=domain_id)


def test_amazons_three_watchlists_count_the_default_one(owner, domain):
    made = [owner.create_watchlist(**domain, Name=name)["Watchlist"] for name in ("a", "b")]
    assert code_of(owner.create_watchlist, **domain, Name="c") == QUOTA
    assert len(owner.list_watchlists(**domain)["WatchlistSummaries"]) == 3
    owner.delete_watchlist(**domain, WatchlistId=made[0]["WatchlistId"])
    owner.create_watchlist(**domain, Name="c")


def test_a_repeated_client_token_is_served_where_all_is_used_up(owner, domain):
    token = {"Name": "a", "ClientToken": "t-quota"}
    made = owner.create_watchlist(**domain, **token)["Watchlist"]
    owner.create_watchlist(**domain, Name="b")
    assert owner.create_watchlist(**domain, **token)["Watchlist"] == made


def test_a_watchlist_that_is_full_takes_no_more_fraudsters(server, owner, domain):
    first, second = (
        owner.create_watchlist(**domain, Name=name)["Watchlist"]["WatchlistId"]
        for name in ("a", "b")
    )
    with open_data(server.data_dir) as store:
        fraudsters = [
            store.write_now(lambda tx: add_fraudster(tx, domain["DomainId"], first))
            for _ in range(3)  # a command is held to no quota
        ]
    for fraudster_id in fraudsters[:2]:
        owner.associate_fraudster(**domain, FraudsterId=fraudster_id, WatchlistId=second)
    third = {**domain, "FraudsterId": fraudsters[2], "WatchlistId": second}
    assert code_of(owner.associate_fraudster, **third) == QUOTA
    described = owner.describe_fraudster(**domain, FraudsterId=fraudsters[2])
    assert described["Fraudster"]["WatchlistIds"] == [first]
    # Who is on it already may be put on it again.
    owner.associate_fraudster(**{**third, "FraudsterId": fraudsters[0]})
    # What is not there is said before what is full.
    missing = {**third, "FraudsterId": NOBODY}
    assert refusal_of(owner.associate_fraudster, **missing)["ResourceType"] == "FRAUDSTER"


def test_a_full_watchlist_takes_no_caller_either(server, owner):
    place = furnish(server, owner)
    session = {"DomainId": place.domain_id, "SessionNameOrId": place.session_id}
    owner.register_fraudster_by_session(**session)
    assert code_of(owner.register_fraudster_by_session, **session) == QUOTA
    listed = owner.list_fraudsters(DomainId=place.domain_id)["FraudsterSummaries"]
    assert len(listed) == 2
    owner.delete_domain(DomainId=place.domain_id)


def test_one_speaker_too_many_is_refused_however_it_comes(owner, domain):
    for number in range(3):
        owner.opt_out_speaker(**domain, SpeakerId=f"caller-{number}")
    fourth = {**domain, "SpeakerId": "caller-3"}
    assert code_of(owner.opt_out_speaker, **fourth) == QUOTA
    assert code_of(owner.start_session, **fourth) == QUOTA
    session = owner.start_session(**domain)["Session"]["SessionId"]
    assert code_of(owner.update_session, **fourth, SessionNameOrId=session) == QUOTA
    assert [one["SessionId"] for one in owner.list_sessions(**domain)["SessionSummaries"]] == [
        session
    ]
    owner.opt_out_speaker(**domain, SpeakerId="caller-0")  # who is known needs no room
    unknown = {**domain, "SpeakerId": NOBODY}
    assert refusal_of(owner.opt_out_speaker, **unknown)["ResourceType"] == "SPEAKER"
    owner.delete_speaker(**domain, SpeakerId="caller-0")
    owner.opt_out_speaker(**fourth)


def test_one_active_session_too_many_is_refused(owner, domain):
    started = [owner.start_session(**domain)["Session"]["SessionId"] for _ in range(2)]
    assert code_of(owner.start_session, **domain) == QUOTA
    owner.end_session(**domain, SessionNameOrId=started[0])
    owner.start_session(**domain)
    restart = {**domain, "SessionName": "restarted"}
    assert code_of(owner.start_session, **restart) == QUOTA


@pytest.fixture(scope="module")
def waiting(launch, connect):
    """A client of a server whose jobs stay active: nobody answers where its objects are."""
    return connect(launch(quotas="aws", objects="s3", s3_endpoint_url="http://127.0.0.1:9"))


@pytest.mark.parametrize("kind", ["speaker_enrollment", "fraudster_registration"])
def test_one_job_of_a_kind_is_active_at_a_time(waiting, kind):
    domain = {"DomainId": new_domain(waiting)}
    start = getattr(waiting, f"start_{kind}_job")
    listing = getattr(waiting, f"list_{kind}_jobs")
    job = {**domain, "DataAccessRoleArn": ROLE, **JOB_PLACES}
    first = start(**job, ClientToken=f"t-{kind}")["Job"]["JobId"]
    assert code_of(start, **job) == QUOTA
    assert start(**job, ClientToken=f"t-{kind}")["Job"]["JobId"] == first
    assert [one["JobId"] for one in listing(**domain)["JobSummaries"]] == [first]
    lists = {"WatchlistIds": [NOTHING]}
    config = (
        {"EnrollmentConfig": {"FraudDetectionConfig": lists}}
        if kind == "speaker_enrollment"
        else {"RegistrationConfig": lists}
    )
    assert refusal_of(start, **job, **config)["ResourceType"] == "WATCHLIST"


def test_a_rate_lets_through_what_was_allowed_and_throttles_the_rest(server, owner, domain):
    caller = Caller(server)
    unknown = {**domain, "SpeakerId": "nobody"}
    time.sleep(FULL_AGAIN_S)
    answers = [caller.send("DescribeSpeaker", unknown) for _ in range(12)]
    codes = [answer.code for answer in answers]
    assert codes[:3] == ["ResourceNotFoundException"] * 3
    assert codes.count("ThrottlingException") >= 6
    throttled = next(answer for answer in answers if answer.code == "ThrottlingException")
    assert throttled.status == 400
    assert throttled.document["Message"] == "Rate exceeded"
    owner.list_speakers(**domain)
    with pytest.raises(owner.exceptions.ThrottlingException):
        owner.list_speakers(**domain)
    # What has no rate goes on, and after a while so does what has one.
    for _ in range(20):
        owner.describe_domain(**domain)
    time.sleep(0.4)
    assert caller.code_of("DescribeSpeaker", unknown) == "ResourceNotFoundException"


def test_what_is_not_allowed_uses_up_nobodys_rate(server, domain):
    caller = Caller(server)
    time.sleep(FULL_AGAIN_S)
    wrong = [caller.with_secret("guessed").code_of("DescribeSpeaker", {}) for _ in range(10)]
    assert set(wrong) == {"InvalidSignatureException"}
    malformed = [caller.code_of("DescribeSpeaker", {}) for _ in range(10)]
    assert set(malformed) == {"ValidationException"}
    unknown = {**domain, "SpeakerId": "nobody"}
    assert caller.code_of("DescribeSpeaker", unknown) == "ResourceNotFoundException"


def test_nothing_is_limited_unless_somebody_sets_a_limit(client, domain_id):
    domain = {"DomainId": domain_id}
    for number in range(4):
        new_domain(client, f"beyond-three-{number}")
        client.create_watchlist(**domain, Name=f"beyond-three-{number}")
        client.opt_out_speaker(**domain, SpeakerId=f"caller-{number}")
        job = {**domain, "DataAccessRoleArn": ROLE, **JOB_PLACES}
        client.start_speaker_enrollment_job(**job)
        client.start_fraudster_registration_job(**job)
    for _ in range(51):
        client.start_session(**domain)
    for _ in range(20):
        client.describe_domain(**domain)
        client.list_speakers(**domain)
