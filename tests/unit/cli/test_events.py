import json

import pytest
from typer.testing import CliRunner

from vivavoce.cli import events
from vivavoce.errors import EventError

NOW_MS = 1_700_000_000_000


@pytest.fixture
def run(data_dir, monkeypatch):
    """Runs `vivavoce events ...` on the data folder."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        return CliRunner().invoke(events.app, [*arguments, "--data-dir", str(data_dir)])

    return run


def bury(store, number):
    """That many events, all given up; gives their numbers."""

    def work(tx):
        for each in range(number):
            body = {
                "id": f"e{each}",
                "detail-type": "VoiceId Speaker Action",
                "detail": {"status": "SUCCEEDED"},
            }
            tx.outbox.add(["webhook"], resource=f"r{each}", body=body, now_ms=NOW_MS)
        found = tx.outbox.due("webhook", now_ms=NOW_MS, limit=number)
        for delivery in found:
            tx.outbox.bury(delivery.sequence, "answered 410")
        return [delivery.sequence for delivery in found]

    return store.write_now(work)


def depth(store):
    return store.read_now(lambda tx: tx.outbox.depth("webhook"))


def test_the_dead_are_shown_with_the_reason(run, store):
    (sequence,) = bury(store, 1)
    output = run("dead").output
    for shown in (str(sequence), "webhook", "VoiceId Speaker Action SUCCEEDED", "answered 410"):
        assert shown in output


def test_the_dead_come_whole_as_json_however_many_they_are(run, store, monkeypatch):
    monkeypatch.setattr(events, "_PAGE_SIZE", 2)
    sequences = bury(store, 5)
    shown = json.loads(run("dead", "--json").output)
    assert [each["sequence"] for each in shown] == sequences
    assert shown[0]["event"]["id"] == "e0"
    assert shown[0]["created"] == "2023-11-14T22:13:20+00:00"


def test_without_dead_events_the_json_is_an_empty_list(run):
    assert json.loads(run("dead", "--json").output) == []


def test_one_event_is_tried_again(run, store):
    sequences = bury(store, 3)
    assert "1 will be tried again" in run("retry", str(sequences[1])).output
    assert (depth(store).waiting, depth(store).dead) == (1, 2)


def test_all_events_are_tried_again(run, store):
    bury(store, 3)
    assert "3 will be tried again" in run("retry", "--all").output
    assert (depth(store).waiting, depth(store).dead) == (3, 0)


@pytest.mark.parametrize("command", ["retry", "discard"])
@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["0"]])
def test_a_command_that_does_not_say_which_event_changes_nothing(run, store, command, arguments):
    bury(store, 1)
    assert run(command, *arguments).exit_code == 2
    assert depth(store).dead == 1


def test_a_discarded_event_is_gone_and_the_others_stay(run, store):
    sequences = bury(store, 2)
    assert run("discard", str(sequences[0])).exit_code == 0
    assert depth(store).dead == 1


def test_all_events_are_discarded(run, store):
    bury(store, 3)
    assert "3 discarded" in run("discard", "--all").output
    assert depth(store).dead == 0


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_an_event_that_is_not_dead_is_an_error(run, command):
    result = run(command, "4711")
    assert isinstance(result.exception, EventError)
    assert "4711" in str(result.exception)
