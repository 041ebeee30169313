"""What the files in `deploy/` say must be what the server knows."""

import re
from pathlib import Path

import pytest

from vivavoce.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
NOT_SETTINGS = {"domain"}
"""Of the compose file alone."""


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "vivavoce.service"])
def test_variables_are_settings(name):
    named = re.findall(r"VIVAVOCE_([A-Z_]+)", (DEPLOY / name).read_text())
    assert named
    assert {each.lower() for each in named} - NOT_SETTINGS <= Settings.model_fields.keys()


def test_a_stop_is_given_the_time_that_it_takes():
    service = (DEPLOY / "vivavoce.service").read_text()
    assert "TimeoutStopSec=30\n" in service
    assert "stop_grace_period: 30s\n" in (DEPLOY / "compose.yaml").read_text()
    # Calls, their last words (3 s), requests (5 s), events (3 s): see `vivavoce serve`.
    assert Settings().drain_s + 3 + 5 + 3 < 30
