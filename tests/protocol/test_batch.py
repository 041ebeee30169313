"""Batch jobs through an unmodified boto3, on recordings of real people."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from botocore.exceptions import ClientError

from tests.server import as_bytes, make_call, new_domain, wait_for

ROLE = "arn:aws:iam::123456789012:role/voice"
ENDED = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"}


@pytest.fixture(scope="module")
def recordings(voices, tmp_path_factory):
    """A bucket's worth of recordings, as files by name."""
    folder = tmp_path_factory.mktemp("recordings")

    def write(name, samples, rate=8000, **options):
        soundfile.write(folder / name, samples, rate, **options)

    customer = voices.customer(seconds=45, use="enrolment")
    agent = voices.stranger(seconds=45, use="call")
    write("customer.wav", customer)
    length = min(len(agent), len(customer))
    write("stereo.wav", np.stack([agent[:length], customer[:length]], axis=1))
    write("short.wav", voices.customer(seconds=8))
    write("part.wav", voices.customer(seconds=25, use="enrolment"))
    write("rest.wav", voices.customer(seconds=25, use="call"))
    write("fraudster.wav", voices.fraudster(seconds=45, use="enrolment"))
    write("again.wav", voices.fraudster(seconds=45, use="call"))
    write("stranger.mp3", np.repeat(agent, 2), rate=16000)
    write("two.wav", np.concatenate([customer[: 8000 * 20], agent[: 8000 * 25]]))
    return folder


class Bank:
    """A customer of the server, who keeps recordings in a bucket."""

    def __init__(self, server, client, domain_id, recordings):
        self.client = client
        self.domain_id = domain_id
        self.bucket = server.data_dir / "objects" / "bank"
        (self.bucket / "calls").mkdir(parents=True, exist_ok=True)
        for path in recordings.iterdir():
            (self.bucket / "calls" / path.name).write_bytes(path.read_bytes())

    def manifest(self, kind, *entries):
        requests = [
            {"RequestId": f"r{number}"}
            | ({"SpeakerId": who} if who else {})
            | {
                "AudioSpecifications": [
                    {"S3Uri": f"s3://bank/calls/{name}", "ChannelId": channel} for name in names
                ]
            }
            for number, (who, names, channel) in enumerate(entries)
        ]
        (self.bucket / "list.json").write_text(json.dumps({"Version": "1.0", kind: requests}))

    def enrol(self, *entries, **config):
        self.manifest("SpeakerEnrollmentRequests", *entries)
        job = self.client.start_speaker_enrollment_job(
            DomainId=self.domain_id,
            DataAccessRoleArn=ROLE,
            InputDataConfig={"S3Uri": "s3://bank/list.json"},
            OutputDataConfig={"S3Uri": "s3://bank/results"},
            **({"EnrollmentConfig": config} if config else {}),
        )["Job"]
        assert job["JobStatus"] == "SUBMITTED"
        return self.ended(self.client.describe_speaker_enrollment_job, job)

    def register(self, *entries, **config):
        self.manifest("FraudsterRegistrationRequests", *entries)
        job = self.client.start_fraudster_registration_job(
            DomainId=self.domain_id,
            DataAccessRoleArn=ROLE,
            InputDataConfig={"S3Uri": "s3://bank/list.json"},
            OutputDataConfig={"S3Uri": "s3://bank/results"},
            **({"RegistrationConfig": config} if config else {}),
        )["Job"]
        return self.ended(self.client.describe_fraudster_registration_job, job)

    def ended(self, describe, job):
        def look():
            nonlocal job
            job = describe(DomainId=self.domain_id, JobId=job["JobId"])["Job"]
            return job["JobStatus"] in ENDED

        wait_for(look, at_most_s=60)
        path = self.bucket / "results" / job["JobId"] / "list.json.out"
        return job, json.loads(path.read_text())


@pytest.fixture
def bank(server, client, domain_id, recordings):
    return Bank(server, client, domain_id, recordings)


