import asyncio
import contextlib
import dataclasses
import sqlite3
import threading
import time

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from tests import rows
from vivavoce.errors import Conflict, InvalidRequest, NotFound, SealBroken, StoreError
from vivavoce.store.access_keys import AccessKeyRecord
from vivavoce.store.database import open_database
from vivavoce.store.store import open_store
from vivavoce.store.tables import metadata
from vivavoce.store.tokens import ClientToken
from vivavoce.vault.vault import Vault

pytestmark = pytest.mark.anyio

OTHER_DOMAIN = "0" * 22
OTHER_WATCHLIST = "w" * 22

PAGE = {"after": 0, "size": 9}

ACCESS_KEY = AccessKeyRecord(
    access_key_id="VVKEY",
    name="ann",
    secret="the-secret-of-the-key",
    session_token="the-token-of-the-key",
    policy="{}",
    created_ms=1,
    expires_ms=2,
)


def client_token(operation, **facts):
    return ClientToken(scope=operation, text="t", facts=facts)


def same(got, expected):
    """Records are equal, arrays included."""
    np.testing.assert_equal(dataclasses.asdict(got), dataclasses.asdict(expected))
    return True


def of_fraudster():
    """A voiceprint that is never the reference for a call."""
    return rows.voiceprint(owner_id=rows.FRAUDSTER_ID, reference=None)


@pytest.fixture
async def filled(any_store):
    """A store with one row of every kind."""

    def work(tx):
        rows.add_domain(tx)
        tx.speakers.add(rows.speaker())
        tx.fraudsters.add(rows.fraudster())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)
        tx.voiceprints.put(of_fraudster(), speech=rows.SPEECH)
        tx.sessions.add(rows.session())
        tx.sessions.put_speech(rows.session(), rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID)
        tx.results.put(rows.result())
        tx.jobs.add(rows.job())
        tx.tokens.add(client_token("StartSession", a=1), resource_id="r", now_ms=1)
        tx.access_keys.add(ACCESS_KEY)

    await any_store.write(work)
    return any_store


async def test_every_kind_of_row_is_read_as_it_was_written(filled):
    def work(tx):
        session = rows.session(speech_s=1.0)
        assert tx.domains.get(rows.DOMAIN_ID) == rows.domain()
        assert tx.domains.tags(rows.DOMAIN_ID) == rows.TAGS
        for region in (None, rows.REGION):
            assert tx.domains.page(region, after=0, size=9) == [(1, rows.domain())]
        assert tx.watchlists.get(rows.DOMAIN_ID, rows.WATCHLIST_ID) == rows.watchlist()
        assert tx.watchlists.page(rows.DOMAIN_ID, after=0, size=9) == [(1, rows.watchlist())]
        assert tx.fraudsters.get(rows.DOMAIN_ID, rows.FRAUDSTER_ID) == rows.fraudster()
        assert tx.speakers.get(rows.DOMAIN_ID, "customer-4711") == rows.speaker()
        assert tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID) == rows.speaker()
        assert tx.speakers.page(rows.DOMAIN_ID, after=0, size=9) == [(1, rows.speaker())]
        assert same(tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID), rows.voiceprint())
        (wanted,) = rows.on_watchlist(tx)
        assert same(wanted, of_fraudster())
        for found in (
            tx.sessions.get(rows.DOMAIN_ID, "call-1"),
            tx.sessions.get(rows.DOMAIN_ID, rows.SESSION_ID),
            tx.sessions.get_by_id(rows.SESSION_ID),
        ):
            assert found == session
        page = {"now_ms": 0, "after": 0, "size": 9}
        assert tx.sessions.page(rows.DOMAIN_ID, status="ONGOING", **page) == [(1, session)]
        assert tx.sessions.page(rows.DOMAIN_ID, status="ENDED", **page) == []
        np.testing.assert_array_equal(tx.sessions.speech(session), rows.SPEECH)
        assert same(tx.evidence.find(session), rows.evidence())
        assert tx.results.find(rows.SESSION_ID, "authentication") == rows.result()
        assert tx.results.find(rows.SESSION_ID, "fraud") is None
        assert tx.tokens.find(client_token("StartSession", a=1)) == "r"
        assert tx.tokens.find(client_token("CreateDomain", a=1)) is None
        assert tx.jobs.get(rows.DOMAIN_ID, rows.JOB_ID, "speaker-enrollment") == rows.job()
        assert tx.access_keys.all() == [ACCESS_KEY]
        with pytest.raises(InvalidRequest):
            tx.tokens.find(client_token("StartSession", a=2))

    await filled.read(work)
    await filled.look_up(work)


