import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vivavoce.metrics import Metrics, generate_latest, new_registry

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


@dataclass(frozen=True, kw_only=True)
class Counts:
    domain_id: str
    active_sessions: int = 0
    active_enrollment_jobs: int = 0
    active_registration_jobs: int = 0
    speakers: int = 0
    fraudsters: int = 0


@dataclass(frozen=True, kw_only=True)
class Depth:
    waiting: int
    dead: int
    oldest_created_ms: int | None


class Server:
    """Metrics of a server, and what a scrape of them shows."""

    def __init__(self):
        self.registry = new_registry(live_calls=lambda: 3)
        self.metrics = Metrics(self.registry, operations=["EvaluateSession", "DeleteSpeaker"])

    def scrape(self):
        """Value by name and labels, of what is ours."""
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        return {
            (sample.name.removeprefix("vivavoce_"), *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("vivavoce_")
        }

    def series(self, name):
        """Value by label values, of one name."""
        return {
            tuple(value for _, value in labels): shown
            for (found, *labels), shown in self.scrape().items()
            if found == name
        }


@pytest.fixture
def server():
    return Server()


def test_a_request_is_counted_by_operation_and_bucket(server):
    server.metrics.answered("EvaluateSession", 0.003, None)
    server.metrics.answered("EvaluateSession", 0.7, None)
    assert server.series("request_latency_seconds_count") == {("EvaluateSession",): 2}
    assert server.series("request_latency_seconds_sum")["EvaluateSession",] == 0.703
    buckets = server.series("request_latency_seconds_bucket")
    assert buckets["EvaluateSession", "0.005"] == 1
    assert buckets["EvaluateSession", "1.0"] == 2


@pytest.mark.parametrize(
    ("code", "series"),
    [
        ("InternalServerException", ("system_errors_total", ("EvaluateSession",))),
        ("ThrottlingException", ("throttles_total", ("EvaluateSession",))),
        (
            "ValidationException",
            ("user_errors_total", ("EvaluateSession", "ValidationException")),
        ),
        (
            "AccessDeniedException",
            ("user_errors_total", ("EvaluateSession", "AccessDeniedException")),
        ),
    ],
)
def test_an_error_counts_as_ours_or_the_callers_or_a_throttle(server, code, series):
    server.metrics.answered("EvaluateSession", 0.01, code)
    counted = {
        (name, labels): value
        for name in ("system_errors_total", "throttles_total", "user_errors_total")
        for labels, value in server.series(name).items()
        if value
    }
    assert counted == {series: 1}


def test_errors_of_ours_are_there_at_zero_before_the_first(server):
    assert server.series("system_errors_total") == {
        ("EvaluateSession",): 0,
        ("DeleteSpeaker",): 0,
        ("unknown",): 0,
    }


@given(st.text(max_size=50) | st.none())
def test_what_callers_make_up_makes_no_series(operation):
    server = Server()
    server.metrics.answered("DeleteEverything", 0.01, "ThrottlingException")
    before = server.scrape().keys()
    server.metrics.answered(operation, 0.01, "ThrottlingException")
    assert server.scrape().keys() == before
    assert server.series("throttles_total")["unknown",] == 2


def test_decisions_are_counted_by_outcome(server):
    server.metrics.decided("authentication", "ACCEPT")
    server.metrics.decided("authentication", "ACCEPT")
    server.metrics.decided("fraud", "HIGH_RISK", ("VOICE_SPOOFING", "KNOWN_FRAUDSTER"))
    server.metrics.decided("fraud", "HIGH_RISK", ("KNOWN_FRAUDSTER",))
    assert server.series("decisions_total") == {  # in the order of the labels' names
        ("ACCEPT", "authentication", ""): 2,
        ("HIGH_RISK", "fraud", "KNOWN_FRAUDSTER+VOICE_SPOOFING"): 1,
        ("HIGH_RISK", "fraud", "KNOWN_FRAUDSTER"): 1,
    }


def test_domains_show_what_they_hold_until_they_are_gone(server):
    first = Counts(
        domain_id="one",
        active_sessions=1,
        active_enrollment_jobs=2,
        active_registration_jobs=3,
        speakers=4,
        fraudsters=5,
    )
    server.metrics.set_domain_counts([first, Counts(domain_id="two", speakers=9)])
    assert server.series("active_sessions") == {("one",): 1, ("two",): 0}
    assert server.series("active_speaker_enrollment_jobs")["one",] == 2
    assert server.series("active_fraudster_registration_jobs")["one",] == 3
    assert server.series("speakers") == {("one",): 4, ("two",): 9}
    assert server.series("fraudsters")["one",] == 5
    server.metrics.set_domain_counts([Counts(domain_id="two", speakers=8)])
    assert server.series("speakers") == {("two",): 8}
    server.metrics.set_domain_counts([first])
    assert server.series("speakers") == {("one",): 4}
    server.metrics.set_domain_counts([])
    assert server.series("speakers") == {}


def test_sinks_show_how_far_behind_they_are(server):
    server.metrics.set_outbox_depths(
        {
            "webhook": Depth(waiting=7, dead=1, oldest_created_ms=10_000),
            "file": Depth(waiting=0, dead=0, oldest_created_ms=None),
        },
        now_ms=12_500,
    )
    assert server.series("outbox_waiting") == {("webhook",): 7, ("file",): 0}
    assert server.series("outbox_dead") == {("webhook",): 1, ("file",): 0}
    assert server.series("outbox_lag_seconds") == {("webhook",): 2.5, ("file",): 0}


def test_a_clock_set_back_gives_no_negative_lag(server):
    depth = Depth(waiting=1, dead=0, oldest_created_ms=10_000)
    server.metrics.set_outbox_depths({"file": depth}, now_ms=9_000)
    assert server.series("outbox_lag_seconds") == {("file",): 0}


def test_queues_are_read_when_somebody_looks(server):
    waiting = [4]
    server.metrics.watch_queues(engine_waiting=lambda: waiting[0], writer_waiting=lambda: 2)
    assert server.series("engine_waiting") == {(): 4}
    waiting[0] = 5
    assert server.series("engine_waiting") == {(): 5}
    assert server.series("store_writer_waiting") == {(): 2}
    assert server.series("live_calls") == {(): 3}


def test_the_reference_names_every_series_and_no_other(server):
    server.metrics.watch_queues(engine_waiting=int, writer_waiting=int)
    kinds = {"counter": "_total"}
    shown = {
        f"{family.name}{kinds.get(family.type, '')}"
        for family in server.registry.collect()
        if family.name.startswith("vivavoce_")
    }
    text = REFERENCE.read_text(encoding="utf-8")
    named = {
        re.sub("_(bucket|sum|count)$", "", name) for name in re.findall("vivavoce_[a-z_]+", text)
    }
    assert named == shown
