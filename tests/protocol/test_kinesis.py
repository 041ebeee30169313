"""Calls of Amazon Connect, from a stand-in for Kinesis Video that the server's boto3 asks."""

import time
import uuid

import boto3
import pytest

from tests.contact_flow import invoked, load_function
from tests.kinesis import ARN, KinesisVideo
from tests.matroska import FIRST_NUMBER, NEXT_CONTACT, call, document, fragment, tags
from tests.server import as_bytes, complaints, new_domain, wait_for
from vivavoce.api.description import data_path

BEFORE = str(FIRST_NUMBER - 1)
SECOND = bytes(16 * 1024)
"""Of silence, as a fragment holds it: 1.024 s."""


@pytest.fixture(scope="module")
def videos():
    service = KinesisVideo()
    yield service
    service.close()


@pytest.fixture(scope="module")
def aws(videos):
    """Settings of a server that reads the stand-in, and whom AWS would take it for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield {"kinesis_endpoint_url": videos.url}


@pytest.fixture(scope="module")
def kinesis_server(launch, aws):
    server = launch(grace_s=1.5, idle_s=4, **aws)
    yield server
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def api(kinesis_server):
    return kinesis_server.client()


@pytest.fixture
def contact(api, videos):
    """A contact whose flow started media streaming."""

    class Contact:
        name = str(uuid.uuid4())
        domain_id = new_domain(api)
        stream, arn = videos.add(name)

        def start(self, **wanted):
            return api.start_session(
                DomainId=self.domain_id,
                SessionName=self.name,
                **{"AudioSource": self.arn, "StartFragmentNumber": BEFORE, **wanted},
            )

        @property
        def now(self):
            named = {"DomainId": self.domain_id, "SessionNameOrId": self.name}
            return api.describe_session(**named)["Session"]

        @property
        def received_s(self):
            return self.now["AudioProgress"]["ReceivedSeconds"]

        def evaluate(self):
            return api.evaluate_session(DomainId=self.domain_id, SessionNameOrId=self.name)

        def wait_for(self, status):
            wait_for(lambda: self.now["StreamingStatus"] == status)

    made = Contact()
    yield made
    made.stream.end()


def test_a_call_is_heard_and_decided_on(contact, voices):
    speech = as_bytes(voices.customer(seconds=12))
    contact.stream.put(*call(speech, bytes(len(speech))))
    answer = contact.start()
    assert "StreamUrl" not in answer
    assert answer["Session"]["StreamingStatus"] == "PENDING_CONFIGURATION"
    wait_for(lambda: contact.received_s == pytest.approx(len(speech) / 16000, abs=0.01))
    wait_for(lambda: contact.evaluate()["FraudDetectionResult"]["Decision"] == "LOW_RISK")
    assert contact.now["StreamingStatus"] == "ONGOING"
    assert contact.stream.selectors == [
        {"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": BEFORE}
    ]


def test_a_contact_flow_with_the_examples_function_gets_its_words(
    contact, kinesis_server, voices, monkeypatch
):
    access_key, secret = kinesis_server.access_key
    for name, value in {
        "AWS_DATA_PATH": str(data_path()),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_VOICE_ID": kinesis_server.url,
        "VOICE_DOMAIN_ID": contact.domain_id,
        "VOICE_ACCESS_KEY_ID": access_key,
        "VOICE_SECRET_ACCESS_KEY": secret,
    }.items():
        monkeypatch.setenv(name, value)
    # The default session keeps the data path of whoever used it first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    function = load_function()

    def invoke(action):
        event = invoked(action, contact.name, contact.arn, BEFORE, CustomerId="customer-1")
        return function.lambda_handler(event, None)

    invoke("start")
    inconclusive = {"voiceAuthentication": "NotEnrolled", "fraudDetection": "Inconclusive"}
    contact.wait_for("ONGOING")
    assert inconclusive.items() <= invoke("check").items()
    contact.stream.put(*call(as_bytes(voices.customer(seconds=14))))
    wait_for(lambda: invoke("check")["fraudDetection"] == "LowRisk")
    assert invoke("check")["enrollmentStatus"] == "NotEnrolled"
    function._voice_id().close()


def test_what_comes_while_the_call_lasts_is_heard_as_it_comes(contact):
    contact.start()
    for index in range(3):
        contact.stream.put(fragment(index, SECOND))
        wait_for(lambda index=index: contact.received_s == pytest.approx(1.024 * (index + 1)))


def test_without_a_fragment_to_begin_after_it_is_heard_from_now_on(contact, api):
    contact.stream.put(*(fragment(index, SECOND) for index in range(5)))
    api.start_session(DomainId=contact.domain_id, SessionName=contact.name, AudioSource=contact.arn)
    wait_for(lambda: contact.received_s == pytest.approx(1.024))
    assert contact.stream.selectors == [{"StartSelectorType": "NOW"}]


def test_a_lost_connection_is_taken_up_after_the_last_fragment_and_nothing_is_lost(contact):
    fragments = [fragment(index, SECOND) for index in range(6)]
    size = len(fragments[0])
    contact.stream.breaks_after_bytes = [2 * size + 5000, size // 2, 2 * size]
    contact.stream.put(*fragments)
    contact.start()
    wait_for(lambda: contact.received_s == pytest.approx(6 * 1.024))
    assert contact.now["AudioProgress"]["LostSeconds"] == 0
    numbers = [int(s["AfterFragmentNumber"]) - FIRST_NUMBER for s in contact.stream.selectors]
    assert numbers == [-1, 1, 1, 3]


def test_what_kinesis_video_lost_is_told_as_lost(contact):
    contact.stream.put(fragment(0, SECOND), fragment(3, SECOND))
    contact.start()
    wait_for(lambda: contact.received_s == pytest.approx(2 * 1.024))
    assert contact.now["AudioProgress"]["LostSeconds"] == pytest.approx(2 * 1.024)


def test_a_stream_that_serves_another_contact_ends_the_call(contact):
    contact.stream.put(fragment(0, SECOND), fragment(1, SECOND, contact=NEXT_CONTACT))
    contact.start()
    contact.wait_for("ENDED")
    assert contact.received_s == pytest.approx(1.024)


def test_a_connection_that_ends_for_good_ends_the_call_after_the_grace_period(contact):
    contact.stream.put(fragment(0, SECOND))
    contact.stream.end()
    contact.start()
    contact.wait_for("ENDED")
    assert contact.received_s == pytest.approx(1.024)
    assert 2 <= len(contact.stream.selectors) <= 5


def test_a_stream_on_which_nothing_comes_ends_the_call(contact, kinesis_server):
    contact.stream.put(fragment(0, SECOND))
    contact.start()
    contact.wait_for("ENDED")
    assert "Nothing came for 4 s" in kinesis_server.log


def test_a_session_that_is_ended_elsewhere_leaves_its_stream(contact, api):
    contact.stream.put(fragment(0, SECOND))
    contact.start()
    contact.wait_for("ONGOING")
    api.end_session(DomainId=contact.domain_id, SessionNameOrId=contact.name)
    assert contact.now["StreamingStatus"] == "ENDED"
    wait_for(lambda: contact.stream.left == 1)
    # The next stream of the session begins where it is told to.
    contact.start(StartFragmentNumber=str(FIRST_NUMBER))
    contact.stream.put(fragment(1, SECOND), fragment(2, SECOND))
    wait_for(lambda: contact.received_s == pytest.approx(2 * 1.024))


def test_a_request_that_is_repeated_is_read_once(contact):
    contact.stream.put(fragment(0, SECOND))
    token = {"ClientToken": "a" * 40}
    first = contact.start(**token)
    assert contact.start(**token)["Session"]["SessionId"] == first["Session"]["SessionId"]
    wait_for(lambda: contact.received_s == pytest.approx(1.024))
    contact.start(**token)
    assert len(contact.stream.selectors) == 1


@pytest.mark.parametrize(
    "error",
    [(404, "ResourceNotFoundException"), (401, "NotAuthorizedException")],
    ids=["no such stream", "not authorized"],
)
def test_a_stream_that_cannot_be_read_ends_with_the_reason_in_the_log(
    contact, kinesis_server, error
):
    contact.stream.error = error
    contact.start()
    contact.wait_for("ENDED")
    lines = [line for line in kinesis_server.log.splitlines() if contact.arn in line]
    assert len(lines) == 1
    assert "cannot be read" in lines[0]
    assert error[1] in lines[0]


def test_an_unknown_stream_ends_too(contact):
    contact.start(AudioSource=ARN.format("nobody"))
    contact.wait_for("ENDED")


def test_a_service_that_fails_for_a_while_is_asked_again(contact):
    contact.stream.error = (500, "InternalFailure")
    contact.stream.put(fragment(0, SECOND))
    contact.start()
    time.sleep(0.5)
    contact.stream.error = None
    wait_for(lambda: contact.received_s == pytest.approx(1.024))


def test_a_service_that_fails_for_good_ends_the_stream(contact):
    contact.stream.error = (500, "InternalFailure")
    contact.start()
    contact.wait_for("ENDED")


def test_an_error_within_the_stream_and_garbage_end_the_call_with_the_reason(
    contact, kinesis_server
):
    error = {"AWS_KINESISVIDEO_ERROR_CODE": "KMS denied", "AWS_KINESISVIDEO_ERROR_ID": "4500"}
    contact.stream.put(fragment(0, SECOND), document(tags(**error)))
    contact.start()
    contact.wait_for("ENDED")
    assert contact.received_s == pytest.approx(1.024)
    assert "KMS denied (4500)" in kinesis_server.log


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"AudioSource": "WebSocket"}, "StartFragmentNumber belongs to a Kinesis video stream"),
        ({"AudioSource": "Pigeon"}, "regular expression"),
        ({"AudioSource": "arn:aws:s3:::bucket"}, "regular expression"),
        ({"StartFragmentNumber": "x"}, "regular expression"),
        ({"StartFragmentNumber": "1" * 129}, "less than or equal to 128"),
    ],
    ids=["websocket", "pigeon", "bucket", "no number", "long number"],
)
def test_what_names_no_stream_is_refused(contact, api, wanted, message):
    with pytest.raises(api.exceptions.ValidationException, match=message):
        contact.start(**wanted)


def test_an_operators_stop_leaves_the_stream_in_time_and_decides_on_what_was_heard(
    serve, aws, videos, voices
):
    server = serve(**aws)
    client = server.client()
    domain_id = new_domain(client)
    stream, arn = videos.add("stop")
    stream.put(*call(as_bytes(voices.stranger(seconds=12))))
    named = {"DomainId": domain_id, "SessionNameOrId": "stop"}
    client.start_session(
        DomainId=domain_id, SessionName="stop", AudioSource=arn, StartFragmentNumber=BEFORE
    )
    _, silent_arn = videos.add("silent")
    client.start_session(DomainId=domain_id, SessionName="silent", AudioSource=silent_arn)
    wait_for(
        lambda: client.describe_session(**named)["Session"]["AudioProgress"]["ReceivedSeconds"] > 11
    )
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    server.start()
    evaluation = server.client().evaluate_session(**named)
    assert evaluation["StreamingStatus"] == "ENDED"
    assert "FraudDetectionResult" in evaluation
    assert complaints(server.log) == []


def test_who_has_no_credentials_is_told_so(serve, videos, aws, tmp_path):
    _, arn = videos.add("unread")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        server = serve(**aws)
    client = server.client()
    domain_id = new_domain(client)
    client.start_session(DomainId=domain_id, SessionName="call", AudioSource=arn)
    wait_for(lambda: "Unable to locate credentials" in server.log)
