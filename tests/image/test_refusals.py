"""Pictures that are refused: damaged, hostile, unreadable or of no listed kind."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.errors import ImageError
from edgeclf.image import MAX_PIXELS, ImageSpec, load_image
from edgeclf.image.limits import jpeg_bits
from support import pictures
from support.pictures import save, scene

SPEC = ImageSpec(32, 48)
PICTURES = pictures.pictures()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Cannot read the 0 bytes given as an image: it is empty"),
        (b"not an image at all", "Cannot read"),
        (save(Image.fromarray(scene()), "JPEG")[:4000], "truncated"),
        (save(Image.fromarray(scene()), "PNG")[:400], "Cannot read"),
        (b"RIFF\0\0\0\0AVI " + bytes(40), "its content begins with.*Expected a file of type"),
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


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point samples; expected 8 or 16 bits"):
        load_image(Image.new("F", (4, 4)), SPEC)
    with pytest.raises(ImageError, match="floating-point samples"):
        load_image(save(Image.new("F", (4, 4)), "TIFF"), SPEC)


def jpeg_of(bits: int) -> bytes:
    """A JPEG whose frame says so: what is behind it stays that of 8 bits."""
    content = PICTURES["jpeg"].content
    frame = content.index(b"\xff\xc0\x00\x11\x08")
    return content[: frame + 4] + bytes([bits]) + content[frame + 5 :]


def tiff_of_floats() -> bytes:
    """RGB in 32 bits of floating point; Pillow knows of none."""
    floats = scene(8, 8).astype(np.float32).view(np.uint32)
    return pictures.tiff(floats, more={339: [3, 3, 3]})


RAW = "camera's raw file.*Save it as JPEG or PNG"
PREVIEW = "or pass PIL.Image.open"
NAMED = {
    "jpeg of 12 bits": (jpeg_of(12), "a JPEG of 12 bits a channel; expected 8"),
    "jpeg of 16 bits": (jpeg_of(16), "a JPEG of 16 bits a channel; expected 8"),
    "tiff of floats": (tiff_of_floats(), "a TIFF of floating-point samples"),
    "tiff of one float": (save(Image.new("F", (4, 4)), "TIFF"), "a TIFF of floating-point samples"),
    "tiff of complex samples": (
        pictures.tiff(np.zeros((8, 8), np.uint64), more={339: [6]}), "a TIFF of complex samples",
    ),
    "tiff of a sensor": (
        pictures.tiff(np.zeros((8, 8), np.uint16), photometric=32803),
        r"a TIFF of a sensor's samples, a colour filter array \(CFA\)",
    ),
    "tiff of linear raw": (
        pictures.tiff(np.zeros((8, 8, 3), np.uint16), photometric=34892),
        "a TIFF of a sensor's samples, LinearRaw",
    ),
    "tiff of long samples": (
        pictures.tiff(np.zeros((8, 8), np.uint32)), "a TIFF of unsigned samples of 32 bits",
    ),
    "big-endian tiff of long samples": (
        pictures.tiff(np.zeros((8, 8), np.uint32), ">"), "a TIFF of unsigned samples of 32 bits",
    ),
    "tiff of a kind that Pillow does not decode": (
        pictures.tiff(np.zeros((8, 8), np.uint16), ">", photometric=0),
        "a TIFF with BitsPerSample 16 and PhotometricInterpretation 0",
    ),
    "openexr": (b"v/1\1" + bytes(60), "it is OpenEXR"),
    "pfm": (b"PF\n4 4\n-1.0\n" + bytes(192), "it is PFM"),
    "pfm in grey": (b"Pf\n4 4\n-1.0\n" + bytes(64), "it is PFM"),
    "hdr": (b"#?RADIANCE\n", "it is Radiance HDR"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is SVG"),
    "svg behind a comment": (
        b"<?xml version='1.0'?>\n<!-- " + b"x" * 200 + b" -->\n<svg>", "it is SVG",
    ),
    "ico": (save(Image.fromarray(scene()), "ICO"), r"it is an icon \(ICO\)"),
    "jpeg xl": (b"\xff\x0a" + bytes(60), "it is JPEG XL"),
    "jpeg xl in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "it is JPEG XL"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "it is JPEG 2000"),
    "jpeg 2000 stream": (b"\xff\x4f\xff\x51" + bytes(60), "it is JPEG 2000"),
    "dng": (pictures.tiff(scene(8, 8), more={50706: [1]}), PREVIEW),
    "dng little": (pictures.tiff(scene(8, 8), ">", more={50706: [1]}), PREVIEW),
    "nef, arw": (pictures.tiff(scene(8, 8), more={254: [1], 330: [8]}), PREVIEW),
    "dng of a kind that is not decoded": (
        pictures.tiff(scene(8, 8)[..., 0].astype(np.uint32), more={50706: [1], 339: [9]}), PREVIEW,
    ),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0\0\0\0\0\0\0" + bytes(60), RAW),
    "cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(60), RAW),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(60), RAW),
    "orf": (b"IIRO\x08\0\0\0" + bytes(60), RAW),
    "rw2": (b"IIU\0\x18\0\0\0" + bytes(60), RAW),
}  # fmt: skip


def test_svg_in_a_pages_text_is_no_svg() -> None:
    with pytest.raises(ImageError, match="its content begins with b'<!DOCTYP'"):
        load_image(b"<!DOCTYPE html><html><svg></svg>", SPEC)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("order", "<>")
def test_grey_below_black_is_refused(dtype: type, order: str) -> None:
    samples = np.full((8, 8), -50, dtype)
    content = pictures.tiff(samples, order, more={339: [2]})
    words = "grey samples from -50 to -50; expected 0 to 65535"
    with pytest.raises(ImageError, match=words):
        load_image(content, SPEC)
    with Image.open(io.BytesIO(content)) as image, pytest.raises(ImageError, match=words):
        load_image(image, SPEC)


def test_long_samples_are_refused_of_a_pil_image_too() -> None:
    content = pictures.tiff(np.full((8, 8), 2**32 - 1, np.uint32))
    with (
        Image.open(io.BytesIO(content)) as image,
        pytest.raises(ImageError, match="unsigned samples of 32 bits"),
    ):
        load_image(image, SPEC)
    with pytest.raises(ImageError, match="from 70000 to 70000"):
        load_image(Image.new("I", (8, 8), 70_000), SPEC)


@pytest.mark.parametrize("name", NAMED)
def test_an_intact_file_of_another_kind_is_named(name: str) -> None:
    content, words = NAMED[name]
    with pytest.raises(ImageError, match=words) as caught:
        load_image(content, SPEC)
    assert "damaged" not in str(caught.value)


def test_the_preview_of_a_raw_file_is_given_to_who_asks_for_it() -> None:
    with Image.open(io.BytesIO(NAMED["dng"][0])) as preview:
        assert (load_image(preview, ImageSpec(8, 8)) == scene(8, 8)).all()


@pytest.mark.parametrize(
    "more", [{254: [1]}, {330: [8]}, {339: [1, 1, 1]}, {254: [0], 330: [8]}, {254: [2]}]
)
def test_a_usual_tiff_is_none_of_these(more: dict[int, list[int]]) -> None:
    content = pictures.tiff(scene(8, 8), more=more)
    assert (load_image(content, ImageSpec(8, 8)) == scene(8, 8)).all()


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg grey", "jpeg restart markers"])
def test_the_bits_of_a_usual_jpeg_are_found(name: str) -> None:
    assert jpeg_bits(PICTURES[name].content) == 8
    assert jpeg_bits(PICTURES[name].content[:20]) is None
    assert jpeg_bits(b"") is None


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

        monkeypatch.setattr("edgeclf.image.streams.open", denied, raising=False)
    with pytest.raises(ImageError, match=r"locked\.jpg: Permission denied"):
        load_image(tmp_path / "locked.jpg", SPEC)


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
