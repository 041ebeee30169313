"""Domains as a whole: made, changed, given other keys, deleted."""

import asyncio
import contextlib
import dataclasses
from dataclasses import dataclass, field

import pytest

from tests import rows
from tests.fakes import FakeCustomerKeys
from tests.integration.house import ANNA, House, until
from vivavoce.errors import (
    Conflict,
    InvalidRequest,
    KeyDenied,
    KeyServiceDown,
    NotFound,
    QuotaExceeded,
)
from vivavoce.sessions import domains as domains_module
from vivavoce.sessions.domains import DomainDesk, NewDomain, Place, Reencryptor
from vivavoce.store import reencryption
from vivavoce.store.quotas import Quotas
from vivavoce.store.tokens import ClientToken
from vivavoce.vault.keyring import LocalKeyring
from vivavoce.vault.seal import SealingKey

pytestmark = pytest.mark.anyio

PLACE = Place(region=rows.REGION, account_id=rows.ACCOUNT_ID)
ELSEWHERE = Place(region="eu-west-2", account_id=rows.ACCOUNT_ID)


def new(name="bank", *, key_id=rows.KEY_ARN, token=None, description=None, place=PLACE):
    facts = {"Name": name, "KmsKeyId": key_id, "Description": description}
    return NewDomain(
        name=name,
        description=description,
        key_id=key_id,
        tags=rows.TAGS,
        token=ClientToken(scope=place.region, text=token, facts=facts),
    )


async def conflict(doing):
    with pytest.raises(Conflict) as refused:
        await doing
    return refused.value.conflict_type


@dataclass(kw_only=True)
class Estate:
    """A house, and what is done to its domains as a whole."""

    house: House
    keys: FakeCustomerKeys
    desk: DomainDesk
    reencryptor: Reencryptor
    running: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def store(self):
        return self.house.store

    async def domain(self, domain_id=rows.DOMAIN_ID):
        return await self.store.read(lambda tx: tx.domains.get(domain_id))

    async def domain_ids(self):
        found = await self.store.read(lambda tx: tx.domains.page(None, after=0, size=99))
        return [domain.domain_id for _, domain in found]

    async def update(self, key_id=rows.KEY_ARN, *, name="bank", description=None):
        return await self.desk.update(
            rows.DOMAIN_ID, PLACE, name=name, description=description, key_id=key_id
        )

    def run(self):
        """Let the reencryptor work, as the server does."""
        self.running.append(asyncio.create_task(self.reencryptor.run()))

    async def stop(self):
        """Stop it, wherever it is."""
        while self.running:
            task = self.running.pop()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def encryption(self, domain_id=rows.DOMAIN_ID):
        """How far the change of keys is, though the key may be denied."""
        found = await self.store.read(lambda tx: tx.domains.page(None, after=0, size=99))
        (domain,) = [domain for _, domain in found if domain.domain_id == domain_id]
        return domain.encryption_status

    async def until_encryption_is(self, status):
        async def reached():
            return await self.encryption() == status

        await until(reached)

    async def add_speakers(self, count):
        def work(tx):
            for number in range(count):
                tx.speakers.add(
                    rows.speaker(speaker_id=f"id#{number}", customer_id=f"customer-{number}")
                )

        await self.store.write(work)

    async def speakers(self):
        found = await self.store.read(
            lambda tx: tx.speakers.page(rows.DOMAIN_ID, after=0, size=999)
        )
        return [speaker.customer_id for _, speaker in found]


@pytest.fixture
async def estate(house, vault, customer_keys, monkeypatch):
    monkeypatch.setattr(reencryption, "_SLICE_ROWS", 4)
    reencryptor = Reencryptor(store=house.store, clock=house.clock)
    desk = DomainDesk(
        store=house.store,
        keys=vault,
        clock=house.clock,
        reencryptor=reencryptor,
        end_calls=house.desk.end_calls,
    )
    estate = Estate(house=house, keys=customer_keys, desk=desk, reencryptor=reencryptor)
    yield estate
    await estate.stop()


# --- making


async def test_a_domain_is_made_with_its_default_watchlist(estate):
    made = await estate.desk.create(new(description="Grüße"), PLACE)
    assert await estate.domain(made.domain_id) == made
    assert made.arn == f"arn:aws:voiceid:us-east-1:000000000000:domain/{made.domain_id}"
    assert (made.status, made.kms_key_id, made.region) == ("ACTIVE", rows.KEY_ARN, rows.REGION)
    assert (made.old_kms_key_id, made.encryption_status) == (None, None)
    assert made.created_ms == made.updated_ms == estate.house.clock.ms
    watchlist = await estate.store.read(
        lambda tx: tx.watchlists.get(made.domain_id, made.default_watchlist_id)
    )
    assert watchlist.is_default
    tags = await estate.store.read(lambda tx: tx.domains.tags(made.domain_id))
    assert tags == rows.TAGS


