"""Sinks against what they talk to: web servers, an EventBridge of moto's, a real outbox."""

import asyncio
import json
import threading
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import create_engine
from standardwebhooks import Webhook, WebhookVerificationError

from vivavoce.clock import SystemClock
from vivavoce.errors import DeliveryFailed, SinkBusy
from vivavoce.events.delivery import DeliveryWorker, Patience
from vivavoce.events.eventbridge import EventBridgeSink
from vivavoce.events.jsonl import JsonLinesSink
from vivavoce.events.webhook import WebhookSink
from vivavoce.store import tables
from vivavoce.store.outbox import OutboxRows

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ARN = "arn:aws:voiceid:us-east-1:123456789012:domain/7777aaaaaaaa7777777777"


def envelope(number=1) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "VoiceId Speaker Action",
        "source": "aws.voiceid",
        "account": "123456789012",
        "time": "2021-10-04T22:54:47.123Z",
        "region": "us-east-1",
        "resources": [ARN],
        "detail": {"sourceId": "d37TQH3dw3jcjxi8Cj3jtQ", "number": number, "text": "Grüße"},
    }


class Receiver:
    """A web server that answers as it is told, and keeps what it was sent."""

    def __init__(self):
        self.answers = []  # status, headers, body: for the first requests; then 204
        self.received = []
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append((self.path, headers, body))
                receiver.hold.wait(10)
                status, answer_headers, answer = (
                    receiver.answers.pop(0) if receiver.answers else (204, {}, b"")
                )
                self.send_response(status)
                for name, value in answer_headers.items():
                    self.send_header(name, value)
                if "content-length" not in answer_headers:
                    self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format, *args):  # noqa: A002 - its name in the base class
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?a=b"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with closing(Receiver()) as receiver:
        yield receiver


@pytest.fixture
async def webhook(receiver):
    sink = WebhookSink(receiver.url, SECRET, clock=SystemClock(), timeout_s=2)
    yield sink
    await sink.close()


async def test_an_independent_library_verifies_what_the_webhook_signs(receiver, webhook):
    body = envelope()
    await webhook.deliver(body["id"], json.dumps(body, ensure_ascii=False))
    ((path, headers, content),) = receiver.received
    assert path == "/hook?a=b"
    assert headers["webhook-id"] == body["id"]
    assert headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(content, headers) == body
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(content, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(content + b" ", headers)


async def test_while_the_secret_changes_both_the_old_and_the_new_one_verify(receiver):
    sink = WebhookSink(receiver.url, f"{OTHER_SECRET} {SECRET}", clock=SystemClock())
    await sink.deliver("e1", "{}")
    await sink.close()
    ((_, headers, content),) = receiver.received
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(content, headers) == {}


async def test_another_attempt_has_the_same_id_and_a_fresh_signature(receiver):
    class Later:
        ms = SystemClock().now_ms() - 60_000

        def now_ms(self):
            return self.ms

    clock = Later()
    sink = WebhookSink(receiver.url, SECRET, clock=clock)
    receiver.answers = [(500, {}, b"")]
    with pytest.raises(SinkBusy, match="answered 500"):
        await sink.deliver("e1", "{}")
    clock.ms += 60_000
    await sink.deliver("e1", "{}")
    await sink.close()
    (_, first, _), (_, second, content) = receiver.received
    assert first["webhook-id"] == second["webhook-id"] == "e1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert Webhook(SECRET).verify(content, second) == {}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_a_success(receiver, webhook, status):
    receiver.answers = [(status, {}, b"")]
    await webhook.deliver("e1", "{}")


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 429, 500, 502, 503])
async def test_what_says_something_about_the_receiver_stops_all_events(receiver, webhook, status):
    receiver.answers = [(status, {"location": receiver.url}, b"")]
    with pytest.raises(SinkBusy, match=f"answered {status}") as failure:
        await webhook.deliver("e1", "{}")
    assert not failure.value.is_final
    assert len(receiver.received) == 1  # no redirect is followed


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_is_the_events_own_fault_does_not_stop_the_others(receiver, webhook, status):
    receiver.answers = [(status, {}, b"")]
    with pytest.raises(DeliveryFailed, match=f"answered {status}") as failure:
        await webhook.deliver("e1", "{}")
    assert not isinstance(failure.value, SinkBusy)
    assert not failure.value.is_final


