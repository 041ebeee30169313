"""What is never logged, however much the operator asks for."""

import logging

import pytest

from vivavoce.logs import start_logging


@pytest.fixture
def as_it_was():
    names = ("", "botocore", "boto3", "urllib3", "httpx", "httpcore", "uvicorn.error", "alembic")
    loggers = {name: logging.getLogger(name) for name in names}
    levels = {name: logger.level for name, logger in loggers.items()}
    handlers = list(logging.getLogger().handlers)
    yield
    for name, logger in loggers.items():
        logger.setLevel(levels[name])
    logging.getLogger().handlers[:] = handlers
    logging.getLogger("uvicorn.access").disabled = False


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("botocore.parsers", "Response body: {'Plaintext': 'AAECAw=='}"),
        ("httpx", "HTTP Request: POST https://receiver.example/hook?token=secret"),
        ("httpcore.connection", "connect_tcp.started host='receiver.example'"),
        ("urllib3.connectionpool", "POST / HTTP/1.1"),
    ],
)
def test_even_at_debug_level_clients_log_no_keys_and_no_urls(capsys, source, text):
    start_logging("debug")
    logging.getLogger(source).info(text)
    logging.getLogger(source).debug(text)
    logging.getLogger("vivavoce.events").debug("an event was sent")
    said = capsys.readouterr().err
    assert text not in said
    assert "an event was sent" in said
