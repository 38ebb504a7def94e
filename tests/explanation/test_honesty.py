"""The check of maps: it finds a true map better than those that know nothing, and says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf.artifact import Metadata, seal_artifact
from edgeclf.datasets.photos import Photos, find_photos
from edgeclf.errors import DataError
from edgeclf.explanation.honesty import check, correlation
from edgeclf.explanation.shuffling import shuffled
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime
from support.explained import LABELS, dense, red_artifact, red_classifier, with_red

HOW: dict[str, Any] = {"method": None, "passes": 64, "seed": 0}


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Eight photos with a red block in a corner, and masks of it."""
    for index in range(8):
        rows = slice(0, 24) if index % 2 else slice(40, 64)
        columns = slice(0, 24) if index % 4 < 2 else slice(72, 96)
        mask = np.zeros((64, 96), bool)
        mask[rows, columns] = True
        for kind, content in (("eval", with_red(64, 96, rows, columns)), ("masks", mask)):
            path = tmp_path / kind / "red" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return find_photos(tmp_path / "eval", LABELS, partial=True)


def test_a_true_map_beats_a_random_one_and_a_centred_blob(photos: Photos) -> None:
    masks = photos.root.parent / "masks"
    record = check(red_classifier(), photos, masks=masks, **HOW)
    assert (record["photos"], record["method"], record["passes"]) == (8, "cam", 1)
    for kind in ("random", "centre"):
        assert record["deletion"][f"map_minus_{kind}"]["interval_95"][1] < -0.1
        assert record["insertion"][f"map_minus_{kind}"]["interval_95"][0] > 0
    curve = record["deletion"]["curves"]["map"]
    assert len(curve) == 21 and curve[0] > 0.9 and curve[-1] == 0
    assert record["insertion"]["curves"]["map"][-1] == pytest.approx(curve[0])
    pointing = record["pointing"]
    assert pointing["share"] == 1 and pointing["centre"] == 0
    assert pointing["random"] == pytest.approx(24 * 24 / (64 * 96))
    assert record["randomisation"]["the dense layer"]["mean"] < 0.9
    assert record["randomisation"]["all weights"].startswith("not known: only a .keras file")
    assert record == check(red_classifier(), photos, masks=masks, **HOW)


def test_a_map_that_knows_nothing_is_found_out(photos: Photos) -> None:
    artifact = red_artifact()
    rng = np.random.default_rng(3)
    runtime = FakeRuntime(
        artifact,
        answer=red_classifier()._runtime.run,
        features=lambda images: rng.random((len(images), 8, 8, 3)),
    )
    record = check(Classifier(artifact, runtime=runtime), photos, masks=None, **HOW)
    low, high = record["deletion"]["map_minus_random"]["interval_95"]
    assert low < 0 < high
    assert record["pointing"] is None


def test_maps_of_many_passes_are_checked_as_well(photos: Photos) -> None:
    record = check(red_classifier(features=False), photos, masks=None, **HOW)
    assert (record["method"], record["passes"]) == ("rise", 64)
    assert record["deletion"]["map_minus_random"]["interval_95"][1] < 0
    assert record["randomisation"]["the dense layer"].startswith("not known")


def test_a_missing_mask_is_named(photos: Photos) -> None:
    masks = photos.root.parent / "masks"
    (masks / "red" / "3.png").unlink()
    with pytest.raises(DataError, match=r"no mask .*3\.png for the photo"):
        check(red_classifier(), photos, masks=masks, **HOW)


def test_a_mask_of_another_shape_is_refused(photos: Photos) -> None:
    masks = photos.root.parent / "masks"
    Image.new("1", (64, 96)).save(masks / "red" / "0.png")
    with pytest.raises(DataError, match=r"0\.png is 64 x 96, and its photo .* 96 x 64"):
        check(red_classifier(), photos, masks=masks, **HOW)


def test_one_photo_carries_no_interval(photos: Photos) -> None:
    with pytest.raises(DataError, match=r"1 photo\(s\) carry no interval"):
        check(red_classifier(), photos.subset([0]), masks=None, **HOW)


def test_maps_that_are_the_same_everywhere_are_not_related() -> None:
    ramp = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert correlation(ramp, 2 * ramp + 1) == pytest.approx(1)
    assert correlation(ramp, -ramp) == pytest.approx(-1)
    assert correlation(ramp, np.ones_like(ramp)) == correlation(0 * ramp, 0 * ramp) == 0


def test_a_converted_file_cannot_be_shuffled_and_a_keras_file_can(tmp_path: Path) -> None:
    with shuffled(red_classifier(), seed=0) as other:
        assert other is None
    keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
    pytest.importorskip("tensorflow", reason="needs edgeclf[train]")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = layers.Conv2D(4, 1, name="last")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Softmax()(x))
    model.save(tmp_path / "m.keras")
    features = {"tensor": "last", "layout": "nhwc", "shape": [8, 8, 4], "pooling": "mean",
                "head": dense(np.eye(4, 2))}  # fmt: skip
    metadata = Metadata("m", LABELS, ImageSpec(8, 8), features=features)
    artifact = seal_artifact((tmp_path / "m.keras").read_bytes(), metadata)
    content = artifact.content
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    with Classifier(artifact) as classifier, shuffled(classifier, seed=0) as other:
        assert other is not None and other.artifact.metadata == classifier.artifact.metadata
        before, after = (each.features(images)[1] for each in (classifier, other))
        assert before.shape == after.shape and not np.allclose(before, after)
        with shuffled(classifier, seed=0) as again:
            assert again is not None and np.allclose(again.features(images)[1], after)
    assert artifact.content is content and dataclasses.replace(artifact) == artifact
