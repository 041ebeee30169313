import configparser
import contextlib
import io
import json
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from vivavoce.api.policy import Decision, Policy, Question
from vivavoce.cli import keys
from vivavoce.errors import AccessKeyError, AuditBroken, PolicyInvalid, StoreError
from vivavoce.store.access_keys import AccessKeyRecord
from vivavoce.store.store import Store

DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
OTHER_ID = "b1c2d3e4f5g6h7i8j9k0lm"
LIST_ONLY = (
    '{"Version": "2012-10-17", "Statement": '
    '{"Effect": "Allow", "Action": ["voiceid:List*"], "Resource": "*"}}'
)


def records(store: Store):
    return store.read_now(lambda tx: tx.access_keys.all())


@pytest.fixture
def store(store: Store):
    """The store without the key that a server's first start makes."""
    (first,) = records(store)
    store.write_now(lambda tx: tx.access_keys.remove(first.access_key_id))
    return store


@pytest.fixture
def run(data_dir, store, monkeypatch):
    """Runs `vivavoce keys ...` on the data folder; gives its output."""
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))

    def invoke(*arguments, stdin=None):
        result = CliRunner().invoke(keys.app, arguments, input=stdin)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


def profile(text):
    """The one profile of a shared-credentials file, and its name."""
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    [name] = parser.sections()
    return name, dict(parser[name])


def may(record, action, domain_id: str | None = DOMAIN_ID, region="eu-west-2"):
    resource = "*"
    if domain_id is not None:
        resource = f"arn:aws:voiceid:{region}:123456789012:domain/{domain_id}"
    question = Question(action=f"voiceid:{action}", resource=resource)
    return Policy.parse(record.policy).decide(question) is Decision.ALLOWED


def test_a_new_key_is_printed_as_a_profile_and_stored(run, store):
    name, values = profile(run("create", "--name", "desk"))
    [record] = records(store)
    assert name == "desk"
    assert values == {
        "aws_access_key_id": record.access_key_id,
        "aws_secret_access_key": record.secret,
    }
    assert (record.name, record.session_token, record.expires_ms) == ("desk", None, None)
    assert len(record.access_key_id) == 20
    assert record.access_key_id.startswith("VV")
    assert record.access_key_id.isalnum()
    assert record.access_key_id.isupper()
    assert len(record.secret) == 40


def test_no_two_keys_are_alike(run, store):
    run("create")
    run("create")
    first, second = records(store)
    assert first.access_key_id != second.access_key_id
    assert first.secret != second.secret
    assert first.name == first.access_key_id


def test_a_temporary_key_has_a_token_and_an_end(run, store):
    document = json.loads(run("create", "--expires", "12h", "--json"))
    [record] = records(store)
    assert document == {
        "Version": 1,
        "AccessKeyId": record.access_key_id,
        "SecretAccessKey": record.secret,
        "SessionToken": record.session_token,
        "Expiration": document["Expiration"],
        "Name": record.name,
    }
    assert record.access_key_id.startswith("VT")
    assert record.session_token
    assert record.expires_ms == record.created_ms + 12 * 3_600_000
    assert document["Expiration"].endswith("Z")
    _, values = profile(run("create", "--expires", "90s"))
    assert values["aws_session_token"] == records(store)[1].session_token


def test_a_key_may_do_everything_unless_told_otherwise(run, store):
    run("create")
    [record] = records(store)
    assert may(record, "DeleteDomain")
    assert may(record, "CreateDomain", None)


def test_a_read_only_key_describes_and_lists(run, store):
    run("create", "--read-only")
    [record] = records(store)
    assert may(record, "DescribeSpeaker")
    assert may(record, "ListDomains", None)
    for action in ("EvaluateSession", "DeleteSpeaker", "StartSession", "TagResource"):
        assert not may(record, action)


def test_a_key_for_domains_may_do_nothing_elsewhere(run, store):
    run("create", "--domain", DOMAIN_ID, "--domain", OTHER_ID, "--region", "eu-west-2")
    run("create", "--domain", DOMAIN_ID, "--read-only")
    both, reader = records(store)
    for domain_id in (DOMAIN_ID, OTHER_ID):
        assert may(both, "DeleteSpeaker", domain_id)
    assert not may(both, "DeleteSpeaker", DOMAIN_ID, "us-east-1")
    assert not may(both, "DeleteSpeaker", "A" * 22)
    assert not may(both, "CreateDomain", None)
    assert may(reader, "ListSpeakers", DOMAIN_ID, "us-east-1")
    assert not may(reader, "DeleteSpeaker")
    assert not may(reader, "ListSpeakers", OTHER_ID)


