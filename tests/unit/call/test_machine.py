import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fakes import (
    LoudDetector,
    ScriptedDetector,
    cut,
    silence,
    spoof_evidence,
    towards,
    voice,
    voices_found,
)
from vivavoce.audio.arrays import CALL_RATE_HZ
from vivavoce.call.machine import (
    Audio,
    CallMachine,
    Configure,
    EvidenceAnswer,
    EvidenceNeeded,
    EvidenceReady,
    Gap,
    Plan,
    SpeechAhead,
    SpeechComplete,
)
from vivavoce.call.speech import FRAME_SAMPLES

S = CALL_RATE_HZ


def machine(**plan):
    return CallMachine(LoudDetector(), Plan(**plan))


def feed(call, *items):
    """What a call tells of these items, without its end."""
    return [event for item in items for event in call.push(item)]


def spoken(seconds):
    return Audio(samples=voice(3, seconds))


def requests(events):
    """The requests for evidence among these events."""
    return [event for event in events if isinstance(event, EvidenceNeeded)]


def net_s(events):
    """Net speech behind each request for evidence, in whole seconds."""
    return [round(len(request.speech) / S) for request in requests(events)]


def facts(events):
    """Everything that events say, comparable."""
    return [
        (type(event).__name__, event.number, event.start, event.end, event.speech.tobytes())
        if isinstance(event, EvidenceNeeded)
        else type(event).__name__
        for event in events
    ]


def run(items, pieces_of):
    """Replay a call; configurations and gaps come where they were, audio in other pieces."""
    call = machine(authentication_samples=S, fraud_samples=2 * S, limit_samples=4 * S)
    events = []
    for item in items:
        if isinstance(item, Audio):
            events += feed(call, *(Audio(samples=piece) for piece in pieces_of(item.samples)))
        else:
            events += call.push(item)
    return [*facts(events), *facts(call.finish())], call.progress


