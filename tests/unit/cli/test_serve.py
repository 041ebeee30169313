import socket

import pytest

from vivavoce.cli.serve import _announce, _listen
from vivavoce.errors import PortTaken, SettingsInvalid
from vivavoce.settings import read_settings


@pytest.fixture
def announce(data_dir, capsys):
    """What the server says when it listens."""

    def announce(**settings):
        _announce(read_settings({"data_dir": data_dir, **settings}), port=8470)
        return capsys.readouterr().err

    return announce


def test_it_says_where_its_credentials_are(announce, data_dir):
    said = announce()
    assert f"  export AWS_SHARED_CREDENTIALS_FILE={data_dir / 'credentials'}\n" in said
    assert "keys create" not in said


def test_credentials_that_are_not_there_are_said_to_be_missing_and_how_to_make_some(
    announce, data_dir
):
    (data_dir / "credentials").unlink()
    said = announce()
    assert f"There is no {data_dir / 'credentials'}" in said
    made_by = f"(umask 077; vivavoce keys create --data-dir {data_dir} --name default > "
    assert made_by in said


def test_a_sandbox_says_that_it_is_one(announce, data_dir):
    (data_dir / "credentials").unlink()
    assert announce(auth="none").splitlines()[1] == (
        "Requests are NOT authenticated: this is a sandbox."
    )


@pytest.mark.parametrize(
    ("host", "hint"),
    [("999.1.1.1", "is no address"), ("192.0.2.1", "is no address of this machine")],
)
def test_a_host_that_is_not_ours_is_not_taken_for_a_port_in_use(host, hint):
    with pytest.raises(SettingsInvalid, match="setting host") as refused:
        _listen(read_settings({"host": host, "port": 0}))
    assert hint in str(refused.value)
    assert "127.0.0.1" in str(refused.value)


def test_a_port_in_use_is_said_to_be(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port}.*Choose another port"):
            _listen(read_settings({"host": "127.0.0.1", "port": port, "data_dir": tmp_path}))
