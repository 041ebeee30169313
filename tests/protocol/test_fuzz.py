"""A few thousand hostile requests; `bench/fuzz.py` sends a hundred thousand."""

import asyncio
import itertools

import pytest
from botocore.credentials import Credentials

from bench.fuzz import HostileRequests, send_all
from vivavoce.api.description import load_service_model


@pytest.mark.parametrize("seed", [1, 2])
def test_no_request_breaks_the_server(server, client, domain_id, seed):
    known = {"DomainId": [domain_id], "SpeakerId": ["customer-1"]}
    requests = HostileRequests(load_service_model(), seed, known)
    key = Credentials(*server.access_key)
    outcome = asyncio.run(send_all(iter(requests), 1500, port=server.port, credentials=key))
    assert outcome.failures == []
    assert sum(outcome.answers.values()) == 1500
    statuses = {status for _, status in outcome.answers}
    assert {"200", "400"} <= statuses
    client.describe_domain(DomainId=domain_id)


def test_the_same_seed_makes_the_same_requests():
    first, second = (
        list(itertools.islice(HostileRequests(load_service_model(), 7, {}), 200)) for _ in range(2)
    )
    assert first == second
