import contextlib
import json
import shutil
import sqlite3

import pytest
from sqlalchemy import Engine, event
from typer.testing import CliRunner

from tests.fakes import FakeCustomerKeys
from vivavoce.cli import audit
from vivavoce.errors import AuditBroken, KeyUnavailable, StoreError
from vivavoce.store.access_keys import new_access_key
from vivavoce.store.acts import command_record, service_record
from vivavoce.store.store import Store, open_store
from vivavoce.vault.keyfile import load_or_create_root_key
from vivavoce.vault.vault import Vault

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z
CALL = {
    "eventName": "CreateDomain",
    "userIdentity": {"type": "IAMUser", "userName": "batch"},
    "sourceIPAddress": "192.0.2.7",
}
DECISION = {
    "eventName": "AuthenticationDecision",
    "decision": "ACCEPT",
    "score": 94,
    "sessionId": "id#CJA4lSzpzo5HFfP5L2h5lS",
}


@pytest.fixture(scope="session")
def nothing_recorded(tmp_path_factory):
    """A data folder with an empty log: a first start would have recorded the key that it makes."""
    folder = tmp_path_factory.mktemp("nothing-recorded")
    root_key = load_or_create_root_key(folder / "root.key", may_create=True)
    open_store(f"sqlite:///{folder / 'vivavoce.db'}", Vault(root_key, FakeCustomerKeys())).close()
    return folder


@pytest.fixture
def data_dir(tmp_path, nothing_recorded):
    return shutil.copytree(nothing_recorded, tmp_path / "data")


@pytest.fixture
def run(data_dir, monkeypatch):
    """Runs `vivavoce audit ...` on the data folder."""
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))
    return lambda *arguments: CliRunner().invoke(audit.app, arguments)


def add(store: Store, *records):
    """Records that are a minute apart."""

    def work(tx):
        for record in records:
            tx.audit.add(record, NOON_MS + tx.audit.head().sequence * 60_000)

    store.write_now(work)


def attack(data_dir, statement):
    """What whoever may write the file can do."""
    with contextlib.closing(sqlite3.connect(data_dir / "vivavoce.db")) as database, database:
        database.execute("DROP TRIGGER audit_update")
        database.execute("DROP TRIGGER audit_delete")
        database.execute(statement)


@contextlib.contextmanager
def readings():
    """Gathers the transactions in which the log is read."""
    transactions = set()

    def note(connection, cursor, statement, *_):
        if "FROM audit" in statement:
            transactions.add(connection.get_transaction())

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield transactions
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_whole_log_verifies_and_shows_the_head_to_note_down(run, store):
    add(store, CALL, DECISION)
    result = run("verify")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        "2 records, unbroken",
        "from 2026-01-01T12:00:00.000Z to 2026-01-01T12:01:00.000Z",
    ]
    head = lines[2].removeprefix("head ")
    assert head.startswith("2:")
    add(store, CALL)
    assert run("verify", "--expect", head).stdout.startswith("3 records, unbroken\n")


def test_an_empty_log_verifies(run):
    lines = run("verify").stdout.splitlines()
    assert lines == ["0 records, unbroken", f"head 0:{64 * '0'}"]


def test_a_changed_log_fails_naming_the_record(run, store, data_dir):
    add(store, CALL, CALL, CALL)
    attack(data_dir, "UPDATE audit SET record = '{}' WHERE sequence = 2")
    result = run("verify")
    assert result.exit_code == 1
    assert isinstance(result.exception, AuditBroken)
    assert str(result.exception).startswith("audit record 2: it is not what was written")
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


def test_a_log_without_what_was_noted_fails(run, store):
    add(store, CALL)
    result = run("verify", "--expect", f"9:{64 * 'a'}")
    assert isinstance(result.exception, AuditBroken)
    assert "reached 9" in str(result.exception)


@pytest.mark.parametrize("text", ["", "9", "9:abc", "head"])
def test_a_head_that_is_none_is_wrong_usage(run, text):
    result = run("verify", "--expect", text)
    assert result.exit_code == 2
    assert "64" in result.stderr


def test_records_are_listed_oldest_first(run, store):
    add(store, CALL, {**CALL, "errorCode": "ConflictException"}, DECISION)
    lines = [" ".join(line.split()) for line in run("list").stdout.splitlines()]
    assert lines == [
        "1 2026-01-01T12:00:00.000Z CreateDomain ok batch 192.0.2.7",
        "2 2026-01-01T12:01:00.000Z CreateDomain ConflictException batch 192.0.2.7",
        "3 2026-01-01T12:02:00.000Z AuthenticationDecision ACCEPT 94 id#CJA4lSzpzo5HFfP5L2h5lS",
    ]


def numbers(result):
    return [json.loads(line)["sequence"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--limit", "2"), [4, 5]),
        (("--limit", "1000000"), [1, 2, 3, 4, 5]),
        (("--since", "2026-01-01T12:02:00Z"), [3, 4, 5]),
        (("--since", "2026-01-01T12:02"), [3, 4, 5]),
        (("--since", "2026-01-01T14:02+02:00"), [3, 4, 5]),
        (("--since", "2026-01-01", "--limit", "1"), [5]),
        (("--since", "2027-01-01"), []),
    ],
)
def test_the_newest_are_listed_and_none_before_a_time(run, store, options, expected):
    add(store, *[CALL] * 5)
    assert numbers(run("list", "--json", *options)) == expected


def test_a_long_log_is_listed_whole(run, store):
    add(store, *[CALL] * 1203)
    assert numbers(run("list", "--json", "--limit", "5000")) == list(range(1, 1204))


