import json
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, insert, text

from vivavoce.store import tables
from vivavoce.store.outbox import LONGEST_PAUSE_MS, Depth, OutboxRows

NOW_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('outbox') / 'outbox.db'}")
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine):
    """A transaction that leaves nothing behind."""
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def rows(connection):
    return OutboxRows(connection)


def envelope():
    return {"version": "0", "id": str(uuid.uuid4()), "detail": {"name": "Grüße\n"}}


def put(rows, resource, *, sinks=("file",), now_ms=NOW_MS):
    body = envelope()
    rows.add(sinks, resource=resource, body=body, now_ms=now_ms)
    return body["id"]


def due(rows, *, sink="file", now_ms=NOW_MS, limit=100):
    return rows.due(sink, now_ms=now_ms, limit=limit)


def ids(found):
    return [delivery.event_id for delivery in found]


def test_an_event_waits_for_each_sink_on_its_own(rows):
    event_id = put(rows, "a", sinks=("file", "webhook"))
    (for_file,) = due(rows)
    rows.delivered(for_file.sequence)
    assert due(rows) == []
    assert ids(due(rows, sink="webhook")) == [event_id]


def test_without_sinks_nothing_is_kept(rows):
    put(rows, "a", sinks=())
    assert rows.depth("file") == Depth(waiting=0, dead=0, oldest_created_ms=None)


def test_an_event_comes_out_as_it_went_in_on_one_line(rows):
    body = envelope()
    rows.add(["file"], resource="a", body=body, now_ms=NOW_MS)
    (delivery,) = due(rows)
    assert json.loads(delivery.body) == body
    assert "\n" not in delivery.body
    assert (delivery.event_id, delivery.resource, delivery.attempts) == (body["id"], "a", 0)


def test_of_each_resource_only_the_oldest_event_is_due(rows):
    first, _, other = put(rows, "a"), put(rows, "a"), put(rows, "b")
    assert ids(due(rows)) == [first, other]


def test_a_delivered_event_makes_room_for_the_next_of_its_resource(rows):
    _, second = put(rows, "a"), put(rows, "a")
    put(rows, "a", sinks=("webhook",))
    following = rows.delivered(due(rows)[0].sequence)
    assert following is not None
    assert following.event_id == second
    assert rows.delivered(following.sequence) is None


def test_delivering_twice_is_harmless(rows):
    put(rows, "a")
    (delivery,) = due(rows)
    rows.delivered(delivery.sequence)
    kept = put(rows, "a")
    assert rows.delivered(delivery.sequence) is None
    assert ids(due(rows)) == [kept]


def test_a_failed_event_holds_up_its_own_resource_only(rows):
    first, _, other = put(rows, "a"), put(rows, "a"), put(rows, "b")
    rows.failed(due(rows)[0].sequence, "down", next_attempt_ms=NOW_MS + 1000)
    assert ids(due(rows)) == [other]
    again = due(rows, now_ms=NOW_MS + 1000)
    assert ids(again) == [first, other]
    assert (again[0].attempts, again[0].last_error) == (1, "down")


def test_a_dead_event_stays_visible_and_holds_up_nothing(rows):
    first, second = put(rows, "a"), put(rows, "a")
    rows.bury(due(rows)[0].sequence, "gone")
    assert ids(due(rows)) == [second]
    (dead,) = rows.dead(after=0, size=10)
    assert (dead.event_id, dead.attempts, dead.last_error) == (first, 1, "gone")
    assert rows.depth("file") == Depth(waiting=1, dead=1, oldest_created_ms=NOW_MS)


def test_the_dead_come_page_by_page_and_sink_by_sink(rows):
    for sink in ("file", "webhook", "file"):
        put(rows, "a", sinks=(sink,))
        rows.bury(due(rows, sink=sink)[0].sequence, "gone")
    everyone = rows.dead(after=0, size=10)
    assert [delivery.sink for delivery in everyone] == ["file", "webhook", "file"]
    assert rows.dead(after=everyone[0].sequence, size=1) == [everyone[1]]
    assert rows.dead("file", after=0, size=10) == [everyone[0], everyone[2]]


