"""What programs written for AWS do, done by each of AWS's clients.

Source: voice-id-behaviour.md, section 24.
"""

import re
import time
import uuid

import pytest

from tests.clients.conftest import Refused, connected, new_aws_domain, with_watchlists

ROLE = "arn:aws:iam::123456789012:role/voice-id-jobs"
UNKNOWN = "1234567890123456789012"
KEY = {"KmsKeyId": "alias/test"}


def refusal(aws, operation, **members):
    with pytest.raises(Refused) as told:
        aws.call(operation, **members)
    return told.value


def must_be_missing(refused, resource_type):
    assert refused.code == "ResourceNotFoundException"
    assert refused.message == f"The requested {resource_type.lower()} does not exist"
    # The command line shows its user no more than code and message.
    assert refused.resource_type in (resource_type, None)
    assert refused.status in (400, None)
    assert refused.is_typed in (True, None)


def must_be_invalid(refused, *mentioned):
    assert refused.code == "ValidationException"
    for text in mentioned:
        assert text in refused.message


def test_a_domain_is_made_with_all_that_a_program_reads(aws):
    before = time.time()
    made = aws.call(
        "CreateDomain",
        Name="branch-1",
        Description="café line: 50 %",
        ServerSideEncryptionConfiguration=KEY,
    )["Domain"]
    assert made["DomainStatus"] == "ACTIVE"
    assert re.fullmatch("[a-zA-Z0-9]{22}", made["DomainId"])
    assert re.fullmatch(
        f"arn:aws:voiceid:us-east-1:[0-9]{{12}}:domain/{made['DomainId']}", made["Arn"]
    )
    assert made["Description"] == "café line: 50 %"
    assert before - 1 <= made["CreatedAt"] <= time.time() + 1
    assert aws.call("DescribeDomain", DomainId=made["DomainId"])["Domain"] == made


@with_watchlists
def test_a_new_domain_has_its_default_watchlist(aws, aws_domain_id):
    domain = aws.call("DescribeDomain", DomainId=aws_domain_id)["Domain"]
    (watchlist,) = aws.call("ListWatchlists", DomainId=aws_domain_id)["WatchlistSummaries"]
    assert watchlist["DefaultWatchlist"] is True
    assert watchlist["WatchlistId"] == domain["WatchlistDetails"]["DefaultWatchlistId"]


def test_the_same_client_token_makes_one_domain(aws):
    token = str(uuid.uuid4())
    first, second = (new_aws_domain(aws, ClientToken=token) for _ in range(2))
    assert first == second
    must_be_invalid(
        refusal(
            aws,
            "CreateDomain",
            Name="another",
            ServerSideEncryptionConfiguration=KEY,
            ClientToken=token,
        ),
        "token",
    )


def test_a_client_makes_a_token_of_its_own(aws):
    assert new_aws_domain(aws) != new_aws_domain(aws)


def test_every_domain_is_listed_once(aws):
    made = {new_aws_domain(aws) for _ in range(3)}
    pages = aws.pages("ListDomains", page_size=10)
    listed = [domain["DomainId"] for page in pages for domain in page["DomainSummaries"]]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


def test_an_update_without_description_removes_it(aws):
    domain_id = new_aws_domain(aws, Description="first")
    aws.call(
        "UpdateDomain", DomainId=domain_id, Name="renamed", ServerSideEncryptionConfiguration=KEY
    )
    domain = aws.call("DescribeDomain", DomainId=domain_id)["Domain"]
    assert domain["Name"] == "renamed"
    assert "Description" not in domain


def test_a_deleted_domain_serves_nobody(aws, aws_domain_id):
    aws.call("DeleteDomain", DomainId=aws_domain_id)
    with pytest.raises(Refused):
        aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId="caller-1")


def test_tags_come_back_as_they_were_set(aws):
    domain_id = new_aws_domain(aws, Tags=[{"Key": "team", "Value": "fraud"}])
    arn = aws.call("DescribeDomain", DomainId=domain_id)["Domain"]["Arn"]

    def tags():
        told = aws.call("ListTagsForResource", ResourceArn=arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in told}

    assert tags() == {"team": "fraud"}
    aws.call(
        "TagResource",
        ResourceArn=arn,
        Tags=[{"Key": "empty", "Value": ""}, {"Key": "team", "Value": "voice"}],
    )
    assert tags() == {"team": "voice", "empty": ""}
    aws.call("UntagResource", ResourceArn=arn, TagKeys=["team", "never-set"])
    assert tags() == {"empty": ""}


@with_watchlists
def test_a_watchlist_lives_and_dies(aws, aws_domain_id):
    within = {"DomainId": aws_domain_id}
    made = aws.call("CreateWatchlist", Name="scam", **within)["Watchlist"]
    named = {**within, "WatchlistId": made["WatchlistId"]}
    assert made["DefaultWatchlist"] is False
    aws.call("UpdateWatchlist", Description="known scammers", **named)
    shown = aws.call("DescribeWatchlist", **named)["Watchlist"]
    assert (shown["Name"], shown["Description"]) == ("scam", "known scammers")
    assert len(aws.call("ListWatchlists", **within)["WatchlistSummaries"]) == 2
    aws.call("DeleteWatchlist", **named)
    must_be_missing(refusal(aws, "DescribeWatchlist", **named), "WATCHLIST")


