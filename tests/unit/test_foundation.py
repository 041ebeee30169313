"""The data folder: made once, and never anew where something of it was lost."""

import contextlib
import json
import shutil
import sqlite3

import pytest

from vivavoce.errors import KeyUnavailable, StoreError
from vivavoce.foundation import lay_foundation, open_data
from vivavoce.settings import read_settings
from vivavoce.vault.keyfile import load_or_create_root_key


def look(tx):
    """The access keys, and the names in the audit log."""
    keys = [key.access_key_id for key in tx.access_keys.all()]
    return keys, [one.record["eventName"] for one in tx.audit.page(after=0, size=99)]


def start(folder):
    """Lay a foundation and let go of it; gives what is there then."""
    foundation = lay_foundation(read_settings({"data_dir": folder}))
    try:
        return foundation.store.read_now(look)
    finally:
        foundation.store.close()
        foundation.lock.close()


def content(folder):
    """What is in a folder, but for the locks."""
    kept = (path for path in folder.iterdir() if not path.name.endswith("lock"))
    return {path.name: path.read_bytes() for path in kept}


# --- the first start


def test_the_first_start_makes_one_key_and_records_it(tmp_path):
    (key,), names = start(tmp_path / "data")
    assert names == ["CreateAccessKey"]
    credentials = (tmp_path / "data" / "credentials").read_text()
    assert key in credentials
    with open_data(tmp_path / "data", read_only=True) as store:
        (one,) = store.read_now(lambda tx: tx.audit.page(after=0, size=9))
    assert one.record["eventType"] == "VivavoceService"
    assert one.record["responseElements"] == {"accessKeyId": key}
    secret = credentials.split()[-1]
    assert secret not in json.dumps(one.record)
    assert start(tmp_path / "data") == ([key], names)


@pytest.mark.parametrize(
    "made",
    [
        [],
        ["root.key"],
        ["root.key", "empty database"],
        ["root.key", "vivavoce.db"],
        ["root.key", "vivavoce.db", "keyring.json"],
        ["root.key", "vivavoce.db", "keyring.json", "credentials"],
    ],
)
def test_a_first_start_that_was_broken_off_is_followed_by_another(tmp_path, first_start, made):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "first-start").touch()
    for name in made:
        if name == "empty database":
            (folder / "vivavoce.db").touch()
        else:
            shutil.copy(first_start / name, folder)
    if "vivavoce.db" in made:
        with open_data(folder) as store:  # killed before the key was there
            ((key,), _) = store.read_now(look)
            store.write_now(lambda tx: tx.access_keys.remove(key))
    (key,), _ = start(folder)
    assert key in (folder / "credentials").read_text()
    names = {"root.key", "vivavoce.db", "keyring.json", "credentials"}
    assert set(content(folder)) == names
    for name in made:
        if name in ("root.key", "keyring.json"):
            assert (folder / name).read_bytes() == (first_start / name).read_bytes()


def test_no_root_key_is_made_for_a_database_that_has_one(data_dir):
    (data_dir / "first-start").touch()
    (data_dir / "root.key").unlink()
    with pytest.raises(KeyUnavailable, match="restore the key file"):
        start(data_dir)
    assert not (data_dir / "root.key").exists()


# --- what was lost


@pytest.mark.parametrize("left", ["root.key", "keyring.json", "credentials", "all of it"])
def test_a_lost_database_is_not_begun_anew(data_dir, left):
    for path in data_dir.iterdir():
        if path.name != "lock" and left not in ("all of it", path.name):
            path.unlink()
    (data_dir / "vivavoce.db").unlink(missing_ok=True)
    before = content(data_dir)
    for use in (start, lambda folder: open_data(folder).__enter__()):
        with pytest.raises(StoreError, match=r"vivavoce\.db is missing, but there is") as refused:
            use(data_dir)
        assert "restore the database from your backup" in str(refused.value)
        assert content(data_dir) == before


def test_an_empty_or_foreign_database_is_refused_and_left_alone(data_dir):
    database = data_dir / "vivavoce.db"
    database.unlink()
    with contextlib.closing(sqlite3.connect(database)) as other, other:
        other.execute("CREATE TABLE songs (title TEXT)")
    for raw in (database.read_bytes(), b""):
        database.write_bytes(raw)
        before = content(data_dir)
        for use in (start, lambda folder: open_data(folder).__enter__()):
            with pytest.raises(StoreError, match="is no vivavoce database; restore it"):
                use(data_dir)
            assert content(data_dir) == before


def test_another_root_key_is_named_with_what_to_do(data_dir):
    (data_dir / "root.key").unlink()
    load_or_create_root_key(data_dir / "root.key", may_create=True)
    for use in (start, lambda folder: open_data(folder).__enter__()):
        with pytest.raises(KeyUnavailable) as refused:
            use(data_dir)
        assert str(refused.value) == (
            f"{data_dir / 'root.key'} is not the key that {data_dir / 'vivavoce.db'} was sealed "
            "with; restore both from one backup"
        )


def test_a_damaged_keyring_is_told_of_at_the_start(data_dir):
    (data_dir / "keyring.json").write_text("{")
    with pytest.raises(KeyUnavailable, match=r"keyring.json is not .* restore it from your backup"):
        start(data_dir)
    assert (data_dir / "keyring.json").read_text() == "{"
