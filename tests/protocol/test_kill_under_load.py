"""Killed twice under load; `bench/kill.py` kills twenty times."""

from bench.kill import kill_under_load, running


def test_what_was_acknowledged_survives_kill_9(tmp_path, monkeypatch):
    # The benchmark sets these for its clients.
    monkeypatch.setenv("AWS_DATA_PATH", "")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "")
    with running(tmp_path) as server:
        wrong, writers = kill_under_load(server, kills=2, seed=3)
    assert wrong == []
    assert sum(writer.acknowledged for writer in writers) > 20
