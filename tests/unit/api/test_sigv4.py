import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api import sigv4
from vivavoce.api.keys import AccessKey
from vivavoce.api.policy import Policy
from vivavoce.api.sigv4 import Caller, SignedRequest, claimed, verify
from vivavoce.errors import SignatureError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLE"
POLICY = Policy(())
PERMANENT = AccessKey(access_key_id="AKIDEXAMPLE", name="ann", secret=SECRET, policy=POLICY)
TEMPORARY = AccessKey(
    access_key_id="ASIDEXAMPLE",
    name="bob",
    secret=SECRET,
    session_token=TOKEN,
    policy=POLICY,
    expires_ms=4_000_000_000_000,
)
KEYS = {key.access_key_id: key for key in (PERMANENT, TEMPORARY)}
BODY = b'{"DomainId":"UcUuCPFOsAjzg9xoByUatN"}'
TARGET = "VoiceID.DescribeDomain"


def signed(
    *,
    key="AKIDEXAMPLE",
    secret=SECRET,
    token=None,
    service="voiceid",
    region="eu-west-2",
    body=BODY,
    headers=(),
):
    """A request as botocore signs it now, in the form ASGI hands it over."""
    request = AWSRequest(
        method="POST",
        url="http://127.0.0.1:8470/",
        data=body,
        headers={"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.0"}
        | dict(headers),
    )
    SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
    given = {"host": "127.0.0.1:8470", "user-agent": "boto"} | {
        name.lower(): value for name, value in request.headers.items()
    }
    return SignedRequest(headers=list(given.items()), query="", body=body)


def with_header(request, name, change):
    return replace(
        request, headers=[(n, change(v) if n == name else v) for n, v in request.headers]
    )


def without_header(request, name):
    return replace(request, headers=[(n, v) for n, v in request.headers if n != name])


def checked(request, now=None, keys=KEYS):
    authorization = claimed(request)
    key = keys.get(authorization.caller.access_key_id)
    return verify(request, authorization, key=key, now=now or datetime.now(UTC))


def refusal(request, now=None, keys=KEYS):
    with pytest.raises(SignatureError) as caught:
        checked(request, now, keys)
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_what_botocore_signs_is_accepted_in_any_region():
    for region in ("eu-west-2", "us-gov-east-1", "my-cellar"):
        caller = checked(signed(region=region))
        assert caller == Caller(access_key_id="AKIDEXAMPLE", region=region, key=PERMANENT)


def test_headers_that_botocore_would_not_sign_may_be_signed_by_others():
    class Thorough(SigV4Auth):
        def headers_to_sign(self, request):
            chosen = HTTPHeaders()
            for name, value in request.headers.items():
                chosen[name.lower()] = value
            return chosen

    headers = {"host": "here", "user-agent": "curl/8  (x)", "x-amz-target": TARGET}
    request = AWSRequest(method="POST", url="http://here/", data=BODY, headers=headers)
    Thorough(Credentials("AKIDEXAMPLE", SECRET), "voiceid", "r").add_auth(request)
    given = [(name.lower(), value) for name, value in request.headers.items()]
    assert "user-agent;x-amz-date;" in dict(given)["authorization"]
    checked(SignedRequest(headers=given, query="", body=BODY))


COVERED = ["body", "x-amz-target", "host", "x-amz-date", "content-type", "authorization"]


@given(st.sampled_from(COVERED), st.data())
def test_any_flipped_bit_is_refused(part, data):
    request = signed()
    original = BODY if part == "body" else (request.header(part) or "").encode("latin-1")
    start = original.index(b"Signature=") + 10 if part == "authorization" else 0
    position = data.draw(st.integers(start, len(original) - 1))
    flipped = bytearray(original)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    if part == "body":
        changed = replace(request, body=bytes(flipped))
    else:
        changed = with_header(request, part, lambda _: flipped.decode("latin-1"))
    assert refusal(changed).code in {"InvalidSignatureException", "IncompleteSignatureException"}


