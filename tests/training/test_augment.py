from __future__ import annotations

import numpy as np
import pytest

from edgeclf.errors import OptionError
from edgeclf.training.config import TrainingConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.training.augment import Variations, augmentation  # noqa: E402


def slopes(count: int) -> np.ndarray:
    """Pictures that are dark on the left and bright on the right."""
    row = np.linspace(40, 200, 12).astype(np.uint8)
    return np.broadcast_to(row[:, None], (count, 12, 12, 3))


def varied(strength: float, count: int = 400) -> np.ndarray:
    return np.asarray(augmentation(3, strength)(slopes(count), training=True))


def test_strength_0_is_the_photo_itself() -> None:
    assert np.array_equal(varied(0.0), slopes(400).astype(np.float32))


def test_strength_1_is_what_is_done_without_it() -> None:
    assert np.array_equal(varied(1.0), np.asarray(augmentation(3)(slopes(400), training=True)))


def test_more_strength_varies_more() -> None:
    changed = [np.abs(varied(s) - slopes(400)).mean() for s in (0.0, 0.5, 1.0, 2.0)]
    assert changed == sorted(changed) and len(set(changed)) == 4


@pytest.mark.parametrize(("strength", "share"), [(0.5, 0.25), (1.0, 0.5), (2.0, 0.5)])
def test_up_to_a_half_is_mirrored(strength: float, share: float) -> None:
    photos = varied(strength)
    mirrored = photos[:, :, :4].mean(axis=(1, 2, 3)) > photos[:, :, -4:].mean(axis=(1, 2, 3))
    assert mirrored.mean() == pytest.approx(share, abs=0.1)


def test_what_may_not_be_mirrored_is_not_and_is_varied_as_before_otherwise() -> None:
    kept = np.asarray(augmentation(3, mirror=False)(slopes(400), training=True))
    assert (kept[:, :, :4].mean(axis=(1, 2, 3)) < kept[:, :, -4:].mean(axis=(1, 2, 3))).all()
    usual = varied(1.0)
    same = usual[:, :, :4].mean(axis=(1, 2, 3)) < usual[:, :, -4:].mean(axis=(1, 2, 3))
    assert np.allclose(kept[same], usual[same], atol=1e-3)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("gpus", [[], ["one"]])
def test_outside_of_a_network_the_same_is_drawn(
    monkeypatch: pytest.MonkeyPatch, strength: float, mirror: bool, gpus: list[str]
) -> None:
    monkeypatch.setattr("edgeclf.training.augment.tf.config.list_physical_devices", lambda _: gpus)
    photos = np.random.default_rng(0).integers(0, 256, (20, 24, 40, 3), np.uint8)
    inside = augmentation(3, strength, mirror=mirror)
    values = Variations(3, strength, mirror=mirror)
    pixels = Variations(3, strength, mirror=mirror)
    for batch in (photos, photos[:7]):  # the second is drawn from where the first has ended
        expected = np.asarray(inside(batch, training=True))
        assert np.abs(values.of(batch) - expected).max() < 1e-4
        # At a half, the last bit decides.
        far = np.abs(expected % 1 - 0.5) > 1e-4
        assert np.array_equal(pixels.pixels_of(batch)[far], np.rint(expected)[far])


@pytest.mark.parametrize("strength", [-0.1, 2.5, float("nan")])
def test_a_strength_that_cannot_work_is_refused(strength: float) -> None:
    with pytest.raises(OptionError, match=r"augmentation is .*; expected .*0 to 2"):
        TrainingConfig(augmentation=strength)
