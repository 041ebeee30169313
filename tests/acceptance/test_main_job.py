"""The main job on real voices: a live call comes in, an unmodified boto3 client asks about it."""

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from tests.server import (
    as_bytes,
    last,
    make_call,
    new_domain,
    open_stream,
    send,
    wait_for,
)
from vivavoce.demo.synthetic import speak
from vivavoce.errors import ToolMissing

CUSTOMER, OTHER = "customer-1", "customer-2"


class Bank:
    """A domain in which calls are made."""

    def __init__(self, client):
        self.client = client
        self.domain_id = new_domain(client, "bank")
        self.enrolment: list[dict[str, Any]] = []  # what was said while the customer enrolled
        self.customer_call = np.zeros(0, np.int16)

    def start(self, name=None, **wanted):
        named = {} if name is None else {"SessionName": name}
        return self.client.start_session(DomainId=self.domain_id, **named, **wanted)

    def call(self, name, samples, *, message_bytes=16000, **wanted):
        """A whole call; gives what the server said of it."""
        url = self.start(name, **wanted)["StreamUrl"]
        return make_call(url, as_bytes(samples), message_bytes=message_bytes)

    def evaluate(self, name):
        return self.client.evaluate_session(DomainId=self.domain_id, SessionNameOrId=name)

    def describe(self, name):
        answer = self.client.describe_session(DomainId=self.domain_id, SessionNameOrId=name)
        return answer["Session"]

    def update(self, name, **wanted):
        return self.client.update_session(DomainId=self.domain_id, SessionNameOrId=name, **wanted)[
            "Session"
        ]

    def enroll(self, name):
        answer = self.client.enroll_by_session(DomainId=self.domain_id, SessionNameOrId=name)
        return answer["Session"]["EnrollmentRequestDetails"]["Status"]

    def speaker(self, speaker_id):
        answer = self.client.describe_speaker(DomainId=self.domain_id, SpeakerId=speaker_id)
        return answer["Speaker"]

    def conflict_of(self, operation, **members):
        with pytest.raises(self.client.exceptions.ConflictException) as caught:
            operation(DomainId=self.domain_id, **members)
        return caught.value.response["ConflictType"]


@pytest.fixture(scope="module")
def bank(client, voices):
    """A domain with an enrolled customer, who has called once more since."""
    bank = Bank(client)
    url = bank.start("enrolment", SpeakerId=CUSTOMER)["StreamUrl"]
    assert bank.speaker(CUSTOMER)["Status"] == "PENDING"
    assert bank.enroll("enrolment") == "NOT_ENOUGH_SPEECH"
    bank.enrolment = make_call(url, as_bytes(voices.customer(seconds=50, use="enrolment")))
    bank.customer_call = voices.customer(seconds=25)
    bank.call("customer", bank.customer_call, SpeakerId=CUSTOMER)
    bank.evaluate("customer")  # before there is a fraudster, whatever the order of tests
    return bank


def authentication(evaluation):
    result = evaluation.get("AuthenticationResult", {})
    return result.get("Decision"), result.get("Score"), result.get("AuthenticationResultId")


def fraud(evaluation):
    result = evaluation.get("FraudDetectionResult", {})
    return result.get("Decision"), result.get("FraudDetectionResultId")


# --- the four calls


def test_a_customer_is_enrolled_during_the_call(server, bank):
    states = [message["status"] for message in bank.enrolment if message["type"] == "enrollment"]
    assert states[0] == "NOT_ENOUGH_SPEECH"
    assert states[-1] == "COMPLETED"
    speaker = bank.speaker(CUSTOMER)
    assert speaker["Status"] == "ENROLLED"
    assert speaker["LastAccessedAt"].minute == 0
    session = bank.describe("enrolment")
    assert session["StreamingStatus"] == "ENDED"
    assert session["EnrollmentRequestDetails"] == {"Status": "COMPLETED"}
    progress = session["AudioProgress"]
    assert progress["EnrollmentSpeechSecondsNeeded"] == 0
    # The stream ended in the middle of the call, when there was enough speech for everything.
    assert 30 <= progress["NetSpeechSeconds"] < 31


