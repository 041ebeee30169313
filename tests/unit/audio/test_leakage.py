import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import cut
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.audio.g711 import decode_mu_law, encode_mu_law
from vivavoce.audio.leakage import LONGEST_DELAY_MS, WINDOW_MS, LeakageFinder

S = CALL_RATE_HZ
FRAME = 256
WINDOW = WINDOW_MS * S // 1000


def babble(seed, seconds, level=3000):
    """Noise in syllables: as unlike any other as two voices are."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0.1, 1, round(seconds * 10)), S // 10)
    return (level * loudness * rng.standard_normal(len(loudness))).clip(-32768, 32767)


def pcm(audio):
    return np.rint(audio).clip(-32768, 32767).astype(np.int16)


def through_mu_law(audio):
    return decode_mu_law(encode_mu_law(pcm(audio)))


def echo(audio, *, delay_ms, gain_db):
    late = np.concatenate([np.zeros(delay_ms * S // 1000), audio])[: len(audio)]
    return late * 10 ** (gain_db / 20)


def verdicts(caller, agent, *, cuts=()):
    """Of each frame whether it is leaked, asked for as soon as it came."""
    finder, found = LeakageFinder(), []
    pieces = zip(cut(caller, cuts), cut(agent, cuts), strict=True)
    came = 0
    for heard, said in pieces:
        finder.push(heard, said)
        came += len(heard)
        while (len(found) + 1) * FRAME <= came:
            found.append(finder.is_leaked((len(found) + 1) * FRAME))
    return found


@pytest.mark.parametrize("delay_ms", [0, 7, 120, LONGEST_DELAY_MS])
@pytest.mark.parametrize("gain_db", [-6, -30])
def test_an_echo_of_the_agent_is_leaked_from_its_first_frames_on(delay_ms, gain_db):
    agent = np.concatenate([np.zeros(2 * S), babble(1, 3)])
    caller = through_mu_law(echo(agent, delay_ms=delay_ms, gain_db=gain_db))
    found = verdicts(caller, through_mu_law(agent))
    begins = (2 * S + delay_ms * S // 1000) // FRAME
    assert not any(found[:begins])
    assert all(found[begins + 1 :])


def test_an_echo_that_is_later_than_any_is_not_found():
    agent = babble(1, 4)
    caller = echo(agent, delay_ms=LONGEST_DELAY_MS + 5, gain_db=-6)
    assert not any(verdicts(pcm(caller), pcm(agent)))


def test_another_voice_is_not_leaked():
    assert not any(verdicts(pcm(babble(1, 5)), pcm(babble(2, 5))))


@pytest.mark.parametrize(("below_db", "leaked"), [(0, True), (-4, True), (-12, False)])
def test_who_speaks_well_over_the_echo_is_not_leaked(below_db, leaked):
    agent, caller = babble(1, 4), babble(2, 4)
    both = caller + echo(agent, delay_ms=80, gain_db=below_db)
    settled = verdicts(pcm(both), pcm(agent))[2 * WINDOW // FRAME :]
    assert (np.mean(settled) > 0.9, np.mean(settled) < 0.1) == (leaked, not leaked)


def test_a_room_and_a_codec_do_not_hide_it():
    rng = np.random.default_rng(5)
    response = rng.standard_normal(200) * np.exp(-np.arange(200) / 40)
    response[0] = 4
    agent = babble(1, 5)
    reverberant = np.convolve(agent, response)[: len(agent)] * 0.02
    caller = through_mu_law(echo(reverberant, delay_ms=60, gain_db=0))
    assert np.mean(verdicts(caller, pcm(agent))[10:]) > 0.95


def test_what_has_no_agent_beside_it_is_never_leaked():
    agent = pcm(babble(1, 2))
    finder = LeakageFinder()
    finder.push(agent, None)
    assert not finder.is_leaked(len(agent))
    assert not any(verdicts(agent, np.zeros(len(agent), np.int16)))
    assert not any(verdicts(np.zeros(len(agent), np.int16), agent))


def test_the_idle_noise_of_a_line_is_no_agent():
    noise = through_mu_law(np.random.default_rng(0).integers(-8, 9, 2 * S))
    assert not any(verdicts(noise, noise))


def test_an_agent_that_is_heard_from_some_moment_on_is_known_from_there():
    agent = pcm(babble(1, 4))
    finder = LeakageFinder()
    finder.push(agent[: 2 * S], None)
    finder.push(agent[2 * S :], agent[2 * S :])
    assert not finder.is_leaked(2 * S)
    assert finder.is_leaked(3 * S)
    finder.push(agent[:S], None)
    assert not finder.is_leaked(5 * S)


def test_echoes_are_not_followed_across_a_gap():
    agent = pcm(babble(1, 4))
    finder = LeakageFinder()
    finder.push(agent[: 2 * S], agent[: 2 * S])
    finder.gap(100)
    finder.push(agent[2 * S :], agent[2 * S :])
    assert not finder.is_leaked(2 * S)
    assert finder.is_leaked(4 * S + 100)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * S), max_size=15))
def test_the_verdicts_are_the_same_however_the_audio_is_cut(cuts):
    agent, caller = babble(1, 3), babble(2, 3)
    caller[S:] = echo(agent, delay_ms=50, gain_db=-10)[S:]
    whole = verdicts(pcm(caller), pcm(agent))
    assert verdicts(pcm(caller), pcm(agent), cuts=cuts) == whole
    assert {True, False} == set(whole)


@pytest.mark.parametrize("step", [7, 160, 4096])
def test_the_verdicts_are_the_same_in_packets(step):
    agent = pcm(babble(1, 2))
    assert verdicts(agent, agent, cuts=range(step, 2 * S, step)) == verdicts(agent, agent)


def test_what_it_remembers_is_bounded():
    finder = LeakageFinder()
    piece = np.zeros(S // 2, np.int16)
    for _ in range(40):
        finder.push(piece, piece)
    assert finder.kept_bytes < 100_000
