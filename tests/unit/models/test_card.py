import hashlib
import json

import numpy as np
import pytest

from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.models.card import SHIPPED_DIR, load_model, metadata_of
from vivavoce.scoring.calibration import Calibration, Condition, write_calibration


def write_calibration_for(path, *, model="tiny", sha256=None, ending=".calibration.json"):
    condition = Condition(
        seconds=10, slope=20, offset=-14, tail_raw=(0.5, 0.7, 0.9), tail_log10_p=(-0.3, -1, -3)
    )
    calibration = Calibration(
        model=model,
        model_sha256=sha256 or hashlib.sha256(path.read_bytes()).hexdigest(),
        conditions=(condition,),
    )
    write_calibration(path.with_name(f"tiny{ending}"), calibration, made_from={})


def test_a_foreign_export_is_described_by_its_card_alone(write_model):
    model = load_model(write_model(metadata={"exporter": "elsewhere"}))
    assert model.card.name == "tiny"
    assert model.card.front_end == "kaldi-fbank80"
    assert model.card.scale == 32768.0
    assert model.card.subtract_mean is True
    assert model.calibrations == {}
    assert model.card.outputs == ()
    assert model.run(np.ones((3, 50, 80), np.float32)).shape == (3, 12)


def test_a_file_that_describes_itself_needs_little_card(write_model):
    metadata = {
        **metadata_of({"kind": "speaker", "rate_hz": 16000, "bands": 80, "dimension": 12}),
        "vivavoce.front_end": "kaldi-fbank80",
        "vivavoce.subtract_mean": "True",
        "vivavoce.window_ms": "25",
    }
    absent = dict.fromkeys(("kind", "rate_hz", "bands", "dimension", "front_end", "subtract_mean"))
    card = load_model(write_model(metadata=metadata, **absent)).card
    assert (card.kind, card.rate_hz, card.front_end) == ("speaker", 16000, "kaldi-fbank80")
    assert card.subtract_mean is True
    assert card.extra == {"window_ms": "25"}


def test_a_calibration_beside_the_model_is_read(write_model):
    path = write_model()
    write_calibration_for(path)
    model = load_model(path)
    assert list(model.calibrations) == [""]
    assert model.calibration().apply(0.8, seconds=10).llr == pytest.approx(2.0)


def test_what_a_speaker_models_windows_say_of_two_voices_is_read_where_it_is_known(write_model):
    path = write_model()
    write_calibration_for(path)
    write_calibration_for(path, ending=".voices.calibration.json")
    assert sorted(load_model(path).calibrations) == ["", "voices"]


def test_a_model_without_calibration_says_which_file_it_lacks(write_model):
    with pytest.raises(ModelInvalid, match=r"put a file tiny\.calibration\.json beside it"):
        load_model(write_model()).calibration()


@pytest.fixture
def write_two_outputs(write_model, network):
    """Writes a tiny model that answers two questions."""

    def write(outputs="one two", *, metadata=None):
        content, _ = network(80, 2, metadata or {})
        return write_model(content=content, dimension=2, outputs=outputs)

    return write


def test_each_output_has_a_calibration_of_its_own(write_two_outputs):
    path = write_two_outputs()
    write_calibration_for(path, ending=".two.calibration.json")
    write_calibration_for(path)  # of no output
    model = load_model(path)
    assert model.card.outputs == ("one", "two")
    assert list(model.calibrations) == ["two"]
    assert model.calibration("two").apply(0.8, seconds=10).llr == pytest.approx(2.0)
    for absent, name in (("one", r"tiny\.one\.calibration\.json"), ("", r"tiny\.calibration")):
        with pytest.raises(ModelInvalid, match=name):
            model.calibration(absent)


def test_an_outputs_calibration_of_another_model_is_refused(write_two_outputs):
    path = write_two_outputs()
    write_calibration_for(path, sha256="0" * 64, ending=".one.calibration.json")
    with pytest.raises(ModelInvalid, match=r"tiny\.one\.calibration\.json was made for another"):
        load_model(path)


@pytest.mark.parametrize("outputs", ["one", "one one", "one two three", "one ../two", ["a", "b"]])
def test_each_output_needs_a_name_of_its_own(write_two_outputs, outputs):
    with pytest.raises(ModelInvalid, match="each of its 2 outputs needs a name"):
        load_model(write_two_outputs(outputs))