def test_a_customer_base_is_enrolled_and_recognised(bank, client, domain_id, voices):
    job, output = bank.enrol(
        ("june", ["customer.wav"], 0),
        ("june-stereo", ["stereo.wav"], 1),
        ("pooled", ["part.wav", "rest.wav"], 0),
        ("armelle", ["stranger.mp3"], 0),
        ("short", ["short.wav"], 0),
        ("two", ["two.wav"], 0),
        ("missing", ["missing.wav"], 0),
    )
    assert (job["JobStatus"], job["JobProgress"]) == (
        "COMPLETED_WITH_ERRORS",
        {"PercentComplete": 100},
    )
    enrolled = {each["CustomerSpeakerId"] for each in output["SuccessfulEnrollments"]}
    assert enrolled == {"june", "june-stereo", "pooled", "armelle"}
    errors = {each["RequestId"]: each["ErrorMessage"] for each in output["Errors"]}
    assert errors == {
        "r4": "The provided audio files do not have enough speech for enrollment.",
        "r5": "More than one voice was heard in the provided audio files.",
        "r6": "AudioSpecifications[0] does not exist.",
    }
    for speaker, decision in (("june", "ACCEPT"), ("june-stereo", "ACCEPT"), ("armelle", "REJECT")):
        answer = client.start_session(
            DomainId=domain_id, SessionName=f"call-of-{speaker}", SpeakerId=speaker
        )
        make_call(answer["StreamUrl"], as_bytes(voices.customer(seconds=20)))
        told = client.evaluate_session(DomainId=domain_id, SessionNameOrId=f"call-of-{speaker}")
        assert told["AuthenticationResult"]["Decision"] == decision


def test_fraudsters_are_registered_and_their_calls_flagged(bank, client, domain_id, voices):
    job, output = bank.register((None, ["fraudster.wav"], 0), (None, ["again.wav"], 0))
    assert job["JobStatus"] == "COMPLETED"
    first, second = output["SuccessfulRegistrations"]
    assert first["RegistrationStatus"] == "NEW_REGISTRATION"
    assert second == {
        "RequestId": "r1",
        "GeneratedFraudsterId": first["GeneratedFraudsterId"],
        "RegistrationStatus": "DUPLICATE_SKIPPED",
        "FraudsterSimilarityScore": second["FraudsterSimilarityScore"],
    }
    answer = client.start_session(DomainId=domain_id, SessionName="call")
    make_call(answer["StreamUrl"], as_bytes(voices.fraudster(seconds=20)))
    told = client.evaluate_session(DomainId=domain_id, SessionNameOrId="call")
    assert told["FraudDetectionResult"]["Reasons"] == ["KNOWN_FRAUDSTER"]
    # And neither does he become a customer, unless that is wanted.
    _, output = bank.enrol(("carlo", ["again.wav"], 0))
    assert "known fraudster" in output["Errors"][0]["ErrorMessage"]
    _, output = bank.enrol(
        ("carlo", ["again.wav"], 0), FraudDetectionConfig={"FraudDetectionAction": "IGNORE"}
    )
    assert output["SuccessfulEnrollments"][0]["EnrollmentStatus"] == "NEW_ENROLLMENT"


