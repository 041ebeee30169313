import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import StillClock
from vivavoce.api.handlers import HANDLERS
from vivavoce.api.throttle import AWS_TPS, Throttle
from vivavoce.errors import Throttled


def taken(throttle, operation="ListSpeakers", times=1000):
    """How many requests in a row are let through."""
    for number in range(times):
        try:
            throttle.take(operation)
        except Throttled:
            return number
    return times


def test_an_operation_without_a_rate_is_not_held_up():
    assert taken(Throttle({"ListSpeakers": 1.0}, StillClock()), "DescribeSpeaker") == 1000


@pytest.mark.parametrize(("tps", "at_once"), [(5.0, 5), (1.0, 1), (2.5, 2), (0.1, 1)])
def test_one_seconds_worth_is_let_through_at_once(tps, at_once):
    assert taken(Throttle({"ListSpeakers": tps}, StillClock())) == at_once


def test_it_fills_up_again_with_time_but_not_over_its_brim():
    clock = StillClock()
    throttle = Throttle({"ListSpeakers": 5.0}, clock)
    taken(throttle)
    for waited_ms, let_through in ((199, 0), (1, 1), (400, 2), (3_600_000, 5)):
        clock.ms += waited_ms
        assert taken(throttle) == let_through


def test_less_than_one_a_second_is_one_every_few_seconds():
    clock = StillClock()
    throttle = Throttle({"ListSpeakers": 0.5}, clock)
    taken(throttle)
    clock.ms += 1999
    assert taken(throttle) == 0
    clock.ms += 1
    assert taken(throttle) == 1


def test_operations_have_buckets_of_their_own():
    throttle = Throttle({"ListSpeakers": 1.0, "ListDomains": 1.0}, StillClock())
    assert taken(throttle) == 1
    assert taken(throttle, "ListDomains") == 1


def test_a_clock_that_was_set_back_locks_nobody_out():
    clock = StillClock()
    throttle = Throttle({"ListSpeakers": 2.0}, clock)
    taken(throttle)
    clock.ms -= 3_600_000
    assert taken(throttle) == 0
    clock.ms += 1000
    assert taken(throttle) == 2


@given(tps=st.floats(1.0, 50.0), waits_ms=st.lists(st.integers(0, 700), min_size=1, max_size=60))
def test_never_more_than_the_rate_and_one_second_ahead(tps, waits_ms):
    clock = StillClock()
    throttle = Throttle({"ListSpeakers": tps}, clock)
    let_through = 0
    for wait_ms in waits_ms:
        clock.ms += wait_ms
        let_through += taken(throttle, times=3)
    assert let_through <= tps * (1 + sum(waits_ms) / 1000) + 1e-6


def test_every_rate_is_that_of_an_operation():
    assert set(AWS_TPS) <= set(HANDLERS)
