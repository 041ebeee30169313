"""Amazon Connect's Set Voice ID and Check Voice ID blocks, as one Lambda function.

A contact flow invokes it with the parameter `action`:

- `start`, after its block "Start media streaming": the server begins to listen to the caller.
- `check`, as often as wanted: what the Check Voice ID block would have branched on.

It answers with texts only, by name, as a flow wants them. What fails is raised, so that the flow
takes the block's Error branch.

Environment: AWS_ENDPOINT_URL_VOICE_ID (the server), AWS_DATA_PATH (the folder of `vivavoce
sdk-path`, packed beside this file), VOICE_DOMAIN_ID, VOICE_ACCESS_KEY_ID, VOICE_SECRET_ACCESS_KEY.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

AUTHENTICATION = {
    "ACCEPT": "Authenticated",
    "REJECT": "NotAuthenticated",
    "NOT_ENOUGH_SPEECH": "Inconclusive",
    "SPEAKER_NOT_ENROLLED": "NotEnrolled",
    "SPEAKER_OPTED_OUT": "OptedOut",
}
FRAUD = {"HIGH_RISK": "HighRisk", "LOW_RISK": "LowRisk", "NOT_ENOUGH_SPEECH": "Inconclusive"}
ENROLLMENT = {"ENROLLED": "Enrolled", "OPTED_OUT": "OptedOut"}
"""By vivavoce's words, those of the Check Voice ID block. Source: Amazon Connect's flow language,
CheckVoiceId; which of them belongs to which is not documented."""

UNKNOWN = "Error"
"""What the block had no word for: no speaker was named, or the speaker has expired."""


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, str]:
    """Do what a contact flow asks for."""
    del context
    details = event["Details"]
    match details["Parameters"].get("action"):
        case "start":
            return start(details["ContactData"])
        case "check":
            return check(details["ContactData"])
        case other:
            raise ValueError(f"parameter action must be start or check, not {other!r}")


def start(contact: Mapping[str, Any]) -> dict[str, str]:
    """Let the server read the contact's audio; the attribute CustomerId says who the caller is."""
    audio = contact["MediaStreams"]["Customer"]["Audio"]
    if not audio:
        raise ValueError("there is no audio yet: the flow must start media streaming before")
    session = _voice_id().start_session(
        DomainId=os.environ["VOICE_DOMAIN_ID"],
        SessionName=contact["ContactId"],
        AudioSource=audio["StreamARN"],
        StartFragmentNumber=audio["StartFragmentNumber"],
        # A flow that tries again starts the same session.
        ClientToken=contact["ContactId"],
        **_speaker(contact),
    )["Session"]
    return {"sessionId": session["SessionId"]}


def check(contact: Mapping[str, Any]) -> dict[str, str]:
    """The words of all three checks, and the scores behind them."""
    evaluation = _voice_id().evaluate_session(
        DomainId=os.environ["VOICE_DOMAIN_ID"], SessionNameOrId=contact["ContactId"]
    )
    # Until there is audio there are no results.
    authentication = evaluation.get("AuthenticationResult", {})
    fraud = evaluation.get("FraudDetectionResult", {})
    risks = fraud.get("RiskDetails", {})
    scores = {
        "authenticationScore": authentication.get("Score"),
        "knownFraudsterScore": risks.get("KnownFraudsterRisk", {}).get("RiskScore"),
        "voiceSpoofingScore": risks.get("VoiceSpoofingRisk", {}).get("RiskScore"),
    }
    return {
        "voiceAuthentication": AUTHENTICATION.get(_decision(authentication), UNKNOWN),
        "fraudDetection": FRAUD.get(_decision(fraud), UNKNOWN),
        "enrollmentStatus": _enrollment(contact),
        **{name: str(score) for name, score in scores.items() if score is not None},
    }


def _decision(result: Mapping[str, Any]) -> str:
    return str(result.get("Decision", "NOT_ENOUGH_SPEECH"))


def _enrollment(contact: Mapping[str, Any]) -> str:
    speaker = _speaker(contact)
    if not speaker:
        return UNKNOWN
    client = _voice_id()
    try:
        found = client.describe_speaker(DomainId=os.environ["VOICE_DOMAIN_ID"], **speaker)
    except client.exceptions.ResourceNotFoundException:
        return "NotEnrolled"
    return ENROLLMENT.get(found["Speaker"]["Status"], "NotEnrolled")


def _speaker(contact: Mapping[str, Any]) -> dict[str, str]:
    customer_id = contact.get("Attributes", {}).get("CustomerId")
    return {"SpeakerId": customer_id} if customer_id else {}


@cache
def _voice_id() -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
    return boto3.client(
        "voice-id",
        # Lambda's own credentials are those of the function's role, which vivavoce does not know.
        aws_access_key_id=os.environ["VOICE_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["VOICE_SECRET_ACCESS_KEY"],
        # A flow waits 8 s at most.
        config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}),
    )