async def test_gone_is_final(receiver, webhook):
    receiver.answers = [(410, {}, b"")]
    with pytest.raises(DeliveryFailed) as failure:
        await webhook.deliver("e1", "{}")
    assert failure.value.is_final


def in_seconds(seconds):
    """An instant as HTTP writes it; asked for when the test runs."""
    return lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("-5", 0, 0),
        ("1e99", 3600, 3600),
        ("999999", 3600, 3600),
        (in_seconds(300), 290, 300),
        (in_seconds(-300), 0, 0),
    ],
)
async def test_a_receiver_is_left_alone_as_long_as_it_asks(
    receiver, webhook, asked, least_s, most_s
):
    receiver.answers = [(503, {"retry-after": asked() if callable(asked) else asked}, b"")]
    with pytest.raises(SinkBusy) as failure:
        await webhook.deliver("e1", "{}")
    assert failure.value.after_s is not None
    assert least_s <= failure.value.after_s <= most_s


@pytest.mark.parametrize("asked", ["soon", "", "nan", "Mon, 99 Foo 2026", "\xff"])
async def test_a_retry_after_that_means_nothing_is_passed_over(receiver, webhook, asked):
    receiver.answers = [(429, {"retry-after": asked}, b"")]
    with pytest.raises(SinkBusy) as failure:
        await webhook.deliver("e1", "{}")
    assert failure.value.after_s is None


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(receiver):
    sink = WebhookSink(receiver.url, SECRET, clock=SystemClock(), timeout_s=0.2)
    receiver.hold.clear()
    async with asyncio.timeout(2):
        with pytest.raises(SinkBusy, match=r"within 0\.2 s"):
            await sink.deliver("e1", "{}")
    await sink.close()


async def test_an_endless_answer_does_not_undo_a_delivery(receiver, webhook):
    receiver.answers = [(200, {"content-length": "1000000000"}, b"x" * 500_000)]
    async with asyncio.timeout(5):
        await webhook.deliver("e1", "{}")
        await webhook.deliver("e2", "{}")
    assert len(receiver.received) == 2


async def test_an_answer_that_stops_half_way_does_not_undo_a_delivery(receiver, webhook):
    receiver.answers = [(200, {"content-length": "100"}, b"half")]
    async with asyncio.timeout(5):
        await webhook.deliver("e1", "{}")


