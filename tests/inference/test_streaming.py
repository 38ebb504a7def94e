"""A stream of frames: the newest is answered, the others are counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Failure
from support.pictures import grey


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
