import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from tests import rows
from tests.rows import FRAUDSTER_ID, JOB_ID, SESSION_ID, SPEAKER_ID, WATCHLIST_ID
from vivavoce import errors
from vivavoce.sessions import announcements
from vivavoce.sessions.announcements import EnrollmentData, RegistrationData
from vivavoce.sessions.evaluation import (
    AuthenticationOutcome,
    Evaluation,
    FraudOutcomeGiven,
    SpoofingGiven,
)

FOLDER = Path(__file__).parents[3] / "docs" / "reference" / "events"
DOMAIN_ID = "7777aaaaaaaa7777777777"
ARN = f"arn:aws:voiceid:eu-west-2:123456789012:domain/{DOMAIN_ID}"
CUSTOMER_ID = "customer-4711"
NOW_MS = 1_633_387_987_007

SCHEMAS = {
    schema["properties"]["detail-type"]["const"]: schema
    for schema in (json.loads(file.read_text("utf-8")) for file in FOLDER.glob("*.schema.json"))
}


def validate(body):
    validator = Draft202012Validator(
        SCHEMAS[body["detail-type"]], format_checker=FormatChecker(["date-time", "uuid"])
    )
    validator.validate(json.loads(json.dumps(body)))


def checked(announcement):
    """The detail of an announcement whose whole envelope was held against its schema."""
    validate(announcement.body)
    assert CUSTOMER_ID not in json.dumps(announcement.body)
    return announcement.body["detail"]


SESSION = rows.session(
    domain_id=DOMAIN_ID,
    customer_id=CUSTOMER_ID,
    fraud_detection_enabled=True,
    stream_started_ms=NOW_MS - 60_000,
)
EVIDENCE = rows.evidence(started_ms=NOW_MS - 50_000, ended_ms=NOW_MS - 20_000)
ACCEPTED = AuthenticationOutcome(
    result_id="dsLMOu3G3fB73RzoP6UYZH",
    decision="ACCEPT",
    acceptance_threshold=90,
    score=97,
    speaker_id=SPEAKER_ID,
    started_ms=NOW_MS - 2_000,
    ended_ms=NOW_MS - 1_000,
)
RISKY = FraudOutcomeGiven(
    result_id="UcUuCPFOsAjzg9xoByUatN",
    decision="HIGH_RISK",
    risk_threshold=50,
    watchlist_id=WATCHLIST_ID,
    reasons=("KNOWN_FRAUDSTER",),
    known_fraudster_risk=80,
    fraudster_id=FRAUDSTER_ID,
    spoofing=SpoofingGiven(
        risk=3,
        certainty=0.875,
        llr=-4.5,
        verdicts={"synthetic": (5, -4.0), "playback": (1, -6.25)},
        windows=((0.0, 4.022, -3.5, -6.125, 1.125),),
    ),
    started_ms=NOW_MS - 2_000,
    ended_ms=NOW_MS - 1_000,
)
JOB = rows.job(
    domain_id=DOMAIN_ID,
    name="secret-name",
    options={
        "ExistingEnrollmentAction": "SKIP",
        "FraudDetectionConfig": {
            "FraudDetectionAction": "FAIL",
            "RiskThreshold": 50,
            "WatchlistIds": [WATCHLIST_ID],
        },
    },
)
REGISTRATION = replace(
    JOB,
    kind="fraudster-registration",
    options={
        "DuplicateRegistrationAction": "SKIP",
        "FraudsterSimilarityThreshold": 90,
        "WatchlistIds": [WATCHLIST_ID],
    },
)


def test_there_is_a_schema_for_each_of_the_eight_detail_types():
    assert sorted(SCHEMAS) == [
        "VoiceId Batch Fraudster Registration Action",
        "VoiceId Batch Speaker Enrollment Action",
        "VoiceId Evaluate Session Action",
        "VoiceId Fraudster Action",
        "VoiceId Session Speaker Enrollment Action",
        "VoiceId Speaker Action",
        "VoiceId Start Session Action",
        "VoiceId Update Session Action",
    ]