async def test_absent_values_stay_absent(any_store):
    bare = rows.session(
        session_id="id#bare", name="bare", speaker_id=None, customer_id=None,
        stream_started_ms=None, enrollment_status=None, enrollment_message=None,
    )  # fmt: skip

    def work(tx):
        rows.add_domain(tx, description=None)
        tx.watchlists.add(rows.watchlist(watchlist_id=OTHER_WATCHLIST, description=None))
        tx.jobs.add(rows.job(name=None))
        tx.sessions.add(bare)
        tx.evidence.put(rows.evidence(session_id="id#bare", spoof=None), domain_id=rows.DOMAIN_ID)
        assert tx.domains.get(rows.DOMAIN_ID).description is None
        assert tx.watchlists.get(rows.DOMAIN_ID, OTHER_WATCHLIST).description is None
        assert tx.jobs.get(rows.DOMAIN_ID, rows.JOB_ID, "speaker-enrollment").name is None
        assert tx.sessions.get_by_id("id#bare") == bare
        assert tx.sessions.speech(bare) is None
        assert tx.evidence.find(bare).spoof is None
        assert tx.evidence.find(dataclasses.replace(bare, stream_number=2)) is None

    await any_store.write(work)


async def test_what_is_not_there_is_not_found(filled):
    def kind(tx, ask):
        with pytest.raises(NotFound) as missing:
            ask(tx)
        return missing.value.resource_type

    def work(tx):
        for ask, expected in (
            (lambda tx: tx.domains.get(OTHER_DOMAIN), "DOMAIN"),
            (lambda tx: tx.speakers.get(OTHER_DOMAIN, rows.SPEAKER_ID), "DOMAIN"),
            (lambda tx: tx.speakers.page(OTHER_DOMAIN, after=0, size=1), "DOMAIN"),
            (lambda tx: tx.speakers.get(rows.DOMAIN_ID, "nobody"), "SPEAKER"),
            (lambda tx: tx.sessions.get(rows.DOMAIN_ID, "nothing"), "SESSION"),
            (lambda tx: tx.sessions.get_by_id("id#nothing"), "SESSION"),
            (lambda tx: tx.domains.tags(OTHER_DOMAIN), "DOMAIN"),
            (lambda tx: tx.domains.require_active(OTHER_DOMAIN), "DOMAIN"),
            (lambda tx: tx.sessions.page(OTHER_DOMAIN, status=None, now_ms=0, **PAGE), "DOMAIN"),
            (lambda tx: tx.watchlists.page(OTHER_DOMAIN, **PAGE), "DOMAIN"),
            (lambda tx: tx.watchlists.get(OTHER_DOMAIN, rows.WATCHLIST_ID), "DOMAIN"),
            (lambda tx: tx.watchlists.get(rows.DOMAIN_ID, "x"), "WATCHLIST"),
            (lambda tx: tx.fraudsters.page(OTHER_DOMAIN, watchlist_id=None, **PAGE), "DOMAIN"),
            (lambda tx: tx.fraudsters.get(OTHER_DOMAIN, rows.FRAUDSTER_ID), "DOMAIN"),
            (lambda tx: tx.fraudsters.get(rows.DOMAIN_ID, "id#nobody"), "FRAUDSTER"),
            (lambda tx: tx.jobs.get(OTHER_DOMAIN, rows.JOB_ID, "speaker-enrollment"), "DOMAIN"),
            (lambda tx: tx.jobs.get(rows.DOMAIN_ID, "x", "speaker-enrollment"), "BATCH_JOB"),
            # Of the other kind:
            (lambda tx: tx.jobs.get(rows.DOMAIN_ID, rows.JOB_ID, "fraudster-registration"),
             "BATCH_JOB"),
        ):  # fmt: skip
            assert kind(tx, ask) == expected

    await filled.read(work)


