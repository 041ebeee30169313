"""Models for commands that need no server."""

from pathlib import Path

from vivavoce.models.engines import Models, load_models
from vivavoce.models.registry import models_folder
from vivavoce.settings import Settings


def offline_models(models_dir: Path | None) -> Models:
    """The models that a server would use by default.

    Raises:
        ModelMissing: one is not installed; says how to install it.
        ModelInvalid: one is damaged.
    """
    defaults = Settings.model_fields
    return load_models(
        models_folder(models_dir),
        speaker=defaults["speaker_model"].default,
        spoof=defaults["spoof_model"].default,
    )
