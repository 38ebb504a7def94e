"""Drawn pictures of birds that do not exist, to try everything out without a network.

What a model makes of them says nothing about photos of birds.
"""

from __future__ import annotations

import argparse
import colorsys
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

KINDS = 12  # that are drawn, of the 964 that the labels name
BACKGROUND = KINDS  # a landscape without a bird
CAMERA = (1600, 1200)  # pixels of a batch: what people send
SMALL = (480, 360)
Colour = tuple[int, int, int]
Point = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--count", type=int, default=12, help="default: %(default)s")
    args = parser.parse_args()
    for path in draw_batch(args.out, args.count):
        print(path)


def draw_batch(folder: Path, count: int, size: tuple[int, int] = CAMERA) -> list[Path]:
    """Writes pictures as a camera leaves them, each kind in turn; the same ones each time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        kind = index % (KINDS + 1)
        name = "landscape" if kind == BACKGROUND else f"kind-{kind:02d}"
        paths.append(folder / f"{index:03d}-{name}.jpg")
        draw(kind, random.Random(f"batch/{index}"), size).save(paths[-1], quality=90)
    return paths


def draw_classes(folder: Path, names: list[str], count: int, split: str) -> None:
    """Writes `count` pictures of each kind into a folder of its name; `names` ends in background.

    Args:
        folder: Of the folders.
        names: Of the kinds, and of the landscape.
        count: Of each.
        split: Other words draw other pictures.
    """
    for kind, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = draw(kind, random.Random(f"{split}/{kind}/{index}"), SMALL)
            picture.save(folder / name / f"{index:03d}.jpg", quality=90)


def draw(kind: int, rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A picture of one kind, or of no bird.

    Each kind has plumage and proportions of its own; place, size, direction, light and what is
    around it are left to chance.
    """
    image = _landscape(rng, size)
    if kind != BACKGROUND:
        _bird(ImageDraw.Draw(image), kind, rng, size)
    image = image.filter(ImageFilter.GaussianBlur(size[0] / 1000))
    # Grain as of a sensor, without which a JPEG is smaller and sooner decoded than a photo.
    grain = Image.effect_noise(size, 60 * size[0] / CAMERA[0])
    return Image.blend(image, grain.convert("RGB"), 0.08)


def _landscape(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    width, height = size
    light = rng.uniform(0.75, 1.1)
    sky, haze = _vary(rng, (125, 170, 215), light), _vary(rng, (215, 222, 220), light)
    column = Image.new("RGB", (1, height))
    for y in range(height):
        share = y / height
        column.putpixel((0, y), _between(sky, haze, share))
    image = column.resize(size)
    pen = ImageDraw.Draw(image)
    for layer in range(3):
        base = height * (0.55 + 0.13 * layer)
        green = _vary(rng, (70 + 12 * layer, 110 + 8 * layer, 60), light)
        phase, waves = rng.uniform(0, 6), rng.uniform(2, 6)
        ridge = [
            (x, base + height * 0.06 * math.sin(phase + waves * x / width))
            for x in range(0, width + 20, 20)
        ]
        pen.polygon([(0, height), *ridge, (width, height)], green)
    for _ in range(40):
        x, y = rng.uniform(0, width), rng.uniform(0.6 * height, height)
        blade = rng.uniform(0.02, 0.08) * height
        pen.line((x, y, x + rng.uniform(-0.3, 0.3) * blade, y - blade),
                 _vary(rng, (95, 135, 75), light), max(1, width // 300))  # fmt: skip
    return image


def _bird(pen: ImageDraw.ImageDraw, kind: int, rng: random.Random, size: tuple[int, int]) -> None:
    width, height = size
    back, belly, mark = _plumage(kind)
    long_neck, long_bill, tail = kind % 3, kind // 3 % 2, 0.5 + 0.35 * (kind // 6)
    scale = height * rng.uniform(0.2, 0.3)
    x = width * rng.uniform(0.35, 0.65)
    y = height * rng.uniform(0.4, 0.6)
    side = rng.choice((-1, 1))

    def at(dx: float, dy: float) -> Point:
        return x + side * dx * scale, y + dy * scale

    def oval(dx: float, dy: float, rx: float, ry: float, colour: Colour) -> None:
        (cx, cy), rx, ry = at(dx, dy), rx * scale, ry * scale
        pen.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), _vary(rng, colour, 1.0, 8))

    perch = y + 1.15 * scale
    pen.line((0, perch + rng.uniform(-9, 9), width, perch), (95, 75, 55), int(0.1 * scale) + 1)
    for step in (-0.15, 0.15):
        pen.line((*at(step, 0.5), *at(step, 1.1)), (190, 140, 70), int(0.05 * scale) + 1)
    feathers = [at(-0.7, -0.15), at(-1.0 - tail, 0.15), at(-0.9 - tail, 0.35), at(-0.6, 0.2)]
    pen.polygon(feathers, back)
    oval(0, 0, 1.0, 0.62, back)
    oval(0.15, 0.2, 0.75, 0.4, belly)
    pen.polygon([at(0.3, -0.25), at(-0.75, 0.1), at(-0.1, 0.3)], mark)
    neck = 0.35 * long_neck
    if neck:
        pen.line((*at(0.75, -0.2), *at(0.95, -0.55 - neck)), back, int(0.3 * scale))
    head = -0.55 - neck
    oval(0.9, head, 0.4, 0.36, mark if kind % 2 else back)
    oval(1.0, head - 0.08, 0.07, 0.07, (20, 20, 20))
    bill = 0.35 + 0.4 * long_bill
    pen.polygon([at(1.22, head - 0.08), at(1.22 + bill, head + 0.05), at(1.22, head + 0.12)],
                (225, 150, 45))  # fmt: skip


def _plumage(kind: int) -> tuple[Colour, Colour, Colour]:
    """Colours of back, belly and mark."""
    hue = kind / KINDS
    return _colour(hue, 0.75, 0.65), _colour(hue + 0.4, 0.45, 0.92), _colour(hue + 0.6, 0.85, 0.45)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _between(first: Colour, last: Colour, share: float) -> Colour:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, last, strict=True))
    return red, green, blue


def _vary(rng: random.Random, colour: Colour, light: float, by: int = 15) -> Colour:
    red, green, blue = (min(255, max(0, round(c * light) + rng.randint(-by, by))) for c in colour)
    return red, green, blue


if __name__ == "__main__":
    main()
