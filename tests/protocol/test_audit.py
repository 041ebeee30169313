"""The audit log of a server that is used: whole, discreet, and broken by any change to it."""

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.protocol.clients import KEY, Caller, furnish, make_keys, policy, requests_in
from vivavoce.api.handlers import HANDLERS
from vivavoce.api.records import READ_ONLY
from vivavoce.errors import AuditBroken
from vivavoce.foundation import open_data
from vivavoce.store.audit import verify_log

CUSTOMER = "anna-4711-kunde"
SENSITIVE = {
    "customer id": CUSTOMER,
    "name": "name-of-a-domain",
    "description": "description of a domain",
    "tag key": "key-of-a-tag",
    "tag value": "value-of-a-tag",
    "watchlist name": "name-of-a-watchlist",
    "job name": "name-of-a-job",
    "stranger": "ben-0815-kunde",
}
RECORDED = sorted(HANDLERS.keys() - READ_ONLY - {"EvaluateSession"})


@dataclass(kw_only=True)
class Story:
    """What was done, and the log of it."""

    data_dir: Path
    place: object
    answers: dict[str, object] = field(default_factory=dict)
    refused: dict[str, object] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def records(self):
        with open_data(self.data_dir) as store:
            return store.read_now(
                lambda tx: [one.record for one in tx.audit.page(after=0, size=10_000)]
            )

    def of(self, answer):
        request_id = answer.headers["x-amzn-requestid"]
        return [one for one in self.records() if one.get("requestID") == request_id]


@pytest.fixture(scope="module")
def server(launch):
    return launch()


@pytest.fixture(scope="module")
def story(server, connect):
    """Everything is done once, and some of it refused."""
    place = furnish(server, connect(server), CUSTOMER)
    story = Story(data_dir=server.data_dir, place=place)
    (nobody,) = make_keys(server, policy("s3:GetObject"))
    owner, stranger = Caller(server), Caller(server, nobody)
    requests = requests_in(place)
    named = {"Name": SENSITIVE["name"], "Description": SENSITIVE["description"]}
    tag = {"Key": SENSITIVE["tag key"], "Value": SENSITIVE["tag value"]}
    job = {"JobName": SENSITIVE["job name"]}
    changes = {
        "CreateDomain": {**named, "Tags": [tag]},
        "UpdateDomain": named,
        "TagResource": {"Tags": [tag]},
        "UntagResource": {"TagKeys": [tag["Key"]]},
        "CreateWatchlist": {"Name": SENSITIVE["watchlist name"]},
        "UpdateWatchlist": {"Name": SENSITIVE["watchlist name"]},
        "StartSpeakerEnrollmentJob": job,
        "StartFraudsterRegistrationJob": job,
    }
    for operation, members in requests.items():
        if operation == "DeleteSpeaker":
            refuse(story, owner, stranger, place)
        answer = owner.send(operation, members | changes.get(operation, {}))
        assert answer.code == "OK", (operation, answer.document)
        story.answers[operation] = answer
        if operation == "StartSession":
            story.secrets.append(answer.document["StreamUrl"].partition("token=")[2])
        if operation == "EvaluateSession":
            story.answers["EvaluateSession again"] = owner.send(operation, members)
    return story


def refuse(story, owner, stranger, place):
    domain = {"DomainId": place.domain_id}
    unknown = {**domain, "SpeakerId": SENSITIVE["stranger"]}
    story.refused = {
        "denied reading": stranger.send("DescribeSpeaker", unknown),
        "denied writing": stranger.send("DeleteSpeaker", unknown),
        "not found": owner.send("DeleteSpeaker", unknown),
        "invalid": owner.send("DeleteSpeaker", {**domain, "SpeakerId": "b@d-0815"}),
        "invalid name": owner.send(
            "CreateDomain", {"Name": "b@d-0815", "ServerSideEncryptionConfiguration": KEY}
        ),
        "unsigned": owner.with_secret("guessed").send("DeleteSpeaker", unknown),
        "unreadable": owner.send("DeleteSpeaker", b'{"SpeakerId": "b@d-0815"'),
    }