async def test_domains_share_nothing(filled):
    def work(tx):
        rows.add_domain(tx, domain_id=OTHER_DOMAIN, default_watchlist_id=OTHER_WATCHLIST)
        twin = rows.speaker(speaker_id="id#twin", domain_id=OTHER_DOMAIN)
        tx.speakers.add(twin)  # the same customer id
        assert tx.speakers.get(OTHER_DOMAIN, "customer-4711") == twin
        assert tx.speakers.find(OTHER_DOMAIN, rows.SPEAKER_ID) is None
        assert tx.sessions.find(OTHER_DOMAIN, "call-1") is None
        assert tx.sessions.find(OTHER_DOMAIN, rows.SESSION_ID) is None
        assert tx.voiceprints.find(OTHER_DOMAIN, rows.SPEAKER_ID) is None
        assert tx.voiceprints.of_fraudsters(OTHER_DOMAIN, [rows.FRAUDSTER_ID]) == []
        for ask in (
            lambda: tx.watchlists.get(OTHER_DOMAIN, rows.WATCHLIST_ID),
            lambda: tx.fraudsters.get(OTHER_DOMAIN, rows.FRAUDSTER_ID),
            lambda: tx.jobs.get(OTHER_DOMAIN, rows.JOB_ID, "speaker-enrollment"),
        ):
            with pytest.raises(NotFound):
                ask()
        assert tx.fraudsters.page(OTHER_DOMAIN, watchlist_id=rows.WATCHLIST_ID, **PAGE) == []
        assert tx.jobs.page(
            OTHER_DOMAIN, "speaker-enrollment", status=None, before=0, size=9
        ) == []  # fmt: skip

    await filled.write(work)


async def test_changes_are_kept_and_seal_what_they_must(filled):
    def work(tx):
        before = tx.sessions.get_by_id(rows.SESSION_ID)
        changed = tx.sessions.update(before, customer_id="customer-2", risk_threshold=7)
        assert tx.sessions.get_by_id(rows.SESSION_ID) == changed
        assert (changed.customer_id, changed.risk_threshold) == ("customer-2", 7)
        tx.speakers.set_status(rows.SPEAKER_ID, "ENROLLED", now_ms=9)
        tx.speakers.touch(rows.SPEAKER_ID, now_ms=10)
        assert tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID) == rows.speaker(
            status="ENROLLED", updated_ms=9, last_accessed_ms=10
        )
        newer = rows.voiceprint(model="other@1", vector=rows.VECTOR[::-1].copy())
        tx.voiceprints.put(newer, speech=rows.SPEECH)
        assert same(tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID), newer)
        tx.evidence.put(rows.evidence(number=3), domain_id=rows.DOMAIN_ID)
        assert tx.evidence.find(changed).number == 3
        tx.results.put(rows.result(result_id="new"))
        assert tx.results.find(rows.SESSION_ID, "authentication").result_id == "new"

    await filled.write(work)


async def test_a_watchlists_texts_change(filled):
    renamed = rows.watchlist(name="Known since May", description=None, updated_ms=9)

    def work(tx):
        tx.watchlists.update(renamed)
        assert tx.watchlists.get(rows.DOMAIN_ID, rows.WATCHLIST_ID) == renamed

    await filled.write(work)


async def test_a_watchlist_goes_only_once_nobody_is_on_it(filled):
    def work(tx):
        with pytest.raises(Conflict) as refused:
            tx.watchlists.remove(rows.WATCHLIST_ID)
        assert refused.value.conflict_type == "CANNOT_DELETE_NON_EMPTY_WATCHLIST"
        tx.fraudsters.remove(rows.DOMAIN_ID, rows.FRAUDSTER_ID)
        tx.watchlists.remove(rows.WATCHLIST_ID)
        assert tx.watchlists.page(rows.DOMAIN_ID, **PAGE) == []

    await filled.write(work)


