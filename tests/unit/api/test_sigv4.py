import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api.sigv4 import Caller, SignedRequest, verify
from vivavoce.errors import SignatureError

KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
BODY = b'{"DomainId":"UcUuCPFOsAjzg9xoByUatN"}'
TARGET = "VoiceID.DescribeDomain"


def signed(
    *,
    key="AKIDEXAMPLE",
    secret=KEYS["AKIDEXAMPLE"],
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


def refusal(request, now=None):
    with pytest.raises(SignatureError) as caught:
        verify(request, secret_of=KEYS.get, now=now or datetime.now(UTC))
    assert KEYS["AKIDEXAMPLE"] not in str(caught.value)
    return caught.value


def test_what_botocore_signs_is_accepted_in_any_region():
    for region in ("eu-west-2", "us-gov-east-1", "my-cellar"):
        caller = verify(signed(region=region), secret_of=KEYS.get, now=datetime.now(UTC))
        assert caller == Caller(access_key_id="AKIDEXAMPLE", region=region)


def test_headers_that_botocore_would_not_sign_may_be_signed_by_others():
    class Thorough(SigV4Auth):
        def headers_to_sign(self, request):
            chosen = HTTPHeaders()
            for name, value in request.headers.items():
                chosen[name.lower()] = value
            return chosen

    headers = {"host": "here", "user-agent": "curl/8  (x)", "x-amz-target": TARGET}
    request = AWSRequest(method="POST", url="http://here/", data=BODY, headers=headers)
    Thorough(Credentials("AKIDEXAMPLE", KEYS["AKIDEXAMPLE"]), "voiceid", "r").add_auth(request)
    given = [(name.lower(), value) for name, value in request.headers.items()]
    assert "user-agent;x-amz-date;" in dict(given)["authorization"]
    verify(
        SignedRequest(headers=given, query="", body=BODY),
        secret_of=KEYS.get,
        now=datetime.now(UTC),
    )


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


def test_a_session_token_is_not_recognised():
    assert refusal(signed(token="FwoGZXIvYXdz")).code == "UnrecognizedClientException"


def test_a_wrong_secret_gives_a_wrong_signature():
    error = refusal(signed(secret="guess"))
    assert error.code == "InvalidSignatureException"
    assert "does not match" in str(error)


def test_the_scope_must_name_this_service():
    assert "'voiceid'" in str(refusal(signed(service="execute-api")))


@pytest.mark.parametrize("region", ["", "a b", "x" * 65, "eu:west"])
def test_a_region_that_would_spoil_arns_is_refused(region):
    assert refusal(signed(region=region)).code == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("minutes", "wording"), [(5.1, "Signature expired"), (-5.1, "Signature not yet current")]
)
def test_a_signature_out_of_its_time_is_refused(minutes, wording):
    error = refusal(signed(), now=datetime.now(UTC) + timedelta(minutes=minutes))
    assert error.code == "InvalidSignatureException"
    assert str(error).startswith(wording)


@pytest.mark.parametrize("minutes", [-4.9, 4.9])
def test_a_clock_that_is_a_little_off_is_forgiven(minutes):
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    assert verify(signed(), secret_of=KEYS.get, now=now).region == "eu-west-2"


def test_the_scope_and_the_date_header_must_agree():
    request = with_header(signed(), "x-amz-date", lambda _: "20200101T000000Z")
    assert "Date in Credential scope" in str(refusal(request))


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
