import base64
import json

import pytest
from typer.testing import CliRunner

from tests import rows
from vivavoce.cli import connectors
from vivavoce.errors import ConnectorError, NotFound

TOKEN = "0123456789abcdef0123456789abcdef"
WATCHLIST_ID = "abcdefghijklmnopqrstuv"


@pytest.fixture
def store(domain_store):
    return domain_store


@pytest.fixture
def run(data_dir, store, monkeypatch):
    """Runs `vivavoce connectors ...` on the data folder; gives its output."""
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))

    def invoke(*arguments, stdin=None):
        result = CliRunner().invoke(connectors.app, arguments, input=stdin)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture
def add(run):
    def add(platform, *arguments, domain=rows.DOMAIN_ID, stdin=None):
        return run("add", platform, "--domain", domain, *arguments, stdin=stdin)

    return add


def stored(store):
    return store.read_now(lambda tx: tx.connectors.all())


def test_a_connector_of_genesys_is_shown_with_its_secret_once(add, run, store):
    told = json.loads(add("genesys", "--json"))
    [connector] = stored(store)
    assert told["ConnectorId"] == connector.connector_id
    assert told["Secret"] == connector.secret
    assert len(base64.b64decode(connector.secret)) == 32
    assert connector.secret not in run("list") + run("list", "--json")


def test_what_genesys_must_be_told_is_printed(add, store):
    text = add("genesys")
    [connector] = stored(store)
    assert connector.connector_id in text
    assert connector.secret in text
    assert "wss://YOUR-HOST/v1/audiohook" in text


def test_a_secret_lies_sealed(add, store, data_dir):
    add("genesys")
    [connector] = stored(store)
    raw = b"".join(path.read_bytes() for path in data_dir.glob("vivavoce.db*"))
    assert connector.connector_id.encode() in raw
    assert connector.secret.encode() not in raw


def test_twilios_own_token_is_taken_and_not_shown(add, store, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    text = add("twilio", "--secret-file", str(tmp_path / "token"))
    assert TOKEN not in text
    assert [each.secret for each in stored(store)] == [TOKEN]


@pytest.mark.parametrize(
    ("platform", "given", "kept"),
    [
        ("genesys", None, "customConfig.SpeakerId"),
        ("twilio", None, "customParameters.SpeakerId"),
        ("genesys", "participant.ani", "participant.ani"),
        ("genesys", "none", None),
    ],
)
def test_where_the_claimed_speaker_is(add, store, platform, given, kept):
    path = () if given is None else ("--speaker-from", given)
    secret = ("--secret-file", "-") if platform == "twilio" else ()
    add(platform, *path, *secret, stdin=TOKEN)
    assert [each.speaker_from for each in stored(store)] == [kept]


def test_defaults_of_its_calls_are_kept(add, run, store):
    add(
        *("genesys", "--name", "desk", "--enroll", "--acceptance-threshold", "80"),
        *("--risk-threshold", "40", "--minimum-speech", "7"),
    )
    [connector] = stored(store)
    assert (connector.acceptance_threshold, connector.risk_threshold) == (80, 40)
    assert (connector.authentication_minimum_s, connector.enrolls) == (7, True)
    [listed] = json.loads(run("list", "--json"))
    assert listed["AcceptanceThreshold"] == 80
    assert listed["Enroll"] is True
    assert "desk" in run("list")


@pytest.mark.parametrize(
    ("arguments", "stdin", "reason"),
    [
        (["asterisk"], None, "need none"),
        (["genesys", "--name", "a b"], None, "1 to 64 letters"),
        (["genesys", "--speaker-from", "a..b"], None, "names by dots"),
        (["genesys", "--secret-file", "-"], "not base64!", "16 bytes in base64"),
        (["genesys", "--secret-file", "-"], "AAAA", "16 bytes in base64"),
        (["genesys", "--secret-file", "/nowhere/at/all"], None, "cannot be read"),
        (["twilio"], None, "--secret-file must name a file with the auth token"),
        (["twilio", "--secret-file", "-"], "", "is empty"),
        (["twilio", "--secret-file", "-"], "x" * 2000, "longer than 1024 bytes"),
        (["twilio", "--secret-file", "-"], "a\x07b", "what no secret has"),
    ],
    ids=range(10),
)
def test_what_cannot_be_a_connector_is_refused_with_what_to_do(
    add, store, arguments, stdin, reason
):
    with pytest.raises(ConnectorError, match=reason):
        add(*arguments, stdin=stdin)
    assert stored(store) == []


def test_a_domain_and_a_watchlist_must_be_there(add, store):
    with pytest.raises(ConnectorError, match="no domain"):
        add("genesys", domain="x" * 22)
    with pytest.raises(NotFound):
        add("genesys", "--watchlist", WATCHLIST_ID)
    assert stored(store) == []


def test_a_name_is_given_once(add, store):
    add("genesys", "--name", "desk")
    with pytest.raises(ConnectorError, match="called desk already"):
        add("genesys", "--name", "desk")
    assert len(stored(store)) == 1


def test_a_connector_is_removed_by_name_or_id(add, run, store):
    first = json.loads(add("genesys", "--name", "one", "--json"))
    add("genesys", "--name", "two")
    assert "one" in run("remove", first["ConnectorId"])
    assert "two" in run("remove", "two")
    assert stored(store) == []
    with pytest.raises(ConnectorError, match="no connector two"):
        run("remove", "two")


def test_what_was_done_is_in_the_audit_log_without_the_secret(add, run, store):
    add("genesys", "--name", "desk")
    [connector] = stored(store)
    run("remove", "desk")
    records = store.read_now(lambda tx: [each.record for each in tx.audit.page(after=0, size=100)])
    named = [record["eventName"] for record in records]
    assert named[-2:] == ["CreateConnector", "DeleteConnector"]
    assert connector.secret not in json.dumps(records)


def test_a_list_of_none_says_how_to_make_one(run):
    assert run("list") == ""
    assert json.loads(run("list", "--json")) == []