async def test_a_fraudster_is_on_one_watchlist_or_more(filled):
    def listed(tx, watchlist_id):
        found = tx.fraudsters.page(rows.DOMAIN_ID, watchlist_id=watchlist_id, **PAGE)
        return [fraudster.fraudster_id for _, fraudster in found]

    def current(tx):
        return tx.fraudsters.get(rows.DOMAIN_ID, rows.FRAUDSTER_ID)

    def work(tx):
        tx.watchlists.add(rows.watchlist(watchlist_id=OTHER_WATCHLIST, is_default=False))
        for _ in range(2):  # again changes nothing
            tx.fraudsters.associate(current(tx), OTHER_WATCHLIST)
            assert current(tx).watchlist_ids == (rows.WATCHLIST_ID, OTHER_WATCHLIST)
        for watchlist_id in (None, rows.WATCHLIST_ID, OTHER_WATCHLIST):
            assert listed(tx, watchlist_id) == [rows.FRAUDSTER_ID]
        for _ in range(2):
            tx.fraudsters.disassociate(current(tx), rows.WATCHLIST_ID)
            assert current(tx).watchlist_ids == (OTHER_WATCHLIST,)
        assert listed(tx, rows.WATCHLIST_ID) == []
        with pytest.raises(Conflict) as refused:
            tx.fraudsters.disassociate(current(tx), OTHER_WATCHLIST)
        assert refused.value.conflict_type == "FRAUDSTER_MUST_BELONG_TO_AT_LEAST_ONE_WATCHLIST"
        assert listed(tx, OTHER_WATCHLIST) == [rows.FRAUDSTER_ID]

    await filled.write(work)


async def test_a_fraudster_goes_with_the_voiceprint(filled):
    def work(tx):
        tx.fraudsters.remove(rows.DOMAIN_ID, rows.FRAUDSTER_ID)
        assert tx.voiceprints.of_fraudsters(rows.DOMAIN_ID, [rows.FRAUDSTER_ID]) == []
        with pytest.raises(NotFound):
            tx.fraudsters.get(rows.DOMAIN_ID, rows.FRAUDSTER_ID)
        assert count(tx, "voiceprints") == 1  # the speaker's

    await filled.write(work)


def count(tx, table):
    return tx.connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


async def test_jobs_come_newest_first_by_kind_and_status(any_store):
    def work(tx):
        rows.add_domain(tx)
        for number in range(5):
            tx.jobs.add(rows.job(job_id=f"job-{number}", status="COMPLETED"))
        tx.jobs.add(rows.job(job_id="other", kind="fraudster-registration"))
        tx.jobs.add(rows.job(job_id="active"))

        def listed(kind="speaker-enrollment", status=None):
            seen, before = [], 0
            while page := tx.jobs.page(rows.DOMAIN_ID, kind, status=status, before=before, size=2):
                seen += [job.job_id for _, job in page]
                before = page[-1][0]
            return seen

        done = ["job-4", "job-3", "job-2", "job-1", "job-0"]
        assert listed() == ["active", *done]
        assert listed(status="COMPLETED") == done
        assert listed(status="SUBMITTED") == ["active"]
        assert listed(status="FAILED") == []
        assert listed("fraudster-registration") == ["other"]

    await any_store.write(work)


async def test_speakers_of_whom_nothing_was_heard_expire_and_lose_their_voice(any_store):
    states = {
        "unheard": ("ENROLLED", 99),
        "heard-in-time": ("ENROLLED", 100),
        "pending": ("PENDING", None),
        "opted-out": ("OPTED_OUT", 1),
    }

    def work(tx):
        rows.add_domain(tx)
        for name, (status, last_accessed_ms) in states.items():
            tx.speakers.add(
                rows.speaker(
                    speaker_id=f"id#{name}",
                    customer_id=name,
                    status=status,
                    last_accessed_ms=last_accessed_ms,
                )
            )
            tx.voiceprints.put(rows.voiceprint(owner_id=f"id#{name}"), speech=rows.SPEECH)
        (found,) = tx.speakers.unheard_since(100, after=0, size=9)
        assert tx.speakers.unheard_since(100, after=found, size=9) == []
        assert tx.speakers.expire([found], unheard_since_ms=100, now_ms=500) == [
            (rows.DOMAIN_ID, "id#unheard")
        ]
        expired = tx.speakers.get(rows.DOMAIN_ID, "unheard")
        assert (expired.status, expired.updated_ms) == ("EXPIRED", 500)
        for name, (status, _) in states.items():
            voiceprint = tx.voiceprints.find(rows.DOMAIN_ID, f"id#{name}")
            assert (voiceprint is None) == (name == "unheard")
            if name != "unheard":
                assert tx.speakers.get(rows.DOMAIN_ID, name).status == status
        assert tx.speakers.unheard_since(100, after=0, size=9) == []
        assert tx.speakers.expire([found], unheard_since_ms=100, now_ms=501) == []

    await any_store.write(work)


