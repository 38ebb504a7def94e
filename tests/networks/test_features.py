"""What a network of ours says of its features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeclf.artifact import Features, Metadata
from edgeclf.image import ImageSpec

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import BACKBONES, build_classifier, find_backbone  # noqa: E402
from edgeclf.networks.features import keras_features  # noqa: E402

QUICK = ("student-xs",)
SPEC = ImageSpec(64, 64)


def cases() -> list[Any]:
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow, id=name)
            for name in BACKBONES]  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_features_and_head_make_the_logits(name: str) -> None:
    """So head times features is all that a logit is made of, whatever the body."""
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone(name), 5, SPEC)
    metadata = Metadata("m", tuple("abcde"), SPEC, features=keras_features(model))
    features = Features.of(metadata)
    assert features.layout == "nhwc" and features.head is not None
    outputs = [model.get_layer(features.tensor).output, model.get_layer("logits").output]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    maps, logits = (np.asarray(o) for o in keras.Model(model.input, outputs)(images))
    assert maps.shape == (2, *features.shape)
    pooled = maps.mean(axis=(1, 2))
    steps = np.abs(np.asarray(model.get_layer("logits").kernel)).max(axis=0) / 127
    rounding = np.abs(pooled).sum(axis=1, keepdims=True) * steps / 2
    assert np.all(np.abs(pooled @ features.head - logits) <= 1.01 * rounding)
    assert np.abs(logits).max() > rounding.max()
