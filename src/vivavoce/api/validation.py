"""Reads a request by its shape: keeps what the description knows, names what breaks its limits.

AWS's clients check only part of the description before they send (no maximum, pattern or enum), so
every limit is enforced here. Source: the service description. The wording of a violation is what
AWS's JSON services answer; it is not documented.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

import regex
from botocore.model import ListShape, Shape, StructureShape

from vivavoce.errors import InvalidRequest

# The most of a value that a message repeats: enough to recognise it.
_SHOWN_CHARACTERS = 100


def read(request: Mapping[str, Any], shape: StructureShape) -> dict[str, Any]:
    """The members of a request that the description knows; null counts as absent.

    Raises:
        InvalidRequest: a member is missing or breaks a limit; the message lists every one.
    """
    walk = _Walk()
    members = walk.structure(request, shape, "")
    if walk.violations:
        count = len(walk.violations)
        noun = "error" if count == 1 else "errors"
        raise InvalidRequest(f"{count} validation {noun} detected: {'; '.join(walk.violations)}")
    return members


class _Walk:
    """One walk over one request; violations gather on the way."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def structure(
        self, given: Mapping[str, Any], shape: StructureShape, path: str
    ) -> dict[str, Any]:
        members = {
            name: self._value(given[name], member, _joined(path, name))
            for name, member in cast("Mapping[str, Shape]", shape.members).items()
            if given.get(name) is not None
        }
        for name in cast("list[str]", shape.required_members):
            if name not in members:
                self.violations.append(
                    f"Value null at '{_joined(path, name)}' failed to satisfy constraint: "
                    "Member must not be null"
                )
        return members

    def _value(self, value: object, shape: Shape, path: str) -> object:
        broken = list(_broken(value, shape))
        if broken:
            shown = _shown(value, shape)
            self.violations += [
                f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"
                for constraint in broken
            ]
        elif isinstance(shape, StructureShape):
            return self.structure(cast("dict[str, Any]", value), shape, path)
        elif isinstance(shape, ListShape):
            # Items of a list that is too long are not reached: that bounds work and message.
            items = cast("list[object]", value)
            member = cast("Shape", shape.member)
            return [
                self._value(item, member, f"{path}.{position}.member")
                for position, item in enumerate(items, start=1)
            ]
        return value


def _broken(value: object, shape: Shape) -> Iterator[str]:
    """The constraints that a value itself breaks, without what it contains."""
    kind = cast("str", shape.type_name)
    match kind, value:
        case "structure", dict():
            pass
        case "list", list():
            yield from _outside(len(cast("list[object]", value)), shape, "have length")
        case "string", str():
            yield from _broken_by_text(value, shape)
        case "boolean", bool():
            pass
        case "integer", int() if not isinstance(value, bool):
            yield from _outside(value, shape, "have value")
        case _:
            yield f"Member must be {_NOUNS[kind]}"


_NOUNS = {
    "structure": "an object",
    "list": "a list",
    "string": "a string",
    "boolean": "a boolean",
    "integer": "an integer",
}


def _broken_by_text(text: str, shape: Shape) -> Iterator[str]:
    limits = cast("Mapping[str, Any]", shape.metadata)
    if not _is_encodable(text):
        yield "Member must not hold half of a surrogate pair"
        return
    yield from _outside(len(text), shape, "have length")
    if "enum" in limits and text not in limits["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
    # A text beyond its maximum is not matched, which bounds what a pattern can cost.
    is_matchable = "pattern" in limits and len(text) <= limits.get("max", len(text))
    if is_matchable and not _compiled(limits["pattern"]).fullmatch(text):
        yield f"Member must satisfy regular expression pattern: {limits['pattern']}"


def _outside(size: int, shape: Shape, verb: str) -> Iterator[str]:
    """The bounds that a length or a number breaks."""
    limits = cast("Mapping[str, Any]", shape.metadata)
    if size < limits.get("min", size):
        yield f"Member must {verb} greater than or equal to {limits['min']}"
    if size > limits.get("max", size):
        yield f"Member must {verb} less than or equal to {limits['max']}"


@cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    # The description uses \p{L} and \p{ASCII}, which the standard library does not know.
    return regex.compile(pattern)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object, shape: Shape) -> str:
    """A value as a message repeats it; nothing for what is sensitive, or may contain it."""
    is_container = isinstance(shape, StructureShape | ListShape) or isinstance(value, dict | list)
    if is_container or "sensitive" in cast("Mapping[str, Any]", shape.metadata):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    ellipsis = "…" if len(text) > _SHOWN_CHARACTERS else ""
    return f" '{text[:_SHOWN_CHARACTERS].encode(errors='replace').decode()}{ellipsis}'"


def _joined(path: str, member: str) -> str:
    """A member's path as AWS writes it: `tags.1.member.key`."""
    name = member[0].lower() + member[1:]
    return f"{path}.{name}" if path else name
