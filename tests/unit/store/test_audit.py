import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event
from sqlalchemy.exc import IntegrityError

from vivavoce.errors import AuditBroken
from vivavoce.store import tables
from vivavoce.store.audit import Anchor, AuditRows, verify_log
from vivavoce.store.database import open_database
from vivavoce.vault.seal import SealingKey, new_key


class Keys:
    """A root key and nothing under it."""

    def __init__(self, root=bytes(32)):
        self.root = SealingKey(root)


KEYS = Keys()


def new_log(url="sqlite://"):
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def configure(connection, _):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    tables.metadata.create_all(engine, tables=[tables.audit, tables.audit_head])
    with engine.begin() as connection:
        AuditRows(connection, KEYS).begin()
    return engine


@pytest.fixture
def log(tmp_path):
    engine = new_log(f"sqlite:///{tmp_path / 'audit.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 100")
    yield engine
    engine.dispose()


def add(engine, *records, at_ms=1000):
    with engine.begin() as connection:
        rows = AuditRows(connection, KEYS)
        return [rows.add(record, at_ms + i) for i, record in enumerate(records)]


def fill(engine, count):
    add(engine, *({"eventName": "DescribeDomain", "n": n} for n in range(1, count + 1)))


def verify(engine, keys=KEYS, **options):
    def read(work):
        with engine.connect() as connection:
            return work(AuditRows(connection, keys))

    return verify_log(read, **options)


def attack(engine, *statements):
    """What somebody does who may write the file, but has no key: the guards go first."""
    with engine.begin() as connection:
        triggers = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).scalars()
        for name in triggers.all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.exec_driver_sql(*([statement] if isinstance(statement, str) else statement))


def broken(engine, **options):
    with pytest.raises(AuditBroken) as caught:
        verify(engine, **options)
    return caught.value


def test_records_come_back_in_order_and_the_log_verifies(log):
    records = [{"eventName": name} for name in ("CreateDomain", "DeleteDomain", "ListDomains")]
    assert add(log, *records) == [1, 2, 3]
    with log.connect() as connection:
        page = AuditRows(connection, KEYS).page(after=1, size=10)
    assert [(one.sequence, one.at_ms, one.record) for one in page] == [
        (2, 1001, records[1]),
        (3, 1002, records[2]),
    ]
    verified = verify(log)
    assert (verified.head.sequence, verified.first_ms, verified.last_ms) == (3, 1000, 1002)


def test_an_empty_log_verifies(log):
    verified = verify(log)
    assert (verified.head.sequence, verified.first_ms, verified.last_ms) == (0, None, None)


@given(st.text())
@settings(max_examples=40)
def test_any_text_is_kept_as_it_is(text):
    engine = new_log()
    add(engine, {"userAgent": text, text: 1})
    with engine.connect() as connection:
        page = AuditRows(connection, KEYS).page(after=0, size=1)
    assert page[0].record == {"userAgent": text, text: 1}
    assert verify(engine).head.sequence == 1


@pytest.mark.parametrize("text", ["\x00", "\ud800"], ids=["NUL", "half a surrogate pair"])
def test_texts_that_databases_refuse_are_kept(log, text):
    add(log, {"userAgent": text})
    with log.connect() as connection:
        assert AuditRows(connection, KEYS).page(after=0, size=1)[0].record == {"userAgent": text}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_json_cannot_hold_is_refused_and_nothing_is_added(log, value):
    fill(log, 1)
    with pytest.raises((ValueError, TypeError)):
        add(log, {"value": value})
    fill(log, 1)
    assert verify(log).head.sequence == 2


def test_a_rolled_back_record_leaves_no_gap(log):
    with log.connect() as connection:
        AuditRows(connection, KEYS).add({"n": 1}, 1)
        connection.commit()
        AuditRows(connection, KEYS).add({"n": "never"}, 2)
        connection.rollback()
        savepoint = connection.begin_nested()
        AuditRows(connection, KEYS).add({"n": "never"}, 3)
        savepoint.rollback()
        assert AuditRows(connection, KEYS).add({"n": 2}, 4) == 2
        connection.commit()
    assert verify(log).head.sequence == 2


def test_two_processes_write_one_chain(log):
    with log.connect() as one, log.connect() as other:
        for n in range(6):
            connection = (one, other)[n % 2]
            assert AuditRows(connection, KEYS).add({"n": n}, n) == n + 1
            connection.commit()
    assert verify(log).head.sequence == 6


