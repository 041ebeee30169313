import os
import shutil

import numpy as np
import pytest
import soundfile

from vivavoce.demo import synthetic
from vivavoce.errors import ToolMissing

SPEAKER = """#!/bin/sh
# Speaks with the recording beside it, whatever the text; the last argument is the file to write.
for last; do :; done
{copy} "{voice}" "$last"
"""


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Makes a PATH on which only the named programs exist."""

    def put(**scripts: str):
        for name, script in scripts.items():
            program = tmp_path / "bin" / name.replace("_", "-")
            program.parent.mkdir(exist_ok=True)
            program.write_text(script)
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return put


@pytest.fixture
def speaker(tmp_path) -> str:
    """A program that speaks, at another rate than that of calls."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 22050).astype(np.int16)
    soundfile.write(tmp_path / "voice.wav", noise, 22050)
    return SPEAKER.format(copy=shutil.which("cp"), voice=tmp_path / "voice.wav")


@pytest.mark.parametrize("program", ["espeak_ng", "flite"])
def test_a_synthesiser_that_is_there_speaks_at_the_rate_of_calls(only, speaker, program):
    only(**{program: speaker})
    samples = synthetic.speak("Good morning")
    assert samples.dtype == np.int16
    assert abs(len(samples) - 8000) <= 1


def test_without_a_synthesiser_and_without_apt_one_line_says_what_to_do(only):
    only()
    with pytest.raises(ToolMissing, match=r"--synthetic C\.wav"):
        synthetic.speak()


def test_where_installing_fails_the_command_is_named(only):
    only(apt_get="#!/bin/sh\nexit 100\n")
    with pytest.raises(ToolMissing, match="sudo apt-get install espeak-ng"):
        synthetic.speak()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may install packages")
def test_root_gets_the_synthesiser_installed(only, speaker, tmp_path):
    installer = (
        "#!/bin/sh\n[ \"$1\" = install ] || exit 1\n"
        f"{shutil.which('cat')} > {tmp_path}/bin/espeak-ng <<'END'\n{speaker}END\n"
        f"{shutil.which('chmod')} 755 {tmp_path}/bin/espeak-ng\n"
    )  # fmt: skip
    only(apt_get=installer)
    told = []
    assert len(synthetic.speak(on_progress=told.append)) > 0
    assert told == ["Installing espeak-ng, which speaks the synthetic voice"]


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 0\n"])
def test_a_synthesiser_that_does_not_speak_is_said(only, script):
    only(espeak_ng=script)
    with pytest.raises(ToolMissing, match="does not speak"):
        synthetic.speak()
