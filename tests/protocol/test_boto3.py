"""Unmodified boto3 against the AWS face, over real sockets."""

import http.client
import socket
import threading
import uuid
from collections import Counter
from datetime import UTC, datetime

import boto3
import httpx
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from starlette.applications import Starlette
from starlette.routing import Route

from tests.endpoint import build_endpoint, policy
from tests.fakes import FakeAccessKeys
from vivavoce.api import description
from vivavoce.api.keys import AccessKey
from vivavoce.errors import AtCapacity, Conflict, NotFound

DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
SESSION_ID = "id#CJA4lSzpzo5HFfP5L2h5lS"
CREATED_AT = datetime(2021, 10, 18, 23, 14, 47, 123000, tzinfo=UTC)
SECRET = "a-secret-of-some-length"
CALLS = Counter()


async def create_domain(context, request):
    domain = {
        "DomainId": DOMAIN_ID,
        "Arn": f"arn:aws:voiceid:{context.region}:{context.account_id}:domain/{DOMAIN_ID}",
        "Name": request["Name"],
        "ServerSideEncryptionConfiguration": request["ServerSideEncryptionConfiguration"],
        "CreatedAt": CREATED_AT,
        "DomainStatus": "ACTIVE",
    }
    uuid.UUID(request["ClientToken"])
    return {"Domain": domain | ({"Description": d} if (d := request.get("Description")) else {})}


async def describe_speaker(context, request):
    raise NotFound("SPEAKER")


async def delete_speaker(context, request):
    CALLS["delete_speaker"] += 1
    raise Conflict("CONCURRENT_CHANGES", "Try again")


async def delete_domain(context, request):
    return None


async def describe_domain(context, request):
    CALLS["describe_domain"] += 1
    if CALLS["describe_domain"] == 1:
        raise RuntimeError
    return {"Domain": {"DomainId": request["DomainId"]}}


async def list_speakers(context, request):
    page = int(request.get("NextToken", "0"))
    speaker = {"CustomerSpeakerId": f"caller-{page}", "Status": "ENROLLED"}
    more = {"NextToken": str(page + 1)} if page < 2 else {}
    return {"SpeakerSummaries": [speaker] * request["MaxResults"], **more}


async def list_sessions(context, request):
    return {"SessionSummaries": [{"SessionId": SESSION_ID, "StreamingStatus": "ENDED"}]}


async def start_session(context, request):
    if request.get("SessionName") == "one-too-many":
        raise AtCapacity("no place")
    session = {"SessionId": SESSION_ID, "AudioProgress": {"NetSpeechSeconds": 0.5}}
    return {"Session": session, "StreamUrl": f"ws://{context.host}/v1/audio/x"}


async def evaluate_session(context, request):
    progress = {"NetSpeechSeconds": 4.25, "Quality": "GOOD"}
    return {"DomainId": DOMAIN_ID, "StreamingStatus": "ONGOING", "AudioProgress": progress}


HANDLERS = {
    "CreateDomain": create_domain,
    "DeleteDomain": delete_domain,
    "DeleteSpeaker": delete_speaker,
    "DescribeDomain": describe_domain,
    "DescribeSpeaker": describe_speaker,
    "EvaluateSession": evaluate_session,
    "ListSessions": list_sessions,
    "ListSpeakers": list_speakers,
    "StartSession": start_session,
}


@pytest.fixture(scope="module")
def url():
    key = AccessKey(
        access_key_id="AKIDEXAMPLE", name="ann", secret=SECRET, policy=policy("Allow", "voiceid:*")
    )
    endpoint = build_endpoint(HANDLERS, keys=FakeAccessKeys({"AKIDEXAMPLE": key}))
    app = Starlette(routes=[Route("/", endpoint)])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.fixture