def test_the_schemas_are_sound_and_closed():
    def closed(node):
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert node["additionalProperties"] is False
                assert sorted(node["required"]) == sorted(node["properties"])
            for child in node.values():
                closed(child)
        elif isinstance(node, list):
            for child in node:
                closed(child)

    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
        closed(schema)


def test_the_failed_delete_that_the_specification_shows_fits_its_schema():
    validate(
        {
            "version": "0",
            "id": "b75d2fd3-6d89-3892-168a-9e1dab06268f",
            "detail-type": "VoiceId Speaker Action",
            "source": "aws.voiceid",
            "account": "123456789012",
            "time": "2021-10-04T22:54:47.000Z",
            "region": "us-east-1",
            "resources": ["arn:aws:voiceid:us-east-1:123456789012:domain/7777aaaaaaaa7777777777"],
            "detail": {
                "sourceId": "d37TQH3dw3jcjxi8Cj3jtQ",
                "action": "DELETE_SPEAKER",
                "status": "FAILED",
                "domainId": "7777aaaaaaaa7777777777",
                "generatedSpeakerId": "id#12345isQLFGrsH87123456",
                "data": None,
                "systemAttributes": None,
                "errorInfo": {
                    "errorCode": 404,
                    "errorMessage": "The requested speaker does not exist",
                    "errorType": "RESOURCE_NOT_FOUND",
                },
            },
        }
    )


def test_we_tell_of_a_failed_delete_as_the_specification_shows_it():
    announcement = announcements.speaker(
        ARN,
        "DELETE_SPEAKER",
        speaker_id=SPEAKER_ID,
        now_ms=1_633_388_087_000,
        error=errors.NotFound("SPEAKER"),
    )
    checked(announcement)
    body = announcement.body
    assert {**body, "id": "", "detail": {**body["detail"], "sourceId": ""}} == {
        "version": "0",
        "id": "",
        "detail-type": "VoiceId Speaker Action",
        "source": "aws.voiceid",
        "account": "123456789012",
        "time": "2021-10-04T22:54:47.000Z",
        "region": "eu-west-2",
        "resources": [ARN],
        "detail": {
            "sourceId": "",
            "action": "DELETE_SPEAKER",
            "status": "FAILED",
            "domainId": DOMAIN_ID,
            "generatedSpeakerId": SPEAKER_ID,
            "data": None,
            "systemAttributes": None,
            "errorInfo": {
                "errorCode": 404,
                "errorMessage": "The requested speaker does not exist",
                "errorType": "RESOURCE_NOT_FOUND",
            },
        },
    }


def test_no_two_events_have_an_id_or_a_source_id_in_common():
    one, other = (announcements.update_session(ARN, SESSION, now_ms=NOW_MS) for _ in range(2))
    assert one.body["id"] != other.body["id"]
    assert one.body["detail"]["sourceId"] != other.body["detail"]["sourceId"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NotFound("DOMAIN"), (404, "RESOURCE_NOT_FOUND")),
        (errors.Conflict("SPEAKER_NOT_SET", "no speaker"), (409, "CONFLICT")),
        (errors.QuotaExceeded("full"), (402, "SERVICE_QUOTA_EXCEEDED")),
        (errors.AtCapacity("full"), (402, "SERVICE_QUOTA_EXCEEDED")),
        (errors.NotEnoughSpeech(needed_s=30, got_s=3), (400, "NOT_ENOUGH_SPEECH")),
        (errors.InvalidRequest("no"), (400, "BAD_REQUEST")),
        (errors.BadAudioParameters("The provided sample rate is invalid."), (400, "BAD_REQUEST")),
        (errors.UnreadableRecording("no"), (400, "BAD_REQUEST")),
        (errors.AccessDenied("no"), (403, "ACCESS_DENIED")),
        (errors.KeyDenied("k", "disabled"), (403, "ACCESS_DENIED")),
        (errors.Throttled(), (429, "THROTTLED")),
    ],
)
def test_an_expected_error_is_told_in_its_own_words(error, expected):
    info = checked(
        announcements.speaker(
            ARN, "DELETE_SPEAKER", speaker_id=SPEAKER_ID, now_ms=NOW_MS, error=error
        )
    )["errorInfo"]
    assert (info["errorCode"], info["errorType"]) == expected
    assert info["errorMessage"] == str(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("password=hunter2"), errors.KeyServiceDown("10.1.2.3 is down")]
)
def test_an_unexpected_error_keeps_what_it_says_to_itself(error):
    info = checked(
        announcements.speaker(
            ARN, "OPT_OUT_SPEAKER", speaker_id=SPEAKER_ID, now_ms=NOW_MS, error=error
        )
    )["errorInfo"]
    assert info == {
        "errorCode": 500,
        "errorMessage": "Internal Server Error",
        "errorType": "INTERNAL_ERROR",
    }


