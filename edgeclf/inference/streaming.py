"""Keeping up with a camera: of all the frames that have come, the newest."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_LAST_FRAME_S = 2.0  # how long to wait for a source that is in the middle of a frame


def newest(frames: Iterable[T]) -> Generator[tuple[int, T], None, None]:
    """Reads a source as fast as it gives frames, and yields the newest whenever it is asked.

    The source is read in a thread of its own, so that frames do not queue up while one is being
    classified; that thread also closes it, if it is a generator. An error in the source is raised
    here, after the last good frame.

    Args:
        frames: For example a generator that reads a camera; it decides the pace.

    Yields:
        A frame with its position in the source, from 0. Positions that are missing were passed
        over.
    """
    ready = threading.Condition()
    slot: list[tuple[int, T]] = []
    errors: list[BaseException] = []
    ended = stopped = False

    def read() -> None:
        nonlocal ended
        try:
            for numbered in enumerate(frames):
                with ready:
                    if stopped:
                        break
                    slot[:] = [numbered]
                    ready.notify()
        except BaseException as exc:  # handed over to whoever reads the stream
            errors.append(exc)
        finally:
            if stopped and isinstance(frames, Generator):
                frames.close()
            with ready:
                ended = True
                ready.notify()

    reader = threading.Thread(target=read, name="edgeclf-stream", daemon=True)
    reader.start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: slot or ended)
                if not slot:
                    break
                frame = slot.pop()
            yield frame
        if errors:
            raise errors[0]
    finally:
        stopped = True
        reader.join(_LAST_FRAME_S)