async def test_a_key_is_named_by_its_arn_from_then_on(estate):
    made = await estate.desk.create(new(key_id="abc"), ELSEWHERE)
    assert made.kms_key_id == "arn:aws:kms:eu-west-2:000000000000:key/abc"
    assert made.arn.startswith("arn:aws:voiceid:eu-west-2:")


async def test_the_same_token_makes_one_domain(estate):
    first = await estate.desk.create(new(token="t-1"), PLACE)
    estate.house.clock.ms += 1000
    assert await estate.desk.create(new(token="t-1"), PLACE) == first
    with pytest.raises(InvalidRequest):
        await estate.desk.create(new("other", token="t-1"), PLACE)
    second = await estate.desk.create(new(token="t-2"), PLACE)
    elsewhere = await estate.desk.create(new(token="t-1", place=ELSEWHERE), ELSEWHERE)
    made = [domain.domain_id for domain in (first, second, elsewhere)]
    assert await estate.domain_ids() == [rows.DOMAIN_ID, *made]


async def test_the_same_token_many_times_at_once_makes_one_domain(estate):
    made = await asyncio.gather(
        *(estate.desk.create(new(token="t"), PLACE) for _ in range(8)),
    )
    assert len({domain.domain_id for domain in made}) == 1
    assert await estate.domain_ids() == [rows.DOMAIN_ID, made[0].domain_id]


async def test_without_a_key_no_domain_is_made(estate):
    estate.keys.denied.add(rows.KEY_ARN)
    with pytest.raises(KeyDenied):
        await estate.desk.create(new(token="t"), PLACE)
    estate.keys.down = True
    with pytest.raises(KeyServiceDown):
        await estate.desk.create(new(token="t"), PLACE)
    estate.keys.down = False
    estate.keys.denied.clear()
    assert await estate.domain_ids() == [rows.DOMAIN_ID]
    assert await estate.desk.create(new(token="t"), PLACE)  # the token was not used up


# --- changing


async def test_an_update_replaces_what_it_does_not_name(estate):
    estate.house.clock.ms += 1000
    updated = await estate.update(name="new")
    assert (updated.name, updated.description) == ("new", None)
    assert updated.updated_ms == estate.house.clock.ms
    assert updated.created_ms == rows.domain().created_ms
    assert (updated.encryption_status, updated.old_kms_key_id) == (None, None)
    assert await estate.domain() == updated


async def test_of_two_updates_at_once_one_is_refused_and_changes_nothing(estate):
    """Both have read the domain before either writes."""
    resolve = estate.keys.resolve
    both = asyncio.Barrier(2)
    loop = asyncio.get_running_loop()

    def meet(key_id, **where):
        asyncio.run_coroutine_threadsafe(both.wait(), loop).result(10)
        return resolve(key_id, **where)

    estate.keys.resolve = meet
    outcomes = await asyncio.gather(
        estate.update(name="one"),
        estate.update(rows.OTHER_KEY_ARN, name="two"),
        return_exceptions=True,
    )
    (done,) = [one for one in outcomes if not isinstance(one, Exception)]
    (refused,) = [one for one in outcomes if isinstance(one, Conflict)]
    assert refused.conflict_type == "CONCURRENT_CHANGES"
    assert await estate.domain() == done


async def test_what_is_not_there_or_not_active_is_not_updated(estate):
    with pytest.raises(NotFound) as missing:
        await estate.desk.update("0" * 22, PLACE, name="x", description=None, key_id=rows.KEY_ARN)
    assert missing.value.resource_type == "DOMAIN"
    await estate.store.write(
        lambda tx: rows.add_domain(
            tx, domain_id="0" * 22, default_watchlist_id="0" * 22, status="PENDING"
        )
    )
    updating = estate.desk.update("0" * 22, PLACE, name="x", description=None, key_id=rows.KEY_ARN)
    assert await conflict(updating) == "DOMAIN_NOT_ACTIVE"


# --- another key


