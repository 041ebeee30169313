import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.api.policy import (
    MAX_POLICY_BYTES,
    Decision,
    Policy,
    Question,
    _may_fit,
    _Patterns,
)
from vivavoce.errors import PolicyInvalid

ARN = "arn:aws:voiceid:eu-west-2:123456789012:domain/UcUuCPFOsAjzg9xoByUatN"
OTHER_ARN = "arn:aws:voiceid:us-east-1:123456789012:domain/b1c2d3e4f5g6h7i8j9k0lm"
ALLOWED, IMPLICIT, EXPLICIT = (
    Decision.ALLOWED,
    Decision.IMPLICITLY_DENIED,
    Decision.EXPLICITLY_DENIED,
)


def statement(effect="Allow", **elements: Any) -> dict[str, Any]:
    named = {"Effect": effect}
    if "NotAction" not in elements:
        named["Action"] = "voiceid:*"
    if "NotResource" not in elements:
        named["Resource"] = "*"
    return named | elements


def policy(*statements, version="2012-10-17"):
    return Policy.parse(json.dumps({"Version": version, "Statement": list(statements)}))


def ask(asked, action="voiceid:DescribeDomain", resource=ARN, **facts):
    return asked.decide(Question(action=action, resource=resource, facts=facts.get("facts", {})))


def fits(condition, facts, effect="Allow"):
    """Whether a statement with this condition speaks of these facts."""
    decision = ask(policy(statement(effect, Condition=condition)), facts=facts)
    return decision is (ALLOWED if effect == "Allow" else EXPLICIT)


def refusal(text):
    with pytest.raises(PolicyInvalid) as caught:
        Policy.parse(text if isinstance(text, str) else json.dumps(text))
    return str(caught.value)


def test_what_nobody_allows_is_denied():
    assert ask(policy(statement(Action="voiceid:ListDomains"))) is IMPLICIT
    assert ask(policy(statement("Deny", Action="voiceid:ListDomains"))) is IMPLICIT


def test_an_explicit_deny_wins_wherever_it_stands():
    allow, deny = statement(), statement("Deny", Action="voiceid:Describe*")
    assert ask(policy(allow, deny)) is EXPLICIT
    assert ask(policy(deny, allow)) is EXPLICIT
    assert ask(policy(deny, allow), action="voiceid:ListSpeakers") is ALLOWED


def test_a_single_statement_needs_no_list():
    one = Policy.parse(json.dumps({"Version": "2012-10-17", "Statement": statement()}))
    assert ask(one) is ALLOWED


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", True),
        ("*:*", True),
        ("voiceid:*", True),
        ("VOICEID:describedomain", True),
        ("voiceid:Describe*", True),
        ("voiceid:*Domain", True),
        ("voiceid:Des?ribeDomain", True),
        ("voiceid:D*e*D*n", True),
        ("voiceid:ListDomain?", False),
        ("voiceid:*Domains", False),
        ("voiceid:Describe?*Job", False),
        ("voiceid:RegisterComplianceConsent", False),
        ("iam:*", False),
    ],
)
def test_actions_match_by_wildcards_and_without_case(pattern, fitting):
    assert ask(policy(statement(Action=pattern))) is (ALLOWED if fitting else IMPLICIT)
    assert ask(policy(statement(NotAction=pattern))) is (IMPLICIT if fitting else ALLOWED)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", True),
        (ARN, True),
        (ARN.lower(), False),
        ("arn:aws:voiceid:*:123456789012:domain/*", True),
        ("arn:aws:voiceid:eu-*:*:domain/UcUuCPFOsAjzg9xoByUat?", True),
        ("arn:aws:voiceid:us-*:123456789012:domain/*", False),
        ("arn:aws:voiceid:*", True),
        ("arn:aws:s3:*", False),
        (OTHER_ARN, False),
    ],
)
def test_resources_match_by_wildcards_and_with_case(pattern, fitting):
    assert ask(policy(statement(Resource=pattern))) is (ALLOWED if fitting else IMPLICIT)
    assert ask(policy(statement(Resource=[OTHER_ARN, pattern]))) is (
        ALLOWED if fitting else IMPLICIT
    )
    assert ask(policy(statement(NotResource=pattern))) is (IMPLICIT if fitting else ALLOWED)


def test_an_action_without_a_resource_is_allowed_on_all_resources_only():
    for resource, decision in (("*", ALLOWED), ("arn:*", IMPLICIT), (ARN, IMPLICIT)):
        asked = policy(statement(Resource=resource))
        assert ask(asked, action="voiceid:ListDomains", resource="*") is decision