def test_a_manifest_from_connects_recordings_enrols_who_it_said(
    bank, server, client, domain_id, recordings, tmp_path
):
    """The whole way: recordings as Connect names them, a table, a manifest, a job."""
    contacts = {
        "00000000-0000-0000-0000-000000000001": ("june", "customer.wav"),
        "00000000-0000-0000-0000-000000000002": ("pooled", "part.wav"),
        "00000000-0000-0000-0000-000000000003": ("pooled", "rest.wav"),
        "00000000-0000-0000-0000-000000000004": ("short", "short.wav"),
    }
    folder = bank.bucket / "CallRecordings"
    folder.mkdir(exist_ok=True)
    for contact, (_, name) in contacts.items():
        content = (recordings / name).read_bytes()
        (folder / f"{contact}_20250314T09:26_UTC.wav").write_bytes(content)
    table = tmp_path / "contacts.csv"
    lines = [f"{contact},{speaker}" for contact, (speaker, _) in contacts.items()]
    table.write_text("\n".join(["ContactId,SpeakerId", *lines]))
    command = [
        *(sys.executable, "-m", "vivavoce", "migrate", "manifest", folder),
        *("--contacts", table, "--output", bank.bucket / "list.json"),
        *("--data-dir", server.data_dir),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2 customers will be enrolled" in told
    assert "1 customers have too little speech" in told
    job = client.start_speaker_enrollment_job(
        DomainId=domain_id,
        DataAccessRoleArn=ROLE,
        InputDataConfig={"S3Uri": "s3://bank/list.json"},
        OutputDataConfig={"S3Uri": "s3://bank/results"},
    )["Job"]
    job, output = bank.ended(client.describe_speaker_enrollment_job, job)
    assert job["JobStatus"] == "COMPLETED"
    enrolled = {each["CustomerSpeakerId"] for each in output["SuccessfulEnrollments"]}
    assert enrolled == {"june", "pooled"}


@pytest.fixture
def command(server, bank, domain_id):
    """Runs `vivavoce jobs ...` on the server."""

    def run(*arguments):
        return subprocess.run(
            [
                *(sys.executable, "-m", "vivavoce", "jobs", *arguments),
                *("--domain", domain_id, "--data-dir", server.data_dir),
                *("--endpoint-url", server.url),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_job_is_started_and_watched_from_the_command_line(bank, command):
    start = ("start", "s3://bank/list.json", "--output", "s3://bank/results")
    bank.manifest("SpeakerEnrollmentRequests", ("june", ["customer.wav"], 0))
    done = command(*start)
    assert done.returncode == 0
    assert "COMPLETED; output: s3://bank/results/" in done.stdout
    job_id = done.stdout.split()[1]
    assert command("watch", job_id).returncode == 0
    assert json.loads(command("list", "--json").stdout)[0]["JobId"] == job_id
    bank.manifest(
        "SpeakerEnrollmentRequests", ("june", ["customer.wav"], 0), ("two", ["two.wav"], 0)
    )
    done = command(*start, "--overwrite")
    assert (done.returncode, "COMPLETED_WITH_ERRORS" in done.stdout) == (1, True)
    (bank.bucket / "list.json").write_text("{")
    done = command(*start, "--kind", "registration")
    assert done.returncode == 1
    assert "the job failed, 400: The manifest is not JSON" in done.stderr
    assert command("watch", "n" * 22).returncode == 1


def test_strictly_only_what_amazon_took_is_taken(serve, recordings):
    server = serve(batch_audio="strict")
    client = server.client()
    bank = Bank(server, client, new_domain(client), recordings)
    _, output = bank.enrol(("a", ["stranger.mp3"], 0), ("b", ["customer.wav"], 0))
    assert [error["RequestId"] for error in output["Errors"]] == ["r0"]


def test_a_killed_server_takes_the_job_up_again(serve, recordings):
    server = serve()
    client = server.client()
    bank = Bank(server, client, new_domain(client), recordings)
    bank.manifest(
        "SpeakerEnrollmentRequests", *[(f"c{number}", ["customer.wav"], 0) for number in range(8)]
    )
    job = client.start_speaker_enrollment_job(
        DomainId=bank.domain_id,
        DataAccessRoleArn=ROLE,
        InputDataConfig={"S3Uri": "s3://bank/list.json"},
        OutputDataConfig={"S3Uri": "s3://bank/results"},
    )["Job"]

    def percent():
        told = client.describe_speaker_enrollment_job(DomainId=bank.domain_id, JobId=job["JobId"])
        return told["Job"]["JobProgress"]["PercentComplete"]

    wait_for(lambda: percent() > 0)
    for _ in range(2):
        server.kill()
        server.start()
        client = server.client()
        time.sleep(0.5)
    bank.client = client
    job, output = bank.ended(client.describe_speaker_enrollment_job, job)
    assert job["JobStatus"] == "COMPLETED"
    assert [each["RequestId"] for each in output["SuccessfulEnrollments"]] == [
        f"r{number}" for number in range(8)
    ]
    summaries = client.list_speakers(DomainId=bank.domain_id)["SpeakerSummaries"]
    assert len(summaries) == 8


def test_the_quota_counts_jobs_that_run(serve, recordings):
    server = serve(quotas="aws")
    client = server.client()
    bank = Bank(server, client, new_domain(client), recordings)
    job, _ = bank.enrol(("a", ["customer.wav"], 0))
    assert job["JobStatus"] == "COMPLETED"
    bank.manifest("SpeakerEnrollmentRequests", *[(f"c{n}", ["two.wav"], 0) for n in range(30)])
    config = {
        "DomainId": bank.domain_id,
        "DataAccessRoleArn": ROLE,
        "InputDataConfig": {"S3Uri": "s3://bank/list.json"},
        "OutputDataConfig": {"S3Uri": "s3://bank/results"},
    }
    client.start_speaker_enrollment_job(**config)
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        client.start_speaker_enrollment_job(**config)
