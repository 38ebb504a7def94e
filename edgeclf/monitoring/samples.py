"""Some of the pictures, kept for people to label: some at random, some that were hard."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from queue import Full, Queue
from random import random
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from PIL import Image
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from edgeclf.errors import ImageError, OptionError
from edgeclf.image import ImageSource, ImageSpec, decode_image
from edgeclf.system.files import check_out, write_bytes, write_json
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeclf.inference.prediction import Prediction

_AT_RANDOM = 0.01
_HARD = 0.1  # of those below this confidence, and of unknown ones
_LOW_CONFIDENCE = 0.5
_MOST_WAITING = 8  # their bytes are held that long
_QUALITY = 95


class _Offered(NamedTuple):
    image: ImageSource
    spec: ImageSpec
    why: str
    about: dict[str, object]


class Samples(Collector):
    """A folder of pictures, each with what was answered beside it, up to a limit.

    They are decoded and encoded anew, upright, so that no metadata of theirs is kept: no place, no
    time, no camera. Half of the room is for pictures taken at random, 1 of 100, and half for one of
    ten of those that were unknown or below a confidence of 0.5. Once a half is full nothing is
    added to it: who labels them empties the folder.

    Args:
        folder: Where they go; what is there already counts.
        most_files: Pictures at most.
        most_bytes: And of how much together.
        registry: Where they are counted.

    Raises:
        OptionError: It cannot be written to.
    """

    def __init__(
        self, folder: str, most_files: int, most_bytes: float, registry: CollectorRegistry
    ) -> None:
        check_out(folder, is_folder=True)
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OptionError(f"{folder!r} cannot be made: {exc.strerror}.") from exc
        self._most = most_files / 2, most_bytes / 2
        self.counts = {"random": 0, "hard": 0}
        self.lost = 0
        self._offered: Queue[_Offered | None] = Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="edgeclf-samples", daemon=True)
        self._thread.start()
        registry.register(self)

    def offer(self, image: ImageSource, spec: ImageSpec, sha256: str, answer: Prediction) -> None:
        """Takes an answered picture, or not; returns at once.

        Args:
            image: What was asked.
            spec: Of the model's input, for how pictures are decoded.
            sha256: Of the model's file.
            answer: What was answered.
        """
        unsure = answer.confidence is not None and answer.confidence < _LOW_CONFIDENCE
        drawn = random()
        if drawn < _AT_RANDOM:
            why = "random"
        elif (answer.unknown or unsure) and drawn < _AT_RANDOM + _HARD:
            why = "hard"
        else:
            return
        about = {"sha256": sha256, "why": why, "label": answer.label,
                 "probability": answer.probability, "confidence": answer.confidence,
                 "unknown": answer.unknown}  # fmt: skip
        try:
            self._offered.put_nowait(_Offered(image, spec, why, about))
        except Full:
            self.lost += 1

    def close(self) -> None:
        """Writes what is left, if that goes within a few seconds."""
        with suppress(Full):
            self._offered.put(None, timeout=1)
        self._thread.join(3)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """How many were kept, and lost, for the registry."""
        kept = CounterMetricFamily("edgeclf_samples", "Pictures kept to be labelled",
                                   labels=("why",))  # fmt: skip
        for why, count in self.counts.items():
            kept.add_metric((why,), count)
        lost = CounterMetricFamily("edgeclf_samples_lost", "Pictures that should have been kept")
        lost.add_metric((), self.lost)
        return [kept, lost]

    def _run(self) -> None:
        failing = False
        while (offered := self._offered.get()) is not None:
            try:
                self._keep(offered)
                failing = False
            except (OSError, ImageError) as exc:
                self.lost += 1
                if not failing:
                    log(f"edgeclf: pictures for {self._folder} are lost, and counted: {exc}")
                failing = True

    def _keep(self, offered: _Offered) -> None:
        """Stores a picture, unless its half of the room is full."""
        sizes = [
            entry.stat().st_size
            for entry in os.scandir(self._folder)
            if entry.name.startswith(f"{offered.why}-") and entry.name.endswith(".jpg")
        ]
        if len(sizes) + 1 > self._most[0] or sum(sizes) >= self._most[1]:
            return
        content = _bare_jpeg(decode_image(offered.image, offered.spec))
        if sum(sizes) + len(content) > self._most[1]:
            return
        path = self._folder / f"{offered.why}-{uuid4().hex}.jpg"
        write_json(path.with_suffix(".json"), offered.about)
        write_bytes(path, content)
        self.counts[offered.why] += 1


def _bare_jpeg(picture: Image.Image) -> bytes:
    """A JPEG of the pixels alone: of what else the file held, Pillow would keep a comment."""
    picture.info.clear()
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