async def test_a_domain_changes_only_from_the_version_that_was_read(filled):
    def work(tx):
        read = tx.domains.get(rows.DOMAIN_ID)
        first = dataclasses.replace(read, name="first", description=None, updated_ms=9)
        second = dataclasses.replace(read, name="second")
        tx.domains.update(first)
        with pytest.raises(Conflict) as refused:
            tx.domains.update(second)
        assert refused.value.conflict_type == "CONCURRENT_CHANGES"
        assert tx.domains.get(rows.DOMAIN_ID) == dataclasses.replace(first, version=2)

    await filled.write(work)


async def test_of_two_processes_that_change_a_domain_at_once_one_is_refused(postgres_url, vault):
    """In SQLite the second one waits for the first; here both have read before either writes."""
    first, second = open_store(postgres_url, vault), open_store(postgres_url, vault)
    read, written = threading.Event(), threading.Event()

    def change(tx, name):
        tx.domains.update(dataclasses.replace(tx.domains.get(rows.DOMAIN_ID), name=name))

    def slowly(tx):
        domain = tx.domains.get(rows.DOMAIN_ID)
        read.set()
        assert written.wait(10)
        tx.domains.update(dataclasses.replace(domain, name="slow"))

    await first.write(rows.add_domain)
    slow = asyncio.ensure_future(first.write(slowly))
    await asyncio.to_thread(read.wait, 10)
    await second.write(lambda tx: change(tx, "quick"))
    written.set()
    with pytest.raises(Conflict) as refused:
        await slow
    assert refused.value.conflict_type == "CONCURRENT_CHANGES"
    domain = await first.read(lambda tx: tx.domains.get(rows.DOMAIN_ID))
    first.close()
    second.close()
    assert domain.name == "quick"


async def test_a_deleted_domain_does_not_exist_for_anybody(filled):
    def work(tx):
        tx.domains.mark_deleted(rows.DOMAIN_ID, now_ms=100)
        for ask in (
            lambda: tx.domains.get(rows.DOMAIN_ID),
            lambda: tx.domains.get_active(rows.DOMAIN_ID),
            lambda: tx.domains.tags(rows.DOMAIN_ID),
            lambda: tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID),
            lambda: tx.speakers.add(rows.speaker(speaker_id="id#2", customer_id="c2")),
            lambda: tx.sessions.get(rows.DOMAIN_ID, "call-1"),
            lambda: tx.sessions.get_by_id(rows.SESSION_ID),
            lambda: tx.sessions.page(rows.DOMAIN_ID, status=None, now_ms=0, **PAGE),
            lambda: tx.watchlists.get(rows.DOMAIN_ID, rows.WATCHLIST_ID),
            lambda: tx.fraudsters.get(rows.DOMAIN_ID, rows.FRAUDSTER_ID),
            lambda: tx.jobs.get(rows.DOMAIN_ID, rows.JOB_ID, "speaker-enrollment"),
            lambda: tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID),
            lambda: tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID),
        ):
            with pytest.raises(NotFound) as missing:
                ask()
            assert missing.value.resource_type == "DOMAIN"
        assert tx.domains.arn(rows.DOMAIN_ID) is None
        assert tx.domains.arn(rows.DOMAIN_ID, deleted_too=True) == rows.domain().arn
        assert tx.domains.page(None, **PAGE) == []
        assert tx.counts.of_domains(now_ms=0) == []
        assert tx.sessions.awaiting_enrollment(speech_s=0) == []

    await filled.write(work)


async def test_the_rows_of_a_deleted_domain_are_erased_after_their_time(filled):
    def work(tx):
        rows.add_domain(tx, domain_id=OTHER_DOMAIN, default_watchlist_id=OTHER_WATCHLIST)
        tx.domains.mark_deleted(rows.DOMAIN_ID, now_ms=100)
        assert tx.domains.deleted_before(100) == []
        assert tx.domains.deleted_before(101) == [rows.DOMAIN_ID]
        while tx.domains.erase_some(rows.DOMAIN_ID):
            pass
        assert tx.domains.arn(rows.DOMAIN_ID, deleted_too=True) is None
        for table in ("speakers", "fraudsters", "watchlist_members", "voiceprints", "sessions"):
            assert count(tx, table) == 0, table
        for table in ("evidence", "results", "jobs"):
            assert count(tx, table) == 0, table
        for table in ("domains", "domain_keys", "watchlists"):
            assert count(tx, table) == 1, table  # the other domain's

    await filled.write(work)


