"""Policies: who may do what, in the JSON of IAM's identity-based policies. Pure.

A policy is compiled when it is parsed; what could not be enforced here is refused then, not when a
request comes. So an unknown action, element, operator or condition key is an error: a `Deny` of an
action that nobody asks for, or on a fact which is never there, would deny nothing.

Source: IAM User Guide, "IAM JSON policy elements reference", "Condition operators", "Multivalued
context keys" and "Policy evaluation logic". Where it leaves a case open, the comment says what was
chosen.
"""

import ipaddress
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Any, NoReturn, TypeAlias, cast

from vivavoce.api.description import load_service_model
from vivavoce.errors import PolicyInvalid
from vivavoce.ids import domain_arn

MAX_POLICY_BYTES = 10_240
"""Source: IAM's largest limit for the policies of one principal, a role's inline ones."""

SERVICE = "voiceid"
"""The prefix of every action here."""

Facts: TypeAlias = Mapping[str, tuple[str, ...]]
"""What is known of a request: values by condition key; an absent key has no entry."""

_Test: TypeAlias = Callable[[str], bool]
_Conditions: TypeAlias = Callable[[Facts], bool]

_RESOURCE_TAG = "aws:resourcetag/"
_REQUEST_TAG = "aws:requesttag/"
_MULTIVALUED = "aws:tagkeys"
_KEYS = frozenset(
    {
        _MULTIVALUED,
        "aws:currenttime",
        "aws:epochtime",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:requestedregion",
        "aws:securetransport",
        "aws:sourceip",
        "aws:username",
    }
)
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_VARIABLES_SINCE = "2012-10-17"
_VERSIONS = ("2008-10-17", _VARIABLES_SINCE)
_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_CONSOLE_ACTIONS = ("DescribeComplianceConsent", "RegisterComplianceConsent")
"""Nothing asks for them here, but policies written for AWS name them.

Source: AWS's service authorization reference for Voice ID, "Permission-only actions".
"""

_ANY_DOMAIN_ID = "?" * 22
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")


class Decision(Enum):
    """What a policy says to a question."""

    ALLOWED = "allowed"
    IMPLICITLY_DENIED = "implicitly denied"
    EXPLICITLY_DENIED = "explicitly denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this be done?

    Attributes:
        action: with its prefix, such as `voiceid:DescribeDomain`.
        resource: an ARN, or `*` for an action that has no resource.
        facts: values by condition key; the case of keys does not matter.
    """

    action: str
    resource: str
    facts: Facts = field(default_factory=dict[str, tuple[str, ...]])


class Policy:
    """A policy, ready to be asked.

    Attributes:
        condition_keys: every condition key it asks for, in lower case.
        needs_resource_tags: whether the tags of the resource are among them.
    """

    __slots__ = ("_allows", "_denies", "_resources", "condition_keys", "needs_resource_tags")

    def __init__(self, statements: Iterable["_Statement"]) -> None:
        statements = tuple(statements)
        self._denies = tuple(each for each in statements if each.is_deny)
        self._allows = tuple(each for each in statements if not each.is_deny)
        self._resources = tuple(text for each in statements for text in each.resource_texts)
        self.condition_keys = frozenset(key for each in statements for key in each.condition_keys)
        self.needs_resource_tags = any(key.startswith(_RESOURCE_TAG) for key in self.condition_keys)

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Read a policy document.

        Raises:
            PolicyInvalid: it is not one, or not one that can be enforced; says where and why.
        """
        document = _object(_read_json(text), "the policy")
        _refuse_strangers(document, {"Version", "Id", "Statement"}, "the policy")
        # Source: Version element; without one, the older version's rules hold.
        version = document.get("Version", _VERSIONS[0])
        if version not in _VERSIONS:
            _refuse("Version", f"must be {' or '.join(_VERSIONS)}")
        if "Statement" not in document:
            _refuse("the policy", "has no Statement")
        given = document["Statement"]
        statements = cast("list[Any]", given) if isinstance(given, list) else [given]
        if not statements:
            _refuse("Statement", "is empty")
        reader = _Reader(has_variables=version == _VARIABLES_SINCE)
        read = (
            reader.statement(each, f"Statement[{number}]") for number, each in enumerate(statements)
        )
        return cls(each for each in read if each is not None)

    def idle_resources(self, account_id: str) -> tuple[str, ...]:
        """The resources that no domain of this account can be: mistakes, most likely."""
        ours = domain_arn(_ANY_DOMAIN_ID, region="*", account_id=account_id)
        return tuple(text for text in self._resources if not _may_fit(text, ours))

    def decide(self, question: Question) -> Decision:
        """The answer: an explicit deny wins, then an allow; what nobody allows is denied."""
        action = question.action.lower()
        facts = _in_lower_case(question.facts) if self.condition_keys else {}
        for statement in self._denies:
            if statement.applies(action, question.resource, facts):
                return Decision.EXPLICITLY_DENIED
        for statement in self._allows:
            if statement.applies(action, question.resource, facts):
                return Decision.ALLOWED
        return Decision.IMPLICITLY_DENIED


