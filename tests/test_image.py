from __future__ import annotations

import contextlib
import gc
import importlib
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
from edgeclf.errors import ImageError, OptionError
from edgeclf.image import MAX_PIXELS, ImageSpec, decode_image, load_image
from edgeclf.runtimes.fake import fake_artifact

sys.path.append(str(Path(__file__).parent))
pictures = importlib.import_module("pictures")  # beside this file; the fuzzer uses it too

SPEC = ImageSpec(32, 48)
TILES_SPEC = ImageSpec(24, 32)  # 8 x 8 pixels for each of the pictures' tiles
PICTURES = pictures.pictures()
every_kind = pytest.mark.parametrize("name", PICTURES)


def scene(height: int = 240, width: int = 360) -> np.ndarray:
    """A smooth picture whose corners differ: red grows to the right, green downwards."""
    y, x = np.mgrid[0:1:height*1j, 0:1:width*1j]  # fmt: skip
    return np.stack([x * 255, y * 255, np.full_like(x, 60)], axis=-1).astype(np.uint8)


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


EXPECTED = load_image(scene(), SPEC)


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


MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV I;16 I;16B I;16L I"


@pytest.mark.parametrize("mode", MODES.split())
def test_white_is_white_in_every_mode_of_pil(mode: str) -> None:
    white = {"La": "LA", "RGBa": "RGBA", "PA": "P", "I;16": "I"}.get(mode, mode)
    if mode.startswith("I"):
        image = Image.new(mode, (8, 6), 0xFFFF)
    else:
        image = Image.new("RGB", (8, 6), "white").convert(white).convert(mode)
    assert (load_image(image, SPEC) == 255).all()


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point samples; expected 8 or 16 bits"):
        load_image(Image.new("F", (4, 4)), SPEC)
    with pytest.raises(ImageError, match="floating-point samples"):
        load_image(encode(Image.new("F", (4, 4)), "TIFF"), SPEC)


