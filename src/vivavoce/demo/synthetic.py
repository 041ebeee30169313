"""A synthetic voice for the demonstration, from a speech synthesiser of the operating system."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from vivavoce.audio.arrays import CALL_RATE_HZ, Samples
from vivavoce.audio.recording import read_recording
from vivavoce.errors import ToolMissing

SCRIPT = (
    "Good morning. I would like to know how much money is left in my account, please. "
    "I was on a journey for two weeks, and the hotel may have taken its payment twice. "
    "If that is so, please send the second payment back, and tell me by letter when it is done. "
    "My new address is the third house behind the old mill, just before the river. "
    "You can also leave a message with my neighbour, who is at home nearly every afternoon. "
    "And while we are talking, I would like to change the limit of my card, because I am going to "
    "buy a garden table and six chairs next Saturday. Thank you very much for your patience."
)
"""What the synthetic caller says: about half a minute."""

_TIMEOUT_S = 60
_INSTALL_TIMEOUT_S = 600


def speak(text: str = SCRIPT, *, on_progress: Callable[[str], None] = lambda _: None) -> Samples:
    """Have a text spoken by espeak-ng or, where only that is installed, by flite.

    With neither, espeak-ng is installed if this runs as root on a system with apt-get.

    Args:
        text: what to say, in English.
        on_progress: told before something slow is done.

    Returns:
        Shape (n,), at `CALL_RATE_HZ`.

    Raises:
        ToolMissing: there is no synthesiser and none can be installed, or it failed.
    """
    program = shutil.which("espeak-ng")
    if program is None and (program := shutil.which("flite")) is not None:
        on_progress("The synthetic voice is flite's, since espeak-ng is not installed")
    if program is None:
        program = _install(on_progress)
    with tempfile.TemporaryDirectory() as folder:
        script, spoken = Path(folder) / "script.txt", Path(folder) / "spoken.wav"
        script.write_text(text, encoding="utf-8")
        if Path(program).name == "espeak-ng":
            command = [program, "-v", "en-us", "-f", str(script), "-w", str(spoken)]
        else:
            command = [program, "-f", str(script), "-o", str(spoken)]
        if not _succeeds(command, _TIMEOUT_S) or not spoken.exists():
            raise ToolMissing(
                f"{Path(program).name} does not speak; pass your own recording: --synthetic C.wav"
            )
        samples = read_recording(spoken).samples
    if len(samples) < CALL_RATE_HZ // 10:
        raise ToolMissing(
            f"{Path(program).name} said nothing; pass your own recording: --synthetic C.wav"
        )
    return samples


def _install(on_progress: Callable[[str], None]) -> str:
    apt_get = shutil.which("apt-get")
    if apt_get is not None and os.geteuid() == 0:
        on_progress("Installing espeak-ng, which speaks the synthetic voice")
        command = [apt_get, "install", "-y", "-q", "--no-install-recommends", "espeak-ng"]
        # A container image has no package lists: then they are fetched, and once more.
        if not _succeeds(command, _INSTALL_TIMEOUT_S):
            _succeeds([apt_get, "update", "-q"], _INSTALL_TIMEOUT_S)
            _succeeds(command, _INSTALL_TIMEOUT_S)
        if (program := shutil.which("espeak-ng")) is not None:
            return program
    if apt_get is not None:
        how = "install it with: sudo apt-get install espeak-ng"
    else:
        how = "install espeak-ng or flite, or pass your own recording: --synthetic C.wav"
    raise ToolMissing(f"The synthetic voice needs espeak-ng; {how}")


def _succeeds(command: list[str], timeout_s: float) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
