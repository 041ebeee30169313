"""What was deleted leaves the file, and the file gets shorter."""

import numpy as np
import pytest

from tests import rows
from vivavoce.ids import generated_id
from vivavoce.store.store import open_store


@pytest.mark.anyio
async def test_freed_pages_are_given_back(tmp_path, vault):
    path = tmp_path / "vivavoce.db"
    store = open_store(f"sqlite:///{path}", vault)
    await store.write(rows.add_domain)
    speech = np.zeros(240_000, np.int16)
    ids = [generated_id() for _ in range(20)]

    def fill(tx):
        for speaker_id in ids:
            tx.speakers.add(rows.speaker(speaker_id=speaker_id, customer_id=speaker_id[3:]))
            tx.voiceprints.put(rows.voiceprint(owner_id=speaker_id), speech=speech)

    await store.write(fill)
    await store.scrub()
    full = path.stat().st_size

    def empty(tx):
        for speaker_id in ids:
            tx.speakers.remove(speaker_id)

    await store.write(empty)
    await store.scrub()
    assert path.stat().st_size == full
    await store.give_back()
    await store.scrub()
    store.close()
    assert path.stat().st_size < full / 10
