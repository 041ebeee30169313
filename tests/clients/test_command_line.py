"""What scripts around AWS CLI v1 rely on: its words, its output, its exit codes."""

import json

import pytest

from tests.clients.conftest import connected, new_aws_domain

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def domain_id(command_line):
    return new_aws_domain(command_line)


def test_an_environment_variable_leads_it_here(command_line, domain_id):
    code, output, complaint = command_line.run("describe-domain", "--domain-id", domain_id)
    assert (code, complaint) == (0, "")
    assert json.loads(output)["Domain"]["DomainId"] == domain_id


def test_an_option_leads_it_here(server, domain_id):
    with connected("aws-cli", server, AWS_ENDPOINT_URL_VOICE_ID="http://127.0.0.1:9") as lost:
        found = lost.run("describe-domain", "--domain-id", domain_id, "--endpoint-url", server.url)
        assert found[0] == 0
        assert lost.run("describe-domain", "--domain-id", domain_id)[0] != 0


def test_timestamps_are_printed_as_numbers(command_line, domain_id):
    _, output, _ = command_line.run("describe-domain", "--domain-id", domain_id)
    created_at = json.loads(output)["Domain"]["CreatedAt"]
    assert isinstance(created_at, float | int)


def test_a_refusal_has_its_own_exit_code(command_line, domain_id):
    code, output, complaint = command_line.run(
        "describe-speaker", "--domain-id", domain_id, "--speaker-id", "nobody"
    )
    assert (code, output) == (255, "")
    assert complaint.strip() == (
        "An error occurred (ResourceNotFoundException) when calling the DescribeSpeaker "
        "operation: The requested speaker does not exist"
    )


def test_a_word_that_it_does_not_know_never_gets_here(command_line):
    code, output, _ = command_line.run("start-session")
    assert (code, output) == (2, "")


def test_a_query_picks_one_value(command_line, domain_id):
    code, output, _ = command_line.run(
        *("opt-out-speaker", "--domain-id", domain_id, "--speaker-id", "caller-1"),
        *("--query", "Speaker.Status", "--output", "text"),
    )
    assert (code, output) == (0, "OPTED_OUT\n")


def test_what_answers_nothing_prints_nothing(command_line, domain_id):
    speaker = ("--domain-id", domain_id, "--speaker-id", "caller-1")
    command_line.run("opt-out-speaker", *speaker)
    assert command_line.run("delete-speaker", *speaker) == (0, "", "")


def test_it_walks_through_pages_by_itself(command_line, domain_id):
    for name in ("caller-1", "caller-2", "caller-3"):
        command_line.run("opt-out-speaker", "--domain-id", domain_id, "--speaker-id", name)
    code, output, _ = command_line.run(
        *("list-speakers", "--domain-id", domain_id, "--page-size", "1"),
        *("--query", "SpeakerSummaries[].CustomerSpeakerId", "--output", "json"),
    )
    assert code == 0
    assert json.loads(output) == ["caller-1", "caller-2", "caller-3"]