def connect(url):
    """Makes clients; their sockets are closed at the end of the test."""
    clients = []

    def make(*, key="AKIDEXAMPLE", secret=SECRET, region="eu-west-2", **config):
        clients.append(
            boto3.Session().client(
                "voice-id",
                endpoint_url=url,
                region_name=region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=Config(**config),
            )
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def voice_id(connect):
    return connect()


@pytest.fixture
def extended(connect, monkeypatch):
    monkeypatch.setenv("AWS_DATA_PATH", str(description.data_path()))
    return connect()


def test_a_domain_round_trips(voice_id):
    answer = voice_id.create_domain(
        Name="contact-centre",
        Description="Zürich",
        ServerSideEncryptionConfiguration={"KmsKeyId": "alias/x"},
    )
    uuid.UUID(answer["ResponseMetadata"]["RequestId"])
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.0"
    assert answer["Domain"].pop("CreatedAt") == CREATED_AT
    assert answer["Domain"] == {
        "DomainId": DOMAIN_ID,
        "Arn": f"arn:aws:voiceid:eu-west-2:123456789012:domain/{DOMAIN_ID}",
        "Name": "contact-centre",
        "Description": "Zürich",
        "DomainStatus": "ACTIVE",
        "ServerSideEncryptionConfiguration": {"KmsKeyId": "alias/x"},
    }


def test_an_operation_without_output_gives_only_its_metadata(voice_id):
    assert voice_id.delete_domain(DomainId=DOMAIN_ID).keys() == {"ResponseMetadata"}


def test_a_paginator_visits_every_page(voice_id):
    pages = list(
        voice_id.get_paginator("list_speakers").paginate(
            DomainId=DOMAIN_ID, PaginationConfig={"PageSize": 1}
        )
    )
    names = [page["SpeakerSummaries"][0]["CustomerSpeakerId"] for page in pages]
    assert names == ["caller-0", "caller-1", "caller-2"]
    assert "NextToken" not in pages[-1]


def test_a_missing_resource_is_a_typed_exception_with_its_type(voice_id):
    with pytest.raises(voice_id.exceptions.ResourceNotFoundException) as caught:
        voice_id.describe_speaker(DomainId=DOMAIN_ID, SpeakerId="nobody")
    answer = caught.value.response
    assert answer["ResourceType"] == "SPEAKER"
    assert answer["Message"] == answer["Error"]["Message"] == "The requested speaker does not exist"
    assert answer["Error"]["Code"] == "ResourceNotFoundException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    uuid.UUID(answer["ResponseMetadata"]["RequestId"])


def test_a_conflict_is_a_typed_exception_and_not_tried_again(voice_id):
    CALLS["delete_speaker"] = 0
    with pytest.raises(voice_id.exceptions.ConflictException) as caught:
        voice_id.delete_speaker(DomainId=DOMAIN_ID, SpeakerId="somebody")
    assert caught.value.response["ConflictType"] == "CONCURRENT_CHANGES"
    assert CALLS["delete_speaker"] == 1


def test_a_failure_of_ours_is_tried_again_by_the_client(voice_id):
    CALLS["describe_domain"] = 0
    assert voice_id.describe_domain(DomainId=DOMAIN_ID)["Domain"]["DomainId"] == DOMAIN_ID
    assert CALLS["describe_domain"] == 2


def test_what_the_client_does_not_check_the_server_does(voice_id):
    with pytest.raises(voice_id.exceptions.ValidationException, match="'speakerId'"):
        voice_id.describe_speaker(DomainId=DOMAIN_ID, SpeakerId="b@d")
    with pytest.raises(voice_id.exceptions.ValidationException, match="less than or equal to 22"):
        voice_id.describe_domain(DomainId=DOMAIN_ID + "12345678")
    with pytest.raises(ParamValidationError):
        voice_id.describe_domain(DomainId="short")


def test_an_operation_not_built_yet_is_unknown(voice_id):
    with pytest.raises(ClientError) as caught:
        voice_id.list_watchlists(DomainId=DOMAIN_ID)
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ({"key": "AKIDOTHER"}, "UnrecognizedClientException"),
        ({"secret": "guess"}, "InvalidSignatureException"),
    ],
)
def test_a_wrong_key_or_secret_is_refused(connect, credentials, code):
    with pytest.raises(ClientError) as caught:
        connect(**credentials).delete_domain(DomainId=DOMAIN_ID)
    assert caught.value.response["Error"]["Code"] == code


def test_with_our_data_path_a_session_is_started(extended, url):
    answer = extended.start_session(DomainId=DOMAIN_ID)
    assert answer["Session"]["AudioProgress"] == {"NetSpeechSeconds": 0.5}
    assert answer["StreamUrl"] == f"ws://{url.removeprefix('http://')}/v1/audio/x"
    with pytest.raises(extended.exceptions.ServiceQuotaExceededException):
        extended.start_session(DomainId=DOMAIN_ID, SessionName="one-too-many")
    with pytest.raises(extended.exceptions.ValidationException, match="regular expression"):
        extended.start_session(DomainId=DOMAIN_ID, AudioSource="Pigeon")


def test_with_our_data_path_sessions_are_paginated(extended):
    pages = list(extended.get_paginator("list_sessions").paginate(DomainId=DOMAIN_ID))
    assert pages[0]["SessionSummaries"][0]["SessionId"] == SESSION_ID


def test_progress_is_seen_by_clients_that_know_it_and_dropped_by_others(voice_id, extended):
    question = {"DomainId": DOMAIN_ID, "SessionNameOrId": SESSION_ID}
    assert extended.evaluate_session(**question)["AudioProgress"] == {
        "NetSpeechSeconds": 4.25,
        "Quality": "GOOD",
    }
    old = voice_id.evaluate_session(**question)
    assert old.keys() == {"DomainId", "StreamingStatus", "ResponseMetadata"}


def test_fifty_megabytes_get_a_clear_refusal(url):
    response = httpx.post(url, content=b"x" * 50_000_000, timeout=30)
    assert response.status_code == 413
    assert response.json()["__type"] == "RequestEntityTooLargeException"


def test_a_declared_length_that_never_comes_does_not_block_others(url, voice_id):
    stalled = http.client.HTTPConnection(url.removeprefix("http://"))
    stalled.putrequest("POST", "/")
    stalled.putheader("Content-Length", "100")
    stalled.endheaders()
    assert voice_id.delete_domain(DomainId=DOMAIN_ID)
    stalled.close()


def test_a_browser_is_told_what_this_is(url):
    response = httpx.get(url)
    assert response.status_code == 405
    assert "Voice ID API" in response.json()["Message"]