def test_a_policy_is_taken_from_a_file_or_standard_input(run, store, tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(LIST_ONLY, encoding="utf-8-sig")
    run("create", "--policy", str(path))
    run("create", "--policy", "-", stdin=LIST_ONLY)
    assert [record.policy for record in records(store)] == [LIST_ONLY, LIST_ONLY]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not UTF-8 text"),
        (b" " * 20_000, "longer than 10240 bytes"),
        (b'{"Statement": {"Effect": "Allow"}}', "either Action or NotAction"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_bad_policy_makes_no_key(run, store, tmp_path, content, reason):
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyInvalid, match=reason):
        run("create", "--policy", str(path))
    assert records(store) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policy", "-", "--read-only"),
        ("--policy", "-", "--domain", DOMAIN_ID),
        ("--policy", "-", "--region", "eu-west-2"),
        ("--region", "eu-west-2"),
        ("--domain", "short"),
        ("--domain", "*" * 22),
        ("--domain", DOMAIN_ID, "--region", "*"),
        ("--domain", DOMAIN_ID, "--region", ""),
        ("--name", ""),
        ("--name", "a b"),
        ("--name", "a]\n[b"),
        ("--name", "x" * 65),
        ("--expires", "0h"),
        ("--expires", "12"),
        ("--expires", "-1h"),
        ("--expires", "367d"),
        ("--expires", "999999d"),
        ("--expires", "١h"),  # noqa: RUF001
    ],
)
def test_bad_options_make_no_key(run, store, arguments):
    with pytest.raises(AccessKeyError):
        run("create", *arguments, stdin=LIST_ONLY)
    assert records(store) == []


def test_more_domains_than_a_policy_holds_make_no_key(run, store):
    with pytest.raises(PolicyInvalid, match="longer than"):
        run("create", *(argument for _ in range(200) for argument in ("--domain", DOMAIN_ID)))
    assert records(store) == []


def add(store: Store, **changes: Any):
    values: dict[str, Any] = {
        "access_key_id": "VVANN",
        "name": "ann",
        "secret": "secret-of-ann",
        "session_token": None,
        "policy": LIST_ONLY,
        "created_ms": 1_700_000_000_000,
        "expires_ms": None,
    }
    record = AccessKeyRecord(**values | changes)
    store.write_now(lambda tx: tx.access_keys.add(record))


def test_the_list_shows_everything_but_the_secrets(run, store):
    add(store)
    add(
        store,
        access_key_id="VTBOB",
        session_token="token-of-bob",
        created_ms=1_700_000_000_001,
        expires_ms=1_700_000_001_000,
        policy="?",
    )
    first, second = json.loads(run("list", "--json"))
    assert first == {
        "AccessKeyId": "VVANN",
        "Name": "ann",
        "Kind": "permanent",
        "CreateDate": "2023-11-14T22:13:20Z",
        "Expiration": None,
        "Expired": False,
        "Policy": json.loads(LIST_ONLY),
    }
    assert (second["Kind"], second["Expired"], second["Policy"]) == ("temporary", True, "?")
    assert second["Expiration"] == "2023-11-14T22:13:21Z"
    for text in (run("list"), run("list", "--json")):
        assert "VVANN" in text
        assert "VTBOB" in text
        assert "-of-" not in text