def test_a_log_of_many_slices_verifies_and_tells_how_far_it_is(log):
    fill(log, 1203)
    told = []
    assert (
        verify(log, progress=lambda done, total: told.append((done, total))).head.sequence == 1203
    )
    assert told == [(500, 1203), (1000, 1203), (1203, 1203)]


def test_records_that_are_added_while_the_log_is_verified_are_no_breach(log):
    fill(log, 600)
    told = []

    def add_once(done, total):
        if not told:
            add(log, {"n": "late"})
        told.append((done, total))

    verified = verify(log, progress=add_once)
    assert (verified.head.sequence, verified.is_whole) == (601, True)
    assert told == [(500, 600), (601, 601)]


def test_a_slice_alone_does_not_call_the_log_whole(log):
    fill(log, 500)
    with log.connect() as connection:
        rows = AuditRows(connection, KEYS)
        first = rows.verify_slice()
        assert (first.head.sequence, first.total, first.is_whole) == (500, 500, False)
        assert rows.verify_slice(first).is_whole


def test_between_slices_the_write_ahead_log_can_be_emptied(log):
    with log.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL")
    fill(log, 1203)
    blocked = []

    def empty(done, total):
        with log.connect() as connection:
            driver = connection.connection.driver_connection
            driver.rollback()
            driver.execute("PRAGMA busy_timeout = 0")
            blocked.append(driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        add(log, {"n": "late"})  # and the next slice reads from the log again

    assert verify(log, progress=empty).head.sequence == 1205
    assert blocked == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "sequence"),
    [
        ("UPDATE audit SET record = '{}' WHERE sequence = 700", 700),
        ("DELETE FROM audit WHERE sequence = 501", 501),
        ("DELETE FROM audit WHERE sequence > 500", 501),
        ("DELETE FROM audit WHERE sequence > 900", 901),
        ("INSERT INTO audit SELECT 1001, at_ms, record, mac FROM audit WHERE sequence = 1", 1001),
        ("UPDATE audit_head SET seal = x'00'", 1),
    ],
)
def test_what_is_done_to_the_log_while_it_is_verified_is_found(log, change, sequence):
    fill(log, 1000)

    def attack_once(done, total):
        if done == 500:
            attack(log, change)

    assert broken(log, progress=attack_once).sequence == sequence


def test_a_record_behind_the_end_of_a_full_slice_is_found(log):
    fill(log, 500)
    attack(log, "INSERT INTO audit SELECT 501, at_ms, record, mac FROM audit WHERE sequence = 1")
    assert broken(log).sequence == 501


def test_a_log_cut_with_its_old_head_while_it_is_verified_is_found(log):
    fill(log, 300)
    with log.connect() as connection:
        old = connection.exec_driver_sql("SELECT sequence, mac, seal FROM audit_head").one()
    fill(log, 700)

    def attack_once(done, total):
        attack(
            log,
            "DELETE FROM audit WHERE sequence > 300",
            ("UPDATE audit_head SET sequence = ?, mac = ?, seal = ?", tuple(old)),
        )

    error = broken(log, progress=attack_once)
    assert error.sequence == 301
    assert "behind" in str(error)


@given(
    row=st.integers(1, 5),
    column=st.sampled_from(["at_ms", "record", "mac"]),
    data=st.data(),
)
@settings(max_examples=60)
def test_any_change_of_any_record_is_found_where_it_is(row, column, data):
    engine = new_log()
    fill(engine, 5)
    with engine.connect() as connection:
        value = connection.exec_driver_sql(
            f"SELECT {column} FROM audit WHERE sequence = {row}"
        ).scalar_one()
    if column == "at_ms":
        changed = data.draw(st.integers(-(2**63), 2**63 - 1).filter(lambda other: other != value))
    elif column == "record":
        at = data.draw(st.integers(0, len(value) - 1))
        letter = data.draw(st.characters(codec="utf-8").filter(lambda other: other != value[at]))
        changed = value[:at] + letter + value[at + 1 :]
    else:
        bit = data.draw(st.integers(0, 255))
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        changed = bytes(changed)
    attack(engine, (f"UPDATE audit SET {column} = ? WHERE sequence = ?", (changed, row)))
    assert broken(engine).sequence == row


