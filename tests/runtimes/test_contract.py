"""The contract of `edgeclf.testing.runtime_contract`, over every runtime that is installed here.

``EDGECLF_TEST_ARTIFACTS=FOLDER`` takes the artifacts from there instead of making them, so that
this runs where TensorFlow cannot be installed; what is absent is skipped.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import edgeclf.runtimes
from edgeclf.artifact import Artifact, Format, load_artifact
from edgeclf.errors import RuntimeLoadError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes import RuntimeInfo, import_runtime, load_runtime, runtime_names
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from edgeclf.testing.runtime_contract import (
    CHECKS,
    check_answers_are_kept,
    check_batch_equals_single,
    check_certificate,
    check_close,
    check_concurrent_calls,
    check_description,
    check_features,
    check_input_is_kept,
    check_memory_layouts,
    check_probabilities,
    check_refuses_other_formats,
    check_refuses_unknown_device,
    check_repeatable,
    check_threads,
    check_two_at_once,
    check_wrong_input,
)
from edgeclf.trust.certificate import make_certificate

FILES = (
    "mugs.keras",
    "mugs.fp32.tflite",
    "mugs.int8.tflite",
    "mugs.int8-full.tflite",
    "mugs.fp32.onnx",
    "mugs.int8.onnx",
)
# Resolved now, as the tests run in another folder.
GIVEN = Path(folder).resolve() if (folder := os.environ.get("EDGECLF_TEST_ARTIFACTS")) else None
# Each call starts a process, which shares nothing with the others: slow, and nothing to find.
LEFT_OUT = {"tflite-micro": (check_concurrent_calls, check_two_at_once)}
# TensorFlow's threads are fixed when a process first runs it: that check has a test of its own.
LEFT_OUT["tensorflow"] = (check_threads,)


def files_for(name: str) -> tuple[str, ...]:
    """What a runtime takes; finding that out must not import its engine."""
    if name == "tflite-micro":
        return ("mugs.int8-full.tflite",)
    formats = getattr(edgeclf.runtimes._find(name), "formats", ())
    return tuple(file for file in FILES if file.rpartition(".")[2] in formats)


def cases() -> Iterator[Any]:
    for name in runtime_names():
        for file in files_for(name):
            for check in CHECKS:
                if check not in LEFT_OUT.get(name, ()):
                    title = check.__name__.removeprefix("check_")
                    yield pytest.param(name, file, check, id=f"{name}-{file}-{title}")


@cache
def missing(name: str) -> str | None:
    try:
        import_runtime(name)
    except RuntimeLoadError as exc:
        return str(exc)
    return None


@pytest.fixture(scope="session")
def artifact_at(request: pytest.FixtureRequest) -> Callable[[str], Artifact]:
    @cache
    def load(file: str) -> Artifact:
        folder: Path = GIVEN or request.getfixturevalue("model_folder")
        if GIVEN and not (folder / file).exists():
            pytest.skip(f"{folder} has no {file}")
        return load_artifact(folder / file)

    return load


# What these say of close() or of options needs a runtime that is theirs alone.
OF_ITS_OWN = (check_threads, check_answers_are_kept, check_close, check_two_at_once,
              check_concurrent_calls, check_features, check_refuses_unknown_device)  # fmt: skip


@pytest.fixture(scope="module")
def open_runtime() -> Iterator[Callable[[str, Artifact], Any]]:
    """Loads a runtime once for all checks that only call it: most engines take long to load."""
    opened: dict[tuple[str, str], Any] = {}
    with ExitStack() as stack:

        def load(name: str, artifact: Artifact) -> Any:
            key = (name, artifact.seal)
            if key not in opened:
                opened[key] = load_runtime(name, artifact)
                stack.callback(opened[key].close)
                opened[key].close = lambda: None  # the checks close what they are given
            return opened[key]

        yield load


@pytest.mark.parametrize(("name", "file", "check"), list(cases()))
def test_every_runtime_keeps_the_contract(
    name: str,
    file: str,
    check: Callable[..., None],
    artifact_at: Callable[[str], Artifact],
    open_runtime: Callable[[str, Artifact], Any],
) -> None:
    if words := missing(name):
        pytest.skip(words)
    artifact = artifact_at(file)
    alone = check in OF_ITS_OWN
    check(partial(load_runtime if alone else open_runtime, name, artifact), artifact)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_fake_runtime_keeps_it_too(check: Callable[..., None]) -> None:
    artifact = certified()
    check(partial(load_runtime, "fake", artifact), artifact)


def test_tensorflow_takes_one_thread_in_a_process_of_its_own(
    artifact_at: Callable[[str], Artifact],
) -> None:
    if words := missing("tensorflow"):
        pytest.skip(words)
    program = (
        "import sys; from functools import partial; from edgeclf import load_artifact; "
        "from edgeclf.runtimes import load_runtime; "
        "from edgeclf.testing.runtime_contract import check_threads; "
        "artifact = load_artifact(sys.stdin.buffer.read()); "
        "check_threads(partial(load_runtime, 'tensorflow', artifact), artifact)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=artifact_at("mugs.keras").content, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_command_tells_what_holds_and_what_does_not(
    artifact_at: Callable[[str], Artifact],
) -> None:
    if words := missing("litert"):
        pytest.skip(words)
    path = artifact_at("mugs.fp32.tflite").path
    command = [sys.executable, "-m", "edgeclf.testing.runtime_contract"]
    done = subprocess.run([*command, "litert", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"litert holds {len(CHECKS)} of {len(CHECKS)} checks" in done.stdout
    # The fake runtime has no model, so it cannot answer as the certificate says.
    done = subprocess.run([*command, "fake", str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and "FAILED  certificate: edgeclf 0 on cpu" in done.stdout
    done = subprocess.run([*command, "litert", "gone.tflite"], capture_output=True, text=True)
    assert done.returncode == 2 and "Cannot read the model gone.tflite" in done.stderr


# Each check must find the fault that it is there for: runtimes with one fault each.


def certified() -> Artifact:
    artifact = fake_artifact(["dark", "middle", "bright"])
    runtime = FakeRuntime(artifact)
    rng = np.random.default_rng(0)
    images = np.stack([rng.integers(v, v + 40, (32, 32, 3), np.uint8) for v in (0, 110, 210)])
    answers = runtime.run(images)
    certificate = make_certificate(
        Classifier(artifact, runtime=runtime), runtime.run, images, (answers, answers)
    )
    features = {"tensor": "x", "layout": "nhwc", "shape": [4, 4, 8], "pooling": "mean",
                "head": None}  # fmt: skip
    metadata = dataclasses.replace(artifact.metadata, certificate=certificate, features=features)
    return dataclasses.replace(artifact, metadata=metadata)


class OtherThreads(FakeRuntime):
    def describe(self) -> RuntimeInfo:
        return dataclasses.replace(super().describe(), threads=4)


class OtherName(FakeRuntime):
    def describe(self) -> RuntimeInfo:
        return dataclasses.replace(super().describe(), name="my-engine")


class NameOfAnother(FakeRuntime):
    def describe(self) -> RuntimeInfo:
        return dataclasses.replace(super().describe(), name="tflite-micro")


class NoVersion(FakeRuntime):
    def describe(self) -> RuntimeInfo:
        return dataclasses.replace(super().describe(), library_version="")


class OfUnknownDevice(FakeRuntime):
    def describe(self) -> RuntimeInfo:
        return dataclasses.replace(super().describe(), device="cloud")  # type: ignore[arg-type]


class AnswersDoubles(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(images).astype(np.float64)


class AnswersLogits(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return np.log(super().run(images))


class AnswersPercent(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(images) * np.float32(100)


class NeedsAnImage(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return np.stack([super(NeedsAnImage, self).run(i[np.newaxis])[0] for i in images])


class AnswersBackwards(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(images)[::-1]


class Drifts(FakeRuntime):
    calls = 0

    def run(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        share = np.float32(1 - 1e-3 * self.calls)
        return super().run(images) * share + (1 - share) / 3


class AnswersItsBuffer(FakeRuntime):
    buffer: np.ndarray | None = None

    def run(self, images: np.ndarray) -> np.ndarray:
        rows = super().run(images)
        if self.buffer is None:
            self.buffer = np.zeros((64, 3), np.float32)
        self.buffer[: len(rows)] = rows
        return self.buffer[: len(rows)]


class WritesIntoItsInput(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        rows = super().run(images)
        images //= 2
        return rows


class TakesOnlyContiguous(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        if not images.flags.c_contiguous:
            raise RuntimeLoadError("not contiguous")
        return super().run(images)


class ForgetsStrides(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        if images.base is not None and images.base.size >= images.size:
            images = images.base.ravel(order="K")[: images.size].reshape(images.shape)
        return super().run(images)


class CastsItsInput(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(np.asarray(images).astype(np.uint8))


class ResizesItsInput(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(np.resize(images, (len(images), 32, 32, 3)))


class RaisesAnything(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8:
            raise KeyError(images.dtype)
        return super().run(images)


class NeverCloses(FakeRuntime):
    def close(self) -> None:
        pass


class ClosesOnce(FakeRuntime):
    def close(self) -> None:
        if self._closed:
            raise RuntimeError("twice")
        super().close()


class ClosesAll(FakeRuntime):
    engine = True

    def __init__(self, artifact: Artifact, **options: Any) -> None:
        super().__init__(artifact, **options)
        ClosesAll.engine = True

    def run(self, images: np.ndarray) -> np.ndarray:
        if not ClosesAll.engine:
            raise RuntimeLoadError("gone")
        return super().run(images)

    def close(self) -> None:
        ClosesAll.engine = False


class MixesThreads(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        self.input = images
        time.sleep(1e-4)
        return super().run(self.input)


Both = tuple[np.ndarray, np.ndarray]


class GivesDoubles(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        probabilities, features = super().run_with_features(images)
        return probabilities, features.astype(np.float64)


class GivesPooledFeatures(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        probabilities, features = super().run_with_features(images)
        return probabilities, features.mean(axis=(1, 2))


class AnswersOtherwiseWithFeatures(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        probabilities, features = super().run_with_features(images)
        return probabilities[:, ::-1], features


class GivesTheFirstImagesFeatures(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        probabilities, features = super().run_with_features(images)
        return probabilities, np.repeat(features[:1], len(features), axis=0)


class GivesItsBuffer(FakeRuntime):
    buffer = np.zeros((3, 4, 4, 8), np.float32)

    def run_with_features(self, images: np.ndarray) -> Both:
        probabilities, features = super().run_with_features(images)
        self.buffer[: len(features)] = features
        return probabilities, self.buffer[: len(features)]


class GivesFeaturesOfAnything(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        return super().run_with_features(images if images.ndim == 4 else images[np.newaxis])


class GivesFeaturesWhenClosed(FakeRuntime):
    def run_with_features(self, images: np.ndarray) -> Both:
        self._closed = False
        return super().run_with_features(images)


class TakesAnyFormat(FakeRuntime):
    formats = ("tflite",)


class NamesNoFormat(FakeRuntime):
    formats = "tflite"


class IgnoresDevice(FakeRuntime):
    def __init__(self, artifact: Artifact, device: str = "cpu", threads: int = 1) -> None:
        super().__init__(artifact)


class AnswersOtherwise(FakeRuntime):
    def run(self, images: np.ndarray) -> np.ndarray:
        return super().run(images)[:, ::-1]


FAULTS = [
    (check_threads, OtherThreads, "threads=1 was asked for"),
    (check_description, OtherName, "'my-engine', under which no runtime is registered"),
    (check_description, NameOfAnother, "the name of another runtime than NameOfAnother"),
    (check_description, NoVersion, "library_version is ''"),
    (check_description, OfUnknownDevice, "device is 'cloud'"),
    (check_probabilities, AnswersDoubles, "float64; expected an array of float32"),
    (check_probabilities, AnswersLogits, "no probability is below 0"),
    (check_probabilities, AnswersPercent, "sum to 1 only within 99"),
    (check_probabilities, NeedsAnImage, "at least one array"),
    (check_batch_equals_single, AnswersBackwards, "one by one differ"),
    (check_repeatable, Drifts, "differ"),
    (check_answers_are_kept, AnswersItsBuffer, "An answer after a later call"),
    (check_input_is_kept, WritesIntoItsInput, "changed the images"),
    (check_memory_layouts, TakesOnlyContiguous, "refused uint8"),
    (check_memory_layouts, ForgetsStrides, "and to a copy differ"),
    (check_wrong_input, CastsItsInput, "float32 0..255 raised nothing"),
    (check_wrong_input, ResizesItsInput, "raised nothing"),
    (check_wrong_input, RaisesAnything, "raised KeyError"),
    (check_close, NeverCloses, r"run\(\) after close\(\) raised nothing"),
    (check_close, ClosesOnce, "twice"),
    (check_two_at_once, ClosesAll, "gone"),
    (check_concurrent_calls, MixesThreads, "calls from 4 threads went wrong"),
    (check_features, GivesDoubles, r"features of float64 \(3, 4, 4, 8\)"),
    (check_features, GivesPooledFeatures, r"float32 \(3, 8\) for 3 images; expected"),
    (check_features, AnswersOtherwiseWithFeatures, "with and without differ"),
    (check_features, GivesTheFirstImagesFeatures, "one by one differ"),
    (check_features, GivesItsBuffer, "changed features given before"),
    (check_features, GivesFeaturesOfAnything, "of one image raised nothing"),
    (check_features, GivesFeaturesWhenClosed, r"after close\(\) raised nothing"),
    (check_refuses_other_formats, TakesAnyFormat, "which formats = .* does not name"),
    (check_refuses_other_formats, NamesNoFormat, "expected a tuple"),
    (check_refuses_unknown_device, IgnoresDevice, "raised nothing"),
    (check_certificate, AnswersOtherwise, "does not compute the certified model"),
]


@pytest.mark.parametrize(
    ("check", "broken", "words"), FAULTS, ids=[broken.__name__ for _, broken, _ in FAULTS]
)
def test_a_check_finds_its_fault(
    check: Callable[..., None], broken: type[FakeRuntime], words: str
) -> None:
    artifact = certified()
    # A fault may also surface as the engine's own exception.
    with pytest.raises((AssertionError, ValueError, RuntimeError, RuntimeLoadError), match=words):
        check(partial(broken, artifact), artifact)


def test_every_check_has_a_fault_to_find() -> None:
    assert {check for check, _, _ in FAULTS} == set(CHECKS)
    assert len(set(CHECKS)) == len(CHECKS)


def test_every_format_has_a_runtime_here() -> None:
    taken = {file.rpartition(".")[2] for name in runtime_names() for file in files_for(name)}
    assert taken == set(get_args(Format))
