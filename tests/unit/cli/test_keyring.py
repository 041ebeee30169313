import contextlib
import json
import sqlite3
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vivavoce.cli.keyring import app
from vivavoce.errors import AuditBroken, InvalidRequest, KeyDenied, KeyUnavailable, StoreError
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.keyring import LocalKeyring
from vivavoce.vault.seal import SealingKey

DOMAIN = "arn:aws:voiceid:us-east-1:000000000000:domain/1234567890123456789012"
OWNER = {"region": "us-east-1", "account_id": "000000000000"}


@pytest.fixture
def served(data_dir):
    """The keyring as a running server has it."""
    root = load_or_create_root_key(data_dir / "root.key", may_create=False)
    return LocalKeyring(data_dir / "keyring.json", SealingKey(root), may_create=False)


@pytest.fixture
def run(data_dir):
    def invoke(*arguments, **environment):
        environment.setdefault("VIVAVOCE_DATA_DIR", str(data_dir))
        result = CliRunner().invoke(app, arguments, env=environment)
        return SimpleNamespace(
            exit_code=result.exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            error=result.exception,
        )

    return invoke


def test_a_created_key_is_one_that_the_server_finds(run, served):
    result = run("create", "--alias", "bank")
    assert result.exit_code == 0
    assert served.resolve("alias/bank", **OWNER) == result.stdout.strip()
    assert run("create").exit_code == 0
    assert len(served.all_keys()) == 2


def test_a_created_key_belongs_to_the_servers_account_and_the_region_named(run, served):
    result = run("create", "--region", "eu-west-1", VIVAVOCE_ACCOUNT_ID="111122223333")
    assert result.stdout.startswith("arn:aws:kms:eu-west-1:111122223333:key/")


def test_listing_shows_what_the_server_made(run, served):
    assert run("list").stdout == ""
    assert json.loads(run("list", "--json").stdout) == []
    arn = served.resolve("alias/bank", **OWNER)
    (key,) = json.loads(run("list", "--json").stdout)
    assert key == {
        "arn": arn,
        "aliases": ["alias/bank"],
        "state": "Enabled",
        "created_at": key["created_at"],
    }
    assert key["created_at"].endswith("+00:00")
    line = run("list").stdout
    assert all(word in line for word in ("Enabled", arn, "alias/bank"))


def test_creation_as_json_says_what_the_list_says(run, served):
    made = json.loads(run("create", "--alias", "alias/bank", "--json").stdout)
    assert json.loads(run("list", "--json").stdout) == [made]


def test_a_server_that_runs_obeys_at_once(run, served):
    arn = served.resolve("alias/bank", **OWNER)
    data_key = served.new_data_key(arn, domain_arn=DOMAIN)
    assert "Disabled" in run("disable", "alias/bank").stdout
    with pytest.raises(KeyDenied):
        served.open_data_key(arn, data_key.wrapped, domain_arn=DOMAIN)
    assert "Enabled" in run("enable", arn).stdout
    assert served.open_data_key(arn, data_key.wrapped, domain_arn=DOMAIN) == data_key.plain


def test_destroying_wants_a_yes(run, served):
    arn = served.resolve("alias/bank", **OWNER)
    refused = run("destroy", arn)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert served.is_usable(arn)
    assert "Destroyed" in run("destroy", arn, "--yes").stdout
    assert not served.is_usable(arn)
    assert isinstance(run("enable", arn).error, KeyDenied)


@pytest.mark.parametrize("command", ["enable", "disable", "destroy"])
def test_a_key_that_is_not_there_is_an_error_and_is_not_made(run, served, command):
    arguments = ("--yes",) if command == "destroy" else ()
    assert isinstance(run(command, "alias/nobody", *arguments).error, KeyDenied)
    assert served.all_keys() == []


def test_an_alias_that_is_taken_is_an_error(run, served):
    assert run("create", "--alias", "bank").exit_code == 0
    assert isinstance(run("create", "--alias", "bank").error, InvalidRequest)