items_of_a_call = st.lists(
    st.one_of(
        st.builds(lambda s: Audio(samples=voice(3, s / 10)), st.integers(0, 25)),
        st.builds(lambda s: Audio(samples=silence(s / 10)), st.integers(0, 10)),
        st.builds(lambda n: Gap(samples=n), st.integers(0, 3 * S)),
        st.builds(lambda s: Configure(authentication_samples=s * S // 2), st.integers(1, 6)),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(items=items_of_a_call, cuts=st.lists(st.integers(0, 3 * S), max_size=20))
@example(
    items=[
        spoken(2.4),
        Audio(samples=silence(0.5)),
        Gap(samples=0),
        spoken(1.7),
        Audio(samples=silence(0.4)),
    ],
    cuts=[640],
)
def test_the_same_call_gives_the_same_events_however_it_is_cut(items, cuts):
    assert run(items, lambda samples: cut(samples, cuts)) == run(items, lambda samples: [samples])


@pytest.mark.parametrize("step", [7, 160, 4096])
def test_a_replay_in_packets_gives_the_events_of_the_recording(step):
    items = [Audio(samples=voice(2, 1.3)), Gap(samples=500), Audio(samples=voice(3, 1.4))]
    expected, progress = run(items, lambda samples: [samples])
    packets = run(items, lambda samples: cut(samples, range(step, len(samples), step)))
    assert packets == (expected, progress)
    assert [event[:2] for event in expected] == [("EvidenceNeeded", 1), ("EvidenceNeeded", 2)]


def test_between_checkpoints_there_is_a_look_ahead_for_each_new_window():
    call = machine()
    events = [event for _ in range(320) for event in call.push(spoken(0.1))]
    told = [
        (type(event).__name__, round(len(event.speech) / S, 1))
        for event in events
        if isinstance(event, (EvidenceNeeded, SpeechAhead))
    ]
    ahead = [seconds for name, seconds in told if name == "SpeechAhead"]
    assert ahead == [4.5, 7.5, 10.5, 13.5, 16.5, 19.5, 22.5, 25.5, 28.5]
    assert net_s(events) == [3, 5, 10, 20, 30]


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 18 * S), max_size=20),
    spoofs=st.lists(
        st.none() | st.builds(lambda far: spoof_evidence(distance=far), st.sampled_from([0, 2])),
        min_size=3,
        max_size=3,
    ),
)
def test_the_quality_follows_the_latest_answer_however_the_call_is_cut(cuts, spoofs):
    samples = np.concatenate([silence(5), voice(3, 12), silence(1)])

    def qualities(pieces):
        call, seen = machine(), []
        for request in requests(feed(call, *(Audio(samples=piece) for piece in pieces))):
            spoof = spoofs[request.number - 1]
            call.accept(EvidenceAnswer(number=request.number, vector=towards(1), spoof=spoof))
            seen.append(call.progress.quality)
        return seen

    expected = ["GOOD"]
    for spoof in spoofs:
        latest = expected[-1] if spoof is None else "GOOD" if spoof.certainty else "UNFAMILIAR"
        expected.append(latest)
    assert qualities(cut(samples, cuts)) == qualities([samples]) == expected[1:]


def test_evidence_is_taken_at_the_checkpoints_and_the_last_ends_the_collection():
    call = machine(authentication_samples=5 * S)
    events = feed(call, spoken(40))
    assert net_s(events) == [3, 5, 10, 20, 30]
    assert [request.number for request in requests(events)] == [1, 2, 3, 4, 5]
    assert isinstance(events[-1], SpeechComplete)
    assert call.complete
    assert call.progress.received_samples == 40 * S
    assert 30 * S <= call.progress.net_speech_samples < 30 * S + FRAME_SAMPLES


def test_checkpoints_that_fall_together_are_one():
    always = (3 * S, 5 * S, 10 * S, 20 * S, 30 * S)
    for authentication_s in (5, 10):
        assert Plan(authentication_samples=authentication_s * S).checkpoints() == always
    assert Plan(authentication_samples=7 * S).checkpoints() == (*always[:2], 7 * S, *always[2:])


def test_evidence_holds_all_speech_so_far_and_where_it_was():
    call = machine(authentication_samples=5 * S, fraud_samples=10 * S)
    events = feed(call, Audio(samples=silence(2)), spoken(3), Audio(samples=silence(4)), spoken(9))
    _, first, second = requests(events)
    np.testing.assert_array_equal(second.speech[: len(first.speech)], first.speech)
    assert first.start == second.start
    assert abs(first.start - 2 * S) <= FRAME_SAMPLES
    # The silence lies between: 5 s of speech are over at 11 s.
    assert abs(first.end - 11 * S) <= 3 * FRAME_SAMPLES


def test_after_completion_nothing_more_is_collected_or_asked():
    call = machine()
    feed(call, spoken(31))
    before = call.speech()
    events = feed(call, spoken(40), Gap(samples=800), Configure(authentication_samples=5 * S))
    assert [*events, *call.finish()] == []
    np.testing.assert_array_equal(call.speech(), before)
    assert (call.progress.received_samples, call.progress.lost_samples) == (71 * S, 800)


def test_who_goes_on_speaking_after_completion_is_not_noise():
    call = machine()
    feed(call, Audio(samples=silence(5)), spoken(30), Audio(samples=silence(1)))
    assert call.progress.quality == "GOOD"
    feed(call, spoken(30))
    assert call.progress.quality == "GOOD"


def test_the_end_of_a_call_takes_what_no_evidence_covers():
    call = machine()
    assert net_s(feed(call, spoken(12))) == [3, 5, 10]
    assert net_s(call.finish()) == [12]


def test_the_end_asks_nothing_that_was_asked():
    call = machine(authentication_samples=10 * S)
    count = 10 * S // FRAME_SAMPLES + 1  # the frame that reaches 10 s is the last one
    call = CallMachine(ScriptedDetector([1] * count), Plan())
    events = feed(call, spoken(12))
    assert net_s(events) == [3, 5, 10]
    assert call.finish() == []


def test_a_call_too_short_to_be_judged_asks_nothing():
    call = machine()
    assert feed(call, spoken(2.9)) == []
    assert call.finish() == []
    call = machine()
    assert net_s(feed(call, spoken(3.9))) == [3]
    assert net_s(call.finish()) == [4]


def test_a_lowered_minimum_that_is_reached_already_is_asked_for_at_once():
    call = machine()
    assert net_s(feed(call, spoken(8))) == [3, 5]
    assert net_s(call.push(Configure(authentication_samples=7 * S))) == [8]
    assert net_s(feed(call, spoken(4))) == [10]  # the other checkpoints stay


def test_a_lowered_minimum_that_evidence_reaches_needs_no_more():
    call = machine()
    assert net_s(feed(call, spoken(7))) == [3, 5]
    assert call.push(Configure(authentication_samples=5 * S)) == []


def test_a_raised_minimum_is_asked_for_once_there_is_evidence_short_of_it():
    call = machine(authentication_samples=5 * S)
    assert net_s(feed(call, spoken(9))) == [3, 5]
    events = call.push(Configure(authentication_samples=8 * S))
    assert net_s(events) == [9]
    assert call.push(Configure(authentication_samples=8 * S)) == []


def test_a_minimum_not_reached_yet_becomes_a_checkpoint():
    call = machine()
    feed(call, spoken(4))
    assert call.push(Configure(authentication_samples=6 * S)) == []
    assert net_s(feed(call, spoken(4))) == [5, 6]


def test_a_gap_is_counted_and_moves_what_follows():
    call = machine()
    events = feed(call, spoken(6), Gap(samples=3 * S), spoken(6))
    *_, request = requests(events)
    assert request.end - request.start > len(request.speech) + 3 * S - FRAME_SAMPLES
    progress = call.progress
    assert (progress.received_samples, progress.lost_samples) == (12 * S, 3 * S)
    assert progress.quality == "LOSSY"


def test_an_answer_becomes_evidence_once():
    call = machine(authentication_samples=5 * S)
    # Engines may answer in any order.
    for request in reversed(requests(feed(call, spoken(11)))):
        answer = EvidenceAnswer(number=request.number, vector=towards(1), spoof=spoof_evidence())
        (ready,) = call.accept(answer)
        assert isinstance(ready, EvidenceReady)
        assert ready.number == request.number
        assert ready.net_speech_samples == len(request.speech)
        assert (ready.start, ready.end) == (request.start, request.end)
        assert ready.vector is answer.vector
        assert ready.spoof is answer.spoof
        with pytest.raises(KeyError):
            call.accept(answer)


def test_of_answers_in_any_order_the_one_on_the_most_speech_says_what_the_audio_is_like():
    call = machine()
    asked = requests(feed(call, Audio(samples=silence(5)), spoken(11), Audio(samples=silence(1))))
    for request, distance in zip(reversed(asked), (2.0, 0.0, 0.0), strict=True):
        spoof = spoof_evidence(distance=distance)
        call.accept(EvidenceAnswer(number=request.number, vector=towards(1), spoof=spoof))
    assert call.progress.quality == "UNFAMILIAR"


def babble(seed, seconds):
    """A voice that is unlike that of another seed; the detector hears it as speech."""
    rng = np.random.default_rng(seed)
    return rng.integers(-3000, 3001, round(seconds * S)).astype(np.int16)


def conversation(caller, agent):
    return Audio(samples=caller, agent=agent)


def cut_in_two(item, cuts):
    agents = cut(item.agent, cuts)
    pieces = zip(cut(item.samples, cuts), agents, strict=True)
    return [Audio(samples=heard, agent=said) for heard, said in pieces]


def with_echo(seconds, *, caller=0.0, delay=400):
    """The agent speaks for some seconds, and is heard in the caller's channel; then the caller."""
    said = np.concatenate([babble(1, seconds), silence(caller + 1)])
    heard = np.concatenate([np.zeros(delay, np.int16), said[:-delay] // 2])
    heard[round((seconds + 0.5) * S) :][: round(caller * S)] = babble(2, caller)
    return conversation(heard, said)


def test_an_echo_of_the_agent_is_not_the_callers_speech():
    call = machine()
    assert feed(call, with_echo(8)) == []
    assert call.progress.net_speech_samples < 2 * FRAME_SAMPLES
    assert call.progress.quality == "TWO_VOICES"
    assert call.finish() == []


def test_what_the_caller_says_beside_an_echo_is_all_that_is_collected():
    call = machine()
    feed(call, with_echo(6, caller=4))
    speech = call.speech()
    assert abs(len(speech) - 4 * S) < S // 4
    # The caller speaks twice as loudly as the echo is.
    assert np.abs(speech.astype(int)).mean() > 1450


def test_a_little_of_the_agent_is_left_out_and_not_worth_a_word():
    call = machine()
    item = with_echo(1, caller=12)
    feed(call, item)
    assert call.progress.net_speech_samples < 12.3 * S
    assert call.progress.quality != "TWO_VOICES"


def test_an_agent_who_is_not_heard_changes_nothing():
    caller = np.concatenate([babble(2, 5), silence(2), babble(3, 8)])
    alone, beside = machine(), machine()
    agent = babble(1, 15)
    assert facts(feed(alone, Audio(samples=caller))) == facts(
        feed(beside, conversation(caller, agent))
    )
    assert alone.progress == beside.progress


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 9 * S), max_size=15),
    lost=st.integers(0, 2 * S),
)
def test_a_call_with_an_echo_gives_the_same_however_it_is_cut(cuts, lost):
    def told(pieces_of):
        call = machine(authentication_samples=S, fraud_samples=2 * S, limit_samples=4 * S)
        items = [*pieces_of(with_echo(3, caller=2)), Gap(samples=lost), *pieces_of(with_echo(2))]
        return facts([*feed(call, *items), *call.finish()]), call.progress

    assert told(lambda item: cut_in_two(item, cuts)) == told(lambda item: [item])


def test_of_answers_in_any_order_the_one_on_the_most_speech_says_whether_voices_are_two():
    call = machine()
    asked = requests(feed(call, Audio(samples=silence(5)), spoken(21), Audio(samples=silence(1))))
    founds = (None, voices_found(two=True), voices_found(two=False), None)
    for request, voices in zip(reversed(asked), founds, strict=True):
        answer = EvidenceAnswer(
            number=request.number, vector=towards(1), spoof=spoof_evidence(), voices=voices
        )
        (ready,) = call.accept(answer)
        assert isinstance(ready, EvidenceReady)
        assert ready.voices is voices
    assert call.progress.quality == "TWO_VOICES"
