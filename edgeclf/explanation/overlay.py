"""A map drawn over its picture, and several of them on one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edgeclf.explanation.cam import enlarged
from edgeclf.image import ImageSource, ImageSpec, decode_image
from edgeclf.runtimes.base import Float32Array

if TYPE_CHECKING:
    from edgeclf.explanation.methods import Explanation

# Viridis by van der Walt and Smith (CC0) at tenths of its way, at most 14 levels of 255 off
# between them: as far apart to the eye as in value, also for the colour-blind and in print.
_VIRIDIS = (
    "440154 482575 414487 345f8d 2a788e 21908c 22a884 43bf71 7ad151 bcdf27 fde725"
)  # fmt: skip
_SIDE = 480  # pixels of the longer side of each of the two pictures
_LEGEND, _MARGIN, _TEXT = 64, 12, 15
_OPACITY = 0.55
_CONTOUR = 0.5
_UNSEEN = 0.35  # how bright what the model did not see is left
_QUALITY = 85
_STYLE = (
    "body{max-width:62rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}"
    "figure{margin:2rem 0}img{max-width:100%}:root{color-scheme:light dark}"
)


def draw_overlay(image: ImageSource, explanation: Explanation) -> Image.Image:
    """The picture, the same in grey under the map's colours, and a legend.

    The contour encloses what is above half of the largest value. What the model did not see is
    dark.

    Args:
        image: The picture that was explained.
        explanation: Its explanation.

    Returns:
        A PIL image in mode RGB.
    """
    # Twice that size at least where a JPEG is decoded in part, so that it is never enlarged.
    picture = decode_image(image, ImageSpec(_SIDE, _SIDE))
    scale = _SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    values = np.clip(enlarged(explanation.map, size), 0, 1)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    blend = _OPACITY * colours(values) + (1 - _OPACITY) * grey[..., np.newaxis]
    unseen = ~_seen(explanation, size)
    blend[unseen] = _UNSEEN * grey[unseen][:, np.newaxis]
    line = contour(values)
    canvas = Image.new("RGB", (2 * size[0] + 3 * _MARGIN, size[1] + _LEGEND + _MARGIN), "white")
    for place, content in enumerate((pixels, blend)):
        drawn = np.rint(content).astype(np.uint8)
        drawn[1:, 1:][line[:-1, :-1]] = 0  # a shadow, to be seen on white too
        drawn[line] = 255
        canvas.paste(Image.fromarray(drawn), (_MARGIN + place * (size[0] + _MARGIN), _MARGIN))
    _draw_legend(canvas, explanation, size[1] + 2 * _MARGIN)
    return canvas


def colours(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Values 0..1 of any shape to viridis, float64 [..., 3], 0..255."""
    table = np.array([[*bytes.fromhex(colour)] for colour in _VIRIDIS.split()])
    places = np.linspace(0, 1, len(table))
    return np.stack(
        [np.interp(np.asarray(values), places, channel) for channel in table.T], axis=-1
    )


def contour(values: Float32Array) -> npt.NDArray[np.bool_]:
    """Where [h, w] a line of two pixels around what is above half runs; none where nothing is."""
    above = values > _CONTOUR
    line = np.zeros_like(above)
    for axis in (0, 1):
        edge = np.diff(above, axis=axis)
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (0, 1), (1, 0)
        line |= np.pad(edge, before) | np.pad(edge, after)
    return line


def _seen(explanation: Explanation, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    height, width = explanation.map.shape
    left, top, right, bottom = explanation.seen
    x, y = ((np.arange(n) + 0.5) * full / n for n, full in zip(size, (width, height), strict=True))
    seen: npt.NDArray[np.bool_] = ((y >= top) & (y <= bottom))[:, np.newaxis] & (
        (x >= left) & (x <= right)
    )
    return seen


def _draw_legend(canvas: Image.Image, explanation: Explanation, top: int) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    width = canvas.width - 2 * _MARGIN
    bar = colours(np.broadcast_to(np.linspace(0, 1, width), (10, width)))
    canvas.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), (_MARGIN, top))
    y = top + 14
    draw.text((_MARGIN, y), "0", "black", font)
    draw.text((_MARGIN + width, y), "1: the most telling place", "black", font, anchor="ra")
    text = caption(explanation)
    while text and draw.textlength(text, font) > width:
        text = text.rstrip("…")[:-1] + "…"
    draw.text((_MARGIN, y + 18), text, "black", font)


def caption(explanation: Explanation) -> str:
    """What is explained and how, in a line."""
    runs = "1 pass" if explanation.passes == 1 else f"{explanation.passes} passes"
    return f"{explanation.label} {explanation.probability:.1%}, {explanation.method}, {runs}"


def to_html(title: str, entries: Sequence[tuple[str, ImageSource, Explanation]]) -> str:
    """One page that shows several pictures, with nothing beside it.

    Args:
        title: The page's.
        entries: Name, picture and explanation of each.
    """
    figures = "".join(
        f"<figure><figcaption>{escape(name)}: {escape(caption(explanation))}</figcaption>"
        f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{_jpeg(image, explanation)}">'
        "</figure>\n"
        for name, image, explanation in entries
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>Bright is what speaks for the label, relative to the most "
        "telling place of the same picture; the line encloses what is above half of it. A map says "
        "where the model looked, not why, and not that the answer is right.</p>\n"
        f"{figures}</html>\n"
    )


def _jpeg(image: ImageSource, explanation: Explanation) -> str:
    buffer = io.BytesIO()
    draw_overlay(image, explanation).save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
