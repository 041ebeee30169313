"""The Lambda function of the example, against botocore's own stub of the service."""

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.contact_flow import invoked as invoked_with
from tests.contact_flow import load_function
from tests.matroska import CONTACT
from vivavoce.api.description import data_path

DOMAIN_ID = "UcUuCPFOsAjzg9xoByUatN"
SESSION_ID = "id#aaaaaaaaaaaaaaaaaaaaaa"
ARN = "arn:aws:kinesisvideo:eu-west-2:111111111111:stream/connect-1/1571360125131"
NUMBER = "91343852333181531502161607852955530730504675150"
ASKED = {"DomainId": DOMAIN_ID, "SessionNameOrId": CONTACT}


@pytest.fixture
def function(monkeypatch):
    for name, value in {
        "AWS_DATA_PATH": str(data_path()),
        "AWS_DEFAULT_REGION": "us-east-1",
        "VOICE_DOMAIN_ID": DOMAIN_ID,
        "VOICE_ACCESS_KEY_ID": "VVAAAAAAAAAAAAAAAAAA",
        "VOICE_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    # The default session keeps the data path of whoever used it first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    module = load_function()
    yield module
    module._voice_id().close()


@pytest.fixture
def stub(function):
    with Stubber(function._voice_id()) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def invoked(action, *, arn: str | None = ARN, **attributes):
    return invoked_with(action, CONTACT, arn, NUMBER, **attributes)


@pytest.mark.parametrize("speaker", [{}, {"CustomerId": "customer-1"}], ids=["nobody", "claimed"])
def test_start_names_the_session_for_the_contact_and_its_stream(function, stub, speaker):
    named = {"SpeakerId": speaker["CustomerId"]} if speaker else {}
    stub.add_response(
        "start_session",
        {"Session": {"SessionId": SESSION_ID}},
        {
            "DomainId": DOMAIN_ID,
            "SessionName": CONTACT,
            "AudioSource": ARN,
            "StartFragmentNumber": NUMBER,
            "ClientToken": CONTACT,
            **named,
        },
    )
    answer = function.lambda_handler(invoked("start", **speaker), None)
    assert answer == {"sessionId": SESSION_ID}


@pytest.mark.parametrize(
    ("decision", "word"),
    [
        ("ACCEPT", "Authenticated"),
        ("REJECT", "NotAuthenticated"),
        ("NOT_ENOUGH_SPEECH", "Inconclusive"),
        ("SPEAKER_NOT_ENROLLED", "NotEnrolled"),
        ("SPEAKER_OPTED_OUT", "OptedOut"),
        ("SPEAKER_EXPIRED", "Error"),
        ("SPEAKER_ID_NOT_PROVIDED", "Error"),
    ],
)
def test_check_answers_authentication_in_the_words_of_the_block(function, stub, decision, word):
    result = {"AuthenticationResult": {"Decision": decision, "Score": 97}}
    stub.add_response("evaluate_session", result, ASKED)
    answer = function.lambda_handler(invoked("check"), None)
    assert answer["voiceAuthentication"] == word
    assert answer["authenticationScore"] == "97"


@pytest.mark.parametrize(
    ("decision", "word"),
    [("HIGH_RISK", "HighRisk"), ("LOW_RISK", "LowRisk"), ("NOT_ENOUGH_SPEECH", "Inconclusive")],
)
def test_check_answers_fraud_in_the_words_of_the_block(function, stub, decision, word):
    risks = {
        "KnownFraudsterRisk": {"RiskScore": 3},
        "VoiceSpoofingRisk": {"RiskScore": 61},
    }
    result = {"FraudDetectionResult": {"Decision": decision, "RiskDetails": risks}}
    stub.add_response("evaluate_session", result, ASKED)
    answer = function.lambda_handler(invoked("check"), None)
    assert answer == {
        "voiceAuthentication": "Inconclusive",
        "fraudDetection": word,
        "enrollmentStatus": "Error",
        "knownFraudsterScore": "3",
        "voiceSpoofingScore": "61",
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("ENROLLED", "Enrolled"),
        ("OPTED_OUT", "OptedOut"),
        ("PENDING", "NotEnrolled"),
        ("EXPIRED", "NotEnrolled"),
        (None, "NotEnrolled"),
    ],
)
def test_check_answers_the_enrolment_in_the_words_of_the_block(function, stub, status, word):
    stub.add_response("evaluate_session", {}, ASKED)
    asked = {"DomainId": DOMAIN_ID, "SpeakerId": "customer-1"}
    if status is None:
        stub.add_client_error(
            "describe_speaker", "ResourceNotFoundException", expected_params=asked
        )
    else:
        stub.add_response("describe_speaker", {"Speaker": {"Status": status}}, asked)
    answer = function.lambda_handler(invoked("check", CustomerId="customer-1"), None)
    assert answer["enrollmentStatus"] == word
    assert all(isinstance(value, str) for value in answer.values())


def test_what_fails_is_raised_for_the_flows_error_branch(function, stub):
    stub.add_client_error("evaluate_session", "ThrottlingException")
    with pytest.raises(ClientError):
        function.lambda_handler(invoked("check"), None)


@pytest.mark.parametrize("action", ["stop", None])
def test_an_unknown_action_is_refused(function, action):
    with pytest.raises(ValueError, match="must be start or check"):
        function.lambda_handler(invoked(action), None)


def test_a_flow_that_has_not_started_media_streaming_is_told_so(function):
    with pytest.raises(ValueError, match="start media streaming"):
        function.lambda_handler(invoked("start", arn=None), None)
