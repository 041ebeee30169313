"""What Prometheus may read. Each series is described in docs/reference/metrics.md."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

__all__ = ["CONTENT_TYPE_LATEST", "CollectorRegistry", "Metrics", "generate_latest", "new_registry"]

UNKNOWN_API = "unknown"
INTERNAL = "InternalServerException"
THROTTLED = "ThrottlingException"

# From a cached read to what a client gives up on.
_LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_DOMAIN_GAUGES = {
    "active_sessions": "Sessions whose stream is pending or ongoing.",
    "active_speaker_enrollment_jobs": "Speaker enrolment jobs that have not ended.",
    "active_fraudster_registration_jobs": "Fraudster registration jobs that have not ended.",
    "speakers": "Speakers, in any state.",
    "fraudsters": "Fraudsters.",
}


class DomainCounts(Protocol):
    """How much one domain holds."""

    @property
    def domain_id(self) -> str:
        """Which domain."""
        ...

    @property
    def active_sessions(self) -> int:
        """Sessions whose stream is pending or ongoing."""
        ...

    @property
    def active_enrollment_jobs(self) -> int:
        """Speaker enrolment jobs that have not ended."""
        ...

    @property
    def active_registration_jobs(self) -> int:
        """Fraudster registration jobs that have not ended."""
        ...

    @property
    def speakers(self) -> int:
        """Speakers, in any state."""
        ...

    @property
    def fraudsters(self) -> int:
        """Fraudsters."""
        ...


class SinkDepth(Protocol):
    """How much one sink of events has not taken."""

    @property
    def waiting(self) -> int:
        """Events that are still to be delivered."""
        ...

    @property
    def dead(self) -> int:
        """Events that were given up."""
        ...

    @property
    def oldest_created_ms(self) -> int | None:
        """When the oldest that waits was made; None where none waits."""
        ...


def new_registry(*, live_calls: Callable[[], int]) -> CollectorRegistry:
    """The series of one server: its process, and its calls."""
    disable_created_metrics()  # a series more for each one, which nobody asked for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("vivavoce_live_calls", "Calls that are live now.", registry=registry).set_function(
        live_calls
    )
    return registry


class _Snapshot:
    """A gauge whose series are replaced as a whole, one a name."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._names: set[str] = set()

    def show(self, values: Mapping[str, float]) -> None:
        """Show these; names that are no longer among them go."""
        for name in self._names - values.keys():
            self._gauge.remove(name)
        for name, value in values.items():
            self._gauge.labels(name).set(value)
        self._names = set(values)