class _Patterns:
    """Texts with the wildcards `*` (any characters) and `?` (one), of which any may fit.

    Matching takes time in proportion to text times pattern, whatever the pattern: after a `*` the
    first place that fits what follows is taken for good, because a later one is never better.
    """

    __slots__ = ("_exact", "_others", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        exact: set[str] = set()
        prefixes: set[str] = set()
        others: set[str] = set()
        for pattern in patterns:
            head = pattern.rstrip("*")
            if "*" in head or "?" in head:
                others.add(pattern)
            elif head == pattern:
                exact.add(pattern)
            else:
                prefixes.add(head)
        self._exact = frozenset(exact)
        self._prefixes = tuple(sorted(prefixes))
        self._others = tuple(_expression(each) for each in sorted(others))

    def fit(self, text: str) -> bool:
        """Whether one of them fits the whole text."""
        if text in self._exact or text.startswith(self._prefixes):
            return True
        return any(each.fullmatch(text) is not None for each in self._others)


def _expression(pattern: str) -> re.Pattern[str]:
    chunks = [
        "".join("." if letter == "?" else re.escape(letter) for letter in chunk)
        for chunk in re.split(r"\*+", pattern)
    ]
    if len(chunks) == 1:
        return re.compile(chunks[0], re.DOTALL)
    head, *middle, tail = chunks
    # An atomic group is not entered again: nothing is tried twice.
    between = "".join(f"(?>.*?{chunk})" for chunk in middle)
    return re.compile(f"{head}{between}.*{tail}", re.DOTALL)


def _may_fit(pattern: str, shape: str) -> bool:
    """Whether a pattern fits any text of a shape.

    In the shape `*` and `?` stand for letters, digits and hyphens only, as ids are made of.
    """

    def over_stars(places: Iterable[int]) -> set[int]:
        """The places, and those behind the `*` there, which may stand for nothing."""
        reached = set(places)
        for place, sign in enumerate(shape):
            if sign == "*" and place in reached:
                reached.add(place + 1)
        return reached

    # Where in the shape one may be after what was read of the pattern.
    places = over_stars({0})
    for sign in pattern:
        if sign == "*":
            places = set(range(min(places), len(shape) + 1)) if places else places
            continue
        is_plain = sign.isalnum() or sign in "-?"
        following: set[int] = set()
        for place in places - {len(shape)}:
            if shape[place] == "*" and is_plain:
                following.add(place)
            elif sign in ("?", shape[place]) or (shape[place] == "?" and is_plain):
                following.add(place + 1)
        places = over_stars(following)
    return len(shape) in places


@cache
def _actions() -> dict[str, str]:
    """Every action there is, with its prefix, by its name in lower case."""
    names = [*cast("list[str]", load_service_model().operation_names), *_CONSOLE_ACTIONS]
    return {f"{SERVICE}:{name}".lower(): f"{SERVICE}:{name}" for name in names}


def _check_action(action: str, place: str) -> None:
    if not _ACTION.fullmatch(action):
        _refuse(place, f"{action!r} is not * or service:Action")
    if not action.lower().startswith(f"{SERVICE}:"):
        return
    wanted = _Patterns([action.lower()])
    if not any(wanted.fit(each) for each in _actions()):
        meant = get_close_matches(action.lower(), _actions(), n=1)
        hint = f"; did you mean {_actions()[meant[0]]}?" if meant else ""
        _refuse(place, f"{action!r} fits no operation of this service{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statement:
    """One statement; `is_not_action` and `is_not_resource` turn its patterns round."""

    is_deny: bool
    actions: _Patterns
    is_not_action: bool
    resources: _Patterns
    resource_texts: tuple[str, ...]
    is_not_resource: bool
    conditions: tuple[_Conditions, ...]
    condition_keys: frozenset[str]

    def applies(self, action: str, resource: str, facts: Facts) -> bool:
        """Whether it speaks of this; the action is in lower case, and the keys of the facts."""
        return (
            self.actions.fit(action) != self.is_not_action
            and self.resources.fit(resource) != self.is_not_resource
            and all(holds(facts) for holds in self.conditions)
        )


class _Reader:
    """Reads statements."""

    def __init__(self, *, has_variables: bool) -> None:
        self._has_variables = has_variables

    def statement(self, given: object, place: str) -> _Statement | None:
        """A statement; None for one that speaks of other services only, such as `iam:PassRole`."""
        statement = _object(given, place)
        for name in ("Principal", "NotPrincipal"):
            if name in statement:
                _refuse(f"{place}.{name}", "belongs to a resource's policy, not to an access key's")
        _refuse_strangers(statement, _ELEMENTS, place)
        if not isinstance(statement.get("Sid", ""), str):
            _refuse(f"{place}.Sid", "is not a text")
        effect = statement.get("Effect")
        if effect not in ("Allow", "Deny"):
            _refuse(f"{place}.Effect", "must be Allow or Deny")
        action_name, actions = _one_of(statement, ("Action", "NotAction"), place)
        resource_name, resources = _one_of(statement, ("Resource", "NotResource"), place)
        for action in actions:
            _check_action(action, f"{place}.{action_name}")
        if action_name == "Action" and not any(_may_be_ours(action) for action in actions):
            return None
        for resource in resources:
            self._check_resource(resource, f"{place}.{resource_name}")
        is_deny = effect == "Deny"
        conditions: list[_Conditions] = []
        keys: set[str] = set()
        for name, key, values, where in self._conditions(statement, place):
            conditions.append(_condition(name, key, values, where, is_deny=is_deny))
            keys.add(key)
        return _Statement(
            is_deny=is_deny,
            actions=_Patterns(action.lower() for action in actions),
            is_not_action=action_name == "NotAction",
            resources=_Patterns(resources),
            resource_texts=tuple(resources),
            is_not_resource=resource_name == "NotResource",
            conditions=tuple(conditions),
            condition_keys=frozenset(keys),
        )

    def _check_resource(self, resource: str, place: str) -> None:
        self._refuse_variables(resource, place)
        if resource == "*":
            return
        # With all six parts there, a wildcard cannot reach beyond its own.
        is_whole = resource.count(":") >= 5 or resource.endswith("*")
        if not (resource.startswith("arn:") and is_whole):
            _refuse(place, f"{resource!r} is not * or an ARN of six parts")

    def _conditions(
        self, statement: dict[str, Any], place: str
    ) -> Iterable[tuple[str, str, list[str], str]]:
        """Every condition: operator, key in lower case, values, place."""
        if "Condition" not in statement:
            return
        place = f"{place}.Condition"
        for name, tested in _filled(statement["Condition"], place).items():
            for key, value in _filled(tested, f"{place}.{name}").items():
                where = f"{place}.{name}.{key}"
                values = _values(value, where)
                for text in values:
                    self._refuse_variables(text, where)
                yield name, _known_key(key, where), values, where

    def _refuse_variables(self, text: str, place: str) -> None:
        if self._has_variables and "${" in text:
            _refuse(place, "policy variables (${...}) are not supported")


def _may_be_ours(action: str) -> bool:
    return _Patterns([action.partition(":")[0].lower()]).fit(SERVICE)


def _known_key(key: str, place: str) -> str:
    # Names of condition keys know no case, and that takes in the tag's key behind the slash.
    # Source: IAM User Guide, "Controlling access to AWS resources using tags": aws:ResourceTag/A
    # fits a tag A or a.
    known = key.lower()
    is_tag = any(known.startswith(tag) and known != tag for tag in (_RESOURCE_TAG, _REQUEST_TAG))
    if known not in _KEYS and not is_tag:
        _refuse(place, "this condition key is not known here, so it could not be enforced")
    if "${" in key:
        _refuse(place, "policy variables (${...}) are not supported")
    return known


def _condition(
    written: str, key: str, values: list[str], place: str, *, is_deny: bool
) -> _Conditions:
    """Compile one key of one operator."""
    quantifier, _, name = written.rpartition(":")
    if quantifier not in ("", "ForAllValues", "ForAnyValue"):
        _refuse(place, f"there is no operator {written}")
    if name == "Null":
        if quantifier:
            _refuse(place, "Null takes no ForAllValues or ForAnyValue")
        return _null_condition(key, values, place)
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    if name not in _OPERATORS:
        _refuse(place, f"there is no operator {written}")
    if key == _MULTIVALUED and not quantifier:
        _refuse(
            place, "has several values: write ForAllValues: or ForAnyValue: before the operator"
        )
    compile_test, is_negated = _OPERATORS[name]
    matches = compile_test(values, place)

    # Source of the three: "Multivalued context keys"; ForAnyValue without a value is false, even
    # with IfExists, and ForAllValues is true.
    def for_all(facts: Facts) -> bool:
        return all(matches(value) != is_negated for value in facts.get(key, ()))

    def for_any(facts: Facts) -> bool:
        return any(matches(value) != is_negated for value in facts.get(key, ()))

    def for_one(facts: Facts) -> bool:
        present = facts.get(key)
        if not present:
            return is_negated or if_exists
        # Two tags that differ in case only are one key with two values, and IAM does not say which
        # counts. Chosen: the one that denies.
        fits = (matches(value) != is_negated for value in present)
        return any(fits) if is_deny else all(fits)

    return {"": for_one, "ForAllValues": for_all, "ForAnyValue": for_any}[quantifier]


def _null_condition(key: str, values: list[str], place: str) -> _Conditions:
    wanted = {_boolean(value, place) == "true" for value in values}
    return lambda facts: (not facts.get(key)) in wanted


def _equals(values: list[str], _place: str) -> _Test:
    return frozenset(values).__contains__


def _equals_ignoring_case(values: list[str], _place: str) -> _Test:
    wanted = frozenset(value.casefold() for value in values)
    return lambda value: value.casefold() in wanted


def _like(values: list[str], _place: str) -> _Test:
    return _Patterns(values).fit


def _arn_like(values: list[str], place: str) -> _Test:
    """ARNs fit part by part: a wildcard does not reach over a colon, except in the last part."""
    arns = [value.split(":", 5) for value in values]
    if any(len(parts) != 6 for parts in arns):
        _refuse(place, "an ARN has six parts")
    wanted = [[_Patterns([part]) for part in parts] for parts in arns]

    def matches(value: str) -> bool:
        parts = value.split(":", 5)
        return len(parts) == 6 and any(
            all(pattern.fit(part) for pattern, part in zip(patterns, parts, strict=True))
            for patterns in wanted
        )

    return matches


def _boolean(value: str, place: str) -> str:
    if value.lower() not in ("true", "false"):
        _refuse(place, f"{value!r} is not true or false")
    return value.lower()


def _is_boolean(values: list[str], place: str) -> _Test:
    wanted = frozenset(_boolean(value, place) for value in values)
    return lambda value: value.lower() in wanted


def _in_network(values: list[str], place: str) -> _Test:
    try:
        # Bits beyond the prefix are let pass, as 203.0.113.7/24 is by IAM.
        networks = [ipaddress.ip_network(value, strict=False) for value in values]
    except ValueError:
        _refuse(place, f"{', '.join(values)!r}: not all of it is an IP address or a CIDR range")

    def matches(value: str) -> bool:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            # An IPv4 peer of a socket that takes both.
            address = address.ipv4_mapped or address
        return any(address in network for network in networks)

    return matches


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _instant(text: str) -> Decimal | None:
    """Seconds since the epoch, of an ISO 8601 date or of such seconds themselves."""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return Decimal(str(instant.timestamp()))


def _comparing(
    read: Callable[[str], Decimal | None], fits: Callable[[Decimal, Decimal], bool], kind: str
) -> Callable[[list[str], str], _Test]:
    def compile_test(values: list[str], place: str) -> _Test:
        wanted: list[Decimal] = []
        for value in values:
            limit = read(value)
            if limit is None:
                _refuse(place, f"{value!r} is not a {kind}")
            wanted.append(limit)

        def matches(value: str) -> bool:
            given = read(value)
            return given is not None and any(fits(given, limit) for limit in wanted)

        return matches

    return compile_test


def _comparisons(
    prefix: str, read: Callable[[str], Decimal | None], kind: str
) -> dict[str, tuple[Callable[[list[str], str], _Test], bool]]:
    return {
        f"{prefix}Equals": (_comparing(read, operator.eq, kind), False),
        f"{prefix}NotEquals": (_comparing(read, operator.eq, kind), True),
        f"{prefix}LessThan": (_comparing(read, operator.lt, kind), False),
        f"{prefix}LessThanEquals": (_comparing(read, operator.le, kind), False),
        f"{prefix}GreaterThan": (_comparing(read, operator.gt, kind), False),
        f"{prefix}GreaterThanEquals": (_comparing(read, operator.ge, kind), False),
    }


# By name: how to compile its values, and whether it is negated. A negated operator holds where the
# key is absent. Source: "Condition operators"; ArnEquals and ArnLike are the same there.
_OPERATORS: dict[str, tuple[Callable[[list[str], str], _Test], bool]] = {
    "StringEquals": (_equals, False),
    "StringNotEquals": (_equals, True),
    "StringEqualsIgnoreCase": (_equals_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_equals_ignoring_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    **_comparisons("Numeric", _number, "number"),
    **_comparisons("Date", _instant, "date"),
    "Bool": (_is_boolean, False),
    "IpAddress": (_in_network, False),
    "NotIpAddress": (_in_network, True),
    "ArnEquals": (_arn_like, False),
    "ArnLike": (_arn_like, False),
    "ArnNotEquals": (_arn_like, True),
    "ArnNotLike": (_arn_like, True),
}


def _in_lower_case(facts: Facts) -> dict[str, tuple[str, ...]]:
    lowered: dict[str, tuple[str, ...]] = {}
    for key, values in facts.items():
        lowered[key.lower()] = lowered.get(key.lower(), ()) + values
    return lowered


def _read_json(text: str) -> object:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_POLICY_BYTES:
        _refuse("the policy", f"is longer than {MAX_POLICY_BYTES} bytes")
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        _refuse("the policy", f"is not JSON: {error.msg} in line {error.lineno}")
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets within brackets.
        _refuse("the policy", "is not JSON that can be read")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # The one that is lost might be the one that restricts.
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        _refuse("the policy", f"{double!r} is there twice in one object")
    return members


def _object(given: object, place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        _refuse(place, "is not a JSON object")
    return cast("dict[str, Any]", given)


def _filled(given: object, place: str) -> dict[str, Any]:
    members = _object(given, place)
    if not members:
        _refuse(place, "is empty")
    return members


def _refuse_strangers(members: dict[str, Any], known: Iterable[str], place: str) -> None:
    if strangers := sorted(members.keys() - known):
        _refuse(place, f"the element {strangers[0]!r} is not known")


def _one_of(statement: dict[str, Any], names: tuple[str, str], place: str) -> tuple[str, list[str]]:
    """The one of two elements that is there, with its texts."""
    given = [name for name in names if name in statement]
    if len(given) != 1:
        _refuse(place, f"must have either {names[0]} or {names[1]}")
    name = given[0]
    texts = statement[name]
    listed = cast("list[Any]", texts) if isinstance(texts, list) else [texts]
    if not listed or not all(isinstance(text, str) for text in listed):
        _refuse(f"{place}.{name}", "must be a text or a list of texts")
    return name, cast("list[str]", listed)


def _values(given: object, place: str) -> list[str]:
    """The values of a condition; IAM takes numbers and booleans for the texts they look like."""
    listed = cast("list[object]", given) if isinstance(given, list) else [given]
    if not listed:
        _refuse(place, "is empty")
    return [_value(each, place) for each in listed]


def _value(given: object, place: str) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if not isinstance(given, str | int | float):
        _refuse(place, "must be a text, a number, true, false, or a list of these")
    return str(given)


def _refuse(place: str, reason: str) -> NoReturn:
    raise PolicyInvalid(f"{place}: {reason}")
