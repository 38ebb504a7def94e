"""Maps that take many passes of a model: one at a time, and only while workers are at leisure."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic, perf_counter
from typing import Any, cast

import numpy as np

from edgeclf.errors import EdgeclfError, InferenceError
from edgeclf.explanation.methods import explain_picture
from edgeclf.image import ImageSource, UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.base import Float32Array
from edgeclf.service.asgi import Gone, Receive
from edgeclf.service.catalog import Version
from edgeclf.service.explaining import as_entry
from edgeclf.service.pool import Pool
from edgeclf.service.problem import Problem

_LIMIT_S = 60.0
_PIECE_S = 0.02  # of work that a picture may have to wait for
_MOST_AT_ONCE = 32  # pictures of one piece


class PatientMaps:
    """Explains by RISE, in pieces that the pool's workers do between the pictures of others.

    Args:
        pool: Whose workers.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken = False

    async def explain(
        self,
        version: Version,
        image: ImageSource,
        label: str | None,
        passes: int,
        receive: Receive,
    ) -> dict[str, Any]:
        """The map of one picture.

        Args:
            version: What is explained.
            image: The picture.
            label: The class; None for the most probable one.
            passes: How many pictures the model is given for it.
            receive: Tells when the client goes, which ends the work.

        Returns:
            See `edgeclf.service.explaining.as_entry`.

        Raises:
            Problem: 503 another one is being made, or workers had too little leisure; or the model
                failed.
            Gone: The client left.
        """
        if self._taken:
            raise Problem(
                503, "explaining",
                "Another map that takes many passes is being made, and one is made at a time. Ask "
                "again in a while.",
                retry_after_s=5,
            )  # fmt: skip
        self._taken = True
        work = _Passes(self._pool, version, asyncio.get_running_loop())
        watch = asyncio.create_task(_until_gone(receive, work.stop))
        try:
            found = await asyncio.to_thread(
                explain_picture, cast(Classifier, work), image, label, method="rise",
                passes=passes, seed=0,
            )  # fmt: skip
        except EdgeclfError as exc:
            if work.stop.is_set():
                raise Gone from None
            raise Problem.of(exc) from exc
        finally:
            work.stop.set()
            watch.cancel()
            self._taken = False
        return as_entry(found)


async def _until_gone(receive: Receive, stop: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stop.set()


class _Passes:
    """What `explain_picture` asks in place of a classifier; used in a thread of its own."""

    def __init__(self, pool: Pool, version: Version, loop: asyncio.AbstractEventLoop) -> None:
        self.artifact = version.artifact
        self.labels = version.artifact.metadata.labels
        self.stop = threading.Event()
        self._pool, self._version, self._loop = pool, version, loop
        self._end = monotonic() + _LIMIT_S
        self._at_once = 1

    def probabilities(self, images: UInt8Array) -> Float32Array:
        """As that of a classifier, in pieces that take about as long as one may wait for."""
        rows: list[Float32Array] = []
        at = 0
        while at < len(images):
            part = images[at : at + self._at_once]
            found, spent_s = asyncio.run_coroutine_threadsafe(self._ask(part), self._loop).result()
            rows.append(found)
            at += len(part)
            fits = int(_PIECE_S * len(part) / max(spent_s, 1e-6))
            self._at_once = min(max(1, fits), 2 * self._at_once, _MOST_AT_ONCE)
        return np.concatenate(rows)

    async def _ask(self, images: UInt8Array) -> tuple[Float32Array, float]:
        def work(engine: Classifier) -> tuple[Float32Array, float]:
            start = perf_counter()
            return engine.probabilities(images), perf_counter() - start

        if self.stop.is_set():
            raise InferenceError("Nobody waits for this map any more.")
        try:
            found: tuple[Float32Array, float] = await asyncio.wait_for(
                self._pool.lend(self._version, work), self._end - monotonic()
            )
        except asyncio.TimeoutError:
            raise Problem(
                503, "deadline_exceeded",
                f"The workers had too little leisure for this map within {_LIMIT_S:.0f} s. Ask "
                "again in a while, or for fewer passes.",
                retry_after_s=5,
            ) from None  # fmt: skip
        return found