def test_a_customers_own_id_never_gets_into_an_event():
    announcement = announcements.speaker(
        ARN,
        "DELETE_SPEAKER",
        speaker_id=CUSTOMER_ID,
        now_ms=NOW_MS,
        error=errors.NotFound("SPEAKER"),
    )
    assert checked(announcement)["generatedSpeakerId"] is None


def test_what_is_about_nothing_known_keeps_nothing_else_waiting():
    one, other = (
        announcements.speaker(
            ARN,
            "DELETE_SPEAKER",
            speaker_id="gone",
            now_ms=NOW_MS,
            error=errors.NotFound("SPEAKER"),
        )
        for _ in range(2)
    )
    assert one.resource != other.resource


def test_events_of_a_session_and_of_its_failures_are_one_sequence():
    ours = [
        announcements.start_session(ARN, SESSION, status="STREAMING_STARTED", now_ms=NOW_MS),
        announcements.update_session(ARN, SESSION_ID, now_ms=NOW_MS, error=RuntimeError()),
        announcements.evaluate_session(ARN, SESSION, now_ms=NOW_MS, error=RuntimeError()),
        announcements.session_enrollment(ARN, SESSION, now_ms=NOW_MS),
    ]
    assert {announcement.resource for announcement in ours} == {SESSION_ID}


def test_a_started_stream_aggregates_since_its_start():
    detail = checked(
        announcements.start_session(ARN, SESSION, status="STREAMING_STARTED", now_ms=NOW_MS)
    )
    started = "2021-10-04T22:52:07.007Z"
    assert detail["session"] == {
        "sessionId": SESSION_ID,
        "sessionName": "call-1",
        "generatedSpeakerId": SPEAKER_ID,
        "authenticationConfiguration": {"acceptanceThreshold": 90},
        "fraudDetectionConfiguration": {"riskThreshold": 50, "watchlistId": WATCHLIST_ID},
        "streamingConfiguration": {"authenticationMinimumSpeechInSeconds": 10},
        "enrollmentAudioProgress": {
            "audioAggregationStatus": "NOT_ENOUGH_SPEECH",
            "audioAggregationStartedAt": started,
            "audioAggregationEndedAt": None,
        },
        "authenticationAudioProgress": {
            "audioAggregationStartedAt": started,
            "audioAggregationEndedAt": None,
        },
        "fraudDetectionAudioProgress": {
            "audioAggregationStartedAt": started,
            "audioAggregationEndedAt": None,
        },
        "audioQuality": "GOOD",
    }
    assert list(detail) == [
        "sourceId",
        "action",
        "status",
        "domainId",
        "session",
        "systemAttributes",
        "errorInfo",
    ]


