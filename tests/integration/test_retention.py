"""What is too old is forgotten, in slices, whatever else fails, and never by a wrong clock."""

import asyncio
import json
import logging
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from tests import rows
from tests.fakes import StillClock
from vivavoce.errors import NotFound
from vivavoce.sessions import retention
from vivavoce.sessions.retention import Retention, Sweeper
from vivavoce.store import domains
from vivavoce.store.domains import Domains
from vivavoce.store.sessions import Sessions
from vivavoce.store.speakers import Speakers
from vivavoce.store.store import Store

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
START_MS = 1_700_000_000_000
OTHER_DOMAIN = "0" * 22
OTHER_WATCHLIST = "w" * 22
RETENTION = Retention(
    speech_s=86_400.0, session_s=2 * 86_400.0, speaker_s=90 * 86_400.0, domain_s=30 * 86_400.0
)
OF_A_DOMAIN = (
    "domain_keys",
    "watchlists",
    "speakers",
    "fraudsters",
    "voiceprints",
    "sessions",
    "jobs",
)
COUNT = 5
"""Rows of every kind; slices are of two."""


@dataclass
class Passing:
    """Time as it passes, whatever the clock says."""

    seconds: float = 1000.0

    def __call__(self):
        return self.seconds


@dataclass(kw_only=True)
class Household:
    store: Store
    clock: StillClock
    sweeper: Sweeper
    passing: Passing
    writes: list[str] = field(default_factory=list)

    def pass_days(self, days):
        """Let time pass, as the clock tells it."""
        self.clock.ms += round(days * DAY_MS)
        self.passing.seconds += days * 86_400

    async def record(self, at_ms=None):
        """Something is written that the audit log tells of."""
        at_ms = self.clock.ms if at_ms is None else at_ms
        await self.store.write(lambda tx: tx.audit.add({"operation": "StartSession"}, at_ms))

    async def count(self, table, where="1 = 1"):
        query = text(f"SELECT count(*) FROM {table} WHERE {where}")
        return await self.store.read(lambda tx: tx.connection.execute(query).scalar_one())

    async def counts(self, domain_id):
        """Rows that a domain has, by table, where there are any."""
        found = {table: await self.count(table, f"domain_id = '{domain_id}'") for table in TABLES}
        return {table: number for table, number in found.items() if number}

    async def delete(self, domain_id=rows.DOMAIN_ID):
        now_ms = self.clock.ms
        await self.store.write(lambda tx: tx.domains.mark_deleted(domain_id, now_ms=now_ms))


TABLES = (*OF_A_DOMAIN, "domains")


def fill(tx, domain_id=rows.DOMAIN_ID, watchlist_id=rows.WATCHLIST_ID):
    """A domain with several rows of every kind, last heard of at the start."""
    rows.add_domain(tx, domain_id=domain_id, default_watchlist_id=watchlist_id)
    ours = {"domain_id": domain_id}
    for number in range(COUNT):
        name = f"{domain_id[-1]}{number}"
        tx.watchlists.add(rows.watchlist(watchlist_id=f"list-{name}", **ours))
        tx.speakers.add(
            rows.speaker(
                speaker_id=f"id#s{name}",
                customer_id=f"c{number}",
                status="ENROLLED",
                last_accessed_ms=START_MS,
                **ours,
            )
        )
        lists = (watchlist_id, f"list-{name}")
        tx.fraudsters.add(rows.fraudster(fraudster_id=f"id#f{name}", watchlist_ids=lists, **ours))
        for owner in ("s", "f"):
            tx.voiceprints.put(
                rows.voiceprint(owner_id=f"id#{owner}{name}", **ours), speech=rows.SPEECH
            )
        session = rows.session(
            session_id=f"id#c{name}",
            name=f"call-{number}",
            streaming_status="ENDED",
            ended_ms=START_MS,
            **ours,
        )
        tx.sessions.add(session)
        tx.sessions.put_speech(session, rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(session_id=session.session_id), domain_id=domain_id)
        tx.results.put(rows.result(session_id=session.session_id))
        tx.jobs.add(rows.job(job_id=f"job-{name}", **ours))


