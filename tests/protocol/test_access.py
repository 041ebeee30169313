"""Who may do what, as a client sees it: policies, temporary keys, revocation."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.protocol.clients import (
    KEY,
    NOTHING,
    READING,
    Caller,
    arn_of,
    code_of,
    furnish,
    make_keys,
    policy,
    refusal_of,
    requests_in,
)
from tests.server import new_domain, wait_for
from vivavoce.api.handlers import HANDLERS
from vivavoce.foundation import open_data

IN_FORCE_S = 2
"""What a command changes about keys holds in a running server after this time."""


@pytest.fixture(scope="module")
def place(_shared_server, client):
    return furnish(_shared_server, client)


def vivavoce(server, *arguments):
    """What a command prints; it must succeed."""
    return subprocess.run(
        [sys.executable, "-m", "vivavoce", *arguments, "--data-dir", str(server.data_dir)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.fixture
def made_by_command(server):
    """Makes a key as an operator does."""

    def make(*arguments):
        made = json.loads(vivavoce(server, "keys", "create", "--json", *arguments))
        with open_data(server.data_dir) as store:
            records = store.read_now(lambda tx: tx.access_keys.all())
        (record,) = [one for one in records if one.access_key_id == made["AccessKeyId"]]
        assert record.secret == made["SecretAccessKey"]
        return record

    return make


def test_a_refusal_is_worded_as_amazon_words_it(server, connect, place):
    nothing, denied = make_keys(
        server,
        policy("voiceid:ListDomains"),
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "voiceid:*", "Resource": "*"},
                {"Effect": "Deny", "Action": "voiceid:Delete*", "Resource": place.arn},
            ],
        },
    )
    speaker = {"DomainId": place.domain_id, "SpeakerId": place.customer_id}
    client = connect(server, nothing)
    with pytest.raises(client.exceptions.AccessDeniedException) as caught:
        client.describe_speaker(**speaker)
    assert caught.value.response["Message"] == (
        f"User: arn:aws:iam::000000000000:user/{nothing.name} is not authorized to perform: "
        f"voiceid:DescribeSpeaker on resource: {place.arn} "
        "because no identity-based policy allows the voiceid:DescribeSpeaker action"
    )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    refused = refusal_of(connect(server, denied).delete_speaker, **speaker)
    assert refused["Message"] == (
        f"User: arn:aws:iam::000000000000:user/{denied.name} is not authorized to perform: "
        f"voiceid:DeleteSpeaker on resource: {place.arn} "
        "with an explicit deny in an identity-based policy"
    )
    assert refused["Error"]["Code"] == "AccessDeniedException"


def test_every_operation_has_an_action_of_its_own(server, place):
    operations = sorted(HANDLERS)
    keys = make_keys(server, *(policy(f"voiceid:{operation}") for operation in operations))
    requests = requests_in(place)
    for position, (operation, key) in enumerate(zip(operations, keys, strict=True)):
        caller = Caller(server, key)
        # Asked of a domain that is not there: past the policy, but nothing is done.
        harmless = json.loads(json.dumps(requests[operation]).replace(place.domain_id, NOTHING))
        if operation == "CreateDomain":
            harmless["ServerSideEncryptionConfiguration"] = {"KmsKeyId": "not a key"}
        assert caller.code_of(operation, harmless) != "AccessDeniedException", operation
        for other in (operations[position - 1], operations[position - 2]):
            assert caller.code_of(other, requests[other]) == "AccessDeniedException"


def test_a_key_that_reads_only_changes_nothing(server, place):
    (key,) = make_keys(server, policy("voiceid:Describe*", "voiceid:List*"))
    caller = Caller(server, key)
    for operation, members in requests_in(place).items():
        # EvaluateSession gives out decisions: AWS counts it among the writing ones.
        reads = operation in READING - {"EvaluateSession"}
        expected = "OK" if reads else "AccessDeniedException"
        assert caller.code_of(operation, members) == expected, operation


def test_a_key_for_one_domain_has_no_power_over_another(server, client, place):
    other = new_domain(client)
    (key,) = make_keys(server, policy("voiceid:*", resource=place.arn))
    caller = Caller(server, key)
    assert caller.code_of("DescribeDomain", {"DomainId": place.domain_id}) == "OK"
    for domain_id in (other, NOTHING):
        assert caller.code_of("DescribeDomain", {"DomainId": domain_id}) == "AccessDeniedException"
        tags = {"ResourceArn": arn_of(domain_id)}
        assert caller.code_of("ListTagsForResource", tags) == "AccessDeniedException"
    assert caller.code_of("ListDomains", {}) == "AccessDeniedException"
    new = {"Name": "n", "ServerSideEncryptionConfiguration": KEY}
    assert caller.code_of("CreateDomain", new) == "AccessDeniedException"


def test_tags_of_a_domain_decide(server, client, connect):
    arns = [
        client.create_domain(
            Name="tagged",
            ServerSideEncryptionConfiguration=KEY,
            Tags=[{"Key": "team", "Value": team}],
        )["Domain"]["Arn"]
        for team in ("blue", "red")
    ]
    blue, red = (arn[-22:] for arn in arns)
    of_blue = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    (key,) = make_keys(server, policy("voiceid:*", condition=of_blue))
    team = connect(server, key)
    assert team.describe_domain(DomainId=blue)["Domain"]["DomainId"] == blue
    assert code_of(team.describe_domain, DomainId=red) == "AccessDeniedException"
    assert code_of(team.describe_domain, DomainId=NOTHING) == "AccessDeniedException"
    assert code_of(team.list_domains) == "AccessDeniedException"
    # The tag goes over, and the power with it.
    client.tag_resource(ResourceArn=arns[1], Tags=[{"Key": "team", "Value": "blue"}])
    team.describe_domain(DomainId=red)
    client.untag_resource(ResourceArn=arns[0], TagKeys=["team"])
    assert code_of(team.describe_domain, DomainId=blue) == "AccessDeniedException"


def test_tags_that_a_request_sets_decide(server, client, connect, place):
    of_blue = {"StringEquals": {"aws:RequestTag/team": "blue"}}
    may_make = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["voiceid:CreateDomain", "voiceid:TagResource"],
                "Resource": "*",
                "Condition": of_blue,
            }
        ],
    }
    may_not_tag = policy("voiceid:CreateDomain")
    maker, untagged = (connect(server, key) for key in make_keys(server, may_make, may_not_tag))
    wanted = {"Name": "n", "ServerSideEncryptionConfiguration": KEY}
    blue, red = ([{"Key": "team", "Value": team}] for team in ("blue", "red"))
    before = client.get_paginator("list_domains").paginate().build_full_result()
    assert code_of(maker.create_domain, **wanted) == "AccessDeniedException"
    assert code_of(maker.create_domain, **wanted, Tags=red) == "AccessDeniedException"
    refused = refusal_of(untagged.create_domain, **wanted, Tags=blue)
    assert refused["Error"]["Code"] == "AccessDeniedException"
    assert "perform: voiceid:TagResource on resource: " in refused["Message"]
    assert client.get_paginator("list_domains").paginate().build_full_result() == before
    assert maker.create_domain(**wanted, Tags=blue)["Domain"]["DomainStatus"] == "ACTIVE"
    assert untagged.create_domain(**wanted)["Domain"]["DomainStatus"] == "ACTIVE"
    assert code_of(maker.tag_resource, ResourceArn=place.arn, Tags=red) == "AccessDeniedException"
    maker.tag_resource(ResourceArn=place.arn, Tags=blue)


def test_a_temporary_key_serves_with_its_token_until_its_end(server, connect):
    (key,) = make_keys(server, policy("voiceid:*"), lifetime_ms=3_000)
    assert key.session_token is not None
    assert key.expires_ms is not None
    client = connect(server, key)
    client.list_domains()
    for token in (None, "another", key.session_token + "x"):
        stolen = connect(server, replace(key, session_token=token))
        assert code_of(stolen.list_domains) == "UnrecognizedClientException"
    own_token = connect(server, replace(key, secret="guessed"))
    assert code_of(own_token.list_domains) == "InvalidSignatureException"
    time.sleep(max(0.0, key.expires_ms / 1000 - time.time()) + 0.05)
    assert code_of(client.list_domains) == "ExpiredTokenException"


def test_a_permanent_key_has_no_token(server, connect):
    (key,) = make_keys(server, policy("voiceid:*"))
    with_token = connect(server, replace(key, session_token="made-up"))
    assert code_of(with_token.list_domains) == "UnrecognizedClientException"
    connect(server, key).list_domains()


def test_a_revoked_key_is_refused_at_once_and_a_new_one_known(server, place, made_by_command):
    key = made_by_command("--domain", place.domain_id, "--expires", "1h")
    caller = Caller(server, key)
    members = {"DomainId": place.domain_id}
    made_s = time.monotonic()
    wait_for(lambda: caller.code_of("DescribeDomain", members) == "OK", at_most_s=IN_FORCE_S)
    assert time.monotonic() - made_s < IN_FORCE_S
    vivavoce(server, "keys", "revoke", key.access_key_id)
    wait_for(
        lambda: caller.code_of("DescribeDomain", members) == "UnrecognizedClientException",
        at_most_s=IN_FORCE_S,
    )
    for _ in range(3):
        assert caller.code_of("DescribeDomain", members) == "UnrecognizedClientException"


def test_many_unknown_keys_keep_nobody_else_waiting(server, client):
    (key,) = make_keys(server, policy("voiceid:*"))
    for number in range(50):
        stranger = Caller(server, replace(key, access_key_id=f"VVUNKNOWN{number}"))
        assert stranger.code_of("ListDomains", {}) == "UnrecognizedClientException"
    began_s = time.monotonic()
    client.list_domains()
    assert time.monotonic() - began_s < 1
