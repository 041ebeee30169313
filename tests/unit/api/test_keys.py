import asyncio
import json
from dataclasses import replace

import pytest

from tests.fakes import StillClock
from vivavoce.api.keys import LOOK_AGAIN_MS, KeyDirectory
from vivavoce.api.policy import Decision, Question
from vivavoce.errors import StoreError
from vivavoce.store.access_keys import AccessKeyRecord

EVERYTHING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "voiceid:*", "Resource": "*"},
    }
)
RECORD = AccessKeyRecord(
    access_key_id="VVANN",
    name="ann",
    secret="secret-of-ann",
    session_token=None,
    policy=EVERYTHING,
    created_ms=1,
    expires_ms=None,
)
QUESTION = Question(action="voiceid:ListDomains", resource="*")

pytestmark = pytest.mark.anyio


class Database:
    """What is stored, and how often it was read."""

    def __init__(self, *records):
        self.records = list(records)
        self.reads = 0
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def load(self):
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return list(self.records)


def directory(database):
    clock = StillClock()
    return KeyDirectory(database.load, clock), clock


async def test_a_key_is_known_once_it_was_read():
    keys, _ = directory(Database(RECORD))
    assert keys.find("VVANN") is None
    await keys.refresh()
    key = keys.find("VVANN")
    assert key is not None
    assert (key.name, key.secret, key.session_token) == ("ann", "secret-of-ann", None)
    assert key.policy.decide(QUESTION) is Decision.ALLOWED
    assert keys.find("VVBOB") is None


async def test_secrets_are_not_shown():
    record = replace(RECORD, session_token="token-of-ann")
    keys, _ = directory(Database(record))
    await keys.refresh()
    for shown in (repr(record), repr(keys.find("VVANN"))):
        assert "of-ann" not in shown


async def test_a_revoked_key_is_forgotten_and_a_changed_one_changes():
    database = Database(RECORD, replace(RECORD, access_key_id="VVBOB"))
    keys, _ = directory(database)
    await keys.refresh()
    database.records = [replace(RECORD, expires_ms=7)]
    await keys.refresh()
    assert keys.find("VVBOB") is None
    ann = keys.find("VVANN")
    assert ann is not None
    assert ann.expires_ms == 7


async def test_a_policy_is_parsed_once_as_long_as_it_stays():
    keys, _ = directory(Database(RECORD))
    await keys.refresh()
    first = keys.find("VVANN")
    await keys.refresh()
    assert keys.find("VVANN") is first


async def test_a_broken_policy_denies_its_own_key_only(caplog):
    broken = replace(RECORD, access_key_id="VVBOB", policy='{"Statement": "?"}')
    keys, _ = directory(Database(broken, RECORD))
    await keys.refresh()
    await keys.refresh()
    bob, ann = keys.find("VVBOB"), keys.find("VVANN")
    assert bob is not None
    assert ann is not None
    assert bob.policy.decide(QUESTION) is Decision.IMPLICITLY_DENIED
    assert ann.policy.decide(QUESTION) is Decision.ALLOWED
    # Said once, not every second.
    assert [record.message for record in caplog.records] == [
        "access key VVBOB may do nothing: Statement[0]: is not a JSON object"
    ]


async def test_what_was_known_stays_in_force_while_the_database_cannot_be_read():
    database = Database(RECORD)
    keys, _ = directory(database)
    await keys.refresh()
    database.failure = StoreError("disk full")
    with pytest.raises(StoreError):
        await keys.refresh()
    assert keys.find("VVANN") is not None


async def test_an_unknown_key_is_looked_up_once_a_second():
    database = Database()
    keys, clock = directory(database)
    assert await keys.find_anew("VVANN") is None
    database.records = [RECORD]
    assert await keys.find_anew("VVANN") is None
    clock.ms += LOOK_AGAIN_MS - 1
    assert await keys.find_anew("VVANN") is None
    assert database.reads == 1
    clock.ms += 1
    assert await keys.find_anew("VVANN") is not None
    assert database.reads == 2
    clock.ms += LOOK_AGAIN_MS
    assert await keys.find_anew("VVANN") is not None
    assert database.reads == 2


async def test_a_clock_that_is_set_back_stops_no_look_up():
    database = Database()
    keys, clock = directory(database)
    await keys.find_anew("VVANN")
    clock.ms -= 3_600_000
    await keys.find_anew("VVANN")
    assert database.reads == 2


async def test_many_unknown_keys_at_once_are_looked_up_together():
    database = Database()
    database.gate = asyncio.Event()
    keys, _ = directory(database)
    waiting = [asyncio.create_task(keys.find_anew("VVANN")) for _ in range(20)]
    await asyncio.sleep(0)
    database.records = [RECORD]
    database.gate.set()
    found = await asyncio.gather(*waiting)
    assert all(key is not None for key in found)
    assert database.reads == 1