def test_an_ended_stream_says_what_it_had_enough_speech_for():
    detail = checked(
        announcements.start_session(
            ARN, SESSION, status="STREAMING_ENDED", now_ms=NOW_MS, evidence=EVIDENCE
        )
    )
    ended = "2021-10-04T22:52:47.007Z"
    session = detail["session"]
    assert session["authenticationAudioProgress"]["audioAggregationEndedAt"] == ended
    assert session["fraudDetectionAudioProgress"]["audioAggregationEndedAt"] == ended
    assert session["enrollmentAudioProgress"]["audioAggregationStatus"] == "NOT_ENOUGH_SPEECH"
    assert session["enrollmentAudioProgress"]["audioAggregationEndedAt"] is None


def test_speech_of_several_streams_makes_ready_for_enrolment():
    detail = checked(
        announcements.start_session(
            ARN,
            replace(SESSION, speech_s=30.0),
            status="STREAMING_ENDED",
            now_ms=NOW_MS,
            evidence=EVIDENCE,
        )
    )
    progress = detail["session"]["enrollmentAudioProgress"]
    assert progress["audioAggregationStatus"] == "READY_FOR_ENROLLMENT"
    assert progress["audioAggregationEndedAt"] == "2021-10-04T22:52:47.007Z"


@pytest.mark.parametrize("session", [SESSION, "call-1", SESSION_ID, None])
def test_a_stream_that_failed_says_why_whatever_is_known_of_its_session(session):
    detail = checked(
        announcements.start_session(
            ARN,
            session,
            status="STREAMING_FAILED",
            now_ms=NOW_MS,
            error=errors.AtCapacity("All places are taken"),
        )
    )
    assert detail["errorInfo"]["errorType"] == "SERVICE_QUOTA_EXCEEDED"


def test_a_stream_that_failed_for_no_known_reason_failed_internally():
    detail = checked(
        announcements.start_session(ARN, SESSION, status="STREAMING_FAILED", now_ms=NOW_MS)
    )
    assert detail["errorInfo"]["errorType"] == "INTERNAL_ERROR"


def test_a_changed_session_shows_its_configuration():
    detail = checked(
        announcements.update_session(
            ARN, replace(SESSION, authentication_enabled=False), now_ms=NOW_MS
        )
    )
    assert detail["session"] == {
        "sessionId": SESSION_ID,
        "sessionName": "call-1",
        "authenticationConfiguration": None,
        "fraudDetectionConfiguration": {"riskThreshold": 50, "watchlistId": WATCHLIST_ID},
        "generatedSpeakerId": SPEAKER_ID,
    }
    assert detail["status"] == "SUCCEEDED"


@pytest.mark.parametrize("session", [SESSION, "call-1", SESSION_ID])
def test_a_session_that_could_not_be_changed_shows_none(session):
    detail = checked(
        announcements.update_session(ARN, session, now_ms=NOW_MS, error=errors.NotFound("DOMAIN"))
    )
    shown = detail["session"]
    assert shown["generatedSpeakerId"] is None
    assert shown["authenticationConfiguration"] is None
    assert shown["fraudDetectionConfiguration"] is None
    assert detail["errorInfo"]["errorMessage"] == "The requested domain does not exist"