async def test_a_new_key_takes_over_everything(estate):
    await estate.add_speakers(10)
    before = await estate.speakers()
    changed = await estate.update(rows.OTHER_KEY_ARN, description="some")
    assert (changed.kms_key_id, changed.old_kms_key_id) == (rows.OTHER_KEY_ARN, rows.KEY_ARN)
    assert (changed.encryption_status, changed.encryption_message) == ("IN_PROGRESS", None)
    assert await estate.speakers() == before
    estate.run()
    await estate.until_encryption_is("COMPLETED")
    estate.keys.denied.add(rows.KEY_ARN)  # it may be retired now
    done = await estate.domain()
    assert (done.name, done.description) == ("bank", "some")
    assert (done.kms_key_id, done.old_kms_key_id) == (rows.OTHER_KEY_ARN, rows.KEY_ARN)
    assert await estate.speakers() == before


async def test_the_key_may_change_again_once_the_change_is_complete(estate):
    estate.run()
    third = f"{rows.KEY_ARN}-3"
    for key_arn, old in ((rows.OTHER_KEY_ARN, rows.KEY_ARN), (third, rows.OTHER_KEY_ARN)):
        assert (await estate.update(key_arn)).old_kms_key_id == old
        await estate.until_encryption_is("COMPLETED")
    assert (await estate.update(rows.KEY_ARN)).encryption_status == "IN_PROGRESS"
    await estate.until_encryption_is("COMPLETED")
    estate.keys.denied |= {rows.OTHER_KEY_ARN, third}
    assert (await estate.domain()).name == "bank"


async def test_during_a_change_of_keys_the_texts_may_change_but_the_key_may_not(estate):
    await estate.update(rows.OTHER_KEY_ARN)
    for key_arn in (rows.KEY_ARN, f"{rows.KEY_ARN}-3"):
        locked = await conflict(estate.update(key_arn))
        assert locked == "DOMAIN_LOCKED_FROM_ENCRYPTION_UPDATES"
    renamed = await estate.update(rows.OTHER_KEY_ARN, name="renamed")
    assert (renamed.name, renamed.encryption_status) == ("renamed", "IN_PROGRESS")
    estate.run()
    await estate.until_encryption_is("COMPLETED")
    assert (await estate.domain()).name == "renamed"


async def test_an_old_key_denied_half_way_fails_visibly_and_the_same_update_goes_on(estate):
    await estate.add_speakers(20)
    before = await estate.speakers()
    await estate.update(rows.OTHER_KEY_ARN)
    step = reencryption.Reencryption.step
    walked = 0

    def denied_in_the_third_slice(self, domain_id, position):
        nonlocal walked
        walked += 1
        if walked == 3:
            estate.keys.denied.add(rows.KEY_ARN)
        return step(self, domain_id, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reencryption.Reencryption, "step", denied_in_the_third_slice)
        estate.run()
        await estate.until_encryption_is("FAILED")
    failed = await estate.domain()
    assert failed.status == "ACTIVE"  # the new key is usable
    assert failed.encryption_message is not None
    assert rows.KEY_ARN in failed.encryption_message
    with pytest.raises(KeyDenied):
        await estate.speakers()
    estate.keys.denied.clear()
    assert await estate.speakers() == before
    again = await estate.update(rows.OTHER_KEY_ARN)
    assert (again.encryption_status, again.encryption_message) == ("IN_PROGRESS", None)
    assert again.old_kms_key_id == rows.KEY_ARN
    await estate.until_encryption_is("COMPLETED")
    estate.keys.denied.add(rows.KEY_ARN)
    assert await estate.speakers() == before


async def test_a_new_key_denied_half_way_fails_visibly_too(estate):
    await estate.add_speakers(5)
    await estate.update(rows.OTHER_KEY_ARN)
    estate.keys.denied.add(rows.OTHER_KEY_ARN)
    estate.run()
    await estate.until_encryption_is("FAILED")
    with pytest.raises(KeyDenied):
        await estate.domain()
    estate.keys.denied.clear()
    await estate.update(rows.OTHER_KEY_ARN)
    await estate.until_encryption_is("COMPLETED")


async def test_a_key_service_that_is_down_is_waited_for(estate, monkeypatch):
    monkeypatch.setattr(domains_module, "_LOOK_AGAIN_S", 0.02)
    await estate.add_speakers(5)
    await estate.update(rows.OTHER_KEY_ARN)
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    is_usable = estate.keys.is_usable

    def ask(key_arn):
        loop.call_soon_threadsafe(asked.set)
        return is_usable(key_arn)

    estate.keys.is_usable = ask
    estate.keys.down = True
    estate.run()
    await asyncio.wait_for(asked.wait(), 10)
    await asyncio.sleep(0.05)
    estate.keys.down = False
    await estate.until_encryption_is("COMPLETED")


