"""Training and calls must hear the same: the network's front end beside the product's own."""

import numpy as np
import pytest

from vivavoce.audio.features import WHISPER_BANDS, whisper_log_mel

pytest.importorskip("torch", reason="needs PyTorch: pip install -r training/spoof/requirements.txt")

from training.spoof.export import export
from training.spoof.network import Ear, FrontEnd, Head, Judge, SpoofNet
from training.spoof.whisper import Encoder
from vivavoce.models.card import load_model

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def usual():
    """Features that the network knows."""
    torch.manual_seed(0)
    return torch.randn(300, 100, WHISPER_BANDS) * 0.3


@pytest.fixture(scope="module")
def network(usual):
    """One whose encoder nobody trained: no weights need to be fetched."""
    ear = Ear(Encoder(2))
    with torch.no_grad():
        return SpoofNet(ear, Head(ear(usual), dropout=0.1)).eval()


@pytest.fixture(scope="module")
def judge(network, usual):
    with torch.no_grad():
        return Judge(network, network.ear(usual), edge=1.5).eval()


@pytest.mark.parametrize("samples", [200, 8000, 32_120])
def test_batches_get_the_features_that_calls_get(samples):
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((3, samples)).astype(np.float32) * [[1.0], [0.1], [0.01]]
    audio = (audio * np.linspace(0, 1, samples)).astype(np.float32)
    found = FrontEnd()(torch.from_numpy(audio)).numpy()
    for one, expected in zip(found, map(whisper_log_mel, audio), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-4)


@pytest.mark.parametrize("frames", [100, 400])
def test_a_window_gets_the_same_answer_in_any_batch(network, frames):
    features = torch.randn(3, frames, WHISPER_BANDS)
    with torch.no_grad():
        together = network(features)
        alone = torch.cat([network(one[None]) for one in features])
    assert together.shape == (3, 2)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_distance_grows_with_what_training_never_had(network, judge, usual):
    with torch.no_grad():
        near = judge(torch.randn(100, 100, WHISPER_BANDS) * 0.3)
        far = judge(torch.randn(100, 100, WHISPER_BANDS) * 0.3 + 1)
        logits, judged = network(usual[:5]), judge(usual[:5])
    assert near.shape == (100, 3)
    assert float(near[:, 2].quantile(0.95)) < 1 < float(far[:, 2].min())
    torch.testing.assert_close(judged[:, :2], logits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the newer exporter names no dtypes
def test_the_exported_file_is_small_and_says_the_same(judge, tmp_path):
    path = tmp_path / "final" / "spoof-v4.onnx"
    stale = path.with_suffix(".playback.calibration.json")
    stale.parent.mkdir()
    stale.write_text("of another model")
    export(judge, path, {"seed": 1})
    assert not stale.exists()
    assert path.stat().st_size < 5_000_000
    model = load_model(path)
    assert model.card.extra["recipe"] == "seed=1"
    features = torch.randn(3, 150, WHISPER_BANDS) * 0.3
    with torch.no_grad():
        expected = judge(features).numpy()
    found = model.run(features.numpy())
    np.testing.assert_allclose(found, expected, atol=0.02)
    alone = np.concatenate([model.run(one[None]) for one in features.numpy()])
    np.testing.assert_allclose(alone, found, atol=1e-5)