def test_the_customer_is_accepted(server, bank):
    evaluation = bank.evaluate("customer")
    decision, score, _ = authentication(evaluation)
    assert decision == "ACCEPT"
    assert 90 <= score <= 100
    result = evaluation["AuthenticationResult"]
    assert result["CustomerSpeakerId"] == CUSTOMER
    assert result["GeneratedSpeakerId"] == bank.speaker(CUSTOMER)["GeneratedSpeakerId"]
    assert result["Configuration"] == {"AcceptanceThreshold": 90}
    assert result["AudioAggregationStartedAt"] < result["AudioAggregationEndedAt"]
    result = evaluation["FraudDetectionResult"]
    assert result["Decision"] == "LOW_RISK"
    assert "Reasons" not in result
    assert result["RiskDetails"]["KnownFraudsterRisk"] == {"RiskScore": 0}
    assert 0 <= result["RiskDetails"]["VoiceSpoofingRisk"]["RiskScore"] < 50


def test_another_person_is_rejected_and_can_be_scored_under_any_threshold(server, bank, voices):
    bank.call("stranger", voices.stranger(seconds=25), SpeakerId=CUSTOMER)
    first = bank.evaluate("stranger")
    decision, score, first_id = authentication(first)
    assert decision == "REJECT"
    assert score < 90
    assert fraud(first)[0] == "LOW_RISK"
    for threshold, expected in ((score + 1, "REJECT"), (score, "ACCEPT")):
        bank.update("stranger", AuthenticationConfiguration={"AcceptanceThreshold": threshold})
        again = bank.evaluate("stranger")
        assert authentication(again)[:2] == (expected, score)
        assert authentication(again)[2] != first_id
        assert fraud(again) == fraud(first)


def test_a_registered_fraudster_is_recognised(server, bank, voices):
    bank.call("fraudster-before", voices.fraudster(seconds=50, use="enrolment"), SpeakerId=OTHER)
    fraudster = bank.client.register_fraudster_by_session(
        DomainId=bank.domain_id, SessionNameOrId="fraudster-before"
    )["Fraudster"]
    bank.call("fraudster", voices.fraudster(seconds=25), SpeakerId=CUSTOMER)
    evaluation = bank.evaluate("fraudster")
    assert authentication(evaluation)[0] == "REJECT"
    result = evaluation["FraudDetectionResult"]
    assert result["Decision"] == "HIGH_RISK"
    assert "KNOWN_FRAUDSTER" in result["Reasons"]
    known = result["RiskDetails"]["KnownFraudsterRisk"]
    assert known["RiskScore"] >= 50
    assert known["GeneratedFraudsterId"] == fraudster["GeneratedFraudsterId"]
    _, before_id = fraud(evaluation)
    risk = known["RiskScore"]
    bank.update("fraudster", FraudDetectionConfiguration={"RiskThreshold": min(100, risk)})
    again = bank.evaluate("fraudster")
    assert fraud(again)[0] == "HIGH_RISK"
    assert fraud(again)[1] != before_id
    assert authentication(again) == authentication(evaluation)
    # 30 s were heard before anybody asked: the enrolment needs no further speech.
    assert bank.enroll("fraudster-before") == "COMPLETED"
    assert bank.speaker(OTHER)["Status"] == "ENROLLED"
    # And a new speaker re-scores the call that is over.
    bank.update("fraudster", SpeakerId=OTHER)
    assert authentication(bank.evaluate("fraudster"))[0] == "ACCEPT"


def test_a_synthetic_voice_is_high_risk(server, bank):
    try:
        samples = speak()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    bank.call("machine", samples, SpeakerId=CUSTOMER)
    evaluation = bank.evaluate("machine")
    assert authentication(evaluation)[0] == "REJECT"
    result = evaluation["FraudDetectionResult"]
    assert result["Decision"] == "HIGH_RISK"
    assert "VOICE_SPOOFING" in result["Reasons"]


# --- what EvaluateSession promises


def test_a_result_keeps_its_id_until_its_basis_changes(server, bank):
    first = bank.evaluate("customer")
    assert authentication(bank.evaluate(first["SessionId"])) == authentication(first)
    assert fraud(bank.evaluate("customer")) == fraud(first)
    bank.update("customer", SpeakerId="somebody-new")
    stranger = bank.evaluate("customer")
    assert authentication(stranger)[:2] == ("SPEAKER_NOT_ENROLLED", None)
    bank.client.opt_out_speaker(DomainId=bank.domain_id, SpeakerId="somebody-shy")
    bank.update("customer", SpeakerId="somebody-shy")
    opted_out = bank.evaluate("customer")
    assert authentication(opted_out)[:2] == ("SPEAKER_OPTED_OUT", None)
    bank.update("customer", SpeakerId=CUSTOMER)
    back = bank.evaluate("customer")
    assert authentication(back)[:2] == authentication(first)[:2]
    ids = [authentication(one)[2] for one in (first, stranger, opted_out, back)]
    assert len(set(ids)) == 4
    assert all(fraud(one) == fraud(first) for one in (stranger, opted_out, back))


