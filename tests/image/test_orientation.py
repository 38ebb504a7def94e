"""What turns a picture: EXIF, in AVIF and HEIF their own boxes, and nothing else."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from edgeclf.image import ImageSpec, load_image
from support.pictures import COLOURS, RGB, TILE, VIDEO, YCC, lay, pictures, png_chunk, save, tiff

SPEC = ImageSpec(*RGB.shape[:2], scaled_decode=False)
NO_SUCH_TAG = 0x0113


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
        b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % orientation
    )


def exif(orientation: int, tag: int = 0x0112) -> Image.Exif:
    block = Image.Exif()
    block[tag] = orientation
    return block


def stored(orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(lay(RGB, orientation)))


def png_with_xmp(picture: Image.Image, orientation: int, *, behind: bool) -> bytes:
    content = save(picture, "PNG")
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation)
    at = content.index(b"IEND" if behind else b"IDAT") - 4
    return content[:at] + png_chunk(b"iTXt", text) + content[at:]


WITH_XMP: dict[str, Callable[[Image.Image, int], bytes]] = {
    "jpeg": lambda picture, o: save(picture, "JPEG", quality=95, xmp=xmp(o)),
    "webp": lambda picture, o: save(picture, "WEBP", lossless=True, xmp=xmp(o)),
    "png": lambda picture, o: png_with_xmp(picture, o, behind=False),
    "png, behind the pixels": lambda picture, o: png_with_xmp(picture, o, behind=True),
    "tiff": lambda picture, o: save(picture, "TIFF", tiffinfo={700: xmp(o)}),
    "avif": lambda picture, o: save(picture, "AVIF", quality=90, xmp=xmp(o)),
}


def assert_shows(tensor: np.ndarray, pixels: np.ndarray) -> None:
    centre = slice(TILE // 2, None, TILE)
    difference = tensor[centre, centre].astype(int) - pixels[centre, centre]
    assert np.abs(difference).max() <= max(YCC, VIDEO)


@pytest.mark.parametrize("kind", WITH_XMP)
@pytest.mark.parametrize("orientation", [3, 6])
def test_xmp_turns_nothing(kind: str, orientation: int) -> None:
    if kind == "avif":
        pytest.importorskip("PIL.AvifImagePlugin", reason="needs Pillow 11.3")
    content = WITH_XMP[kind](Image.fromarray(RGB), orientation)
    assert b"tiff:Orientation" in content
    assert_shows(load_image(content, SPEC), RGB)


def test_exif_counts_where_xmp_says_something_else() -> None:
    content = save(stored(6), "JPEG", quality=95, exif=exif(6), xmp=xmp(3))
    assert_shows(load_image(content, SPEC), RGB)
    assert_shows(load_image(save(stored(6), "WEBP", lossless=True, exif=exif(6), xmp=xmp(1)),
                            SPEC), RGB)  # fmt: skip


def test_the_callers_image_keeps_its_xmp() -> None:
    with Image.open(io.BytesIO(WITH_XMP["webp"](Image.fromarray(RGB), 6))) as image:
        assert_shows(load_image(image, SPEC), RGB)
        assert b"tiff:Orientation" in image.info["xmp"]
        assert image.getexif()[0x0112] == 6  # as Pillow has it


def test_avif_is_turned_by_its_own_box_and_not_by_exif() -> None:
    pytest.importorskip("PIL.AvifImagePlugin", reason="needs Pillow 11.3")
    assert b"irot" in pictures()["avif orientation 6"].content  # upright when read: see test_files
    # Pillow writes a box for what EXIF says; so the tag gets its number afterwards.
    content = save(Image.fromarray(RGB), "AVIF", quality=90, exif=exif(6, NO_SUCH_TAG))
    for order in "<>":
        content = content.replace(struct.pack(f"{order}HHI", NO_SUCH_TAG, 3, 1),
                                  struct.pack(f"{order}HHI", 0x0112, 3, 1))  # fmt: skip
    assert b"irot" not in content and b"Exif" in content
    assert_shows(load_image(content, SPEC), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_tag_of_a_tiff_is_exif_s(orientation: int) -> None:
    content = tiff(lay(RGB, orientation), orientation=orientation)
    assert (load_image(content, SPEC) == RGB).all()


def test_what_imagemagick_writes_into_a_png_is_exif() -> None:
    block = exif(6).tobytes()
    profile = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    content = save(stored(6), "PNG")
    at = content.index(b"IDAT") - 4
    chunk = png_chunk(b"tEXt", b"Raw profile type exif\0" + profile)
    assert (load_image(content[:at] + chunk + content[at:], SPEC) == RGB).all()


def test_the_tiles_tell_every_orientation_apart() -> None:
    seen = {lay(COLOURS, orientation).tobytes() for orientation in range(1, 9)}
    assert len(seen) == 8
