"""How decisions look in a terminal."""

import pytest

from vivavoce.cli.show import coloured, fraud_text

RISKS = {"KnownFraudsterRisk": {"RiskScore": 3}, "VoiceSpoofingRisk": {"RiskScore": 61}}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "-"),
        ({"Decision": "NOT_ENOUGH_SPEECH"}, "NOT_ENOUGH_SPEECH"),
        (
            {"Decision": "NOT_ENOUGH_SPEECH", "EarlyVoiceSpoofingRisk": {"RiskScore": 12}},
            "NOT_ENOUGH_SPEECH (spoofing so far: 12)",
        ),
        (
            {"Decision": "LOW_RISK", "RiskDetails": RISKS},
            "LOW_RISK (known fraudster 3, spoofing 61)",
        ),
        (
            {"Decision": "HIGH_RISK", "Reasons": ["VOICE_SPOOFING"], "RiskDetails": RISKS},
            "HIGH_RISK (VOICE_SPOOFING; known fraudster 3, spoofing 61)",
        ),
    ],
)
def test_a_fraud_result_is_told_in_a_few_words(result, text):
    evaluation = {} if result is None else {"FraudDetectionResult": result}
    assert fraud_text(evaluation) == text
    assert coloured(text).plain == text
