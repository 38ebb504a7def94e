from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.artifact import load_artifact
from edgeclf.classifier import Classifier
from edgeclf.errors import InferenceError, MissingDependencyError, OptionError, RuntimeLoadError
from edgeclf.runtimes import RuntimeInfo, runtime_names
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact

ARTIFACTS = {
    "mugs.keras": "tensorflow",
    "mugs.fp32.tflite": "litert",
    "mugs.int8.tflite": "litert",
    "mugs.fp32.onnx": "onnxruntime",
    "mugs.int8.onnx": "onnxruntime",
}


@pytest.fixture
def fake() -> Classifier:
    return Classifier(fake_artifact(["dark", "middle", "bright"]), runtime="fake")


def grey(value: int) -> np.ndarray:
    return np.full((10, 20, 3), value, np.uint8)


def test_fake_runtime_answers_by_brightness(fake: Classifier) -> None:
    assert [fake.classify(grey(v)).label for v in (0, 128, 255)] == ["dark", "middle", "bright"]
    prediction = fake.classify(grey(255))
    assert prediction.probability == pytest.approx(0.9)
    assert [s.index for s in prediction.top(2)] == [2, 0]
    assert sum(s.probability for s in prediction.scores) == pytest.approx(1)
    assert len(prediction.top(10)) == 3


def test_a_runtime_object_is_taken_as_it_is() -> None:
    artifact = fake_artifact(["a", "b"])
    runtime = FakeRuntime(artifact, probabilities=[0.25, 0.75])
    with Classifier(artifact, runtime=runtime) as classifier:
        assert classifier.classify(grey(0)).label == "b"
        assert classifier.describe().name == "fake"


def test_a_runtime_with_other_classes_is_an_error() -> None:
    artifact = fake_artifact(["a", "b"])
    runtime = FakeRuntime(artifact, probabilities=[0.2, 0.3, 0.5])
    with pytest.raises(InferenceError, match=r"\(1, 3\); expected \(1, 2\)"):
        Classifier(artifact, runtime=runtime).classify(grey(0))


def test_timing_is_by_stage(fake: Classifier) -> None:
    timing = fake.classify(grey(0)).timing
    stages = (timing.decode_ms, timing.preprocess_ms, timing.inference_ms)
    assert all(ms > 0 for ms in stages)
    assert timing.total_ms == pytest.approx(sum(stages))


def test_a_closed_classifier_says_so(fake: Classifier) -> None:
    fake.close()
    with pytest.raises(InferenceError, match="closed"):
        fake.classify(grey(0))


def test_an_unknown_runtime_lists_the_known_ones() -> None:
    with pytest.raises(RuntimeLoadError, match=r"no runtime 'tpu'.*litert"):
        Classifier(fake_artifact(["a", "b"]), runtime="tpu")
    assert set(runtime_names()) >= {"fake", "litert", "onnxruntime", "tensorflow"}


def test_threads_must_be_positive() -> None:
    with pytest.raises(OptionError):
        Classifier(fake_artifact(["a", "b"]), runtime="fake", threads=0)


@pytest.mark.parametrize(("file", "runtime"), ARTIFACTS.items())
def test_every_way_in_gives_the_same_answer(
    run: Path, photo: Path, file: str, runtime: str
) -> None:
    content = photo.read_bytes()
    with Classifier(run / file) as classifier:
        info = classifier.describe()
        assert isinstance(info, RuntimeInfo)
        assert (info.name, info.device) == (runtime, "cpu") and info.threads >= 1
        with Image.open(photo) as opened:
            ways = [photo, str(photo), content, io.BytesIO(content), opened]
            answers = [classifier.classify(way) for way in ways]
        assert len({answer.scores for answer in answers}) == 1
        assert classifier.labels == ("white", "black", "blue", "transparent")
        assert sum(s.probability for s in answers[0].scores) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InferenceError, match="closed"):
        classifier.classify(photo)


@pytest.mark.parametrize("file", ARTIFACTS)
def test_a_batch_equals_its_images_one_by_one(run: Path, mugs: Path, file: str) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))[:5]
    with Classifier(run / file, threads=1) as classifier:
        together = classifier.probabilities(photos)
        apart = np.concatenate([classifier.probabilities([p]) for p in photos])
    assert together.shape == (5, 4) and together.dtype == np.float32
    assert np.abs(together - apart).max() < 1e-5
    assert np.abs(together.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("file", ["mugs.fp32.tflite", "mugs.fp32.onnx"])
def test_float_artifacts_equal_their_source(run: Path, mugs: Path, file: str) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(run / "mugs.keras") as source, Classifier(run / file) as converted:
        assert np.abs(source.probabilities(photos) - converted.probabilities(photos)).max() < 1e-4


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.int8.onnx"])
def test_threads_share_one_classifier(run: Path, mugs: Path, file: str) -> None:
    photos = [p.read_bytes() for p in sorted((mugs / "eval").rglob("*.jpg"))]
    failures = []
    with Classifier(run / file, threads=1) as classifier:
        expected = [classifier.classify(p).scores for p in photos]

        def work() -> None:
            for photo, scores in zip(photos * 5, expected * 5, strict=True):
                if classifier.classify(photo).scores != scores:
                    failures.append(photo)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


@pytest.mark.parametrize(
    ("file", "runtime"), [("mugs.int8.onnx", "litert"), ("mugs.int8.tflite", "onnxruntime"),
                          ("mugs.int8.tflite", "tensorflow")]
)  # fmt: skip
def test_a_runtime_refuses_another_format(run: Path, file: str, runtime: str) -> None:
    with pytest.raises(RuntimeLoadError, match="loads "):
        Classifier(run / file, runtime=runtime)


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.fp32.onnx", "mugs.keras"])
def test_cuda_is_never_replaced_by_the_cpu(run: Path, file: str) -> None:
    try:
        classifier = Classifier(run / file, device="cuda")
    except RuntimeLoadError as exc:
        assert "cuda" in str(exc).lower()
    else:
        assert classifier.describe().device == "cuda"


def test_a_missing_engine_names_the_pip_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str, *args: object) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    artifacts = {n: load_artifact(run / n) for n in ("mugs.int8.tflite", "mugs.int8.onnx")}
    from edgeclf.runtimes import import_runtime

    for name in ("litert", "onnxruntime"):
        import_runtime(name)
    monkeypatch.setattr("edgeclf.runtimes.litert.importlib.import_module", missing)
    from edgeclf.runtimes.litert import LiteRTRuntime
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[litert\]'"):
        LiteRTRuntime(artifacts["mugs.int8.tflite"])
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[onnxruntime\]'"):
        OnnxRuntime(artifacts["mugs.int8.onnx"])
    assert importlib.import_module is missing
    assert issubclass(MissingDependencyError, ImportError)


def test_auto_goes_by_format_and_says_so(run: Path) -> None:
    with Classifier(run / "mugs.int8.tflite", threads=1) as classifier:
        info = classifier.describe()
    assert info.name == "litert" and info.reason == "the usual runtime of .tflite files"
