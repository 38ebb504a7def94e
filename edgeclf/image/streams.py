"""Everything that a picture can be read from, as one seekable stream of bounded size."""

from __future__ import annotations

import io
import os
import re
from typing import IO, TypeAlias, TypeGuard, cast

from edgeclf.errors import ImageError, mapped
from edgeclf.image import limits

FileSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

_PIECE = 2**20
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter would be a drive


def is_url(source: object) -> TypeGuard[str]:
    """Whether a source is a URL; those are for a fetcher, `load_image` refuses them."""
    return isinstance(source, str) and _URL.match(source) is not None


def open_stream(source: FileSource) -> tuple[str, IO[bytes]]:
    """Opens what a picture is read from.

    Args:
        source: A path, the bytes of a file, or a binary file object.

    Returns:
        What to call it in a message, and a seekable stream at its start; `source` itself if that
        is one.

    Raises:
        ImageError: It is a URL, cannot be read, or has more than `limits.MAX_BYTES`.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)  # costs nothing for bytes; a view may have gaps
        name, stream = f"the {len(content)} bytes given", cast(IO[bytes], io.BytesIO(content))
    elif is_url(source):
        raise ImageError(
            f"{source} is a URL; edgeclf fetches nothing by itself. Pass what does, as in "
            "Classifier(model, fetch=lambda url: urllib.request.urlopen(url).read())."
        )
    elif isinstance(source, str | os.PathLike):
        name = os.fsdecode(source).replace("\0", "\\0")
        try:
            stream = open(source, "rb")  # noqa: SIM115 - handed on
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise ImageError(f"Cannot open {name}: {reason}. Check the path.") from exc
    elif hasattr(source, "read"):
        name, stream = "the file object given", source
    else:
        raise ImageError(
            f"Received {type(source).__name__}; expected a path, bytes, a binary file object, "
            "a PIL image or a uint8 array [H, W, 3]."
        )
    bounded = None
    try:
        bounded = _bounded(stream, name)
        return name, bounded
    finally:  # not needed any more after an error, or when all of it is in memory
        if stream is not bounded and stream is not source:
            stream.close()


def _bounded(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream from its start, if it is not too large; in memory, if it cannot be wound back."""
    with mapped(
        ImageError, f"Cannot read {name}", "Expected a binary file, opened with 'rb'."
    ):  # whatever the caller's object raises
        if hasattr(stream, "seek") and getattr(stream, "seekable", lambda: True)():
            stream.seek(0, os.SEEK_END)
            size, bounded = stream.tell(), stream
            if not isinstance(stream.read(0), bytes):
                raise TypeError("it gives text")
        else:
            bounded = io.BytesIO()
            # A pipe or a socket may give less than it is asked for.
            while bounded.tell() <= limits.MAX_BYTES and (part := stream.read(_PIECE)):
                bounded.write(part)
            size = bounded.tell()
        bounded.seek(0)
    if size > limits.MAX_BYTES:
        known = f"{size:,}" if bounded is stream else f"more than {limits.MAX_BYTES:,}"
        raise ImageError(
            f"{name} has {known} bytes; the limit is {limits.MAX_BYTES:,}. "
            "Shrink the picture before classifying."
        )
    return bounded
