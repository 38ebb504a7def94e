"""Many pictures at once: `Classifier.classify_batch`."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeclf.errors import OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Failure, Prediction
from edgeclf.system.cpu import available_cpus
from support.pictures import grey


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.fp32.onnx"])
def test_a_batch_keeps_the_order_and_survives_bad_pictures(
    model_folder: Path, mugs: Path, file: str
) -> None:
    photos: list[object] = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(model_folder / file) as classifier:
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
