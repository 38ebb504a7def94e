"""The one preprocessing: a picture's colours, its size, and what is no picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edgeclf import Classifier, Metadata
from edgeclf.errors import ImageError, OptionError
from edgeclf.image import ImageSpec, load_image, resize_image
from edgeclf.runtimes.fake import fake_artifact
from support.pictures import difference, save, scene, tiff

SPEC = ImageSpec(32, 48)
EXPECTED = load_image(scene(), SPEC)
MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV I;16 I;16B I;16L I"


@pytest.mark.parametrize("mode", MODES.split())
def test_white_is_white_in_every_mode_of_pil(mode: str) -> None:
    white = {"La": "LA", "RGBa": "RGBA", "PA": "P", "I;16": "I"}.get(mode, mode)
    if mode.startswith("I"):
        image = Image.new(mode, (8, 6), 0xFFFF)
    else:
        image = Image.new("RGB", (8, 6), "white").convert(white).convert(mode)
    assert (load_image(image, SPEC) == 255).all()


def test_colour_profiles_are_not_applied() -> None:
    image_cms = pytest.importorskip("PIL.ImageCms")
    srgb = image_cms.ImageCmsProfile(image_cms.createProfile("sRGB")).tobytes()
    # The profile of a screen whose red and blue are interchanged.
    swapped = srgb.replace(b"rXYZ", b"swap").replace(b"bXYZ", b"rXYZ").replace(b"swap", b"bXYZ")
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    shown = image_cms.profileToProfile(red, io.BytesIO(swapped), io.BytesIO(srgb))
    assert shown.getpixel((9, 9))[2] > 200, "the profile would make red blue"
    for format_, options in (("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        plain = save(red, format_, **options)
        tagged = save(red, format_, icc_profile=swapped, **options)
        with Image.open(io.BytesIO(tagged)) as opened:
            assert opened.info["icc_profile"] == swapped
            assert np.array_equal(load_image(opened, SPEC), load_image(plain, SPEC))
        assert np.array_equal(load_image(tagged, SPEC), load_image(plain, SPEC))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_counts_as_upright() -> None:
    content = save(Image.fromarray(scene()), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert difference(load_image(content, SPEC), EXPECTED) < 2


def test_transparent_pixels_show_white() -> None:
    hidden_red = np.zeros((10, 10, 4), np.uint8)
    hidden_red[..., 0] = 255
    assert (load_image(save(Image.fromarray(hidden_red), "PNG"), SPEC) == 255).all()
    assert (load_image(hidden_red, SPEC) == 255).all()


def test_palette_with_transparency_shows_white() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([255, 0, 0] * 256)
    assert (load_image(save(image, "PNG", transparency=0), SPEC) == 255).all()


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


@pytest.mark.parametrize("size", [(400, 200), (100, 400), (33, 97)])  # the last two are tall
def test_rows_come_before_columns_whatever_pillow_prefers(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    kernel = Image.Resampling.BILINEAR
    rows = image.resize((48, size[1]), kernel)
    expected = np.asarray(rows.resize((48, 48), kernel))
    np.testing.assert_array_equal(resize_image(image, ImageSpec(48, 48)), expected)


def test_scaled_decoding_stays_close_and_can_be_turned_off() -> None:
    content = save(Image.fromarray(scene(1536, 2048)), "JPEG", quality=90)
    exact = load_image(content, ImageSpec(32, 48, scaled_decode=False))
    scaled = load_image(content, SPEC)
    assert difference(exact, scaled) <= 1
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        assert np.array_equal(exact, load_image(opened, SPEC))


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
    "arguments",
    [{"height": 0}, {"width": 9000}, {"resize": "squash"}, {"kernel": "nearest"},
     {"resize": "crop", "crop_share": 0.0}, {"resize": "crop", "crop_share": 1.01},
     {"resize": "crop", "crop_share": float("nan")}, {"crop_share": 0.875}],
)  # fmt: skip
def test_unusable_specs(arguments: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ImageSpec(**{"height": 32, "width": 32, **arguments})  # type: ignore[arg-type]


def test_a_crops_share_is_what_the_centre_of_the_whole_crop_shows() -> None:
    rows, columns = np.mgrid[:400, :600]
    picture = np.stack([rows // 2, columns // 3, rows // 2], axis=2).astype(np.uint8)
    whole = load_image(picture, ImageSpec(256, 256, resize="crop", kernel="bicubic"))
    spec = ImageSpec(224, 224, resize="crop", kernel="bicubic", crop_share=0.875)
    cut = load_image(picture, spec).astype(int)
    assert np.abs(cut - whole[16:-16, 16:-16]).max() <= 1  # 16 / 256 on either side
    assert np.abs(cut - whole[:224, :224]).max() > 8
    assert "crop_share" not in ImageSpec(224, 224, resize="crop").to_dict()
    metadata = Metadata("m", ("a", "b"), spec)
    assert Metadata.from_json(metadata.to_json()).image == spec
    assert '"crop_share"' not in Metadata("m", ("a", "b"), ImageSpec(8, 8)).to_json()


@pytest.mark.parametrize("level", [0, 1, 2048, 4095])
def test_twelve_bits_are_scaled_by_their_own_white(level: int) -> None:
    pair = [level >> 4, (level & 15) << 4 | level >> 8, level & 255]  # two samples in three bytes
    content = tiff(np.tile(np.array(pair, np.uint8), (4, 2)), bits=12)
    assert set(load_image(content, ImageSpec(4, 4)).ravel()) == {level >> 4}
    with Image.open(io.BytesIO(content)) as image:
        assert set(load_image(image, ImageSpec(4, 4)).ravel()) == {level >> 4}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_no_negative(dtype: type) -> None:
    top = np.iinfo(dtype).max
    samples = np.array([[0, top // 4], [top // 2, top]], dtype)
    pixels = load_image(tiff(samples, photometric=0), ImageSpec(2, 2))
    assert pixels[..., 0].tolist() == [[255, 192], [128, 0]]


@pytest.mark.parametrize(("dtype", "level"), [(np.int8, 100), (np.int16, 100 << 8 & 0x7FFF)])
@pytest.mark.parametrize("order", "<>")
def test_signed_grey_that_is_not_negative_is_as_unsigned(
    dtype: type, level: int, order: str
) -> None:
    samples = np.full((4, 4), level, dtype)
    assert load_image(tiff(samples, order, more={339: [2]}), ImageSpec(4, 4)).max() == 100
