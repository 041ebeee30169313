"""What is deleted is gone: from the answers, and from the bytes on the disk."""

import contextlib
import sqlite3

import pytest

from tests.protocol.clients import NOTHING, Caller, code_of, furnish
from tests.server import wait_for

CUSTOMER = "anna-4711-kunde"
PIECE_BYTES = 24
STEP_BYTES = 1009
"""Long values lie across pages: they are looked for in pieces."""


@pytest.fixture(scope="module")
def server(launch):
    return launch(domain_erase_days=1e-9, quotas="off")


@pytest.fixture
def owner(server, connect):
    return connect(server)


@pytest.fixture
def place(server, owner):
    return furnish(server, owner, CUSTOMER)


class Disk:
    """The database as whoever steals the disk sees it."""

    def __init__(self, server):
        self._database = server.data_dir / "vivavoce.db"

    def blobs(self, query, *values):
        """All byte strings that a query gives."""
        with contextlib.closing(sqlite3.connect(self._database)) as database:
            rows = database.execute(query, values).fetchall()
        found = [value for row in rows for value in row if isinstance(value, bytes)]
        assert found, query
        return found

    def pieces(self, *blobs):
        """Pieces of byte strings that are on the disk now."""
        everything = self.content
        cut = [
            blob[start : start + PIECE_BYTES]
            for blob in blobs
            for start in range(0, len(blob) - PIECE_BYTES + 1, STEP_BYTES)
        ]
        there = [piece for piece in cut if piece in everything]
        assert len(there) > 0.8 * len(cut)  # some lie across a page's end
        return there

    def holds_any_of(self, pieces):
        everything = self.content
        return any(piece in everything for piece in pieces)

    @property
    def content(self):
        return b"\0".join(
            file.read_bytes()
            for suffix in ("", "-wal", "-shm")
            if (file := self._database.with_name(f"vivavoce.db{suffix}")).exists()
        )


@pytest.fixture
def disk(server):
    return Disk(server)


def of_owner(disk, owner_id, table):
    """What is sealed of a speaker or fraudster: the voice, its speech, and the key to both."""
    kind = table.removesuffix("s")
    return [
        *disk.blobs(
            "SELECT sealed_vector, sealed_speech FROM voiceprints WHERE owner_id = ?", owner_id
        ),
        *disk.blobs(f"SELECT * FROM {table} WHERE {kind}_id = ?", owner_id),
    ]


def of_session(disk, session_id):
    """What is sealed of the caller's voice in a session."""
    return [
        *disk.blobs("SELECT sealed_speech FROM sessions WHERE session_id = ?", session_id),
        *disk.blobs("SELECT sealed_vector FROM evidence WHERE session_id = ?", session_id),
    ]


def test_a_deleted_speaker_leaves_no_bytes(owner, place, disk):
    gone = disk.pieces(
        *of_owner(disk, place.speaker_id, "speakers"), *of_session(disk, place.session_id)
    )
    owner.delete_speaker(DomainId=place.domain_id, SpeakerId=place.customer_id)
    assert not disk.holds_any_of(gone)


def test_a_speaker_who_opted_out_leaves_no_voice(owner, place, disk):
    gone = disk.pieces(
        *of_session(disk, place.session_id),
        *disk.blobs(
            "SELECT sealed_vector, sealed_speech FROM voiceprints WHERE owner_id = ?",
            place.speaker_id,
        ),
    )
    owner.opt_out_speaker(DomainId=place.domain_id, SpeakerId=place.speaker_id)
    assert not disk.holds_any_of(gone)
    kept = disk.blobs(
        "SELECT sealed_customer_id FROM speakers WHERE speaker_id = ?", place.speaker_id
    )
    owner.delete_speaker(DomainId=place.domain_id, SpeakerId=place.speaker_id)
    assert not disk.holds_any_of(kept)


def test_a_deleted_fraudster_leaves_no_bytes(owner, place, disk):
    gone = disk.pieces(*of_owner(disk, place.fraudster_id, "fraudsters"))
    owner.delete_fraudster(DomainId=place.domain_id, FraudsterId=place.fraudster_id)
    assert not disk.holds_any_of(gone)


def test_a_deleted_domain_is_erased_by_the_next_sweep(server, owner, place, disk):
    other = furnish(server, owner, "ben-0815-kunde")
    domain_id = place.domain_id
    tables = (
        "domains",
        "domain_keys",
        "watchlists",
        "speakers",
        "fraudsters",
        "voiceprints",
        "sessions",
    )
    blobs = [
        blob
        for table in tables
        for blob in disk.blobs(f"SELECT * FROM {table} WHERE domain_id = ?", domain_id)
    ]
    session_ids = "SELECT session_id FROM sessions WHERE domain_id = ?"
    blobs += disk.blobs(
        f"SELECT sealed_vector FROM evidence WHERE session_id IN ({session_ids})",
        domain_id,
    )
    gone = disk.pieces(*blobs)
    kept = disk.pieces(*of_owner(disk, other.speaker_id, "speakers"))
    owner.delete_domain(DomainId=domain_id)
    assert disk.holds_any_of(gone)  # only later: until then it can be brought back by hand
    server.kill()
    server.start()  # sweeps at once, and then every ten minutes
    wait_for(lambda: not disk.holds_any_of(gone))
    assert domain_id.encode() not in rows_of(server)
    assert all(piece in disk.content for piece in kept)
    caller = Caller(server)
    assert caller.code_of("DescribeDomain", {"DomainId": other.domain_id}) == "OK"
    answer = caller.send("DeleteDomain", {"DomainId": domain_id})
    assert answer.document["ResourceType"] == "DOMAIN"  # it cannot be deleted twice any more


def rows_of(server):
    """Every value in the database, but for the audit log and the client tokens of the last day."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "vivavoce.db")) as database:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = {name for (name,) in database.execute(query)}
        tables = names - {"audit", "audit_head", "idempotency_tokens"}
        assert len(tables) > 10
        return b"\n".join(
            repr(row).encode()
            for name in tables
            for row in database.execute(f"SELECT * FROM {name}")
        )


def test_customer_ids_and_names_are_never_on_the_disk(server, owner, place, disk):
    names = ("name-of-a-list", "name-of-a-job", "key-of-a-tag", "name-of-a-domain")
    owner.create_watchlist(DomainId=place.domain_id, Name=names[0])
    owner.tag_resource(ResourceArn=place.arn, Tags=[{"Key": names[2], "Value": ""}])
    owner.opt_out_speaker(DomainId=place.domain_id, SpeakerId="somebody-unknown")
    owner.start_session(DomainId=place.domain_id, SpeakerId="somebody-new")
    code_of(owner.delete_speaker, DomainId=place.domain_id, SpeakerId="somebody-missing")
    code_of(owner.describe_speaker, DomainId=NOTHING, SpeakerId="somebody-missing")
    content = disk.content + server.log.encode()
    for text in (*names, CUSTOMER, "somebody-"):
        assert text.encode() not in content, text
