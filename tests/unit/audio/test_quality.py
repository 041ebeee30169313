import numpy as np
import pytest

from vivavoce.audio.quality import QualityMeter

RATE_HZ = 8000


def tone(level, seconds=1.0):
    instants = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * 440 * instants)).astype(np.int16)


def metered(speech, rest=None, lost=0):
    meter = QualityMeter()
    for samples in (speech, rest if rest is not None else np.zeros(RATE_HZ, np.int16)):
        meter.add_audio(samples)
    meter.add_speech(speech)
    meter.add_loss(lost)
    return meter


def test_nothing_can_be_said_before_speech():
    meter = QualityMeter()
    assert meter.verdict() == "UNKNOWN"
    meter.add_audio(tone(8000))
    assert meter.verdict() == "UNKNOWN"


def test_sound_audio_that_cannot_be_judged_is_unfamiliar_and_other_audio_is_what_it_was():
    sound, quiet = metered(tone(8000)), metered(tone(80))
    for certainty, verdicts in (
        (1.0, ("GOOD", "QUIET", "UNKNOWN")),
        (0.5, ("GOOD", "QUIET", "UNKNOWN")),
        (0.49, ("UNFAMILIAR", "QUIET", "UNKNOWN")),
        (0.0, ("UNFAMILIAR", "QUIET", "UNKNOWN")),
    ):
        meters = (sound, quiet, QualityMeter())
        assert tuple(meter.verdict(certainty=certainty) for meter in meters) == verdicts


@pytest.mark.parametrize(
    ("meter", "verdict"),
    [
        (metered(tone(8000)), "GOOD"),
        (metered(tone(8000), rest=np.zeros(0, np.int16)), "GOOD"),
        (metered(tone(80)), "QUIET"),
        (metered(tone(8000), rest=tone(4000)), "NOISY"),
        (metered(tone(8000), rest=tone(2000)), "GOOD"),
        (metered(np.clip(tone(32767).astype(int) * 2, -32768, 32767).astype(np.int16)), "CLIPPED"),
        (metered(tone(8000), lost=900), "LOSSY"),
        (metered(tone(8000), lost=800), "GOOD"),
    ],
)
def test_the_verdict_names_what_is_wrong(meter, verdict):
    assert meter.verdict() == verdict


def test_what_is_not_listened_to_is_only_counted():
    meter = metered(tone(8000))
    meter.add_unheard(RATE_HZ)
    assert meter.verdict() == "GOOD"
    assert meter.received_samples == 3 * RATE_HZ


def test_the_sums_do_not_depend_on_the_chunks():
    audio = np.random.default_rng(1).integers(-32768, 32767, 4000).astype(np.int16)
    whole, pieces = QualityMeter(), QualityMeter()
    whole.add_audio(audio)
    for piece in np.array_split(audio, 37):
        pieces.add_audio(piece)
    assert pieces == whole
