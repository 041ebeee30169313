"""Events: whoever listens hears of everything, in order, and of no customer."""

import contextlib
import json
import socket
import threading
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.protocol.clients import ANNA, NOBODY, NOTHING, code_of, furnish, speech_of
from tests.server import as_bytes, hear_out, open_stream, wait_for

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "events"
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vZi1ldmVudHM="
CUSTOMERS = ("anna-4711-kunde", "ben-0815-kunde", "nobody-2342-kunde")

TOLD = Counter(
    {
        # By kind of event: how it is told.
        ("START_SESSION", "STREAMING_STARTED"): 2,
        ("START_SESSION", "STREAMING_ENDED"): 1,
        ("START_SESSION", "STREAMING_FAILED"): 3,  # two requests, and the stream that was killed
        ("UPDATE_SESSION", "SUCCEEDED"): 1,
        ("UPDATE_SESSION", "FAILED"): 2,
        ("EVALUATE_SESSION", "SUCCEEDED"): 2,
        ("EVALUATE_SESSION", "FAILED"): 2,
        ("SESSION_ENROLLMENT_REQUEST", "SUBMITTED"): 1,
        ("SESSION_ENROLLMENT_REQUEST", "FAILED"): 2,
        ("ENROLL_SPEAKER", "SUCCEEDED"): 1,
        ("OPT_OUT_SPEAKER", "SUCCEEDED"): 2,
        ("OPT_OUT_SPEAKER", "FAILED"): 1,
        ("DELETE_SPEAKER", "SUCCEEDED"): 1,
        ("DELETE_SPEAKER", "FAILED"): 2,
        ("REGISTER_FRAUDSTER", "SUCCEEDED"): 1,
        ("REGISTER_FRAUDSTER", "FAILED"): 2,
        ("DELETE_FRAUDSTER", "SUCCEEDED"): 1,
        ("DELETE_FRAUDSTER", "FAILED"): 1,
        ("BATCH_SPEAKER_ENROLLMENT_REQUEST", "SUBMITTED"): 1,
        ("BATCH_SPEAKER_ENROLLMENT_REQUEST", "FAILED"): 1,  # there is no manifest
        ("BATCH_FRAUDSTER_REGISTRATION_REQUEST", "SUBMITTED"): 1,
        ("BATCH_FRAUDSTER_REGISTRATION_REQUEST", "FAILED"): 1,
    }
)


class Receiver:
    """A webhook's receiver; nobody listens on its port until it is started."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.posts = []
        self._server = None

    def start(self):
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format, *args):  # noqa: A002 - the name it has in http.server
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def events(self):
        """What came, each event once, in the order in which it came first."""
        found = {}
        for _, body in self.posts:
            event = json.loads(body)
            found.setdefault(event["detail"]["sourceId"], event)
        return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened, and what was told of it."""

    place: object
    file: Path
    receiver: Receiver

    @property
    def lines(self):
        return self.file.read_text(encoding="utf-8").splitlines()

    @property
    def events(self):
        found = {}
        for line in self.lines:
            event = json.loads(line)
            found.setdefault(event["detail"]["sourceId"], event)
        return list(found.values())

    def of(self, action, status):
        wanted = (action, status)
        return [
            event["detail"]
            for event in self.events
            if (event["detail"]["action"], event["detail"]["status"]) == wanted
        ]


@pytest.fixture(scope="module")
def story(launch, connect, tmp_path_factory):
    """Everything happens while the webhook's receiver is down; then the server is killed."""
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    receiver = Receiver()
    server = launch(
        events_file=file,
        events_webhook_url=f"http://127.0.0.1:{receiver.port}/hook",
        events_webhook_secret=SECRET,
    )
    client = connect(server)
    place = furnish(server, client, CUSTOMERS[0])
    with contextlib.closing(receiver):
        happen(client, place)
        hanging = client.start_session(DomainId=place.domain_id, SpeakerId=CUSTOMERS[0])
        with open_stream(hanging["StreamUrl"]) as stream:
            assert json.loads(stream.recv(timeout=30))["type"]
            server.kill()
        server.start()
        story = Story(place=place, file=file, receiver=receiver)
        wait_for(lambda: has_delivered(server, "file"))
        assert receiver.posts == []
        receiver.start()
        wait_for(lambda: has_delivered(server, "webhook"), at_most_s=60)
        yield story


