from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.errors import ArtifactError, OptionError, TrainingError
from edgeclf.image import ImageSpec, load_image
from edgeclf.measurement.statistics import bootstrap_interval, paired_t_interval

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.converters.sources import open_model  # noqa: E402
from edgeclf.training import keeper  # noqa: E402
from edgeclf.training.backbones import build_classifier, find_backbone  # noqa: E402
from edgeclf.training.distill import Teaching, fit_student  # noqa: E402
from edgeclf.training.lessons import LessonCache, Lessons, teach_views  # noqa: E402
from edgeclf.training.live_lessons import LiveLessons  # noqa: E402
from edgeclf.training.models import load_model  # noqa: E402
from edgeclf.training.teachers import (  # noqa: E402
    Answers,
    KerasTeacher,
    open_teacher,
    teacher_logits,
)

SPEC = ImageSpec(32, 32)
LABELS = ("bright", "dark")


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures, of which every second is bright."""
    coarse = np.random.default_rng(seed).integers(0, 90, (count, 3, 3, 3), np.uint8)
    coarse[::2] += 150
    return np.stack([load_image(picture, SPEC) for picture in coarse])


def by_brightness(sign: float = 1.0) -> keras.Model:
    """A network in our frame that finds a photo bright when its mean is above 127."""
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(2, name="logits")
    x = logits(x)
    logits.set_weights([sign * np.array([[4.0, -4.0]] * 3, np.float32), np.zeros(2, np.float32)])
    return keras.Model(image, keras.layers.Softmax(name="probabilities")(x))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark pictures: 24 of each to learn from, 12 of each to judge by."""
    root = tmp_path_factory.mktemp("shades")
    for split, count, seed in (("train", 48, 0), ("eval", 24, 1)):
        for index, picture in enumerate(pictures(count, seed)):
            folder = root / split / LABELS[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def teachers(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that swaps the two classes, in every format; another with names in order."""
    folder = tmp_path_factory.mktemp("teachers")
    model = by_brightness(-1.0)
    model.save(folder / "plain.keras")
    metadata = Metadata("swapped", LABELS, SPEC, parameters=8)
    content = (folder / "plain.keras").read_bytes()
    save_artifact(seal_artifact(content, metadata), folder / "swapped.keras")
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
    edgeclf.convert(folder / "swapped.keras", to=["fp32.tflite", "fp32.onnx"])
    return folder


@pytest.mark.parametrize("ending", ["keras", "fp32.tflite", "fp32.onnx"])
def test_the_student_follows_any_teacher_not_the_labels(teachers: Path, ending: str) -> None:
    artifact = load_artifact(teachers / f"swapped.{ending}")
    teacher = open_teacher(artifact, LABELS)
    assert (teacher.model is not None) == (ending == "keras")
    images, targets = pictures(192), np.arange(192) % 2
    logits = teacher_logits(teacher, images)
    expected = by_brightness(-1.0).predict_on_batch(images)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(shares, expected, atol=1e-5)
    lessons = teach_views(teacher, images, images, targets, student_spec=SPEC, views=1, seed=0)
    keras.utils.set_random_seed(0)
    student = by_brightness(0.0)
    fit_student(student, lessons, Teaching(30, temperature=2.0, learning_rate=0.1), seed=0)
    answers = student.predict_on_batch(images).argmax(axis=1)
    assert (answers == 1 - targets).mean() > 0.95


@pytest.mark.parametrize("ending", ["keras", "fp32.onnx"])
def test_classes_in_another_order_are_matched_by_name(teachers: Path, ending: str) -> None:
    artifact = load_artifact(teachers / f"swapped.{ending}")
    images = pictures(4)
    straight = teacher_logits(open_teacher(artifact, LABELS), images)
    turned = open_teacher(artifact, LABELS[::-1])
    assert turned.labels == LABELS[::-1]
    assert np.allclose(teacher_logits(turned, images), straight[:, ::-1], atol=1e-6)
    if turned.model is not None:  # what a student inherits is in order too
        inherited = turned.model.predict_on_batch(images)
        assert np.array_equal(inherited.argmax(axis=1), straight[:, ::-1].argmax(axis=1))


def test_a_teacher_that_lacks_a_class_is_refused(teachers: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot teach grey"):
        open_teacher(load_artifact(teachers / "swapped.keras"), ("bright", "grey"))


def test_a_model_from_elsewhere_teaches_once_its_classes_are_named(
    teachers: Path, photos: Path, tmp_path: Path
) -> None:
    teacher = teachers / "plain.keras"
    options = {"student": "student-xs", "views": 1, "epochs": 1, "out": tmp_path}
    with pytest.raises(OptionError, match="Add --labels"):
        edgeclf.distill(teacher, photos / "train", **options)  # type: ignore[arg-type]
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[::-1]))
    conventions = edgeclf.Conventions(labels=tmp_path / "labels.txt")
    opened = open_teacher(open_model(teacher, conventions), LABELS)
    answers = teacher_logits(opened, pictures(8)).argmax(axis=1)
    assert answers.tolist() == [0, 1] * 4, "it swaps the classes, and their names are swapped"
    artifact = edgeclf.distill(
        teacher,
        photos / "train",
        conventions=conventions,
        **options,  # type: ignore[arg-type]
    )
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["teacher_sha256"] == opened.sha256
    assert artifact.metadata.training["settings"]["inherited_layers"] == 0


def test_only_a_network_shows_its_features(teachers: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"features is 1\.0 .*expected a \.keras artifact"):
        edgeclf.distill(
            teachers / "swapped.fp32.onnx", photos / "train", features=1.0, out=tmp_path
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_weight": 1.5},
        {"features": -1.0},
        {"seeds": 2},
        {"temperature": 0.5},
        {"int8": True},
        {"learning_rate": 0.0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}.*expected"):
        edgeclf.distill("teacher.keras", "photos", **wrong)  # type: ignore[arg-type]


def test_answers_are_kept_for_the_next_student(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeclf.photos import find_photos

    found = find_photos(photos / "train")
    images, targets = pictures(48), found.targets
    teacher = KerasTeacher(LABELS, SPEC, "a" * 64, by_brightness())

    def lessons(teacher: KerasTeacher, seed: int = 0, features: bool = False) -> Lessons:
        return teach_views(
            teacher, images, images, targets, student_spec=SPEC, views=2, seed=seed,
            features=features, cache=LessonCache(tmp_path, found),
        )  # fmt: skip

    first = lessons(teacher)
    assert "reused" not in capsys.readouterr().err
    again = lessons(dataclasses.replace(teacher, model=by_brightness(-1.0)))
    assert "teacher's answers reused: 2 views of 48 photos" in capsys.readouterr().err
    assert np.array_equal(first.logits, again.logits) and isinstance(again.images, np.memmap)
    assert np.array_equal(first.images[:48], images)
    plain = teach_views(teacher, images, images, targets, student_spec=SPEC, views=2, seed=0)
    assert np.array_equal(plain.logits, first.logits)
    assert np.array_equal(plain.images, first.images)
    lessons(dataclasses.replace(teacher, sha256="b" * 64))
    lessons(teacher, seed=1)
    shown = lessons(teacher, features=True)
    assert "reused" not in capsys.readouterr().err
    assert shown.features is not None and shown.features.shape == (96, 3)
    assert not list(tmp_path.glob(".*")), "no half of a file stays"


class Brightness:
    """A teacher whose features are the mean colours of what it is shown, in 64 x 64 pixels."""

    labels, spec, sha256, model, feature_width = LABELS, ImageSpec(64, 64), "c" * 64, None, 3

    def answer(self, images: np.ndarray) -> Answers:
        assert images.shape[1:] == (64, 64, 3) and images.dtype == np.uint8
        means = images.mean(axis=(1, 2), dtype=np.float32)
        return Answers(np.stack([means[:, 0], -means[:, 0]], axis=1), means)


def live_lessons(count: int = 20, views: int = 3) -> LiveLessons:
    small = pictures(count)
    large = np.repeat(np.repeat(small, 2, axis=1), 2, axis=2)
    return LiveLessons(Brightness(), large, small, np.arange(count), views)


def test_live_lessons_are_new_views_in_every_epoch_and_the_same_in_every_run() -> None:
    def epochs(first: int, count: int, seed: int = 5) -> list[list[list[np.ndarray]]]:
        feed = live_lessons().feed(seed, features=True, first_epoch=first)
        return [
            [[part.numpy() for part in (*given, targets)] for given, targets in feed.dataset]
            for _ in range(count)
        ]

    whole = epochs(0, 3)
    for epoch in whole:
        assert [len(batch[0]) for batch in epoch] == [32, 28]
        images, logits, features, targets = (
            np.concatenate(arrays) for arrays in zip(*epoch, strict=True)
        )
        assert sorted(targets) == sorted([*range(20)] * 3), "each photo as often as there are views"
        assert len(np.unique(images, axis=0)) == 60, "all views differ"
        # The teacher saw the same view: its mean colours are those of the student's image.
        assert np.abs(features - images.mean(axis=(1, 2))).max() < 3
        assert np.array_equal(logits[:, 0], features[:, 0])
    seen = [{image.tobytes() for batch in epoch for image in batch[0]} for epoch in whole]
    assert not seen[0] & seen[1] and not seen[1] & seen[2]

    (resumed,) = epochs(2, 1)
    for batch, before in zip(resumed, whole[2], strict=True):
        assert all(map(np.array_equal, batch, before))
    (other,) = epochs(2, 1, seed=6)
    assert not np.array_equal(other[0][0], whole[2][0][0])


@pytest.mark.parametrize("ending", ["keras", "fp32.onnx"])
def test_a_teacher_that_answers_on_the_fly_keeps_nothing(
    teachers: Path, photos: Path, tmp_path: Path, ending: str
) -> None:
    artifact = edgeclf.distill(
        teachers / f"swapped.{ending}", photos / "train", out=tmp_path, student="student-xs",
        teacher_answers="fly", views=2, epochs=2, features=0.5 if ending == "keras" else 0.0,
    )  # fmt: skip
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["teacher_answers"] == "fly"
    kinds = {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()}
    assert kinds == {"photos", "readable"}, "neither answers nor views"
    assert not [t for t in threading.enumerate() if t.name.startswith("edgeclf-feed")]


def test_a_student_follows_a_teacher_that_answers_on_the_fly() -> None:
    images, targets = pictures(192), np.arange(192) % 2
    teacher = KerasTeacher(LABELS, SPEC, "a" * 64, by_brightness(-1.0))
    student = by_brightness(0.0)
    lessons = LiveLessons(teacher, images, images, targets, views=1)
    fit_student(student, lessons, Teaching(30, temperature=2.0, learning_rate=0.1), seed=0)
    answers = student.predict_on_batch(images).argmax(axis=1)
    assert (answers == 1 - targets).mean() > 0.95


def weights_of(artifact: edgeclf.Artifact) -> np.ndarray:
    return np.concatenate([w.ravel() for w in load_model(artifact).get_weights()])


@pytest.mark.parametrize(("answers", "features"), [("cached", 0.0), ("fly", 1.0)])
def test_a_distillation_that_is_interrupted_ends_as_one_that_is_not(
    teachers: Path, photos: Path, tmp_path: Path, answers: str, features: float,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def distil(out: str, seed: int = 0) -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", photos / "train", out=tmp_path / out, student="student-xs",
            teacher_answers=answers, features=features, views=2, epochs=3, seed=seed,
        )  # fmt: skip

    whole, other = weights_of(distil("whole")), weights_of(distil("other", seed=1))
    original = keeper.Keeper.on_epoch_end

    def interrupt(self: keeper.Keeper, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt  # the second epoch is trained, and lost
        original(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keeper.Keeper, "on_epoch_end", interrupt)
        distil("stopped")
    assert "the same command goes on" in capsys.readouterr().err
    assert not list((tmp_path / "stopped").glob("*.keras"))
    assert not [t for t in threading.enumerate() if t.name.startswith("edgeclf-feed")]

    artifact = distil("stopped")
    assert "resuming at epoch 2 of 'student learns the answers'" in capsys.readouterr().err
    stopped = weights_of(artifact)
    assert np.abs(stopped - whole).max() < 1e-6 < np.abs(other - whole).max()
    folder = tmp_path / "stopped" / f"{artifact.metadata.name}.run"
    with (folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    assert all(0 <= float(line["accuracy"]) <= 1 for line in lines)
    assert not list(folder.glob("*.npz")), "only a run that goes on needs it"


def test_a_distillation_whose_loss_is_no_number_leaves_the_last_good_weights(
    teachers: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = keeper.Keeper.on_epoch_begin

    def spoil(self: keeper.Keeper, epoch: int, logs: object = None) -> None:
        original(self, epoch, logs)
        if epoch == 1:
            variable = self.model.trainable_variables[0]
            variable.assign(variable * np.nan)

    monkeypatch.setattr(keeper.Keeper, "on_epoch_begin", spoil)
    with pytest.raises(TrainingError, match=r"became nan in epoch 2.*after epoch 1 of.*last-good"):
        edgeclf.distill(
            teachers / "swapped.keras", photos / "train", out=tmp_path, student="student-xs",
            views=1, epochs=3,
        )  # fmt: skip
    (path,) = tmp_path.glob("*.keras")
    assert path.stem.endswith("-last-good") and np.isfinite(weights_of(load_artifact(path))).all()


def test_answers_that_are_not_kept_are_refused_to_a_study() -> None:
    with pytest.raises(OptionError, match=r"seeds is 3.*expected 'cached'"):
        edgeclf.distill("teacher.keras", "photos", seeds=3, teacher_answers="fly")
    with pytest.raises(OptionError, match="'live'; expected cached or fly"):
        edgeclf.distill("teacher.keras", "photos", teacher_answers="live")


@pytest.mark.parametrize("width", [3, 8])
def test_a_student_learns_the_teachers_features(width: int) -> None:
    """With the logits of nothing, all it can learn from are the features."""
    keras.utils.set_random_seed(0)
    student = build_classifier(find_backbone("student-xs"), 2, SPEC)
    images = pictures(64)
    rng = np.random.default_rng(0)
    features = images.mean(axis=(1, 2))[:, :1] / 128 * rng.uniform(0.5, 1, (1, width))
    lessons = Lessons(
        images, np.zeros((64, 2), np.float32), np.zeros(64, np.int64), features.astype(np.float32)
    )
    before = [weights.copy() for weights in student.get_layer("head_conv").get_weights()]
    teaching = Teaching(epochs=2, temperature=1.0, label_weight=0.0, feature_weight=1.0)
    fit_student(student, lessons, teaching, seed=0)
    after = student.get_layer("head_conv").get_weights()
    assert not any(map(np.array_equal, before, after))
    assert "projection" not in [layer.name for layer in student.layers]


def test_the_paired_t_interval_is_that_of_the_textbook() -> None:
    # Mean 2, s = 1, n = 3, t = 4.303: 2 -+ 4.303 / sqrt(3).
    assert paired_t_interval([1, 2, 3]) == pytest.approx((-0.4843, 4.4843), abs=1e-4)
    # Mean 3, s = sqrt(2.5), n = 5, t = 2.776: 3 -+ 1.9629.
    assert paired_t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.0371, 4.9629), abs=1e-4)
    assert paired_t_interval([2, 2, 2]) == (2, 2)
    # 41 values, so 40 degrees, of which tables say t = 2.0211.
    many = [0.0, 1.0] * 20 + [0.5]
    half = 2.0211 * np.std(many, ddof=1) / 41**0.5
    assert paired_t_interval(many) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)


def test_the_bootstrap_interval_is_repeatable_and_about_that_of_the_mean() -> None:
    values = [0.0] * 50 + [1.0] * 50
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low == pytest.approx(0.402, abs=0.02) and high == pytest.approx(0.598, abs=0.02)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Training that only notes seed and label weight; a student alone always answers class 1."""
    calls: list[tuple[int, float]] = []

    def fit(
        student: keras.Model,
        lessons: Lessons,
        teaching: Teaching,
        *,
        seed: int,
        **rest: object,
    ) -> None:
        calls.append((seed, teaching.label_weight))
        logits = student.get_layer("logits")
        kernel, _ = logits.get_weights()
        bias = np.array([0.0, 1.0] if teaching.label_weight == 1 else [1.0, 0.0], np.float32)
        logits.set_weights([0 * kernel, bias])

    monkeypatch.setattr("edgeclf.training.distill.fit_student", fit)
    return calls


def test_a_study_tells_the_difference_and_goes_on_where_it_was(
    teachers: Path,
    photos: Path,
    tmp_path: Path,
    taught: list[tuple[int, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    one_sided = tmp_path / "one-sided"
    shutil.copytree(photos, one_sided)
    for picture in sorted((one_sided / "eval" / "dark").iterdir())[:9]:
        picture.unlink()

    def study(seeds: int = 3, **changed: float) -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", one_sided / "train", out=tmp_path / "out", seeds=seeds,
            student="student-xs", views=1, epochs=1, **changed,
        )  # type: ignore[arg-type]  # fmt: skip

    artifact = study()
    assert taught == [(seed, weight) for seed in range(3) for weight in (0.2, 1.0)]
    path = tmp_path / "out" / "one-sided.distillation.json"
    record = json.loads(path.read_text())
    assert record["schema"] == "edgeclf.distillation/1" and record["images"] == 15
    assert record["teacher"]["top1"] == 0, "it swaps the classes"
    assert record["difference"]["mean"] == pytest.approx(9 / 15)
    assert artifact.path == tmp_path / "out" / "one-sided.keras"
    assert record["runs"]["0"]["distilled"]["sha256"] == artifact.sha256
    assert artifact.metadata.training is not None
    assert artifact.metadata.training["settings"]["label_weight"] == 0.2
    sentence = "all 3 gave the same difference of +60.0 points"
    for ending in (".md", ".html"):
        page = path.with_suffix(ending).read_text()
        assert sentence in page.replace("\u00a0", " ") and "Seed by seed" in page

    capsys.readouterr()
    again = study()
    assert again == artifact and len(taught) == 6
    told = capsys.readouterr().err
    assert "3 of 3 seeds were trained before" in told and "teacher's answers reused" in told
    study(seeds=4)
    assert taught[6:] == [(3, 0.2), (3, 1.0)]
    study(temperature=2.0)
    assert len(taught) == 14 and "begins anew" in capsys.readouterr().err


def test_a_study_that_was_interrupted_keeps_what_was_done(
    teachers: Path, photos: Path, tmp_path: Path, taught: list[tuple[int, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import edgeclf.training.distill as module

    fit, left = module.fit_student, [3]

    def interrupted(*args: object, **how: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        fit(*args, **how)  # type: ignore[arg-type]

    def study() -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", photos / "train", out=tmp_path, seeds=3,
            student="student-xs", views=1, epochs=1,
        )  # fmt: skip

    monkeypatch.setattr(module, "fit_student", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study()
    left[0] = 99
    study()
    assert taught == [(seed, weight) for seed in range(3) for weight in (0.2, 1.0)]


def test_a_study_compares_the_int8_files_too(
    teachers: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")

    def study(**more: bool) -> None:
        edgeclf.distill(
            teachers / "swapped.keras", photos / "train", out=tmp_path, seeds=3,
            student="student-xs", views=1, epochs=1, **more,
        )  # type: ignore[arg-type]  # fmt: skip

    study()
    capsys.readouterr()
    study(int8=True)
    told = capsys.readouterr().err
    assert "3 of 3 seeds were trained before" in told and "seed 1, alone" not in told
    path = tmp_path / f"{photos.name}.distillation.json"
    record = json.loads(path.read_text())
    files = sorted((tmp_path / f"{photos.name}.students").glob("*.int8.tflite"))
    assert len(files) == 5 and (tmp_path / f"{photos.name}.int8.tflite").is_file()
    shown = {load_artifact(file).sha256 for file in files}
    runs = [record["runs"][str(seed)][kind] for seed in range(3) for kind in ("alone", "distilled")]
    assert shown < {run["int8"]["sha256"] for run in runs}
    first = record["int8_difference"]["per_seed"][0]
    assert first == pytest.approx(runs[1]["int8"]["top1"] - runs[0]["int8"]["top1"])
    for ending in (".md", ".html"):
        page = path.with_suffix(ending).read_text().replace("\u00a0", " ")
        assert "Student distilled, int8" in page and "As int8 it is right on" in page


def record(per_seed: list[float], over_photos: tuple[float, float]) -> dict[str, object]:
    runs = {
        str(i): {"alone": {"top1": 0.5}, "distilled": {"top1": 0.5 + d}}
        for i, d in enumerate(per_seed)
    }
    return {
        "seeds": list(range(len(per_seed))),
        "runs": runs,
        "images": 100,
        "teacher": {"top1": 0.9},
        "int8_difference": None,
        "difference": {
            "mean": float(np.mean(per_seed)),
            "per_seed": per_seed,
            "interval_95_over_seeds": list(paired_t_interval(per_seed)),
            "interval_95_over_photos": list(over_photos),
        },
    }


@pytest.mark.parametrize(
    ("per_seed", "words"),
    [
        ([0.04, 0.05, 0.06], "Distillation helped the student by 5.0 points of top-1, "
         "95 % interval over 3 seeds [+2.5, +7.5]."),
        ([-0.04, -0.05, -0.06], "Distillation harmed the student by 5.0 points of top-1, "
         "95 % interval over 3 seeds [+2.5, +7.5]."),
        ([0.10, 0.01, -0.02], "No difference shown between the student distilled and alone: "
         "+3.0 points"),
        ([0.0, 0.0, 0.0], "No difference shown between the student distilled and alone: ±0.0"),
        ([0.05, 0.05, 0.05], "No difference shown over seeds between the student "
         "distilled and alone: all 3 gave the same"),
    ],
)  # fmt: skip
def test_the_report_claims_only_what_was_shown(per_seed: list[float], words: str) -> None:
    from edgeclf.reporting.distillation import describe

    told = " ".join(describe(record(per_seed, (-0.01, 0.1))))
    assert words in told and "other photos could show the opposite" in told
    assert "excludes zero" in " ".join(describe(record(per_seed, (0.01, 0.1))))
