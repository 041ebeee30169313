import numpy as np
import pytest
import soundfile

from training.spoof.sources import COLLECTIONS, GENUINE, volunteers

RATE_HZ = 16000


@pytest.fixture
def folder(tmp_path):
    """Two languages of one package: ten recordings of a second, one of them twice, one broken."""
    rng = np.random.default_rng(0)
    for language in ("da", "uk"):
        place = tmp_path / "ktuberling-data/usr/share/ktuberling/sounds" / language
        place.mkdir(parents=True)
        for number in range(10):
            tone = 0.1 * rng.standard_normal(RATE_HZ)
            soundfile.write(place / f"{number}.wav", tone, RATE_HZ)
        (place / "again.wav").write_bytes((place / "0.wav").read_bytes())
        (place / "broken.ogg").write_bytes(b"OggS, but no more")
        (place / "read.me").write_text("no recording")
    return tmp_path


def test_recordings_become_clips_of_their_language(folder):
    found = list(volunteers(folder, np.random.default_rng(1), clip_s=3.0, most=9))
    assert {source.corpus for source in found} == {"potato-da", "potato-uk"}
    assert all(source.label == GENUINE and source.trains for source in found)
    # Ten different seconds a language make three clips of three.
    assert [len(source.audio) for source in found] == [3 * 8000] * 6


def test_no_voice_gives_more_clips_than_asked(folder):
    assert len(list(volunteers(folder, np.random.default_rng(1), clip_s=2.0, most=2))) == 4


def test_the_same_chance_gives_the_same_clips(folder):
    def clips():
        rng = np.random.default_rng(7)
        return [source.audio for source in volunteers(folder, rng, clip_s=2.0, most=3)]

    assert all(np.array_equal(a, b) for a, b in zip(clips(), clips(), strict=True))


@pytest.mark.parametrize(
    ("path", "voice"),
    [
        ("/x/usr/share/klettres/en_GB/alpha/a-0.ogg", "en_GB"),
        ("/x/usr/share/ktuberling/sounds/sr@latin/eye.ogg", "sr@latin"),
        ("/x/stamps/animals/birds/owl_desc_pt_BR.ogg", "pt_BR"),
        ("/x/fillets-ng/sound/city/cs/vit-m-hlava.ogg", "m"),
        ("/x/fillets-ng/sound/city/nl/vit-v-hoofd.ogg", "v"),
    ],
)
def test_a_path_says_who_speaks(path, voice):
    found = [match[1] for c in COLLECTIONS if (match := c.files.search(path))]
    assert voice in found


@pytest.mark.parametrize(
    "path",
    ["/x/stamps/owl.ogg", "/x/fillets-ng/sound/share/cs/sp-impact.ogg", "/x/klettres/da/a.png"],
)
def test_sounds_without_a_voice_are_left_out(path):
    assert not any(collection.files.search(path) for collection in COLLECTIONS)