class Metrics:
    """The series of the API, of decisions, of domains and of queues.

    Args:
        registry: where they are shown.
        operations: every operation there is. Only these become label values: what callers make up
            would make a series each.
    """

    def __init__(self, registry: CollectorRegistry, *, operations: Iterable[str]) -> None:
        self._registry = registry
        apis = (*operations, UNKNOWN_API)
        self._latency = Histogram(
            "vivavoce_request_latency_seconds",
            "Time from a request's head to its answer.",
            ["api"],
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        system_errors = self._counter("system_errors", "Requests that failed here.", "api")
        throttles = self._counter("throttles", "Requests refused for their rate.", "api")
        # Made at once: an error that happens for the first time is an increase from 0.
        self._system_errors = {api: system_errors.labels(api) for api in apis}
        self._throttles = {api: throttles.labels(api) for api in apis}
        self._user_errors = self._counter(
            "user_errors", "Requests that could not be served as they were.", "api", "code"
        )
        # Made when first needed: 15 lines an operation are most of what a scrape costs.
        self._latency_of: dict[str, Histogram] = {}
        self._user_errors_of: dict[tuple[str, str], Counter] = {}
        self._decisions = self._counter(
            "decisions", "Decisions given out for the first time.", "kind", "decision", "reason"
        )
        self._domains = {
            name: self._snapshot(name, text, "domain") for name, text in _DOMAIN_GAUGES.items()
        }
        self._outbox_waiting = self._snapshot(
            "outbox_waiting", "Events that wait for their delivery.", "sink"
        )
        self._outbox_dead = self._snapshot(
            "outbox_dead", "Events that were given up and wait for an operator.", "sink"
        )
        self._outbox_lag_s = self._snapshot(
            "outbox_lag_seconds", "Age of the oldest event that waits for its delivery.", "sink"
        )

    def answered(self, operation: str | None, seconds: float, code: str | None) -> None:
        """Count a request of the API.

        Args:
            operation: its name; anything that is no operation counts as unknown.
            seconds: from its head to its answer.
            code: the error's, as the wire has it; None where it succeeded. An internal server error
                is ours, every other one the caller's.
        """
        api = operation if operation in self._throttles else UNKNOWN_API
        if (latency := self._latency_of.get(api)) is None:
            latency = self._latency_of[api] = self._latency.labels(api)
        latency.observe(seconds)
        if code is None:
            return
        if code == INTERNAL:
            self._system_errors[api].inc()
        elif code == THROTTLED:
            self._throttles[api].inc()
        else:
            self._user_error(api, code).inc()

    def decided(self, kind: str, decision: str, reasons: Iterable[str] = ()) -> None:
        """Count a decision that was given out for the first time.

        Args:
            kind: `authentication` or `fraud`.
            decision: such as `ACCEPT` or `HIGH_RISK`.
            reasons: of a high risk.
        """
        self._decisions.labels(kind, decision, "+".join(sorted(reasons))).inc()

    def set_domain_counts(self, counts: Iterable[DomainCounts]) -> None:
        """Show how much every domain holds; a domain that is not among them is gone."""
        rows = {
            count.domain_id: (  # in the order of _DOMAIN_GAUGES
                count.active_sessions,
                count.active_enrollment_jobs,
                count.active_registration_jobs,
                count.speakers,
                count.fraudsters,
            )
            for count in counts
        }
        for position, snapshot in enumerate(self._domains.values()):
            snapshot.show({domain: row[position] for domain, row in rows.items()})

    def set_outbox_depths(self, depths: Mapping[str, SinkDepth], *, now_ms: int) -> None:
        """Show what every sink of events has not taken; a sink that is not among them is gone."""
        self._outbox_waiting.show({sink: depth.waiting for sink, depth in depths.items()})
        self._outbox_dead.show({sink: depth.dead for sink, depth in depths.items()})
        self._outbox_lag_s.show(
            {sink: _age_s(depth.oldest_created_ms, now_ms) for sink, depth in depths.items()}
        )

    def watch_queues(
        self, *, engine_waiting: Callable[[], int], writer_waiting: Callable[[], int]
    ) -> None:
        """Show how long queues are whenever somebody looks.

        Args:
            engine_waiting: pieces of speech that wait for a process.
            writer_waiting: pieces of work that wait for the database's writer.
        """
        engine = self._gauge("engine_waiting", "Pieces of speech waiting for a process.")
        engine.set_function(engine_waiting)
        writer = self._gauge("store_writer_waiting", "Pieces of work waiting to be written.")
        writer.set_function(writer_waiting)

    def _user_error(self, api: str, code: str) -> Counter:
        counter = self._user_errors_of.get((api, code))
        if counter is None:
            counter = self._user_errors_of[api, code] = self._user_errors.labels(api, code)
        return counter

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vivavoce_{name}", text, labels, registry=self._registry)

    def _snapshot(self, name: str, text: str, label: str) -> _Snapshot:
        return _Snapshot(self._gauge(name, text, label))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"vivavoce_{name}", text, labels, registry=self._registry)


def _age_s(created_ms: int | None, now_ms: int) -> float:
    # Never negative: the clock may have been set back.
    return 0.0 if created_ms is None else max(0, now_ms - created_ms) / 1000
