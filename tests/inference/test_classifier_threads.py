"""One classifier in several threads, and after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgeclf.image import load_image
from edgeclf.inference.classifier import Classifier


@pytest.mark.parametrize("file", ["mugs.int8.tflite", "mugs.int8.onnx"])
def test_threads_share_one_classifier(model_folder: Path, mugs: Path, file: str) -> None:
    photos = [p.read_bytes() for p in sorted((mugs / "eval").rglob("*.jpg"))]
    failures = []
    with Classifier(model_folder / file, threads=1) as classifier:
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
    ("file", "calls"), [("mugs.int8.tflite", 2000), ("mugs.int8.onnx", 2000), ("mugs.keras", 200)]
)
def test_eight_threads_many_calls_each(
    model_folder: Path, mugs: Path, file: str, calls: int
) -> None:
    photos = sorted((mugs / "eval").rglob("*.jpg"))
    with Classifier(model_folder / file, threads=1) as classifier:
        spec = classifier.artifact.metadata.image
        tensors = [load_image(p, spec) for p in photos]
        expected = [classifier.classify(t).probabilities for t in tensors]
        wrong = []

        def work(offset: int) -> None:
            for number in range(calls):
                index = (number + offset) % len(tensors)
                if classifier.classify(tensors[index]).probabilities != expected[index]:
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


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
def test_after_a_fork_it_refuses_and_never_hangs(model_folder: Path, file: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _FORK, str(model_folder / file)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7
