"""Draws road signs as a camera meets them: ten kinds, each sign in frames of one approach.

Nothing is downloaded; every sign has its own seed, so a set is the same wherever it is drawn. These
are drawings: what a network reaches on them says that the tools work, and little about a road.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from edgeclf.system import files
from edgeclf.system.progress import track

SIDE = 64  # pixels of a picture
FRAMES = 3  # of a sign, each nearer than the one before
_CANVAS = 256
_FACE = 200  # of the sign on the canvas

CONDITIONS = ("clear", "dusk", "far", "blurred", "covered")
TABLE = "conditions.csv"  # which of them each picture shows

Colour = tuple[int, int, int]
Face = Callable[[ImageDraw.ImageDraw, "Paint"], None]


class Paint:
    """The colours of one sign, which faded in the sun by its own share."""

    def __init__(self, rng: random.Random) -> None:
        fade = rng.uniform(0, 0.35)

        def faded(*colour: int) -> Colour:
            red, green, blue = (round(c + fade * (190 - c)) for c in colour)
            return red, green, blue

        self.red, self.blue = faded(190, 20, 30), faded(20, 70, 165)
        self.yellow, self.white = faded(240, 190, 20), faded(240, 240, 235)
        self.black = faded(25, 25, 28)


def draw_set(folder: Path, signs: int, labels: tuple[str, ...] | None = None) -> None:
    """Draws `signs` signs of each kind, `FRAMES` pictures each, and the table of conditions.

    Files are called ``LABEL/SIGN-FRAME.jpg``. What is there already is not drawn again.

    Args:
        folder: Where to.
        signs: Of each kind.
        labels: Which kinds; all of them by default.
    """
    kinds = labels or tuple(FACES)
    jobs = [(label, index) for label in kinds for index in range(signs)]
    rows = []
    for label, index in track(jobs, "draw the signs", len(jobs)):
        rng = random.Random(f"{label}/{index}")
        condition = rng.choices(CONDITIONS, (60, 10, 10, 10, 10))[0]
        names = [f"{label}/{index:04d}-{frame}.jpg" for frame in range(FRAMES)]
        rows += [(name, condition) for name in names]
        if all((folder / name).exists() for name in names):
            continue
        pictures = approach(FACES[label], condition, rng)
        for name, picture in zip(names, pictures, strict=True):
            _save(picture, folder / name, rng)
    with files.replacing(folder / TABLE) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "condition"), *rows])


def draw_unknown(folder: Path, count: int) -> None:
    """Draws what is none of the ten: streets without a sign, and signs of other kinds."""
    for index in range(count):
        path = folder / f"{index:04d}.jpg"
        if not path.exists():
            rng = random.Random(f"unknown/{index}")
            face = rng.choice([None, *OTHERS])
            _save(next(approach(face, "clear", rng)), path, rng)


def approach(face: Face | None, condition: str, rng: random.Random) -> Iterator[Image.Image]:
    """The frames of one sign: the same face, dirt and place, each time nearer."""
    sign = Image.new("RGBA", (_CANVAS, _CANVAS))
    paint = Paint(rng)
    if face is not None:
        pen = ImageDraw.Draw(sign)
        face(pen, paint)
        _wear(sign, rng, covered=condition == "covered")
    street, tilt = _street(rng), rng.uniform(-9, 9)
    lean, turn = rng.uniform(-0.12, 0.12), rng.uniform(0.72, 1.0)
    light = rng.uniform(0.22, 0.45) if condition == "dusk" else rng.uniform(0.7, 1.25)
    tint = np.array([rng.uniform(0.9, 1.1) for _ in range(3)])
    nearest = rng.uniform(0.3, 0.42) if condition == "far" else rng.uniform(0.6, 0.95)
    for frame in range(FRAMES):
        size = nearest * (0.72 + 0.14 * frame) * _CANVAS / _FACE
        view = _seen(sign, street, size, tilt + rng.uniform(-2, 2), lean, turn, rng)
        if condition == "blurred":
            view = _smeared(view, rng)
        yield _exposed(view, light, tint, noise=12 if condition == "dusk" else 5, rng=rng)


def _seen(
    sign: Image.Image, street: Image.Image, size: float, tilt: float, lean: float, turn: float,
    rng: random.Random,
) -> Image.Image:  # fmt: skip
    """The sign before its street, turned away by the cosine `turn`."""
    side = round(size * _CANVAS)
    seen = sign.resize((max(8, round(side * turn)), side), Image.Resampling.BICUBIC)
    seen = seen.transform(
        seen.size, Image.Transform.AFFINE, (1, lean, -lean * side / 2, 0, 1, 0),
        Image.Resampling.BICUBIC,
    ).rotate(tilt, Image.Resampling.BICUBIC, expand=True)  # fmt: skip
    shift = street.width - _CANVAS
    left, top = rng.randint(0, shift), rng.randint(0, shift)
    view = street.crop((left, top, left + _CANVAS, top + _CANVAS))
    room = _CANVAS - min(seen.width, _CANVAS), _CANVAS - min(seen.height, _CANVAS)
    x, y = (round(each * rng.uniform(0.25, 0.75)) for each in room)
    view.paste(seen, (x, y), seen)
    return view


def _smeared(view: Image.Image, rng: random.Random) -> Image.Image:
    """Along a line, as from a car that moves."""
    steps, angle = rng.randint(12, 22), rng.uniform(-0.4, 0.4)
    moved = [
        np.roll(np.asarray(view, np.float32), (round(i * math.sin(angle)), i), (0, 1))
        for i in range(steps)
    ]
    return Image.fromarray(np.mean(moved, axis=0).astype(np.uint8))


def _exposed(
    view: Image.Image, light: float, tint: np.ndarray, noise: float, rng: random.Random
) -> Image.Image:
    small = view.resize((SIDE, SIDE), Image.Resampling.BOX)
    grain = np.random.default_rng(rng.getrandbits(32)).normal(0, noise, (SIDE, SIDE, 3))
    values = np.asarray(small, np.float32) * light * tint + grain
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _save(picture: Image.Image, path: Path, rng: random.Random) -> None:
    with files.replacing(path) as temporary:
        picture.save(temporary, "JPEG", quality=rng.randint(45, 92))


def _wear(sign: Image.Image, rng: random.Random, *, covered: bool) -> None:
    """Dirt, stickers, and leaves before it; only where the sign is."""
    layer = sign.copy()
    pen = ImageDraw.Draw(layer)
    for _ in range(rng.randint(0, 5)):
        x, y, radius = rng.randint(40, 216), rng.randint(40, 216), rng.randint(3, 12)
        shade = rng.randint(60, 140)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), (shade, shade, shade - 20))
    if covered:
        side, depth = rng.choice("lrtb"), rng.randint(70, 105)
        for _ in range(90):
            along, into = rng.randint(20, 236), int(abs(rng.gauss(0, depth / 2)))
            edge = {"l": (28 + into, along), "r": (228 - into, along),
                    "t": (along, 28 + into), "b": (along, 228 - into)}[side]  # fmt: skip
            radius = rng.randint(5, 13)
            green = (rng.randint(30, 80), rng.randint(70, 130), rng.randint(20, 60))
            pen.ellipse((edge[0] - radius, edge[1] - radius // 2, edge[0] + radius,
                         edge[1] + radius // 2), green)  # fmt: skip
    layer.putalpha(sign.getchannel("A"))
    sign.paste(layer, (0, 0))


def _street(rng: random.Random) -> Image.Image:
    """What is behind: sky, houses, trees and posts, out of focus."""
    side = _CANVAS + 40
    top, bottom = _any(rng, 120, 235), _any(rng, 50, 150)
    rows = np.linspace(0, 1, side)[:, None, None]
    base = np.array(top) * (1 - rows) + np.array(bottom) * rows
    street = Image.fromarray(np.broadcast_to(base, (side, side, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(street)
    for _ in range(rng.randint(6, 14)):
        x, y = rng.randint(-30, side), rng.randint(-30, side)
        width, height = rng.randint(10, 130), rng.randint(10, 160)
        colour = rng.choice([_any(rng, 20, 230), (rng.randint(30, 90), rng.randint(70, 130), 40)])
        shape = pen.rectangle if rng.random() < 0.6 else pen.ellipse
        shape((x, y, x + width, y + height), colour)
    pen.rectangle((side // 2 - 5, side // 2, side // 2 + 5, side), (120, 120, 122))  # the post
    street = street.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 6)))
    return ImageEnhance.Color(street).enhance(rng.uniform(0.4, 1.1))


def _any(rng: random.Random, low: int, high: int) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


# -- the faces, on a canvas of 256 x 256 whose sign is within 28..228


def _disc(pen: ImageDraw.ImageDraw, radius: int, colour: Colour) -> None:
    pen.ellipse((128 - radius, 128 - radius, 128 + radius, 128 + radius), colour)


def _polygon(
    pen: ImageDraw.ImageDraw, corners: int, radius: int, colour: Colour, start: float
) -> None:
    turns = (start + 2 * math.pi * i / corners for i in range(corners))
    pen.polygon([(128 + radius * math.cos(t), 128 + radius * math.sin(t)) for t in turns], colour)


def _words(pen: ImageDraw.ImageDraw, text: str, size: int, colour: Colour) -> None:
    pen.text((128, 128), text, colour, ImageFont.load_default(size), anchor="mm",
             stroke_width=size // 14, stroke_fill=colour)  # fmt: skip


def _limit(number: int) -> Face:
    def face(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
        _disc(pen, 100, paint.red)
        _disc(pen, 78, paint.white)
        _words(pen, str(number), 92, paint.black)

    return face


def _turn(direction: int) -> Face:
    """An arrow to the left (-1) or to the right (1)."""

    def face(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
        _disc(pen, 100, paint.blue)
        tip, tail = 128 + 72 * direction, 128 - 30 * direction
        pen.polygon([(tip, 105), (tip - 44 * direction, 62), (tip - 44 * direction, 148)],
                    paint.white)  # fmt: skip
        pen.rectangle((min(tail, tip - 44 * direction), 92, max(tail, tip - 44 * direction), 118),
                      paint.white)  # fmt: skip
        pen.rectangle((min(tail, tail - 26 * direction), 92, max(tail, tail - 26 * direction), 190),
                      paint.white)  # fmt: skip

    return face


def _stop(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _polygon(pen, 8, 106, paint.white, math.pi / 8)
    _polygon(pen, 8, 98, paint.red, math.pi / 8)
    _words(pen, "STOP", 60, paint.white)


def _give_way(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.polygon([(28, 45), (228, 45), (128, 218)], paint.red)
    pen.polygon([(68, 68), (188, 68), (128, 172)], paint.white)


def _no_entry(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _disc(pen, 100, paint.red)
    pen.rectangle((56, 110, 200, 146), paint.white)


def _priority(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _polygon(pen, 4, 104, paint.white, 0)
    _polygon(pen, 4, 74, paint.yellow, 0)


def _crossing(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.rectangle((36, 36, 220, 220), paint.blue)
    pen.polygon([(128, 52), (206, 204), (50, 204)], paint.white)
    pen.ellipse((119, 84, 139, 104), paint.black)
    pen.line((129, 102, 124, 146), paint.black, 12)
    pen.line((124, 144, 146, 188), paint.black, 10)
    pen.line((124, 144, 104, 188), paint.black, 10)
    pen.line((104, 132, 128, 114, 150, 136), paint.black, 8)


def _parking(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.rectangle((36, 36, 220, 220), paint.blue)
    _words(pen, "P", 130, paint.white)


def _roadworks(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.polygon([(128, 34), (228, 212), (28, 212)], paint.red)
    pen.polygon([(128, 78), (188, 188), (68, 188)], paint.white)
    pen.polygon([(128, 130), (160, 184), (96, 184)], paint.black)


def _no_parking(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _disc(pen, 100, paint.red)
    _disc(pen, 78, paint.blue)
    pen.line((74, 74, 182, 182), paint.red, 22)


FACES: dict[str, Face] = {
    "crossing": _crossing,
    "give-way": _give_way,
    "limit-30": _limit(30),
    "limit-50": _limit(50),
    "limit-80": _limit(80),
    "no-entry": _no_entry,
    "priority": _priority,
    "stop": _stop,
    "turn-left": _turn(-1),
    "turn-right": _turn(1),
}
OTHERS = (_parking, _roadworks, _no_parking)
