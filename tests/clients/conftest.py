"""The clients that AWS publishes, each unmodified, each as a stranger: in a process of its own."""

import contextlib
import functools
import json
import re
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.clients.installs import HERE, javascript, node_program, python_with

ALL = ("boto3", "first-botocore", "aws-cli", "javascript")

with_watchlists = pytest.mark.parametrize("aws", ["boto3", "aws-cli", "javascript"], indirect=True)
"""botocore 1.21.49 does not know them. Source: voice-id-behaviour.md, section 1."""


class Refused(Exception):
    """What a client made of an error; what it does not tell its user is None."""

    def __init__(
        self,
        code,
        message,
        *,
        status=None,
        request_id=None,
        is_typed=None,
        resource_type=None,
    ):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id
        self.is_typed = is_typed
        self.resource_type = resource_type


class _Driver:
    """A process that answers each line of JSON with one."""

    def __init__(self, command, environment):
        self._process = subprocess.Popen(
            [str(part) for part in command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask(self, question):
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        return json.loads(self._answers.readline())

    def end(self):
        self._questions.close()
        code = self._process.wait(30)
        self._answers.close()
        assert code == 0


class Library:
    """A client library, within a program that does what it is told."""

    def __init__(self, name, command, environment):
        self.name = name
        self._driver = _Driver(command, environment)
        self.end = self._driver.end

    def call(self, operation, **members):
        return self._ask(operation, members, page_size=None)

    def pages(self, operation, *, page_size, **members):
        return self._ask(operation, members, page_size=page_size)

    def _ask(self, operation, members, *, page_size):
        told = self._driver.ask({"operation": operation, "members": members, "page": page_size})
        if "refused" in told:
            raise Refused(**told["refused"])
        return told["answer"]


class CommandLine:
    """AWS CLI v1."""

    name = "aws-cli"

    def __init__(self, python, environment):
        self._driver = _Driver([python, HERE / "cli_driver.py"], environment)
        self.end = self._driver.end

    def run(self, *words):
        """Exit code, output and complaint of `aws voice-id WORDS`."""
        return tuple(self._driver.ask(["voice-id", *words]))

    def call(self, operation, **members):
        # Its own paging would make one answer of all pages.
        own = ["--no-paginate"] if operation in PAGED else []
        return self._call(operation, members, *own)

    def pages(self, operation, *, page_size, **members):
        """Its paginator shows no pages; they are all in one answer."""
        return [self._call(operation, members, "--page-size", str(page_size))]

    def _call(self, operation, members, *options):
        command = re.sub(r"(?<!^)(?=[A-Z])", "-", operation).lower()
        code, output, complaint = self.run(
            command, "--cli-input-json", json.dumps(members), *options
        )
        if code == 0:
            return json.loads(output or "{}")
        told = re.search(r"An error occurred \((\w+)\) when calling .*?: (.*)", complaint)
        if told is None:
            raise Refused("client-side", complaint)
        raise Refused(told[1], told[2])


PAGED = frozenset(
    {
        "ListDomains",
        "ListFraudsterRegistrationJobs",
        "ListFraudsters",
        "ListSpeakerEnrollmentJobs",
        "ListSpeakers",
        "ListWatchlists",
    }
)


@contextlib.contextmanager
def connected(name, server, **environment) -> Generator[Any]:
    """A client of this name that talks to a server."""
    surroundings = server.environment(AWS_REGION="us-east-1", AWS_MAX_ATTEMPTS="1", **environment)
    match name:
        case "boto3":
            client = Library(name, [sys.executable, HERE / "python_driver.py"], surroundings)
        case "first-botocore":
            python = python_with("botocore-first")
            # It is too old to look for an endpoint in its environment.
            client = Library(name, [python, HERE / "python_driver.py", server.url], surroundings)
        case "aws-cli":
            client = CommandLine(python_with("awscli"), surroundings)
        case _:
            command = [node_program(), HERE / "js_driver.mjs", javascript()]
            client = Library(name, command, surroundings)
    try:
        yield client
    finally:
        client.end()


@pytest.fixture(scope="session")
def _connections(_shared_server):
    """Clients by name, each started by the first test that asks for it."""
    with contextlib.ExitStack() as started:
        yield functools.cache(lambda name: started.enter_context(connected(name, _shared_server)))


@pytest.fixture(params=ALL)
def aws(request, _connections, server):
    """Each of the clients in turn; the server must come out of every test unharmed."""
    return _connections(request.param)


@pytest.fixture
def aws_domain_id(aws):
    return new_aws_domain(aws)


def new_aws_domain(aws, name="clients", **more):
    encryption = {"KmsKeyId": "alias/test"}
    made = aws.call("CreateDomain", Name=name, ServerSideEncryptionConfiguration=encryption, **more)
    return made["Domain"]["DomainId"]


@pytest.fixture
def command_line(_connections, server):
    return _connections("aws-cli")
