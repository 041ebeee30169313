import dataclasses
import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vivavoce.demo import voices
from vivavoce.demo.voices import compose, fetch_voices
from vivavoce.errors import ToolMissing, VoicesUnavailable

APT_GET = """#!/bin/sh
# A package source with one package; as the real one, it puts the file into the current folder.
echo "$@" >> "$FAKE_SOURCE/calls"
case "$*" in
  *update*) touch "$FAKE_SOURCE/updated"; exit 0 ;;
esac
if [ -n "$FAKE_NEEDS_UPDATE" ] && [ ! -e "$FAKE_SOURCE/updated" ]; then
  echo "E: Unable to locate package" >&2; exit 100
fi
if [ -n "$FAKE_GONE" ]; then echo "E: Version '1' was not found" >&2; exit 100; fi
cp "$FAKE_SOURCE/voice.deb" ./voice_1_all.deb
"""

DPKG_DEB = """#!/bin/sh
mkdir -p "$3" && tar -xf "$2" -C "$3"
"""


def write_clips(folder: Path, count: int = 40, seconds: float = 2.5) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(-9000, 9000, round(8000 * seconds)).astype(np.int16)
        soundfile.write(folder / f"clip-{number}.wav", noise, 8000)
    soundfile.write(folder / "hello.wav", np.ones(8000, np.int16), 8000)  # too short
    soundfile.write(folder / "tt-monkeys.wav", np.ones(8000 * 5, np.int16), 8000)
    soundfile.write(folder / "ascending-2tone.wav", np.ones(8000 * 5, np.int16), 8000)
    (folder / "digits").mkdir()
    soundfile.write(folder / "digits" / "1.wav", np.ones(8000 * 5, np.int16), 8000)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A fake package source; gives the one voice it has."""
    root = tmp_path / "source"
    write_clips(root / "tree" / "usr" / "sounds", count=4)
    with tarfile.open(root / "voice.deb", "w") as archive:
        archive.add(root / "tree" / "usr", "usr")
    content = (root / "voice.deb").read_bytes()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SOURCE", str(root))
    return dataclasses.replace(
        voices.JUNE, package="voice", version="1", folder="usr/sounds",
        sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content),
    )  # fmt: skip


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "source" / "calls").read_text().splitlines()


def test_a_voice_is_fetched_checked_and_unpacked_once(source, tmp_path):
    progress = []
    first = fetch_voices([source], cache=tmp_path / "cache", on_progress=progress.append)
    assert (first[source] / "clip-0.wav").exists()
    assert progress[-1].done_bytes == source.size_bytes
    assert fetch_voices([source], cache=tmp_path / "cache") == first
    assert calls(tmp_path) == ["download voice=1"]
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["voice_1"]


def test_without_package_lists_they_are_fetched_into_our_own_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NEEDS_UPDATE", "1")
    ready = fetch_voices([source], cache=tmp_path / "cache")
    assert (ready[source] / "clip-0.wav").exists()
    update = next(call for call in calls(tmp_path) if call.endswith("update"))
    assert f"Dir::State::lists={tmp_path}" in update


def test_another_file_than_the_pinned_one_is_refused(source, tmp_path):
    with (tmp_path / "source" / "voice.deb").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(VoicesUnavailable, match="not the file that was checked"):
        fetch_voices([source], cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_version_that_is_gone_says_what_to_do_instead(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_GONE", "1")
    with pytest.raises(VoicesUnavailable, match=r"was not found.*--genuine A\.wav") as caught:
        fetch_voices([source], cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_apt_get_ones_own_recordings_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"--genuine A\.wav --impostor B\.wav --synthetic C\.wav"):
        fetch_voices([voices.JUNE], cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_one_clear_line(source, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(VoicesUnavailable, match="cannot hold the voices"):
        fetch_voices([source], cache=tmp_path / "cache")


def test_what_a_killed_run_left_is_swept_away_when_it_is_old(source, tmp_path):
    old, young = tmp_path / "cache" / ".fetching-old", tmp_path / "cache" / ".fetching-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "half.deb").write_bytes(b"half")
    os.utime(old, (0, 0))
    fetch_voices([source], cache=tmp_path / "cache")
    assert not old.exists()
    assert young.exists()


def test_the_cache_follows_the_desktop_convention(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert voices.default_cache() == tmp_path / "vivavoce" / "voices"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert voices.default_cache() == Path.home() / ".cache" / "vivavoce" / "voices"


def pieces(samples: np.ndarray) -> set[bytes]:
    """The clips in a composition: 2.5 s each, 0.3 s of silence after."""
    step = round(2.8 * 8000)
    return {samples[start : start + 20000].tobytes() for start in range(0, len(samples), step)}


def test_enrolment_and_calls_share_no_clip(tmp_path):
    write_clips(tmp_path / "voice")
    enrolment = compose(tmp_path / "voice", seconds=30, use="enrolment")
    call = compose(tmp_path / "voice", seconds=30, use="call")
    assert len(pieces(enrolment)) == len(pieces(call)) == 11
    assert not pieces(enrolment) & pieces(call)


def test_a_composition_is_the_same_each_time_and_long_enough(tmp_path):
    write_clips(tmp_path / "voice")
    first = compose(tmp_path / "voice", seconds=17, use="call")
    assert len(first) >= 17 * 8000
    assert np.array_equal(first, compose(tmp_path / "voice", seconds=17, use="call"))


def test_single_words_tones_and_monkeys_are_left_out(tmp_path):
    write_clips(tmp_path / "voice", count=40)
    for use in ("enrolment", "call"):
        samples = compose(tmp_path / "voice", seconds=30, use=use)
        assert not (samples == 1).sum() > 100  # they are all ones


def test_too_little_speech_is_said(tmp_path):
    write_clips(tmp_path / "voice", count=3)
    with pytest.raises(VoicesUnavailable, match="30 s are needed"):
        compose(tmp_path / "voice", seconds=30, use="call")


def test_every_pinned_voice_is_whole():
    assert len({voice.package for voice in voices.VOICES}) == len(voices.VOICES)
    for voice in voices.VOICES:
        assert len(bytes.fromhex(voice.sha256)) == 32
        assert voice.attribution
        assert voice.size_bytes > 1_000_000