# --- what is recorded


@pytest.mark.parametrize("operation", RECORDED)
def test_a_call_that_changes_something_has_one_record(story, operation):
    (record,) = story.of(story.answers[operation])
    assert record["eventName"] == operation
    assert record["eventType"] == "AwsApiCall"
    assert record["readOnly"] is False
    assert "errorCode" not in record
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert record["userIdentity"]["userName"] == "default"
    arn = record["resources"][0]["ARN"]
    if operation == "CreateDomain":
        assert arn.endswith(story.answers[operation].document["Domain"]["DomainId"])
    else:
        assert arn == story.place.arn


def test_a_call_that_only_reads_has_none(story):
    for operation in sorted(READ_ONLY | {"EvaluateSession"}):
        assert story.of(story.answers[operation]) == [], operation


def test_a_decision_is_recorded_the_first_time_it_is_given_out(story):
    given = story.answers["EvaluateSession"].document
    assert story.answers["EvaluateSession again"].document == given
    decisions = [
        record
        for record in story.records()
        if record["eventType"] == "VoiceIdDecision"
        and record["sessionId"] == story.place.session_id
    ]
    authentication, fraud = given["AuthenticationResult"], given["FraudDetectionResult"]
    by_id = {record["resultId"]: record for record in decisions}
    assert len(by_id) == len(decisions)
    record = by_id[authentication["AuthenticationResultId"]]
    assert record["eventName"] == "AuthenticationDecision"
    assert record["decision"] == authentication["Decision"] == "ACCEPT"
    assert record["score"] == authentication["Score"]
    assert record["acceptanceThreshold"] == 90
    assert record["generatedSpeakerId"] == story.place.speaker_id
    assert record["evidence"]["netSpeechSeconds"] == 12
    assert record["models"]["speaker"].startswith("ge2e@")
    record = by_id[fraud["FraudDetectionResultId"]]
    assert record["decision"] == fraud["Decision"] == "LOW_RISK"
    assert record["watchlistId"] == story.place.default_watchlist_id


def test_who_was_denied_is_recorded_whatever_they_wanted(story):
    for what in ("denied reading", "denied writing"):
        (record,) = story.of(story.refused[what])
        assert record["errorCode"] == "AccessDeniedException"
        assert record["userIdentity"]["userName"] == "tester-1"
        assert "is not authorized to perform" in record["errorMessage"]


def test_a_change_that_failed_is_recorded_with_its_error(story):
    (record,) = story.of(story.refused["not found"])
    assert record["errorCode"] == "ResourceNotFoundException"
    assert record["errorMessage"] == "The requested speaker does not exist"
    assert record["responseElements"] is None


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("unsigned", "InvalidSignatureException"),
        ("unreadable", "SerializationException"),
        ("invalid", "ValidationException"),
        ("invalid name", "ValidationException"),
    ],
)
def test_what_was_turned_away_unread_does_not_fill_the_log(story, what, code):
    assert story.refused[what].code == code
    assert story.of(story.refused[what]) == []


def test_nothing_sensitive_is_in_the_log(story):
    everything = json.dumps(story.records())
    for what, text in SENSITIVE.items():
        assert text not in everything, what
    assert "b@d-0815" not in everything
    assert story.secrets
    for secret in story.secrets:
        assert secret not in everything
    assert "HIDDEN_DUE_TO_SECURITY_REASONS" in everything


def test_every_reading_call_is_recorded_too_where_that_is_wanted(launch, connect):
    server = launch(audit="all")
    place = furnish(server, connect(server))
    story = Story(data_dir=server.data_dir, place=place)
    for operation, members in requests_in(place).items():
        if operation in READ_ONLY | {"EvaluateSession"}:
            for _ in range(2):
                (record,) = story.of(Caller(server).send(operation, members))
                assert record["eventName"] == operation
                assert record["responseElements"] is None or operation == "EvaluateSession"
    assert CUSTOMER not in json.dumps(story.records())


