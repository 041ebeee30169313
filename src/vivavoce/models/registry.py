"""Which models are there: those shipped with vivavoce and those in the models folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.models.card import SHIPPED_DIR, read_card

DEFAULT_SPEAKER_MODEL = "ge2e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A model that is installed, or that a shipped card knows how to get.

    Attributes:
        name: the model's name.
        card: its card file as it stands.
        path: where the ONNX file lies, or would lie.
        installed: whether it is there; its hash is another matter (`load_model`).
    """

    name: str
    card: dict[str, Any]
    path: Path
    installed: bool


def models_folder(configured: Path | None) -> Path:
    """The folder for pulled models: the configured one, else one in the user's cache.

    Raises:
        ModelMissing: none is configured and the user has no home folder.
    """
    if configured is not None:
        return configured
    try:
        return Path.home() / ".cache" / "vivavoce" / "models"
    except RuntimeError as error:
        raise ModelMissing("There is no home folder for models; set VIVAVOCE_MODELS_DIR") from error


def find(models_dir: Path, name: str) -> Path:
    """The ONNX file of a model: in the models folder, else among those shipped.

    Raises:
        ModelMissing: in neither; says what to do.
    """
    for folder in (models_dir, SHIPPED_DIR):
        path = folder / f"{name}.onnx"
        if path.is_file():
            return path
    if name == DEFAULT_SPEAKER_MODEL:
        raise ModelMissing(
            f"The model {name!r} is not installed in {models_dir}; run: vivavoce models pull"
        )
    there = ", ".join(sorted(_installed(models_dir).keys() | {DEFAULT_SPEAKER_MODEL}))
    raise ModelMissing(f"There is no model {name!r} in {models_dir}; there are: {there}")


def known(models_dir: Path) -> list[Listing]:
    """Models that are installed or that a shipped card describes, by name.

    Raises:
        ModelInvalid: one of them has no readable card.
    """
    files = _installed(models_dir)
    described = {path.name.removesuffix(".card.json") for path in SHIPPED_DIR.glob("*.card.json")}
    listings: list[Listing] = []
    for name in sorted(files.keys() | described):
        path = files.get(name, models_dir / f"{name}.onnx")
        card = read_card(path)
        listings.append(Listing(name=name, card=card, path=path, installed=name in files))
    return listings


def _installed(models_dir: Path) -> dict[str, Path]:
    """The ONNX files by name; in the models folder before those shipped."""
    return {
        path.stem: path for folder in (SHIPPED_DIR, models_dir) for path in folder.glob("*.onnx")
    }


def shipped_card(name: str) -> dict[str, Any]:
    """A card of those shipped with vivavoce.

    Raises:
        ModelMissing: vivavoce ships no card of that name.
        ModelInvalid: the card is damaged.
    """
    path = SHIPPED_DIR / f"{name}.card.json"
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ModelMissing(f"vivavoce ships no card for a model {name!r}") from error
    except ValueError as error:
        raise ModelInvalid(f"{path.name} is not readable JSON: {error}") from error
