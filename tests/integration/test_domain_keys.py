"""A domain's keys: what opens under which, and how everything comes under a new one."""

import asyncio
import dataclasses
import threading

import pytest
from sqlalchemy import text

from tests import rows
from tests.fakes import FakeCustomerKeys
from vivavoce.errors import Conflict, KeyDenied, KeyServiceDown, NotFound, SealBroken
from vivavoce.store import places, reencryption
from vivavoce.store.reencryption import Position
from vivavoce.store.sealing import DomainSealer, number_of
from vivavoce.store.store import open_store
from vivavoce.vault.vault import Vault

pytestmark = pytest.mark.anyio

OTHER_DOMAIN = "0" * 22
OTHER_WATCHLIST = "w" * 22
SPEAKERS = 5


def sealer(keys, **wrapped):
    """A sealer of a domain with these keys, by number."""
    numbers = {int(number.removeprefix("key_")): key for number, key in wrapped.items()}
    return DomainSealer(
        keys,
        domain_id=rows.DOMAIN_ID,
        arn=rows.domain().arn,
        status="ACTIVE",
        wrapped=numbers,
        sealed_index_key=None,
    )


def test_a_value_opens_under_the_key_it_names_as_long_as_the_domain_has_it(vault):
    first = (rows.KEY_ARN, rows.wrapped_key(rows.domain()))
    second = (rows.OTHER_KEY_ARN, rows.wrapped_key(rows.domain(kms_key_id=rows.OTHER_KEY_ARN)))
    old = sealer(vault, key_1=first)
    both = sealer(vault, key_1=first, key_2=second)
    new = sealer(vault, key_2=second)
    before, after = old.seal(b"voice", "p"), both.seal(b"voice", "p")
    assert (number_of(before), number_of(after)) == (1, 2)
    assert both.open(before, "p") == both.open(after, "p") == new.open(after, "p") == b"voice"
    for sealer_, value in ((new, before), (old, after)):
        with pytest.raises(SealBroken, match="names a key that its domain does not have"):
            sealer_.open(value, "p")


def test_a_value_under_a_tampered_number_does_not_open(vault):
    keys = {f"key_{number}": (rows.KEY_ARN, rows.wrapped_key(rows.domain())) for number in (1, 2)}
    both = sealer(vault, **keys)
    value = both.seal(b"voice", "p")
    for number in (0, 1, 3, 2**16 - 1):
        with pytest.raises(SealBroken):
            both.open(number.to_bytes(2, "big") + value[2:], "p")
    for broken in (b"", b"\0", value[:2], value[:-1]):
        with pytest.raises(SealBroken):
            both.open(broken, "p")


def test_a_value_of_another_domain_or_place_does_not_open(vault):
    one = sealer(vault, key_1=(rows.KEY_ARN, rows.wrapped_key(rows.domain())))
    value = one.seal(b"voice", "p")
    with pytest.raises(SealBroken):
        one.open(value, "q")


def test_only_the_key_that_is_needed_is_opened(vault, customer_keys):
    first = (rows.KEY_ARN, rows.wrapped_key(rows.domain()))
    second = (rows.OTHER_KEY_ARN, rows.wrapped_key(rows.domain(kms_key_id=rows.OTHER_KEY_ARN)))
    value = sealer(vault, key_1=first).seal(b"voice", "p")
    customer_keys.denied.add(rows.KEY_ARN)
    both = sealer(vault, key_1=first, key_2=second)
    assert both.open(both.seal(b"new", "p"), "p") == b"new"
    with pytest.raises(KeyDenied):
        both.open(value, "p")


# --- re-encryption


def fill(tx, domain_id=rows.DOMAIN_ID, watchlist_id=rows.WATCHLIST_ID):
    """A domain with several rows of every kind that a domain's key seals."""
    rows.add_domain(tx, domain_id=domain_id, default_watchlist_id=watchlist_id)
    mark = domain_id[-1]
    for number in range(SPEAKERS):
        name = f"{mark}{number}"
        ours = {"domain_id": domain_id}
        tx.watchlists.add(
            rows.watchlist(
                watchlist_id=f"list-{name}", description=None if number % 2 else "some", **ours
            )
        )
        tx.speakers.add(rows.speaker(speaker_id=f"id#s{name}", customer_id=f"c{number}", **ours))
        tx.fraudsters.add(
            rows.fraudster(fraudster_id=f"id#f{name}", watchlist_ids=(watchlist_id,), **ours)
        )
        for owner in ("s", "f"):
            tx.voiceprints.put(
                rows.voiceprint(owner_id=f"id#{owner}{name}", **ours), speech=rows.SPEECH
            )
        session = rows.session(
            session_id=f"id#c{name}",
            name=f"call-{number}",
            speaker_id=f"id#s{name}",
            customer_id=None if number == 1 else f"c{number}",
            **ours,
        )
        tx.sessions.add(session)
        if number != 2:
            tx.sessions.put_speech(session, rows.SPEECH, seconds=1.0)
        evidence = rows.evidence(
            session_id=session.session_id, vector=None if number == 3 else rows.VECTOR
        )
        tx.evidence.put(evidence, domain_id=domain_id)
        tx.jobs.add(rows.job(job_id=f"job-{name}", name=None if number == 4 else "May", **ours))


