import pytest

from vivavoce.scoring.decide import (
    FraudOutcome,
    authentication_decision,
    fraud_outcome,
    speaker_decision,
)


@pytest.mark.parametrize(
    ("claimed", "status", "decision"),
    [
        (False, None, "SPEAKER_ID_NOT_PROVIDED"),
        (False, "ENROLLED", "SPEAKER_ID_NOT_PROVIDED"),
        (True, "OPTED_OUT", "SPEAKER_OPTED_OUT"),
        (True, None, "SPEAKER_NOT_ENROLLED"),
        (True, "PENDING", "SPEAKER_NOT_ENROLLED"),
        (True, "EXPIRED", "SPEAKER_EXPIRED"),
        (True, "ENROLLED", None),
    ],
)
def test_the_state_of_the_speaker_decides_first(claimed, status, decision):
    assert speaker_decision(claimed=claimed, status=status) == decision


@pytest.mark.parametrize(
    ("score", "threshold", "decision"),
    [(90, 90, "ACCEPT"), (89, 90, "REJECT"), (0, 0, "ACCEPT"), (100, 100, "ACCEPT")],
)
def test_the_threshold_itself_is_accepted(score, threshold, decision):
    assert authentication_decision(score, threshold=threshold) == decision


@pytest.mark.parametrize(
    ("known", "spoofing", "decision", "reasons"),
    [
        (49, 49, "LOW_RISK", ()),
        (50, 49, "HIGH_RISK", ("KNOWN_FRAUDSTER",)),
        (49, 50, "HIGH_RISK", ("VOICE_SPOOFING",)),
        (50, 100, "HIGH_RISK", ("KNOWN_FRAUDSTER", "VOICE_SPOOFING")),
    ],
)
def test_each_risk_that_meets_the_threshold_is_a_reason(known, spoofing, decision, reasons):
    assert fraud_outcome(known_fraudster=known, spoofing=spoofing, threshold=50) == FraudOutcome(
        decision=decision, reasons=reasons
    )