@given(st.text(max_size=120) | st.binary(max_size=120).map(lambda raw: raw.decode("latin-1")))
def test_any_authorization_header_gets_a_clean_refusal(header):
    refusal(with_header(signed(), "authorization", lambda _: header))
    refusal(with_header(signed(), "authorization", lambda _: f"AWS4-HMAC-SHA256 {header}"))
    refusal(
        with_header(
            signed(),
            "authorization",
            lambda old: re.sub("Credential=[^,]+", lambda _: f"Credential={header}", old),
        )
    )


def test_an_unsigned_request_lacks_its_token():
    request = without_header(signed(), "authorization")
    assert refusal(request).code == "MissingAuthenticationTokenException"


def test_a_presigned_request_is_not_taken():
    request = replace(
        without_header(signed(), "authorization"),
        query="X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00",
    )
    assert refusal(request).code == "MissingAuthenticationTokenException"


def test_another_scheme_is_refused_without_repeating_it():
    error = refusal(with_header(signed(), "authorization", lambda _: "Bearer eyJhbGciOi"))
    assert error.code == "IncompleteSignatureException"
    assert "eyJ" not in str(error)


@pytest.mark.parametrize("parameter", ["Credential", "SignedHeaders", "Signature"])
def test_a_missing_parameter_is_named(parameter):
    request = with_header(
        signed(), "authorization", lambda old: re.sub(f"{parameter}=[^,]+", "Other=1", old)
    )
    error = refusal(request)
    assert error.code == "IncompleteSignatureException"
    assert f"'{parameter}'" in str(error)


def test_an_unknown_key_is_not_recognised():
    error = refusal(signed(key="AKIDOTHER", secret="whatever"))
    assert error.code == "UnrecognizedClientException"


def test_a_permanent_key_with_a_session_token_is_not_recognised():
    assert refusal(signed(token="FwoGZXIvYXdz")).code == "UnrecognizedClientException"


def test_a_temporary_key_is_accepted_with_its_token():
    caller = checked(signed(key="ASIDEXAMPLE", token=TOKEN))
    assert caller.key is TEMPORARY


@pytest.mark.parametrize("token", [None, "", TOKEN[:-1], f"{TOKEN}A", TOKEN.lower(), "é"])
def test_a_temporary_key_without_exactly_its_token_is_not_recognised(token):
    request = signed(key="ASIDEXAMPLE", token=token)
    assert refusal(request).code == "UnrecognizedClientException"


def test_the_token_must_be_signed():
    request = signed(key="ASIDEXAMPLE")
    request = replace(request, headers=[*request.headers, ("x-amz-security-token", TOKEN)])
    error = refusal(request)
    assert error.code == "InvalidSignatureException"
    assert "'x-amz-security-token' must be a 'SignedHeader'" in str(error)


def test_a_key_is_refused_from_the_millisecond_on_in_which_it_expires():
    request = signed(key="ASIDEXAMPLE", token=TOKEN)
    now = datetime.now(UTC).replace(microsecond=500_000)
    expires_ms = round(now.timestamp() * 1000)
    expired = {"ASIDEXAMPLE": replace(TEMPORARY, expires_ms=expires_ms)}
    error = refusal(request, now, expired)
    assert error.code == "ExpiredTokenException"
    assert str(error) == "The security token included in the request is expired"
    live = {"ASIDEXAMPLE": replace(TEMPORARY, expires_ms=expires_ms + 1)}
    assert checked(request, now, live).key is live["ASIDEXAMPLE"]


def test_only_who_holds_an_expired_key_learns_that_it_has_expired():
    request = signed(key="ASIDEXAMPLE", token=TOKEN, secret="guess")
    expired = {"ASIDEXAMPLE": replace(TEMPORARY, expires_ms=1)}
    assert refusal(request, keys=expired).code == "InvalidSignatureException"


def test_a_key_with_a_new_secret_is_not_verified_by_the_old_one():
    request = signed()
    checked(request)
    changed = {"AKIDEXAMPLE": replace(PERMANENT, secret="another")}
    assert "does not match" in str(refusal(request, keys=changed))