async def test_domains_are_listed_by_region(any_store):
    def work(tx):
        for number, region in enumerate(("us-east-1", "eu-west-2", "us-east-1")):
            rows.add_domain(
                tx,
                domain_id=f"{number:022}",
                default_watchlist_id=f"{number:022}",
                region=region,
            )

        def listed(region, **page):
            found = tx.domains.page(region, **(PAGE | page))
            return [int(domain.domain_id) for _, domain in found]

        assert listed("us-east-1") == [0, 2]
        assert listed("eu-west-2") == [1]
        assert listed("ap-south-1") == []
        assert listed(None) == [0, 1, 2]
        assert listed(None, after=1, size=1) == [1]

    await any_store.write(work)


async def test_how_much_there_is_is_counted_by_domain(filled):
    def work(tx):
        rows.add_domain(tx, domain_id=OTHER_DOMAIN, default_watchlist_id=OTHER_WATCHLIST)
        tx.sessions.add(rows.session(session_id="id#ended", name="e", streaming_status="ENDED"))
        tx.sessions.add(
            rows.session(
                session_id="id#due",
                name="d",
                streaming_status="PENDING_CONFIGURATION",
                stream_expires_ms=51,
            )
        )
        tx.jobs.add(rows.job(job_id="done", status="FAILED"))
        tx.jobs.add(rows.job(job_id="r", kind="fraudster-registration", status="IN_PROGRESS"))
        one = {
            "domain_id": rows.DOMAIN_ID,
            "speakers": 1,
            "fraudsters": 1,
            "active_sessions": 2,
            "active_enrollment_jobs": 1,
            "active_registration_jobs": 1,
        }
        nothing = dict.fromkeys(one, 0) | {"domain_id": OTHER_DOMAIN}
        assert [dataclasses.asdict(found) for found in tx.counts.of_domains(now_ms=50)] == [
            one,
            nothing,
        ]
        assert tx.counts.of_domains(now_ms=51)[0].active_sessions == 1

    await filled.write(work)


async def test_a_speaker_is_forgotten_with_voice_speech_and_evidence(filled):
    def work(tx):
        tx.sessions.forget_speech_of(rows.SPEAKER_ID)
        tx.speakers.remove(rows.SPEAKER_ID)
        session = tx.sessions.get_by_id(rows.SESSION_ID)
        assert tx.speakers.find(rows.DOMAIN_ID, "customer-4711") is None
        assert tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID) is None
        assert (tx.sessions.speech(session), session.speech_s) == (None, 0.0)
        assert tx.evidence.find(session).vector is None
        assert rows.on_watchlist(tx)  # is another's

    await filled.write(work)


async def test_pages_visit_each_row_once_in_the_order_they_were_made(any_store):
    def work(tx):
        rows.add_domain(tx)
        for number in range(7):
            tx.speakers.add(rows.speaker(speaker_id=f"id#{number}", customer_id=f"c{number}"))
        seen, after = [], 0
        while page := tx.speakers.page(rows.DOMAIN_ID, after=after, size=3):
            seen += [speaker.customer_id for _, speaker in page]
            after = page[-1][0]
        assert seen == [f"c{number}" for number in range(7)]

    await any_store.write(work)


async def test_a_row_made_after_the_last_was_deleted_is_behind_it(any_store):
    """Otherwise a page that begins after the deleted row would pass over the new one."""

    def work(tx):
        rows.add_domain(tx)
        tx.speakers.add(rows.speaker())
        ((last, _),) = tx.speakers.page(rows.DOMAIN_ID, after=0, size=1)
        tx.speakers.remove(rows.SPEAKER_ID)
        tx.speakers.add(rows.speaker(speaker_id="id#next"))
        assert len(tx.speakers.page(rows.DOMAIN_ID, after=last, size=1)) == 1

    await any_store.write(work)


