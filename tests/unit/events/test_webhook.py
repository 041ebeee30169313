import pytest

from tests.fakes import StillClock
from vivavoce.errors import SettingsInvalid
from vivavoce.events.webhook import WebhookSink

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make(url="https://receiver.example/hook", secret=SECRET, **options):
    return WebhookSink(url, secret, clock=StillClock(), **options)


@pytest.mark.parametrize(
    "url",
    [
        "https://receiver.example/hook?a=b",
        "https://user:pass@receiver.example:8443/",
        "http://127.0.0.1:9000/hook",
        "http://[::1]/",
        "http://localhost:9000",
    ],
)
def test_https_and_this_machine_itself_are_fine(url):
    make(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/",
        "http://10.0.0.7/",
        "http://127.0.0.1.example/",
        "ftp://receiver.example/",
        "receiver.example/hook",
        "https://",
        "https://[::1",
        "",
        "file:///etc/passwd",
        "https://receiver.example:99999999/",
    ],
)
def test_another_url_is_refused(url):
    with pytest.raises(SettingsInvalid, match="URL"):
        make(url)


def test_http_to_another_machine_has_to_be_allowed():
    make("http://receiver.example/", allows_http=True)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "   ",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_c2hvcnQ=",
        "whsec_" + "A" * 200,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
        f"{SECRET} whsec_c2hvcnQ=",
    ],
)
def test_a_secret_that_is_none_is_refused_without_showing_it(secret):
    with pytest.raises(SettingsInvalid, match="secret") as refused:
        make(secret=secret)
    assert "MfKQ9r8GKYqrTwjUPD8I" not in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)


def test_a_secret_may_come_without_padding():
    make(secret="whsec_" + "QUJD" * 10 + "QQ")
