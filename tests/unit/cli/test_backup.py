import stat

import pytest
from typer.testing import CliRunner

from tests import rows
from vivavoce.cli import app
from vivavoce.errors import KeyUnavailable, StoreError
from vivavoce.foundation import lay_foundation, open_data, open_keyring
from vivavoce.settings import read_settings
from vivavoce.store.audit import verify_log

OWNER = {"region": rows.REGION, "account_id": rows.ACCOUNT_ID}


@pytest.fixture
def run(data_dir):
    """Runs `vivavoce backup ...` on the data folder."""
    return lambda *arguments, **environment: CliRunner().invoke(
        app,
        ["backup", *map(str, arguments)],
        env={"VIVAVOCE_DATA_DIR": str(data_dir)} | environment,
    )


@pytest.fixture
def target(tmp_path):
    return tmp_path / "safe" / "monday"


def test_what_was_not_yet_in_the_database_file_itself_is_copied(run, store, data_dir, target):
    store.write_now(lambda tx: tx.audit.add({"eventName": "last"}, 1))
    assert (data_dir / "vivavoce.db-wal").stat().st_size
    result = run(target)
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"head {store.read_now(lambda tx: tx.audit.head())}\n"
    assert "keep it from others" in result.stderr
    with open_data(target, read_only=True) as copy:
        verified = verify_log(lambda work: copy.read_now(lambda tx: work(tx.audit)))
    assert str(verified.head) in result.stdout
    assert {path.name for path in target.iterdir()} == {"vivavoce.db", "root.key", "keyring.json"}
    for name in ("root.key", "keyring.json"):
        assert (target / name).read_bytes() == (data_dir / name).read_bytes()


def test_only_its_owner_can_read_the_copy(run, target):
    target.mkdir(parents=True, mode=0o755)
    assert run(target).exit_code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o600}


def test_a_server_starts_from_the_copy(run, target):
    assert run(target).exit_code == 0
    foundation = lay_foundation(read_settings({"data_dir": target}))
    assert foundation.store.read_now(lambda tx: tx.access_keys.all())
    foundation.store.close()
    foundation.lock.close()


def test_a_key_that_is_made_while_the_database_is_copied_is_in_the_copy(
    run, store, data_dir, target, monkeypatch
):
    """The keyring is copied after the database: what the database names is in it by then."""
    back_up = type(store).back_up

    def make_a_key_first(self, file):
        open_keyring(data_dir).resolve("alias/new", **OWNER)
        back_up(self, file)

    monkeypatch.setattr(type(store), "back_up", make_a_key_first)
    assert run(target).exit_code == 0
    assert [key.aliases for key in open_keyring(target).all_keys()] == [("alias/new",)]


def test_a_folder_that_holds_anything_is_left_alone(run, target, data_dir):
    target.mkdir(parents=True)
    (target / "vivavoce.db").write_text("yesterday's")
    for folder in (target, data_dir):
        result = run(folder)
        assert isinstance(result.exception, StoreError)
        assert "is not empty" in str(result.exception)
    assert [path.read_text() for path in target.iterdir()] == ["yesterday's"]


def test_a_folder_that_cannot_be_made_is_said(run, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be made" in str(run(tmp_path / "file").exception)
    assert "cannot be made" in str(run(tmp_path / "file" / "folder").exception)


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_a_backup_that_would_open_nothing_is_none(run, data_dir, target, damage):
    damage(data_dir / "keyring.json")
    result = run(target)
    assert isinstance(result.exception, KeyUnavailable)
    assert "keyring.json" in str(result.exception)
    assert list(target.iterdir()) == []


def test_without_a_keyring_of_our_own_there_is_none_to_copy(run, data_dir, target):
    (data_dir / "keyring.json").unlink()
    assert run(target, VIVAVOCE_KMS="aws").exit_code == 0
    assert {path.name for path in target.iterdir()} == {"vivavoce.db", "root.key"}
