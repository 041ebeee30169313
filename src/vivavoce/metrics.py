"""What Prometheus may read."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from prometheus_client.process_collector import ProcessCollector

__all__ = ["CONTENT_TYPE_LATEST", "generate_latest", "new_registry"]


def new_registry(*, live_calls: Callable[[], int]) -> CollectorRegistry:
    """The series of one server: its process, and its calls."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("vivavoce_live_calls", "Calls that are live now.", registry=registry).set_function(
        live_calls
    )
    return registry
