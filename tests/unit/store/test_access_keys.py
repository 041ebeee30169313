from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, select, update

from vivavoce.errors import AccessKeyError, SealBroken
from vivavoce.store import tables
from vivavoce.store.access_keys import AccessKeyRecord, AccessKeyRows
from vivavoce.vault.seal import SealingKey

RECORD = AccessKeyRecord(
    access_key_id="VVANN",
    name="ann",
    secret="secret-of-ann",
    session_token=None,
    policy='{"Version": "2012-10-17"}',
    created_ms=1_000,
    expires_ms=None,
)
TEMPORARY = replace(
    RECORD, access_key_id="VTBOB", session_token="token-of-bob", created_ms=2_000, expires_ms=3_000
)


@pytest.fixture
def connection(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    tables.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def rows(connection):
    return AccessKeyRows(connection, keys_under(bytes(32)))


def keys_under(root) -> Any:
    return SimpleNamespace(root=SealingKey(root))


def test_keys_come_back_as_they_were_added_oldest_first(rows):
    rows.add(TEMPORARY)
    rows.add(RECORD)
    assert rows.all() == [RECORD, TEMPORARY]


def test_nothing_secret_stands_in_the_database(rows, connection):
    rows.add(TEMPORARY)
    stored = repr(connection.execute(select(tables.access_keys)).all())
    assert "VTBOB" in stored
    assert "secret-of-ann" not in stored
    assert "token-of-bob" not in stored


def test_an_id_is_given_once(rows):
    rows.add(RECORD)
    with pytest.raises(AccessKeyError, match="VVANN already"):
        rows.add(replace(RECORD, secret="another"))
    assert rows.all() == [RECORD]
    rows.add(TEMPORARY)  # the transaction goes on


def test_a_removed_key_is_gone_and_the_others_stay(rows):
    rows.add(RECORD)
    rows.add(TEMPORARY)
    rows.remove("VVANN")
    assert rows.all() == [TEMPORARY]


def test_an_unknown_key_cannot_be_removed(rows):
    rows.add(RECORD)
    with pytest.raises(AccessKeyError, match="no access key VVBOB"):
        rows.remove("VVBOB")
    assert rows.all() == [RECORD]


def test_a_secret_moved_to_another_key_does_not_open(rows, connection):
    rows.add(RECORD)
    rows.add(TEMPORARY)
    table = tables.access_keys
    stolen = connection.execute(
        select(table.c.sealed_secret).where(table.c.access_key_id == "VVANN")
    ).scalar_one()
    connection.execute(
        update(table).where(table.c.access_key_id == "VTBOB").values(sealed_secret=stolen)
    )
    with pytest.raises(SealBroken):
        rows.all()


def test_a_secret_in_the_place_of_a_token_does_not_open(rows, connection):
    rows.add(TEMPORARY)
    table = tables.access_keys
    connection.execute(update(table).values(sealed_session_token=table.c.sealed_secret))
    with pytest.raises(SealBroken):
        rows.all()


def test_another_root_key_opens_nothing(rows, connection):
    rows.add(RECORD)
    with pytest.raises(SealBroken):
        AccessKeyRows(connection, keys_under(b"\x01" * 32)).all()
