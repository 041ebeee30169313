"""Decisions are given out again as they were; tests/integration decides them on a store."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import spoof_evidence, straight_judge
from vivavoce.scoring.spoofing import VERDICTS
from vivavoce.sessions.evaluation import FraudOutcomeGiven, SpoofingGiven, _fraud_from

numbers = st.floats(-100, 100)
scores = st.integers(0, 100)
spoofings = st.builds(
    SpoofingGiven,
    risk=scores,
    certainty=st.none() | st.floats(0, 1),
    llr=st.none() | numbers,
    verdicts=st.just({})
    | st.fixed_dictionaries(dict.fromkeys(VERDICTS, st.tuples(scores, numbers))),
    windows=st.lists(st.tuples(*[numbers] * 5), max_size=3).map(tuple),
    reference=st.none() | st.text(),
)
outcomes = st.builds(
    FraudOutcomeGiven,
    result_id=st.text(),
    decision=st.sampled_from(["HIGH_RISK", "LOW_RISK", "NOT_ENOUGH_SPEECH"]),
    risk_threshold=scores,
    watchlist_id=st.text(),
    reasons=st.lists(st.sampled_from(["KNOWN_FRAUDSTER", "VOICE_SPOOFING"])).map(tuple),
    known_fraudster_risk=st.none() | scores,
    fraudster_id=st.none() | st.text(),
    spoofing=st.none() | spoofings,
    started_ms=st.none() | st.integers(),
    ended_ms=st.none() | st.integers(),
)


@given(outcomes)
def test_a_stored_fraud_decision_comes_back_as_it_was(outcome):
    assert _fraud_from(json.loads(json.dumps(asdict(outcome), allow_nan=False))) == outcome


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=14),
    st.sampled_from([0.0, 1.5, 2.0]),
)
def test_what_is_given_of_spoofing_can_be_stored(raws, distance):
    synthetic, playback = zip(*raws, strict=True)
    evidence = spoof_evidence(synthetic, playback, distance=distance, windows=len(raws))
    given_out = SpoofingGiven.of(evidence, straight_judge(), seconds=10)
    judged = distance < 2
    assert tuple(given_out.verdicts) == (VERDICTS if judged else ())
    assert (given_out.llr is not None) == judged
    assert given_out.reference_used is False
    assert len(given_out.windows) == len(raws)
    assert json.loads(json.dumps(asdict(given_out), allow_nan=False))["risk"] == given_out.risk
