"""The AWS face with stand-ins behind it."""

from tests.fakes import FakeDirectory, RecordingAudit, RecordingMeter
from vivavoce.api.access import Guard
from vivavoce.api.description import load_service_model
from vivavoce.api.http import VoiceIdEndpoint
from vivavoce.api.policy import Policy
from vivavoce.api.throttle import Throttle
from vivavoce.clock import SystemClock

ACCOUNT_ID = "123456789012"


def policy(effect, action):
    """A policy of one statement on all resources."""
    return Policy.parse(
        '{"Version": "2012-10-17", "Statement": '
        f'{{"Effect": "{effect}", "Action": "{action}", "Resource": "*"}}}}'
    )


def build_endpoint(
    handlers,
    services=None,
    *,
    keys=None,
    tps=None,
    clock=None,
    directory=None,
    audit=None,
    meter=None,
    limits=None,
):
    """An endpoint; without keys it asks nobody who they are."""
    clock = clock or SystemClock()
    directory = directory or FakeDirectory()
    return VoiceIdEndpoint(
        handlers,
        service=load_service_model(),
        services=services,
        keys=keys,
        guard=Guard(account_id=ACCOUNT_ID, tags=directory, clock=clock),
        throttle=Throttle(tps or {}, clock),
        directory=directory,
        audit=audit or RecordingAudit(),
        meter=meter or RecordingMeter(),
        account_id=ACCOUNT_ID,
        clock=clock,
        limits=limits,
    )
