import contextlib
import json
import sqlite3

import pytest
from sqlalchemy import Engine, event
from typer.testing import CliRunner

from vivavoce.cli import audit
from vivavoce.errors import AuditBroken, StoreError
from vivavoce.store.store import Store

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
