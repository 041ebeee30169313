"""Who is left out when: nothing is said about a system or a corpus by a model that trained on it.

Each fold leaves out one synthesis system together with some genuine corpora, their copies included.
Every training system and every training corpus is left out exactly once, so that the scores of all
folds together are scores of the unheard.
"""

import zlib
from dataclasses import dataclass

from training.spoof.takes import Take

FINAL = "final"
"""Name of the model that trains on everything allowed; the one that ships."""

_VOLUNTEERS = ("letters-", "potato-", "stamps-")
"""Corpora that are made of languages. Some people read for two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What one model must not hear.

    Attributes:
        systems: names of one synthesis system, whoever made clips with it.
        corpora: genuine corpora left out, with what vocoders made of them.
        share: which share of the volunteers' languages is left out, one for each fold.
    """

    systems: frozenset[str]
    corpora: frozenset[str]
    share: int

    def leaves_out(self, take: Take) -> bool:
        """Whether a take belongs to the unheard."""
        if take.corpus.startswith(_VOLUNTEERS):
            language = take.corpus.partition("-")[2]
            return zlib.crc32(language.encode()) % len(_LEFT_OUT) == self.share
        return take.system in self.systems or take.corpus in self.corpora


_LEFT_OUT: dict[str, tuple[set[str], set[str]]] = {
    "flite": ({"Flite", "flite"}, {"prompts-en", "prompts-es"}),
    "festival": ({"Festival", "festival"}, {"fillets-cs"}),
    "espeak-ng": ({"espeak-ng"}, {"prompts-es-co"}),
    "MaryTTS": ({"MaryTTS"}, {"fillets-nl"}),
    "Pico": ({"SVOX-Pico"}, set()),
    "Hibari": ({"Hibari"}, {"prompts-menardi"}),
    "Glow-TTS": (
        {"Larynx(GlowTTS+HiFiGAN)", "GlowSpeak(GlowTTS+HiFiGAN)"},
        {"pv_s2i", "pv_wakeword"},
    ),
    "DiffGAN-TTS": ({"DiffGAN-TTS+HiFiGAN"}, set()),
    "Piper": ({"Piper(VITS)"}, {"speechocean762"}),
    "Kokoro": ({"Kokoro(StyleTTS2)"}, set()),
    "Tortoise": ({"Tortoise"}, {"librispeech_resemblyzer"}),
    "WaveNet": ({"WaveNet-voc"}, {"wavenet_demo"}),
    "TensorFlowTTS": ({"TFTTS(Taco2/FastSpeech+MelGAN)"}, {"tensorflowtts_demo"}),
}
"""By the name of the fold: systems, and genuine corpora."""

FOLDS = {
    name: Fold(systems=frozenset(systems), corpora=frozenset(corpora), share=share)
    for share, (name, (systems, corpora)) in enumerate(_LEFT_OUT.items())
}