def test_a_wrong_secret_gives_a_wrong_signature():
    error = refusal(signed(secret="guess"))
    assert error.code == "InvalidSignatureException"
    assert "does not match" in str(error)


def test_the_scope_must_name_this_service():
    assert "'voiceid'" in str(refusal(signed(service="execute-api")))


@pytest.mark.parametrize("region", ["", "a b", "x" * 65, "eu:west"])
def test_a_region_that_would_spoil_arns_is_refused(region):
    assert refusal(signed(region=region)).code == "InvalidSignatureException"


def at(instant):
    """A request as botocore would sign it at an instant."""
    timestamp = instant.strftime("%Y%m%dT%H%M%SZ")
    request = AWSRequest(
        method="POST",
        url="http://127.0.0.1:8470/",
        data=BODY,
        headers={"X-Amz-Target": TARGET, "X-Amz-Date": timestamp},
    )
    request.context["timestamp"] = timestamp
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "voiceid", "eu-west-2")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    given = {"host": "127.0.0.1:8470"} | {
        name.lower(): value for name, value in request.headers.items()
    }
    return SignedRequest(headers=list(given.items()), query="", body=BODY)


NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [-300, -299.5, 0, 299.5, 300])
def test_a_clock_that_is_up_to_five_minutes_off_is_forgiven(seconds):
    assert checked(at(NOON), NOON + timedelta(seconds=seconds)).key is PERMANENT


@pytest.mark.parametrize(
    ("seconds", "wording"),
    [(300.001, "Signature expired"), (-300.001, "Signature not yet current")],
)
def test_a_signature_out_of_its_time_is_refused(seconds, wording):
    error = refusal(at(NOON), NOON + timedelta(seconds=seconds))
    assert error.code == "InvalidSignatureException"
    assert str(error).startswith(f"{wording}: 20261122T120000Z is ")


def test_a_signature_from_before_midnight_holds_after_it():
    evening = datetime(2026, 12, 31, 23, 58, 0, tzinfo=UTC)
    assert checked(at(evening), evening + timedelta(minutes=4)).key is PERMANENT
    morning = datetime(2027, 1, 1, 0, 2, 0, tzinfo=UTC)
    assert checked(at(morning), morning - timedelta(minutes=4)).key is PERMANENT


def test_the_day_is_that_of_utc_wherever_the_server_stands():
    tokyo = timezone(timedelta(hours=9))
    late = datetime(2026, 11, 22, 23, 0, 0, tzinfo=UTC)
    assert checked(at(late), late.astimezone(tokyo)).key is PERMANENT


def test_the_scope_of_another_day_is_refused():
    request = with_header(
        at(NOON), "authorization", lambda old: old.replace("/20261122/", "/20261121/")
    )
    assert "Date in Credential scope" in str(refusal(request, NOON))


@pytest.mark.parametrize(
    "timestamp",
    [
        "20261122T120000",
        "20261122T120000z",
        "20261122 120000Z",
        "20261122T120000Z0",
        "20261122T12000\u00b2Z",
        "20261122T250000Z",
        "20261322T120000Z",
        "20261122",
    ],
)
def test_a_date_that_is_none_is_refused(timestamp):
    request = with_header(at(NOON), "x-amz-date", lambda _: timestamp)
    request = with_header(
        request, "authorization", lambda old: old.replace("/20261122/", f"/{timestamp[:8]}/")
    )
    assert refusal(request, NOON).code == "IncompleteSignatureException"


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target", "content-type"])
def test_what_steers_the_answer_must_be_signed(name):
    request = with_header(
        signed(),
        "authorization",
        lambda old: old.replace(f"{name};", "").replace(f";{name},", ","),
    )
    error = refusal(request)
    assert error.code == "InvalidSignatureException"
    assert f"'{name}' must be a 'SignedHeader'" in str(error)


def test_a_header_added_on_the_way_is_refused():
    request = signed()
    for name in ("x-amz-target", "host", "x-amz-date", "authorization", "x-amz-security-token"):
        more = replace(request, headers=[*request.headers, (name, "VoiceID.DeleteDomain")])
        refusal(more)