def test_an_evaluation_shows_both_decisions_and_the_watchlist_twice():
    evaluation = Evaluation(session=SESSION, authentication=ACCEPTED, fraud=RISKY)
    detail = checked(announcements.evaluate_session(ARN, evaluation, now_ms=NOW_MS))
    assert detail["session"] == {
        "sessionId": SESSION_ID,
        "sessionName": "call-1",
        "generatedSpeakerId": SPEAKER_ID,
        "streamingStatus": "ONGOING",
        "authenticationResult": {
            "authenticationResultId": "dsLMOu3G3fB73RzoP6UYZH",
            "decision": "ACCEPT",
            "score": 97,
            "audioAggregationStartedAt": "2021-10-04T22:53:05.007Z",
            "audioAggregationEndedAt": "2021-10-04T22:53:06.007Z",
            "configuration": {"acceptanceThreshold": 90},
        },
        "fraudDetectionResult": {
            "fraudDetectionResultId": "UcUuCPFOsAjzg9xoByUatN",
            "decision": "HIGH_RISK",
            "reasons": ["KNOWN_FRAUDSTER"],
            "riskDetails": {
                "knownFraudsterRisk": {
                    "generatedFraudsterId": FRAUDSTER_ID,
                    "riskScore": 80,
                    "watchlistId": WATCHLIST_ID,
                },
                "voiceSpoofingRisk": {
                    "riskScore": 3,
                    "syntheticSpeech": {"riskScore": 5, "logLikelihoodRatio": -4.0},
                    "playback": {"riskScore": 1, "logLikelihoodRatio": -6.25},
                    "certainty": 0.875,
                    "referenceUsed": False,
                },
            },
            "audioAggregationStartedAt": "2021-10-04T22:53:05.007Z",
            "audioAggregationEndedAt": "2021-10-04T22:53:06.007Z",
            "configuration": {"riskThreshold": 50, "watchlistId": WATCHLIST_ID},
        },
        "audioQuality": "GOOD",
    }


def test_speech_that_could_not_be_judged_for_spoofing_has_no_verdicts():
    unjudged = replace(RISKY, spoofing=SpoofingGiven(risk=0))
    evaluation = Evaluation(session=SESSION, authentication=None, fraud=unjudged)
    detail = checked(announcements.evaluate_session(ARN, evaluation, now_ms=NOW_MS))
    assert detail["session"]["fraudDetectionResult"]["riskDetails"]["voiceSpoofingRisk"] == {
        "riskScore": 0,
        "syntheticSpeech": None,
        "playback": None,
        "certainty": None,
        "referenceUsed": None,
    }


@pytest.mark.parametrize("evaluated", [SESSION, "call-1", SESSION_ID])
def test_a_failed_evaluation_shows_no_result(evaluated):
    detail = checked(
        announcements.evaluate_session(
            ARN, evaluated, now_ms=NOW_MS, error=errors.NotFound("SESSION")
        )
    )
    assert detail["status"] == "FAILED"
    assert detail["session"]["authenticationResult"] is None
    assert detail["session"]["fraudDetectionResult"] is None
    assert detail["session"]["generatedSpeakerId"] is None


@pytest.mark.parametrize("action", ["DELETE_SPEAKER", "OPT_OUT_SPEAKER"])
def test_what_is_forgotten_has_no_data(action):
    detail = checked(announcements.speaker(ARN, action, speaker_id=SPEAKER_ID, now_ms=NOW_MS))
    assert detail["data"] is None
    assert detail["status"] == "SUCCEEDED"


def test_an_enrolment_says_where_it_came_from():
    detail = checked(
        announcements.speaker(
            ARN,
            "ENROLL_SPEAKER",
            speaker_id=SPEAKER_ID,
            now_ms=NOW_MS,
            data=EnrollmentData(
                source="SESSION_ENROLLMENT", source_id=SESSION_ID, status="ENROLLMENT_OVERWRITE"
            ),
        )
    )
    assert detail["data"] == {
        "enrollmentSource": "SESSION_ENROLLMENT",
        "enrollmentSourceId": SESSION_ID,
        "enrollmentStatus": "ENROLLMENT_OVERWRITE",
    }


def test_a_batch_entry_without_enough_speech_says_it_in_the_known_words():
    detail = checked(
        announcements.speaker(
            ARN,
            "ENROLL_SPEAKER",
            speaker_id=None,
            now_ms=NOW_MS,
            data=EnrollmentData(source="BATCH_ENROLLMENT", source_id=JOB_ID, status=None),
            error=errors.NotEnoughSpeech(needed_s=30, got_s=2),
        )
    )
    assert detail["errorInfo"] == {
        "errorCode": 400,
        "errorMessage": "The provided audio files do not have enough speech for enrollment.",
        "errorType": "NOT_ENOUGH_SPEECH",
    }


