"""What the synthesisers of this pipeline say: sentences of Debian's fortune cookies.

Many different sentences, so that no word is a mark of a machine. Nothing of the texts is kept.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

PACKAGES: Mapping[str, str] = {
    "en": "fortunes",
    "de": "fortunes-de",
    "es": "fortunes-es",
    "it": "fortunes-it",
    "ru": "fortunes-ru",
    "cs": "fortunes-cs",
    "pl": "fortunes-pl",
    "pt": "fortunes-br",
}
"""Debian's package of each language."""

OTHER_TEXTS: Mapping[str, str] = {
    "fr": "Bonjour, je vous appelle au sujet de ma commande. Le colis n'est jamais arrivé et je "
    "voudrais savoir où il se trouve. Pourriez-vous vérifier mon dossier, s'il vous plaît ?",
    "ca": "Bon dia, truco per la factura del mes passat. Voldria canviar la meva adreça i "
    "saber quan arriba la targeta nova. Moltes gràcies per la seva ajuda.",
    "fi": "Hyvää päivää, soitan viime kuun laskusta. Haluaisin muuttaa osoitteeni ja kysyä, "
    "milloin uusi kortti tulee. Kiitos paljon avusta.",
}
"""For languages that have no package."""

_SENTENCE = re.compile(r"[^\W\d_][^.!?]{30,140}[.!?]")
# Mark-up, addresses, dialogue signs: what nobody says.
_UNSPOKEN = re.compile(r"[<>{}\[\]|\\@#%*_=/~^\"]|--|\d{3}|\.\.")


class Texts:
    """Sentences by language."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Args:
            folder: unpacked packages, a folder each, named as they are.
        """
        self._sentences = {
            language: sorted(_sentences(folder / package)) for language, package in PACKAGES.items()
        }

    def speech(self, language: str, rng: np.random.Generator, *, letters: int = 100) -> str:
        """Some sentences with at least so many letters together; 100 are about 7 s."""
        sentences = self._sentences.get(language, [])
        if not sentences:
            return OTHER_TEXTS[language]
        said = ""
        while len(said) < letters:
            said += f"{sentences[rng.integers(len(sentences))]} "
        return said.strip()


def _sentences(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.glob("usr/share/games/fortunes/**/*"):
        if not path.is_file() or path.suffix in {".dat", ".u8"}:
            continue
        text = " ".join(path.read_text(encoding="utf-8", errors="ignore").split())
        found |= {s for s in _SENTENCE.findall(text) if not _UNSPOKEN.search(s)}
    return found
