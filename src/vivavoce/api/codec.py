"""JSON 1.0 in both directions, driven by the service description."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, cast

from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

from vivavoce.api import validation
from vivavoce.errors import RequestRefused


class Codec:
    """Reads request bodies and writes response bodies of one service.

    Args:
        service: the description; every operation's input and output follows it.
    """

    def __init__(self, service: ServiceModel) -> None:
        names = cast("list[str]", service.operation_names)
        self._operations: dict[str, OperationModel] = {
            name: service.operation_model(name) for name in names
        }

    @property
    def operations(self) -> frozenset[str]:
        """The names of the operations that the description knows."""
        return frozenset(self._operations)

    def decode(self, operation: str, body: bytes) -> dict[str, Any]:
        """A request body as the operation's input; unknown members and nulls are left out.

        Raises:
            RequestRefused: the body is not a JSON object (`SerializationException`).
            InvalidRequest: a member is missing or breaks a limit.
        """
        members = parse_object(body)
        shape = cast("StructureShape | None", self._operations[operation].input_shape)
        return validation.read(members, shape) if shape else {}

    def encode(self, operation: str, response: Mapping[str, object] | None) -> bytes:
        """A handler's response as a body; members that are None are left out.

        Raises:
            ValueError: the response has a member that the description does not know.
        """
        shape = cast("StructureShape | None", self._operations[operation].output_shape)
        return _as_json(_written(response or {}, shape) if shape else {})


def encode_error(code: str, message: str, members: Mapping[str, str]) -> bytes:
    """An error body.

    Args:
        code: an exception shape's name, or one of AWS's generic front-door codes.
        message: at least one character, as every error shape wants.
        members: what the shape has beside its message (`ConflictType`, `ResourceType`).
    """
    return _as_json({"__type": code, "Message": message, **members})


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, read strictly: no repeated key, no NaN.

    Raises:
        RequestRefused: with code `SerializationException`.
    """
    try:
        value: object = json.loads(
            body.decode(), object_pairs_hook=_unrepeated, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    except RecursionError:
        raise _unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise _unreadable("it is not a JSON object")
    return cast("dict[str, Any]", value)


def _unreadable(reason: str) -> RequestRefused:
    return RequestRefused("SerializationException", f"The body cannot be read: {reason}")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _written(value: object, shape: Shape) -> object:
    """A value in its wire form: known members only, no nulls, timestamps as epoch seconds."""
    if isinstance(shape, StructureShape):
        members = cast("Mapping[str, Shape]", shape.members)
        given = cast("Mapping[str, object]", value)
        if not members.keys() >= given.keys():
            unknown = ", ".join(sorted(given.keys() - members.keys()))
            raise ValueError(f"{shape.name} has no member {unknown}")
        return {
            name: _written(member, members[name])
            for name, member in given.items()
            if member is not None
        }
    if isinstance(shape, ListShape):
        member = cast("Shape", shape.member)
        return [_written(item, member) for item in cast("list[object]", value)]
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    return value


def _as_json(members: object) -> bytes:
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode()