async def test_all_of_a_transaction_happens_or_nothing(filled):
    def work(tx):
        tx.speakers.add(rows.speaker(speaker_id="id#2", customer_id="c2"))
        tx.speakers.add(rows.speaker(speaker_id="id#3", customer_id="customer-4711"))

    with pytest.raises(IntegrityError):
        await filled.write(work)
    assert await filled.read(lambda tx: tx.speakers.find(rows.DOMAIN_ID, "c2")) is None


async def test_a_look_up_sees_what_was_committed_last_and_waits_for_no_writer(filled):
    def status(tx):
        return tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID).status

    def many(tx):
        return len(tx.speakers.page(rows.DOMAIN_ID, **PAGE)), status(tx)

    for state in ("ENROLLED", "EXPIRED", "PENDING"):
        await filled.write(
            lambda tx, state=state: tx.speakers.set_status(rows.SPEAKER_ID, state, now_ms=1)
        )
        assert await filled.look_up(status) == state
        assert await filled.look_up(many) == (1, state)
        with pytest.raises(NotFound):  # and what it raises leaves nothing behind
            await filled.look_up(lambda tx: tx.domains.get(OTHER_DOMAIN))
    written, seen = threading.Event(), threading.Event()

    def slowly(tx):
        tx.speakers.set_status(rows.SPEAKER_ID, "OPTED_OUT", now_ms=1)
        written.set()
        assert seen.wait(10)

    writing = asyncio.ensure_future(filled.write(slowly))
    await asyncio.to_thread(written.wait, 10)
    assert await filled.look_up(status) == await filled.read(status) == "PENDING"
    seen.set()
    await writing
    assert await filled.look_up(status) == await filled.read(status) == "OPTED_OUT"


async def test_a_value_moved_to_another_row_does_not_open(filled, database_url):
    await filled.write(
        lambda tx: tx.speakers.add(rows.speaker(speaker_id="id#2", customer_id="c2"))
    )
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE speakers SET sealed_customer_id = (SELECT sealed_customer_id FROM speakers"
                " WHERE speaker_id = 'id#2') WHERE speaker_id != 'id#2'"
            )
        )
    engine.dispose()
    with pytest.raises(SealBroken):
        await filled.read(lambda tx: tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID))


async def test_migrations_make_exactly_the_tables(any_store, database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_store_is_opened_again_with_what_it_holds(filled, database_url, vault):
    filled.close()
    again = open_store(database_url, vault)
    domain = await again.read(lambda tx: tx.domains.get(rows.DOMAIN_ID))
    again.close()
    assert domain == rows.domain()


def test_a_database_of_a_later_version_is_refused(database_url, vault):
    engine = open_database(database_url, vault)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="another version"):
        open_database(database_url, vault)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + bytes(200)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, vault, content):
    path = tmp_path / "vivavoce.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(f"sqlite:///{path}", vault)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://127.0.0.1:1/x"]
)
def test_a_database_that_is_not_there_is_refused(url, vault):
    if "psycopg" in url:
        pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(url, vault)


async def test_nothing_personal_can_be_read_in_the_files(store, tmp_path):
    secret_texts = (
        *(b"customer-4711", b"retail-bank", "Grüße an Anna".encode(), b"Anna"),
        *(b"default-watchlist", b"Customers of May", b'fraud"'),
        *(b"the-secret-of-the-key", b"the-token-of-the-key"),
    )
    secret_arrays = (rows.VECTOR.tobytes(), rows.SPEECH.tobytes()[:64])

    def work(tx):
        rows.add_domain(tx)
        tx.speakers.add(rows.speaker())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)
        tx.sessions.add(rows.session())
        tx.sessions.put_speech(rows.session(), rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID)
        tx.jobs.add(rows.job())
        tx.access_keys.add(ACCESS_KEY)

    await store.write(work)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {"vivavoce.db", "vivavoce.db-wal"} <= set(files)
    assert b"id#Izo7iCsoE5KCq5INFMnwsH" in b"".join(files.values())  # what may be read is found
    for name, content in files.items():
        for secret in (*secret_texts, *secret_arrays):
            assert secret not in content, name


