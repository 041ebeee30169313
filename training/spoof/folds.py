"""Who is left out when: nothing is said about a system or a corpus by a model that trained on it.

Each fold leaves out a family of synthesisers together with whole genuine corpora, their copies
included. Every training system and every training corpus is left out exactly once, so that the
scores of all folds together are scores of the unheard.
"""

from dataclasses import dataclass

from training.spoof.prepare import Take

FINAL = "final"
"""Name of the model that trains on everything allowed; the one that ships."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What one model must not hear.

    Attributes:
        systems: synthesisers left out.
        corpora: genuine corpora left out, with what vocoders made of them.
    """

    systems: frozenset[str]
    corpora: frozenset[str]

    def leaves_out(self, take: Take) -> bool:
        """Whether a take belongs to the unheard."""
        return take.system in self.systems or take.corpus in self.corpora


_LETTERS = tuple(
    f"letters-{language}"
    for language in (
        *("ar", "cs", "da", "de", "en", "en_GB", "es", "fr", "he", "hu", "id", "it"),
        *("lt", "ml", "nb", "nds", "nl", "nn", "pt_BR", "ru", "tn", "uk"),
    )
)

FOLDS = {
    "classical": Fold(
        systems=frozenset(
            {"Festival", "Flite", "MaryTTS", "SVOX-Pico", "festival", "flite", "espeak-ng"}
        ),
        corpora=frozenset({"pv_s2i", "pv_wakeword", "prompts-en", "prompts-es"}),
    ),
    "flow and GAN": Fold(
        systems=frozenset(
            {
                "Larynx(GlowTTS+HiFiGAN)",
                "GlowSpeak(GlowTTS+HiFiGAN)",
                "DiffGAN-TTS+HiFiGAN",
            }
        ),
        corpora=frozenset({"speechocean762", "prompts-es-co", *_LETTERS[::2]}),
    ),
    "autoregressive": Fold(
        systems=frozenset({"Tortoise", "WaveNet-voc", "TFTTS(Taco2/FastSpeech+MelGAN)"}),
        corpora=frozenset(
            {
                *("librispeech_resemblyzer", "prompts-menardi"),
                *("wavenet_demo", "tensorflowtts_demo"),
                *_LETTERS[1::2],
            }
        ),
    ),
}