@pytest.mark.parametrize("arguments", [("--alias", "a b"), ("--alias", ""), ("--region", "a.b")])
def test_names_that_are_none_are_errors(run, served, arguments):
    assert isinstance(run("create", *arguments).error, InvalidRequest)
    assert served.all_keys() == []


def test_a_folder_that_is_no_servers_is_refused_with_what_to_do_and_left_alone(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "none"):
        for command in (("create",), ("list",), ("destroy", "alias/bank", "--yes")):
            refusal = run(*command, "--data-dir", str(folder)).error
            assert isinstance(refusal, StoreError)
            assert "--data-dir" in str(refusal)
    assert list(empty.iterdir()) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("list",), ("create",)])
def test_a_lost_root_key_is_to_be_restored_and_not_made_anew(run, data_dir, command):
    (data_dir / "root.key").unlink()
    refusal = run(*command).error
    assert isinstance(refusal, KeyUnavailable)
    assert "restore the key file from your backup" in str(refusal)
    assert "serve" not in str(refusal)


def test_the_data_folder_can_be_named(run, served, data_dir):
    result = run("create", "--data-dir", str(data_dir), VIVAVOCE_DATA_DIR="nowhere")
    assert served.is_usable(result.stdout.strip())


def test_a_key_is_named_as_it_was_made(run, served):
    arn = run("create", "--alias", "bank").stdout.strip()
    assert "Disabled" in run("disable", "bank").stdout
    assert "Enabled" in run("enable", "alias/bank").stdout
    assert "Destroyed" in run("destroy", "bank", "--yes").stdout
    assert not served.is_usable(arn)


def test_a_name_that_is_an_id_and_an_alias_is_neither(run, served):
    arns = [served.resolve(name, **OWNER) for name in ("bank", "alias/bank")]
    refusal = run("destroy", "bank", "--yes").error
    assert isinstance(refusal, InvalidRequest)
    assert all(arn in str(refusal) and served.is_usable(arn) for arn in arns)


def test_the_name_of_a_destroyed_key_is_said_to_be_used_up(run, served):
    assert run("create", "--alias", "bank").exit_code == 0
    assert "destroyed" not in str(run("create", "--alias", "bank").error)
    assert run("destroy", "alias/bank", "--yes").exit_code == 0
    refusal = run("create", "--alias", "bank").error
    assert isinstance(refusal, InvalidRequest)
    assert "is destroyed; a name is never used again" in str(refusal)


# --- the audit log


def acts(store):
    return [
        one.record
        for one in store.read_now(lambda tx: tx.audit.page(after=0, size=99))
        if one.record["eventType"] == "VivavoceCommand"
    ]


def test_every_change_is_recorded_with_who_made_it(run, store):
    arn = run("create", "--alias", "bank").stdout.strip()
    for command in (("disable", "bank"), ("enable", arn), ("destroy", "bank", "--yes")):
        assert run(*command).exit_code == 0
    run("list")
    found = acts(store)
    names = ["CreateKey", "DisableKey", "EnableKey", "DeleteKey"]
    assert [record["eventName"] for record in found] == names
    for record in found:
        assert record["requestParameters"] == {"keyId": arn, "aliases": ["alias/bank"]}
        assert record["userIdentity"]["type"] == "OperatingSystemUser"
        assert record["userIdentity"]["userName"]


def test_what_was_refused_is_not_recorded(run, store):
    for command in (("disable", "nobody"), ("create", "--region", "a.b"), ("destroy", "nobody")):
        assert run(*command).exit_code != 0
    assert acts(store) == []


def test_what_cannot_be_recorded_is_not_done(run, served, data_dir):
    arn = served.resolve("alias/bank", **OWNER)
    with contextlib.closing(sqlite3.connect(data_dir / "vivavoce.db")) as database, database:
        database.execute("DROP TRIGGER audit_head_delete")
        database.execute("DELETE FROM audit_head")
    assert isinstance(run("destroy", "bank", "--yes").error, AuditBroken)
    assert served.is_usable(arn)