def change_key(tx, wrapped_key=None):
    domain = tx.domains.get(rows.DOMAIN_ID)
    changed = dataclasses.replace(
        domain,
        kms_key_id=rows.OTHER_KEY_ARN,
        old_kms_key_id=domain.kms_key_id,
        encryption_status="IN_PROGRESS",
    )
    tx.domains.change_key(changed, wrapped_key=wrapped_key or rows.wrapped_key(changed))


def contents(tx, domain_id=rows.DOMAIN_ID):
    """All that a domain holds, opened."""
    page = {"after": 0, "size": 99}
    sessions = [one for _, one in tx.sessions.page(domain_id, status=None, now_ms=0, **page)]
    speakers = [one for _, one in tx.speakers.page(domain_id, **page)]
    watchlists = [one for _, one in tx.watchlists.page(domain_id, **page)]
    speeches = [tx.sessions.speech(session) for session in sessions]
    evidence = [tx.evidence.find(session).vector for session in sessions]
    voices = [tx.voiceprints.find(domain_id, speaker.speaker_id).vector for speaker in speakers]
    wanted = rows.on_watchlist(tx, domain_id, watchlists[0].watchlist_id)
    voices += [voiceprint.vector for voiceprint in wanted]
    arrays = [
        None if array is None else array.tobytes() for array in [*speeches, *evidence, *voices]
    ]
    jobs = tx.jobs.page(domain_id, "speaker-enrollment", status=None, before=0, size=99)
    domain = tx.domains.get(domain_id)
    found = [tx.speakers.get(domain_id, f"c{number}").speaker_id for number in range(SPEAKERS)]
    texts = (domain.name, domain.description, tx.domains.tags(domain_id))
    return texts, sessions, speakers, watchlists, arrays, jobs, found


def walk(store, *, steps=1000):
    """Walk from the start, each slice a transaction; whether it came to the end."""
    position = Position()
    for _ in range(steps):
        position = store.write_now(
            lambda tx, position=position: tx.reencryption.step(rows.DOMAIN_ID, position)
        )
        if position is None:
            return True
    return False


def remains(store):
    return store.read_now(lambda tx: tx.reencryption.remains(rows.DOMAIN_ID))


@pytest.fixture
def encrypted(any_store, monkeypatch):
    """A store with two full domains, walked two rows at a time, or one with speech."""
    monkeypatch.setattr(reencryption, "_SLICE_ROWS", 2)
    monkeypatch.setattr(reencryption, "_SLICE_SPEECHES", 1)
    any_store.write_now(fill)
    any_store.write_now(lambda tx: fill(tx, OTHER_DOMAIN, OTHER_WATCHLIST))
    return any_store


def rows_of_the_other_domain(tx):
    """As they are stored."""
    return [
        tx.connection.execute(
            text(f"SELECT * FROM {table} WHERE domain_id = :domain_id ORDER BY sequence"),
            {"domain_id": OTHER_DOMAIN},
        ).all()
        for table in ("watchlists", "speakers", "fraudsters", "sessions", "jobs")
    ]


def test_a_walk_brings_everything_under_the_new_key(encrypted, customer_keys):
    before = encrypted.read_now(contents)
    untouched = encrypted.read_now(rows_of_the_other_domain)
    assert not remains(encrypted)
    encrypted.write_now(change_key)
    assert remains(encrypted)
    assert encrypted.read_now(contents) == before  # half old, half new
    assert walk(encrypted)
    assert not remains(encrypted)
    encrypted.write_now(lambda tx: tx.domains.drop_old_keys(rows.DOMAIN_ID))
    customer_keys.denied.add(rows.KEY_ARN)
    assert encrypted.read_now(contents) == before
    customer_keys.denied.clear()
    assert encrypted.read_now(rows_of_the_other_domain) == untouched
    numbers = encrypted.read_now(
        lambda tx: tx.connection.execute(
            text("SELECT number FROM domain_keys WHERE domain_id = :d"), {"d": rows.DOMAIN_ID}
        ).scalars().all()
    )  # fmt: skip
    assert numbers == [2]


