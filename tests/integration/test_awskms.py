import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer

from vivavoce.errors import InvalidRequest, KeyDenied, KeyServiceDown
from vivavoce.vault.awskms import AwsKms

OWNER = {"region": "eu-west-1", "account_id": "123456789012"}
DOMAIN = "arn:aws:voiceid:eu-west-1:123456789012:domain/1234567890123456789012"
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CONTEXT = {"aws:voiceid:domain:arn": DOMAIN}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint):
    """The customer's own view of KMS."""
    client = boto3.client("kms", endpoint_url=endpoint, region_name="eu-west-1")
    yield client
    client.close()


@pytest.fixture
def kms(endpoint):
    return AwsKms(region=None, endpoint_url=endpoint)


@pytest.fixture
def key_arn(aws):
    return aws.create_key()["KeyMetadata"]["Arn"]


def test_a_key_is_found_by_id_alias_and_arn(kms, aws, key_arn):
    aws.create_alias(AliasName="alias/bank", TargetKeyId=key_arn)
    key_id = key_arn.split("/")[1]
    alias_arn = key_arn.replace(f"key/{key_id}", "alias/bank")
    for name in (key_id, "alias/bank", key_arn, alias_arn):
        assert kms.resolve(name, **OWNER) == key_arn


def test_an_arn_is_looked_up_in_its_own_region(kms, key_arn):
    assert kms.resolve(key_arn, region="us-east-1", account_id="123456789012") == key_arn


def test_an_id_is_looked_up_in_the_region_that_was_set(endpoint, key_arn):
    key_id = key_arn.split("/")[1]
    elsewhere = {"region": "us-east-1", "account_id": "123456789012"}
    with pytest.raises(KeyDenied):
        AwsKms(region=None, endpoint_url=endpoint).resolve(key_id, **elsewhere)
    fixed = AwsKms(region="eu-west-1", endpoint_url=endpoint)
    assert fixed.resolve(key_id, **elsewhere) == key_arn


def test_a_data_key_opens_again(kms, endpoint, key_arn):
    data_key = kms.new_data_key(key_arn, domain_arn=DOMAIN)
    assert len(data_key.plain) == 32
    assert data_key.plain not in data_key.wrapped
    later = AwsKms(region=None, endpoint_url=endpoint)
    assert later.open_data_key(key_arn, data_key.wrapped, domain_arn=DOMAIN) == data_key.plain


