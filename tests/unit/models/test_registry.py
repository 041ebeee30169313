from pathlib import Path

import pytest

from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.models import registry


def test_the_configured_folder_wins_over_the_cache(tmp_path):
    assert registry.models_folder(tmp_path) == tmp_path
    assert registry.models_folder(None).parts[-3:] == (".cache", "vivavoce", "models")


def test_without_a_home_the_folder_must_be_configured(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ModelMissing, match="VIVAVOCE_MODELS_DIR"):
        registry.models_folder(None)


def test_a_model_in_the_folder_is_found_by_name(write_model):
    path = write_model()
    assert registry.find(path.parent, "tiny") == path
    entries = {entry.name: entry for entry in registry.known(path.parent)}
    assert entries["tiny"].installed
    assert entries["tiny"].path == path
    assert entries["tiny"].card["licence"] == "Apache-2.0"
    assert entries["tiny"].card["kind"] == "speaker"


def test_the_default_model_that_is_not_there_says_what_to_run(tmp_path):
    with pytest.raises(ModelMissing, match="vivavoce models pull"):
        registry.find(tmp_path, registry.DEFAULT_SPEAKER_MODEL)


def test_a_model_that_nobody_knows_says_which_there_are(write_model):
    folder = write_model().parent
    with pytest.raises(ModelMissing, match=r"no model 'nope' .* there are: ge2e, .*, tiny$"):
        registry.find(folder, "nope")


def test_the_default_model_is_known_before_it_is_pulled(tmp_path):
    entry = next(entry for entry in registry.known(tmp_path) if entry.name == "ge2e")
    assert not entry.installed
    assert entry.path == tmp_path / "ge2e.onnx"
    assert entry.card["licence"] == "Apache-2.0"


def test_a_folder_that_does_not_exist_is_an_empty_one(tmp_path):
    absent, empty = tmp_path / "absent", tmp_path / "empty"
    empty.mkdir()
    names = [entry.name for entry in registry.known(absent)]
    assert names == [entry.name for entry in registry.known(empty)]


def test_a_model_without_card_is_named(write_model):
    path = write_model()
    path.with_name("tiny.card.json").unlink()
    with pytest.raises(ModelInvalid, match="tiny"):
        registry.known(path.parent)


def test_a_card_that_is_not_shipped_is_missing():
    with pytest.raises(ModelMissing, match="no card"):
        registry.shipped_card("tiny")