@pytest.fixture
def household(any_store, monkeypatch):
    monkeypatch.setattr(retention, "_SLICE_SPEECHES", 2)
    small = tuple((row_id, 2) for row_id, _ in domains._CHILDREN)
    monkeypatch.setattr(domains, "_CHILDREN", small)
    any_store.write_now(fill)
    any_store.write_now(lambda tx: fill(tx, OTHER_DOMAIN, OTHER_WATCHLIST))
    clock, passing = StillClock(START_MS), Passing()
    sweeper = Sweeper(store=any_store, clock=clock, retention=RETENTION, monotonic_s=passing)
    return Household(store=any_store, clock=clock, sweeper=sweeper, passing=passing)


# --- what is forgotten


async def test_everything_is_forgotten_after_its_time_and_counted(household, caplog):
    caplog.set_level(logging.INFO, retention.__name__)
    household.pass_days(1)
    await household.sweeper.sweep()
    assert await household.count("sessions", "sealed_speech IS NOT NULL") == 2 * COUNT
    assert caplog.messages == []  # to the instant: not yet
    household.clock.ms += 1
    await household.sweeper.sweep()
    assert await household.count("sessions", "sealed_speech IS NOT NULL OR speech_s <> 0") == 0
    assert await household.count("sessions") == 2 * COUNT
    household.pass_days(1)
    await household.sweeper.sweep()
    for table in ("sessions", "evidence", "results"):
        assert await household.count(table) == 0, table
    household.pass_days(88)
    await household.sweeper.sweep()
    assert await household.count("speakers", "status = 'EXPIRED'") == 2 * COUNT
    assert await household.count("voiceprints") == 2 * COUNT  # the fraudsters'
    assert caplog.messages == [
        "forgotten: speech of sessions: 10",
        "forgotten: sessions: 10",
        "forgotten: voiceprints of expired speakers: 10",
    ]


async def test_a_deleted_domain_is_erased_with_all_its_rows_and_no_others(household, caplog):
    caplog.set_level(logging.INFO, retention.__name__)
    whole = await household.counts(OTHER_DOMAIN)
    assert set(whole) == set(TABLES)
    household.clock.ms -= 40 * DAY_MS
    await household.delete()
    household.clock.ms += 40 * DAY_MS
    await household.sweeper.sweep()
    assert await household.counts(rows.DOMAIN_ID) == {}
    assert await household.counts(OTHER_DOMAIN) == whole
    for table in ("evidence", "results"):
        assert await household.count(table) == COUNT
    assert await household.count("watchlist_members") == 2 * COUNT
    assert caplog.messages == ["forgotten: deleted domains: 1"]


async def test_who_expired_and_what_was_erased_is_in_the_audit_log_without_customers(household):
    await household.delete(OTHER_DOMAIN)
    household.pass_days(91)
    await household.sweeper.sweep()
    await household.sweeper.sweep()
    page = await household.store.read(lambda tx: tx.audit.page(after=0, size=99))
    records = [one.record for one in page]
    assert {record["eventType"] for record in records} == {"VivavoceService"}
    expired = [one for one in records if one["eventName"] == "ExpireSpeaker"]
    ids = {one["serviceEventDetails"]["generatedSpeakerId"] for one in expired}
    assert len(expired) == len(ids) == 2 * COUNT
    assert f"id#s{rows.DOMAIN_ID[-1]}0" in ids
    assert {one["serviceEventDetails"]["domainId"] for one in expired} == {
        rows.DOMAIN_ID,
        OTHER_DOMAIN,
    }
    (erased,) = [one for one in records if one["eventName"] == "EraseDomain"]
    assert erased["serviceEventDetails"] == {"domainId": OTHER_DOMAIN}
    assert '"c0"' not in json.dumps(records)


async def test_a_domain_that_was_not_deleted_is_not_erased(household):
    whole = await household.counts(rows.DOMAIN_ID)
    assert not await household.store.write(lambda tx: tx.domains.erase_some(rows.DOMAIN_ID))
    assert await household.counts(rows.DOMAIN_ID) == whole


