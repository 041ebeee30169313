"""What Prometheus reads of a server that is used."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.protocol.clients import NOTHING, Caller, furnish, make_keys, policy, requests_in
from tests.server import wait_for

CUSTOMER = "anna-4711-kunde"


class Scrape:
    """The samples of one look."""

    def __init__(self, server):
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            self.text = answer.read().decode()
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def get(self, name, **labels):
        return self._samples.get((f"vivavoce_{name}", tuple(sorted(labels.items()))))

    def labels_of(self, name, label):
        return {
            dict(labels)[label] for found, labels in self._samples if found == f"vivavoce_{name}"
        }


@pytest.fixture(scope="module")
def server(launch, tmp_path_factory):
    return launch(
        events_file=tmp_path_factory.mktemp("events") / "events.jsonl",
        throttle_tps='{"ListSpeakers": 1}',
    )


@pytest.fixture(scope="module")
def place(server, connect):
    return furnish(server, connect(server), CUSTOMER)


def change(server, do, name, **labels):
    """By how much a counter goes up while something is done."""
    before = Scrape(server).get(name, **labels) or 0
    do()
    return (Scrape(server).get(name, **labels) or 0) - before


def test_every_request_is_timed_under_its_operation(server, place):
    caller = Caller(server)
    domain = {"DomainId": place.domain_id}
    count = "request_latency_seconds_count"
    for _ in range(2):
        answered = change(
            server, lambda: caller.send("DescribeDomain", domain), count, api="DescribeDomain"
        )
        assert answered == 1
    scrape = Scrape(server)
    everything = scrape.get("request_latency_seconds_bucket", api="DescribeDomain", le="+Inf")
    assert everything == scrape.get(count, api="DescribeDomain")


def test_errors_are_counted_by_operation_and_code(server, place):
    caller = Caller(server)
    (nobody,) = make_keys(server, policy("s3:GetObject"))
    unknown = {"DomainId": place.domain_id, "SpeakerId": "nobody"}
    for send, code in (
        (lambda: caller.send("DeleteSpeaker", unknown), "ResourceNotFoundException"),
        (lambda: caller.send("DeleteSpeaker", {}), "ValidationException"),
        (lambda: caller.send("DeleteSpeaker", b"{"), "SerializationException"),
        (
            lambda: Caller(server, nobody).send("DeleteSpeaker", unknown),
            "AccessDeniedException",
        ),
    ):
        assert change(server, send, "user_errors_total", api="DeleteSpeaker", code=code) == 1
    assert Scrape(server).get("system_errors_total", api="DeleteSpeaker") == 0


def test_what_names_no_operation_makes_no_series_of_its_own(server):
    caller = Caller(server)
    for made_up in ("VoiceID.MadeUp", "x" * 1000, "VoiceID.DescribeDomain2"):
        grown = change(
            server,
            lambda made_up=made_up: caller.send("", {}, target=made_up),
            "user_errors_total",
            api="unknown",
            code="UnknownOperationException",
        )
        assert grown == 1
    unsigned = {"api": "unknown", "code": "InvalidSignatureException"}
    guess = caller.with_secret("guessed")
    assert (
        change(server, lambda: guess.send("ListDomains", {}), "user_errors_total", **unsigned) == 1
    )
    assert "MadeUp" not in Scrape(server).text


def test_a_throttled_request_is_no_user_error(server, place):
    caller = Caller(server)
    domain = {"DomainId": place.domain_id}

    def hurry():
        codes = [caller.code_of("ListSpeakers", domain) for _ in range(6)]
        assert "ThrottlingException" in codes

    assert change(server, hurry, "throttles_total", api="ListSpeakers") >= 1
    errors = Scrape(server)
    throttled = errors.get("user_errors_total", api="ListSpeakers", code="ThrottlingException")
    assert throttled is None


def test_a_decision_is_counted_once(server, connect):
    place = furnish(server, connect(server))
    caller = Caller(server)
    evaluate = requests_in(place)["EvaluateSession"]
    accepted = {"kind": "authentication", "decision": "ACCEPT", "reason": ""}
    harmless = {"kind": "fraud", "decision": "LOW_RISK", "reason": ""}
    before = Scrape(server)
    for _ in range(3):
        assert caller.code_of("EvaluateSession", evaluate) == "OK"
    after = Scrape(server)
    for labels in (accepted, harmless):
        was, now = (scrape.get("decisions_total", **labels) or 0 for scrape in (before, after))
        assert now - was == 1


def test_what_domains_hold_is_counted_and_a_deleted_domains_series_go(server, place, connect):
    client = connect(server)
    kept = furnish(server, client)
    client.start_session(DomainId=kept.domain_id)
    gone = furnish(server, client)
    client.delete_domain(DomainId=gone.domain_id)
    server.stop()
    server.start()  # counts at once, and then every minute
    wait_for(lambda: Scrape(server).get("speakers", domain=kept.domain_id))
    scrape = Scrape(server)
    for name, value in {
        "active_sessions": 1,
        "active_speaker_enrollment_jobs": 0,
        "active_fraudster_registration_jobs": 0,
        "speakers": 1,
        "fraudsters": 1,
    }.items():
        assert scrape.get(name, domain=kept.domain_id) == value, name
        assert scrape.get(name, domain=gone.domain_id) is None


def test_the_outbox_is_shown_by_sink(server, place):
    caller = Caller(server)
    caller.send("EvaluateSession", requests_in(place)["EvaluateSession"])
    wait_for(lambda: Scrape(server).get("outbox_waiting", sink="file") == 0)
    scrape = Scrape(server)
    assert scrape.get("outbox_dead", sink="file") == 0
    assert scrape.get("outbox_lag_seconds", sink="file") == 0
    assert scrape.labels_of("outbox_waiting", "sink") == {"file"}


def test_gauges_of_what_waits_are_there(server):
    scrape = Scrape(server)
    for name in ("live_calls", "engine_waiting", "store_writer_waiting"):
        assert scrape.get(name) == 0


def test_nobody_is_named(server, place):
    caller = Caller(server)
    for operation in ("DescribeSpeaker", "EvaluateSession", "ListTagsForResource"):
        caller.send(operation, requests_in(place)[operation])
    caller.send("DescribeDomain", {"DomainId": NOTHING})
    text = Scrape(server).text
    for secret in (CUSTOMER, place.speaker_id, place.session_id, NOTHING, server.access_key[0]):
        assert secret not in text