async def test_a_change_that_a_crash_broke_off_is_finished_by_the_next_start(estate):
    await estate.add_speakers(20)
    before = await estate.speakers()
    await estate.update(rows.OTHER_KEY_ARN)
    await estate.store.write(
        lambda tx: tx.reencryption.step(rows.DOMAIN_ID, reencryption.Position(column=2))
    )
    estate.reencryptor = Reencryptor(store=estate.store, clock=estate.house.clock)
    estate.run()
    await estate.until_encryption_is("COMPLETED")
    estate.keys.denied.add(rows.KEY_ARN)
    assert await estate.speakers() == before


async def test_a_reencryptor_stopped_anywhere_is_followed_by_another(estate):
    await estate.add_speakers(30)
    before = await estate.speakers()
    await estate.update(rows.OTHER_KEY_ARN)
    for turns in range(0, 60, 6):
        estate.run()
        for _ in range(turns):
            await asyncio.sleep(0)
        await estate.stop()
        assert await estate.speakers() == before
    estate.run()
    await estate.until_encryption_is("COMPLETED")
    assert await estate.speakers() == before


async def test_one_domain_that_fails_keeps_no_other_one_waiting(estate):
    await estate.update(rows.OTHER_KEY_ARN)
    other = await estate.desk.create(new(key_id=f"{rows.KEY_ARN}-3"), PLACE)
    await estate.desk.update(
        other.domain_id, PLACE, name="x", description=None, key_id=f"{rows.KEY_ARN}-4"
    )
    estate.keys.denied.add(rows.KEY_ARN)
    estate.run()

    async def other_is_done():
        return await estate.encryption(other.domain_id) == "COMPLETED"

    await until(other_is_done)
    await estate.until_encryption_is("FAILED")


async def test_a_domain_deleted_while_it_is_reencrypted_is_let_go_of(estate):
    await estate.add_speakers(10)
    await estate.update(rows.OTHER_KEY_ARN)
    other = await estate.desk.create(new(key_id=f"{rows.KEY_ARN}-3"), PLACE)
    await estate.desk.delete(rows.DOMAIN_ID)
    estate.run()
    await estate.desk.update(
        other.domain_id, PLACE, name="x", description=None, key_id=rows.KEY_ARN
    )

    async def other_is_done():
        return await estate.encryption(other.domain_id) == "COMPLETED"

    await until(other_is_done)


async def test_a_key_that_cannot_be_used_is_not_changed_to(estate):
    estate.keys.denied.add(rows.OTHER_KEY_ARN)
    with pytest.raises(KeyDenied):
        await estate.update(rows.OTHER_KEY_ARN)
    assert await estate.domain() == rows.domain()


# --- a key that is named for the first time


@pytest.fixture
def keyring(tmp_path, vault, estate):
    """A local keyring in place of the made-up keys."""
    keyring = LocalKeyring(tmp_path / "keyring.json", SealingKey(bytes(32)))
    vault._customer_keys = keyring
    return keyring


@pytest.fixture
async def bank(keyring, estate):
    return await estate.desk.create(new(key_id="alias/bank"), PLACE)


async def change(estate, domain, key_id, **texts):
    return await estate.desk.update(
        domain.domain_id, PLACE, key_id=key_id, **({"name": "n", "description": None} | texts)
    )


def aliases(keyring):
    return [alias for key in keyring.all_keys() for alias in key.aliases]


async def test_an_update_that_goes_through_makes_the_key_it_names(estate, keyring, bank):
    changed = await change(estate, bank, "alias/new")
    assert changed.kms_key_id == keyring.find("alias/new", region=rows.REGION, account_id="0" * 12)
    assert aliases(keyring) == ["alias/bank", "alias/new"]


async def test_an_update_that_is_refused_makes_no_key(estate, keyring, bank):
    await change(estate, bank, "alias/new")
    refused = await conflict(change(estate, bank, "alias/newer"))
    assert refused == "DOMAIN_LOCKED_FROM_ENCRYPTION_UPDATES"
    missing = dataclasses.replace(bank, domain_id="0" * 22)
    with pytest.raises(NotFound):
        await change(estate, missing, "alias/newer")
    assert aliases(keyring) == ["alias/bank", "alias/new"]


async def test_of_many_updates_at_once_only_the_one_that_wins_makes_a_key(estate, keyring, bank):
    outcomes = await asyncio.gather(
        *(change(estate, bank, f"alias/n{number}") for number in range(6)),
        *(change(estate, bank, "alias/bank", name=f"n{number}") for number in range(2)),
        return_exceptions=True,
    )
    done = [one for one in outcomes if not isinstance(one, BaseException)]
    assert all(isinstance(one, Conflict) for one in outcomes if one not in done)
    used = {one.kms_key_id for one in done} | {bank.kms_key_id}
    assert {key.arn for key in keyring.all_keys()} == used


