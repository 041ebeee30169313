"""A backup of a server that is used, and a server started from it."""

import json
import shutil
import subprocess
import sys
import threading

import pytest

from tests.protocol.clients import Caller, furnish
from tests.server import Server, complaints

CUSTOMER = "anna-4711-kunde"


def vivavoce(*arguments):
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "vivavoce", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Founder(threading.Thread):
    """Makes domains, each with a key of its own, as fast as it can."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self._caller = Caller(server)
        self.stopped = threading.Event()
        self.codes = []

    def run(self):
        while not self.stopped.is_set():
            key = {"KmsKeyId": f"alias/key-{len(self.codes)}"}
            wanted = {"Name": "bank", "ServerSideEncryptionConfiguration": key}
            self.codes.append(self._caller.code_of("CreateDomain", wanted))


@pytest.fixture
def restored(tmp_path):
    """A server on a port of its own, not started yet."""
    folder = tmp_path / "restored"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.end()
    assert complaints(server.log) == []


def test_a_backup_of_a_busy_server_is_restored_whole(launch, connect, tmp_path, restored):
    server = launch()
    place = furnish(server, connect(server), CUSTOMER)
    founder = Founder(server)
    founder.start()
    try:
        heads = [
            vivavoce("backup", tmp_path / name, "--data-dir", server.data_dir).strip()
            for name in ("first", "second", "third")
        ]
    finally:
        founder.stopped.set()
        founder.join()
    assert set(founder.codes) == {"OK"}
    assert len(set(heads)) == 3
    for name, head in zip(("first", "third"), (heads[0], heads[2]), strict=True):
        anchor = head.removeprefix("head ")
        assert vivavoce("audit", "verify", "--data-dir", tmp_path / name).endswith(f"{head}\n")
        vivavoce("audit", "verify", "--data-dir", server.data_dir, "--expect", anchor)
    shutil.copytree(tmp_path / "third", restored.data_dir)
    shutil.copy(server.credentials, restored.data_dir)
    restored.start()
    client = connect(restored)
    domains = client.get_paginator("list_domains").paginate().build_full_result()
    states = {one["DomainStatus"] for one in domains["DomainSummaries"]}
    assert states == {"ACTIVE"}  # SUSPENDED, where a key is missing
    assert len(domains["DomainSummaries"]) > 1
    speaker = client.describe_speaker(DomainId=place.domain_id, SpeakerId=CUSTOMER)["Speaker"]
    assert speaker["GeneratedSpeakerId"] == place.speaker_id
    session = {"DomainId": place.domain_id, "SessionNameOrId": place.session_id}
    evaluated = Caller(restored).send("EvaluateSession", session).document
    assert evaluated["AuthenticationResult"]["Decision"] == "ACCEPT"
    assert CUSTOMER not in json.dumps(heads)
