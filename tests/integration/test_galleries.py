"""Fraudsters' voices held in memory are those in the database, whatever happened to either."""

import numpy as np
import pytest

from tests import rows
from vivavoce.store.galleries import Galleries

pytestmark = pytest.mark.anyio

MODEL = rows.voiceprint().model
OTHER_WATCHLIST = "other-watchlist-000001"


def voice_of(number):
    direction = np.random.default_rng(number).normal(size=rows.voiceprint().vector.size)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def register(tx, number, *, watchlists=(rows.WATCHLIST_ID,), model=MODEL):
    owner_id = f"id#{number:022}"
    tx.fraudsters.add(rows.fraudster(fraudster_id=owner_id, watchlist_ids=watchlists))
    tx.voiceprints.put(
        rows.voiceprint(owner_id=owner_id, vector=voice_of(number), model=model),
        speech=rows.SPEECH,
    )
    return owner_id


def nearest(tx, number, list_id=None):
    with tx.wanted.gallery(rows.DOMAIN_ID, MODEL) as gallery:
        return gallery.nearest(voice_of(number), list_id)


def is_held(tx, number, list_id=None):
    found = nearest(tx, number, list_id)
    return found is not None and found.cosine > 0.999


@pytest.fixture
async def filled(any_store):
    await any_store.write(rows.add_domain)
    return any_store


async def test_what_is_registered_is_found_at_once_also_within_the_transaction(filled):
    assert await filled.read(lambda tx: nearest(tx, 1)) is None

    def work(tx):
        owner_id = register(tx, 1)
        assert nearest(tx, 1).owner_id == owner_id
        return owner_id

    owner_id = await filled.write(work)
    assert (await filled.read(lambda tx: nearest(tx, 1))).owner_id == owner_id


async def test_who_moves_between_watchlists_is_found_on_the_new_one(filled):
    def work(tx):
        tx.watchlists.add(rows.watchlist(watchlist_id=OTHER_WATCHLIST, is_default=False))
        owner_id = register(tx, 1)
        assert is_held(tx, 1, rows.WATCHLIST_ID)
        tx.fraudsters.associate(tx.fraudsters.get(rows.DOMAIN_ID, owner_id), OTHER_WATCHLIST)
        assert is_held(tx, 1, OTHER_WATCHLIST)
        tx.fraudsters.disassociate(tx.fraudsters.get(rows.DOMAIN_ID, owner_id), rows.WATCHLIST_ID)
        assert not is_held(tx, 1, rows.WATCHLIST_ID)
        assert is_held(tx, 1, OTHER_WATCHLIST)

    await filled.write(work)


async def test_a_deleted_fraudster_is_held_no_longer_though_nobody_searches_again(filled):
    owner_id = await filled.write(lambda tx: register(tx, 1))
    await filled.write(lambda tx: register(tx, 2))
    held = []

    def peek(tx):
        with tx.wanted.gallery(rows.DOMAIN_ID, MODEL) as gallery:
            held.append(gallery)

    await filled.read(peek)
    await filled.write(lambda tx: tx.fraudsters.remove(rows.DOMAIN_ID, owner_id))
    assert held[0].owner_ids == ["id#0000000000000000000002"]
    assert not await filled.read(lambda tx: is_held(tx, 1))
    assert await filled.read(lambda tx: is_held(tx, 2))


async def test_what_was_undone_was_never_there(filled):
    await filled.write(lambda tx: register(tx, 1))

    def fails(tx):
        register(tx, 2)
        assert is_held(tx, 2)
        raise LookupError

    with pytest.raises(LookupError):
        await filled.write(fails)
    assert not await filled.read(lambda tx: is_held(tx, 2))
    # The number of the change that was undone is used again.
    await filled.write(lambda tx: register(tx, 3))
    assert not await filled.read(lambda tx: is_held(tx, 2))
    assert await filled.read(lambda tx: is_held(tx, 1) and is_held(tx, 3))


async def test_what_another_process_did_is_seen(filled):
    await filled.write(lambda tx: register(tx, 1))
    assert await filled.read(lambda tx: is_held(tx, 1))
    ours, filled.galleries = filled.galleries, Galleries()  # the other process has its own
    await filled.write(lambda tx: register(tx, 2))
    await filled.write(lambda tx: tx.fraudsters.remove(rows.DOMAIN_ID, "id#0000000000000000000001"))
    filled.galleries = ours
    assert await filled.read(lambda tx: is_held(tx, 2) and not is_held(tx, 1))


async def test_who_missed_too_many_changes_opens_everything_anew(filled, monkeypatch):
    monkeypatch.setattr("vivavoce.store.fraudster_changes._KEPT_CHANGES", 3)
    await filled.write(lambda tx: register(tx, 1))
    assert await filled.read(lambda tx: is_held(tx, 1))
    for number in range(2, 8):
        await filled.write(lambda tx, number=number: register(tx, number))
    assert await filled.read(lambda tx: all(is_held(tx, number) for number in range(1, 8)))


async def test_voices_of_another_encoder_are_not_searched(filled):
    await filled.write(lambda tx: register(tx, 1, model="another@0"))
    assert await filled.read(lambda tx: nearest(tx, 1)) is None


async def test_what_nobody_uses_is_let_go_of(filled):
    await filled.write(lambda tx: register(tx, 1))
    await filled.read(lambda tx: tx.wanted.open(rows.DOMAIN_ID, MODEL))
    filled.galleries.tidy(unused_s=60)
    assert filled.galleries.has(rows.DOMAIN_ID, MODEL)
    filled.galleries.tidy(unused_s=0)
    assert not filled.galleries.has(rows.DOMAIN_ID, MODEL)
    assert await filled.read(lambda tx: is_held(tx, 1))
