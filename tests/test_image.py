from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.errors import ImageError, OptionError
from edgeclf.image import MAX_PIXELS, ImageSpec, load_image

SPEC = ImageSpec(32, 48)
RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_formats(format_: str) -> None:
    image = load_image(encode(Image.fromarray(scene()), format_), SPEC)
    assert image.shape == (32, 48, 3) and image.dtype == np.uint8
    assert difference(image, EXPECTED) < 2


def test_every_way_in_gives_the_same_bytes(tmp_path: Path) -> None:
    content = encode(Image.fromarray(scene(1200, 1600)), "JPEG", quality=90)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    from_bytes = load_image(content, SPEC)
    assert np.array_equal(load_image(path, SPEC), from_bytes)
    assert np.array_equal(load_image(str(path), SPEC), from_bytes)
    assert np.array_equal(load_image(io.BytesIO(content), SPEC), from_bytes)
    with Image.open(path) as image:
        assert np.array_equal(load_image(image, SPEC), from_bytes)
        assert image.size == (1600, 1200), "the caller's image was changed"
        image.load()
        assert difference(load_image(image, SPEC), from_bytes) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(scene())
    if inverse is not None:
        stored = stored.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(load_image(encode(stored, "JPEG", exif=exif), SPEC), EXPECTED) < 2


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


def test_sixteen_bit_grey_keeps_its_upper_bits() -> None:
    values = np.full((10, 10), 0x8040, np.uint16)
    assert (load_image(encode(Image.fromarray(values), "PNG"), SPEC) == 0x80).all()


def test_cmyk_becomes_rgb() -> None:
    image = Image.fromarray(scene()).convert("CMYK")
    assert difference(load_image(encode(image, "JPEG"), SPEC), EXPECTED) < 12


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (10, 10), c) for c in ("red", "blue")]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(gif, SPEC)[0, 0].tolist() == [255, 0, 0]


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
        (b"", "Cannot read the 0 bytes"),
        (b"not an image at all", "Cannot read"),
        (encode(Image.fromarray(scene()), "JPEG")[:4000], "truncated"),
        (encode(Image.fromarray(scene()), "PNG")[:400], "Cannot read"),
        (encode(Image.fromarray(scene()), "ICO"), "its content begins with.*Expected a file of type JPEG"),
    ],
)
def test_damaged_and_unlisted_files(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(content, SPEC)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: No such file"):
        load_image(tmp_path / "gone.jpg", SPEC)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_decoding() -> None:
    header = encode(Image.new("1", (12000, 12000)), "PNG")
    assert MAX_PIXELS < 12000 * 12000
    with pytest.raises(ImageError, match="12000x12000"):
        load_image(header, SPEC)


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
