"""What the server says of its settings when it starts."""

import os
import subprocess
import sys

import pytest

from tests.server import new_domain


def test_without_consent_the_log_tells_why_no_domain_can_be_made(serve):
    server = serve(consent=False)
    client = server.client()
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        new_domain(client)
    assert refused.value.response["ResourceType"] == "COMPLIANCE_CONSENT"
    assert "setting consent is false: CreateDomain is refused" in server.log


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("VIVAVOCE_EVENTS_FILE", "missing/events.jsonl", "No such file or directory"),
        ("VIVAVOCE_PUBLIC_URL", "https://voice.example", "must be wss://"),
        ("VIVAVOCE_QUTAS", "aws", "did you mean VIVAVOCE_QUOTAS?"),
    ],
)
def test_a_setting_that_cannot_work_keeps_the_server_from_starting(
    tmp_path, variable, value, reason
):
    done = subprocess.run(
        [*(sys.executable, "-m", "vivavoce", "serve", "--port", "0"), "--data-dir", "data"],
        cwd=tmp_path,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stderr.splitlines()[-1].startswith("vivavoce: ")
    assert "Traceback" not in done.stderr
