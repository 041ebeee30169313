"""The output of a job: one document, written piece by piece."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from vivavoce.jobs.conclusions import Outcome
from vivavoce.jobs.manifest import VERSION
from vivavoce.store.records import JobKind

_SUCCESSES = {
    "speaker-enrollment": "SuccessfulEnrollments",
    "fraudster-registration": "SuccessfulRegistrations",
}


def write_output(
    path: Path, kind: JobKind, outcomes: Callable[[], Iterator[tuple[Outcome, bool]]]
) -> None:
    """Write a job's output file.

    Args:
        path: a new file.
        kind: of the job.
        outcomes: goes through all outcomes, in the order of the manifest, each with whether it is a
            failure; called once for each list.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{\n  "Version": "{VERSION}",\n')
        _write_list(file, "Errors", (outcome for outcome, failed in outcomes() if failed))
        file.write(",\n")
        successes = (outcome for outcome, failed in outcomes() if not failed)
        _write_list(file, _SUCCESSES[kind], successes)
        file.write("\n}\n")


def _write_list(file: TextIO, name: str, outcomes: Iterator[Outcome]) -> None:
    file.write(f'  "{name}": [')
    separator = "\n"
    for outcome in outcomes:
        file.write(f"{separator}    {json.dumps(outcome)}")
        separator = ",\n"
    file.write("]" if separator == "\n" else "\n  ]")
