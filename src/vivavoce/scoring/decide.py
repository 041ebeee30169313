"""The decisions, as pure functions of evidence and configuration.

Source of the orders of rules: voice-id-behaviour.md sections 8.2 and 8.3.
"""

from dataclasses import dataclass
from typing import Literal

AuthenticationDecision = Literal[
    "ACCEPT",
    "REJECT",
    "NOT_ENOUGH_SPEECH",
    "SPEAKER_NOT_ENROLLED",
    "SPEAKER_OPTED_OUT",
    "SPEAKER_ID_NOT_PROVIDED",
    "SPEAKER_EXPIRED",
]
FraudDecision = Literal["HIGH_RISK", "LOW_RISK", "NOT_ENOUGH_SPEECH"]
FraudReason = Literal["KNOWN_FRAUDSTER", "VOICE_SPOOFING"]


def speaker_decision(*, claimed: bool, status: str | None) -> AuthenticationDecision | None:
    """What the claimed speaker's state decides before any speech is heard, or None.

    Args:
        claimed: whether the session names a speaker.
        status: the speaker's status, or None if there is no such speaker.
    """
    if not claimed:
        return "SPEAKER_ID_NOT_PROVIDED"
    if status == "OPTED_OUT":
        return "SPEAKER_OPTED_OUT"
    if status is None or status == "PENDING":
        return "SPEAKER_NOT_ENROLLED"
    if status == "EXPIRED":
        return "SPEAKER_EXPIRED"
    return None


def authentication_decision(score: int, *, threshold: int) -> AuthenticationDecision:
    """Accept from the threshold on."""
    return "ACCEPT" if score >= threshold else "REJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudOutcome:
    """A fraud decision with its reasons."""

    decision: FraudDecision
    reasons: tuple[FraudReason, ...] = ()


def fraud_outcome(*, known_fraudster: int, spoofing: int, threshold: int) -> FraudOutcome:
    """High risk if either risk score meets the threshold; one threshold serves both."""
    risks: list[tuple[int, FraudReason]] = [
        (known_fraudster, "KNOWN_FRAUDSTER"),
        (spoofing, "VOICE_SPOOFING"),
    ]
    met: list[FraudReason] = [reason for score, reason in risks if score >= threshold]
    return FraudOutcome(decision="HIGH_RISK" if met else "LOW_RISK", reasons=tuple(met))
