"""Renders a service description as Python types: a TypedDict a structure, a Literal an enum."""

from collections.abc import Iterator, Mapping
from typing import Any

_HEADER = '''"""Types of every request, response and structure of the service.

Generated from the service description by `python -m vivavoce.api.description.generate`; changes
made here are lost. Members are named as on the wire. Timestamps are aware datetimes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NotRequired, TypeAlias, TypedDict
'''

_SCALARS = {
    "boolean": "bool",
    "double": "float",
    "float": "float",
    "integer": "int",
    "long": "int",
    "string": "str",
    "timestamp": "datetime",
}


def render(service: Mapping[str, Any]) -> str:
    """The source text of a module with the types of a service.

    Args:
        service: a botocore `service-2` description. Exceptions are left out: they are raised.
    """
    shapes: Mapping[str, Any] = service["shapes"]
    enums = [_enum(name, shape) for name, shape in sorted(shapes.items()) if "enum" in shape]
    structures = [
        _structure(name, shapes)
        for name, shape in sorted(shapes.items())
        if shape["type"] == "structure" and not shape.get("exception")
    ]
    return "\n\n".join([_HEADER + "\n" + "\n".join(enums), *structures])


def _enum(name: str, shape: Mapping[str, Any]) -> str:
    values = "".join(f'    "{value}",\n' for value in shape["enum"])
    return f"{name}: TypeAlias = Literal[\n{values}]"


def _structure(name: str, shapes: Mapping[str, Any]) -> str:
    body = "\n".join(_members(shapes[name], shapes)) or "    pass"
    return f"class {name}(TypedDict):\n{body}\n"


def _members(structure: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[str]:
    required = structure.get("required", ())
    for name, reference in structure["members"].items():
        kind = _annotation(reference["shape"], shapes)
        yield f"    {name}: {kind if name in required else f'NotRequired[{kind}]'}"


def _annotation(name: str, shapes: Mapping[str, Any]) -> str:
    shape = shapes[name]
    if shape["type"] == "structure" or "enum" in shape:
        return name
    if shape["type"] == "list":
        return f"list[{_annotation(shape['member']['shape'], shapes)}]"
    return _SCALARS[shape["type"]]
