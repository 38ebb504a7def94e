from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from support import REPOSITORY
from support.benchmark_results import make_results
from support.fixture_cache import made_once
from support.optional import no_cuda, reason_to_skip
from support.threads import ONE_THREAD

if TYPE_CHECKING:
    from edgeclf import Classifier

# Read when TensorFlow is first imported, also by child processes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for _name in ONE_THREAD:
    os.environ.setdefault(_name, "1")

MUGS = REPOSITORY / "examples" / "mugs"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips the tests of a module that imports what is not installed here."""
    report: pytest.CollectReport = yield
    error = report.call.excinfo
    reason = reason_to_skip(error.value) if error and report.failed else None
    if reason is not None:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, reason)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips a test that meets what is not installed here."""
    report: pytest.TestReport = yield
    reason = reason_to_skip(call.excinfo.value) if call.excinfo and report.failed else None
    if reason is not None:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, reason)
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and (reason := no_cuda()):
        pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Works outside the checkout, so that a child process imports what is installed."""
    os.chdir(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="session")
def mugs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of the mugs: 12 photos a class to train on, 6 to evaluate."""
    root = tmp_path_factory.mktemp("mugs")
    shutil.copy(MUGS / "labels.txt", root)
    for split, count in (("train", 12), ("eval", 6)):
        for folder in sorted((MUGS / split).iterdir()):
            target = root / split / folder.name
            target.mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:count]:
                shutil.copy(photo, target)
    return root


@pytest.fixture
def photo(mugs: Path) -> Path:
    return next((mugs / "eval" / "blue").iterdir())


@pytest.fixture
def check_page(tmp_path: Path) -> Callable[[str], object]:
    """Checks in a browser that a page can be read."""
    from support import browser

    if browser.CHROMIUM is None:
        pytest.skip("there is no Chromium to look with")
    return lambda page: browser.check(page, tmp_path)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Builds a data set of plain pictures: make_folder(cat=3, dog=2)."""

    def make(**counts: int) -> Path:
        root = tmp_path / "data"
        rng = np.random.default_rng(0)
        for label, count in counts.items():
            (root / label).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
                Image.fromarray(pixels).save(root / label / f"{index}.png")
        return root

    return make


@pytest.fixture
def fake() -> Classifier:
    """A classifier that answers dark, middle or bright, by the mean of a picture."""
    from edgeclf import Classifier
    from edgeclf.runtimes.fake import fake_artifact

    return Classifier(fake_artifact(["dark", "middle", "bright"]), runtime="fake")


@pytest.fixture
def results() -> dict[str, Any]:
    """What a benchmark writes: see `make_results`."""
    return make_results()


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark pictures: 24 of each to learn from, 12 of each to judge by."""
    from support.shades import write_photos

    root = tmp_path_factory.mktemp("shades")
    write_photos(root)
    return root


@pytest.fixture(scope="session")
def teachers(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Files of a teacher that swaps the classes of `shades`: see `write_teachers` there."""
    pytest.importorskip("litert_quantizer", reason="needs edgeclf[convert]")
    from support.shades import write_teachers

    with made_once("teachers", write_teachers, None, pytestconfig, tmp_path_factory) as folder:
        yield folder


@pytest.fixture(scope="session")
def model_folder(
    mugs: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with a student that was barely trained, converted to every target."""
    for package in ("keras", "litert_quantizer", "tf2onnx", "jinja2"):
        pytest.importorskip(package, reason="needs edgeclf[train,convert,report]")

    def fill(folder: Path) -> None:
        fill_models(mugs, folder)

    with made_once("models", fill, mugs, pytestconfig, tmp_path_factory) as folder:
        yield folder


def fill_models(mugs: Path, folder: Path) -> None:
    import edgeclf
    from edgeclf.converters.onnx import OnnxConverter
    from edgeclf.converters.tflite import TFLiteConverter
    from edgeclf.image import ImageSpec
    from edgeclf.networks.builder import build_classifier, find_backbone
    from edgeclf.training.config import TrainingConfig
    from edgeclf.training.data import open_training_data
    from edgeclf.training.fit import TrainingRun, fit_augmented, use_seed
    from edgeclf.training.models import save_model

    use_seed(0)
    data = open_training_data(mugs / "train", None, folder, seed=0)
    spec = ImageSpec(96, 96)
    model = build_classifier(find_backbone("student"), 4, spec)
    examples = data.images(data.photos, spec), data.photos.targets
    fit_augmented(
        model, TrainingRun(examples, TrainingConfig(epochs=25)), learning_rate=4e-3, title="train"
    )
    artifact = save_model(data, "mugs", model, spec, {"epochs": 25})
    assert artifact.path is not None
    # Barely trained, int8 may lose more than it would on a finished model: the gate has its own
    # tests, here every target is wanted.
    edgeclf.convert(
        artifact.path,
        evaluation=mugs / "eval",
        calibration=mugs / "train",
        to=[f"{p}.{c.format}" for c in (TFLiteConverter, OnnxConverter) for p in c.precisions],
        tolerance=0.5,
        c_array=True,
    )