def test_without_a_speaker_or_a_switch_there_is_no_score(server, bank):
    bank.call("nobody", bank.customer_call[:16000])
    assert authentication(bank.evaluate("nobody"))[:2] == ("SPEAKER_ID_NOT_PROVIDED", None)
    bank.call("fraud-only", bank.customer_call[:16000], AuthenticationEnabled=False)
    assert "AuthenticationResult" not in bank.evaluate("fraud-only")
    bank.call("authentication-only", bank.customer_call[:16000], FraudDetectionEnabled=False)
    assert "FraudDetectionResult" not in bank.evaluate("authentication-only")
    pending = bank.start("not-yet", SpeakerId=CUSTOMER)["Session"]
    assert pending["StreamingStatus"] == "PENDING_CONFIGURATION"
    assert not {"AuthenticationResult", "FraudDetectionResult"} & bank.evaluate("not-yet").keys()


def test_four_seconds_are_not_enough_and_what_follows_in_the_call_is(server, bank):
    audio = as_bytes(bank.customer_call)
    minimum = {"AuthenticationMinimumSpeechInSeconds": 5}
    url = bank.start("short", SpeakerId=CUSTOMER, StreamingConfiguration=minimum)["StreamUrl"]
    with open_stream(url) as stream:
        send(stream, audio[:64000])
        wait_for(lambda: bank.describe("short")["AudioProgress"]["ReceivedSeconds"] >= 4)
        early = bank.evaluate("short")
        assert early["StreamingStatus"] == "ONGOING"
        assert authentication(early)[:2] == ("NOT_ENOUGH_SPEECH", None)
        assert authentication(bank.evaluate("short")) == authentication(early)
        send(stream, audio[64000:])
        wait_for(lambda: authentication(bank.evaluate("short"))[0] == "ACCEPT")
        ended = bank.client.end_session(DomainId=bank.domain_id, SessionNameOrId="short")["Session"]
    assert ended["StreamingStatus"] == "ENDED"
    assert ended["EndedAt"] >= ended["CreatedAt"]
    progress = ended["AudioProgress"]
    assert progress["ReceivedSeconds"] == len(audio) / 16000
    assert progress["AuthenticationSpeechSecondsNeeded"] == 0
    decision, score, result_id = authentication(bank.evaluate("short"))
    assert (decision, bool(score), bool(result_id)) == ("ACCEPT", True, True)
    again = bank.client.end_session(DomainId=bank.domain_id, SessionNameOrId="short")["Session"]
    assert again["EndedAt"] == ended["EndedAt"]


def test_the_size_of_messages_does_not_matter(server, bank):
    seen = []
    for name, message_bytes in (("crumbs", 333), ("slabs", 65536)):
        url = bank.start(name, SpeakerId=CUSTOMER)["StreamUrl"]
        audio = as_bytes(bank.customer_call)
        with open_stream(url) as stream:
            if name == "crumbs":
                send(stream, audio[:501], message_bytes=1)
                audio = audio[501:]
            send(stream, audio, message_bytes=message_bytes)
            stream.send('{"type": "end"}')
            with contextlib.suppress(Exception):
                while True:
                    stream.recv(timeout=60)
        evaluation = bank.evaluate(name)
        seen.append(
            (
                authentication(evaluation)[:2],
                evaluation["FraudDetectionResult"]["RiskDetails"],
                evaluation["AudioProgress"],
            )
        )
    assert seen[0] == seen[1]
    assert authentication(bank.evaluate("customer"))[1] == seen[0][0][1]


# --- enrolments and streams