def test_a_revived_event_is_tried_afresh(rows):
    event_id = put(rows, "a")
    (delivery,) = due(rows)
    rows.failed(delivery.sequence, "down", next_attempt_ms=NOW_MS + 10**9)
    rows.bury(delivery.sequence, "gone")
    assert rows.revive(delivery.sequence) == 1
    (again,) = due(rows)
    assert (again.event_id, again.attempts) == (event_id, 0)


def test_all_the_dead_can_be_revived_at_once(rows):
    for resource in "abc":
        put(rows, resource)
    for delivery in due(rows)[:2]:
        rows.bury(delivery.sequence, "gone")
    assert rows.revive() == 2
    assert rows.revive() == 0
    assert rows.depth("file").waiting == 3


def test_what_waits_can_be_neither_revived_nor_discarded(rows):
    put(rows, "a")
    (delivery,) = due(rows)
    assert rows.revive(delivery.sequence) == 0
    assert not rows.discard(delivery.sequence)
    assert len(due(rows)) == 1


def test_a_discarded_event_is_gone(rows):
    put(rows, "a")
    (delivery,) = due(rows)
    rows.bury(delivery.sequence, "gone")
    assert rows.discard(delivery.sequence)
    assert not rows.discard(delivery.sequence)
    assert rows.dead(after=0, size=10) == []


def test_all_the_dead_can_be_discarded_at_once_and_what_waits_stays(rows):
    for resource in "abc":
        put(rows, resource)
    for delivery in due(rows)[:2]:
        rows.bury(delivery.sequence, "gone")
    assert rows.discard() == 2
    assert rows.discard() == 0
    assert rows.depth("file") == Depth(waiting=1, dead=0, oldest_created_ms=NOW_MS)


def test_of_the_dead_only_the_older_ones_are_discarded(rows):
    put(rows, "old", now_ms=NOW_MS - 2)
    kept = put(rows, "younger", now_ms=NOW_MS - 1)
    for delivery in due(rows):
        rows.bury(delivery.sequence, "gone")
    waiting = put(rows, "waits", now_ms=NOW_MS - 2)
    assert rows.discard_dead_before(NOW_MS - 1) == 1
    assert ids(rows.dead(after=0, size=10)) == [kept]
    assert ids(due(rows)) == [waiting]


def test_what_waits_for_a_sink_that_is_no_more_is_given_up_and_says_why(rows):
    gone = put(rows, "a", sinks=("webhook",))
    kept = put(rows, "a", sinks=("file",))
    assert rows.bury_strangers(["file", "eventbridge"]) == 1
    assert rows.bury_strangers(["file", "eventbridge"]) == 0
    (dead,) = rows.dead(after=0, size=10)
    assert (dead.event_id, dead.attempts) == (gone, 0)
    assert dead.last_error == "the sink webhook is not configured any more"
    assert ids(due(rows)) == [kept]


def test_without_any_sink_all_that_waits_is_given_up(rows):
    put(rows, "a", sinks=("file", "webhook"))
    assert rows.bury_strangers([]) == 2


def test_why_an_event_was_given_up_earlier_is_kept(rows):
    put(rows, "a")
    rows.bury(due(rows)[0].sequence, "answered 410")
    assert rows.bury_strangers([]) == 0
    assert rows.dead(after=0, size=1)[0].last_error == "answered 410"


@pytest.mark.parametrize("now_ms", [NOW_MS - 10**11, 0])
def test_a_new_or_revived_event_is_due_though_the_clock_was_set_back(rows, now_ms):
    new, revived = put(rows, "a"), put(rows, "b")
    sequence = due(rows)[1].sequence
    rows.bury(sequence, "gone")
    rows.revive(sequence)
    assert ids(due(rows, now_ms=now_ms)) == [new, revived]