def test_a_registration_says_where_it_came_from_and_has_no_system_attributes():
    detail = checked(
        announcements.fraudster(
            ARN,
            "REGISTER_FRAUDSTER",
            fraudster_id=FRAUDSTER_ID,
            watchlist_ids=(WATCHLIST_ID,),
            now_ms=NOW_MS,
            data=RegistrationData(
                source="BATCH_REGISTRATION", source_id=JOB_ID, status="DUPLICATE_SKIPPED"
            ),
        )
    )
    assert {**detail, "sourceId": ""} == {
        "sourceId": "",
        "action": "REGISTER_FRAUDSTER",
        "status": "SUCCEEDED",
        "domainId": DOMAIN_ID,
        "generatedFraudsterId": FRAUDSTER_ID,
        "watchlistIds": [WATCHLIST_ID],
        "data": {
            "registrationSource": "BATCH_REGISTRATION",
            "registrationSourceId": JOB_ID,
            "registrationStatus": "DUPLICATE_SKIPPED",
        },
        "errorInfo": None,
    }


def test_a_registration_that_failed_and_a_deletion_that_failed_are_told():
    checked(
        announcements.fraudster(
            ARN,
            "REGISTER_FRAUDSTER",
            fraudster_id=None,
            watchlist_ids=[WATCHLIST_ID],
            now_ms=NOW_MS,
            data=RegistrationData(source="SESSION_REGISTRATION", source_id=SESSION_ID, status=None),
            error=errors.BadAudioParameters("The provided sample rate is invalid."),
        )
    )
    detail = checked(
        announcements.fraudster(
            ARN,
            "DELETE_FRAUDSTER",
            fraudster_id=FRAUDSTER_ID,
            watchlist_ids=None,
            now_ms=NOW_MS,
            error=errors.NotFound("FRAUDSTER"),
        )
    )
    assert detail["errorInfo"]["errorMessage"] == "The requested fraudster does not exist"


@pytest.mark.parametrize("session", [SESSION, "call-1", SESSION_ID])
def test_a_requested_enrolment_is_submitted_or_refused(session):
    submitted = checked(announcements.session_enrollment(ARN, SESSION, now_ms=NOW_MS))
    assert submitted["status"] == "SUBMITTED"
    refused = checked(
        announcements.session_enrollment(
            ARN, session, now_ms=NOW_MS, error=errors.Conflict("SPEAKER_NOT_SET", "Set it first.")
        )
    )
    assert refused["status"] == "FAILED"


def test_a_batch_enrolment_shows_its_threshold_under_both_names():
    detail = checked(announcements.speaker_enrollment_job(ARN, JOB, now_ms=NOW_MS))
    assert detail["data"] == {
        "dataAccessRoleArn": JOB.role_arn,
        "enrollmentConfig": {
            "existingEnrollmentAction": "SKIP",
            "fraudDetectionConfig": {
                "fraudDetectionAction": "FAIL",
                "fraudDetectionThreshold": 50,
                "riskThreshold": 50,
                "watchlistIds": [WATCHLIST_ID],
            },
        },
        "inputDataConfig": {"s3Uri": JOB.input_uri},
        "outputDataConfig": {"s3Uri": JOB.output_uri, "kmsKeyId": None},
    }
    assert "secret-name" not in json.dumps(detail)


def test_a_batch_registration_shows_its_configuration():
    job = replace(REGISTRATION, output_kms_key_id="alias/k", status="COMPLETED_WITH_ERRORS")
    detail = checked(announcements.fraudster_registration_job(ARN, job, now_ms=NOW_MS))
    assert detail["data"]["registrationConfig"] == {
        "duplicateRegistrationAction": "SKIP",
        "fraudsterSimilarityThreshold": 90,
        "watchlistIds": [WATCHLIST_ID],
    }
    assert detail["data"]["outputDataConfig"]["kmsKeyId"] == "alias/k"
    assert detail["batchJobId"] == JOB_ID


TELL_OF_JOB = [
    (announcements.speaker_enrollment_job, JOB),
    (announcements.fraudster_registration_job, REGISTRATION),
]