def test_a_misspelt_exception_is_refused():
    assert "Statement[0].NotAction" in refusal(
        {"Statement": statement(NotAction=["iam:*", "voiceid:DeleteSpeker"])}
    )


@pytest.mark.parametrize(
    ("resource", "is_idle"),
    [
        ("*", False),
        (ARN, False),
        ("arn:aws:voiceid:*", False),
        ("arn:*:123456789012:domain/*", False),
        ("arn:aws:voiceid:*:*:domain/Uc*", False),
        (ARN.replace("123456789012", "000000000000"), True),
        (ARN.replace(":aws:", ":aws-cn:"), True),
        (ARN[:-1], True),
        ("arn:aws:s3:::x", True),
        ("arn:aws:s3:*", True),
        ("arn:aws:voiceid:*:*:speaker/*", True),
    ],
)
def test_a_resource_that_no_domain_can_be_is_told(resource, is_idle):
    told = (resource,) if is_idle else ()
    one = policy(
        statement(Action="voiceid:ListDomains"), statement("Deny", Resource=["*", resource])
    )
    assert one.idle_resources("123456789012") == told
    assert policy(statement(NotResource=resource)).idle_resources("123456789012") == told


GLOBS = st.text(alphabet="ab*?", max_size=12)
TEXTS = st.text(alphabet="ab:\n", max_size=12)


@given(st.lists(GLOBS, max_size=3), TEXTS)
def test_wildcards_mean_what_they_mean_in_a_shell(patterns, text):
    wanted = any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
    assert _Patterns(patterns).fit(text) is wanted


@given(GLOBS, GLOBS, st.text(alphabet="ab", max_size=12))
def test_a_pattern_fits_a_shape_if_one_text_fits_both(pattern, shape, text):
    if _Patterns([pattern]).fit(text) and _Patterns([shape]).fit(text):
        assert _may_fit(pattern, shape)


@pytest.mark.parametrize(
    ("pattern", "shape"), [("a*", "b*"), ("*a", "*b"), ("??", "?"), ("a?*", "a"), ("*:*", "a*?")]
)
def test_a_pattern_does_not_fit_a_shape_if_no_text_fits_both(pattern, shape):
    assert not _may_fit(pattern, shape)


@given(st.text(alphabet="[]().\\^$+|{}-!a", max_size=20))
def test_other_signs_stand_for_themselves(text):
    assert _Patterns([f"?{text}*x"]).fit(f"_{text}..x")
    assert not _Patterns([f"?{text}*x"]).fit(f"_{text}..y")


@pytest.mark.timeout(5)
@pytest.mark.parametrize("pattern", ["a*" * 4000 + "b", "*a?" * 3000 + "b", "*" * 9000 + "?b"])
def test_a_hostile_pattern_costs_no_more_than_its_length(pattern):
    assert not _Patterns([pattern]).fit("a" * 5000)


TAGS = {"aws:TagKeys": ("team", "cost"), "aws:RequestTag/team": ("blue",)}