def test_a_file_names_its_outputs_itself_and_its_card_must_agree(write_two_outputs):
    metadata = metadata_of({"outputs": "one two"})
    assert load_model(write_two_outputs(None, metadata=metadata)).card.outputs == ("one", "two")
    with pytest.raises(ModelInvalid, match="outputs"):
        load_model(write_two_outputs("two one", metadata=metadata))


@pytest.mark.parametrize("wrong", [{"model": "other"}, {"sha256": "0" * 64}])
def test_a_calibration_of_another_model_is_refused(write_model, wrong):
    path = write_model()
    write_calibration_for(path, **wrong)
    with pytest.raises(ModelInvalid, match="made for another model"):
        load_model(path)


def test_a_missing_model_says_what_to_run(tmp_path):
    with pytest.raises(ModelMissing, match="vivavoce models pull"):
        load_model(tmp_path / "none.onnx")


def test_any_flipped_byte_is_found(write_model):
    path = write_model()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match="SHA-256"):
        load_model(path)


def test_a_model_without_card_is_refused(write_model):
    path = write_model()
    path.with_name("tiny.card.json").unlink()
    with pytest.raises(ModelInvalid, match=r"tiny\.card\.json"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "vivavoce-card/1"}', "\x00"])
def test_a_card_that_cannot_be_read_is_refused(write_model, text):
    path = write_model()
    path.with_name("tiny.card.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelInvalid, match="card"):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "vivavoce-card/9"}, "format"),
        ({"kind": None}, "kind"),
        ({"licence": None}, "licence"),
        ({"name": "huge"}, "name and stem"),
        ({"rate_hz": 0}, "positive"),
        ({"rate_hz": "fast"}, "card of tiny"),
        ({"scale": float("nan")}, "positive"),
        ({"limits": 3}, "card of tiny"),
        ({"window_frames": 100}, "together"),
        ({"window_frames": -1, "hop_frames": -1}, "negative"),
        ({"bands": 40}, "shape"),
        ({"dimension": 256}, "shape"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(write_model, changes, message):
    with pytest.raises(ModelInvalid, match=message):
        load_model(write_model(**changes))


def test_metadata_and_card_must_agree(write_model):
    with pytest.raises(ModelInvalid, match="rate_hz"):
        load_model(write_model(metadata={"vivavoce.rate_hz": "8000"}))


def test_numbers_agree_however_they_are_written(write_model):
    metadata = {"vivavoce.scale": "32768", "vivavoce.subtract_mean": "true"}
    assert load_model(write_model(metadata=metadata)).card.scale == 32768.0


def test_a_file_that_is_not_onnx_is_refused(write_model):
    with pytest.raises(ModelInvalid, match="not a usable ONNX file"):
        load_model(write_model(content=b"not a network"))


def test_a_model_that_gives_no_numbers_is_refused(write_model, network):
    content, weights = network(80, 12, {})
    spoiled = content.replace(weights.tobytes(), np.full_like(weights, np.nan).tobytes())
    assert spoiled != content
    with pytest.raises(ModelInvalid, match="finite"):
        load_model(write_model(content=spoiled))


def test_metadata_is_sorted_and_leaves_out_what_changes_later():
    card = {"name": "x", "kind": "speaker", "sha256": "1", "measured": {}, "bands": 40}
    assert list(metadata_of(card).items()) == [
        ("vivavoce.bands", "40"),
        ("vivavoce.kind", "speaker"),
        ("vivavoce.name", "x"),
    ]


def test_shipped_cards_are_complete():
    paths = sorted(SHIPPED_DIR.glob("*.card.json"))
    assert paths
    for path in paths:
        card = json.loads(path.read_text(encoding="utf-8"))
        assert card["name"] == path.name.removesuffix(".card.json")
        assert len(card["sha256"]) == 64
        assert {"kind", "licence", "source", "trained_on", "limits", "measured"} <= card.keys()


def test_a_shipped_calibration_is_not_taken_for_another_model_of_that_name(write_model):
    path = write_model(name="ge2e")
    retrained = path.rename(path.with_name("ge2e.onnx"))
    path.with_name("tiny.card.json").rename(path.with_name("ge2e.card.json"))
    assert load_model(retrained).calibrations == {}
