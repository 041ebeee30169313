"""Put the final model, its card and its calibration into the package.

    python -m training.spoof.ship --work DIR

Needs `evaluate` to have run on this very model.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from training.spoof.folds import FINAL
from training.spoof.prepare import DEFAULT_WORK_DIR
from training.spoof.train import model_path
from vivavoce.models.card import SHIPPED_DIR, load_model

_TRAINED_ON = (
    "Genuine: LibriSpeech readers, speechocean762, Picovoice commands, clips of the"
    " WaveNet and TensorFlowTTS pages, Debian's Asterisk prompts en, es, es-co, menardi. Synthetic:"
    " Larynx, GlowSpeak, DiffGAN-TTS, TensorFlowTTS, WaveNet, Tortoise, Festival, Flite, MaryTTS,"
    " SVOX Pico; copy-synthesis of the genuine clips by Griffin-Lim, LPC and WORLD. All through"
    " G.711, GSM, AMR-NB and Opus."
)
_LIMITS = (
    "Playback of recordings is not judged, only synthetic speech.",
    "Most synthetic voices of systems that it has not heard are missed: see `measured`.",
    "A low risk is no proof of a living voice.",
    "Female voices of espeak-ng, and neural vocoders on studio speech, are mostly missed.",
    "Genuine callers of other recordings than those it has heard may score higher than promised.",
    "Voice conversion was not heard in training, recent neural cloning hardly.",
    "Training was stopped by its budget of batches, with the loss still falling.",
)


def ship(work: Path, folder: Path) -> None:
    """Copy model and calibration, complete the card, and try to load the result."""
    trained = model_path(work, FINAL)
    measured: dict[str, Any] = json.loads((trained.parent / "measured.json").read_text())
    card: dict[str, Any] = json.loads(trained.with_suffix(".card.json").read_text())
    if measured.pop("model_sha256") != card["sha256"]:
        raise SystemExit("measured.json is of another model; run training.spoof.evaluate again")
    card |= {"trained_on": _TRAINED_ON, "measured": measured, "limits": _LIMITS}
    shipped = folder / trained.name
    shutil.copyfile(trained, shipped)
    shutil.copyfile(
        trained.with_suffix(".calibration.json"), shipped.with_suffix(".calibration.json")
    )
    shipped.with_suffix(".card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"{shipped}: {shipped.stat().st_size / 1e6:.2f} MB, {load_model(shipped).card.sha256}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    ship(parser.parse_args().work, SHIPPED_DIR)


if __name__ == "__main__":
    main()
