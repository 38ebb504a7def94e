"""Pictures on their way to the model: read, decoded and resized, several of them ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import perf_counter
from typing import NamedTuple

import numpy as np

from edgeclf.errors import ImageError, OptionError, mapped
from edgeclf.image import (
    ImageSource,
    ImageSpec,
    UInt8Array,
    decode_image,
    is_tensor,
    is_url,
    resize_image,
)
from edgeclf.system.cpu import available_cpus

_GROUP_SIZE = 8  # pictures that one task decodes, so that handing over costs little


class Prepared(NamedTuple):
    """A picture ready for the model, with the time it took."""

    tensor: UInt8Array
    decode_ms: float
    preprocess_ms: float


class Pictures:
    """Prepares pictures for one model.

    Args:
        spec: The model's input.
        fetch: Turns a URL into the bytes of an image file; without it, URLs are refused.
    """

    def __init__(self, spec: ImageSpec, fetch: Callable[[str], bytes] | None) -> None:
        self._spec = spec
        self._fetch = fetch

    def prepare(self, image: ImageSource) -> Prepared:
        """One picture, of whatever kind, as the model takes it.

        Raises:
            ImageError: It cannot be read or is refused.
        """
        start = perf_counter()
        if is_tensor(image, self._spec):
            return Prepared(np.ascontiguousarray(image), 0.0, (perf_counter() - start) * 1e3)
        if self._fetch is not None and is_url(image):
            image = _fetched(self._fetch, image)
        decoded = decode_image(image, self._spec)
        decoded_at = perf_counter()
        tensor = resize_image(decoded, self._spec)
        end = perf_counter()
        return Prepared(tensor, (decoded_at - start) * 1e3, (end - decoded_at) * 1e3)

    def prepare_all(self, images: Iterable[ImageSource]) -> list[Prepared | ImageError]:
        """Several pictures, one after another; why not, where one cannot be read."""
        prepared: list[Prepared | ImageError] = []
        for image in images:
            try:
                prepared.append(self.prepare(image))
            except ImageError as exc:
                prepared.append(exc)
        return prepared

    def prepare_ahead(self, images: Iterable[ImageSource]) -> Iterator[Prepared | ImageError]:
        """Prepares pictures on all CPUs, in order, a few groups ahead of whoever takes them.

        Yields:
            For each picture what the model takes, or why it cannot be read.
        """
        from concurrent.futures import Future, ThreadPoolExecutor  # one picture does not need it

        source = iter(images)
        workers = available_cpus()
        size = 1  # of a group; it doubles, so that a few pictures are shared out as well
        pending: deque[Future[list[Prepared | ImageError]]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="edgeclf-decode")
        try:
            while True:
                while len(pending) <= 2 * workers and (group := list(islice(source, size))):
                    pending.append(pool.submit(self.prepare_all, group))
                    size = min(2 * size, _GROUP_SIZE)
                if not pending:
                    return
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def several(images: Iterable[ImageSource]) -> Iterable[ImageSource]:
    """The same pictures.

    Raises:
        OptionError: It is one picture.
    """
    one = (
        isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
        or hasattr(images, "read")
        or not hasattr(images, "__iter__")
    )
    if one or (isinstance(images, np.ndarray) and images.ndim != 4):
        raise OptionError(
            f"Received {type(images).__name__} where several pictures were expected: a list, a "
            "generator or an array [N, H, W, 3]. For one picture, use classify."
        )
    return images


def _fetched(fetch: Callable[[str], bytes], url: str) -> bytes:
    with mapped(ImageError, f"Cannot fetch {url}"):
        content = fetch(url)
    if not isinstance(content, bytes):
        raise ImageError(
            f"The fetcher gave {type(content).__name__} for {url}; expected the file's bytes."
        )
    return content