def test_an_enrolment_that_lacks_speech_is_completed_by_the_next_stream(server, bank, voices):
    name, speaker = "two-streams", "customer-3"
    bank.call(name, voices.stranger(seconds=25), SpeakerId=speaker)
    assert bank.enroll(name) == "NOT_ENOUGH_SPEECH"
    operation = bank.client.enroll_by_session
    assert bank.conflict_of(operation, SessionNameOrId=name) == "ENROLLMENT_ALREADY_EXISTS"
    changed = bank.conflict_of(bank.client.update_session, SessionNameOrId=name, SpeakerId=CUSTOMER)
    assert changed == "CANNOT_CHANGE_SPEAKER_AFTER_ENROLLMENT"
    before = bank.evaluate(name)
    started = bank.start(name)
    assert started["Session"]["SessionId"] == before["SessionId"]
    assert started["Session"]["StreamingStatus"] == "PENDING_CONFIGURATION"
    assert "AuthenticationResult" not in bank.evaluate(name)
    twice = bank.conflict_of(bank.client.start_session, SessionName=name)
    assert twice == "ANOTHER_ACTIVE_STREAM"
    messages = make_call(
        started["StreamUrl"], as_bytes(voices.stranger(seconds=25, use="enrolment"))
    )
    assert last(messages, "enrollment")["status"] == "COMPLETED"
    assert bank.speaker(speaker)["Status"] == "ENROLLED"
    after = bank.evaluate(name)
    assert fraud(after)[1] != fraud(before)[1]


def test_what_an_enrolment_needs_is_said(server, bank):
    bank.start("no-speaker")
    enroll = bank.client.enroll_by_session
    assert bank.conflict_of(enroll, SessionNameOrId="no-speaker") == "SPEAKER_NOT_SET"
    bank.client.opt_out_speaker(DomainId=bank.domain_id, SpeakerId="shy")
    bank.start("opted-out", SpeakerId="shy")
    assert bank.conflict_of(enroll, SessionNameOrId="opted-out") == "SPEAKER_OPTED_OUT"
    # As agents do it: delete the speaker, then enrol.
    bank.client.delete_speaker(DomainId=bank.domain_id, SpeakerId="shy")
    assert bank.enroll("opted-out") == "NOT_ENOUGH_SPEECH"
    with pytest.raises(bank.client.exceptions.ValidationException, match="net speech"):
        bank.client.register_fraudster_by_session(
            DomainId=bank.domain_id, SessionNameOrId="no-speaker"
        )


def test_sessions_are_listed_page_by_page(server, client):
    bank = Bank(client)
    names = [f"session-{number}" for number in range(5)]
    for name in names:
        bank.start(name)
    for name in names[:2]:
        client.end_session(DomainId=bank.domain_id, SessionNameOrId=name)
    paginator = client.get_paginator("list_sessions")

    def listed(**wanted):
        pages = paginator.paginate(DomainId=bank.domain_id, **wanted)
        return [[each["SessionName"] for each in page["SessionSummaries"]] for page in pages]

    assert listed(PaginationConfig={"PageSize": 2}) == [names[:2], names[2:4], names[4:]]
    assert listed() == [names]
    assert listed(StreamingStatus="ENDED") == [names[:2]]
    assert listed(StreamingStatus="PENDING_CONFIGURATION") == [names[2:]]
    page = client.list_sessions(DomainId=bank.domain_id, MaxResults=2)
    elsewhere = new_domain(client)
    with pytest.raises(client.exceptions.ValidationException, match="NextToken"):
        client.list_sessions(DomainId=elsewhere, MaxResults=2, NextToken=page["NextToken"])


# --- restarts and crashes