@with_watchlists
def test_the_default_watchlist_stays(aws, aws_domain_id):
    domain = aws.call("DescribeDomain", DomainId=aws_domain_id)["Domain"]
    default = domain["WatchlistDetails"]["DefaultWatchlistId"]
    must_be_invalid(refusal(aws, "DeleteWatchlist", DomainId=aws_domain_id, WatchlistId=default))


@with_watchlists
def test_a_domain_without_fraudsters_lists_none(aws, aws_domain_id):
    told = aws.call("ListFraudsters", DomainId=aws_domain_id)
    assert told == {"FraudsterSummaries": []}


def test_an_unknown_fraudster_is_named_as_what_is_missing(aws, aws_domain_id):
    named = {"DomainId": aws_domain_id, "FraudsterId": f"id#{UNKNOWN}"}
    operations = ["DescribeFraudster", "DeleteFraudster"]
    for operation in operations:
        must_be_missing(refusal(aws, operation, **named), "FRAUDSTER")


@with_watchlists
def test_an_unknown_fraudster_joins_and_leaves_no_watchlist(aws, aws_domain_id):
    domain = aws.call("DescribeDomain", DomainId=aws_domain_id)["Domain"]
    named = {
        "DomainId": aws_domain_id,
        "FraudsterId": f"id#{UNKNOWN}",
        "WatchlistId": domain["WatchlistDetails"]["DefaultWatchlistId"],
    }
    for operation in ("AssociateFraudster", "DisassociateFraudster"):
        must_be_missing(refusal(aws, operation, **named), "FRAUDSTER")


def test_an_unknown_speaker_is_named_as_what_is_missing(aws, aws_domain_id):
    must_be_missing(
        refusal(aws, "DescribeSpeaker", DomainId=aws_domain_id, SpeakerId="nobody"), "SPEAKER"
    )


def test_an_unknown_domain_is_missing_before_its_speaker(aws):
    must_be_missing(refusal(aws, "DescribeSpeaker", DomainId=UNKNOWN, SpeakerId="nobody"), "DOMAIN")


def test_an_unknown_caller_can_opt_out_under_either_id(aws, aws_domain_id):
    first = aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId="caller-1")["Speaker"]
    assert first["Status"] == "OPTED_OUT"
    assert first["CustomerSpeakerId"] == "caller-1"
    generated = first["GeneratedSpeakerId"]
    assert re.fullmatch("id#[a-zA-Z0-9]{22}", generated)
    again = aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId=generated)["Speaker"]
    assert again["GeneratedSpeakerId"] == generated
    for name in ("caller-1", generated):
        shown = aws.call("DescribeSpeaker", DomainId=aws_domain_id, SpeakerId=name)["Speaker"]
        assert shown["GeneratedSpeakerId"] == generated


def test_a_deleted_speaker_is_gone_under_both_ids(aws, aws_domain_id):
    speaker = aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId="caller-1")["Speaker"]
    generated = speaker["GeneratedSpeakerId"]
    aws.call("DeleteSpeaker", DomainId=aws_domain_id, SpeakerId=generated)
    for name in ("caller-1", generated):
        must_be_missing(
            refusal(aws, "DescribeSpeaker", DomainId=aws_domain_id, SpeakerId=name), "SPEAKER"
        )


def test_pages_of_one_show_every_speaker_once(aws, aws_domain_id):
    names = ["caller-1", "caller-2", "caller-3"]
    for name in names:
        aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId=name)
    pages = aws.pages("ListSpeakers", page_size=1, DomainId=aws_domain_id)
    listed = [
        speaker["CustomerSpeakerId"] for page in pages for speaker in page["SpeakerSummaries"]
    ]
    assert listed == names
    assert "NextToken" not in pages[-1]
    if aws.name != "aws-cli":  # which makes one answer of them
        assert len(pages) == 3


def test_a_page_is_followed_by_hand(aws, aws_domain_id):
    for name in ("caller-1", "caller-2"):
        aws.call("OptOutSpeaker", DomainId=aws_domain_id, SpeakerId=name)
    first = aws.call("ListSpeakers", DomainId=aws_domain_id, MaxResults=1)
    second = aws.call(
        "ListSpeakers", DomainId=aws_domain_id, MaxResults=1, NextToken=first["NextToken"]
    )
    assert first["SpeakerSummaries"][0]["CustomerSpeakerId"] == "caller-1"
    assert second["SpeakerSummaries"][0]["CustomerSpeakerId"] == "caller-2"
    assert "NextToken" not in second


def test_a_page_token_of_nobody_is_invalid(aws, aws_domain_id):
    must_be_invalid(
        refusal(aws, "ListSpeakers", DomainId=aws_domain_id, NextToken="made-up"), "NextToken"
    )