def test_colour_profiles_are_not_applied() -> None:
    image_cms = pytest.importorskip("PIL.ImageCms")
    srgb = image_cms.ImageCmsProfile(image_cms.createProfile("sRGB")).tobytes()
    # The profile of a screen whose red and blue are interchanged.
    swapped = srgb.replace(b"rXYZ", b"swap").replace(b"bXYZ", b"rXYZ").replace(b"swap", b"bXYZ")
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    shown = image_cms.profileToProfile(red, io.BytesIO(swapped), io.BytesIO(srgb))
    assert shown.getpixel((9, 9))[2] > 200, "the profile would make red blue"
    for format_, options in (("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        plain = encode(red, format_, **options)
        tagged = encode(red, format_, icc_profile=swapped, **options)
        with Image.open(io.BytesIO(tagged)) as opened:
            assert opened.info["icc_profile"] == swapped
            assert np.array_equal(load_image(opened, SPEC), load_image(plain, SPEC))
        assert np.array_equal(load_image(tagged, SPEC), load_image(plain, SPEC))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_counts_as_upright() -> None:
    content = encode(Image.fromarray(scene()), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert difference(load_image(content, SPEC), EXPECTED) < 2


def test_transparent_pixels_show_white() -> None:
    hidden_red = np.zeros((10, 10, 4), np.uint8)
    hidden_red[..., 0] = 255
    assert (load_image(encode(Image.fromarray(hidden_red), "PNG"), SPEC) == 255).all()
    assert (load_image(hidden_red, SPEC) == 255).all()


def test_palette_with_transparency_shows_white() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([255, 0, 0] * 256)
    assert (load_image(encode(image, "PNG", transparency=0), SPEC) == 255).all()


def test_grey_arrays_and_channels() -> None:
    grey = np.full((10, 10), 7, np.uint8)
    assert (load_image(grey, SPEC) == 7).all()
    assert (load_image(grey[..., None], SPEC) == 7).all()


def test_stretch_crop_and_letterbox() -> None:
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[:, 50:150] = 255  # a white square in the middle of black
    square = {r: load_image(wide, ImageSpec(64, 64, resize=r))  # type: ignore[arg-type]
              for r in ("stretch", "crop", "letterbox")}  # fmt: skip
    assert square["stretch"][32].min() == 0 and square["stretch"][:, 32].min() == 255
    assert square["crop"][:, 1:-1].min() == 255  # the filter reaches past the edge
    assert square["letterbox"][0, 0].tolist() == [127, 127, 127]
    assert square["letterbox"][32, 32].tolist() == [255, 255, 255]
    assert square["letterbox"][32, 2].tolist() == [0, 0, 0]


def test_scaled_decoding_stays_close_and_can_be_turned_off() -> None:
    content = encode(Image.fromarray(scene(1536, 2048)), "JPEG", quality=90)
    exact = load_image(content, ImageSpec(32, 48, scaled_decode=False))
    scaled = load_image(content, SPEC)
    assert difference(exact, scaled) <= 1
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        assert np.array_equal(exact, load_image(opened, SPEC))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Cannot read the 0 bytes given as an image: it is empty"),
        (b"not an image at all", "Cannot read"),
        (encode(Image.fromarray(scene()), "JPEG")[:4000], "truncated"),
        (encode(Image.fromarray(scene()), "PNG")[:400], "Cannot read"),
        (
            encode(Image.fromarray(scene()), "ICO"),
            "its content begins with.*Expected a file of type",
        ),
        (PICTURES["jpeg"].content[:20], "its header is damaged"),
    ],
)
def test_damaged_and_unlisted_files(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(content, SPEC)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", [name for name in PICTURES if name in {
    "jpeg", "png", "png interlaced", "gif", "webp", "tiff tiff_lzw", "bmp", "ppm", "avif"
}])  # fmt: skip
def test_half_a_picture_is_no_picture(name: str) -> None:
    content = PICTURES[name].content
    half = content[: len(content) * 6 // 10]
    with pytest.raises(ImageError):
        load_image(half, SPEC)
    try:
        image = Image.open(io.BytesIO(half))
    except OSError:  # Pillow has noticed by itself
        return
    with image, pytest.raises(ImageError):
        load_image(image, SPEC)


def test_a_damaged_png_is_not_taken_for_a_dark_picture() -> None:
    damaged = bytearray(PICTURES["png"].content)
    damaged[damaged.index(b"IDAT") + 60] ^= 0xFF
    with pytest.raises(ImageError, match="Cannot read"):
        load_image(bytes(damaged), SPEC)


def test_any_exception_of_a_decoder_becomes_an_image_error() -> None:
    pytest.importorskip("PIL.AvifImagePlugin", reason="needs Pillow 11.3")
    animated = bytearray(PICTURES["avif animated"].content)
    timescale = animated.index(b"mdhd") + 24
    animated[timescale : timescale + 4] = bytes(4)
    with pytest.raises(ImageError, match="division by zero") as caught:
        load_image(bytes(animated), SPEC)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_paths_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, message in (
        (tmp_path / "gone.jpg", r"gone\.jpg: No such file or directory\. Check the path"),
        (tmp_path, "Is a directory"),
        ("photo\0.jpg", r"Cannot open photo\\0\.jpg: embedded null"),
        ("", "No such file"),
    ):
        for way in {path, str(path)}:
            with pytest.raises(ImageError, match=message):
                load_image(way, SPEC)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg as an image: it is empty"):
        load_image(tmp_path / "empty.jpg", SPEC)
    (tmp_path / "locked.jpg").write_bytes(PICTURES["jpeg"].content)
    (tmp_path / "locked.jpg").chmod(0)
    if os.access(tmp_path / "locked.jpg", os.R_OK):  # root may read everything

        def denied(path: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("edgeclf.image.open", denied, raising=False)
    with pytest.raises(ImageError, match=r"locked\.jpg: Permission denied"):
        load_image(tmp_path / "locked.jpg", SPEC)


def test_a_named_pipe_is_read_and_closed(tmp_path: Path) -> None:
    path, content = tmp_path / "pipe", PICTURES["jpeg large"].content
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    assert np.array_equal(load_image(path, TILES_SPEC), load_image(content, TILES_SPEC))
    writer.join()
    gc.collect()  # a file that was left open would warn, which is an error here


def test_files_that_give_text(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PICTURES["jpeg"].content)

    class TextPipe(io.StringIO):
        def seekable(self) -> bool:
            return False

    with path.open(encoding="latin-1") as text:
        for source in (text, io.StringIO("text"), TextPipe("text")):
            with pytest.raises(ImageError, match="Expected a binary file, opened with 'rb'"):
                load_image(source, SPEC)  # type: ignore[arg-type]


def test_files_that_fail() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise LookupError("the line is dead")

    closed = io.BytesIO(PICTURES["jpeg"].content)
    closed.close()
    for source, message in ((Broken(), "the line is dead"), (closed, "closed file")):
        with pytest.raises(ImageError, match=message):
            load_image(source, SPEC)
    for name in ("jpeg", "png", "webp"):
        with Image.open(io.BytesIO(PICTURES[name].content)) as image:
            assert image.fp is not None
            image.fp.close()
            if name != "webp":  # which has read its file already
                with pytest.raises(ImageError, match="the PIL image given"):
                    load_image(image, SPEC)


def test_what_would_take_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sources: Callable[[bytes, Path], dict[str, Any]],
) -> None:
    content = PICTURES["jpeg"].content
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    monkeypatch.setattr("edgeclf.image.MAX_BYTES", len(content))
    for source in sources(content, path).values():
        load_image(source, SPEC)
    longer = content + b"\0"
    path.write_bytes(longer)
    for way, source in sources(longer, path).items():
        with pytest.raises(ImageError, match=f"bytes; the limit is {len(content)}"):
            load_image(source, SPEC)
            pytest.fail(way)
    path.write_bytes(content)
    monkeypatch.setattr("edgeclf.image.MAX_PIXELS", 64 * 48 - 1)
    with Image.open(path) as image:
        for source in (content, path, image, pictures.RGB):
            with pytest.raises(ImageError, match="64x48 pixels; the limit is 3,071 in all"):
                load_image(source, SPEC)
    monkeypatch.setattr("edgeclf.image.MAX_PIXELS", 64 * 48)
    load_image(content, SPEC)
    monkeypatch.setattr("edgeclf.image.MAX_SIDE", 63)
    with pytest.raises(ImageError, match="63 a side"):
        load_image(content, SPEC)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_decoding() -> None:
    pixels = np.zeros((1, 1), np.uint8)
    header = pictures.png(pixels, 8, 0)
    start = header.index(b"IHDR")

    def claiming(width: int, height: int) -> bytes:
        chunk = b"".join(n.to_bytes(4, "big") for n in (width, height)) + header[start + 12 :][:5]
        return header[: start - 4] + pictures.png_chunk(b"IHDR", chunk) + header[start + 21 :]

    load_image(claiming(1, 1), SPEC)
    assert MAX_PIXELS < 12000 * 12000
    with pytest.raises(ImageError, match="12000x12000 pixels; the limit is 89,478,485"):
        load_image(claiming(12000, 12000), SPEC)
    with pytest.raises(ImageError, match=r"too large to be decoded.*limit is 89,478,485"):
        load_image(claiming(20000, 20000), SPEC)
    with pytest.raises(ImageError, match=r"80000000x1 pixels; .* 65,535 a side"):
        load_image(claiming(80_000_000, 1), SPEC)  # its filter would take 1.3 GB


def test_a_progressive_jpeg_of_many_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = PICTURES["jpeg progressive"].content
    scan = content[content.rindex(b"\xff\xda") : -2]
    end = content[-2:]
    # Whatever is in a segment that is skipped is no scan.
    comment = b"\xff\xfe\x00\xca" + b"\xff\xda\xff\xd9" * 50
    start = content[:2] + comment
    load_image(start + content[2:], SPEC)
    load_image(content[:-2] + scan * 20 + end, SPEC)
    for many in (start + content[2:-2] + scan * 60 + end, content[:-2] + (comment + scan) * 60):
        with pytest.raises(ImageError, match="more than 50 scans"):
            load_image(many, SPEC)
    load_image(content + scan * 60, SPEC)  # behind its end, nothing is decoded


def test_a_large_ppm_that_is_decoded_in_python_is_refused() -> None:
    pixels = bytes(1025 * 1024)
    assert (load_image(b"P5 1025 1024 255\n" + pixels, SPEC) == 0).all()
    for kind in (b"P5 1025 1024 254\n", b"P1 1025 1024\n"):
        with pytest.raises(ImageError, match=r"limit for a PPM that is text.* is 1,048,576"):
            load_image(kind + pixels, SPEC)


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


def test_an_array_of_the_input_size_is_given_to_the_model_as_it_is() -> None:
    given: list[np.ndarray] = []

    class Recorder:
        def run(self, images: np.ndarray) -> np.ndarray:
            given.append(images.copy())
            return np.full((len(images), 2), 0.5, np.float32)

        def describe(self) -> None:
            raise NotImplementedError

        def close(self) -> None:
            pass

    spec = ImageSpec(48, 64)
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    classifier = Classifier(fake_artifact(["a", "b"], 48, 64), runtime=Recorder())  # type: ignore[arg-type]
    for array in (frame, np.asfortranarray(frame), frame[::-1, ::-1]):
        classifier.classify(array)
        assert np.array_equal(given[-1][0], array)
        assert np.array_equal(load_image(array, spec), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "array of float32; expected uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), "channels first"),
        (np.zeros((0, 4, 3), np.uint8), "empty array"),
    ],
)
def test_arrays_of_another_kind(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array, SPEC)


def test_other_types_are_named() -> None:
    with pytest.raises(ImageError, match="Received int"):
        load_image(3, SPEC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments", [{"height": 0}, {"width": 9000}, {"resize": "squash"}, {"kernel": "nearest"}]
)
def test_unusable_specs(arguments: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ImageSpec(**{"height": 32, "width": 32, **arguments})  # type: ignore[arg-type]
