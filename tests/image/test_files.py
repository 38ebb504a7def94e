"""Every kind of picture file, by every way in."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf import Classifier
from edgeclf.errors import ImageError
from edgeclf.image import ImageSpec, decode_image, load_image
from edgeclf.runtimes.fake import fake_artifact
from support import pictures
from support.pictures import difference

SPEC = ImageSpec(32, 48)
TILES_SPEC = ImageSpec(24, 32)  # 8 x 8 pixels for each of the pictures' tiles
PICTURES = pictures.pictures()
every_kind = pytest.mark.parametrize("name", PICTURES)


def centres(tensor: np.ndarray) -> np.ndarray:
    """Of each tile what no filter or codec mixes with its neighbours."""
    return tensor.reshape(3, 8, 4, 8, 3)[:, 2:6, :, 2:6].astype(int)


@every_kind
@pytest.mark.parametrize("scaled_decode", [True, False])
def test_every_kind_of_file_shows_its_colours(name: str, scaled_decode: bool) -> None:
    picture = PICTURES[name]
    spec = ImageSpec(24, 32, scaled_decode=scaled_decode)
    tensor, expected = load_image(picture.content, spec), load_image(picture.pixels, spec)
    assert tensor.shape == (24, 32, 3) and tensor.dtype == np.uint8
    assert np.abs(centres(tensor) - centres(expected)).max() <= picture.tolerance
    if picture.tolerance == pictures.EXACT:
        assert np.array_equal(tensor, expected)


@pytest.mark.parametrize("name", [name for name in PICTURES if name.endswith("large")])
def test_large_jpegs_are_decoded_at_an_eighth(name: str) -> None:
    # 512 x 384 pixels stand upright for an input of 32 x 24: an eighth is just twice that.
    assert decode_image(PICTURES[name].content, TILES_SPEC).size == (64, 48)
    exact = ImageSpec(24, 32, scaled_decode=False)
    assert decode_image(PICTURES[name].content, exact).size == (512, 384)


class Pipe(io.RawIOBase):
    """A stream that cannot be wound back and gives less than it is asked for."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part, self._left = self._left[:700], self._left[700:]
        buffer[: len(part)] = part
        return len(part)


class Minimal:
    """The least that can be called a file: not even `seekable`."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell
        self.seek(5)


def at_its_end(content: bytes) -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.read()
    return stream


@pytest.fixture
def sources() -> Iterator[Callable[[bytes, Path], dict[str, Any]]]:
    """Every way to hand in a file: sources(content, path) by what they are called."""
    with contextlib.ExitStack() as opened:

        def make(content: bytes, path: Path) -> dict[str, Any]:
            spaced = np.frombuffer(content, np.uint8).repeat(2).tobytes()
            return {
                "path": path,
                "str": str(path),
                "bytes": content,
                "bytearray": bytearray(content),
                "memoryview": memoryview(content),
                "memoryview with gaps": memoryview(spaced)[::2],
                "file": opened.enter_context(path.open("rb")),
                "file without a buffer": opened.enter_context(path.open("rb", buffering=0)),
                "file at its end": at_its_end(content),
                "pipe": Pipe(content),
                "minimal file": Minimal(content),
                "PIL image of a path": opened.enter_context(Image.open(path)),
                "PIL image of a stream": opened.enter_context(Image.open(io.BytesIO(content))),
            }

        yield make


@every_kind
def test_every_way_in_gives_the_same_bytes(
    name: str, tmp_path: Path, sources: Callable[[bytes, Path], dict[str, Any]]
) -> None:
    content = PICTURES[name].content
    expected = load_image(content, TILES_SPEC)
    path = tmp_path / "picture.dat"
    path.write_bytes(content)
    for way, source in sources(content, path).items():
        assert np.array_equal(load_image(source, TILES_SPEC), expected), way
        assert not getattr(source, "closed", False), f"{way}: the caller's file was closed"


def test_what_would_take_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sources: Callable[[bytes, Path], dict[str, Any]],
) -> None:
    content = PICTURES["jpeg"].content
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    monkeypatch.setattr("edgeclf.image.limits.MAX_BYTES", len(content))
    for source in sources(content, path).values():
        load_image(source, SPEC)
    longer = content + b"\0"
    path.write_bytes(longer)
    for way, source in sources(longer, path).items():
        with pytest.raises(ImageError, match=f"bytes; the limit is {len(content)}"):
            load_image(source, SPEC)
            pytest.fail(way)
    path.write_bytes(content)
    monkeypatch.setattr("edgeclf.image.limits.MAX_PIXELS", 64 * 48 - 1)
    with Image.open(path) as image:
        for source in (content, path, image, pictures.RGB):
            with pytest.raises(ImageError, match="64x48 pixels; the limit is 3,071 in all"):
                load_image(source, SPEC)
    monkeypatch.setattr("edgeclf.image.limits.MAX_PIXELS", 64 * 48)
    load_image(content, SPEC)
    monkeypatch.setattr("edgeclf.image.limits.MAX_SIDE", 63)
    with pytest.raises(ImageError, match="63 a side"):
        load_image(content, SPEC)


def test_a_named_pipe_is_read_and_closed(tmp_path: Path) -> None:
    path, content = tmp_path / "pipe", PICTURES["jpeg large"].content
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    assert np.array_equal(load_image(path, TILES_SPEC), load_image(content, TILES_SPEC))
    writer.join()
    gc.collect()  # a file that was left open would warn, which is an error here


def test_urls() -> None:
    content = PICTURES["jpeg"].content
    url = "https://example.org/photo.jpg"
    artifact = fake_artifact(["dark", "bright"])
    with pytest.raises(ImageError, match="fetches nothing by itself"):
        load_image(url, SPEC)

    def gone(url: str) -> bytes:
        raise TimeoutError("no route")

    for fetch, message in (
        (None, "fetches nothing by itself"),
        (gone, f"Cannot fetch {url}: no route"),
        (lambda url: "text", "fetcher gave str"),
        (lambda url: b"", "it is empty"),
    ):
        with pytest.raises(ImageError, match=message):
            Classifier(artifact, runtime="fake", fetch=fetch).classify(url)
    fetching = Classifier(artifact, runtime="fake", fetch=lambda url: content)
    assert fetching.classify(url).probabilities == fetching.classify(content).probabilities


def test_the_callers_pil_image_stays_as_it_was() -> None:
    content = PICTURES["jpeg large"].content
    with Image.open(io.BytesIO(content)) as image:
        first = load_image(image, TILES_SPEC)
        assert image.size == (512, 384)
        assert np.array_equal(load_image(image, TILES_SPEC), first)
        image.load()  # now it is reduced from full size
        assert np.abs(centres(load_image(image, TILES_SPEC)) - centres(first)).max() <= 1


def test_a_pil_image_shows_the_frame_it_is_at() -> None:
    for name in ("gif animated", "apng", "webp animated", "tiff two pages"):
        with Image.open(io.BytesIO(PICTURES[name].content)) as image:
            first = load_image(PICTURES[name].content, TILES_SPEC)
            image.seek(1)
            assert difference(load_image(image, TILES_SPEC), first) > 20, name


def test_heic_names_the_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # type: ignore[arg-type]
    photo = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"of type HEIF.*pip install 'edgeclf\[heic\]'"):
        load_image(photo, SPEC)


def test_heic_needs_no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif", reason="needs edgeclf[heic]")
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    assert load_image(PICTURES["heic"].content, SPEC).shape == (32, 48, 3)
    assert "HEIF" in Image.OPEN
