"""`vivavoce call` against a server that refuses."""

import subprocess
import sys
import wave

import pytest


@pytest.fixture
def call(server, tmp_path):
    """Runs `vivavoce call` with a second of silence."""
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(16000))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "vivavoce", "call", str(path), *arguments],
            env=server.environment(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


def test_a_call_that_cannot_enrol_ends_the_stream_it_started(client, domain_id, call):
    session = {"DomainId": domain_id, "SessionNameOrId": "again"}
    client.start_session(DomainId=domain_id, SessionName="again", SpeakerId="ann")
    client.enroll_by_session(**session)
    client.end_session(**session)
    done = call("--domain", domain_id, "--session", "again", "--speaker", "ann", "--enroll")
    assert done.returncode == 1
    assert done.stderr.startswith("vivavoce: ConflictException: There is already an enrollment")
    assert client.describe_session(**session)["Session"]["StreamingStatus"] == "ENDED"
    assert "AuthenticationResult" in client.evaluate_session(**session)
    client.start_session(DomainId=domain_id, SessionName="again")


def test_a_stream_that_the_call_did_not_start_is_left_alone(client, domain_id, call):
    client.start_session(DomainId=domain_id, SessionName="other")
    done = call("--domain", domain_id, "--session", "other")
    assert done.returncode == 1
    described = client.describe_session(DomainId=domain_id, SessionNameOrId="other")["Session"]
    assert described["StreamingStatus"] == "PENDING_CONFIGURATION"