@pytest.mark.parametrize("command", ["verify", "list --limit 5000"])
def test_a_long_log_is_read_in_many_short_transactions(run, store, command):
    add(store, *[CALL] * 1203)
    with readings() as transactions:
        assert run(*command.split()).exit_code == 0
    assert len(transactions) >= 3


def test_the_list_ends_where_the_log_ended_when_it_began(store):
    add(store, *[CALL] * 600)
    listed = audit._newest(store, since_ms=None, limit=550)
    first = next(listed)
    add(store, *[CALL] * 500)
    assert [record.sequence for record in (first, *listed)] == list(range(51, 601))


def test_a_log_that_was_cut_off_is_listed_as_far_as_it_goes(run, store, data_dir):
    add(store, *[CALL] * 3)
    attack(data_dir, "DELETE FROM audit WHERE sequence = 3")
    assert numbers(run("list", "--json")) == [1, 2]


def test_a_record_whose_time_was_changed_is_said_so(run, store, data_dir):
    add(store, CALL)
    attack(data_dir, f"UPDATE audit SET at_ms = {2**62}")
    assert isinstance(run("list").exception, AuditBroken)


def test_json_gives_the_record_as_it_was_written(run, store):
    add(store, DECISION)
    assert json.loads(run("list", "--json").stdout) == {
        "sequence": 1,
        "at": "2026-01-01T12:00:00.000Z",
        "record": DECISION,
    }


@pytest.mark.parametrize(("option", "value"), [("--since", "yesterday"), ("--limit", "0")])
def test_a_wrong_option_is_wrong_usage(run, option, value):
    assert run("list", option, value).exit_code == 2


def test_what_a_caller_chose_cannot_write_to_the_terminal(run, store):
    add(store, {**CALL, "sourceIPAddress": "\x1b[2J\r\n7  forged", "userIdentity": None})
    output = run("list").stdout
    assert output.count("\n") == 1
    assert "\x1b" not in output
    assert "\r" not in output


def test_a_folder_without_a_database_is_said_so(run, tmp_path):
    result = run("verify", "--data-dir", str(tmp_path / "other"))
    assert isinstance(result.exception, StoreError)


def test_an_act_is_listed_with_who_did_it(run, store):
    add(store, command_record("DeleteKey", at_ms=NOON_MS), service_record("EraseDomain", at_ms=1))
    command, service = [line.split() for line in run("list").stdout.splitlines()]
    assert command[2:4] == ["DeleteKey", "ok"]
    assert len(command) == 6
    assert command[4].isprintable()
    assert service[2:] == ["EraseDomain", "ok", "vivavoce", "-"]


# --- what only reads leaves no trace


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00" + bytes(200), b"not a database"])
@pytest.mark.parametrize("command", ["verify", "list"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(run, data_dir, content, command):
    (data_dir / "vivavoce.db").write_bytes(content)
    before = sorted(path.name for path in data_dir.iterdir())
    result = run(command)
    assert isinstance(result.exception, StoreError)
    assert str(data_dir / "vivavoce.db") in str(result.exception)
    assert "\n" not in str(result.exception)
    assert (data_dir / "vivavoce.db").read_bytes() == content
    assert sorted(path.name for path in data_dir.iterdir()) == before


def test_somebody_elses_database_is_refused_and_left_alone(run, data_dir):
    database = data_dir / "vivavoce.db"
    database.unlink()
    with contextlib.closing(sqlite3.connect(database)) as other, other:
        other.execute("CREATE TABLE songs (title TEXT)")
    content = database.read_bytes()
    result = run("verify")
    assert isinstance(result.exception, StoreError)
    assert "is no vivavoce database; restore it from your backup" in str(result.exception)
    assert database.read_bytes() == content


def test_a_lost_database_is_told_from_a_folder_that_never_had_one(run, data_dir):
    (data_dir / "vivavoce.db").unlink()
    result = run("verify")
    assert isinstance(result.exception, StoreError)
    assert "vivavoce.db is missing, but there is root.key; restore" in str(result.exception)
    assert [path.name for path in data_dir.iterdir()] == ["root.key"]


def test_another_root_key_is_named(run, store, data_dir, tmp_path):
    add(store, CALL)
    store.write_now(
        lambda tx: tx.access_keys.add(new_access_key(name="ann", policy="{}", now_ms=NOON_MS))
    )
    (data_dir / "root.key").unlink()
    load_or_create_root_key(data_dir / "root.key", may_create=True)
    for command in ("verify", "list"):
        result = run(command)
        assert isinstance(result.exception, KeyUnavailable)
        assert f"{data_dir / 'root.key'} is not the key that" in str(result.exception)


def test_a_log_that_cannot_be_written_to_verifies(run, read_only):
    before = sorted(path.name for path in read_only.iterdir())
    result = run("verify", "--data-dir", str(read_only))
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith("0 records, unbroken\n")
    assert run("list", "--data-dir", str(read_only)).exit_code == 0
    assert sorted(path.name for path in read_only.iterdir()) == before


@pytest.mark.parametrize("command", ["verify", "list"])
def test_the_last_records_of_a_server_that_was_killed_are_read_or_asked_for(
    data_dir, store, request, run, command
):
    add(store, CALL)  # in the write-ahead log, as the store is still open
    shutil.copytree(data_dir, data_dir.with_name("crashed"))
    assert (data_dir.with_name("crashed") / "vivavoce.db-wal").stat().st_size
    read_only = request.getfixturevalue("read_only")
    assert run(command, "--data-dir", str(read_only)).exit_code == 0
    read_only.chmod(0o700)
    (read_only / "vivavoce.db-shm").unlink()
    read_only.chmod(0o500)
    result = run(command, "--data-dir", str(read_only))
    assert isinstance(result.exception, StoreError)
    assert "copy the folder to where you may write" in str(result.exception)
