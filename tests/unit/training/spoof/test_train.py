"""What a batch holds, and that a head learns from it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install -r training/spoof/requirements.txt")

from training.spoof.embed import Heard, groups
from training.spoof.takes import HEARD_DEVICES, UNHEARD_DEVICES, Take
from training.spoof.train import Feed, Recipe, train

torch = pytest.importorskip("torch")

RECIPE = Recipe(
    steps=150, copy_pairs=6, playback_pairs=4, singles=6, learning_rate=1e-2, dropout=0.1
)


def _takes():
    """Two corpora, each source copied and played back; one synthesiser."""
    plain = Take(
        source=0, label="genuine", corpus="a", system="", speaker="x", trains=True, playback="",
        codec="none", start=0, count=16000,
    )  # fmt: skip
    takes = []
    for source in range(40):
        own = replace(plain, source=source, corpus="ab"[source % 2])
        versions = [
            own,
            replace(own, label="spoof", system="copy-lpc"),
            replace(own, playback=HEARD_DEVICES),
            replace(own, playback=UNHEARD_DEVICES),
        ]
        if source % 4 == 0:
            versions = [replace(own, label="spoof", corpus="page", system="Robot")]
        takes += [
            replace(version, codec=codec)
            for version in versions
            for codec in ("none", "gsm", "opus-8000")
        ]
    return takes


@pytest.fixture(name="heard")
def _heard():
    takes = _takes()
    return takes, [
        Heard(take=index, group=number)
        for number, indices in enumerate(groups(takes))
        for index in indices
    ]


def test_what_is_heard_together_is_one_source_in_one_codec_without_unheard_devices(heard):
    takes, rows = heard
    together = {}
    for row in rows:
        together.setdefault(row.group, []).append(takes[row.take])
    assert len(together) == 120
    for versions in together.values():
        assert len({(t.source, t.codec) for t in versions}) == 1
        assert all(t.playback != UNHEARD_DEVICES for t in versions)
        assert len(versions) == (1 if versions[0].system == "Robot" else 3)


def test_takes_that_are_only_measured_are_not_heard():
    takes = [replace(take, trains=take.source > 3) for take in _takes()]
    assert all(takes[i].source > 3 for group in groups(takes) for i in group)


def test_a_batch_has_each_copy_and_playback_beside_its_original(heard):
    takes, rows = heard
    batch = Feed(takes, rows, RECIPE).batch()
    assert len(batch.rows) == 2 * (6 + 4) + 2 * 6
    of_row = [takes[rows[row].take] for row in batch.rows.tolist()]
    for original, changed in zip(of_row[: 2 * batch.pairs : 2], of_row[1 : 2 * batch.pairs : 2],
                                 strict=True):  # fmt: skip
        assert (original.source, original.codec) == (changed.source, changed.codec)
        assert not original.playback
        assert original.system != "copy-lpc"
        assert changed.playback or changed.system == "copy-lpc"
    expected = [[t.label == "spoof", bool(t.playback)] for t in of_row]
    np.testing.assert_array_equal(batch.labels.numpy(), expected)


def test_a_head_learns_and_does_so_the_same_way_again(heard):
    takes, rows = heard
    rng = np.random.default_rng(0)
    truth = [[takes[row.take].label == "spoof", bool(takes[row.take].playback)] for row in rows]
    embeddings = rng.standard_normal((len(rows), 10))
    embeddings[:, :2] += 6 * np.array(truth)
    known = torch.from_numpy(embeddings.astype(np.float16))
    first, second = (train(Feed(takes, rows, RECIPE), known, RECIPE) for _ in range(2))
    with torch.no_grad():
        logits, again = first(known.float()), second(known.float())
    torch.testing.assert_close(logits, again)
    living = logits.numpy()[~np.any(truth, axis=1)]
    np.testing.assert_allclose(living.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(living.std(0), 1, atol=0.2)
    right = (logits.numpy() > 3) == np.array(truth)
    assert right.mean() > 0.9
