"""A model as data: an ONNX file that describes itself, its card, and its calibration.

Three files share a stem, which is the model's name:

- `<name>.onnx`: the network. One input, float32 (batch, frames, bands); one output, float32
  (batch, dimension). Its `metadata_props` describe it; our keys begin with `vivavoce.`.
- `<name>.card.json`: what a file cannot know about itself: its hash, what was measured, on what it
  was trained, its limits. A field that the ONNX file lacks (an export made elsewhere has none) may
  be given here instead; a field given in both must agree.
- `<name>.calibration.json`: what its scores mean; see `vivavoce.scoring.calibration`. A model that
  answers several questions has `<name>.<output>.calibration.json` for each. (A spoof model's
  `distance` is no question and needs none; see `vivavoce.scoring.spoofing`.)

Card and calibration lie beside the ONNX file, or else among those shipped with vivavoce.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import onnxruntime

from vivavoce.audio.arrays import Floats
from vivavoce.errors import ModelInvalid, ModelMissing
from vivavoce.scoring.calibration import Calibration, read_calibration
from vivavoce.scoring.voices import CALIBRATED

CARD_FORMAT = "vivavoce-card/1"
METADATA_PREFIX = "vivavoce."
SHIPPED_DIR = Path(__file__).parent / "shipped"
"""Models, cards and calibrations that are part of the package."""

_PROBE_FRAMES = 200
"""Frames of the trial input of a model that takes any number: two seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is: the ONNX file's metadata and the card file, as one.

    Attributes:
        name: the model's name, and the stem of its files.
        kind: what it judges: "speaker" or "spoof".
        sha256: hash of the ONNX file, 64 hexadecimal digits.
        rate_hz: sampling rate of the audio that its front end takes.
        front_end: name of the features it takes, such as "ge2e-mel40" or "kaldi-fbank80".
        bands: values in a frame of features.
        dimension: values it gives for each item of a batch.
        outputs: what each of these values is, where they are answers to questions of their own.
        window_frames: frames of one input; 0 if it takes any number.
        hop_frames: frames between the starts of successive windows; 0 without windows.
        scale: factor on audio of full scale -1..1 before the front end.
        subtract_mean: whether each band's mean over an input is taken away.
        source: where the weights come from.
        licence: SPDX expression of the weights' licence.
        description: what it is, in one sentence.
        trained_on: the data it was trained on.
        measured: name of a measurement to its result, both as text.
        limits: known weaknesses, a sentence each.
        extra: further members of the ONNX metadata, for the front end that needs them.
    """

    name: str
    kind: str
    sha256: str
    rate_hz: int
    front_end: str
    bands: int
    dimension: int
    source: str
    licence: str
    outputs: tuple[str, ...] = ()
    window_frames: int = 0
    hop_frames: int = 0
    scale: float = 1.0
    subtract_mean: bool = False
    description: str = ""
    trained_on: str = ""
    measured: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict[str, str])


_IN_METADATA = (
    "name",
    "kind",
    "rate_hz",
    "front_end",
    "bands",
    "dimension",
    "outputs",
    "source",
    "licence",
    "window_frames",
    "hop_frames",
    "scale",
    "subtract_mean",
    "description",
)
"""Members of a card that an ONNX file carries itself."""


class Node(Protocol):
    """An input or output of a network, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of an ONNX Runtime session that is used here."""

    def get_inputs(self) -> list[Node]:
        """The network's inputs."""
        ...

    def get_outputs(self) -> list[Node]:
        """The network's outputs."""
        ...

    def run(self, output_names: list[str], input_feed: dict[str, Floats]) -> list[Floats]:
        """Values of the named outputs."""
        ...


class Model:
    """A loaded model, ready to run; safe to use from several threads at once.

    Attributes:
        card: what it is.
        calibrations: what its scores mean: by output, or under "" where it has but one; of a
            speaker model also what its windows say of two voices. One that there is none of yet is
            left out.
        path: the ONNX file.
    """

    def __init__(
        self,
        card: ModelCard,
        session: Session,
        calibrations: Mapping[str, Calibration],
        path: Path,
    ) -> None:
        self.card = card
        self.session = session
        self.calibrations = calibrations
        self.path = path
        self._input_name = session.get_inputs()[0].name
        self._output_name = session.get_outputs()[0].name

    def calibration(self, output: str = "") -> Calibration:
        """What an output's scores mean.

        Raises:
            ModelInvalid: they mean nothing yet.
        """
        if output not in self.calibrations:
            raise ModelInvalid(
                f"{self.card.name} has no calibration, so its scores mean nothing; put a file"
                f" {self.card.name}{calibration_suffix(output)} beside it"
            )
        return self.calibrations[output]

    def run(self, batch: Floats) -> Floats:
        """Features, shape (n, frames, bands), to results, shape (n, dimension)."""
        return self.session.run([self._output_name], {self._input_name: batch})[0]


