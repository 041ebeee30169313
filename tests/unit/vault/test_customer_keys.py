import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import InvalidRequest
from vivavoce.vault.customer_keys import DataKey, encryption_context, parse_key_name

HERE = "arn:aws:kms:eu-west-1:111122223333"
UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def arn(key_id):
    return parse_key_name(key_id, region="eu-west-1", account_id="111122223333").arn


@pytest.mark.parametrize(
    ("key_id", "expected"),
    [
        (UUID, f"{HERE}:key/{UUID}"),
        (
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            f"{HERE}:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        ),
        ("k", f"{HERE}:key/k"),
        ("alias/bank", f"{HERE}:alias/bank"),
        ("alias/bank/voice_1-a", f"{HERE}:alias/bank/voice_1-a"),
        ("alias/key/x", f"{HERE}:alias/key/x"),
    ],
)
def test_an_id_or_alias_belongs_to_the_region_and_account_of_the_request(key_id, expected):
    assert arn(key_id) == expected


@pytest.mark.parametrize(
    "key_id",
    [
        f"arn:aws:kms:us-west-2:444455556666:key/{UUID}",
        "arn:aws:kms:us-west-2:444455556666:alias/bank",
        f"arn:aws-us-gov:kms:us-gov-west-1:444455556666:key/{UUID}",
        "arn:aws-cn:kms:cn-north-1:444455556666:alias/a/b",
    ],
)
def test_an_arn_keeps_its_own_region_and_account(key_id):
    name = parse_key_name(key_id, region="eu-west-1", account_id="111122223333")
    assert name.arn == key_id
    assert name.is_alias == ("alias" in key_id)


def test_the_longest_names_are_accepted_and_one_more_letter_is_not():
    assert arn("alias/" + 250 * "x")
    assert arn(252 * "k")
    for key_id in ("alias/" + 251 * "x", 253 * "k", f"{HERE}:key/{253 * 'k'}", 2049 * "k"):
        with pytest.raises(InvalidRequest):
            arn(key_id)


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "key/abc",
        "alias/",
        "alias/ä",
        "alias/a b",
        "alias/a\n",
        f"{UUID}\n",
        "../etc/passwd",
        "arn:",
        "arn:aws:kms:eu-west-1:111122223333",
        "arn:aws:kms:eu-west-1:111122223333:key/",
        "arn:aws:kms:eu-west-1:111122223333:key/a/b",
        "arn:aws:kms:eu-west-1:111122223333:grant/a",
        "arn:aws:kms:eu-west-1:11112222333:key/a",
        "arn:aws:kms:eu-west-1:١١١١٢٢٢٢٣٣٣٣:key/a",
        "arn:aws:kms::111122223333:key/a",
        "arn:aws:kms:evil.example/:111122223333:key/a",
        "arn:aws:iam:eu-west-1:111122223333:key/a",
        "arn:gcp:kms:eu-west-1:111122223333:key/a",
        "null\0byte",
    ],
)
def test_anything_else_is_refused_with_what_is_expected(key_id):
    with pytest.raises(InvalidRequest, match="alias/<name>"):
        arn(key_id)


@pytest.mark.parametrize("region", ["", "EU", "a.b", "a/b", "a\n", 65 * "a"])
def test_a_region_that_is_none_is_refused(region):
    with pytest.raises(InvalidRequest, match="region"):
        parse_key_name("k", region=region, account_id="111122223333")


@given(key_id=st.text(max_size=60))
def test_what_is_accepted_has_an_arn_that_means_the_same_everywhere(key_id):
    try:
        first = arn(key_id)
    except InvalidRequest:
        return
    assert parse_key_name(first, region="us-east-1", account_id="000000000000").arn == first


def test_an_alias_and_a_key_of_one_owner_differ_only_in_the_resource():
    name = parse_key_name("alias/x", region="eu-west-1", account_id="111122223333")
    assert name.key_arn(UUID) == f"{HERE}:key/{UUID}"


def test_a_data_key_does_not_show_itself():
    assert "secret" not in repr(DataKey(plain=b"secret", wrapped=b"w"))


def test_the_encryption_context_is_the_one_that_key_policies_name():
    assert encryption_context("arn:d") == {"aws:voiceid:domain:arn": "arn:d"}