async def test_a_domain_too_many_makes_no_key(estate, keyring, monkeypatch):
    monkeypatch.setattr(estate.store, "_quotas", Quotas(domains=1))
    with pytest.raises(QuotaExceeded):
        await estate.desk.create(new(key_id="alias/new"), PLACE)
    assert keyring.all_keys() == []
    with pytest.raises(InvalidRequest):  # what is no name is said first
        await estate.desk.create(new(key_id="alias/"), PLACE)


# --- deleting


async def test_a_deleted_domain_is_gone_at_once_and_may_be_deleted_again(estate):
    await estate.desk.delete(rows.DOMAIN_ID)
    with pytest.raises(NotFound):
        await estate.domain()
    assert await estate.domain_ids() == []
    await estate.desk.delete(rows.DOMAIN_ID)
    with pytest.raises(NotFound) as missing:
        await estate.desk.delete("0" * 22)
    assert missing.value.resource_type == "DOMAIN"


async def test_a_second_deletion_does_not_put_off_the_erasure(estate):
    await estate.desk.delete(rows.DOMAIN_ID)
    deleted_ms = estate.house.clock.ms
    estate.house.clock.ms += 1000
    await estate.desk.delete(rows.DOMAIN_ID)
    found = await estate.store.read(lambda tx: tx.domains.deleted_before(deleted_ms + 1))
    assert found == [rows.DOMAIN_ID]
    while await estate.store.write(lambda tx: tx.domains.erase_some(rows.DOMAIN_ID)):
        pass
    with pytest.raises(NotFound):
        await estate.desk.delete(rows.DOMAIN_ID)


async def test_a_deletion_ends_the_domains_live_calls_and_no_others(estate):
    house = estate.house
    session, token = await house.start(speaker_id="anna")
    call = await house.open(session, token)
    await house.say(call, ANNA, 3)
    other = await estate.desk.create(new(), PLACE)
    elsewhere, token = await house.start("elsewhere", domain_id=other.domain_id)
    going_on = await house.open(elsewhere, token)
    await estate.desk.delete(rows.DOMAIN_ID)
    assert house.calls.find(session.session_id) is None
    assert house.calls.find(elsewhere.session_id) is going_on
    with pytest.raises(NotFound):
        await house.session()
    with pytest.raises(NotFound):
        await house.start("new")


async def test_a_domain_whose_key_is_denied_can_be_deleted(estate):
    house = estate.house
    session, token = await house.start(speaker_id="anna")
    await house.say(await house.open(session, token), ANNA, 3)
    estate.keys.denied.add(rows.KEY_ARN)
    await estate.desk.delete(rows.DOMAIN_ID)
    assert await estate.domain_ids() == []
    assert house.calls.find(session.session_id) is None


# --- a denied key


async def test_a_denied_key_denies_everything_and_lists_show_the_domain_suspended(estate):
    house = estate.house
    await house.enroll("anna")
    await house.stream(ANNA, 11, speaker_id="anna")
    await house.evaluate()
    await house.start("bare")
    estate.keys.denied.add(rows.KEY_ARN)
    asked = (
        estate.update(),
        estate.update(rows.OTHER_KEY_ARN),
        estate.domain(),
        house.start("new"),
        house.opt_out("anna"),
        house.delete_speaker("anna"),
        house.desk.list_sessions(rows.DOMAIN_ID, status=None, after=0, size=9),
    )
    # Of the second session nothing is sealed: it has neither a speaker nor any speech.
    for name in ("call", "bare"):
        asked += (
            house.session(name),
            house.evaluate(name),
            house.update(name, risk_threshold=1),
            house.desk.enroll(rows.DOMAIN_ID, name),
            house.desk.register_fraudster(rows.DOMAIN_ID, name, None),
            house.desk.end(rows.DOMAIN_ID, name),
        )
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [KeyDenied] * len(asked)
    found = await estate.store.read(lambda tx: tx.domains.page(rows.REGION, after=0, size=9))
    ((_, listed),) = found
    assert listed == dataclasses.replace(
        rows.domain(), status="SUSPENDED", name=None, description=None
    )
    estate.keys.denied.clear()
    assert (await estate.domain()).status == "ACTIVE"
    assert (await house.evaluate()).authentication.decision == "ACCEPT"