def test_an_event_put_off_before_the_clock_was_set_back_is_due(rows):
    event_id = put(rows, "a")
    next_attempt_ms = NOW_MS + 1000
    rows.failed(due(rows)[0].sequence, "down", next_attempt_ms=next_attempt_ms)
    assert due(rows, now_ms=next_attempt_ms - 1) == []
    assert due(rows, now_ms=next_attempt_ms - LONGEST_PAUSE_MS) == []
    assert ids(due(rows, now_ms=next_attempt_ms - LONGEST_PAUSE_MS - 1)) == [event_id]


def test_an_endless_error_is_cut(rows):
    put(rows, "a")
    (delivery,) = due(rows)
    rows.bury(delivery.sequence, "x" * 100_000)
    assert rows.dead(after=0, size=1)[0].last_error == "x" * 500


def test_the_depth_tells_since_when_the_oldest_waits(rows):
    put(rows, "a", now_ms=NOW_MS - 5000)
    put(rows, "b")
    assert rows.depth("file") == Depth(waiting=2, dead=0, oldest_created_ms=NOW_MS - 5000)
    assert rows.depth("webhook") == Depth(waiting=0, dead=0, oldest_created_ms=None)


@settings(max_examples=50)
@given(
    made=st.lists(st.sampled_from("abcd"), min_size=1, max_size=20),
    fates=st.lists(st.sampled_from(["delivered", "failed", "bury"]), max_size=200),
    limit=st.integers(1, 5),
)
def test_each_resource_is_delivered_in_order_and_nothing_gets_lost(engine, made, fates, limit):
    with engine.connect() as connection:
        rows = OutboxRows(connection)
        expected = {resource: [] for resource in made}
        for resource in made:
            expected[resource].append(put(rows, resource))
        ended = {resource: [] for resource in made}
        now_ms, left = NOW_MS, iter(fates)
        while found := due(rows, now_ms=now_ms, limit=limit):
            assert len({delivery.resource for delivery in found}) == len(found)
            for delivery in found:
                fate = next(left, "delivered")
                if fate == "failed":
                    rows.failed(delivery.sequence, "no", next_attempt_ms=now_ms + 1)
                    continue
                ended[delivery.resource].append(delivery.event_id)
                if fate == "bury":
                    rows.bury(delivery.sequence, "no")
                else:
                    rows.delivered(delivery.sequence)
            now_ms += 1
        assert ended == expected


def statements_of(connection, work):
    """Each statement that SQLite ran, with its plan."""
    seen = []

    def note(_, __, statement, parameters, *___):
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    work()
    event.remove(connection, "before_cursor_execute", note)
    return [
        " / ".join(
            row.detail
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )
        for statement, parameters in seen
    ]


def fill(connection, resources, number):
    connection.execute(
        insert(tables.outbox),
        [
            {
                "sink": "file",
                "resource": resources(n),
                "event_id": str(n),
                "body": "{}",
                "created_ms": NOW_MS,
                "attempts": 0,
                "next_attempt_ms": 0,
                "is_dead": False,
            }
            for n in range(number)
        ],
    )


def test_no_question_to_the_outbox_reads_or_sorts_all_of_it(connection, rows):
    def work():
        due(rows)
        rows.delivered(1)
        rows.failed(1, "no", next_attempt_ms=0)
        rows.bury(1, "no")
        rows.dead("file", after=0, size=10)
        rows.depth("file")

    put(rows, "a")
    connection.execute(text("UPDATE outbox SET sequence = 1"))
    plans = statements_of(connection, work)
    assert len(plans) == 9
    assert "before USING INDEX ix_outbox_sink_resource" in plans[0]
    assert "ix_outbox_sink_resource" in plans[2]
    for plan in plans:
        assert "SEARCH" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    "resources", [lambda n: f"r{n}", lambda n: f"r{n % 300}"], ids=["each its own", "of 300"]
)
def test_the_due_ones_are_found_quickly_among_100_000(connection, rows, resources):
    fill(connection, resources, 100_000)
    before = time.perf_counter()
    for _ in range(20):
        found = due(rows, limit=16)
        for delivery in found:
            rows.delivered(delivery.sequence)
    # Without the right index each of the 320 deliveries takes 20 ms.
    assert time.perf_counter() - before < 2.0
