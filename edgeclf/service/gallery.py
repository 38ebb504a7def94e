"""Sample pictures that the page offers to try: those of one folder, few and small."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeclf.datasets.folders import by_path, is_photo, reading
from edgeclf.errors import OptionError
from edgeclf.image.formats import FORMATS, format_of
from edgeclf.service.asgi import Receive, Scope, Send, respond, respond_json
from edgeclf.service.problem import Problem

MOST = 24
MOST_BYTES = 8 * 2**20  # of one picture
_HEAD_BYTES = 1024  # enough to tell a format


class Gallery:
    """The routes. Only files that the folder held at the start are ever read.

    Args:
        folder: Where the pictures are; None for no gallery.

    Raises:
        DataError: The folder cannot be read.
        OptionError: There is no picture in it.
    """

    def __init__(self, folder: str | None) -> None:
        self._files = {} if folder is None else _find(Path(folder))

    async def list(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The sample pictures that the page offers, by name."""
        await respond_json(send, {"pictures": list(self._files)})

    async def picture(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One of the sample pictures."""
        name = scope["path_params"]["name"]
        path = self._files.get(name)
        content = None if path is None else await asyncio.to_thread(_read, path)
        kind = None if content is None else format_of(content[:_HEAD_BYTES])
        if content is None or kind is None:
            raise Problem(
                404, "no_picture_here",
                f"There is no sample picture {name!r}, or its file has changed; "
                "/v1/gallery lists them.",
            )  # fmt: skip
        headers = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
        await respond(send, 200, content, headers, f"image/{kind.lower()}".encode())


def _find(folder: Path) -> dict[str, Path]:
    with reading(folder):
        files = sorted((each for each in folder.iterdir() if is_photo(each.name)), key=by_path)
    found = {each.name: each for each in files if _is_picture(each)}
    if not found:
        raise OptionError(
            f"{folder} holds no picture to show; expected files of type {', '.join(FORMATS)}, "
            f"each of at most {MOST_BYTES:,} bytes."
        )
    return dict(list(found.items())[:MOST])


def _is_picture(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return False
    with path.open("rb") as file:
        return format_of(file.read(_HEAD_BYTES)) is not None


def _read(path: Path) -> bytes | None:
    """A file's bytes; None where it has gone, or grown too large."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        return None
    return content if len(content) <= MOST_BYTES else None
