import contextlib

import pytest

from tests.protocol import clients
from tests.server import Server, complaints


@pytest.fixture(scope="module")
def connect():
    """Makes boto3 clients; their sockets are closed at the end of the module."""
    with contextlib.ExitStack() as stack:

        def make(server, key=None, **where):
            client = clients.connect(server, key, **where)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts servers that the tests of a module share, with settings."""
    servers = []

    def start(**settings):
        servers.append(Server(tmp_path_factory.mktemp("server"), **settings))
        return servers[-1].start()

    yield start
    for server in servers:
        server.end()
    for server in servers:
        assert complaints(server.log) == []