async def test_a_slice_is_small_the_keys_go_first_and_the_domain_last(household):
    await household.delete()
    before = await household.counts(rows.DOMAIN_ID)
    gone = []
    while await household.store.write(lambda tx: tx.domains.erase_some(rows.DOMAIN_ID)):
        after = await household.counts(rows.DOMAIN_ID)
        less = {table: number - after.get(table, 0) for table, number in before.items()}
        assert 1 <= sum(less.values()) <= 2
        gone += [table for table, number in less.items() if number]
        assert "domains" in after
        before = after
    assert gone[0] == "domain_keys"
    assert len(gone) == 1 + 5 + 3 + 3 + 3 + 3 + 3
    assert await household.counts(rows.DOMAIN_ID) == {}


async def test_an_erasure_that_was_broken_off_is_finished_by_the_next_sweep(household):
    await household.delete()
    for _ in range(7):
        await household.store.write(lambda tx: tx.domains.erase_some(rows.DOMAIN_ID))
    with pytest.raises(NotFound):
        await household.store.read(lambda tx: tx.domains.get(rows.DOMAIN_ID))
    household.pass_days(31)
    await household.sweeper.sweep()
    assert await household.counts(rows.DOMAIN_ID) == {}


async def test_between_slices_others_write(household):
    """A writer that comes when the first slice is done is served before the last one."""
    household.pass_days(3)
    sweep = asyncio.create_task(household.sweeper.sweep())
    left = 2 * COUNT
    while left == 2 * COUNT:
        left = await household.store.write(
            lambda tx: tx.connection.execute(
                text("SELECT count(*) FROM sessions WHERE sealed_speech IS NOT NULL")
            ).scalar_one()
        )
    assert 0 < left < 2 * COUNT
    await sweep


async def test_who_was_heard_or_streams_anew_since_it_was_found_is_kept(household):
    now_ms = START_MS + 91 * DAY_MS
    page = {"after": 0, "size": 99}

    def work(tx):
        unheard = tx.speakers.unheard_since(now_ms, **page)
        ended = tx.sessions.ended_before(now_ms, with_speech=False, **page)
        speaker = tx.speakers.get(rows.DOMAIN_ID, "c0")
        tx.speakers.touch(speaker.speaker_id, now_ms=now_ms)
        session = tx.sessions.get(rows.DOMAIN_ID, "call-0")
        tx.sessions.update(session, streaming_status="ONGOING", ended_ms=None)
        assert len(tx.speakers.expire(unheard, unheard_since_ms=now_ms, now_ms=now_ms)) == 9
        assert tx.sessions.forget_speech(ended, ended_before_ms=now_ms) == 9
        assert tx.sessions.remove(ended, ended_before_ms=now_ms) == 9
        assert tx.voiceprints.find(rows.DOMAIN_ID, speaker.speaker_id) is not None
        assert tx.sessions.speech(session) is not None

    await household.store.write(work)


# --- what fails


@pytest.mark.parametrize(
    ("owner", "name", "what"),
    [
        (Sessions, "forget_speech", "forgetting speech"),
        (Sessions, "remove", "removing sessions"),
        (Speakers, "expire", "expiring speakers"),
        (Domains, "erase_some", f"erasing domain {rows.DOMAIN_ID}"),
        (Domains, "deleted_before", "erasing domains"),
        (Store, "give_back", "giving room back"),
        (Store, "scrub", "scrubbing"),
    ],
)
async def test_a_step_that_fails_is_logged_and_keeps_no_other_from_going(
    household, monkeypatch, caplog, owner, name, what
):
    await household.delete()
    household.pass_days(91)

    def fail(*_, **__):
        raise OSError("the disk is full")

    scrubbed = []
    scrub = Store.scrub

    async def note(store):
        scrubbed.append(True)
        await scrub(store)

    monkeypatch.setattr(Store, "scrub", note)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        await household.sweeper.sweep()
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in failed] == [f"{what} failed; trying again later"]
    assert "the disk is full" in str(failed[0].exc_info)
    done = {
        "forget_speech": await household.count("sessions", "sealed_speech IS NOT NULL") == 0,
        "remove": await household.count("sessions") == 0,
        "expire": await household.count("speakers", "status = 'ENROLLED'") == 0,
        "erase_some": await household.count("domains") == 1,
        "deleted_before": await household.count("domains") == 1,
        "scrub": bool(scrubbed),
    }
    # A session that is removed takes its speech along; a domain its enrolled speakers.
    missing = {what for what, is_done in done.items() if not is_done}
    expected = {
        "forget_speech": set(),
        "expire": {"expire"},
        "erase_some": {"erase_some", "deleted_before"},
        "deleted_before": {"erase_some", "deleted_before"},
        "give_back": set(),
    }
    assert missing == expected.get(name, {name})
    await household.sweeper.sweep()
    assert await household.count("sessions") == 0
    assert await household.count("domains") == 1