# --- whether the log is whole


def verify(data_dir):
    return subprocess.run(
        [sys.executable, "-m", "vivavoce", "audit", "verify", "--data-dir", str(data_dir)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_log_verifies_while_the_server_runs(story):
    done = verify(story.data_dir)
    assert done.returncode == 0, done.stderr
    assert "unbroken" in done.stdout
    assert int(done.stdout.split()[0]) == len(story.records())


def whole(store):
    """Raises unless the log is what was written."""
    return verify_log(lambda work: store.read_now(lambda tx: work(tx.audit)))


@pytest.fixture
def copy(story, tmp_path):
    """A copy of the data, to be tampered with; the triggers that keep out mistakes are gone."""
    shutil.copy(story.data_dir / "root.key", tmp_path)
    with (
        contextlib.closing(sqlite3.connect(story.data_dir / "vivavoce.db")) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "vivavoce.db")) as target,
    ):
        source.backup(target)
        triggers = target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            target.execute(f"DROP TRIGGER {name}")
        target.commit()
    return tmp_path


def test_the_database_itself_refuses_to_change_a_record(story):
    with contextlib.closing(sqlite3.connect(story.data_dir / "vivavoce.db")) as database:
        for statement in ("UPDATE audit SET record = '{}'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.DatabaseError):
                database.execute(statement)
            database.rollback()


def spoilt(value, rng):
    """A value with one byte changed, or one bit of a number."""
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(40))
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    place = rng.randrange(len(raw))
    while True:
        # Of a text, another letter, so that it stays a text.
        raw[place] = rng.randrange(256) if isinstance(value, bytes) else rng.randrange(32, 127)
        changed = bytes(raw) if isinstance(value, bytes) else raw.decode()
        if changed != value:
            return changed


def test_any_byte_of_any_record_that_is_changed_is_noticed(copy):
    rng = random.Random(4711)
    with open_data(copy) as store, contextlib.closing(sqlite3.connect(copy / "vivavoce.db")) as raw:
        whole(store)
        rows = raw.execute("SELECT sequence, at_ms, record, mac FROM audit").fetchall()
        assert len(rows) > len(RECORDED)
        for row in rows:
            sequence = row[0]
            for column, value in (
                ("at_ms", row[1]),
                ("record", row[2]),
                ("record", row[2]),
                ("mac", row[3]),
            ):
                change = f"UPDATE audit SET {column} = ? WHERE sequence = ?"
                raw.execute(change, (spoilt(value, rng), sequence))
                raw.commit()
                with pytest.raises(AuditBroken) as caught:
                    whole(store)
                assert caught.value.sequence == sequence
                raw.execute(change, (value, sequence))
                raw.commit()
        whole(store)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence > 10",
        "DELETE FROM audit",
        "UPDATE audit SET sequence = sequence + 100000 WHERE sequence = 5",
        "UPDATE audit SET at_ms = at_ms + 1 WHERE sequence = (SELECT MAX(sequence) FROM audit)",
        "UPDATE audit_head SET sequence = sequence - 1",
        "DELETE FROM audit_head",
        "INSERT INTO audit SELECT sequence + 100000, at_ms, record, mac FROM audit LIMIT 1",
    ],
)
def test_a_record_that_is_missing_moved_or_added_is_noticed(copy, statement):
    with contextlib.closing(sqlite3.connect(copy / "vivavoce.db")) as database:
        database.execute(statement)
        database.commit()
    with open_data(copy) as store, pytest.raises(AuditBroken):
        whole(store)


def test_the_command_says_where_the_log_is_broken(copy):
    with contextlib.closing(sqlite3.connect(copy / "vivavoce.db")) as database:
        database.execute("UPDATE audit SET at_ms = at_ms + 1 WHERE sequence = 4")
        database.commit()
    done = verify(copy)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "audit record 4" in done.stderr
