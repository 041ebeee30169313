"""Training and calls must hear the same: the network's front end beside the product's own."""

import numpy as np
import pytest

from vivavoce.audio.spoof_features import FRONT_ENDS

torch = pytest.importorskip(
    "torch", reason="needs PyTorch: pip install -r training/spoof/requirements.txt"
)


@pytest.mark.parametrize("samples", [256, 8000, 32_176])
def test_batches_get_the_features_that_calls_get(samples):
    from training.spoof.network import FRONT_END, FrontEnd  # noqa: PLC0415 (imports PyTorch)

    rng = np.random.default_rng(0)
    audio = rng.standard_normal((3, samples)).astype(np.float32) * [[1.0], [0.1], [0.01]]
    audio = (audio * np.linspace(0, 1, samples)).astype(np.float32)
    found = FrontEnd()(torch.from_numpy(audio)).numpy()
    assert found.shape[2] == FRONT_ENDS[FRONT_END].bands
    for one, expected in zip(found, map(FRONT_ENDS[FRONT_END].features, audio), strict=True):
        np.testing.assert_allclose(one, expected, atol=2e-3)


@pytest.mark.parametrize("frames", [100, 400])
def test_a_window_gets_the_same_answer_in_any_batch(frames):
    from training.spoof.network import FRONT_END, SpoofNet  # noqa: PLC0415 (imports PyTorch)

    torch.manual_seed(0)
    network = SpoofNet().eval()
    features = torch.randn(3, frames, FRONT_ENDS[FRONT_END].bands)
    with torch.no_grad():
        together = network(features)
        alone = torch.cat([network(one[None]) for one in features])
    assert together.shape == (3, 2)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_distance_grows_with_what_training_never_had():
    from training.spoof.network import LOOK, Judge, SpoofNet  # noqa: PLC0415 (imports PyTorch)

    torch.manual_seed(0)
    network = SpoofNet().eval()
    usual = torch.randn(1500, 40, LOOK.bands)
    with torch.no_grad():
        judge = Judge(network, network.embed(usual), edge=1.5).eval()
        near = judge(torch.randn(200, 40, LOOK.bands))
        far = judge(4 * torch.randn(200, 40, LOOK.bands) + 2)
        logits = network(usual[:5])
    assert near.shape == (200, 3)
    assert float(near[:, 2].quantile(0.95)) < 1 < float(far[:, 2].min())
    torch.testing.assert_close(judge(usual[:5])[:, :2], logits)
