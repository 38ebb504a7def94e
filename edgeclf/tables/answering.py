"""Pictures of a source to answers, in order, by an engine that has proven itself."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

from edgeclf.image import ImageSource
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Failure, Prediction
from edgeclf.system.cpu import cpu_model
from edgeclf.system.environment import library_versions
from edgeclf.tables.items import Entry, Item
from edgeclf.trust.certificate import replay

Answer: TypeAlias = "Prediction | Failure"
Run: TypeAlias = Callable[[Iterable[ImageSource]], Iterator[Answer]]

_GROUP = 8


def prove(classifier: Classifier, unverified: bool) -> dict[str, Any]:
    """Replays the certificate here.

    Returns:
        What answers, for the table's metadata.

    Raises:
        VerificationError: It does not answer as certified.
        ArtifactError: There is no certificate, and `unverified` does not allow that.
    """
    certificate = classifier.artifact.metadata.certificate or {}
    verified = bool(certificate.get("images")) or not unverified
    if verified:
        replay(classifier)
    runtime = classifier.describe()
    return {
        "edgeclf": library_versions(("edgeclf",)).get("edgeclf"),
        "verified": verified,
        "runtime": runtime.name,
        "library": f"{runtime.library} {runtime.library_version}",
        "device": runtime.device,
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "system": os.uname().sysname,
    }


def answered(found: Iterator[Entry], run: Run) -> Iterator[tuple[Entry, Answer | None]]:
    """Each entry with its answer; None for the end of a piece, and for what could not be read."""
    waiting: deque[Entry] = deque()

    def images() -> Iterator[ImageSource]:
        for entry in found:
            waiting.append(entry)
            if isinstance(entry, Item) and entry.image is not None:
                yield entry.image

    def unanswered() -> Iterator[tuple[Entry, None]]:
        while waiting and not (isinstance(waiting[0], Item) and waiting[0].image is not None):
            yield waiting.popleft(), None

    for answer in run(images()):
        yield from unanswered()
        yield waiting.popleft(), answer
    yield from unanswered()


def by_threads(classifier: Classifier, threads: int) -> Run:
    """Answers in as many threads, and no more: for one of several processes on a machine."""

    def run(images: Iterable[ImageSource]) -> Iterator[Answer]:
        source = iter(images)
        waiting: deque[Future[list[Answer]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="edgeclf-answer") as pool:
            while True:
                while len(waiting) <= threads and (group := list(islice(source, _GROUP))):
                    waiting.append(pool.submit(classifier.classify_together, group))
                if not waiting:
                    return
                yield from waiting.popleft().result()

    return run