def test_a_walk_that_is_broken_off_anywhere_is_begun_again(encrypted, customer_keys):
    before = encrypted.read_now(contents)
    encrypted.write_now(change_key)
    steps = 1
    while not walk(encrypted, steps=steps):
        assert encrypted.read_now(contents) == before
        steps += 1
    assert steps > SPEAKERS * 8 / 2  # columns, in slices of two
    assert not remains(encrypted)
    assert encrypted.read_now(contents) == before


def test_speech_goes_in_smaller_slices_than_what_is_small(encrypted, monkeypatch):
    monkeypatch.setattr(reencryption, "_SLICE_ROWS", 100)
    monkeypatch.setattr(reencryption, "_SLICE_SPEECHES", 2)
    encrypted.write_now(change_key)
    sealed_anew = []
    seal = DomainSealer.seal

    def note(self, value, place):
        sealed_anew[-1].append(place)
        return seal(self, value, place)

    monkeypatch.setattr(DomainSealer, "seal", note)
    position = Position()
    while position is not None:
        sealed_anew.append([])
        at = position
        position = encrypted.write_now(lambda tx, at=at: tx.reencryption.step(rows.DOMAIN_ID, at))
    speech = {places.session_speech(f"id#c{rows.DOMAIN_ID[-1]}{n}") for n in range(SPEAKERS)}
    with_speech = [len(places_) for places_ in sealed_anew if speech & set(places_)]
    assert with_speech == [2, 2]  # a session without speech takes no room in a slice
    assert max(map(len, sealed_anew)) > 2


def test_what_is_under_the_new_key_is_left_alone(encrypted):
    def keys(tx):
        return tx.connection.execute(text("SELECT sealed_key FROM speakers")).scalars().all()

    encrypted.write_now(change_key)
    walk(encrypted)
    sealed = encrypted.read_now(keys)
    assert walk(encrypted)
    assert encrypted.read_now(keys) == sealed


def test_what_another_writer_left_under_the_old_key_is_found(encrypted):
    at = {"name": f"list-{rows.DOMAIN_ID[-1]}0"}
    old = encrypted.read_now(
        lambda tx: tx.connection.execute(
            text("SELECT sealed_name FROM watchlists WHERE watchlist_id = :name"), at
        ).scalar_one()
    )
    encrypted.write_now(change_key)
    walk(encrypted)
    encrypted.write_now(
        lambda tx: tx.connection.execute(
            text("UPDATE watchlists SET sealed_name = :old WHERE watchlist_id = :name"),
            at | {"old": old},
        )
    )
    assert remains(encrypted)
    walk(encrypted)
    assert not remains(encrypted)


def test_what_is_written_meanwhile_is_under_the_new_key(encrypted, customer_keys):
    encrypted.write_now(change_key)
    encrypted.write_now(
        lambda tx: tx.speakers.add(rows.speaker(speaker_id="id#new", customer_id="new"))
    )
    customer_keys.denied.add(rows.KEY_ARN)
    speaker = encrypted.read_now(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "new"))
    assert speaker.speaker_id == "id#new"
    # Who is unknown is so without the old key; who is known is not shown without it.
    assert encrypted.read_now(lambda tx: tx.speakers.find(rows.DOMAIN_ID, "nobody")) is None
    with pytest.raises(KeyDenied):
        encrypted.read_now(lambda tx: tx.speakers.get(rows.DOMAIN_ID, "c0"))


def test_a_key_is_changed_only_from_the_version_that_was_read(encrypted):
    def change_twice(tx):
        domain = tx.domains.get(rows.DOMAIN_ID)
        changed = dataclasses.replace(domain, kms_key_id=rows.OTHER_KEY_ARN)
        tx.domains.change_key(changed, wrapped_key=rows.wrapped_key(changed))
        tx.domains.change_key(changed, wrapped_key=rows.wrapped_key(changed))

    with pytest.raises(Conflict) as refused:
        encrypted.write_now(change_twice)
    assert refused.value.conflict_type == "CONCURRENT_CHANGES"
    assert not remains(encrypted)


