import contextlib
import dataclasses
import sqlite3

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from tests.integration import rows
from vivavoce.errors import InvalidRequest, NotFound, SealBroken, StoreError
from vivavoce.store.database import open_database
from vivavoce.store.store import open_store
from vivavoce.store.tables import metadata

pytestmark = pytest.mark.anyio

OTHER_DOMAIN = "0" * 22


def same(got, expected):
    """Records are equal, arrays included."""
    plain, expected_plain = dataclasses.asdict(got), dataclasses.asdict(expected)
    arrays = {name for name, value in plain.items() if isinstance(value, np.ndarray)}
    for name in arrays:
        np.testing.assert_array_equal(plain.pop(name), expected_plain.pop(name))
    assert plain == expected_plain
    return True


@pytest.fixture
async def filled(any_store):
    """A store with one row of every kind."""

    def work(tx):
        tx.domains.add(rows.domain())
        tx.speakers.add(rows.speaker())
        tx.fraudsters.add(rows.fraudster())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)
        tx.voiceprints.put(rows.voiceprint(owner_id=rows.FRAUDSTER_ID), speech=rows.SPEECH)
        tx.sessions.add(rows.session())
        tx.sessions.put_speech(rows.session(), rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID)
        tx.results.put(rows.result())
        tx.tokens.add("StartSession", "t", {"a": 1}, resource_id="r", now_ms=1)

    await any_store.write(work)
    any_store.add_access_key("VVKEY", "the-secret-of-the-key", now_ms=1)
    return any_store


async def test_every_kind_of_row_is_read_as_it_was_written(filled):
    def work(tx):
        session = rows.session(speech_s=1.0)
        assert tx.domains.get(rows.DOMAIN_ID) == rows.domain()
        assert tx.domains.page(after=0, size=9) == [(1, rows.domain())]
        tx.domains.require_watchlist(rows.DOMAIN_ID, rows.WATCHLIST_ID)
        assert tx.speakers.get(rows.DOMAIN_ID, "customer-4711") == rows.speaker()
        assert tx.speakers.get(rows.DOMAIN_ID, rows.SPEAKER_ID) == rows.speaker()
        assert tx.speakers.page(rows.DOMAIN_ID, after=0, size=9) == [(1, rows.speaker())]
        assert same(tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID), rows.voiceprint())
        (wanted,) = tx.voiceprints.of_watchlist(rows.DOMAIN_ID, rows.WATCHLIST_ID)
        assert same(wanted, rows.voiceprint(owner_id=rows.FRAUDSTER_ID))
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
        assert tx.tokens.find("StartSession", "t", {"a": 1}) == "r"
        assert tx.tokens.find("CreateDomain", "t", {"a": 1}) is None
        with pytest.raises(InvalidRequest):
            tx.tokens.find("StartSession", "t", {"a": 2})

    await filled.read(work)
    assert filled.access_keys() == {"VVKEY": "the-secret-of-the-key"}


async def test_absent_values_stay_absent(any_store):
    bare = rows.session(
        session_id="id#bare", name="bare", speaker_id=None, customer_id=None,
        stream_started_ms=None, enrollment_status=None, enrollment_message=None,
    )  # fmt: skip

    def work(tx):
        tx.domains.add(rows.domain(description=None))
        tx.sessions.add(bare)
        tx.evidence.put(
            rows.evidence(session_id="id#bare", spoof_raw=None), domain_id=rows.DOMAIN_ID
        )
        assert tx.domains.get(rows.DOMAIN_ID).description is None
        assert tx.sessions.get_by_id("id#bare") == bare
        assert tx.sessions.speech(bare) is None
        assert tx.evidence.find(bare).spoof_raw is None
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
            (lambda tx: tx.domains.require_watchlist(rows.DOMAIN_ID, "x"), "WATCHLIST"),
        ):
            assert kind(tx, ask) == expected

    await filled.read(work)