def test_nothing_acknowledged_is_lost_in_a_crash(serve, voices):
    server = serve()
    bank = Bank(server.client())
    bank.client.opt_out_speaker(DomainId=bank.domain_id, SpeakerId="shy")
    url = bank.start("enrolment", SpeakerId=CUSTOMER)["StreamUrl"]
    bank.enroll("enrolment")
    with open_stream(url) as stream:
        send(stream, as_bytes(voices.customer(seconds=50, use="enrolment")))
        wait_for(lambda: bank.speaker(CUSTOMER)["Status"] == "ENROLLED", at_most_s=60)
        # As soon as it is said to be enrolled, and in the middle of the call.
        server.kill()
    server.start()
    assert bank.speaker(CUSTOMER)["Status"] == "ENROLLED"
    assert bank.speaker("shy")["Status"] == "OPTED_OUT"
    session = bank.describe("enrolment")
    assert session["StreamingStatus"] == "ENDED"
    assert session["EnrollmentRequestDetails"]["Status"] == "COMPLETED"

    url = bank.start("cut", SpeakerId=CUSTOMER)["StreamUrl"]
    with open_stream(url) as stream:
        send(stream, as_bytes(voices.customer(seconds=25)))
        wait_for(lambda: authentication(bank.evaluate("cut"))[0] == "ACCEPT")
        wait_for(lambda: fraud(bank.evaluate("cut"))[0] == "LOW_RISK")
        time.sleep(2)  # whatever is heard after the decision is decided on too
        decided = bank.evaluate("cut")
        assert decided["StreamingStatus"] == "ONGOING"
        server.kill()
    server.start()
    found = bank.evaluate("cut")
    assert found["StreamingStatus"] == "ENDED"
    assert authentication(found) == authentication(decided)
    assert fraud(found) == fraud(decided)
    assert server.stop() == 0
    server.start()
    assert authentication(bank.evaluate("cut")) == authentication(decided)
    assert len(bank.client.list_domains()["DomainSummaries"]) == 1


# --- an old script, and our own commands

OLD_SCRIPT = """
import boto3, sys

voice_id = boto3.client("voice-id")
domain = voice_id.create_domain(
    Name="contact-centre", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/cc"}
)["Domain"]
domain_id = domain["DomainId"]
assert voice_id.describe_domain(DomainId=domain_id)["Domain"]["Name"] == "contact-centre"
pages = voice_id.get_paginator("list_domains").paginate(PaginationConfig={"PageSize": 2})
found = [one["DomainId"] for page in pages for one in page["DomainSummaries"]]
assert domain_id in found and sys.argv[1] in found
for name in ("ann", "bob", "cy"):
    voice_id.opt_out_speaker(DomainId=domain_id, SpeakerId=name)
pages = list(
    voice_id.get_paginator("list_speakers").paginate(
        DomainId=domain_id, PaginationConfig={"PageSize": 1}
    )
)
assert len(pages) == 3 and "NextToken" not in pages[-1]
ann = voice_id.describe_speaker(DomainId=domain_id, SpeakerId="ann")["Speaker"]
assert ann["Status"] == "OPTED_OUT" and ann["CreatedAt"].tzinfo is not None
voice_id.delete_speaker(DomainId=domain_id, SpeakerId=ann["GeneratedSpeakerId"])
try:
    voice_id.describe_speaker(DomainId=domain_id, SpeakerId="ann")
except voice_id.exceptions.ResourceNotFoundException as error:
    assert error.response["ResourceType"] == "SPEAKER"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
else:
    sys.exit("still there")
evaluation = voice_id.evaluate_session(DomainId=sys.argv[1], SessionNameOrId="customer")
print(evaluation["AuthenticationResult"]["Decision"], evaluation["AuthenticationResult"]["Score"])
"""