async def test_of_two_processes_that_change_a_key_at_once_one_is_refused(postgres_url, vault):
    """In SQLite the second one waits for the first; here both have read before either writes."""
    first, second = open_store(postgres_url, vault), open_store(postgres_url, vault)
    # Made once: work that meets a key which is not at hand runs again.
    wrapped_key = rows.wrapped_key(rows.domain(kms_key_id=rows.OTHER_KEY_ARN))
    vault.domain_key(rows.OTHER_KEY_ARN, wrapped_key, domain_arn=rows.domain().arn)
    read, written = threading.Event(), threading.Event()

    def slowly(tx):
        tx.domains.get(rows.DOMAIN_ID)
        read.set()
        assert written.wait(10)
        change_key(tx, wrapped_key)

    await first.write(rows.add_domain)
    slow = asyncio.ensure_future(first.write(slowly))
    await asyncio.to_thread(read.wait, 10)
    await second.write(lambda tx: change_key(tx, wrapped_key))
    written.set()
    with pytest.raises(Conflict) as refused:
        await slow
    assert refused.value.conflict_type == "CONCURRENT_CHANGES"
    first.close()
    second.close()


def test_a_key_cannot_be_changed_without_the_old_one(encrypted, customer_keys):
    customer_keys.denied.add(rows.KEY_ARN)
    with pytest.raises(KeyDenied):
        encrypted.write_now(change_key)
    customer_keys.denied.clear()
    assert encrypted.read_now(lambda tx: tx.domains.get(rows.DOMAIN_ID)) == rows.domain()


def test_a_walk_through_a_deleted_domain_ends(encrypted):
    encrypted.write_now(change_key)
    walk(encrypted, steps=3)
    encrypted.write_now(lambda tx: tx.domains.mark_deleted(rows.DOMAIN_ID, now_ms=1))
    with pytest.raises(NotFound):
        walk(encrypted)
    assert encrypted.read_now(lambda tx: tx.domains.being_reencrypted()) == []


# --- a denied key


async def test_a_denied_key_shows_nothing_and_hides_no_other_domain(encrypted, customer_keys):
    await encrypted.write(
        lambda tx: rows.add_domain(
            tx,
            domain_id="1" * 22,
            default_watchlist_id="1" * 22,
            kms_key_id=rows.OTHER_KEY_ARN,
        )
    )
    customer_keys.denied.add(rows.KEY_ARN)
    page = {"after": 0, "size": 9}
    for ask in (
        lambda tx: tx.domains.get(rows.DOMAIN_ID),
        lambda tx: tx.speakers.get(rows.DOMAIN_ID, "c0"),
        lambda tx: tx.speakers.page(rows.DOMAIN_ID, **page),
        lambda tx: tx.watchlists.page(rows.DOMAIN_ID, **page),
        lambda tx: tx.sessions.page(rows.DOMAIN_ID, status=None, now_ms=0, **page),
        lambda tx: tx.voiceprints.of_fraudsters(rows.DOMAIN_ID, [rows.FRAUDSTER_ID]),
        lambda tx: tx.jobs.page(
            rows.DOMAIN_ID, "speaker-enrollment", status=None, before=0, size=9
        ),
    ):
        for run in (encrypted.read, encrypted.look_up):
            with pytest.raises(KeyDenied):
                await run(ask)
    with pytest.raises(KeyDenied):
        await encrypted.write(lambda tx: tx.speakers.add(rows.speaker()))

    def listed(tx):
        found = [domain for _, domain in tx.domains.page(None, **page)]
        return [(domain.status, domain.name, domain.description) for domain in found]

    suspended = ("SUSPENDED", None, None)
    active = ("ACTIVE", rows.domain().name, rows.domain().description)
    assert await encrypted.read(listed) == [suspended, suspended, active]
    # Tags say who may do what: they are known without the customer's key.
    assert await encrypted.read(lambda tx: tx.domains.tags(rows.DOMAIN_ID)) == rows.TAGS


async def test_a_key_service_that_is_down_is_told_apart_from_a_denial(encrypted, customer_keys):
    customer_keys.down = True
    for run in (encrypted.read, encrypted.look_up):
        with pytest.raises(KeyServiceDown):
            await run(lambda tx: tx.domains.get(rows.DOMAIN_ID))


async def test_a_key_service_that_is_down_does_not_hide_other_domains(encrypted, customer_keys):
    customer_keys.down = True
    listed = await encrypted.read(lambda tx: tx.domains.page(None, after=0, size=9))
    assert listed
    assert all((domain.status, domain.name) == ("SUSPENDED", None) for _, domain in listed)


async def test_a_look_up_asks_for_a_key_elsewhere_if_it_must(encrypted, database_url):
    keys = FakeCustomerKeys()
    again = open_store(database_url, Vault(bytes(32), keys))
    for _ in range(2):
        found = await again.look_up(lambda tx: tx.domains.get(rows.DOMAIN_ID))
        assert found == rows.domain()
    assert keys.opened == [rows.KEY_ARN]
    again.close()
