"""Maps of a picture: by each method, in its coordinates, and what is refused."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import Features
from edgeclf.errors import ArtifactError, ImageError, OptionError, RuntimeLoadError
from edgeclf.explanation.cam import class_activation, enlarged
from edgeclf.explanation.methods import in_picture
from edgeclf.explanation.perturbation import random_masks, rise, score_cam
from edgeclf.image import ImageSpec, ResizePolicy
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from support.explained import red_artifact, red_classifier, with_red
from support.pictures import grey

PASSES = {"cam": 1, "score-cam": 3, "rise": 256}  # the answer, nothing seen, one channel


def peak(found: np.ndarray) -> tuple[int, int]:
    """The middle of what is within a twentieth of the largest."""
    row, column = np.argwhere(found > 0.95 * found.max()).mean(axis=0)
    return int(row), int(column)


def test_a_map_is_what_each_place_adds_to_the_logit() -> None:
    features = np.array([[[1, 2], [3, 0]], [[0, 1], [2, 2]]], np.float32)
    #                     1-4      3          -2       2-4: by hand, and nothing below 0
    found = class_activation(features, np.array([1, -2], np.float32))
    assert found.tolist() == [[0, 1], [0, 0]]
    found = class_activation(features, np.array([1, 0.5], np.float32))
    assert found.dtype == np.float32 and np.allclose(found, [[2 / 3, 1], [0.5 / 3, 1]])


def test_where_nothing_speaks_for_a_class_its_map_is_zero() -> None:
    assert not class_activation(np.ones((2, 3, 4), np.float32), -np.ones(4, np.float32)).any()


@pytest.mark.parametrize("method", PASSES)
def test_every_method_finds_what_the_classifier_looks_for(method: Any) -> None:
    picture = with_red(64, 96, slice(40, 56), slice(60, 84))
    found = edgeclf.explain(red_classifier(), picture, method=method, passes=256)
    assert (found.label, found.method, found.passes) == ("red", method, PASSES[method])
    assert found.probability == red_classifier().classify(picture).probability
    assert found.map.shape == (64, 96) and found.map.dtype == np.float32
    assert found.map.min() >= 0 and 0.9 < found.map.max() <= 1
    row, column = peak(found.map)
    assert 40 <= row < 56 and 60 <= column < 84


@pytest.mark.parametrize(
    ("options", "method"),
    [({}, "cam"), ({"head": False}, "score-cam"), ({"features": False}, "rise")],
)
def test_the_file_decides_and_only_a_dense_layer_makes_a_cam(
    options: dict[str, bool], method: str
) -> None:
    found = edgeclf.explain(red_classifier(**options), grey(127), passes=20)
    assert found.method == method and found.passes <= 20


def test_another_class_than_the_most_probable_one_is_explained() -> None:
    picture = with_red(64, 64, slice(0, 16), slice(0, 16))
    red, other = (edgeclf.explain(red_classifier(), picture, name) for name in ("red", "other"))
    assert red.label == "red" and red.map.max() == pytest.approx(1, abs=0.01)
    assert other.label == "other" and not other.map.any()  # its weights are zeros
    assert red.probability + other.probability == pytest.approx(1)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(64, 160), (160, 64), (96, 96), (45, 131)])
def test_a_map_lies_on_its_picture_whatever_became_of_it(
    resize: ResizePolicy, size: tuple[int, int]
) -> None:
    height, width = size
    rows, columns = (slice(n // 2 - 2, n // 2 + 10) for n in size)
    picture = with_red(*size, rows, columns)
    found = edgeclf.explain(red_classifier(resize=resize), picture, "red")
    assert found.map.shape == (height, width)
    cell = max(size) / 8
    place = peak(found.map)
    assert abs(place[0] - (rows.start + 6)) <= cell and abs(place[1] - (columns.start + 6)) <= cell
    left, top, right, bottom = found.seen
    assert (right - left, bottom - top) == (
        (min(size), min(size)) if resize == "crop" else (width, height)
    )


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_a_crop_shows_nothing_of_what_was_cut_off(size: tuple[int, int]) -> None:
    found = in_picture(np.ones((4, 4), np.float32), size, ImageSpec(8, 8, "crop"))
    expected = np.zeros((size[1], size[0]), np.float32)
    expected[(slice(10, 30), slice(None))[:: 1 if size[1] == 40 else -1]] = 1
    assert np.array_equal(found, expected)


def test_what_lies_in_the_borders_of_a_letterbox_is_not_in_the_picture() -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[:2] = grid[6:] = 1.0  # where a picture of 40 x 20 has its borders
    grid[3, 1] = 0.5
    found = in_picture(grid, (40, 20), ImageSpec(8, 8, "letterbox"))
    assert found.shape == (20, 40) and found[3:-3].max() == pytest.approx(0.5, abs=0.05)
    assert np.unravel_index(found[3:-3].argmax(), (14, 40)) == (4, 7)


def test_a_photo_turned_by_exif_has_an_upright_map() -> None:
    upright = with_red(96, 64, slice(8, 24), slice(40, 56))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    buffer = io.BytesIO()
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    found = edgeclf.explain(red_classifier(), buffer.getvalue())
    row, column = peak(found.map)
    assert found.map.shape == (96, 64) and 8 <= row < 24 and 40 <= column < 56


def test_a_large_photo_has_the_map_of_its_decoded_size() -> None:
    buffer = io.BytesIO()
    Image.fromarray(grey(100)).resize((1024, 512)).save(buffer, "JPEG")
    assert edgeclf.explain(red_classifier(), buffer.getvalue()).map.shape == (64, 128)


def test_random_masks_are_those_of_the_seed_and_show_half() -> None:
    one, same, other = (np.stack([*random_masks((32, 48), 64, seed)]) for seed in (1, 1, 2))
    assert (
        one.shape == (64, 32, 48) and np.array_equal(one, same) and not np.array_equal(one, other)
    )
    assert abs(one.mean() - 0.5) < 0.05 and one.min() >= 0 and one.max() <= 1


def test_several_passes_are_no_more_than_allowed_and_in_small_batches() -> None:
    batches: list[int] = []
    image = with_red(32, 32, slice(0, 8), slice(0, 8))
    features = np.random.default_rng(0).random((4, 4, 64), np.float32)
    features[..., 7] = 0.5  # says nothing about places
    hidden = np.full(3, 127, np.float32)

    def score(images: np.ndarray) -> np.ndarray:
        batches.append(len(images))
        assert images.dtype == np.uint8
        return images[:, 0, 0, 0].astype(np.float32) / 255

    for passes, run in ((40, 40), (100, 64)):
        batches.clear()
        grid, count = score_cam(score, image, features, hidden, passes)
        assert grid.shape == (4, 4) and sum(batches) == count == run and max(batches) <= 32
    batches.clear()
    rise(score, image, hidden, 70, seed=0)
    assert batches == [32, 32, 6]


def test_a_classifier_that_answers_alike_whatever_it_sees_has_an_empty_map() -> None:
    plain = fake_artifact(["a", "b"])
    runtime = FakeRuntime(plain, answer=lambda images: [[0.3, 0.7]] * len(images))
    assert not edgeclf.explain(Classifier(plain, runtime=runtime), grey(9), passes=64).map.any()


def test_enlarging_is_bilinear_between_the_centres_of_cells() -> None:
    assert enlarged(np.array([[0, 1]], np.float32), (4, 1)).tolist() == [[0, 0.25, 0.75, 1]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "blue"}, "no label 'blue'; it has 2: other, red"),
        ({"method": "lime"}, "Method is 'lime'; expected one of"),
        ({"method": "rise", "passes": 15}, "15 passes make no map; expected at least 16"),
    ],
)
def test_what_cannot_work_is_an_option_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        edgeclf.explain(red_classifier(), grey(0), **options)


def test_a_file_without_a_dense_layer_has_no_cam() -> None:
    with pytest.raises(OptionError, match=r"no class activation map\. Use the method score-cam"):
        edgeclf.explain(red_classifier(head=False), grey(0), method="cam")


@pytest.mark.parametrize("method", ["cam", "score-cam"])
def test_a_file_without_features_has_rise_alone(method: Any) -> None:
    with pytest.raises(ArtifactError, match="does not say where its features are"):
        edgeclf.explain(red_classifier(features=False), grey(0), method=method)


@pytest.mark.parametrize(
    "record",
    [{"shape": [8]}, {"head": {"kind": "dense", "weights": "?", "scale": ""}}, {"pooling": "max"}],
)
def test_damaged_features_are_an_error_and_never_another_method(record: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="of its features what cannot be read"):
        edgeclf.explain(red_classifier(**record), grey(0))


def test_a_runtime_without_features_is_an_error_and_never_another_method() -> None:
    class Bare(FakeRuntime):
        run_with_features = None  # type: ignore[assignment]

    classifier = Classifier(red_artifact(), runtime=Bare(red_artifact()))
    with pytest.raises(RuntimeLoadError, match="does not give features"):
        edgeclf.explain(classifier, grey(0))
    assert edgeclf.explain(classifier, grey(0), method="rise", passes=16).method == "rise"


def test_a_picture_that_cannot_be_read_is_an_image_error() -> None:
    with pytest.raises(ImageError):
        edgeclf.explain(red_classifier(), b"no picture")


def test_a_file_is_taken_as_well(tmp_path: Path) -> None:
    from edgeclf.artifact import save_artifact, seal_artifact

    metadata = dataclasses.replace(red_artifact().metadata, features=None)
    file = save_artifact(seal_artifact(b"", metadata), tmp_path / "m.onnx").path
    assert file is not None
    assert edgeclf.explain(file, grey(0), runtime="fake", passes=16).label == "other"


@pytest.mark.parametrize("name", ["mugs.int8.tflite", "mugs.int8.onnx", "mugs.fp32.onnx"])
def test_a_converted_files_map_is_the_float_models_grad_cam(
    name: str, model_folder: Path, mugs: Path
) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(model_folder / name) as classifier:
        images = np.stack(
            [edgeclf.load_image(p, classifier.artifact.metadata.image) for p in photos]
        )
        probabilities, features = classifier.features(images)
        head = Features.of(classifier.artifact.metadata).head
    targets = probabilities.argmax(axis=1)
    assert head is not None
    maps = [class_activation(f, head[:, t]) for f, t in zip(features, targets, strict=True)]
    expected = grad_cams(model_folder / "mugs.keras", images, targets)
    related = [
        np.corrcoef(one.ravel(), other.ravel())[0, 1]
        for one, other in zip(maps, expected, strict=True)
    ]
    assert np.quantile(related, 0.05) >= 0.99


def grad_cams(model: Path, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Selvaraju et al., "Grad-CAM" (2017), as it is written there: by the gradient of a logit."""
    tf = pytest.importorskip("tensorflow", reason="needs edgeclf[train]")
    keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
    features = edgeclf.load_artifact(model).metadata.features
    assert features is not None
    network = keras.saving.load_model(model, compile=False)
    outputs = [network.get_layer(name).output for name in (features["tensor"], "logits")]
    both = keras.Model(network.input, outputs)
    with tf.GradientTape() as tape:
        maps, logits = both(images, training=False)
        picked = tf.gather(logits, targets, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(picked, maps), axis=(1, 2), keepdims=True)
    found: np.ndarray = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    return found