def test_an_unknown_session_is_named_as_what_is_missing(aws, aws_domain_id):
    must_be_missing(
        refusal(aws, "EvaluateSession", DomainId=aws_domain_id, SessionNameOrId="contact-1"),
        "SESSION",
    )


def test_a_session_that_nobody_spoke_in_has_no_results(aws, aws_domain_id, client):
    started = client.start_session(DomainId=aws_domain_id, SessionName="contact-1")["Session"]
    told = aws.call("EvaluateSession", DomainId=aws_domain_id, SessionNameOrId="contact-1")
    assert told["SessionId"] == started["SessionId"]
    assert told["SessionName"] == "contact-1"
    assert told["StreamingStatus"] == "PENDING_CONFIGURATION"
    assert "AuthenticationResult" not in told
    assert "FraudDetectionResult" not in told


@pytest.mark.parametrize(
    ("start", "describe", "listing"),
    [
        (
            "StartSpeakerEnrollmentJob",
            "DescribeSpeakerEnrollmentJob",
            "ListSpeakerEnrollmentJobs",
        ),
        (
            "StartFraudsterRegistrationJob",
            "DescribeFraudsterRegistrationJob",
            "ListFraudsterRegistrationJobs",
        ),
    ],
)
class TestJobs:
    def test_a_job_is_taken_in_and_shown(self, aws, aws_domain_id, start, describe, listing):
        job = aws.call(
            start,
            DomainId=aws_domain_id,
            DataAccessRoleArn=ROLE,
            JobName="nightly",
            InputDataConfig={"S3Uri": "s3://calls/manifest.json"},
            OutputDataConfig={"S3Uri": "s3://calls/out"},
        )["Job"]
        assert job["JobStatus"] == "SUBMITTED"
        assert job["InputDataConfig"] == {"S3Uri": "s3://calls/manifest.json"}
        shown = aws.call(describe, DomainId=aws_domain_id, JobId=job["JobId"])["Job"]
        assert (shown["JobName"], shown["DataAccessRoleArn"]) == ("nightly", ROLE)
        (page,) = aws.pages(listing, page_size=10, DomainId=aws_domain_id)
        assert [summary["JobId"] for summary in page["JobSummaries"]] == [job["JobId"]]

    def test_an_unknown_job_is_named_as_what_is_missing(
        self, aws, aws_domain_id, start, describe, listing
    ):
        refused = refusal(aws, describe, DomainId=aws_domain_id, JobId=UNKNOWN)
        assert refused.code == "ResourceNotFoundException"
        assert refused.resource_type in ("BATCH_JOB", None)

    def test_a_job_reads_from_s3_only(self, aws, aws_domain_id, start, describe, listing):
        must_be_invalid(
            refusal(
                aws,
                start,
                DomainId=aws_domain_id,
                DataAccessRoleArn=ROLE,
                InputDataConfig={"S3Uri": "http://calls/manifest.json"},
                OutputDataConfig={"S3Uri": "s3://calls/out"},
            ),
            "inputDataConfig.s3Uri",
        )


def test_what_no_client_checks_the_server_does(aws, aws_domain_id):
    must_be_invalid(
        refusal(aws, "DescribeSpeaker", DomainId=aws_domain_id, SpeakerId="b@d"),
        "1 validation error detected",
        "speakerId",
    )
    must_be_invalid(
        refusal(aws, "ListSpeakers", DomainId=aws_domain_id, MaxResults=101), "maxResults"
    )
    must_be_invalid(
        refusal(aws, "ListSpeakerEnrollmentJobs", DomainId=aws_domain_id, JobStatus="BOGUS"),
        "jobStatus",
    )


@with_watchlists
def test_two_watchlists_for_one_job_are_one_too_many(aws, aws_domain_id):
    must_be_invalid(
        refusal(
            aws,
            "StartFraudsterRegistrationJob",
            DomainId=aws_domain_id,
            DataAccessRoleArn=ROLE,
            InputDataConfig={"S3Uri": "s3://calls/manifest.json"},
            OutputDataConfig={"S3Uri": "s3://calls/out"},
            RegistrationConfig={"WatchlistIds": [UNKNOWN, UNKNOWN]},
        ),
        "watchlistIds",
    )


def test_a_refusal_carries_the_request_id_that_the_log_has(aws, aws_domain_id):
    refused = refusal(aws, "DescribeSpeaker", DomainId=aws_domain_id, SpeakerId="nobody")
    if aws.name == "aws-cli":  # which shows none
        assert refused.request_id is None
    else:
        uuid.UUID(refused.request_id)


@pytest.mark.parametrize("name", ["boto3", "first-botocore", "aws-cli", "javascript"])
def test_a_wrong_secret_opens_nothing(name, server):
    key, _ = server.access_key
    wrong = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "not the secret"}
    with connected(name, server, **wrong) as stranger:
        assert refusal(stranger, "ListDomains").code == "InvalidSignatureException"
    unknown = {"AWS_ACCESS_KEY_ID": "VVNOBODYNOBODYNOBODY", "AWS_SECRET_ACCESS_KEY": "any"}
    with connected(name, server, **unknown) as stranger:
        assert refusal(stranger, "ListDomains").code == "UnrecognizedClientException"
