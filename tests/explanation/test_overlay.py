"""What is drawn: colours, contour, what was not seen, legend; and the page of several photos."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf.explanation.overlay import colours, contour, to_html
from support.explained import red_classifier, with_red


def test_the_colours_are_viridis() -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="needs edgeclf[report]")
    steps = np.linspace(0, 1, 256)
    expected = matplotlib.colormaps["viridis"](steps)[:, :3] * 255
    assert np.abs(colours(steps) - expected).max() < 15
    assert np.abs(colours(steps[::255]) - expected[::255]).max() < 1


def test_the_colours_get_brighter_all_the_way() -> None:
    light = colours(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all() and colours(np.zeros((3, 4))).shape == (3, 4, 3)


def test_the_contour_runs_around_what_is_above_half() -> None:
    values = np.zeros((6, 7), np.float32)
    values[2:4, 2:5] = 0.9
    drawn = ["".join(".#"[place] for place in row) for row in contour(values).astype(int)]
    assert drawn == [".......", "..###..", ".#####.", ".#####.", "..###..", "......."]
    assert not contour(np.full((4, 4), 0.4, np.float32)).any()


@pytest.mark.parametrize(("height", "width"), [(60, 90), (900, 1300)])
def test_photo_map_and_legend_stand_in_one_picture(height: int, width: int) -> None:
    picture = with_red(height, width, slice(0, height // 3), slice(0, width // 3))
    found = edgeclf.explain(red_classifier(), picture, "red")
    drawn = found.overlay(picture)
    side = 480, max(1, round(480 * height / width))
    assert drawn.mode == "RGB" and drawn.size == (2 * 480 + 36, side[1] + 76)
    pixels = np.asarray(drawn).astype(int)
    plain, mapped = (pixels[12 : 12 + side[1], x : x + 480] for x in (12, 504))
    place = side[1] // 6, 80
    assert tuple(plain[place]) == (255, 0, 0)  # the photo as it is
    # and a grey of it under viridis' last colour
    assert np.abs(mapped[place] - (0.55 * np.array([253, 231, 37]) + 0.45 * 76)).max() <= 2
    dark = mapped[-1, -1] - (0.55 * np.array([68, 1, 84]) + 0.45 * 127)
    assert np.abs(dark).max() <= 2
    assert (pixels[-50:] < 60).all(axis=-1).sum() > 100  # words


def test_what_the_model_did_not_see_is_dark() -> None:
    picture = with_red(100, 200, slice(40, 60), slice(90, 110))
    drawn = np.asarray(edgeclf.explain(red_classifier(resize="crop"), picture).overlay(picture))
    mapped = drawn[12 : 12 + 240, 504 : 504 + 480].astype(int)
    assert (np.abs(mapped[:, :119] - 0.35 * 127) <= 1).all()
    assert (mapped[:40, 121:360].max(axis=-1) > 60).all()


def test_a_picture_of_any_shape_is_drawn() -> None:
    for height, width in ((1, 700), (700, 1)):
        picture = with_red(height, width, slice(0, 9), slice(0, 9))
        drawn = edgeclf.explain(red_classifier(resize="letterbox"), picture).overlay(picture)
        assert drawn.size == ((996, 77) if width > 1 else (38, 556))


def test_a_label_of_any_length_and_script_fits() -> None:
    picture = with_red(32, 32, slice(0, 9), slice(0, 9))
    found = edgeclf.explain(red_classifier(), picture)
    for label in ("чашка 杯子 ☕", "x" * 500):
        changed = edgeclf.Explanation(found.map, label, 0.5, "cam", 1, found.seen)
        assert changed.overlay(picture).size == (996, 556)


def test_a_page_holds_its_pictures_and_escapes_names() -> None:
    picture = with_red(40, 60, slice(0, 9), slice(0, 9))
    found = edgeclf.explain(red_classifier(), picture)
    page = to_html("<mugs>", [("a<b>.jpg", picture, found), ('"2".jpg', picture, found)])
    assert "<mugs>" not in page and "a&lt;b&gt;.jpg: red" in page and "&quot;2&quot;.jpg" in page
    assert "src=http" not in page
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(images) == 2
    with Image.open(io.BytesIO(base64.b64decode(images[0]))) as image:
        assert image.size == (996, 396)
