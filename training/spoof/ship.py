"""Put the final model, its card and its calibrations into the package.

    python -m training.spoof.ship --work DIR

Needs `scores` and `calibrate` to have run on this very model.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from training.spoof.calibrate import genuine_and_spoof
from training.spoof.export import model_path
from training.spoof.folds import FINAL
from training.spoof.scores import eer, read_scores
from training.spoof.sources import DEFAULT_WORK_DIR
from vivavoce.models.card import SHIPPED_DIR, calibration_suffix, load_model
from vivavoce.scoring.spoofing import VERDICTS

_TRAINED_ON = (
    "Features: the first two layers of Whisper tiny.en (Copyright (c) 2022 OpenAI, MIT licence),"
    " as they are but for rounding to 8 bits. The head on them, from scratch: Genuine: LibriSpeech"
    " readers, speechocean762, Picovoice commands and wake words, clips of the WaveNet and"
    " TensorFlowTTS pages, Debian's Asterisk prompts en, es, es-co, menardi, volunteers of"
    " KLettres, KTuberling and Tux Paint, actors of Fish Fillets. Synthetic: Larynx, GlowSpeak,"
    " DiffGAN-TTS, TensorFlowTTS, WaveNet, Tortoise, Festival, Flite, eSpeak NG, MaryTTS, SVOX"
    " Pico, Piper, Kokoro, Hibari; copy-synthesis of the genuine clips by Griffin-Lim, LPC, WORLD,"
    " Codec 2, FARGAN, Lyra v2, a HiFi-GAN, two neural vocoders and a voice conversion of our own."
    " Playback: the same clips through simulated recorders, loudspeakers and rooms. All through"
    " G.711, GSM, Speex, AMR-NB and Opus, noise, noise suppression, gain control, loss."
)
_LIMITS = (
    "Synthetic voices of systems that it has not heard may be missed; see the report by species.",
    "Playback was simulated, in training and in measurement; no real loudspeaker was recorded.",
    "A low risk is no proof of a living voice.",
    "Genuine callers of other recordings than those it has heard may score higher than promised.",
)


def ship(work: Path, folder: Path) -> None:
    """Copy model and calibrations, complete the card, load the result."""
    trained = model_path(work, FINAL)
    card: dict[str, Any] = json.loads(trained.with_suffix(".card.json").read_text())
    unheard = [s for s in read_scores(work) if s.fold != FINAL and s.wanted_s == 10]
    measured = {
        f"{verdict}, unheard, 10 s, EER": f"{eer(*genuine_and_spoof(unheard, verdict)):.1%}"
        for verdict in VERDICTS
    }
    measured["report"] = "bench/results/spoofing.md"
    card |= {"trained_on": _TRAINED_ON, "measured": measured, "limits": _LIMITS}
    for ending in (".onnx", *(calibration_suffix(verdict) for verdict in VERDICTS)):
        shutil.copyfile(trained.with_name(trained.stem + ending), folder / (trained.stem + ending))
    shipped = folder / trained.name
    shipped.with_suffix(".card.json").write_text(json.dumps(card, indent=2) + "\n")
    model = load_model(shipped)
    for verdict in VERDICTS:
        model.calibration(verdict)
    print(f"{shipped}: {shipped.stat().st_size / 1e6:.2f} MB, {model.card.sha256}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK_DIR)
    ship(parser.parse_args().work, SHIPPED_DIR)


if __name__ == "__main__":
    main()
