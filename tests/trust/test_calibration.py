"""Calibrating files whose answers a test steers by the colours of its pictures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import Artifact, Metadata, load_artifact, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.datasets.photos import find_photos, find_unlabelled
from edgeclf.errors import DataError, OptionError, VerificationError
from edgeclf.image import ImageSpec
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.trust.calibration import calibrate_artifact
from edgeclf.trust.certificate import make_certificate, replay
from edgeclf.trust.photos import TrustPhotos, halves

LABELS = ("dark", "bright")
FEATURES = {"tensor": "x", "layout": "nhwc", "shape": [1, 1, 12], "pooling": "mean", "head": None}
COLOURS = {**FEATURES, "shape": [1, 1, 3]}  # of a pixel, as the fake runtime gives them
MODELS = {"onnx": b"\x08\x08\x12\x04test", "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(64)}


def write_photos(root: Path, count: int, first: int = 0) -> None:
    """Grey pictures of each class, of which every 20th lies in the wrong folder."""
    rng = np.random.default_rng(first)
    for index in range(count):
        for dark, label in ((True, "dark"), (False, "bright")):
            mean = 60 if dark is (index % 20 != 19) else 190
            pixels = rng.normal(mean, 12, (8, 8, 1)) + rng.normal(0, 6, (1, 1, 3))
            folder = root / label
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / f"{index}.png")


def write_strangers(root: Path, count: int) -> None:
    """Pictures of strong colours."""
    rng = np.random.default_rng(1)
    (root / "things").mkdir(parents=True)
    for index in range(count):
        pixels = np.zeros((8, 8, 3)) + rng.permutation([240, 20, 20]) + rng.normal(0, 9, (8, 8, 3))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(root / "things" / f"{index}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "eval", 60)
    write_strangers(root / "unknown", 40)
    return root


def runtime(artifact: Artifact) -> FakeRuntime:
    """Answers by brightness, and is sure of it."""

    def answer(images: np.ndarray) -> np.ndarray:
        bright = 1 / (1 + np.exp((127 - images.mean(axis=(1, 2, 3))) / 40))
        return np.stack([1 - bright, bright], axis=1)

    return FakeRuntime(artifact, answer=answer, features=twelve_numbers)


def twelve_numbers(images: np.ndarray) -> np.ndarray:
    """Four pixels of each picture."""
    return images.reshape(len(images), 64, 3)[:, ::16].reshape(-1, 1, 1, 12)


def classifier(**changes: Any) -> Classifier:
    metadata = Metadata("shades", LABELS, ImageSpec(8, 8), features=FEATURES)
    artifact = seal_artifact(MODELS["onnx"], dataclasses.replace(metadata, **changes))
    return Classifier(artifact, runtime=runtime(artifact))


def calibrated(photos: Path, tmp_path: Path, **options: Any) -> tuple[Artifact, dict[str, Any]]:
    known = find_photos(photos / "eval", LABELS)
    strangers = find_unlabelled(photos / "unknown")
    return calibrate_artifact(
        classifier(), TrustPhotos(known, strangers, None, tmp_path), **options
    )


def test_the_file_says_how_sure_it_is_and_what_it_does_not_know(
    photos: Path, tmp_path: Path
) -> None:
    artifact, result = calibrated(photos, tmp_path)
    trust = artifact.metadata.trust
    assert trust is not None and load_artifact(artifact.content).metadata.trust == trust
    before, after = (result["reliability"][name] for name in ("before", "after"))
    assert after["calibration_error"] < 0.06 < before["calibration_error"]
    assert trust["temperature"]["photos"] == 60 and trust["temperature"]["wrong"] > 0
    assert result["novelty"]["auroc"] > 0.99 and result["novelty"]["recall"] > 0.9
    assert trust["data"]["fitted"]["images"] == trust["data"]["held_out"]["images"] == 60
    assert [level["coverage"] for level in result["sets"]] == [0.8, 0.9, 0.95]
    assert any("99% needs 198 photos" in remark for remark in result["remarks"])
    json.dumps(result, allow_nan=False)

    with Classifier(artifact, runtime=runtime(artifact)) as model:
        red = np.zeros((8, 8, 3), np.uint8) + np.array([240, 20, 20], np.uint8)
        assert model.classify(red).unknown is True
        grey = model.classify(np.full((8, 8, 3), 60, np.uint8))
        assert grey.unknown is False and grey.set(0.8) == ("dark",)
        assert grey.confidence is not None and grey.confidence > grey.probability


def test_the_photos_that_trained_the_model_only_say_what_is_known(
    photos: Path, tmp_path: Path
) -> None:
    write_photos(tmp_path / "train", 60, first=1000)
    known, trained = (find_photos(r, LABELS) for r in (photos / "eval", tmp_path / "train"))
    model = classifier(training={"photos": trained.sketch})
    sets = TrustPhotos(known, find_unlabelled(photos / "unknown"), trained, tmp_path)
    artifact, result = calibrate_artifact(model, sets)
    assert artifact.metadata.trust is not None
    assert artifact.metadata.trust["data"]["trained"] == {"images": 120, "sha256": trained.sha256}
    assert artifact.metadata.trust["temperature"]["photos"] == 60  # of the others alone
    assert result["novelty"]["auroc"] > 0.99 and result["novelty"]["false_unknown"] < 0.2
    with pytest.raises(DataError, match=r"in both sets, so the threshold would not be honest"):
        calibrate_artifact(classifier(), TrustPhotos(known, None, known, tmp_path))


def test_the_wanted_rate_of_false_unknowns_is_a_choice(photos: Path, tmp_path: Path) -> None:
    strict, _ = calibrated(photos, tmp_path)
    loose, result = calibrated(photos, tmp_path, rate=0.25)
    thresholds = [each.metadata.trust["novelty"] for each in (strict, loose)]  # type: ignore[index]
    if thresholds[0]["score"] == thresholds[1]["score"]:
        assert thresholds[1]["threshold"] < thresholds[0]["threshold"]
    assert 0.1 < result["novelty"]["false_unknown"] < 0.45


def test_the_reference_tells_how_it_was(photos: Path, tmp_path: Path) -> None:
    artifact, _ = calibrated(photos, tmp_path)
    assert artifact.metadata.trust is not None
    reference = artifact.metadata.trust["reference"]
    assert sum(reference["top1"]) == 60
    assert reference.keys() == {
        "top1", "confidence", "margin", "novelty", "brightness", "contrast", "sharpness"
    }  # fmt: skip
    for name in reference.keys() - {"top1"}:
        assert sum(reference[name]["counts"]) == 60
    # Half of the pictures have a mean of 60, half of 190.
    counts = np.array(reference["brightness"]["counts"])
    assert counts[3:7].sum() + counts[13:17].sum() == 60


def test_halves_are_told_by_content_and_keep_copies_together(photos: Path, tmp_path: Path) -> None:
    known = find_photos(photos / "eval", LABELS)
    mask = halves(known)
    assert [mask[known.targets == target].sum() for target in (0, 1)] == [30, 30]
    moved = tmp_path / "moved"
    for path, target in zip(known.paths, known.targets, strict=True):
        (moved / LABELS[target]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved / LABELS[target] / f"z{path.name}")
    shutil.copy(known.paths[0], moved / "dark" / "copy.png")
    again = find_photos(moved, LABELS)
    sides = dict(zip(again.content_sha256, halves(again).tolist(), strict=True))
    assert sides == dict(zip(known.content_sha256, mask.tolist(), strict=True))
    assert len(again) == len(known) + 1


def test_without_features_confidence_decides_and_says_what_it_is_worth(
    photos: Path, tmp_path: Path
) -> None:
    known = find_photos(photos / "eval", LABELS)
    artifact, result = calibrate_artifact(
        classifier(features=None), TrustPhotos(known, None, None, tmp_path)
    )
    assert artifact.metadata.trust is not None
    assert artifact.metadata.trust["novelty"]["score"] == "confidence"
    assert "recall" not in result["novelty"]
    assert any("confidence alone" in remark for remark in result["remarks"])
    answer = Classifier(artifact, runtime=runtime(artifact)).classify(
        np.full((8, 8, 3), 127, np.uint8)
    )
    assert answer.unknown is True and answer.confidence == pytest.approx(0.5, abs=0.01)


def test_golden_images_certify_confidence_and_novelty(photos: Path, tmp_path: Path) -> None:
    plain = classifier()
    images = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (60, 190)])
    rows = plain.probabilities(images)
    certificate = make_certificate(plain, plain.probabilities, images, (rows, rows))
    known = find_photos(photos / "eval", LABELS)
    artifact, _ = calibrate_artifact(
        classifier(certificate=certificate), TrustPhotos(known, None, None, tmp_path)
    )
    with Classifier(artifact, runtime=runtime(artifact)) as model:
        found = replay(model)
    assert found.confidence_change == pytest.approx(0, abs=1e-6)
    assert found.novelty_change == pytest.approx(0, abs=1e-6)

    engine = runtime(artifact)
    features = engine.run_with_features

    def bent(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, found = features(images)
        return rows, found * np.linspace(1, 0.5, 12, dtype=np.float32)

    engine.run_with_features = bent  # type: ignore[method-assign]
    with (
        Classifier(artifact, runtime=engine) as model,
        pytest.raises(VerificationError, match=r"answered as certified, but a novelty differs by"),
    ):
        replay(model)
    engine = runtime(artifact)
    engine.run_with_features = None  # type: ignore[assignment]
    with Classifier(artifact, runtime=engine) as model:
        assert replay(model).novelty_change is None


def no_class(root: Path) -> None:
    shutil.rmtree(root / "eval" / "dark")


def few_of_a_class(root: Path) -> None:
    for path in sorted((root / "eval" / "dark").iterdir())[3:]:
        path.unlink()


def few(root: Path) -> None:
    for folder in (root / "eval").iterdir():
        for path in sorted(folder.iterdir())[10:]:
            path.unlink()


def known_class_in_unknown(root: Path) -> None:
    shutil.copytree(root / "eval" / "dark", root / "unknown" / "more" / "dark")


def known_photo_in_unknown(root: Path) -> None:
    shutil.copy(root / "eval" / "dark" / "3.png", root / "unknown" / "things" / "new.png")


def few_unknown(root: Path) -> None:
    for path in sorted((root / "unknown" / "things").iterdir())[5:]:
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_class, r"do not match the labels: no folder for dark"),
        (few_of_a_class, r"too few different photos to calibrate on: dark 3; expected at least 4"),
        (few, r"holds 20 different photos, of which half are fitted to\. A rate of false unknowns "
              r"of 0\.05 needs 38, prediction sets of a coverage of 80% 8, 90% 18, 95% 38, 99% "),
        (known_class_in_unknown, r"lies in a folder 'dark', which is a class of the model"),
        (known_photo_in_unknown, r"1 photo\(s\) are in both sets, so what is unknown would not be"),
        (few_unknown, r"holds 5 different photos; expected at least 10"),
    ],
)  # fmt: skip
def test_photos_that_cannot_be_used_are_refused_and_nothing_is_written(
    change: Callable[[Path], None], message: str, photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    change(root)
    artifact = save_artifact(classifier(features=COLOURS).artifact, tmp_path / "shades.onnx")
    with pytest.raises(DataError, match=message):
        edgeclf.calibrate(
            tmp_path / "shades.onnx", root / "eval", unknown=root / "unknown", runtime="fake"
        )
    assert (tmp_path / "shades.onnx").read_bytes() == artifact.content
    assert not (tmp_path / "shades.trust.json").exists()


def test_photos_that_trained_the_model_are_refused(photos: Path, tmp_path: Path) -> None:
    known = find_photos(photos / "eval", LABELS)
    half = known.subset(range(0, len(known), 2))
    for training, count in (
        ({"data_sha256": known.sha256}, 120),
        ({"data_sha256": "0", "photos": half.sketch}, 60),
    ):
        with pytest.raises(DataError, match=rf"{count} of 120 photos in .* trained the model"):
            calibrate_artifact(
                classifier(training=training), TrustPhotos(known, None, None, tmp_path)
            )
    strangers = find_unlabelled(photos / "unknown")
    with pytest.raises(DataError, match=r"40 of 40 photos in .* trained the model"):
        calibrate_artifact(
            classifier(training={"photos": strangers.sketch}),
            TrustPhotos(known, strangers, None, tmp_path),
        )


def test_a_file_that_would_call_everything_unknown_is_refused(photos: Path, tmp_path: Path) -> None:
    known = find_photos(photos / "eval", LABELS)
    artifact = classifier().artifact
    constant = FakeRuntime(artifact, features=lambda images: np.ones((len(images), 1, 1, 3)))
    with pytest.raises(DataError, match="any difference at all would be called unknown"):
        calibrate_artifact(
            Classifier(artifact, runtime=constant), TrustPhotos(known, None, None, tmp_path)
        )


@pytest.mark.parametrize("rate", [0.0, -1.0, 0.6, float("nan")])
def test_a_rate_out_of_its_range_is_refused(rate: float, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="The rate of false unknowns is"):
        calibrated(photos, tmp_path, rate=rate)


@pytest.mark.parametrize("format_", MODELS)
def test_the_verb_seals_the_file_anew_and_keeps_its_model(
    format_: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = Metadata("shades", LABELS, ImageSpec(8, 8), features=COLOURS)
    path = tmp_path / f"shades.{format_}"
    before = save_artifact(seal_artifact(MODELS[format_], metadata), path)
    words = ["calibrate", path, "--data", photos / "eval", "--unknown", photos / "unknown"]
    assert main([*map(str, words), "--runtime", "fake"]) == 0
    printed = capsys.readouterr().out
    assert "fitted to 60 photos; of 60 others:" in printed and "sets of 90%" in printed
    after = load_artifact(path)
    assert after.metadata.trust is not None and after.format == before.format
    if format_ == "tflite":
        assert after.model_content == before.model_content

    record = json.loads((tmp_path / "shades.trust.json").read_text())
    assert record["schema"] == "edgeclf.trust/1" and record["results"].keys() == {path.name}
    (tmp_path / "other.onnx").write_bytes(after.content)
    edgeclf.calibrate(tmp_path / "other.onnx", photos / "eval", runtime="fake")
    record = json.loads((tmp_path / "shades.trust.json").read_text())
    assert record["results"].keys() == {path.name, "other.onnx"}

    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "calibrated on" in printed and "calibration error" in printed
    picture = next((photos / "eval" / "dark").iterdir())
    words = ["classify", path, picture, "--runtime", "fake", "--coverage", "0.9"]
    assert main([*map(str, words)]) == 0
    assert "confidence" in (line := capsys.readouterr().out) and "set: dark" in line
    assert main([*map(str, words), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] is False


def test_a_record_that_is_not_of_this_model_is_replaced(photos: Path, tmp_path: Path) -> None:
    save_artifact(classifier(features=COLOURS).artifact, tmp_path / "shades.onnx")
    for content in ("{", '{"schema": "edgeclf.trust/1", "name": "other", "results": {"x": {}}}'):
        (tmp_path / "shades.trust.json").write_text(content)
        edgeclf.calibrate(tmp_path / "shades.onnx", photos / "eval", runtime="fake")
        record = json.loads((tmp_path / "shades.trust.json").read_text())
        assert record["results"].keys() == {"shades.onnx"}


def test_a_set_of_a_file_that_is_not_calibrated_is_asked_for_in_vain(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shades.onnx"
    save_artifact(classifier().artifact, path)
    picture = next((photos / "eval" / "dark").iterdir())
    words = ["classify", path, picture, "--runtime", "fake", "--coverage", "0.9"]
    assert main([*map(str, words)]) == 2
    assert "--coverage needs a calibrated file" in capsys.readouterr().err