def has_delivered(server, sink):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        return f'vivavoce_outbox_waiting{{sink="{sink}"}} 0.0' in answer.read().decode()


def happen(client, place):
    """Every operation that is told of, well and ill, and some that are not."""
    domain = {"DomainId": place.domain_id}
    session = {**domain, "SessionNameOrId": place.session_id}
    named = {**domain, "SessionNameOrId": place.session_name}
    missing_list = {"FraudDetectionConfiguration": {"WatchlistId": NOTHING}}

    call = client.start_session(**domain, SessionName="told", SpeakerId=CUSTOMERS[0])
    with open_stream(call["StreamUrl"]) as stream:
        stream.send(as_bytes(speech_of(ANNA, seconds=1)))
        stream.send('{"type": "end"}')
        hear_out(stream)
    told = {**domain, "SessionNameOrId": "told"}
    code_of(client.start_session, **domain, SessionName="refused", **missing_list)
    code_of(client.start_session, **domain, SpeakerId=NOBODY)

    client.update_session(**told, SpeakerId=CUSTOMERS[0])
    code_of(client.update_session, **told, **missing_list)
    code_of(client.update_session, **domain, SessionNameOrId=NOBODY, SpeakerId=CUSTOMERS[1])

    client.evaluate_session(**session)
    client.evaluate_session(**session)  # nothing new, and told of again
    code_of(client.evaluate_session, **domain, SessionNameOrId="unheard-of")
    code_of(client.evaluate_session, **domain, SessionNameOrId=NOBODY)

    client.enroll_by_session(**session)
    code_of(client.enroll_by_session, **session)
    code_of(client.enroll_by_session, **domain, SessionNameOrId="unheard-of")

    client.register_fraudster_by_session(**session, WatchlistIds=[place.watchlist_id])
    code_of(client.register_fraudster_by_session, **named, WatchlistIds=[NOTHING])
    code_of(client.register_fraudster_by_session, **domain, SessionNameOrId="unheard-of")

    fraudster = {**domain, "FraudsterId": place.fraudster_id}
    client.associate_fraudster(**fraudster, WatchlistId=place.watchlist_id)
    client.disassociate_fraudster(**fraudster, WatchlistId=place.watchlist_id)
    client.delete_fraudster(**fraudster)
    code_of(client.delete_fraudster, **fraudster)

    client.opt_out_speaker(**domain, SpeakerId=CUSTOMERS[0])
    client.opt_out_speaker(**domain, SpeakerId=CUSTOMERS[1])
    code_of(client.opt_out_speaker, **domain, SpeakerId=NOBODY)
    client.delete_speaker(**domain, SpeakerId=CUSTOMERS[0])
    code_of(client.delete_speaker, **domain, SpeakerId=CUSTOMERS[2])
    code_of(client.delete_speaker, **domain, SpeakerId=place.speaker_id)

    client.tag_resource(ResourceArn=place.arn, Tags=[{"Key": "a", "Value": "b"}])
    client.describe_domain(**domain)


def test_everything_that_must_be_told_is_told_and_nothing_else(story):
    told = Counter(
        (event["detail"]["action"], event["detail"]["status"])
        for event in story.events
        if not is_of_a_stream(event["detail"], story.place)
    )
    assert told == TOLD


def is_of_a_stream(detail, place):
    """Whether it tells of a decision that nobody asked for: a live stream shows what it finds."""
    return (detail["action"], detail["status"]) == ("EVALUATE_SESSION", "SUCCEEDED") and (
        detail["session"]["sessionId"] != place.session_id
    )


def test_every_line_is_what_its_schema_says(story):
    validators = {}
    for file in SCHEMAS.glob("*.schema.json"):
        schema = json.loads(file.read_text(encoding="utf-8"))
        kind = schema["properties"]["detail-type"]["const"]
        validators[kind] = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.FormatChecker()
        )
    assert len(validators) == 8
    events = [json.loads(line) for line in story.lines]
    assert {event["detail-type"] for event in events} == validators.keys()
    wrong = [
        (event["detail"]["action"], event["detail"]["status"], error.json_path, error.message[:200])
        for event in events
        for error in validators[event["detail-type"]].iter_errors(event)
    ]
    assert wrong == []