def test_the_hash_header_must_be_that_of_the_body():
    unsigned_payload = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert "SHA-256 of the body" in str(refusal(unsigned_payload))


@pytest.mark.parametrize(
    "signature", ["", "0" * 63, "0" * 65, "G" * 64, "\u00e9" * 64, "\u0661" * 64]
)
def test_a_signature_that_is_not_64_hex_digits_is_refused(signature):
    request = with_header(
        signed(), "authorization", lambda old: re.sub("Signature=.*", f"Signature={signature}", old)
    )
    assert refusal(request).code in {"InvalidSignatureException", "IncompleteSignatureException"}


def test_a_signature_in_capitals_is_refused():
    def in_capitals(old):
        head, _, signature = old.partition("Signature=")
        assert signature != signature.upper()
        return f"{head}Signature={signature.upper()}"

    assert "does not match" in str(refusal(with_header(signed(), "authorization", in_capitals)))


def test_a_repeated_parameter_is_refused():
    request = with_header(signed(), "authorization", lambda old: f"{old}, Signature={'0' * 64}")
    assert refusal(request).code == "IncompleteSignatureException"


@pytest.mark.parametrize("name", ["x-amz-target", "host", "content-type", "x-amz-date"])
def test_a_repeated_header_that_steers_the_answer_is_refused_even_if_signed_so(name):
    request = signed()
    value = request.header(name)
    request = replace(request, headers=[*request.headers, (name, value)])
    error = refusal(request)
    assert error.code == "IncompleteSignatureException"
    assert f"'{name}' is repeated" in str(error)


def test_a_signed_header_that_got_lost_on_the_way_is_refused():
    request = signed(headers={"X-Team": "blue"})
    checked(request)
    assert "not in the request" in str(refusal(without_header(request, "x-team")))


SPACED = st.text(alphabet="ab \t", max_size=12)


@given(st.lists(SPACED, min_size=1, max_size=3))
def test_white_space_and_repeated_headers_are_signed_as_botocore_does(values):
    request = AWSRequest(
        method="POST", url="http://here/", data=BODY, headers={"X-Amz-Target": TARGET}
    )
    for value in values:
        request.headers["X-Team"] = value  # adds another one
    SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "voiceid", "r").add_auth(request)
    headers = [("host", "here")]
    headers += [(name.lower(), value) for name, value in request.headers.items()]
    checked(SignedRequest(headers=headers, query="", body=BODY))


def test_a_no_break_space_is_no_space():
    request = signed(headers={"X-Team": "blue red"})
    for changed in ("blue\u00a0red", "blue red\u00a0", "\u0085blue red"):
        error = refusal(with_header(request, "x-team", lambda _, changed=changed: changed))
        assert "does not match" in str(error)


def test_bytes_beyond_ascii_are_signed_as_they_are_on_the_wire():
    # A client that writes UTF-8 signs those bytes, and they come here as Latin-1.
    request = signed(headers={"X-Team": "Zoë"})
    checked(with_header(request, "x-team", lambda old: old.encode().decode("latin-1")))


BODIES = st.binary(max_size=300)
REGIONS = st.text(alphabet="abz09-", min_size=1, max_size=20)
SECRETS = st.text(alphabet="azAZ09_-+/", min_size=1, max_size=60)


@given(body=BODIES, region=REGIONS, secret=SECRETS, token=st.none() | SECRETS)
def test_whatever_botocore_signs_is_accepted(body, region, secret, token):
    request = signed(region=region, body=body, secret=secret, token=token)
    key = replace(PERMANENT, secret=secret, session_token=token)
    assert checked(request, keys={"AKIDEXAMPLE": key}).region == region


def test_signing_keys_are_held_in_bounds():
    for day in range(1100):
        checked(at(NOON + timedelta(days=day)), NOON + timedelta(days=day))
    assert sigv4._signing_key.cache_info().currsize <= 1024
