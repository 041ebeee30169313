import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import CallRefused
from vivavoce.protocols.httpsignature import SignatureChecker, SignedRequest

NOW_S = 1_800_000_000
SECRET = b"a secret that is thirty-two long"
REQUIRED = frozenset({"@request-target", "@authority", "x-api-key"})


def sign(declared, *, target="/v1/audiohook?a=b", secret=SECRET, **headers):
    headers = {"host": "voice.example", "x-api-key": "key-1", **headers}
    values = {"@request-target": target, "@authority": headers["host"], **headers}
    names = [part.strip('"') for part in declared[1 : declared.index(")")].split()]
    lines = [f'"{name}": {values[name]}' for name in names]
    text = "\n".join([*lines, f'"@signature-params": {declared}'])
    value = base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()
    signed = {"signature-input": f"sig1={declared}", "signature": f"sig1=:{value}:"}
    return SignedRequest(target=target, headers={**headers, **signed})


def declare(*, created=NOW_S, nonce="n" * 22, rest=f";expires={NOW_S + 10}"):
    return (
        '("@request-target" "@authority" "x-api-key")'
        f';keyid="key-1";nonce="{nonce}";alg="hmac-sha256";created={created}{rest}'
    )


def check(request, *, now_s=NOW_S, checker=None):
    checker = checker or SignatureChecker(REQUIRED)
    return checker.check(request, secret_of={"key-1": SECRET}.get, now_s=now_s)


def test_a_genuine_request_names_its_key():
    assert check(sign(declare())) == "key-1"


@given(st.data())
def test_any_change_of_what_is_signed_is_noticed(data):
    request = sign(declare())
    name = data.draw(st.sampled_from([*request.headers]))
    text = request.headers[name]
    place = data.draw(st.integers(0, len(text) - 1))
    letters = st.characters(min_codepoint=33, max_codepoint=126)
    letter = data.draw(letters.filter(lambda letter: letter != text[place]))
    changed = text[:place] + letter + text[place + 1 :]
    # Base64 may write the same bytes in several ways.
    if name == "signature" and _decoded(changed) == _decoded(text):
        return
    with pytest.raises(CallRefused):
        check(SignedRequest(target=request.target, headers={**request.headers, name: changed}))


def _decoded(signature):
    try:
        return signature[:6], base64.b64decode(signature[6:-1]), signature[-1]
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("declared", "now_s"),
    [
        (declare(created=NOW_S - 11, rest=""), NOW_S),
        (declare(created=NOW_S + 4, rest=""), NOW_S),
        (declare(rest=f";expires={NOW_S - 1}"), NOW_S),
        (declare(rest="").replace(f"created={NOW_S}", 'created="now"'), NOW_S),
        (declare(), NOW_S + 11),
    ],
    ids=range(5),
)
def test_a_signature_has_its_time(declared, now_s):
    with pytest.raises(CallRefused):
        check(sign(declared), now_s=now_s)


def test_a_little_skew_of_clocks_is_borne():
    assert check(sign(declare(created=NOW_S + 3, rest="")))
    assert check(sign(declare(created=NOW_S - 10, rest="")))


def test_a_nonce_serves_once_and_is_forgotten_when_it_cannot_matter():
    checker = SignatureChecker(REQUIRED)
    check(sign(declare()), checker=checker)
    with pytest.raises(CallRefused, match="used before"):
        check(sign(declare()), checker=checker)
    with pytest.raises(CallRefused, match="used before"):
        check(sign(declare()), checker=checker, now_s=NOW_S + 10)
    for number in range(100):
        later = NOW_S + 100 + 14 * number
        request = sign(declare(created=later, nonce=f"{number:022}", rest=""))
        check(request, checker=checker, now_s=later)
    assert len(checker._used) == 1


def test_a_strangers_nonce_takes_no_memory():
    checker = SignatureChecker(REQUIRED)
    with pytest.raises(CallRefused):
        check(sign(declare(), secret=b"wrong"), checker=checker)
    assert not checker._used


def test_an_empty_secret_opens_nothing():
    checker = SignatureChecker(REQUIRED)
    with pytest.raises(CallRefused):
        checker.check(sign(declare(), secret=b""), secret_of=lambda _: b"", now_s=NOW_S)


@given(declared=st.text(), value=st.text())
def test_any_headers_are_read_or_refused(declared, value):
    headers = {"signature-input": declared, "signature": value}
    with pytest.raises(CallRefused):
        check(SignedRequest(target="/", headers=headers))
