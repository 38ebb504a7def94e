"""What a browser's pretended camera shows: pictures as a film that Chromium plays for ever."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def write_film(path: Path, pictures: Iterable[Image.Image], size: tuple[int, int]) -> list[str]:
    """Writes uncompressed video, YUV4MPEG2, and returns the options that make it Chromium's camera.

    Args:
        path: Ends in ``.y4m``.
        pictures: One for each frame.
        size: Width and height of a frame, both even.
    """
    with path.open("wb") as file:
        # C420 alone: Chromium does not know the kinds that other programs write.
        file.write(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 C420\n" % size)
        for picture in pictures:
            y, *chroma = picture.convert("RGB").resize(size).convert("YCbCr").split()
            small = [each.resize((size[0] // 2, size[1] // 2)) for each in chroma]
            file.write(b"FRAME\n" + b"".join(each.tobytes() for each in (y, *small)))
    return ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={path}"]  # fmt: skip
