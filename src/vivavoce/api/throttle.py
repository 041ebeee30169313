"""How many requests a second an operation takes. Off by default.

Source: voice-id-behaviour.md, section 15, for Amazon's rates. How it measured them is not
documented; a bucket that holds one second's worth lets through whatever a steady client sends.
"""

from collections.abc import Mapping

from vivavoce.clock import Clock
from vivavoce.errors import Throttled

AWS_TPS: Mapping[str, float] = {
    "EvaluateSession": 60.0,
    "ListSpeakers": 5.0,
    **dict.fromkeys(
        (
            "DeleteFraudster",
            "DeleteSpeaker",
            "DescribeFraudster",
            "DescribeSpeaker",
            "OptOutSpeaker",
        ),
        10.0,
    ),
    **dict.fromkeys(
        (
            "CreateDomain",
            "DeleteDomain",
            "DescribeDomain",
            "DescribeFraudsterRegistrationJob",
            "DescribeSpeakerEnrollmentJob",
            "ListDomains",
            "ListFraudsterRegistrationJobs",
            "ListSpeakerEnrollmentJobs",
            "ListTagsForResource",
            "StartFraudsterRegistrationJob",
            "StartSpeakerEnrollmentJob",
            "TagResource",
            "UntagResource",
            "UpdateDomain",
        ),
        2.0,
    ),
}
"""Requests a second by operation, for an account that asked for nothing."""


class Throttle:
    """A token bucket for each operation that has a rate.

    Args:
        tps: requests a second by operation; an operation without a rate is not held up.
        clock: the time.
    """

    def __init__(self, tps: Mapping[str, float], clock: Clock) -> None:
        self._tps = dict(tps)
        self._clock = clock
        self._buckets: dict[str, tuple[float, int]] = {}  # tokens, and when there were so many

    def take(self, operation: str) -> None:
        """Let one request through.

        Raises:
            Throttled: the operation has had its requests of this second.
        """
        tps = self._tps.get(operation)
        if tps is None:
            return
        now_ms = self._clock.now_ms()
        most = max(tps, 1.0)  # less than one a second is one every few seconds
        tokens, then_ms = self._buckets.get(operation, (most, now_ms))
        tokens = min(most, tokens + tps * max(0, now_ms - then_ms) / 1000)
        if tokens < 1.0:
            self._buckets[operation] = (tokens, now_ms)
            raise Throttled
        self._buckets[operation] = (tokens - 1.0, now_ms)
