"""Writes that wait for the writer are committed together, and yet each is a transaction."""

import asyncio
import resource
import threading

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

from tests import rows
from vivavoce.errors import NotFound
from vivavoce.store.audit import verify_log

pytestmark = pytest.mark.anyio


class Writer:
    """A store's writer that can be held up, so that writes gather behind it."""

    def __init__(self, store):
        self.store = store
        self.commits = 0
        self.failure: Exception | None = None
        event.listen(store._engine, "commit", self._commit)

    def _commit(self, connection):
        if connection.get_execution_options().get("vivavoce_reading", False):
            return
        if self.failure is not None:
            raise self.failure
        self.commits += 1

    async def together(self, *works):
        """What comes of works that all wait at the same moment."""
        busy, free = threading.Event(), threading.Event()

        def hold(tx):
            busy.set()
            assert free.wait(10)

        holding = asyncio.ensure_future(self.store.write(hold))
        await asyncio.to_thread(busy.wait, 10)
        waiting = [asyncio.ensure_future(self.store.write(work)) for work in works]
        async with asyncio.timeout(10):
            while self.store.waiting_writes < len(works):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        self.commits = -1  # the holder's does not count
        free.set()
        await holding
        return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.fixture
async def writer(any_store):
    await any_store.write(rows.add_domain)
    return Writer(any_store)


def adding(name):
    """Work that adds a speaker; gives the name."""

    def work(tx):
        tx.speakers.add(rows.speaker(speaker_id=f"id#{name}", customer_id=name))
        return name

    return work


def failing(name, error):
    """Work that adds a speaker and then fails."""

    def work(tx):
        adding(name)(tx)
        raise error

    return work


async def known(store):
    """Names of the speakers that others see."""
    found = await store.read(lambda tx: tx.speakers.page(rows.DOMAIN_ID, after=0, size=1000))
    return [speaker.customer_id for _, speaker in found]


async def test_what_waits_is_committed_together_in_the_order_it_came(writer):
    names = [f"c{number:03}" for number in range(100)]
    assert await writer.together(*map(adding, names)) == names
    assert await known(writer.store) == names
    assert writer.commits == 2  # 64 and 36
    assert writer.store.waiting_writes == 0


async def test_a_work_that_fails_undoes_itself_alone(writer):
    failure = RuntimeError("no")
    outcomes = await writer.together(
        adding("a"),
        failing("b", failure),
        adding("a"),  # a second one of that id
        adding("c"),
        lambda tx: tx.speakers.get(rows.DOMAIN_ID, "nobody"),
        adding("b"),
    )
    assert (outcomes[0], outcomes[1], outcomes[3], outcomes[5]) == ("a", failure, "c", "b")
    assert isinstance(outcomes[2], DBAPIError)
    assert isinstance(outcomes[4], NotFound)
    assert await known(writer.store) == ["a", "c", "b"]
    assert writer.commits == 1


async def test_a_work_alone_that_fails_leaves_nothing(writer):
    with pytest.raises(RuntimeError, match="no"):
        await writer.store.write(failing("a", RuntimeError("no")))
    assert await known(writer.store) == []
    assert await writer.store.write(adding("a")) == "a"


async def test_a_commit_that_fails_fails_all_that_it_was_for(writer):
    done = []

    def announced(name):
        def work(tx):
            tx.after_commit(lambda: done.append(name))
            return adding(name)(tx)

        return work

    held = asyncio.ensure_future(writer.together(announced("a"), failing("b", KeyError("b"))))
    await asyncio.sleep(0)
    outcomes = await held
    assert outcomes[0] == "a"
    assert done == ["a"]
    writer.failure = OSError("the disk is full")
    outcomes = await asyncio.gather(
        *(writer.store.write(announced(name)) for name in "cde"), return_exceptions=True
    )
    assert outcomes == [writer.failure] * 3
    assert await known(writer.store) == ["a"]
    assert done == ["a"]
    writer.failure = None
    assert await writer.store.write(announced("f")) == "f"
    assert await known(writer.store) == ["a", "f"]
    assert done == ["a", "f"]


async def test_what_follows_a_commit_sees_it_and_comes_before_the_answer(writer):
    seen = []

    def work(tx):
        def look():
            found = writer.store.read_now(
                lambda tx: tx.speakers.page(rows.DOMAIN_ID, after=0, size=9)
            )
            seen.append([speaker.customer_id for _, speaker in found])

        look()
        tx.after_commit(look)
        adding("a")(tx)
        look()

    assert await writer.together(work, adding("b")) == [None, "b"]
    assert seen == [[], [], ["a", "b"]]
    assert writer.store.write_now(lambda tx: tx.after_commit(lambda: seen.append("now"))) is None
    assert seen[-1] == "now"


async def test_what_follows_a_commit_does_not_follow_a_failure(writer):
    done = []

    def work(tx):
        tx.after_commit(lambda: done.append("never"))
        raise RuntimeError

    await writer.together(work, adding("a"), work)
    with pytest.raises(RuntimeError):
        await writer.store.write(work)
    with pytest.raises(RuntimeError):
        writer.store.write_now(work)
    assert done == []


async def test_a_writer_that_gives_up_waiting_changes_nothing(writer):
    async def give_up():
        waiting = asyncio.ensure_future(writer.store.write(adding("given-up")))
        await asyncio.sleep(0)
        waiting.cancel()

    busy, free = threading.Event(), threading.Event()

    def hold(tx):
        busy.set()
        assert free.wait(10)

    holding = asyncio.ensure_future(writer.store.write(hold))
    await asyncio.to_thread(busy.wait, 10)
    await give_up()
    last = asyncio.ensure_future(writer.store.write(adding("last")))
    await asyncio.sleep(0)
    free.set()
    await holding
    assert await last == "last"
    assert await known(writer.store) == ["last"]


async def test_the_audit_log_stays_whole_where_one_of_many_writers_fails(writer):
    def recording(number):
        def work(tx):
            tx.audit.add({"number": number}, number)
            if number % 3 == 0:
                raise RuntimeError
            return number

        return work

    await writer.together(*map(recording, range(9)))
    for number in range(9, 13):  # and alone
        await asyncio.gather(writer.store.write(recording(number)), return_exceptions=True)
    verified = verify_log(lambda work: writer.store.read_now(lambda tx: work(tx.audit)))
    records = await writer.store.read(lambda tx: tx.audit.page(after=0, size=99))
    assert verified.head.sequence == len(records)
    assert [record.record["number"] for record in records] == [1, 2, 4, 5, 7, 8, 10, 11]


async def test_closing_finishes_what_waits(writer, database_url, vault):
    waiting = [asyncio.ensure_future(writer.store.write(adding(name))) for name in "abc"]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.store.close)
    assert await asyncio.gather(*waiting) == ["a", "b", "c"]


async def test_a_full_disk_fails_all_whose_work_it_undoes(store, tmp_path):
    """Out of room within a transaction, SQLite undoes all of it on its own."""
    await store.write(rows.add_domain)
    writer = Writer(store)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = tmp_path / "vivavoce.db-wal"

    def fill(tx):
        tx.connection.exec_driver_sql("PRAGMA cache_size = 5")  # pages; the rest has to be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 100_000, unlimited[1]))
        try:
            tx.speakers.add(rows.speaker())
            tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH.repeat(100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    outcomes = await writer.together(adding("a"), fill, adding("b"))
    assert [type(outcome) for outcome in outcomes] == [OperationalError] * 3
    assert await known(store) == []
    assert await writer.together(adding("a"), adding("b")) == ["a", "b"]
    assert await known(store) == ["a", "b"]
