import socket
import urllib.request

import boto3
import pytest
import soundfile
from moto.server import ThreadedMotoServer

from tests.fakes import LoudDetector, voice
from vivavoce.errors import InvalidRequest, ObjectError, ObjectsDown, RoleRefused
from vivavoce.migration.bucket import in_bucket
from vivavoce.migration.recordings import plan
from vivavoce.objects.objects import Place
from vivavoce.objects.s3 import Roles, S3Objects

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/service/voice"
PLACE = Place.of("s3://calls/a/b.wav")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint, monkeypatch):
    """The customer's own view of S3, with one bucket."""
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
    client.create_bucket(Bucket="calls", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    for found in client.list_objects_v2(Bucket="calls").get("Contents", []):
        client.delete_object(Bucket="calls", Key=found["Key"])
    client.delete_bucket(Bucket="calls")
    client.close()


def objects(endpoint, roles: Roles = "own"):
    return S3Objects(endpoint_url=endpoint, region=REGION, roles=roles)


@pytest.fixture
def fetch(endpoint, tmp_path):
    def fetch(place=PLACE, *, limit_bytes=1000, roles: Roles = "own"):
        copy = tmp_path / "copy"
        objects(endpoint, roles).fetch(place, copy, role_arn=ROLE, limit_bytes=limit_bytes)
        return copy.read_bytes()

    return fetch


@pytest.fixture
def store(endpoint, tmp_path):
    def store(content, place=PLACE, **options):
        source = tmp_path / "source"
        source.write_bytes(content)
        objects(endpoint).store(place, source, role_arn=ROLE, **options)

    return store


def test_an_object_is_fetched(aws, fetch):
    aws.put_object(Bucket="calls", Key="a/b.wav", Body=b"sound")
    assert fetch() == b"sound"


def test_an_object_is_stored_encrypted_where_a_key_is_named(aws, store):
    store(b"plain")
    assert aws.get_object(Bucket="calls", Key="a/b.wav")["Body"].read() == b"plain"
    store(b"sealed", kms_key_id="alias/bank")
    told = aws.get_object(Bucket="calls", Key="a/b.wav")
    assert told["Body"].read() == b"sealed"
    assert (told["ServerSideEncryption"], told["SSEKMSKeyId"]) == ("aws:kms", "alias/bank")


def test_what_is_missing_or_too_large_is_said(aws, fetch):
    with pytest.raises(ObjectError, match=r"s3://calls/a/b.wav does not exist") as refused:
        fetch()
    assert refused.value.code == 404
    with pytest.raises(ObjectError, match="there is no such bucket"):
        fetch(Place.of("s3://nobodys/a"))
    aws.put_object(Bucket="calls", Key="a/b.wav", Body=bytes(1001))
    with pytest.raises(ObjectError, match="at most"):
        fetch()


def test_a_bucket_that_is_not_there_cannot_be_written(aws, store):
    with pytest.raises(ObjectError, match="there is no such bucket"):
        store(b"x", Place.of("s3://nobodys/a"))


def test_a_role_may_be_a_profile(aws, fetch, tmp_path):
    aws.put_object(Bucket="calls", Key="a/b.wav", Body=b"sound")
    with pytest.raises(RoleRefused, match="no profile voice") as refused:
        fetch(roles="profile")
    assert refused.value.code == 403
    (tmp_path / "credentials").write_text(
        "[voice]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    assert fetch(roles="profile") == b"sound"


def test_a_role_may_be_lent(aws, fetch, endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    aws.put_object(Bucket="calls", Key="a/b.wav", Body=b"sound")
    assert fetch(roles="assume") == b"sound"


def test_a_manifest_is_planned_from_recordings_in_a_bucket(aws, endpoint, tmp_path):
    contact = "00000000-0000-0000-0000-00000000000a"
    soundfile.write(tmp_path / "call.wav", voice(3, 35), 8000)
    name = f"connect/CallRecordings//2025/{contact}_20250314T09:26_UTC.wav"
    for key in (name, "connect/notes.txt", "connect/greeting.wav", "elsewhere/x.wav"):
        aws.put_object(Bucket="calls", Key=key, Body=(tmp_path / "call.wav").read_bytes())
    recordings = list(in_bucket("s3://calls/connect", endpoint_url=endpoint))
    assert len(recordings) == 2
    planned = plan(recordings, {contact: "anna"}, channel=0, new_detector=LoudDetector)
    assert planned.recordings == {"anna": [f"s3://calls/{name}"]}
    assert planned.skipped == {"no contact id in the name": 1}


def test_a_bucket_that_cannot_be_listed_says_why(aws, endpoint):
    with pytest.raises(InvalidRequest, match="cannot be listed"):
        list(in_bucket("s3://nobodys/calls", endpoint_url=endpoint))


def test_access_denied_is_said(aws, endpoint, tmp_path, monkeypatch):
    """Of a server that checks policies, as moto does from here on."""
    iam = boto3.client("iam", endpoint_url=endpoint, region_name=REGION)
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    aws.put_object(Bucket="calls", Key="a/b.wav", Body=b"sound")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _set_action_count(endpoint, 0)
    try:
        with pytest.raises(ObjectError, match="may not be used") as refused:
            objects(endpoint).fetch(PLACE, tmp_path / "copy", role_arn=ROLE, limit_bytes=1000)
    finally:
        _set_action_count(endpoint, 10**9)
    assert refused.value.code == 403


def _set_action_count(endpoint, count):
    """How many more requests moto serves without asking what is allowed."""
    request = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth",
        data=str(count).encode(),
        headers={"Content-Type": "text/plain"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_a_server_that_is_not_there_is_no_answer_about_the_object(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ObjectsDown, match="cannot be reached"):
            objects(f"http://127.0.0.1:{port}").fetch(
                PLACE, tmp_path / "copy", role_arn=ROLE, limit_bytes=1000
            )
