"""Voice conversion of our own: what goes in and what comes out, untrained."""

import numpy as np
import pytest

pytest.importorskip("pyworld", reason="needs pip install -r training/spoof/requirements.txt")

from training.spoof.conversion import Converter, Voice, told_pitch
from training.spoof.neural import MEL_BANDS

torch = pytest.importorskip("torch")


def test_what_is_said_comes_out_in_the_same_time_and_depends_on_the_voice():
    torch.manual_seed(0)
    converter = Converter(channels=16).eval()
    mel, pitch = torch.randn(1, MEL_BANDS, 40), torch.zeros(1, 2, 40)
    own, other = torch.rand(2, 1, 256)
    width = torch.tensor([8])
    with torch.no_grad():
        copy = converter(mel, (own, own), pitch, width)
        converted = converter(mel, (own, other), pitch, width)
    assert copy.shape == converted.shape == mel.shape
    assert not torch.allclose(copy, converted)


def test_a_narrow_waist_lets_less_through():
    torch.manual_seed(0)
    converter = Converter(channels=16).eval()
    mels, pitch = torch.randn(2, MEL_BANDS, 40), torch.zeros(2, 2, 40)
    vectors = torch.rand(1, 256).expand(2, -1)
    with torch.no_grad():
        apart = [
            (converter(mels, (vectors, vectors), pitch, torch.full((2,), width)).diff(dim=0))
            .abs()
            .mean()
            for width in (0, 8, 32)
        ]
    assert apart[0] == 0
    assert apart[0] < apart[1] < apart[2]


def test_the_pitch_told_is_that_of_the_voice_to_sound_like():
    """An octave above 150 Hz at its mean; half an octave more where the speaker goes up."""
    relative = np.array([[0.0, 1.0, 5.0], [1.0, 1.0, 0.0]], np.float32)
    high = Voice(np.zeros(256), (float(np.log(300)), float(np.log(2) / 2)))
    np.testing.assert_allclose(told_pitch(relative, high), [[1, 1.5, 0], [1, 1, 0]], atol=1e-6)