def test_a_failure_says_what_was_wrong(story):
    for event in story.events:
        detail = event["detail"]
        failed = "FAILED" in detail["status"]
        assert (detail["errorInfo"] is not None) == failed
    (unknown, gone) = story.of("DELETE_SPEAKER", "FAILED")
    assert unknown["errorInfo"] == {
        "errorCode": 404,
        "errorMessage": "The requested speaker does not exist",
        "errorType": "RESOURCE_NOT_FOUND",
    }
    assert unknown["generatedSpeakerId"] is None
    assert gone["generatedSpeakerId"] == story.place.speaker_id
    again = story.of("SESSION_ENROLLMENT_REQUEST", "FAILED")[0]
    assert again["errorInfo"]["errorType"] == "CONFLICT"
    assert again["errorInfo"]["errorCode"] == 409


def test_what_succeeded_is_told_with_what_it_was(story):
    place = story.place
    (enrolled,) = story.of("ENROLL_SPEAKER", "SUCCEEDED")
    assert enrolled["generatedSpeakerId"] == place.speaker_id
    assert enrolled["data"] == {
        "enrollmentSource": "SESSION_ENROLLMENT",
        "enrollmentSourceId": place.session_id,
        "enrollmentStatus": "ENROLLMENT_OVERWRITE",
    }
    (registered,) = story.of("REGISTER_FRAUDSTER", "SUCCEEDED")
    assert registered["watchlistIds"] == [place.watchlist_id]
    assert registered["data"]["registrationSourceId"] == place.session_id
    (deleted,) = story.of("DELETE_FRAUDSTER", "SUCCEEDED")
    assert deleted["generatedFraudsterId"] == place.fraudster_id
    assert deleted["watchlistIds"] == [place.default_watchlist_id]
    evaluated = next(
        detail["session"]
        for detail in story.of("EVALUATE_SESSION", "SUCCEEDED")
        if not is_of_a_stream(detail, place)
    )
    assert evaluated["authenticationResult"]["decision"] == "ACCEPT"
    assert evaluated["fraudDetectionResult"]["decision"] == "LOW_RISK"
    (job,) = story.of("BATCH_SPEAKER_ENROLLMENT_REQUEST", "SUBMITTED")
    assert job["batchJobId"] == place.enrollment_job_id


def test_no_customer_is_named(story):
    everything = story.file.read_text(encoding="utf-8") + "".join(
        body.decode() for _, body in story.receiver.posts
    )
    for customer_id in CUSTOMERS:
        assert customer_id not in everything


def test_events_of_one_resource_come_in_order(story):
    for events in (story.events, story.receiver.events):
        times = defaultdict(list)
        for event in events:
            detail = event["detail"]
            about = detail.get("session", detail)
            for name in ("sessionId", "generatedSpeakerId", "generatedFraudsterId", "batchJobId"):
                if about.get(name) is not None:
                    times[name, about[name]].append(event)
                    break
        assert any(len(of_one) > 3 for of_one in times.values())
        for of_one in times.values():
            moments = [event["time"] for event in of_one]
            assert moments == sorted(moments)
        statuses = [
            event["detail"]["status"]
            for event in events
            if event["detail"]["action"] == "START_SESSION"
            and event["detail"]["session"]["sessionName"] == "told"
        ]
        assert statuses == ["STREAMING_STARTED", "STREAMING_ENDED"]


def test_a_stream_that_a_crash_cut_off_is_told_as_failed(story):
    failed = story.of("START_SESSION", "STREAMING_FAILED")[-1]
    started = story.of("START_SESSION", "STREAMING_STARTED")[-1]
    assert failed["session"]["sessionId"] == started["session"]["sessionId"]
    assert failed["errorInfo"]["errorType"] == "INTERNAL_ERROR"


def test_a_receiver_that_was_down_gets_everything_once_it_is_up(story):
    by_source = {event["detail"]["sourceId"]: event for event in story.events}
    got = {event["detail"]["sourceId"]: event for event in story.receiver.events}
    assert got == by_source


def test_what_is_posted_is_signed(story):
    for headers, body in story.receiver.posts:
        event = Webhook(SECRET).verify(body, headers)
        assert event == json.loads(body)
        assert headers["content-type"] == "application/json"
    headers, body = story.receiver.posts[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b'"0"', b'"1"'), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cw==").verify(body, headers)


def test_nobody_else_can_read_the_file(story):
    assert story.file.stat().st_mode & 0o077 == 0