@pytest.mark.parametrize(
    ("condition", "facts", "fitting"),
    [
        ({"StringEquals": {"aws:username": "ann"}}, {"aws:username": ("ann",)}, True),
        ({"StringEquals": {"aws:username": ["bob", "ann"]}}, {"aws:username": ("ann",)}, True),
        ({"StringEquals": {"aws:username": "a*"}}, {"aws:username": ("ann",)}, False),
        ({"StringEquals": {"aws:username": "Ann"}}, {"aws:username": ("ann",)}, False),
        ({"StringEquals": {"AWS:UserName": "ann"}}, {"aws:username": ("ann",)}, True),
        ({"StringEquals": {"aws:username": "ann"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:username": "ann"}}, {}, True),
        ({"StringEqualsIfExists": {"aws:username": "ann"}}, {"aws:username": ("bob",)}, False),
        ({"StringNotEquals": {"aws:username": ["a", "b"]}}, {"aws:username": ("b",)}, False),
        ({"StringNotEquals": {"aws:username": ["a", "b"]}}, {"aws:username": ("c",)}, True),
        ({"StringNotEquals": {"aws:username": "ann"}}, {}, True),
        ({"StringEqualsIgnoreCase": {"aws:username": "ANN"}}, {"aws:username": ("ann",)}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:username": "ANN"}}, {"aws:username": ("ann",)}, False),
        ({"StringLike": {"aws:username": ["b*", "a?n"]}}, {"aws:username": ("ann",)}, True),
        ({"StringNotLike": {"aws:username": "a*"}}, {"aws:username": ("ann",)}, False),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws:SecureTransport": ("true",)}, True),
        ({"Bool": {"aws:SecureTransport": "TRUE"}}, {"aws:SecureTransport": ("false",)}, False),
        ({"BoolIfExists": {"aws:SecureTransport": "true"}}, {}, True),
        ({"Null": {"aws:RequestTag/team": "true"}}, {}, True),
        ({"Null": {"aws:RequestTag/team": "true"}}, TAGS, False),
        ({"Null": {"aws:RequestTag/team": False}}, TAGS, True),
        ({"Null": {"aws:TagKeys": "false"}}, {}, False),
        ({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}, {"aws:SourceIp": ("10.1.2.3",)}, True),
        ({"IpAddress": {"aws:SourceIp": "10.1.9.9/16"}}, {"aws:SourceIp": ("10.1.2.3",)}, True),
        ({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}, {"aws:SourceIp": ("10.2.0.1",)}, False),
        (
            {"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}},
            {"aws:SourceIp": ("::ffff:10.1.0.1",)},
            True,
        ),
        (
            {"IpAddress": {"aws:SourceIp": "2001:db8::/32"}},
            {"aws:SourceIp": ("2001:db8::1",)},
            True,
        ),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, {"aws:SourceIp": ("not an ip",)}, False),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": ("10.2.0.1",)}, False),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": ("11.0.0.1",)}, True),
        (
            {"DateLessThan": {"aws:CurrentTime": "2026-12-31T23:59:59Z"}},
            {"aws:CurrentTime": ("2026-11-22T17:00:00+00:00",)},
            True,
        ),
        (
            {"DateGreaterThan": {"aws:CurrentTime": "2026-11-22T18:00:00+01:00"}},
            {"aws:CurrentTime": ("2026-11-22T17:00:00Z",)},
            False,
        ),
        (
            {"DateGreaterThanEquals": {"aws:CurrentTime": "2026-11-22T18:00:00+01:00"}},
            {"aws:CurrentTime": ("2026-11-22T17:00:00Z",)},
            True,
        ),
        ({"DateLessThanEquals": {"aws:EpochTime": 100}}, {"aws:EpochTime": ("100",)}, True),
        ({"DateEquals": {"aws:EpochTime": "1970-01-02"}}, {"aws:EpochTime": ("86400",)}, True),
        ({"DateNotEquals": {"aws:EpochTime": "1970-01-02"}}, {"aws:EpochTime": ("86400",)}, False),
        ({"NumericLessThan": {"aws:EpochTime": "100"}}, {"aws:EpochTime": ("99.5",)}, True),
        ({"NumericLessThan": {"aws:EpochTime": "100"}}, {"aws:EpochTime": ("100",)}, False),
        ({"NumericGreaterThan": {"aws:EpochTime": 9}}, {"aws:EpochTime": ("10",)}, True),
        ({"NumericLessThanEquals": {"aws:EpochTime": 9}}, {"aws:EpochTime": ("9",)}, True),
        ({"NumericGreaterThanEquals": {"aws:EpochTime": 9}}, {"aws:EpochTime": ("8",)}, False),
        ({"NumericEquals": {"aws:EpochTime": ["7", 9.0]}}, {"aws:EpochTime": ("9",)}, True),
        ({"NumericNotEquals": {"aws:EpochTime": 9}}, {"aws:EpochTime": ("9",)}, False),
        ({"NumericEquals": {"aws:RequestTag/team": 9}}, TAGS, False),
        (
            {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"}},
            {"aws:PrincipalArn": ("arn:aws:iam::123456789012:user/ann",)},
            True,
        ),
        (
            {"ArnEquals": {"aws:PrincipalArn": "arn:aws:*:*:user/ann"}},
            {"aws:PrincipalArn": ("arn:aws:iam::123456789012:user/ann",)},
            None,
        ),
        (
            {"ArnEquals": {"aws:PrincipalArn": "arn:*:iam:*:*:user/ann"}},
            {"aws:PrincipalArn": ("arn:aws:iam::1:x:user/ann",)},
            False,
        ),
        (
            {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"}},
            {"aws:PrincipalArn": ("arn:aws:iam::123456789012:user/ann",)},
            False,
        ),
        ({"ArnLike": {"aws:PrincipalArn": "arn:*:*:*:*:*"}}, {"aws:PrincipalArn": ("ann",)}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost", "x"]}}, TAGS, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}, TAGS, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}, {}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["x"]}}, TAGS, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["team"]}}, TAGS, False),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": ["te*"]}}, TAGS, True),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": ["x*"]}}, TAGS, False),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": ["te*"]}}, {}, False),
        ({"ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["te*"]}}, {}, False),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["team"]}}, TAGS, True),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["team", "cost"]}}, TAGS, False),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["team"]}}, {}, False),
        (
            {
                "StringEquals": {"aws:RequestTag/team": "blue"},
                "Bool": {"aws:SecureTransport": "true"},
            },
            TAGS,
            False,
        ),
        (
            {"StringEquals": {"aws:RequestTag/team": "blue", "aws:RequestTag/cost": "7"}},
            TAGS,
            False,
        ),
    ],
)
def test_conditions_hold_as_iam_documents_them(condition, facts, fitting):
    if fitting is None:
        assert "six parts" in refusal({"Statement": statement(Condition=condition)})
        return
    assert fits(condition, facts) is fitting
    assert fits(condition, facts, "Deny") is fitting


def test_a_tags_key_fits_without_case_and_in_doubt_denies():
    condition = {"StringEquals": {"aws:ResourceTag/Team": "blue"}}
    assert fits(condition, {"aws:ResourceTag/team": ("blue",)})
    both = {"aws:ResourceTag/team": ("blue",), "aws:ResourceTag/TEAM": ("red",)}
    assert not fits(condition, both)
    assert fits(condition, both, "Deny")


def test_a_policy_says_which_facts_it_needs():
    plain = policy(statement())
    assert not plain.needs_resource_tags
    assert plain.condition_keys == frozenset()
    asking = policy(
        statement(), statement("Deny", Condition={"Null": {"aws:ResourceTag/Env": "true"}})
    )
    assert asking.needs_resource_tags
    assert asking.condition_keys == {"aws:resourcetag/env"}
    request = policy(statement(Condition={"Null": {"aws:RequestTag/Env": "true"}}))
    assert not request.needs_resource_tags


def test_statements_for_other_services_are_let_pass_unread():
    passing = statement(
        Action=["iam:PassRole", "kms:*"],
        Resource="arn:aws:iam::${aws:PrincipalAccount}:role/jobs",
        Condition={"StringEquals": {"iam:PassedToService": "voiceid.amazonaws.com"}},
    )
    both = policy(passing, statement(Action="voiceid:List*"))
    assert both.condition_keys == frozenset()
    assert ask(both, action="voiceid:ListSpeakers") is ALLOWED
    assert ask(both) is IMPLICIT
    # One that speaks of ours among others is read.
    passing["Action"].append("voiceid:*")
    assert "not known" in refusal({"Statement": passing})


def test_the_older_version_knows_no_variables():
    condition = {"StringEquals": {"aws:RequestTag/team": "${aws:username}"}}
    facts = {"aws:RequestTag/team": ("${aws:username}",)}
    for version in ("2008-10-17", None):
        document = {"Version": version, "Statement": statement(Condition=condition)}
        if version is None:
            del document["Version"]
        assert ask(Policy.parse(json.dumps(document)), facts=facts) is ALLOWED
    with pytest.raises(PolicyInvalid, match="variables"):
        policy(statement(Condition=condition))
    with pytest.raises(PolicyInvalid, match="variables"):
        policy(statement(Resource="arn:aws:voiceid:*:*:domain/${aws:username}"))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"Effect": "allow"}, "Statement[0].Effect: must be Allow or Deny"),
        ({"Effect": ["Allow"]}, "Statement[0].Effect"),
        ({"Efect": "Allow"}, "Statement[0]: the element 'Efect'"),
        ({"Principal": "*"}, "Statement[0].Principal: belongs to"),
        ({"Sid": 7}, "Statement[0].Sid"),
        ({"NotAction": "voiceid:*"}, "either Action or NotAction"),
        ({"Action": []}, "Statement[0].Action"),
        ({"Action": 7}, "Statement[0].Action"),
        ({"Action": ["voiceid:*", None]}, "Statement[0].Action"),
        ({"Action": "DescribeDomain"}, "Statement[0].Action: 'DescribeDomain'"),
        ({"Action": "voiceid:"}, "Statement[0].Action"),
        ({"Action": "voiceid:DeleteSpeker"}, "Statement[0].Action: 'voiceid:DeleteSpeker' fits no"),
        ({"Action": "VoiceID:deletespeker"}, "did you mean voiceid:DeleteSpeaker?"),
        ({"Action": ["voiceid:*", "voiceid:Delte*"]}, "'voiceid:Delte*' fits no operation"),
        ({"Effect": "Deny", "Action": "voiceid:Describe"}, "'voiceid:Describe' fits no operation"),
        ({"NotResource": "*"}, "either Resource or NotResource"),
        ({"Resource": []}, "Statement[0].Resource"),
        ({"Resource": "domain/x"}, "Statement[0].Resource: 'domain/x'"),
        ({"Resource": "arn:aws:voiceid:domain/x"}, "six parts"),
        ({"Condition": []}, "Statement[0].Condition: is not a JSON object"),
        ({"Condition": {}}, "Statement[0].Condition: is empty"),
        ({"Condition": {"StringEquals": {}}}, "Statement[0].Condition.StringEquals: is empty"),
        ({"Condition": {"StringEquals": {"aws:username": []}}}, "aws:username: is empty"),
        ({"Condition": {"StringEquals": {"aws:username": None}}}, "aws:username: must be"),
        ({"Condition": {"StringEquals": {"aws:username": [{}]}}}, "aws:username: must be"),
        ({"Condition": {"StringEquals": {"aws:SourceVpc": "x"}}}, "aws:SourceVpc: this condition"),
        ({"Condition": {"StringEquals": {"aws:ResourceTag/": "x"}}}, "not known"),
        ({"Condition": {"StringEqual": {"aws:username": "x"}}}, "no operator StringEqual"),
        ({"Condition": {"BinaryEquals": {"aws:username": "x"}}}, "no operator BinaryEquals"),
        ({"Condition": {"ForSome:Bool": {"aws:username": "x"}}}, "no operator ForSome:Bool"),
        ({"Condition": {"NullIfExists": {"aws:username": "true"}}}, "no operator NullIfExists"),
        ({"Condition": {"ForAllValues:Null": {"aws:TagKeys": "true"}}}, "Null takes no"),
        ({"Condition": {"StringEquals": {"aws:TagKeys": "x"}}}, "several values"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, "'yes' is not true or false"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0"}}}, "IP address"),
        ({"Condition": {"NumericEquals": {"aws:EpochTime": "1e9"}}}, "'1e9' is not a number"),
        ({"Condition": {"DateEquals": {"aws:EpochTime": "soon"}}}, "'soon' is not a date"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_place(changes, place):
    assert place in refusal({"Version": "2012-10-17", "Statement": [statement() | changes]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 10_000, "not JSON that can be read"),
        ("9" * 10_000, "not JSON that can be read"),
        ("{}", "no Statement"),
        ('{"Statement": []}', "Statement: is empty"),
        ('{"Statement": "Allow"}', "Statement[0]: is not a JSON object"),
        ('{"Version": "2020-01-01", "Statement": []}', "Version"),
        ('{"Version": ["2012-10-17"], "Statement": []}', "Version"),
        ('{"Statements": []}', "'Statements'"),
        ('{"Statement": [], "Statement": []}', "twice"),
        (" " * (MAX_POLICY_BYTES + 1), "longer than 10240 bytes"),
        ("é" * (MAX_POLICY_BYTES // 2 + 1), "longer than 10240 bytes"),
        ("\ud800", "is not JSON"),
    ],
)
def test_what_is_no_policy_is_refused(text, reason):
    assert reason in refusal(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["*", "Allow", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Effect", "Action", "Resource", "Condition", "StringEquals", "Bool"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_policy_or_gets_a_clean_refusal(given_statement):
    document = {"Version": "2012-10-17", "Statement": given_statement}
    try:
        parsed = Policy.parse(json.dumps(document))
    except PolicyInvalid:
        return
    assert ask(parsed) in Decision


@given(st.text(max_size=60))
def test_any_text_is_a_policy_or_gets_a_clean_refusal(text):
    with pytest.raises(PolicyInvalid):
        Policy.parse(text)


def test_the_examples_of_the_documentation_are_policies():
    page = Path(__file__).parents[3] / "docs" / "reference" / "access.md"
    blocks = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    desk, team = (Policy.parse(block) for block in blocks)
    assert ask(desk, "voiceid:EvaluateSession") is ALLOWED
    assert ask(desk, "voiceid:DeleteSpeaker") is IMPLICIT
    facts = {"aws:ResourceTag/team": ("blue",), "aws:SourceIp": ("10.20.1.1",)}
    assert ask(team, "voiceid:DeleteSpeaker", facts=facts) is ALLOWED
    assert ask(team, "voiceid:UntagResource", facts=facts) is ALLOWED
    assert ask(team, "voiceid:UntagResource", facts=facts | {"aws:TagKeys": ("team",)}) is EXPLICIT
