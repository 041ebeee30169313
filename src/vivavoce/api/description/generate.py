"""Generates what is derived from botocore's description of the service.

`python -m vivavoce.api.description.generate` writes; with `--check` it only compares, and exits 1
naming each file that is out of date. Derived are our copy of the public description (without
AWS's prose) and `vivavoce/api/shapes.py`.

When a botocore release no longer describes the service, our copy stays as it is and becomes the
only one; the types are then generated from that copy.
"""

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any, cast

from botocore import __version__ as botocore_version
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import ExtrasProcessor, Loader

from vivavoce.api import description
from vivavoce.api.description import typed_dicts

_COPIED = ("service-2", "paginators-1")
_SHAPES_MODULE = Path(__file__).parents[1] / "shapes.py"


def botocore_loader() -> Loader:
    """Reads what the installed botocore ships, and nothing of the user's own."""
    return Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH],
        include_default_search_paths=False,
        include_default_extras=False,
    )


def public_description(loader: Loader) -> dict[str, dict[str, Any]] | None:
    """The files to copy, by type, without prose; None where the service is gone."""
    try:
        return {kind: without_prose(_load(loader, kind)) for kind in _COPIED}
    except (UnknownServiceError, DataNotFoundError):
        return None


def _load(loader: Loader, kind: str) -> dict[str, Any]:
    return cast(
        "dict[str, Any]",
        loader.load_service_model(description.SERVICE_NAME, kind, description.API_VERSION),
    )


def without_prose(members: dict[str, Any]) -> dict[str, Any]:
    """A copy of a description in which nothing has a `documentation` text."""
    return {
        name: without_prose(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in members.items()
        if not (name == "documentation" and isinstance(value, str))
    }


def generated_files(public: dict[str, dict[str, Any]] | None) -> dict[Path, str]:
    """Each derived file and what it has to hold.

    Args:
        public: the public description by file type; None keeps our committed copy of it.
    """
    if public is None:
        return {_SHAPES_MODULE: typed_dicts.render(description.load_description())}
    folder = description.data_path() / description.SERVICE_NAME / description.API_VERSION
    files = {folder / f"{kind}.json": _as_json(content) for kind, content in public.items()}
    extras = json.loads((folder / "service-2.sdk-extras.json").read_text(encoding="utf-8"))
    merged = copy.deepcopy(public["service-2"])
    ExtrasProcessor().process(merged, [extras])
    return files | {_SHAPES_MODULE: typed_dicts.render(merged)}


def outdated(files: dict[Path, str]) -> list[Path]:
    """The files whose content on disk differs from what it has to be."""
    return [
        path
        for path, content in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the derived files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="vivavoce.api.description.generate")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check_only = parser.parse_args(arguments).check

    public = public_description(botocore_loader())
    if public is None:
        sys.stderr.write(
            f"botocore {botocore_version} no longer describes {description.SERVICE_NAME}: "
            "our committed copy is kept as it is\n"
        )
    files = generated_files(public)
    stale = outdated(files)
    for path in stale:
        if check_only:
            sys.stderr.write(f"{path} is out of date: run `make generate`\n")
        else:
            path.write_text(files[path], encoding="utf-8")
            sys.stderr.write(f"wrote {path}\n")
    return 1 if check_only and stale else 0


if __name__ == "__main__":
    sys.exit(main())
