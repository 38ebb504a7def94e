"""The page's arithmetic in real browsers: the certificate replayed, tensors held to Python's."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import ImageCms

from edgeclf.image import ImageSpec, load_image
from support import REPOSITORY, pages, pictures
from support.browsers import Chromium, Firefox
from support.pages import REPLAYED, needs_engines
from support.pictures import save, scene
from support.services import Running

MUGS = REPOSITORY / "examples" / "mugs"

# What browsers decode otherwise than Pillow, and by how many levels of 255 in the mean at most.
# AVIF: other conversions of colour, and of the edges of transparency. BMP of 16 bits: 5 bits are
# widened to 8 otherwise. YCCK: converted in another order.
ROUNDED = {
    "chromium": {"jpeg ycck": 1, "jpeg ycck large": 1, "bmp 16 bits": 1, "avif alpha": 4,
                 "avif animated": 5},
    # 16 bits are rounded, not cut; transparency is rounded otherwise; inks need a full decode.
    "firefox": {"jpeg ycck": 1, "jpeg ycck large": 2, "jpeg cmyk large": 2, "bmp 16 bits": 1,
                "png grey 16 bits": 1, "png 16 bits": 1, "png rgba": 1, "png rgba 16 bits": 1,
                "png grey and alpha": 1, "png grey and alpha 16 bits": 1,
                "png palette and alpha": 1, "png transparent colour 16 bits": 1,
                "png transparent grey 16 bits": 1, "png interlaced rgba 16 bits": 1,
                "webp alpha": 1, "bmp rgba": 1, "avif 4:2:0": 8, "avif alpha": 2},
}  # fmt: skip


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def page(
    request: pytest.FixtureRequest, service: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium | Firefox]:
    folder = tmp_path_factory.mktemp(request.param)
    with pages.opened(request.param, folder) as browser:
        browser.goto(f"{service.url}/")
        yield browser


@needs_engines
@pytest.mark.parametrize("name", REPLAYED)
def test_the_certificate_is_replayed_to_the_bit(name: str, page: Chromium | Firefox) -> None:
    found = page.evaluate(
        pages.IMPORTS
        + f"""
      const [api, engine] = [new Api(), new Engine()];
      const model = (await api.models()).find((each) => each.model === "{name}");
      const loaded = await engine.load(await api.file(model), await api.engines());
      engine.end("engine_failed");
      return {{ ...loaded.replay, sha256: loaded.sha256, listed: model.sha256 }};
    }})()"""
    )
    assert found["verdict"] == "identical", found
    assert found["sha256"] == found["listed"] and found["images"] >= 2
    # Only a browser whose decoder has Pillow's scales uses them; the other has the page's own.
    assert found["scaled"] == (page.name == "chromium")
    assert max(found["maxChange"], found["photoChange"]) <= found["tolerance"] / 100


@pytest.mark.parametrize(
    "spec",
    [ImageSpec(48, 40, "crop", "bicubic"), ImageSpec(48, 48, "letterbox", "lanczos"),
     ImageSpec(40, 48, "stretch", "bilinear"), ImageSpec(32, 32, "crop", "box"),
     ImageSpec(44, 52, "crop", "bicubic", crop_share=0.875)],
    ids=lambda spec: f"{spec.resize} {spec.kernel}",
)  # fmt: skip
def test_every_kind_of_picture_becomes_the_tensor_of_python(
    spec: ImageSpec, page: Chromium | Firefox
) -> None:
    files = {name: made.content for name, made in pictures.pictures().items()}
    rounded, same = ROUNDED[page.name], 0
    for name, found in pages.tensors(page, files, spec).items():
        if isinstance(found, dict):
            assert found["code"] == "browser_cannot_decode", (name, found)
            assert name.startswith(("tiff", "ppm", "pgm", "pbm", "heic")), name
            continue
        expected = load_image(files[name], spec)
        made = np.frombuffer(base64.b64decode(found), np.uint8).reshape(expected.shape)
        off = float(np.abs(made.astype(int) - expected).mean())
        assert off <= rounded.get(name, 0), (name, off)
        same += off == 0
    assert same >= len(files) // 2


@pytest.mark.skipif(not (MUGS / "eval").is_dir(), reason="needs the photos of the checkout")
def test_all_240_photos_of_the_mugs_become_the_tensors_of_python(page: Chromium | Firefox) -> None:
    spec = ImageSpec(96, 96)
    files = {str(p): p.read_bytes() for p in sorted((MUGS / "eval").glob("*/*.jpg"))}
    assert len(files) == 240
    found = pages.tensors(page, files, spec)
    for name, content in files.items():
        assert base64.b64decode(found[name]) == load_image(content, spec).tobytes(), name


def profile() -> bytes:
    """A colour profile that shows where it is applied: sRGB's with red and green exchanged."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with another chunk behind its head."""
    return png[:33] + pictures.png_chunk(kind, content) + png[33:]


def test_colour_profiles_and_gamma_are_not_applied(page: Chromium | Firefox) -> None:
    """As in Python: a photo's numbers are what the model sees, whatever a screen would show."""
    icc, small, large = profile(), scene(60, 90), scene(600, 900)
    png = save(small, "PNG")
    files = {
        "jpeg": save(small, "JPEG", icc_profile=icc),
        "jpeg large": save(large, "JPEG", icc_profile=icc),
        "jpeg progressive": save(large, "JPEG", icc_profile=icc, progressive=True),
        "png": save(small, "PNG", icc_profile=icc),
        "webp": save(small, "WEBP", icc_profile=icc, lossless=True),
        "png gamma": with_chunk(png, b"gAMA", struct.pack(">I", 100_000)),
        "png bt.2100": with_chunk(png, b"cICP", bytes([9, 16, 0, 1])),
    }
    spec = ImageSpec(32, 48)
    found = pages.tensors(page, files, spec)
    for name, content in files.items():
        expected = load_image(content, spec)
        made = np.frombuffer(base64.b64decode(found[name]), np.uint8).reshape(expected.shape)
        off = float(np.abs(made.astype(int) - expected).mean())
        assert off == 0, (name, off)


def test_a_reduced_decode_is_that_of_pillow(page: Chromium | Firefox) -> None:
    spec = ImageSpec(32, 48, "crop")
    large = scene(900, 1300)
    files = {
        f"{subsampling} {progressive} {factor}": save(
            large[: 900 // factor, : 1300 // factor], "JPEG",
            subsampling=subsampling, progressive=progressive,
        )
        for subsampling in (0, 1, 2) for progressive in (False, True) for factor in (1, 3, 6)
    }  # fmt: skip
    found = pages.tensors(page, files, spec)
    for name, content in files.items():
        assert base64.b64decode(found[name]) == load_image(content, spec).tobytes(), name


@needs_engines
def test_the_page_proves_both_sides_the_same(page: Chromium | Firefox, service: Running) -> None:
    page.goto(f"{service.url}/")
    said = page.evaluate("""(async () => {
      const look = async (find) => {
        const end = performance.now() + 30000;
        while (performance.now() < end && !find()) await new Promise((go) => setTimeout(go, 50));
        return find();
      };
      await look(() => document.querySelector(".choice"));
      document.querySelector("input[value=both]").click();
      document.getElementById("sample").click();
      return (await look(() => document.querySelector(".verdict.good")))?.innerText;
    })()""")
    assert said is not None and said.startswith("Proven the same: one file, one tensor to the bit")