@pytest.mark.parametrize(("tell", "job"), TELL_OF_JOB)
def test_a_job_that_failed_says_why(tell, job):
    text = "The given speaker enrollment job's input file version is invalid."
    failed = replace(job, status="FAILED", failure_code=400, failure_message=text)
    assert checked(tell(ARN, failed, now_ms=NOW_MS))["errorInfo"] == {
        "errorCode": 400,
        "errorMessage": text,
        "errorType": "BAD_REQUEST",
    }
    silent = replace(job, status="FAILED")
    assert checked(tell(ARN, silent, now_ms=NOW_MS))["errorInfo"]["errorCode"] == 500


@pytest.mark.parametrize(("tell", "job"), TELL_OF_JOB)
def test_there_is_no_event_of_a_job_that_runs(tell, job):
    with pytest.raises(ValueError, match="no event"):
        tell(ARN, replace(job, status="IN_PROGRESS"), now_ms=NOW_MS)


@pytest.mark.parametrize("member", ["sourceId", "errorInfo", "session", "systemAttributes"])
def test_a_schema_misses_what_is_left_out(member):
    body = announcements.update_session(ARN, SESSION, now_ms=NOW_MS).body
    del body["detail"][member]
    with pytest.raises(ValidationError, match=member):
        validate(body)


def test_a_schema_notices_what_does_not_belong():
    body = announcements.update_session(ARN, SESSION, now_ms=NOW_MS).body
    body["detail"]["session"]["customerSpeakerId"] = CUSTOMER_ID
    with pytest.raises(ValidationError, match="customerSpeakerId"):
        validate(body)


def test_a_schema_notices_a_failure_without_a_reason():
    body = announcements.update_session(ARN, SESSION, now_ms=NOW_MS).body
    body["detail"]["status"] = "FAILED"
    with pytest.raises(ValidationError):
        validate(body)


scores = st.integers(0, 100)
instants = st.integers(0, 4_102_444_800_000)
maybe_instants = st.none() | instants
seconds = st.floats(0, 3600)
unique_ids = st.from_regex(r"\A[a-zA-Z0-9]{22}\Z")
generated_ids = st.builds("id#{}".format, unique_ids)
names = st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9_-]{0,35}\Z")

