"""Real people, a few of them: a guard against a broken front end, not a figure (see bench/)."""

import numpy as np
import pytest

from bench.speech_data import SpeechDataAbsent, find_speech, read_clips
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.g711 import decode_mu_law, encode_mu_law
from vivavoce.call.speech import collect_net_speech
from vivavoce.cli.offline import offline_models

SPEAKERS = 12
ENROLMENT_CLIPS, TEST_CLIPS = 5, 2

pytestmark = pytest.mark.speech_data


@pytest.fixture(scope="module")
def people():
    """For each speaker some clips to enrol from and others to call with, through mu-law."""
    try:
        clips = read_clips(find_speech())
    except SpeechDataAbsent as absent:
        pytest.skip(str(absent))
    by_speaker: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        if clip.source != "speechocean762":
            continue
        spoken = by_speaker.setdefault(clip.speaker, [])
        if len(spoken) < ENROLMENT_CLIPS + TEST_CLIPS and len(by_speaker) <= SPEAKERS:
            spoken.append(decode_mu_law(encode_mu_law(clip.read())))
    chosen = [
        spoken for spoken in by_speaker.values() if len(spoken) >= ENROLMENT_CLIPS + TEST_CLIPS
    ][:SPEAKERS]
    return [
        (np.concatenate(spoken[:ENROLMENT_CLIPS]), np.concatenate(spoken[ENROLMENT_CLIPS:]))
        for spoken in chosen
    ]


def test_callers_match_themselves_and_not_one_another(people):
    models = offline_models(None)

    def embed(samples):
        speech = collect_net_speech(samples, models.new_detector())
        return models.embed(speech), len(speech) / CALL_RATE_HZ

    enrolled = [embed(enrolment)[0] for enrolment, _ in people]
    calls = [embed(call) for _, call in people]
    scores = np.array(
        [
            [models.judge.compare(voice, other, seconds=s).score for other in enrolled]
            for voice, s in calls
        ]
    )
    own = np.diag(scores)
    others = scores[~np.eye(len(people), dtype=bool)]
    assert len(people) == SPEAKERS
    # 80 is meant to be reached by 1 % of impostors and missed by few genuine callers.
    assert np.count_nonzero(own >= 80) >= SPEAKERS - 1
    assert np.mean(others >= 80) <= 0.05
    assert own.mean() > others.mean() + 30