async def test_one_domain_that_cannot_be_erased_keeps_no_other_one(household, monkeypatch):
    await household.delete()
    await household.delete(OTHER_DOMAIN)
    household.pass_days(31)
    erase_some = Domains.erase_some

    def fail_for_one(self, domain_id):
        if domain_id == rows.DOMAIN_ID:
            raise OSError("the disk is full")
        return erase_some(self, domain_id)

    monkeypatch.setattr(Domains, "erase_some", fail_for_one)
    await household.sweeper.sweep()
    assert await household.counts(OTHER_DOMAIN) == {}
    assert await household.count("domains") == 1


# --- a wrong clock


async def voices(household):
    return await household.count("voiceprints")


async def test_a_clock_that_jumps_ahead_destroys_no_voices_and_no_domains(household, caplog):
    await household.record(START_MS - 3 * DAY_MS)
    await household.record()
    await household.delete()
    household.clock.ms += 5 * YEAR_MS
    for _ in range(3):
        await household.sweeper.sweep()
        await household.record()  # by the wrong clock: it proves nothing
        household.pass_days(0.01)
    assert await voices(household) == 4 * COUNT
    assert await household.count("domains") == 2
    assert await household.count("sessions") == 0  # short-lived anyway
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    (message,) = errors
    assert "the clock may have jumped ahead: it is 1825 days past" in message


async def test_a_restart_does_not_make_a_wrong_clock_right(household):
    await household.record()
    household.clock.ms += 5 * YEAR_MS
    for _ in range(3):
        await household.record()
        again = Sweeper(
            store=household.store,
            clock=household.clock,
            retention=RETENTION,
            monotonic_s=household.passing,
        )
        await again.sweep()
        household.pass_days(0.3)
    assert await voices(household) == 4 * COUNT


async def test_after_a_long_pause_a_clock_that_runs_on_for_a_day_is_believed(household):
    await household.record()
    household.pass_days(100)
    await household.sweeper.sweep()
    household.pass_days(0.99)
    await household.sweeper.sweep()
    assert await voices(household) == 4 * COUNT
    household.pass_days(0.02)
    await household.sweeper.sweep()
    assert await voices(household) == 2 * COUNT


async def test_a_clock_that_jumps_again_has_to_prove_itself_anew(household):
    await household.record()
    household.pass_days(100)
    for _ in range(3):
        await household.sweeper.sweep()
        household.pass_days(0.6)
        household.clock.ms += YEAR_MS
    assert await voices(household) == 4 * COUNT


async def test_a_clock_that_was_set_right_again_is_believed_at_once(household):
    for day in range(95):
        await household.record(START_MS + day * DAY_MS)
    household.pass_days(95)
    household.clock.ms += 5 * YEAR_MS
    await household.sweeper.sweep()
    assert await voices(household) == 4 * COUNT
    household.clock.ms -= 5 * YEAR_MS
    await household.sweeper.sweep()
    assert await voices(household) == 2 * COUNT


@pytest.mark.parametrize(("quiet_days", "is_believed"), [(7.9, True), (8.1, False)])
async def test_a_quiet_week_is_no_reason_to_doubt(household, quiet_days, is_believed):
    household.pass_days(100)
    await household.record(household.clock.ms - round(quiet_days * DAY_MS))
    await household.record()
    await household.sweeper.sweep()
    assert (await voices(household) == 2 * COUNT) == is_believed