sessions = st.builds(
    replace,
    st.just(SESSION),
    session_id=generated_ids,
    name=names,
    speaker_id=st.none() | generated_ids,
    authentication_enabled=st.booleans(),
    fraud_detection_enabled=st.booleans(),
    acceptance_threshold=scores,
    risk_threshold=scores,
    watchlist_id=unique_ids,
    authentication_minimum_s=st.integers(5, 10),
    streaming_status=st.sampled_from(["PENDING_CONFIGURATION", "ONGOING", "ENDED"]),
    stream_started_ms=maybe_instants,
    speech_s=seconds,
)
evidence = st.builds(
    replace, st.just(EVIDENCE), net_speech_s=seconds, started_ms=instants, ended_ms=instants
)
undecided = [
    "NOT_ENOUGH_SPEECH",
    "SPEAKER_NOT_ENROLLED",
    "SPEAKER_OPTED_OUT",
    "SPEAKER_ID_NOT_PROVIDED",
    "SPEAKER_EXPIRED",
]
authentications = (
    st.none()
    | st.builds(
        AuthenticationOutcome,
        result_id=unique_ids,
        decision=st.sampled_from(["ACCEPT", "REJECT"]),
        acceptance_threshold=scores,
        score=scores,
        speaker_id=generated_ids,
        started_ms=instants,
        ended_ms=instants,
    )
    | st.builds(
        AuthenticationOutcome,
        result_id=unique_ids,
        decision=st.sampled_from(undecided),
        acceptance_threshold=scores,
    )
)
verdicts = st.tuples(scores, st.floats(-100, 100))
spoofings = (
    st.builds(SpoofingGiven, risk=st.just(0))
    | st.builds(SpoofingGiven, risk=st.just(0), certainty=st.just(0.0))
    | st.builds(
        SpoofingGiven,
        risk=scores,
        certainty=st.floats(0, 1),
        llr=st.floats(-100, 100),
        verdicts=st.fixed_dictionaries({"synthetic": verdicts, "playback": verdicts}),
        reference=st.none() | st.text(),
    )
)
frauds = (
    st.none()
    | st.builds(
        FraudOutcomeGiven,
        result_id=unique_ids,
        decision=st.just("NOT_ENOUGH_SPEECH"),
        risk_threshold=scores,
        watchlist_id=unique_ids,
    )
    | st.builds(
        lambda reasons, **facts: FraudOutcomeGiven(
            decision="HIGH_RISK" if reasons else "LOW_RISK", reasons=reasons, **facts
        ),
        reasons=st.sampled_from(
            [(), ("KNOWN_FRAUDSTER",), ("VOICE_SPOOFING",), ("KNOWN_FRAUDSTER", "VOICE_SPOOFING")]
        ),
        result_id=unique_ids,
        risk_threshold=scores,
        watchlist_id=unique_ids,
        known_fraudster_risk=scores,
        fraudster_id=st.none() | generated_ids,
        spoofing=spoofings,
        started_ms=instants,
        ended_ms=instants,
    )
)
stream_statuses = st.sampled_from(get_args(announcements.StreamStatus))
failures = st.none() | st.sampled_from(
    [
        errors.NotFound("SESSION"),
        errors.Conflict("CONCURRENT_CHANGES", "again"),
        errors.Throttled(),
        errors.NotEnoughSpeech(needed_s=10, got_s=1),
        errors.InvalidRequest("\u2028 \ud800 strange"),
        ZeroDivisionError(),
    ]
)


@given(sessions, st.none() | evidence, instants, stream_statuses)
def test_whatever_a_stream_is_like_its_event_fits_the_schema(session, evidence, now_ms, status):
    announcement = announcements.start_session(
        ARN, session, status=status, now_ms=now_ms, evidence=evidence
    )
    checked(announcement)
    told = datetime.fromisoformat(announcement.body["time"]).timestamp()
    assert round(told * 1000) == now_ms


@given(sessions, authentications, frauds, failures)
def test_whatever_a_session_is_like_its_events_fit_their_schemas(
    session, authentication, fraud, error
):
    evaluation = Evaluation(session=session, authentication=authentication, fraud=fraud)
    checked(announcements.evaluate_session(ARN, evaluation, now_ms=NOW_MS, error=error))
    checked(announcements.update_session(ARN, session, now_ms=NOW_MS, error=error))
    checked(announcements.session_enrollment(ARN, session, now_ms=NOW_MS, error=error))


def test_two_voices_are_told_with_a_stream_and_an_evaluation():
    heard = replace(SESSION, quality="TWO_VOICES")
    ended = announcements.start_session(ARN, heard, status="STREAMING_ENDED", now_ms=NOW_MS)
    evaluation = Evaluation(session=heard, authentication=ACCEPTED, fraud=RISKY)
    decided = announcements.evaluate_session(ARN, evaluation, now_ms=NOW_MS)
    for announcement in (ended, decided):
        assert checked(announcement)["session"]["audioQuality"] == "TWO_VOICES"


def test_an_enrolment_of_two_voices_fails_as_a_bad_request():
    detail = checked(
        announcements.speaker(
            ARN,
            "ENROLL_SPEAKER",
            speaker_id=None,
            now_ms=NOW_MS,
            data=EnrollmentData(source="SESSION_ENROLLMENT", source_id=SESSION_ID, status=None),
            error=errors.TwoVoices(),
        )
    )
    assert detail["errorInfo"] == {
        "errorCode": 400,
        "errorType": "BAD_REQUEST",
        "errorMessage": "More than one voice was heard in the speech for the enrollment.",
    }
