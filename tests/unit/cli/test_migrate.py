import json
from uuid import UUID

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from tests import rows
from vivavoce.cli import migrate
from vivavoce.errors import InvalidRequest, NotFound

CONTACT = str(UUID(int=1))


@pytest.fixture
def store(domain_store):
    return domain_store


@pytest.fixture
def run(data_dir, store, monkeypatch):
    """Runs `vivavoce migrate ...` on the data folder; gives its output."""
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))

    def invoke(*arguments):
        result = CliRunner().invoke(migrate.app, [str(each) for each in arguments])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture
def saved(tmp_path):
    statuses = ("ENROLLED", "OPTED_OUT", "PENDING", "EXPIRED")
    summaries = [
        {"CustomerSpeakerId": f"customer-{number}", "Status": status}
        for number, status in enumerate(statuses)
    ]
    path = tmp_path / "speakers.json"
    path.write_text(json.dumps({"SpeakerSummaries": summaries}))
    return path


def statuses(store):
    page = store.read_now(lambda tx: tx.speakers.page(rows.DOMAIN_ID, after=0, size=99))
    return {speaker.customer_id: speaker.status for _, speaker in page}


def test_opt_outs_stay_and_all_others_are_pending(run, store, saved):
    told = run("speakers", saved, "--domain", rows.DOMAIN_ID)
    assert "4 speakers: 1 opted out, 3 pending" in told
    assert "4 noted, 0 were there already" in told
    assert statuses(store) == {
        "customer-0": "PENDING",
        "customer-1": "OPTED_OUT",
        "customer-2": "PENDING",
        "customer-3": "PENDING",
    }
    assert "0 noted, 4 were there already" in run("speakers", saved, "--domain", rows.DOMAIN_ID)


def test_a_dry_run_writes_nothing(run, store, saved):
    assert "4 speakers" in run("speakers", saved, "--domain", rows.DOMAIN_ID, "--dry-run")
    assert statuses(store) == {}


def test_a_domain_that_is_none_is_said(run, saved):
    with pytest.raises(NotFound):
        run("speakers", saved, "--domain", "n" * 22)


@pytest.fixture
def recordings(data_dir, tmp_path):
    """A bucket with one call, in which noise speaks."""
    folder = data_dir / "objects" / "bank" / "calls"
    folder.mkdir(parents=True)
    soundfile.write(folder / f"{CONTACT}.wav", np.zeros((80_000, 2), np.int16), 8000)
    contacts = tmp_path / "contacts.csv"
    contacts.write_text(f"ContactId,SpeakerId\n{CONTACT},anna\n")
    return folder, contacts


def test_nobody_with_enough_speech_writes_no_manifest(run, recordings, tmp_path):
    folder, contacts = recordings
    with pytest.raises(InvalidRequest, match="nobody has enough speech"):
        run("manifest", folder, "--contacts", contacts, "--output", tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


def test_a_folder_elsewhere_must_be_named(run, recordings, tmp_path):
    _, contacts = recordings
    with pytest.raises(InvalidRequest, match="--uri"):
        run("manifest", tmp_path, "--contacts", contacts, "--output", tmp_path / "m.json")


def test_an_uri_that_is_none_is_said(run, recordings, tmp_path):
    folder, contacts = recordings
    for where, options in ((folder, ["--uri", "bank"]), ("s3://B", [])):
        with pytest.raises(InvalidRequest, match="no S3 URI"):
            run("manifest", where, "--contacts", contacts, "--output", tmp_path / "m", *options)


def test_a_manifest_says_beforehand_who_will_be_enrolled(run, recordings, tmp_path, monkeypatch):
    folder, contacts = recordings
    monkeypatch.setattr("vivavoce.migration.recordings.net_speech_s", lambda *_, **__: 31.0)
    told = run("manifest", folder, "--contacts", contacts, "--output", tmp_path / "m.json")
    assert "1 recordings; 1 of them will be used" in told
    assert "1 customers will be enrolled" in told
    manifest = json.loads((tmp_path / "m.json").read_text())
    assert manifest["SpeakerEnrollmentRequests"] == [
        {
            "RequestId": "r0",
            "SpeakerId": "anna",
            "AudioSpecifications": [{"S3Uri": f"s3://bank/calls/{CONTACT}.wav", "ChannelId": 0}],
        }
    ]