async def test_domains_share_nothing(filled):
    other = rows.domain(domain_id=OTHER_DOMAIN, default_watchlist_id="w" * 22)

    def work(tx):
        tx.domains.add(other)
        twin = rows.speaker(speaker_id="id#twin", domain_id=OTHER_DOMAIN)
        tx.speakers.add(twin)  # the same customer id
        assert tx.speakers.get(OTHER_DOMAIN, "customer-4711") == twin
        assert tx.speakers.find(OTHER_DOMAIN, rows.SPEAKER_ID) is None
        assert tx.sessions.find(OTHER_DOMAIN, "call-1") is None
        assert tx.sessions.find(OTHER_DOMAIN, rows.SESSION_ID) is None
        assert tx.voiceprints.find(OTHER_DOMAIN, rows.SPEAKER_ID) is None
        assert tx.voiceprints.of_watchlist(OTHER_DOMAIN, rows.WATCHLIST_ID) == []
        with pytest.raises(NotFound):
            tx.domains.require_watchlist(OTHER_DOMAIN, rows.WATCHLIST_ID)

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


async def test_a_speaker_is_forgotten_with_voice_speech_and_evidence(filled):
    def work(tx):
        tx.sessions.forget_speech_of(rows.SPEAKER_ID)
        tx.speakers.remove(rows.SPEAKER_ID)
        session = tx.sessions.get_by_id(rows.SESSION_ID)
        assert tx.speakers.find(rows.DOMAIN_ID, "customer-4711") is None
        assert tx.voiceprints.find(rows.DOMAIN_ID, rows.SPEAKER_ID) is None
        assert (tx.sessions.speech(session), session.speech_s) == (None, 0.0)
        assert tx.evidence.find(session).vector is None
        assert tx.voiceprints.of_watchlist(rows.DOMAIN_ID, rows.WATCHLIST_ID)  # is another's

    await filled.write(work)


async def test_pages_visit_each_row_once_in_the_order_they_were_made(any_store):
    def work(tx):
        tx.domains.add(rows.domain())
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
        tx.domains.add(rows.domain())
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


def test_a_database_of_a_later_version_is_refused(database_url):
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="later version"):
        open_database(database_url)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + bytes(200)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "vivavoce.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://127.0.0.1:1/x"]
)
def test_a_database_that_is_not_there_is_refused(url):
    if "psycopg" in url:
        pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(url)


async def test_nothing_personal_can_be_read_in_the_files(store, tmp_path):
    secret_texts = (b"customer-4711", b"retail-bank", "Grüße an Anna".encode(), b"Anna")
    secret_arrays = (rows.VECTOR.tobytes(), rows.SPEECH.tobytes()[:64])

    def work(tx):
        tx.domains.add(rows.domain())
        tx.speakers.add(rows.speaker())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)
        tx.sessions.add(rows.session())
        tx.sessions.put_speech(rows.session(), rows.SPEECH, seconds=1.0)
        tx.evidence.put(rows.evidence(), domain_id=rows.DOMAIN_ID)

    await store.write(work)
    store.add_access_key("VVKEY", "the-secret-of-the-key", now_ms=1)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {"vivavoce.db", "vivavoce.db-wal"} <= set(files)
    assert b"id#Izo7iCsoE5KCq5INFMnwsH" in b"".join(files.values())  # what may be read is found
    for name, content in files.items():
        for secret in (*secret_texts, *secret_arrays, b"the-secret-of-the-key"):
            assert secret not in content, name


async def test_what_is_deleted_leaves_no_sealed_trace_in_the_file(store, tmp_path):
    def sealed():
        with contextlib.closing(sqlite3.connect(tmp_path / "vivavoce.db")) as raw:
            return raw.execute("SELECT sealed_vector FROM voiceprints").fetchall()

    def work(tx):
        tx.domains.add(rows.domain())
        tx.speakers.add(rows.speaker())
        tx.voiceprints.put(rows.voiceprint(), speech=rows.SPEECH)

    await store.write(work)
    ((trace,),) = sealed()
    await store.write(lambda tx: tx.speakers.remove(rows.SPEAKER_ID))
    store.close()  # the write-ahead log is folded into the file
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert trace not in content