def run(server, *command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        env=server.environment(**environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_an_old_script_needs_endpoint_credentials_and_region_alone(server, bank):
    done = run(server, "-c", OLD_SCRIPT, bank.domain_id)
    assert done.returncode == 0, done.stderr
    decision, score, _ = authentication(bank.evaluate("customer"))
    assert done.stdout.split() == [decision, str(score)]


def test_call_prints_the_evaluation_and_sdk_path_is_all_a_client_needs(
    server, bank, tmp_path, write_wav
):
    wav = write_wav("call.wav", bank.customer_call, rate_hz=44100, stereo_float=True)
    common = ("-m", "vivavoce", "call", str(wav), "--domain", bank.domain_id, "--json")
    done = run(server, *common, "--session", "by-command", "--speaker", CUSTOMER, "--channel", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["AuthenticationResult"]["Decision"] == "ACCEPT"
    assert told["FraudDetectionResult"]["Decision"] == "LOW_RISK"
    path = run(server, "-m", "vivavoce", "sdk-path").stdout.strip()
    question = (
        "import boto3, sys; c = boto3.client('voice-id');"
        "print(c.describe_session(DomainId=sys.argv[1], SessionNameOrId='by-command')"
        "['Session']['StreamingStatus'])"
    )
    asked = run(server, "-c", question, bank.domain_id, AWS_DATA_PATH=path)
    assert asked.stdout.strip() == "ENDED", asked.stderr


def test_call_says_that_the_call_that_enrols_proves_nothing(server, bank, voices, write_wav):
    enrolment = write_wav("enrolment.wav", voices.customer(seconds=50, use="enrolment"))
    to_bank = ("--domain", bank.domain_id, "--speaker", "new-by-command")
    common = ("-m", "vivavoce", "call", str(enrolment), *to_bank)
    first = run(server, *common, "--session", "enrols-by-command", "--enroll")
    assert "COMPLETED" in first.stdout, first.stderr
    assert "says nothing" in " ".join(first.stdout.split())
    # The enrolment stays with the session, but this stream is compared with a voiceprint before it.
    second = run(server, *common, "--session", "enrols-by-command")
    assert "COMPLETED" in second.stdout, second.stderr
    assert "says nothing" not in " ".join(second.stdout.split())


@pytest.fixture(scope="module")
def write_wav(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")

    def write(name, samples, *, rate_hz=8000, stereo_float=False):
        path = folder / name
        audio = samples.astype(np.float32) / 32768
        if rate_hz != 8000:
            audio = soxr.resample(audio, 8000, rate_hz)
        if stereo_float:
            # The caller is on the second channel; the first is silent.
            audio = np.stack([np.zeros_like(audio), audio], axis=1)
        soundfile.write(path, audio, rate_hz, subtype="FLOAT" if stereo_float else "PCM_16")
        return path

    return write


def test_commands_that_fail_say_why_in_one_line(server, bank, tmp_path, write_wav):
    good = write_wav("good.wav", bank.customer_call[:16000])
    empty = tmp_path / "empty.wav"
    empty.write_bytes(good.read_bytes()[:44])  # a header and nothing behind it
    to_bank = ("--domain", bank.domain_id, "--session", "broken")
    nowhere = ("--endpoint-url", "http://127.0.0.1:9")
    failing = [
        ("call", empty, *to_bank),
        ("call", tmp_path / "missing.wav", *to_bank),
        ("call", good, *to_bank, "--channel", "1"),
        ("call", good, "--domain", "a" * 22, "--session", "broken"),
        ("call", good, "--domain", "short", "--session", "broken"),
        ("call", good, *to_bank, *nowhere),
        ("call", good, *to_bank, "--endpoint-url", "nonsense"),
        ("call", good, "--domain", bank.domain_id, "--session", "no-profile"),
        ("score", "--jsonl", empty),
        ("models", "show", "no-such-model"),
    ]
    for command in failing:
        profile = {"AWS_PROFILE": "nobody"} if "no-profile" in command else {}
        done = run(server, "-m", "vivavoce", *map(str, command), **profile)
        assert done.returncode == 1, (command, done.stdout, done.stderr)
        assert done.stdout == "", command
        lines = done.stderr.splitlines()
        assert len(lines) == 1, (command, done.stderr)
        assert lines[0].startswith("vivavoce: "), command


@pytest.mark.parametrize(
    "command",
    [
        ("call",),
        ("call", "x.wav", "--domain", "d", "--session", "s", "--enroll"),  # whom?
        ("score",),
        ("serve", "--nonsense"),
        ("serve", "--port", "99999"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_exits_with_2(server, command):
    done = run(server, "-m", "vivavoce", *command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_score_and_models_print_json(server, bank, tmp_path, write_wav):
    whole = write_wav("whole.wav", bank.customer_call)
    truncated, silent = tmp_path / "truncated.wav", write_wav("silent.wav", 0 * bank.customer_call)
    truncated.write_bytes(whole.read_bytes()[: 44 + 2 * 8000 * 8 + 1])
    missing = tmp_path / "missing.wav"
    done = run(
        server, "-m", "vivavoce", "score", "--jsonl", *map(str, [truncated, missing, silent])
    )
    assert done.returncode == 1  # one of them is not there; the others are judged
    assert done.stderr.startswith("vivavoce: ")
    cut, quiet = (json.loads(line) for line in done.stdout.splitlines())
    assert 3 < cut["net_speech_s"] < 8
    assert set(cut["spoof"]) == {"llr", "risk", "synthetic", "playback"}
    assert quiet["net_speech_s"] == 0
    assert quiet["spoof"]["llr"] is None
    listed = run(server, "-m", "vivavoce", "models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    kinds = Counter(model["kind"] for model in json.loads(listed.stdout) if model["installed"])
    assert kinds["speaker"]
    assert kinds["spoof"]
