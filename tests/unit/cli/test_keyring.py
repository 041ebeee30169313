import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vivavoce.cli.keyring import app
from vivavoce.errors import InvalidRequest, KeyDenied, KeyUnavailable
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.keyring import LocalKeyring
from vivavoce.vault.seal import SealingKey

DOMAIN = "arn:aws:voiceid:us-east-1:000000000000:domain/1234567890123456789012"
OWNER = {"region": "us-east-1", "account_id": "000000000000"}


@pytest.fixture
def served(tmp_path):
    """The keyring as a running server has it."""
    root = load_or_create_root_key(tmp_path / "root.key", may_create=True)
    keyring = LocalKeyring(tmp_path / "keyring.json", SealingKey(root))
    keyring.begin()
    return keyring


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments, **environment):
        environment.setdefault("VIVAVOCE_DATA_DIR", str(tmp_path))
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
    for folder in (tmp_path, tmp_path / "none"):
        refusal = run("create", "--data-dir", str(folder)).error
        assert isinstance(refusal, KeyUnavailable)
        assert "--data-dir" in str(refusal)
    assert list(tmp_path.iterdir()) == []


def test_the_data_folder_can_be_named(run, served, tmp_path):
    result = run("create", "--data-dir", str(tmp_path), VIVAVOCE_DATA_DIR="nowhere")
    assert served.is_usable(result.stdout.strip())