async def test_where_nobody_listens_the_password_in_the_url_stays_secret():
    sink = WebhookSink("http://user:hunter2@127.0.0.1:9/", SECRET, clock=SystemClock())
    with pytest.raises(SinkBusy) as failure:
        await sink.deliver("e1", "{}")
    assert "hunter2" not in str(failure.value)
    await sink.close()


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto, monkeypatch):
    """Credentials as boto3 finds them, and clients of the stand-in."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    made = []

    def client(service):
        made.append(boto3.client(service, endpoint_url=moto, region_name="us-east-1"))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def bus(aws):
    """An event bus of its own, whose events come out again in a log."""
    events, logs = aws("events"), aws("logs")
    name = f"bus-{uuid.uuid4()}"
    group = f"/aws/events/{name}"
    events.create_event_bus(Name=name)
    logs.create_log_group(logGroupName=group)
    pattern = json.dumps({"account": ["123456789012"]})
    events.put_rule(Name="all", EventBusName=name, EventPattern=pattern)
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{group}"
    events.put_targets(Rule="all", EventBusName=name, Targets=[{"Id": "log", "Arn": arn}])

    def arrived():
        found = logs.filter_log_events(logGroupName=group)["events"]
        return [json.loads(event["message"]) for event in found]

    return name, arrived


async def test_an_event_arrives_on_the_bus(moto, bus):
    name, arrived = bus
    sink = EventBridgeSink(name, region="us-east-1", endpoint_url=moto)
    body = envelope()
    await sink.deliver(body["id"], json.dumps(body))
    await sink.close()
    (event,) = arrived()
    for member in ("detail-type", "source", "resources", "detail"):
        assert event[member] == body[member]
    assert event["time"].startswith("2021-10-04T22:54:47")


async def test_the_source_can_be_another_one(moto, bus):
    name, arrived = bus
    sink = EventBridgeSink(
        name, region="us-east-1", endpoint_url=moto, source="com.example.voiceid"
    )
    await asyncio.gather(*(sink.deliver("e", json.dumps(envelope(n))) for n in range(4)))
    await sink.close()
    assert {event["source"] for event in arrived()} == {"com.example.voiceid"}
    assert sorted(event["detail"]["number"] for event in arrived()) == [0, 1, 2, 3]


async def test_a_bus_that_is_not_there_may_come(moto, aws):
    sink = EventBridgeSink("missing", region="us-east-1", endpoint_url=moto)
    with pytest.raises(SinkBusy, match="ResourceNotFoundException"):
        await sink.deliver("e1", json.dumps(envelope()))
    await sink.close()


async def test_an_entry_that_the_bus_refuses_is_final(moto, bus):
    name, arrived = bus
    sink = EventBridgeSink(name, region="us-east-1", endpoint_url=moto)
    with pytest.raises(DeliveryFailed, match="InvalidArgument") as failure:
        await sink.deliver("e1", json.dumps({**envelope(), "detail-type": ""}))
    assert failure.value.is_final
    assert arrived() == []
    await sink.close()


async def test_an_endpoint_that_is_down_may_come_up(aws):
    sink = EventBridgeSink("bus", region="us-east-1", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(SinkBusy, match="not reached"):
        await sink.deliver("e1", json.dumps(envelope()))
    await sink.close()


async def test_missing_credentials_may_be_given_later(moto, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sink = EventBridgeSink("bus", region="us-east-1", endpoint_url=moto)
    with pytest.raises(SinkBusy, match="NoCredentials"):
        await sink.deliver("e1", json.dumps(envelope()))
    await sink.close()


class TableOutbox:
    """The outbox of a database, a transaction a call."""

    def __init__(self, path):
        self.engine = create_engine(f"sqlite:///{path}")
        tables.metadata.create_all(self.engine)

    def write(self, work):
        with self.engine.begin() as connection:
            return work(OutboxRows(connection))

    async def due(self, sink, *, now_ms, limit):
        return self.write(lambda rows: rows.due(sink, now_ms=now_ms, limit=limit))

    async def delivered(self, sequence):
        return self.write(lambda rows: rows.delivered(sequence))

    async def failed(self, sequence, error, *, next_attempt_ms):
        self.write(lambda rows: rows.failed(sequence, error, next_attempt_ms=next_attempt_ms))

    async def bury(self, sequence, error):
        self.write(lambda rows: rows.bury(sequence, error))


@pytest.fixture
def outbox(tmp_path):
    outbox = TableOutbox(tmp_path / "outbox.db")
    yield outbox
    outbox.engine.dispose()


async def deliver_all(outbox, sink, patience):
    worker = DeliveryWorker(sink, outbox=outbox, clock=SystemClock(), patience=patience)
    worker.start()
    async with asyncio.timeout(20):
        # What is waited for is in a database.
        while outbox.write(lambda rows: rows.depth(sink.name).waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await worker.stop(grace_s=5)


async def test_from_the_outbox_to_every_sink_in_order_with_trouble_on_the_way(
    outbox, tmp_path, receiver
):
    made = [(f"session-{n % 5}", envelope(n)) for n in range(60)]

    def put(rows):
        for resource, body in made:
            rows.add(
                ["file", "webhook"], resource=resource, body=body, now_ms=SystemClock().now_ms()
            )

    outbox.write(put)
    refused = (400, {}, b"")
    receiver.answers = [(503, {"retry-after": "0"}, b""), *[refused] * 4, (410, {}, b"")]
    file = tmp_path / "events.jsonl"
    patience = Patience(first_s=0.01, longest_s=0.02, attempts=30)
    await asyncio.gather(
        deliver_all(outbox, JsonLinesSink(file), patience),
        deliver_all(outbox, WebhookSink(receiver.url, SECRET, clock=SystemClock()), patience),
    )
    wanted = {resource: [] for resource, _ in made}
    for resource, body in made:
        wanted[resource].append(body["id"])
    resource_of = {body["id"]: resource for resource, body in made}

    in_file = {resource: [] for resource in wanted}
    for text in file.read_text("utf-8").splitlines():
        event_id = json.loads(text)["id"]
        in_file[resource_of[event_id]].append(event_id)
    assert in_file == wanted

    (dead,) = outbox.write(lambda rows: rows.dead(after=0, size=10))
    assert "answered 410" in dead.last_error
    at_receiver = {resource: [] for resource in wanted}
    for _, headers, content in receiver.received:
        body = Webhook(SECRET).verify(content, headers)
        ours = at_receiver[resource_of[body["id"]]]
        if body["id"] not in ours:  # tried again: at least once, not exactly once
            ours.append(body["id"])
    assert at_receiver == wanted
