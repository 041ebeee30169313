"""What was acknowledged is there after the process was killed at any moment."""

import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import rows
from vivavoce.store.store import open_store

WRITER = """
import sys
from vivavoce.ids import generated_id
from vivavoce.store.store import open_store
from vivavoce.vault.vault import Vault
from tests import rows
from tests.fakes import FakeCustomerKeys

store = open_store(sys.argv[1], Vault(bytes(32), FakeCustomerKeys()))
while True:
    speaker_id = generated_id()
    def work(tx):
        tx.speakers.add(rows.speaker(speaker_id=speaker_id, customer_id=speaker_id[3:]))
        tx.voiceprints.put(rows.voiceprint(owner_id=speaker_id), speech=rows.SPEECH)
    store.write_now(work)
    print(speaker_id, flush=True)
"""


@pytest.fixture
def database(database_url, vault):
    store = open_store(database_url, vault)
    store.write_now(rows.add_domain)
    store.close()
    return database_url


def killed_writer(url, after_s):
    """Ids that a writer acknowledged before it was killed, some time after the first."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with writer:
        assert writer.stdout
        assert select.select([writer.stdout], [], [], 60)[0], "the writer did not start"
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read()
    whole, _, _ = told.rpartition("\n")
    assert whole, "the writer did not start"
    return whole.split("\n")


def test_a_killed_process_loses_nothing_acknowledged(database, vault):
    acknowledged = []
    for after_s in (random.uniform(0, 0.05), random.uniform(0.05, 0.2)):
        acknowledged += killed_writer(database, after_s)
    assert len(acknowledged) >= 2
    store = open_store(database, vault)

    def work(tx):
        found = dict(tx.speakers.page(rows.DOMAIN_ID, after=0, size=1_000_000))
        ids = {speaker.speaker_id for speaker in found.values()}
        assert set(acknowledged) <= ids
        # And of what was not acknowledged, all or nothing.
        assert all(tx.voiceprints.find(rows.DOMAIN_ID, speaker_id) for speaker_id in ids)

    store.write_now(work)
    store.close()