@pytest.mark.parametrize(
    ("change", "sequence"),
    [
        ("UPDATE audit SET at_ms = 'yesterday' WHERE sequence = 3", 3),
        ("UPDATE audit SET at_ms = 1002.5 WHERE sequence = 3", 3),
        ("UPDATE audit SET record = x'7b7d' WHERE sequence = 3", 3),
        ("UPDATE audit SET record = CAST(x'ff' AS TEXT) WHERE sequence = 3", 3),
        ("UPDATE audit SET record = 17 WHERE sequence = 3", 3),
        ("UPDATE audit SET mac = 'text' WHERE sequence = 3", 3),
        ("UPDATE audit SET mac = 9000000000000000000 WHERE sequence = 3", 3),
        ("UPDATE audit SET mac = x'' WHERE sequence = 3", 3),
        ("UPDATE audit_head SET sequence = 'many'", 1),
        ("UPDATE audit_head SET mac = 5", 1),
        ("UPDATE audit_head SET seal = 'open'", 1),
    ],
)
def test_a_value_of_a_wrong_type_is_a_finding(log, change, sequence):
    fill(log, 5)
    attack(log, change)
    assert broken(log).sequence == sequence


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_record_that_was_taken_out_is_missed(log, gone):
    fill(log, 5)
    attack(log, f"DELETE FROM audit WHERE sequence = {gone}")
    error = broken(log)
    assert error.sequence == gone
    assert "missing" in str(error)


def test_a_gap_that_was_closed_is_found(log):
    fill(log, 5)
    attack(
        log,
        "DELETE FROM audit WHERE sequence = 3",
        "UPDATE audit SET sequence = 3 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 5",
    )
    assert broken(log).sequence == 3


def test_records_that_were_swapped_are_found(log):
    fill(log, 5)
    attack(
        log,
        "UPDATE audit SET sequence = 99 WHERE sequence = 2",
        "UPDATE audit SET sequence = 2 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 99",
    )
    assert broken(log).sequence == 2


@pytest.mark.parametrize("sequence", [-7, 0, 6, 1000])
def test_a_record_that_was_inserted_is_found(log, sequence):
    fill(log, 5)
    attack(
        log,
        f"INSERT INTO audit SELECT {sequence}, at_ms, record, mac FROM audit WHERE sequence = 5",
    )
    assert broken(log).sequence == (6 if sequence == 1000 else sequence)


@pytest.mark.parametrize("left", [0, 4])
def test_a_log_that_was_cut_off_is_found(log, left):
    fill(log, 5)
    attack(log, f"DELETE FROM audit WHERE sequence > {left}")
    error = broken(log)
    assert error.sequence == left + 1
    assert "reached 5" in str(error)


def test_a_head_set_back_by_hand_is_found(log):
    fill(log, 5)
    attack(
        log,
        "DELETE FROM audit WHERE sequence = 5",
        "UPDATE audit_head SET sequence = 4, mac = (SELECT mac FROM audit WHERE sequence = 4)",
    )
    assert "head was changed" in str(broken(log))


def test_a_log_without_a_head_is_broken_even_when_nothing_is_left_of_it(log):
    fill(log, 5)
    attack(log, "DELETE FROM audit", "DELETE FROM audit_head")
    assert "head is missing" in str(broken(log))


@pytest.mark.parametrize("change", ["DELETE FROM audit_head", "UPDATE audit_head SET seal = x'00'"])
def test_nothing_is_added_to_a_log_whose_head_is_false(log, change):
    fill(log, 2)
    attack(log, "UPDATE audit_head SET sequence = 1", change)
    with pytest.raises(AuditBroken):
        fill(log, 1)
    with log.connect() as connection:
        assert len(AuditRows(connection, KEYS).page(after=0, size=9)) == 2


def test_a_head_that_somebody_holds_fast_is_found(log):
    fill(log, 2)
    attack(
        log,
        "CREATE TRIGGER hold BEFORE UPDATE ON audit_head BEGIN SELECT RAISE(IGNORE); END",
    )
    with pytest.raises(AuditBroken, match="record 3"):
        fill(log, 1)


def cut_with_its_old_head(engine):
    """Six records, cut to three together with the head that belonged to three."""
    fill(engine, 3)
    with engine.connect() as connection:
        old = connection.exec_driver_sql("SELECT sequence, mac, seal FROM audit_head").one()
    fill(engine, 3)
    attack(
        engine,
        "DELETE FROM audit WHERE sequence > 3",
        ("UPDATE audit_head SET sequence = ?, mac = ?, seal = ?", tuple(old)),
    )