async def test_what_is_deleted_leaves_no_sealed_trace_in_the_files(store, tmp_path):
    def work(tx):
        rows.add_domain(tx)
        tx.speakers.add(rows.speaker())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)
        tx.sessions.add(rows.session())
        tx.sessions.put_speech(rows.session(), rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID)

    def sealed(tx):
        columns = (
            ("voiceprints", "sealed_vector"),
            ("voiceprints", "substr(sealed_speech, 9000, 60)"),
            ("speakers", "sealed_key"),
            ("speakers", "sealed_customer_id"),
            ("sessions", "substr(sealed_speech, 9000, 60)"),
            ("evidence", "sealed_vector"),
        )
        return [
            tx.connection.execute(text(f"SELECT {column} FROM {table}")).scalar_one()
            for table, column in columns
        ]

    def on_disk():
        return b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())

    def delete(tx):
        tx.sessions.forget_speech_of(rows.SPEAKER_ID)
        tx.speakers.remove(rows.SPEAKER_ID)

    await store.write(work)
    await store.look_up(lambda tx: tx.domains.get(rows.DOMAIN_ID))  # its connection stays open
    traces = await store.read(sealed)
    before = on_disk()
    assert all(trace in before for trace in traces)
    await store.write(delete)
    await store.scrub()  # while the store goes on
    after = on_disk()
    assert not any(trace in after for trace in traces)


async def test_scrubbing_does_not_wait_for_whoever_reads_for_long(store, tmp_path):
    await store.write(rows.add_domain)
    with contextlib.closing(sqlite3.connect(tmp_path / "vivavoce.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM domains").fetchone()
        await store.write(lambda tx: tx.speakers.add(rows.speaker()))
        begun = time.monotonic()
        await store.scrub()
        assert time.monotonic() - begun < 3
    await store.scrub()
    assert (tmp_path / "vivavoce.db-wal").stat().st_size == 0


async def test_a_copy_holds_what_was_committed_and_needs_no_other_file(store, vault, tmp_path):
    await store.write(rows.add_domain)
    file = tmp_path / "copy" / "vivavoce.db"
    file.parent.mkdir()
    store.back_up(file)
    assert list(file.parent.iterdir()) == [file]
    with contextlib.closing(open_store(f"sqlite:///{file}", vault, mode="read")) as copy:
        assert await copy.read(lambda tx: tx.domains.get(rows.DOMAIN_ID)) == rows.domain()
    assert list(file.parent.iterdir()) == [file]


def test_a_copy_that_cannot_be_made_is_said(store, tmp_path):
    with pytest.raises(StoreError, match="cannot be copied"):
        store.back_up(tmp_path / "nowhere" / "vivavoce.db")


def test_a_database_that_is_no_file_is_not_copied_as_one(postgres_url, vault, tmp_path):
    with contextlib.closing(open_store(postgres_url, vault)) as store:
        with pytest.raises(StoreError, match="pg_dump"):
            store.back_up(tmp_path / "vivavoce.db")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["write", "read"])
def test_a_database_without_our_tables_is_none_of_ours(database_url, vault, mode):
    if database_url.startswith("sqlite"):
        sqlite3.connect(make_url(database_url).database or "").close()
    for _ in range(2):  # and nothing was made
        with pytest.raises(StoreError, match="is no vivavoce database"):
            open_database(database_url, vault, mode)


@pytest.mark.parametrize("mode", ["write", "read"])
def test_another_root_key_is_noticed_though_the_log_may_be_broken(
    database_url, customer_keys, vault, mode
):
    with contextlib.closing(open_store(database_url, vault)) as store:
        store.write_now(lambda tx: tx.access_keys.add(ACCESS_KEY))
        store.write_now(lambda tx: tx.connection.execute(text("DROP TABLE audit_head")))
        store.write_now(
            lambda tx: tx.connection.execute(
                text("CREATE TABLE audit_head (number INT, sequence INT, mac INT, seal INT)")
            )
        )
    open_store(database_url, vault, mode=mode).close()  # for `audit verify` to tell of
    with pytest.raises(SealBroken):
        open_store(database_url, Vault(bytes(31) + b"1", customer_keys), mode=mode)


def test_what_only_reads_changes_no_shape(tmp_path, vault):
    path = tmp_path / "vivavoce.db"
    engine = open_database(f"sqlite:///{path}", vault)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another version"):
        open_database(f"sqlite:///{path}", vault, "read")
    assert path.read_bytes() == before