def load_model(path: Path) -> Model:
    """Load a model with its card and its calibration, and try it once.

    Raises:
        ModelMissing: there is no such ONNX file.
        ModelInvalid: a hash, a field, a shape or the calibration is wrong.
    """
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    document = _read_card(path)
    if document["sha256"] != sha256:
        raise ModelInvalid(
            f"{path.name} is not the file that its card describes: its SHA-256 is {sha256}, the"
            f" card says {document['sha256']}; remove it and run: vivavoce models pull"
        )
    session, metadata = _open(content, path)
    card = _merge(document, metadata, path)
    outputs = card.outputs or ("",)
    if card.kind == "speaker":
        outputs = (*outputs, CALIBRATED)
    found = {output: _calibration(path, card, output) for output in outputs}
    calibrations = {output: each for output, each in found.items() if each is not None}
    model = Model(card, session, calibrations, path)
    _check_shapes(session, card, path)
    _probe(model)
    return model


def read_card(path: Path) -> dict[str, Any]:
    """The card file that belongs to an ONNX file, as it stands, without opening the model.

    Raises:
        ModelInvalid: there is none, or it is not in our format.
    """
    return _read_card(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        ModelMissing: there is no such file.
    """
    return hashlib.sha256(_read(path)).hexdigest()


def beside_or_shipped(path: Path, ending: str) -> Path | None:
    """The companion `<stem><ending>` of an ONNX file, or None if there is none."""
    candidates = (path.with_name(path.stem + ending), SHIPPED_DIR / (path.stem + ending))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def metadata_of(card: Mapping[str, Any]) -> dict[str, str]:
    """What an ONNX file of this card must carry in its `metadata_props`, keys in rising order."""
    return {METADATA_PREFIX + key: str(card[key]) for key in sorted(_IN_METADATA) if key in card}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelMissing(
            f"The model {path.stem!r} is not installed ({path}); run: vivavoce models pull"
        ) from error
    except OSError as error:
        raise ModelInvalid(f"{path} cannot be read: {error.strerror}") from error


def _read_card(path: Path) -> dict[str, Any]:
    card_path = beside_or_shipped(path, ".card.json")
    if card_path is None:
        raise ModelInvalid(f"{path.name} has no card; write {path.stem}.card.json beside it")
    try:
        document: Any = json.loads(card_path.read_text(encoding="utf-8"))
        if document["format"] != CARD_FORMAT:
            raise ModelInvalid(
                f"{card_path.name}: format {document['format']!r}, expected {CARD_FORMAT!r}"
            )
        document["sha256"] = str(document["sha256"]).lower()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelInvalid(f"{card_path.name} is not a readable card: {error!r}") from error
    return cast("dict[str, Any]", document)


def _open(content: bytes, path: Path) -> tuple[Session, dict[str, str]]:
    """The network and its `metadata_props`."""
    options = cast("Any", onnxruntime).SessionOptions()
    # Calls are the parallelism: a call's inference stays on the thread that asked for it.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Weights kept in 8 bits are unpacked once, when the file is loaded, not in each run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session: Any = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelInvalid(f"{path.name} is not a usable ONNX file: {reason}") from error
    return session, dict(session.get_modelmeta().custom_metadata_map)


def _merge(document: Mapping[str, Any], metadata: Mapping[str, str], path: Path) -> ModelCard:
    ours = {
        key.removeprefix(METADATA_PREFIX): text
        for key, text in metadata.items()
        if key.startswith(METADATA_PREFIX)
    }
    for key in _IN_METADATA:
        if key in ours and key in document and not _same(ours[key], document[key]):
            raise ModelInvalid(
                f"{path.name} says {key} is {ours[key]!r}, its card says {document[key]!r}"
            )
    merged: dict[str, Any] = {**ours, **document}
    try:
        card = ModelCard(
            name=str(merged["name"]),
            kind=str(merged["kind"]),
            sha256=document["sha256"],
            rate_hz=int(merged["rate_hz"]),
            front_end=str(merged["front_end"]),
            bands=int(merged["bands"]),
            dimension=int(merged["dimension"]),
            outputs=tuple(str(merged.get("outputs", "")).split()),
            source=str(merged["source"]),
            licence=str(merged["licence"]),
            window_frames=int(merged.get("window_frames", 0)),
            hop_frames=int(merged.get("hop_frames", 0)),
            scale=float(merged.get("scale", 1.0)),
            subtract_mean=str(merged.get("subtract_mean", False)).casefold() == "true",
            description=str(merged.get("description", "")),
            trained_on=str(merged.get("trained_on", "")),
            measured={str(k): str(v) for k, v in dict(merged.get("measured", {})).items()},
            limits=tuple(str(limit) for limit in merged.get("limits", ())),
            extra={key: text for key, text in ours.items() if key not in _IN_METADATA},
        )
    except KeyError as error:
        raise ModelInvalid(
            f"Neither {path.name} nor its card says what its {error.args[0]} is"
        ) from error
    except (TypeError, ValueError) as error:
        raise ModelInvalid(f"The card of {path.name} is wrong: {error}") from error
    _check_card(card, path)
    return card


def _same(text: str, member: object) -> bool:
    """Whether a text of the metadata says what a member of the card says."""
    if isinstance(member, int | float) and not isinstance(member, bool):
        try:
            return float(text) == float(member)
        except ValueError:
            return False
    return text.casefold() == str(member).casefold()


def _check_card(card: ModelCard, path: Path) -> None:
    if card.name != path.stem:
        raise ModelInvalid(f"{path.name} calls itself {card.name!r}; name and stem must agree")
    positive = (card.rate_hz, card.bands, card.dimension, card.scale)
    if not all(math.isfinite(number) and number > 0 for number in positive):
        raise ModelInvalid(f"{path.name}: rate, bands, dimension and scale must be positive")
    names = {name for name in card.outputs if name.isidentifier()}
    if card.outputs and not len(names) == len(card.outputs) == card.dimension:
        raise ModelInvalid(
            f"{path.name}: each of its {card.dimension} outputs needs a name of its own, one word"
        )
    if card.window_frames < 0 or card.hop_frames < 0:
        raise ModelInvalid(f"{path.name}: window and hop must not be negative")
    if bool(card.window_frames) != bool(card.hop_frames):
        raise ModelInvalid(f"{path.name}: window and hop are given together or not at all")


def calibration_suffix(output: str) -> str:
    """What a model's stem is followed by in the name of an output's calibration."""
    return f".{output}.calibration.json" if output else ".calibration.json"


def _calibration(path: Path, card: ModelCard, output: str) -> Calibration | None:
    calibration_path = beside_or_shipped(path, calibration_suffix(output))
    if calibration_path is None:
        return None
    calibration = read_calibration(calibration_path)
    if (calibration.model, calibration.model_sha256) == (card.name, card.sha256):
        return calibration
    if calibration_path.parent != path.parent:
        return None  # the shipped one is for the shipped model; this is another of its name
    raise ModelInvalid(
        f"{calibration_path.name} was made for another model"
        f" ({calibration.model}, SHA-256 {calibration.model_sha256[:12]}...), not for"
        f" {card.name}, {card.sha256[:12]}...; calibrate again or remove it"
    )


def _check_shapes(session: Session, card: ModelCard, path: Path) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ModelInvalid(f"{path.name} has {len(inputs)} inputs, expected 1")
    # A dimension is a number if the file fixes it, else a name or None.
    wanted_in = (None, card.window_frames or None, card.bands)
    wanted_out = (None, card.dimension)
    for wanted, found in ((wanted_in, inputs[0]), (wanted_out, outputs[0])):
        agrees = (
            found.type == "tensor(float)"
            and len(found.shape) == len(wanted)
            and all(
                not isinstance(size, int) or size == expected
                for size, expected in zip(found.shape, wanted, strict=True)
            )
        )
        if not agrees:
            raise ModelInvalid(
                f"{path.name}: {found.name!r} is {found.type} of shape {found.shape}, its card"
                f" needs tensor(float) of shape {list(wanted)} (None: any size)"
            )


def _probe(model: Model) -> None:
    """Run noise through it: what cannot work should fail now and not in a call."""
    card = model.card
    frames = card.window_frames or _PROBE_FRAMES
    noise = np.random.default_rng(0).random((2, frames, card.bands), dtype=np.float32)
    try:
        results = model.run(noise)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelInvalid(f"{model.path.name} does not run: {reason}") from error
    if results.shape != (2, card.dimension) or not np.isfinite(results).all():
        raise ModelInvalid(
            f"{model.path.name} gave shape {results.shape} for two inputs, or values that are not"
            f" finite; its card promises {card.dimension} values each"
        )
