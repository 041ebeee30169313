"""Who is left out when: nothing is said about a system or a corpus by a model that trained on it.

Each fold leaves out a family of synthesisers together with whole genuine corpora, their copies
included. Every training system and every training corpus is left out exactly once, so that the
scores of all folds together are scores of the unheard.
"""

import zlib
from dataclasses import dataclass

from training.spoof.prepare import Take

FINAL = "final"
"""Name of the model that trains on everything allowed; the one that ships."""

_VOLUNTEERS = ("letters-", "potato-", "stamps-")
"""Corpora that are made of languages. Some people read for two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What one model must not hear.

    Attributes:
        systems: synthesisers left out.
        corpora: genuine corpora left out, with what vocoders made of them.
        third: which third of the volunteers' languages is left out.
    """

    systems: frozenset[str]
    corpora: frozenset[str]
    third: int

    def leaves_out(self, take: Take) -> bool:
        """Whether a take belongs to the unheard."""
        if take.corpus.startswith(_VOLUNTEERS):
            language = take.corpus.partition("-")[2]
            return zlib.crc32(language.encode()) % 3 == self.third
        return take.system in self.systems or take.corpus in self.corpora


FOLDS = {
    "classical and harmonic": Fold(
        systems=frozenset(
            {
                *("Festival", "Flite", "MaryTTS", "SVOX-Pico", "festival", "flite", "espeak-ng"),
                "Hibari",
            }
        ),
        corpora=frozenset({"pv_s2i", "pv_wakeword", "prompts-en", "prompts-es", "fillets-cs"}),
        third=0,
    ),
    "flow and GAN": Fold(
        systems=frozenset(
            {
                "Larynx(GlowTTS+HiFiGAN)",
                "GlowSpeak(GlowTTS+HiFiGAN)",
                "DiffGAN-TTS+HiFiGAN",
                "Piper(VITS)",
            }
        ),
        corpora=frozenset({"speechocean762", "prompts-es-co"}),
        third=1,
    ),
    "autoregressive and style": Fold(
        systems=frozenset(
            {
                "Tortoise",
                "WaveNet-voc",
                "TFTTS(Taco2/FastSpeech+MelGAN)",
                "Kokoro(StyleTTS2)",
            }
        ),
        corpora=frozenset(
            {
                *("librispeech_resemblyzer", "prompts-menardi", "fillets-nl"),
                *("wavenet_demo", "tensorflowtts_demo"),
            }
        ),
        third=2,
    ),
}
