"""Tables of plain records, kept as CSV: a column a field, text, number or truth."""

import csv
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> int:
    """Write records of one dataclass as they come; returns how many there were."""
    names = [field.name for field in fields(kind)]
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        for row in rows:
            table.writerow([getattr(row, name) for name in names])
            count += 1
    return count


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """The records again.

    Args:
        path: what `write_rows` wrote.
        kind: a dataclass whose fields are all `str`, `int`, `float` or `bool`.
    """
    parsers = {field.name: _is_true if field.type is bool else field.type for field in fields(kind)}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            kind(**{name: parsers[name](text) for name, text in row.items()})
            for row in csv.DictReader(file)
        ]


def _is_true(text: str) -> bool:
    return text == str(True)