@pytest.mark.parametrize(
    ("statement", "short"),
    [
        ({"Effect": "Allow", "Action": "voiceid:*", "Resource": "*"}, "allow * on *"),
        (
            {
                "Effect": "Deny",
                "NotAction": ["voiceid:List*", "voiceid:Describe*"],
                "NotResource": f"arn:aws:voiceid:*:*:domain/{DOMAIN_ID}",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            "deny all but List*, Describe* on all but UcUuCPFOsAjzg9xo...",
        ),
    ],
)
def test_a_policy_is_shortened_to_a_line(statement, short):
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    assert keys._short_policy(text) == short
    twice = json.dumps({"Version": "2012-10-17", "Statement": [statement, statement]})
    assert keys._short_policy(twice).startswith(short[:50])
    assert len(keys._short_policy(twice)) <= 60


def test_the_list_has_a_line_for_each_key(run, store):
    add(store)
    [line] = run("list").splitlines()
    assert line == (
        "VVANN  permanent  made 2023-11-14T22:13:20Z  expires never                 ann  "
        "allow List* on *"
    )


def test_an_expired_key_is_marked_and_a_broken_policy_is_named(run, store):
    add(store, session_token="t", expires_ms=1_700_000_001_000, policy="?")
    [line] = run("list").splitlines()
    assert "temporary" in line
    assert "expires 2023-11-14T22:13:21Z (expired)  ann  nothing: its policy is broken" in line


def test_an_empty_list_is_said_beside_the_output(run):
    assert run("list") == ""
    assert json.loads(run("list", "--json")) == []


def test_a_policy_cannot_steer_the_terminal(run, store):
    statement = {"Effect": "Allow", "Action": "voiceid:*", "Resource": "arn:aws:x:::\x1b[2J\n[/b]"}
    add(store, policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    [line] = run("list").splitlines()
    assert line.endswith("allow * on arn:aws:x:::?[2J?[/b]")


def test_a_revoked_key_is_gone(run, store):
    add(store)
    assert run("revoke", "VVANN") == "VVANN is revoked\n"
    assert records(store) == []
    with pytest.raises(AccessKeyError, match="no access key VVANN"):
        run("revoke", "VVANN")


@pytest.mark.parametrize("command", [("create",), ("list",), ("revoke", "VVANN")])
def test_a_folder_without_a_database_is_said(run, tmp_path, command):
    with pytest.raises(StoreError, match="elsewhere holds no vivavoce database"):
        run(*command, "--data-dir", str(tmp_path / "elsewhere"))


def test_standard_input_is_read_no_further_than_a_policy_may_be_long(monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert 0 < size < 20_000
            return b" " * size

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Endless()))
    with pytest.raises(PolicyInvalid, match="longer"):
        keys._read("-")


# --- names


def test_a_permanent_keys_name_is_its_own_as_a_credentials_file_wants_it(run, store):
    run("create", "--name", "desk")
    [first] = records(store)
    with pytest.raises(AccessKeyError, match=f"called desk already: {first.access_key_id}"):
        run("create", "--name", "desk")
    assert records(store) == [first]
    run("revoke", first.access_key_id)
    assert profile(run("create", "--name", "desk"))[0] == "desk"


def test_temporary_keys_come_again_under_one_name(run, store):
    run("create", "--name", "report")
    for _ in range(2):
        run("create", "--name", "report", "--expires", "12h", "--json")
    assert [record.name for record in records(store)] == ["report"] * 3


def test_a_resource_that_fits_no_domain_here_is_warned_of(data_dir, store, tmp_path):
    statement = {
        "Effect": "Deny",
        "Action": "voiceid:*",
        "Resource": [
            f"arn:aws:voiceid:eu-west-2:111122223333:domain/{DOMAIN_ID}",
            f"arn:aws:voiceid:eu-west-2:*:domain/{DOMAIN_ID}",
        ],
    }
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statement}))
    arguments = ["create", "--policy", str(policy), "--data-dir", str(data_dir)]
    result = CliRunner().invoke(keys.app, arguments)
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert "111122223333" in warning
    assert warning.endswith("fits no domain of this server, whose account is 000000000000")
    assert len(records(store)) == 1


# --- what only reads


def test_keys_are_listed_where_nothing_can_be_written(run, store, request):
    add(store)
    read_only = request.getfixturevalue("read_only")
    assert "VVANN" in run("list", "--data-dir", str(read_only))


# --- the audit log


def acts(store):
    page = store.read_now(lambda tx: tx.audit.page(after=0, size=99))
    return [one.record for one in page if one.record["eventType"] == "VivavoceCommand"]


def test_a_new_key_is_recorded_with_what_it_may_do_and_without_its_secrets(run, store, tmp_path):
    statements = [
        {"Effect": "Allow", "Action": "voiceid:*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "voiceid:DeleteDomain",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": "a-value-of-a-tag"}},
        },
    ]
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    run("create", "--name", "desk", "--policy", str(policy), "--expires", "1h")
    [key] = records(store)
    [record] = acts(store)
    assert record["eventName"] == "CreateAccessKey"
    assert record["userIdentity"]["userName"]
    assert record["responseElements"] == {"accessKeyId": key.access_key_id}
    asked = record["requestParameters"]
    assert asked["userName"] == "desk"
    assert asked["expiration"].endswith("Z")
    shown = asked["policyDocument"]["Statement"]
    assert shown[0] == statements[0]
    assert shown[1] == statements[1] | {"Condition": "HIDDEN_DUE_TO_SECURITY_REASONS"}
    assert key.session_token
    for secret in (key.secret, key.session_token, "a-value-of-a-tag"):
        assert secret not in json.dumps(record)


def test_a_revoked_key_is_recorded_and_one_that_was_not_there_is_not(run, store):
    add(store)
    run("revoke", "VVANN")
    with pytest.raises(AccessKeyError):
        run("revoke", "VVANN")
    [record] = acts(store)
    assert record["eventName"] == "DeleteAccessKey"
    assert record["requestParameters"] == {"userName": "ann", "accessKeyId": "VVANN"}
    assert store.read_now(lambda tx: tx.audit.head()).sequence == 2  # the first start's, and this


def test_no_key_is_made_or_revoked_that_cannot_be_recorded(run, store, data_dir):
    add(store)
    with contextlib.closing(sqlite3.connect(data_dir / "vivavoce.db")) as database, database:
        database.execute("DROP TRIGGER audit_head_delete")
        database.execute("DELETE FROM audit_head")
    for command in (("create",), ("revoke", "VVANN")):
        with pytest.raises(AuditBroken):
            run(*command)
    assert [record.access_key_id for record in records(store)] == ["VVANN"]