def test_the_data_key_is_bound_to_the_domain_by_the_encryption_context(kms, aws, key_arn):
    data_key = kms.new_data_key(key_arn, domain_arn=DOMAIN)
    opened = aws.decrypt(CiphertextBlob=data_key.wrapped, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == data_key.plain
    with pytest.raises(KeyDenied, match="another domain"):
        kms.open_data_key(key_arn, data_key.wrapped, domain_arn=DOMAIN[:-1] + "3")


def test_a_data_key_opens_under_its_key_only(kms, aws, key_arn):
    wrapped = kms.new_data_key(key_arn, domain_arn=DOMAIN).wrapped
    other = aws.create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(KeyDenied):
        kms.open_data_key(other, wrapped, domain_arn=DOMAIN)


@pytest.mark.parametrize("wrapped", [b"", b"x", 6144 * b"x"])
def test_what_is_no_data_key_opens_nothing(kms, key_arn, wrapped):
    with pytest.raises(KeyDenied):
        kms.open_data_key(key_arn, wrapped, domain_arn=DOMAIN)


def test_a_disabled_key_is_refused_until_it_is_enabled(kms, aws, key_arn):
    aws.disable_key(KeyId=key_arn.split("/")[1])
    with pytest.raises(KeyDenied, match="Disabled"):
        kms.resolve(key_arn, **OWNER)
    aws.enable_key(KeyId=key_arn.split("/")[1])


def test_a_key_that_waits_for_deletion_is_refused(kms, aws, key_arn):
    aws.schedule_key_deletion(KeyId=key_arn.split("/")[1])
    with pytest.raises(KeyDenied, match="PendingDeletion"):
        kms.resolve(key_arn, **OWNER)


@pytest.mark.parametrize("name", ["1234abcd-12ab-34cd-56ef-1234567890ab", "alias/nobody", ARN])
def test_an_unknown_key_is_refused_and_not_made(kms, aws, name):
    with pytest.raises(KeyDenied, match="no such key") as refusal:
        kms.resolve(name, **OWNER)
    assert refusal.value.key_id == name
    with pytest.raises(KeyDenied):
        kms.new_data_key(ARN, domain_arn=DOMAIN)


@pytest.mark.parametrize(
    ("spec", "usage"), [("RSA_2048", "ENCRYPT_DECRYPT"), ("HMAC_256", "GENERATE_VERIFY_MAC")]
)
def test_a_key_of_another_kind_is_refused(kms, aws, spec, usage):
    arn = aws.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    with pytest.raises(KeyDenied, match="symmetric"):
        kms.resolve(arn, **OWNER)


@pytest.mark.parametrize("name", ["no key", "arn:aws:kms:evil.example/:123456789012:key/a"])
def test_a_name_that_is_none_is_asked_nobody(name):
    kms = AwsKms(region=None, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(InvalidRequest):
        kms.resolve(name, **OWNER)


def test_an_arn_that_is_none_is_no_key(kms):
    with pytest.raises(KeyDenied):
        kms.open_data_key("arn:nothing", b"wrapped", domain_arn=DOMAIN)


class Scripted:
    """A KMS that gives one answer to everything, and counts."""

    def __init__(self):
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                scripted.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                status, body = scripted.answer
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, code=0, size=0):
                pass

        self.asked = 0
        self.answer = (500, b"")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answers(self, status, **document):
        self.answer = (status, json.dumps(document).encode())

    def describes(self, **changes):
        sound = {
            "Arn": ARN,
            "KeyId": ARN.split("/")[1],
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": "Enabled",
        }
        self.answers(200, KeyMetadata={**sound, **changes})

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted():
    server = Scripted()
    yield server
    server.close()


def calls(kms):
    return (
        lambda: kms.resolve(ARN, **OWNER),
        lambda: kms.new_data_key(ARN, domain_arn=DOMAIN),
        lambda: kms.open_data_key(ARN, b"wrapped", domain_arn=DOMAIN),
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("DisabledException", "disabled"),
        ("KMSInvalidStateException", "state"),
        ("NotFoundException", "no such key"),
        ("AccessDeniedException", "does not let"),
        ("InvalidKeyUsageException", "symmetric"),
        ("IncorrectKeyException", "another key"),
        ("InvalidCiphertextException", "another domain"),
    ],
)
def test_what_kms_says_against_a_key_is_a_refusal(scripted, code, reason):
    scripted.answers(400, __type=code, message="arn:aws:iam::123456789012:user/somebody")
    kms = AwsKms(region=None, endpoint_url=scripted.url)
    for call in calls(kms):
        with pytest.raises(KeyDenied, match=reason) as refusal:
            call()
        assert "somebody" not in str(refusal.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ThrottlingException"),
        (400, "KeyUnavailableException"),
        (400, "DependencyTimeoutException"),
        (400, "UnrecognizedClientException"),
        (400, "ExpiredTokenException"),
        (500, "KMSInternalException"),
        (503, "ServiceUnavailable"),
    ],
)
def test_what_says_nothing_about_the_key_is_an_outage(scripted, status, code):
    scripted.answers(status, __type=code)
    kms = AwsKms(region=None, endpoint_url=scripted.url)
    for call in calls(kms):
        with pytest.raises(KeyServiceDown, match=code):
            call()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>not KMS</html>"),
        (200, b"{}"),
        (200, b""),
        (502, b"bad gateway"),
        (404, b"not found"),
        (200, b'{"Plaintext": "c2hvcnQ=", "CiphertextBlob": "c2hvcnQ="}'),
    ],
)
def test_an_answer_that_is_not_kmss_is_an_outage(scripted, answer):
    scripted.answer = answer
    for call in calls(AwsKms(region=None, endpoint_url=scripted.url)):
        with pytest.raises(KeyServiceDown):
            call()


def test_kms_is_asked_twice_at_most(scripted):
    with pytest.raises(KeyServiceDown):
        AwsKms(region=None, endpoint_url=scripted.url).resolve(ARN, **OWNER)
    assert scripted.asked == 2


def test_what_was_opened_is_asked_about_no_more(scripted):
    # How long it is kept is for the vault: asking would cost what opening costs.
    assert AwsKms(region=None, endpoint_url=scripted.url).is_usable(ARN)
    assert scripted.asked == 0


def test_a_kms_that_is_not_there_is_an_outage():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    kms = AwsKms(region=None, endpoint_url=f"http://127.0.0.1:{port}")
    for call in calls(kms):
        with pytest.raises(KeyServiceDown):
            call()


def test_an_address_that_is_none_is_an_outage():
    for call in calls(AwsKms(region=None, endpoint_url="nowhere")):
        with pytest.raises(KeyServiceDown):
            call()


def test_a_server_without_credentials_is_an_outage(monkeypatch, endpoint, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(KeyServiceDown, match="credentials"):
        AwsKms(region=None, endpoint_url=endpoint).resolve(ARN, **OWNER)