def test_an_anchor_detects_a_cut_that_the_log_itself_cannot(log):
    cut_with_its_old_head(log)
    assert verify(log).head.sequence == 3
    error = broken(log, expected=Anchor(sequence=6, mac=bytes(32)))
    assert error.sequence == 4
    assert "reached 6" in str(error)


def test_an_anchor_detects_another_log_in_its_place(log):
    fill(log, 3)
    add(log, {"n": "honest"})
    noted = verify(log).head
    attack(log, "DELETE FROM audit", "DELETE FROM audit_head")
    with log.begin() as connection:
        AuditRows(connection, KEYS).begin()
    add(log, *({"n": "forged by whoever has the key"} for _ in range(9)))
    assert verify(log).head.sequence == 9
    assert broken(log, expected=noted).sequence == 4


@pytest.mark.parametrize("more", [0, 3])
def test_an_anchor_holds_however_much_was_added_since(log, more):
    fill(log, 2)
    noted = verify(log).head
    fill(log, more)
    assert verify(log, expected=noted).head.sequence == 2 + more


def test_an_anchor_of_an_empty_log_holds(log):
    noted = verify(log).head
    fill(log, 2)
    assert verify(log, expected=noted).head.sequence == 2
    assert broken(log, expected=Anchor(sequence=0, mac=b"x" * 32)).sequence == 0


def test_a_log_under_another_root_key_does_not_verify(log):
    fill(log, 2)
    assert "another root key" in str(broken(log, keys=Keys(new_key())))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET record = '{}' WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT 1, at_ms, '{}', mac FROM audit WHERE sequence = 2",
        "UPDATE audit_head SET sequence = 1",
        "UPDATE audit_head SET sequence = 9",
        "DELETE FROM audit_head",
        "INSERT OR REPLACE INTO audit_head SELECT 1, 0, mac, seal FROM audit_head",
        "INSERT INTO audit_head SELECT 2, 0, mac, seal FROM audit_head",
    ],
)
def test_the_database_refuses_to_change_the_log(log, change):
    fill(log, 2)
    with pytest.raises(IntegrityError, match="only ever added to"), log.begin() as connection:
        connection.exec_driver_sql(change)
    assert verify(log).head.sequence == 2


def test_a_migrated_database_is_guarded_like_a_made_one(log, tmp_path):
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    # Migrations of an empty database seal nothing else than the log.
    migrated = open_database(f"sqlite:///{tmp_path / 'migrated.db'}", cast("Any", KEYS))
    with migrated.connect() as theirs, log.connect() as ours:
        guards = theirs.exec_driver_sql(query).all()
        assert len(guards) == 6
        assert guards == ours.exec_driver_sql(query).all()
    assert verify(migrated).head.sequence == 0
    migrated.dispose()


def test_the_first_record_since_an_instant_is_found(log):
    add(log, {}, {}, {}, at_ms=5000)
    with log.connect() as connection:
        rows = AuditRows(connection, KEYS)
        assert rows.first_since(5001) == 2
        assert rows.first_since(0) == 1
        assert rows.first_since(6000) is None


@pytest.mark.parametrize(
    "change", ["record = 'x'", "record = '17'", "at_ms = 'noon'", "at_ms = 9223372036854775807"]
)
def test_a_page_with_a_record_that_cannot_be_read_names_it(log, change):
    fill(log, 2)
    attack(log, f"UPDATE audit SET {change} WHERE sequence = 2")
    with log.connect() as connection, pytest.raises(AuditBroken) as caught:
        AuditRows(connection, KEYS).page(after=0, size=9)
    assert caught.value.sequence == 2


def test_a_record_is_kept_in_one_canonical_form(log):
    add(log, {"b": 1, "a": {"d": 2, "c": 3}})
    with log.connect() as connection:
        text = connection.exec_driver_sql("SELECT record FROM audit").scalar_one()
    assert text == '{"a":{"c":3,"d":2},"b":1}'
    assert json.loads(text)["b"] == 1


@given(sequence=st.integers(0, 2**63 - 1), mac=st.binary(min_size=32, max_size=32))
def test_an_anchor_survives_being_written_down(sequence, mac):
    anchor = Anchor(sequence=sequence, mac=mac)
    assert Anchor.parse(f" {anchor}\n") == anchor


@pytest.mark.parametrize("text", ["", "3", "3:", ":00", "x:" + 64 * "0", "3:00", "-1:" + 64 * "0"])
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  whatever the text breaks
        Anchor.parse(text)
