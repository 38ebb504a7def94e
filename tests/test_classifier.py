from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.classifier import Classifier
from edgeclf.cpu import available_cpus
from edgeclf.errors import (
    ImageError,
    InferenceError,
    MeasurementError,
    MissingDependencyError,
    OptionError,
    RuntimeLoadError,
)
from edgeclf.image import load_image
from edgeclf.prediction import Failure, Prediction
from edgeclf.runtimes import Device, RuntimeInfo, runtime_names
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


def test_the_runtime_file_machine_and_tuning_agree_on(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "mugs.int8.onnx"
    path.write_bytes((run / path.name).read_bytes())
    tuning = edgeclf.tune(path, threads=[1])
    assert tuning.runtime == "onnxruntime" and tuning.threads == 1
    assert tuning.path == tmp_path / "mugs.int8.onnx.tuning.json"
    assert tuning.candidates[0].p50_ms is not None and tuning.candidates[0].p50_ms > 0
    with Classifier(path) as classifier:
        info = classifier.describe()
        assert info.threads == 1 and info.reason == tuning.reason
    with Classifier(path, threads=2) as classifier:
        assert classifier.describe().threads == 2, "what the caller says goes before the tuning"
    path.write_bytes((run / "mugs.fp32.onnx").read_bytes())
    with Classifier(path) as classifier:
        assert "is of another file" in classifier.describe().reason
    tuning.path.write_text("{")
    with Classifier(path) as classifier:
        assert "cannot be read" in classifier.describe().reason


def test_tuning_keeps_the_usual_runtime_unless_another_is_clearly_faster() -> None:
    from edgeclf.tune import Candidate, _choose

    usual = Candidate("litert", 4)
    one, four = Candidate("litert", 1, 0.98), Candidate("litert", 4, 1.0)
    assert _choose([one, four], usual)[0] is four
    faster = Candidate("other", 1, 0.5)
    chosen, reason = _choose([faster, four], usual)
    assert chosen is faster and "0.50 ms" in reason and "1.00 ms" in reason


def test_tuning_without_a_candidate_says_why(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "mugs.int8.onnx"
    path.write_bytes((run / path.name).read_bytes())
    with pytest.raises(MeasurementError, match=r"litert: .*loads \.tflite"):
        edgeclf.tune(path, runtimes=["litert"], threads=[1])
    with pytest.raises(OptionError, match="Nothing to try"):
        edgeclf.tune(path, threads=[0])
    assert not list(tmp_path.glob("*.json"))


def test_auto_takes_another_runtime_where_the_usual_one_is_missing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.runtimes import choice

    def missing(name: str) -> None:
        raise MissingDependencyError("onnxruntime", "onnxruntime", "Running an .onnx model")

    monkeypatch.setattr(choice, "import_runtime", missing)
    monkeypatch.setattr(choice, "runtimes_for", lambda format_: ("other",))
    found = choice.choose_runtime(load_artifact(run / "mugs.int8.onnx"), "cpu")
    assert found.runtime == "other" and "onnxruntime is not installed" in found.reason
    monkeypatch.setattr(choice, "runtimes_for", lambda format_: ())
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeclf\[onnxruntime\]'"):
        choice.choose_runtime(load_artifact(run / "mugs.int8.onnx"), "cpu")


def test_top_takes_only_what_is_wanted() -> None:
    artifact = fake_artifact(["a", "b", "c", "d"])
    runtime = FakeRuntime(artifact, probabilities=[0.1, 0.4, 0.3, 0.2])
    prediction = Classifier(artifact, runtime=runtime).classify(grey(0))
    assert [s.label for s in prediction.top()] == ["b", "c", "d", "a"]
    assert [s.label for s in prediction.top(2, deny=["b"])] == ["c", "d"]
    assert [s.label for s in prediction.top(allow=["a", "c"])] == ["c", "a"]
    assert [s.label for s in prediction.top(threshold=0.25)] == ["b", "c"]
    assert prediction.top(allow=["a"], threshold=0.5) == ()
    with pytest.raises(OptionError, match="no label 'e'; it has 4: a, b, c, d"):
        prediction.top(deny=["e"])
    with pytest.raises(OptionError, match="k is 0"):
        prediction.top(0)


def test_equal_probabilities_keep_the_order_of_the_model() -> None:
    artifact = fake_artifact(["a", "b", "c"])
    runtime = FakeRuntime(artifact, probabilities=[0.25, 0.375, 0.375])
    prediction = Classifier(artifact, runtime=runtime).classify(grey(0))
    assert prediction.label == "b" and [s.label for s in prediction.scores] == ["b", "c", "a"]


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.fp32.onnx"])
def test_a_batch_keeps_the_order_and_survives_bad_pictures(
    run: Path, mugs: Path, file: str
) -> None:
    photos: list[object] = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(run / file) as classifier:
        expected = [classifier.classify(p).probabilities for p in photos]
        mixed = [*photos[:5], b"no image", *photos[5:], "/gone.jpg"]
        answers = list(classifier.classify_batch(iter(mixed), batch_size=4))
        assert [isinstance(a, Failure) for a in answers].count(True) == 2
        first, last = answers.pop(5), answers.pop()
        assert isinstance(first, Failure) and "8 bytes given" in str(first.error)
        assert isinstance(last, Failure) and "gone.jpg" in str(last.error)
        for answer, wanted in zip(answers, expected, strict=True):
            assert isinstance(answer, Prediction)
            assert answer.probabilities == pytest.approx(wanted, abs=1e-5)
            assert answer.timing.decode_ms > 0 and answer.timing.inference_ms > 0
        assert list(classifier.classify_batch([])) == []
        assert classifier.probabilities([]).shape == (0, 4)


def test_a_batch_reads_no_further_ahead_than_it_must(fake: Classifier) -> None:
    taken = []

    def endless() -> Iterator[np.ndarray]:
        for index in itertools.count():
            taken.append(index)
            yield grey(index % 256)

    answers = fake.classify_batch(endless(), batch_size=2)
    for _ in range(50):
        next(answers)
    ahead = len(taken) - 50
    assert ahead <= 8 * (2 * available_cpus() + 2) + 2
    answers.close()
    before = threading.active_count()
    assert not [t for t in threading.enumerate() if t.name.startswith("edgeclf-decode")], before


def test_an_error_in_the_pictures_source_reaches_the_caller(fake: Classifier) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield grey(0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(fake.classify_batch(broken()))


@pytest.mark.parametrize(
    "one",
    ["photo.jpg", b"bytes", bytearray(b"x"), io.BytesIO(b"x"), Path("photo.jpg"), grey(0), 3],
)
def test_one_picture_is_no_batch(fake: Classifier, one: object) -> None:
    with pytest.raises(OptionError, match="several pictures were expected"):
        fake.classify_batch(one)  # type: ignore[arg-type]


def test_a_batch_of_arrays(fake: Classifier) -> None:
    answers = fake.classify_batch(np.stack([grey(0), grey(255)]))
    assert [a.label for a in answers if isinstance(a, Prediction)] == ["dark", "bright"]


def test_urls_need_a_fetcher(photo: Path) -> None:
    artifact = fake_artifact(["a", "b"])
    content = photo.read_bytes()
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if "gone" in url:
            raise OSError("404")
        return content

    url = "https://example.org/mug.jpg"
    with pytest.raises(ImageError, match="fetches nothing by itself"):
        Classifier(artifact, runtime="fake").classify(url)
    with Classifier(artifact, runtime="fake", fetch=fetch) as classifier:
        assert classifier.classify(url).probabilities == classifier.classify(photo).probabilities
        good, bad = classifier.classify_batch([url, "https://example.org/gone.jpg"])
    assert asked[0] == url
    assert isinstance(good, Prediction) and isinstance(bad, Failure)
    assert "Cannot fetch https://example.org/gone.jpg: 404" in str(bad.error)


def test_a_stream_answers_the_newest_frame_and_counts_the_dropped(fake: Classifier) -> None:
    answered = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        yield grey(0)
        answered.wait(10)
        for value in (10, 20, 128):
            yield grey(value)
        gate.wait(10)
        yield grey(255)

    gate = threading.Event()
    frames = fake.stream(camera())
    first = next(frames)
    assert (first.index, first.dropped, first.answer.label) == (0, 0, "dark")
    answered.set()
    while not gate.is_set():  # until the camera waits behind its fourth frame
        time.sleep(0.05)
        gate.set()
    rest = list(frames)
    assert rest[-1].index == 4 and rest[-1].answer.label == "bright"
    assert np.array_equal(rest[-1].image, grey(255))
    answers = 1 + len(rest)
    assert rest[-1].dropped == 5 - answers


def test_a_stream_gives_bad_frames_as_failures_and_raises_the_sources_error(
    fake: Classifier,
) -> None:
    def camera() -> Iterator[object]:
        yield b"no image"
        time.sleep(0.2)
        raise OSError("unplugged")

    frames = fake.stream(camera())
    assert isinstance(next(frames).answer, Failure)
    with pytest.raises(OSError, match="unplugged"):
        next(frames)


def test_leaving_a_stream_ends_its_thread(fake: Classifier) -> None:
    released = []

    def camera() -> Iterator[np.ndarray]:
        try:
            while True:
                time.sleep(0.01)
                yield grey(0)
        finally:
            released.append(threading.current_thread().name)

    frames = fake.stream(camera())
    next(frames)
    frames.close()
    assert released == ["edgeclf-stream"]
    assert not [t for t in threading.enumerate() if t.name == "edgeclf-stream"]


_FORK = """
import os, sys
import numpy as np
from edgeclf import Classifier, InferenceError
classifier = Classifier(sys.argv[1], threads=2)
picture = np.zeros((20, 20, 3), np.uint8)
classifier.classify(picture)
child = os.fork()
if child == 0:
    try:
        classifier.classify(picture)
    except InferenceError as exc:
        classifier.close()
        sys.exit(7 if "forked" in str(exc) else 1)  # an ordinary end, with all that runs then
    sys.exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
classifier.classify(picture)  # the parent goes on
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.int8.onnx"])
def test_after_a_fork_it_refuses_and_never_hangs(run: Path, file: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _FORK, str(run / file)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7


def test_onnxruntime_is_kept_from_reporting_to_its_maker(run: Path) -> None:
    """Its uploader is a thread that starts at import: there must be none."""
    program = (
        "import os; from edgeclf.runtimes import import_runtime; import_runtime('onnxruntime'); "
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "print(len(os.listdir('/proc/self/task')))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    bare = subprocess.run(
        [sys.executable, "-c", "import os, numpy; print(len(os.listdir('/proc/self/task')))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == bare.stdout


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.int8.onnx", "mugs.keras"])
def test_eight_threads_two_thousand_calls_each(run: Path, mugs: Path, file: str) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(run / file, threads=1) as classifier:
        spec = classifier.artifact.metadata.image
        tensors = [load_image(p, spec) for p in photos]
        expected = [classifier.classify(t).probabilities for t in tensors]
        wrong = []

        def work(offset: int) -> None:
            for number in range(2000):
                index = (number + offset) % len(tensors)
                if classifier.classify(tensors[index]).probabilities != expected[index]:
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_the_compiled_model_interface_of_litert_answers_alike(run: Path, mugs: Path) -> None:
    """The one with accelerators, run here on the CPU."""
    from edgeclf.runtimes.litert import _CompiledModel

    artifact = load_artifact(run / "mugs.fp32.tflite")
    photo = load_image(next((mugs / "eval").rglob("*.jpg")), artifact.metadata.image)
    compiled = _CompiledModel(artifact.content, "CPU")
    with Classifier(artifact) as classifier:
        expected = classifier.classify(photo).probabilities
    assert compiled.invoke(photo[np.newaxis]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("device", ["gpu", "npu"])
def test_an_accelerator_is_never_replaced_by_the_cpu(run: Path, device: Device) -> None:
    try:
        classifier = Classifier(run / "mugs.fp32.tflite", device=device)
    except RuntimeLoadError as exc:
        assert device.upper() in str(exc) and "device='cpu'" in str(exc)
    else:
        assert classifier.describe().device == device
